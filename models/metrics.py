"""What a process tells a Prometheus that asks: ``GET /metrics``. The only door to prometheus_client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from models.errors import ConfigError, Problem

HOST: Final = "127.0.0.1"
"""Nobody else may ask: an agent on this machine passes it on, or a proxy with TLS and a password."""
PREFIX: Final = "gridwarden_"
_FAMILIES: Final = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}


class Figure(NamedTuple):
    """One name and its values.

    Attributes:
        name: without our prefix, and without the `_total` that a counter gets.
        kind: a counter only grows while its process lives.
        values: by the values of `labels`.
    """

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    values: Mapping[tuple[str, ...], float]
    labels: tuple[str, ...] = ()


class _Shown(Collector):
    def __init__(self) -> None:
        self.figures: Sequence[Figure] = ()

    def collect(self) -> Iterator[Metric]:
        for figure in self.figures:
            family = _FAMILIES[figure.kind](f"{PREFIX}{figure.name}", figure.help, labels=figure.labels)
            for labels, value in figure.values.items():
                family.add_metric(labels, value)
            yield family


class Metrics:
    """Answers on loopback, from a thread of its own, with what it was last shown and with memory and time used.

    Args:
        port: 0 has one chosen.
        where: the key of the config that names the port: file and path.
        spare: so many ports after it are tried too, where several workers share a config.

    Attributes:
        port: where it answers.

    Raises:
        ConfigError: something else listens there.
    """

    def __init__(self, port: int, where: tuple[str, str], *, spare: int = 0) -> None:
        self._registry = CollectorRegistry()
        self._shown = _Shown()
        self._registry.register(self._shown)
        ProcessCollector(registry=self._registry)
        for number in range(port, port + spare + 1):
            try:
                self._server, self._thread = start_http_server(number, HOST, self._registry)
            except OSError as exc:
                refused = exc
            else:
                self.port = self._server.server_port
                return
        what = f"{HOST}:{port} cannot be listened on: {refused.strerror}"
        raise ConfigError([Problem(*where, what, "name a free port, or 0 to have one chosen")]) from refused

    def show(self, figures: Iterable[Figure]) -> None:
        """Answer with these from now on."""
        self._shown.figures = tuple(figures)

    def histogram(self, name: str, description: str, buckets: Sequence[float]) -> Histogram:
        """Return a histogram that is part of every answer."""
        return Histogram(f"{PREFIX}{name}", description, buckets=buckets, registry=self._registry)

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
