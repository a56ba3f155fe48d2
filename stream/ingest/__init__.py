"""From the broker into the log: who may say what, where and when it was, and what cannot be taken."""
