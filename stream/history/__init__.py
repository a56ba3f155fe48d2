"""The history: every observation that was not a duplicate, with the decision on it; orders with their latency;
heartbeats. SQLite beside the log, or InfluxDB. Behind the log and never before it: it delays no alert.
"""

from stream.history.historian import Historian
from stream.history.rows import Latency, describe, percentiles
from stream.history.sqlite import FILE, History
from stream.history.store import Seen, Store

__all__ = ["FILE", "Historian", "History", "Latency", "Seen", "Store", "describe", "percentiles"]
