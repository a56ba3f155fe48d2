"""The stream's counters and how far its readers are behind, for a Prometheus."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import faust

from models.config import FILE, Config
from models.metrics import Figure, Metrics
from stream.log.file import Partition
from stream.status import Counters

WORKERS: Final = 8
"""As many of one config find a port each on one machine."""
BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
_HELP: Final = {
    "observations": "Observations in the log, duplicates included, of this worker's partitions.",
    "decisions": "Observations decided, each once.",
    "duplicates": "Observations that had come before.",
    "pre_alarms_cleared": "Pre-alarms that ended without having become alarms.",
    "dead_letters": "Messages that could not be taken, in the whole log.",
    "orders": "Dispatch orders, in the whole log.",
    "dropped": "Messages let go unread because too many were waiting; they are sent again.",
    "limited": "Messages let go unread because their sender said too much.",
    "unlettered": "Dead letters not written because there were enough of their sender.",
    "partitions": "Partitions of obs that are this worker's.",
    "restarts": "Times that the watchdog has started this worker anew.",
    "lost": "Records that had to go unread because the log was nearly full.",
    "foreign_gaps": "Times that messages of a device of another make that numbers them (Sparkplug B) were missing.",
    "foreign_forgotten": "Names of devices that nobody has admitted, forgotten because they were too many.",
    "reloads": "Times that a changed config folder was put in force.",
    "reloads_refused": "Times that a changed config folder was refused.",
}
_GAUGES: Final = frozenset({"partitions"})


def lag_of(
    app: faust.App, topics: Collection[str], prefix: str, heads: Mapping[Partition, int]
) -> dict[Partition, int]:
    """Return how many records of each of its partitions a worker has not acknowledged.

    Args:
        app: that reads
        topics: these, whose names it begins with
        prefix: this.
        heads: the ends of the log.
    """
    consumer: Any = app.consumer
    committed = consumer._committed_offset  # noqa: SLF001  # Faust has no public name for it
    behind = {}
    for tp, position in consumer.positions().items():
        place = Partition(tp.topic.removeprefix(prefix), tp.partition)
        if place.topic in topics:
            behind[place] = max(0, heads.get(place, 0) - (committed.get(tp) or position))
    return behind


def figures_of(counters: Counters, lag: Mapping[Partition, int]) -> list[Figure]:
    """Return what is shown.

    Args:
        counters: as `stream.json` has them.
        lag: records that are in the log and not acknowledged, of each partition that this worker reads.
    """
    found = [
        Figure(f"stream_{name}", _HELP[name], "gauge" if name in _GAUGES else "counter", {(): getattr(counters, name)})
        for name in Counters.__struct_fields__
    ]
    return [*found, _lag_figure("stream_lag_records", lag)]


def _lag_figure(name: str, lag: Mapping[Partition, int]) -> Figure:
    behind: dict[tuple[str, ...], float] = {(one.topic, str(one.number)): count for one, count in lag.items()}
    what = "Records of the log that this worker has not acknowledged yet."
    return Figure(name, what, "gauge", behind, ("topic", "partition"))


class StreamMetrics:
    """The endpoint of one worker.

    Args:
        port: as in the config, where it stands.

    Attributes:
        port: where it answers.

    Raises:
        ConfigError: neither `port` nor one of those after it is free.
    """

    def __init__(self, port: int, where: tuple[str, str]) -> None:
        self._metrics = Metrics(port, where, spare=WORKERS - 1 if port else 0)
        self._latency = self._metrics.histogram(
            "stream_dispatch_latency_seconds", "From the device's eye to the order on its way.", BUCKETS_S
        )
        self.port = self._metrics.port

    def show(self, counters: Counters, lag: Mapping[Partition, int], latencies_ms: Iterable[int]) -> None:
        """Answer with this from now on; latencies are added to those before."""
        for latency_ms in latencies_ms:
            self._latency.observe(latency_ms / 1000)
        self._metrics.show(figures_of(counters, lag))

    def close(self) -> None:
        """Answer no more."""
        self._metrics.close()


class HistoryMetrics:
    """The endpoint of the process that keeps the history in InfluxDB. Raises `ConfigError` where its port is taken."""

    def __init__(self, config: Config, port: int) -> None:
        self._metrics = Metrics(port, (f"{config.folder}/{FILE}", "history.metrics_port"))
        self.close = self._metrics.close

    def show(self, rows: int, lag: Mapping[Partition, int]) -> None:
        """Answer with this from now on."""
        kept = Figure("history_rows", "Decisions that are kept.", "gauge", {(): rows})
        self._metrics.show([kept, _lag_figure("history_lag_records", lag)])


def metrics_of(config: Config) -> StreamMetrics | None:
    """Return the endpoint that the config wants, if it wants one; raises as `StreamMetrics`."""
    port = config.stream.metrics_port
    return None if port is None else StreamMetrics(port, (f"{config.folder}/{FILE}", "stream.metrics_port"))
