from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.broker import free_port
from models.config import Mqtt
from tests import servers
from tests.servers import Influx, Kafka, Mosquitto, answers

_SERVE = """
import sys
from models import broker
from models.config import Config, Mqtt
state, port, port_v3, username, password_file = sys.argv[1:]
mqtt = Mqtt(port=int(port), port_v3=int(port_v3), username=username or None, password_file=password_file or None)
broker.run(Config(tenant="t", state_dir=state, mqtt=mqtt))
"""


def wait_until(is_so: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Return as soon as `is_so` says so; fail the test if it never does."""
    end_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > end_s:
            pytest.fail(f"waited {timeout_s} s in vain")
        time.sleep(0.01)


@contextmanager
def embedded_broker(
    folder: Path, *, username: str = "", password: str = "", port: int = 0, port_v3: int = 0
) -> Iterator[Mqtt]:
    """Run the embedded broker as a process of its own; yield how it is reached (MQTT 5; `port_v3` for 3.1.1)."""
    folder.mkdir(parents=True, exist_ok=True)
    password_file = folder / "password"
    if password:
        password_file.write_text(password + "\n")
    port, port_v3 = port or free_port(), port_v3 or free_port()
    arguments = [str(folder), str(port), str(port_v3), username, str(password_file) if password else ""]
    process = subprocess.Popen([sys.executable, "-c", _SERVE, *arguments], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port) and answers(port_v3))
        yield Mqtt(
            port=port,
            port_v3=port_v3,
            username=username or None,
            password_file=str(password_file) if password else None,
        )
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def mqtt_broker(tmp_path: Path) -> Iterator[Mqtt]:
    """The embedded broker, without a password."""
    with embedded_broker(tmp_path / "broker") as settings:
        yield settings


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests of a missing server from one place: the summary makes one line of them, with their number."""
    fixtures = set(getattr(item, "fixturenames", ()))
    for name, server in {"kafka": "Kafka", "influxdb": "InfluxDB", "mosquitto": "Mosquitto"}.items():
        if item.get_closest_marker(name) is not None or fixtures & {name, f"open_{name}"}:
            _need(server)


def _need(server: str) -> None:
    """Skip where `server` is not there; in CI, where `make test` gets the servers first, that is a failure."""
    if (how := servers.missing().get(server)) is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(how)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mqtt]:
    """A real Mosquitto that wants the user `edge` with the password `right`."""
    _need("Mosquitto")
    with servers.mosquitto(tmp_path / "mosquitto", username="edge", password="right") as server:
        yield server.mqtt


@pytest.fixture
def open_mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real Mosquitto that takes everybody, and can be killed and frozen."""
    _need("Mosquitto")
    with servers.mosquitto(tmp_path / "mosquitto") as server:
        yield server


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A real Kafka for the whole session. Tests that share it take a tenant of their own, and leave it running."""
    _need("Kafka")
    with servers.kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="session")
def influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    """A real InfluxDB for the whole session. Tests that share it make a bucket of their own, and leave it running."""
    _need("InfluxDB")
    with servers.influxdb(tmp_path_factory.mktemp("influxdb")) as server:
        yield server
