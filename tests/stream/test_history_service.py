"""The history process against a real log and a real InfluxDB: slow, dead and back again, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from models.config import FILE, Config, History, Mqtt, to_toml
from stream.history.influx import InfluxHistory
from tests import servers
from tests.conftest import wait_until
from tests.servers import Influx
from tests.stream.rig import COMMAND, Listener, TestDevice, make_folder, running
from tests.stream.test_history import settings


@pytest.fixture
def config(tmp_path: Path, mqtt_broker: Mqtt, influxdb: Influx) -> Config:
    made = make_folder(tmp_path / "city", mqtt_broker)
    config = replace(made, history=History(influx=settings(influxdb, tmp_path), keep_days=3650))
    (Path(config.folder) / FILE).write_bytes(to_toml(config))
    return config


@contextmanager
def historian(config: Config) -> Iterator[subprocess.Popen[bytes]]:
    log_file = config.state / "history.log"
    with log_file.open("ab") as sink:
        process = subprocess.Popen([sys.executable, "-P", "-c", COMMAND, "history", config.folder], stderr=sink)
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(15) in (0, -signal.SIGKILL), log_file.read_text()


def test_every_decision_is_there_once_though_database_and_writer_died(
    config: Config, mqtt_broker: Mqtt, influxdb: Influx
) -> None:
    listener = Listener(config)
    assert config.history.influx
    kept = InfluxHistory(config.history.influx, keep_days=3650)
    device = TestDevice(listener)
    with running(config) as stream:
        with historian(config) as process:
            device.send(device.fires(20))
            wait_until(lambda: kept.count() == 20, 30)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        device.send(device.fires(20))
        influxdb.send(signal.SIGSTOP)
        started_s = time.monotonic()
        with historian(config):
            device.send(device.fires(20))
            stream.wait(lambda: stream.counters()["decisions"] == 60)  # a dead database delays no decision
            assert time.monotonic() - started_s < servers.START_S
            influxdb.send(signal.SIGCONT)
            wait_until(lambda: kept.count() == 60, 60)
            wait_until(lambda: bool(kept.latencies_ms(0, 1 << 42)), 30)
    kept.close()
