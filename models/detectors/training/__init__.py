"""Trains, exports and scores the shipped networks. Needs the extra `train`; nothing at run time imports it."""
