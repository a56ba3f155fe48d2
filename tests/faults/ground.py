"""What a town stands on: the embedded broker, log and history, or real servers behind lines of their own."""

from __future__ import annotations

import csv
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol

from msgspec.structs import replace

from models.broker import free_port
from models.config import Config, History, Mqtt
from models.config import Influx as InfluxSettings
from models.supervise import Child, gridwarden
from tests import servers
from tests.faults.proxy import Proxy
from tests.servers import Influx, Kafka, Mosquitto, Server, answers

Reading = tuple[str, float]
"""(device, value)."""
_READINGS: Final = """
from(bucket: "{bucket}") |> range(start: 0, stop: 2100-01-01T00:00:00Z)
  |> filter(fn: (r) => r._measurement == "observation" and r.kind == "reading" and r._field == "value")
  |> keep(columns: ["device", "_value"]) |> group()
"""


class Ground(Protocol):
    """What carries the messages, keeps the log and keeps the history.

    Attributes:
        mqtt: how the broker is reached.
        lines: proxies by who speaks to whom; the line from the edge to the broker is the town's own.
        workers: names of the processes that are the stream.
    """

    mqtt: Mqtt
    lines: dict[str, Proxy]
    workers: tuple[str, ...]

    def configure(self, config: Config) -> Config:
        """Return `config` on this ground."""

    def servers(self, config_file: Path) -> list[Child]:
        """Return the processes that must be there first; the first is the MQTT broker."""

    def set_up(self) -> None:
        """Make what the servers hold; all of them answer."""

    def stream(self, config_file: Path) -> list[Child]:
        """Return the processes that decide and keep the history."""

    def log(self, config: Config) -> str:
        """Return where the log is, for `Recorded`."""

    def readings(self) -> list[Reading]:
        """Return every reading in the history.

        Raises:
            OSError: it does not answer.
        """


class Embedded:
    """Nothing but our own processes and their files. One worker, by nature."""

    workers: tuple[str, ...] = ("stream",)

    def __init__(self, state: Path) -> None:
        self._state = state
        self.mqtt = Mqtt(port=free_port())
        self.lines: dict[str, Proxy] = {}

    def configure(self, config: Config) -> Config:
        return replace(config, mqtt=replace(config.mqtt, port=self.mqtt.port))

    def servers(self, config_file: Path) -> list[Child]:
        return [child("broker", self._state, "broker", str(config_file), ready=lambda: answers(self.mqtt.port))]

    def set_up(self) -> None:
        pass

    def stream(self, config_file: Path) -> list[Child]:
        return [child("stream", self._state, "stream", str(config_file), ready_file=self._state / "stream.json")]

    def log(self, config: Config) -> str:
        return str(config.state / "log.db")

    def readings(self) -> list[Reading]:
        rows = query(self._state / "history.db", "SELECT device_id, value FROM history WHERE kind = 'reading'")
        return [(str(device), float(value)) for device, value in rows]


class OnServers:
    """Mosquitto, Kafka and InfluxDB as real processes, and two workers that share the streets."""

    workers: tuple[str, ...] = ("stream-a", "stream-b")

    def __init__(self, state: Path) -> None:
        self._state = state
        to_kafka, to_influxdb = Proxy(), Proxy()
        self.lines = {"stream-kafka": to_kafka, "history-influx": to_influxdb}
        self._mosquitto = Mosquitto(state / "mosquitto")
        self._kafka = Kafka(state / "kafka", advertised=to_kafka.port)
        self._influxdb = Influx(state / "influxdb")
        to_kafka.target_port, to_influxdb.target_port = self._kafka.port, self._influxdb.port
        self._kafka.format()
        self.mqtt = self._mosquitto.mqtt

    def configure(self, config: Config) -> Config:
        access = self._influxdb.access
        token_file = self._state / "influx-token"
        token_file.write_text(access.token)
        url = f"http://127.0.0.1:{self.lines['history-influx'].port}"
        influx = InfluxSettings(url=url, token_file=str(token_file), org=access.org, bucket=access.bucket)
        return replace(
            config,
            mqtt=self.mqtt,
            stream=replace(config.stream, broker=self._kafka.url),
            history=History(influx=influx, keep_days=3650),
        )

    def servers(self, config_file: Path) -> list[Child]:
        named = {"broker": self._mosquitto, "kafka": self._kafka, "influxdb": self._influxdb}
        return [_child_of(name, server, self._state) for name, server in named.items()]

    def set_up(self) -> None:
        self._influxdb.set_up()

    def stream(self, config_file: Path) -> list[Child]:
        workers = [
            child(
                name,
                self._state,
                *("stream", str(config_file), "--worker", name.removeprefix("stream-")),
                ready_file=self._state / f"{name}.json",
            )
            for name in self.workers
        ]
        history = child("history", self._state, "history", str(config_file), ready_file=self._state / "history.json")
        return [*workers, history]

    def log(self, config: Config) -> str:
        return f"{config.stream.broker}/{config.tenant}"

    def readings(self) -> list[Reading]:
        access = self._influxdb.access
        headers = {
            "Authorization": f"Token {access.token}",
            "Content-Type": "application/vnd.flux",
            "Accept": "application/csv",
        }
        request = urllib.request.Request(
            f"{access.url}/api/v2/query?org={access.org}", _READINGS.format(bucket=access.bucket).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=30.0) as answer:
            lines = answer.read().decode().splitlines()
        rows: Iterator[dict[str, str]] = csv.DictReader(line for line in lines if line)
        return [(row["device"], float(row["_value"])) for row in rows]


GROUNDS: Final[dict[str, Callable[[Path], Ground]]] = {"embedded": Embedded, "servers": OnServers}


def missing() -> list[str]:
    """Return how to get each server that is not there, one line each."""
    return list(servers.missing().values())


def child(name: str, state: Path, *arguments: str, ready_file: Path | None = None, ready: Any = None) -> Child:
    """Return one of our processes, quiet but for warnings."""
    is_there = ready or (ready_file.exists if ready_file else lambda: True)
    command = gridwarden("--log-level", "WARNING", *arguments)
    return Child(name, command, ready_file=ready_file, ready=is_there, log_file=state / f"{name}.log")


def _child_of(name: str, server: Server, state: Path) -> Child:
    return Child(name, server.command, ready_file=None, ready=server.is_up, log_file=state / f"{name}.log")


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return what a file of the chain answers; nothing where it is not there yet."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
        return db.execute(sql).fetchall()
