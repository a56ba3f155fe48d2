"""The desk: one incident of many signals, matched and ordered."""
