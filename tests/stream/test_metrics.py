"""What a Prometheus gets when it asks a running stream."""

from __future__ import annotations

import signal
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from models.broker import free_port
from models.config import FILE, Config, History, Mqtt, to_toml
from models.errors import ConfigError
from models.metrics import Figure, Metrics
from stream.log.file import Partition
from stream.metrics import WORKERS, StreamMetrics, figures_of
from stream.status import Counters
from tests.conftest import wait_until
from tests.servers import Influx, answers
from tests.stream.rig import Listener, TestDevice, make_folder, running
from tests.stream.test_history import settings
from tests.stream.test_history_service import historian

Scraped = dict[tuple[str, tuple[tuple[str, str], ...]], float]
WHERE = ("gridwarden.toml", "stream.metrics_port")
COUNTERS = Counters(
    observations=7, decisions=6, duplicates=1, pre_alarms_cleared=0, dead_letters=2, orders=3, dropped=0
)


def scrape(port: int) -> Scraped:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10.0) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        families = text_string_to_metric_families(answer.read().decode())
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for one in families
            for sample in one.samples
        }


@contextmanager
def closing(metrics: Metrics | StreamMetrics) -> Iterator[int]:
    try:
        yield metrics.port
    finally:
        metrics.close()


@pytest.mark.slow
def test_a_prometheus_gets_the_counters_the_lag_and_the_latencies(tmp_path: Path, mqtt_broker: Mqtt) -> None:
    config = make_folder(tmp_path / "city", mqtt_broker)
    port = free_port()
    config = replace(config, stream=replace(config.stream, metrics_port=port))
    (Path(config.folder) / FILE).write_bytes(to_toml(config))
    listener = Listener(config)
    device = TestDevice(listener)
    with running(config) as stream:
        before = scrape(port)
        assert before["gridwarden_stream_observations_total", ()] == 0
        assert before["process_resident_memory_bytes", ()] > 1 << 20
        sent = device.fires(3)
        device.send(sent)
        device.send(sent)
        stream.wait(lambda: scrape(port)["gridwarden_stream_duplicates_total", ()] == 3)
        stream.wait(lambda: bool(listener.orders()))
        listener.store(*listener.orders())

        def lags() -> list[float]:
            return [value for (name, _), value in scrape(port).items() if name == "gridwarden_stream_lag_records"]

        stream.wait(lambda: len(lags()) == 10 and not any(lags()))
        found = scrape(port)
        assert found["gridwarden_stream_observations_total", ()] == 6
        assert found["gridwarden_stream_orders_total", ()] == len(listener.orders())
        assert found["gridwarden_stream_partitions", ()] == 4
        assert found["gridwarden_stream_restarts_total", ()] == 0
        assert found["gridwarden_stream_dispatch_latency_seconds_count", ()] == len(listener.orders())
        assert found["gridwarden_stream_dispatch_latency_seconds_bucket", (("le", "600.0"),)] > 0
        assert stream.stop() == 0
    listener.link.stop()


@pytest.mark.slow
def test_a_prometheus_sees_how_far_the_history_is_behind(tmp_path: Path, mqtt_broker: Mqtt, influxdb: Influx) -> None:
    made = make_folder(tmp_path / "city", mqtt_broker)
    port = free_port()
    config = replace(made, history=History(influx=settings(influxdb, tmp_path), keep_days=3650, metrics_port=port))
    (Path(config.folder) / FILE).write_bytes(to_toml(config))
    listener = Listener(config)
    device = TestDevice(listener)

    def behind() -> float | None:
        found = scrape(port)
        lags = [value for (name, _), value in found.items() if name == "gridwarden_history_lag_records"]
        return sum(lags) if len(lags) == 4 else None

    with running(config) as stream, historian(config):
        wait_until(lambda: answers(port), 60.0)
        device.send(device.fires(20))
        wait_until(lambda: scrape(port).get(("gridwarden_history_rows", ())) == 20, 60.0)
        wait_until(lambda: behind() == 0, 60.0)
        influxdb.send(signal.SIGSTOP)
        try:
            device.send(device.fires(20))
            wait_until(lambda: (behind() or 0) > 0, 60.0)
        finally:
            influxdb.send(signal.SIGCONT)
        wait_until(lambda: scrape(port)["gridwarden_history_rows", ()] == 40 and behind() == 0, 60.0)
        assert stream.stop() == 0
    listener.link.stop()


def test_every_counter_is_told_with_words() -> None:
    figures = figures_of(COUNTERS, {Partition("obs", 1): 9})
    assert {f"stream_{name}" for name in Counters.__struct_fields__} < {one.name for one in figures}
    assert all(one.help.endswith(".") for one in figures)
    assert figures[-1].values == {("obs", "1"): 9.0}


def test_a_second_worker_of_the_same_config_takes_the_next_port() -> None:
    port = free_port()
    with closing(StreamMetrics(port, WHERE)) as first, closing(StreamMetrics(port, WHERE)) as second:
        assert first == port
        assert port < second < port + WORKERS


def test_a_port_that_is_taken_is_said_with_a_remedy_and_nobody_else_may_ask() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConfigError, match="name a free port"):
        Metrics(other.getsockname()[1], WHERE)
    with closing(Metrics(0, WHERE)) as port:
        for address in {one[4][0] for one in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}:
            if not str(address).startswith("127."):
                with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
                    socket.create_connection((str(address), port), timeout=2.0)


def test_what_is_shown_is_what_was_shown_last() -> None:
    metrics = Metrics(0, WHERE)
    with closing(metrics) as port:
        for value in (1, 2):
            metrics.show([Figure("cases", "Open cases.", "gauge", {("P1",): value}, ("priority",))])
        assert scrape(port)["gridwarden_cases", (("priority", "P1"),)] == 2


def test_the_page_for_operators_names_every_figure_and_a_config_that_can_be_loaded() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    config = msgspec.toml.decode(page.partition("```toml")[2].partition("```")[0], type=Config)
    assert config.stream.metrics_port
    assert config.alerts.metrics_port
    assert config.history.metrics_port
    for name in Counters.__struct_fields__:
        assert f"_{name}" in page, name
