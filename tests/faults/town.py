"""A town of gas sensors under a continuous load, run by the real processes, and what stands in their files.

Every sensor follows a file of lines. What was written there is the oracle: it knows nothing of outboxes, brokers and
logs, and each line has a value of its own, so that a row of the history names the line that it comes from.
"""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from benchmarks.setting import write_city
from models.broker import free_port
from models.config import FILE, Config, Sensor, load, to_toml
from models.supervise import Child, Supervisor, gridwarden
from models.up import make_keys
from tests.chain.oracle import unacknowledged
from tests.faults.proxy import Proxy
from tests.servers import answers

STREETS: Final = 20
LINES_PER_S: Final = 40.0
CALM: Final = 1.0
"""Percent of the explosive limit: far below any threshold. Lines add a millionth each, to tell them apart."""
ALARM: Final = 25.0
SETTLE_S: Final = 60.0
LOST: Final = "a line was lost or doubled"


class Town:
    """The chain on a city of its own, every process apart, the edge behind a proxy.

    Args:
        folder: for everything.
        sensors: one zone each.
        preload: environment of the edge, for a library that lies about the time.
    """

    def __init__(self, folder: Path, *, sensors: int, preload: dict[str, str] | None = None) -> None:
        self.folder, self.state = folder, folder / "state"
        self.devices = write_city(folder / "city", devices=sensors, streets=STREETS, units=max(135, sensors))
        self._make_gas_sensors()
        self.broker_port = free_port()
        self.proxy = Proxy(self.broker_port)
        self.config = self._configure()
        make_keys(self.config)
        self._preload = preload or {}
        self.supervisor = Supervisor(self._children(), self.state / "up.json")
        self._files = {name: (folder / "city" / f"{name}.jsonl").open("ab", buffering=0) for name in self.devices}
        self._written: dict[str, list[float]] = {name: [] for name in self.devices}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._random = random.Random(5)
        self.planted: list[str] = []

    # --- the town --------------------------------------------------------------------------------------------------

    def _make_gas_sensors(self) -> None:
        path = self.folder / "city" / "places.geojson"
        city = json.loads(path.read_text())
        for feature in city["features"]:
            if feature["properties"].get("kind") == "camera":
                feature["properties"]["kind"] = "gas"
        path.write_text(json.dumps(city))

    def _configure(self) -> Config:
        self.state.mkdir()
        config = load(self.folder / "city")
        sensors = tuple(Sensor(device=name, source=f"{name}.jsonl") for name in self.devices)
        for name in self.devices:
            (self.folder / "city" / f"{name}.jsonl").touch()
        config = replace(
            config,
            state_dir=str(self.state),
            mqtt=replace(config.mqtt, port=self.broker_port),
            edge=replace(config.edge, sensors=sensors, cameras=()),
        )
        (self.state / FILE).write_bytes(to_toml(config))
        behind = replace(config, mqtt=replace(config.mqtt, port=self.proxy.port))
        (self.state / "edge.toml").write_bytes(to_toml(behind))
        return config

    def _children(self) -> list[Child]:
        own, behind = str(self.state / FILE), str(self.state / "edge.toml")
        children = []
        for name, file, ready in (
            ("broker", own, None),
            ("stream", own, self.state / "stream.json"),
            ("alerts", own, self.state / "alerts.json"),
            ("edge", behind, None),
        ):
            command = gridwarden("--log-level", "WARNING", name, file)
            if name == "edge" and self._preload:
                command = ["env", *(f"{key}={value}" for key, value in self._preload.items()), *command]
            is_there = ready.exists if ready else self._broker_answers if name == "broker" else (lambda: True)
            children.append(Child(name, command, ready_file=ready, ready=is_there, log_file=self.state / f"{name}.log"))
        return children

    def _broker_answers(self) -> bool:
        return answers(self.broker_port)

    def start(self) -> None:
        """Start every process and the load, and return when all are ready."""
        self.supervisor.start(timeout_s=120.0, only=self.supervisor.children)
        threading.Thread(target=self._load, name="load", daemon=True).start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def stop(self) -> None:
        """End the load and every process."""
        self._stop.set()
        self.supervisor.stop()
        self.proxy.close()
        for file in self._files.values():
            file.close()

    def child(self, name: str) -> Child:
        """Return a process."""
        return next(child for child in self.supervisor.children if child.name == name)

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.supervisor.watch()

    # --- the load --------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        while not self._stop.wait(1 / LINES_PER_S):
            self._write(self._random.choice(self.devices), CALM)

    def _write(self, device: str, level: float) -> None:
        with self._lock:
            written = self._written[device]
            value = round(level + (len(written) + 1) * 1e-6, 6)
            line = json.dumps({"property": "gas", "value": value, "unit": "%"}) + "\n"
            self._files[device].write(line.encode())
            written.append(value)

    def plant(self) -> str:
        """Let the gas alarm of a zone go off in which all was quiet so far; return the device."""
        device = self.devices[len(self.planted)]
        self._write(device, ALARM)
        self.planted.append(device)
        return device

    # --- what came of it -------------------------------------------------------------------------------------------

    def waiting(self) -> int:
        """Return how many observations wait in the outbox."""
        return int(self._query(self.state / "outbox-edge-01.sqlite", "SELECT count(*) FROM outbox")[0][0])

    def unstored(self) -> int:
        """Return how many lines are written of which no reading is in the history yet."""
        with self._lock:
            written = sum(map(len, self._written.values()))
        return written - len(self.history())

    def unheard(self, topic: str) -> int:
        """Return how many records of a topic nobody has committed yet."""
        return unacknowledged(self.state / "log.db", topic)

    def settle(self) -> None:
        """Wait until every line written up to now is in the history, and every planted event an incident.

        Raises:
            AssertionError: they are not within a minute; it says what is missing.
        """
        with self._lock:
            written = {(device, value) for device, values in self._written.items() for value in values}
        end_s = time.monotonic() + SETTLE_S
        while missing := (written - set(self.history())) | {
            (one, ALARM) for one in set(self.planted) - set(self.incidents())
        }:
            if time.monotonic() > end_s:
                raise AssertionError(
                    f"{LOST}: {len(missing)} missing after {SETTLE_S:.0f} s, such as {sorted(missing)[:3]}"
                )
            time.sleep(0.1)

    def doubled(self) -> int:
        """Return how many rows of the history are there more than once."""
        return sum(count - 1 for count in Counter(self.history()).values())

    def history(self) -> list[tuple[str, float]]:
        """Return (device, value) of every reading in the history."""
        rows = self._query(self.state / "history.db", "SELECT device_id, value FROM history WHERE kind = 'reading'")
        return [(str(device), float(value)) for device, value in rows]

    def incidents(self) -> list[str]:
        """Return the device of every gas incident that alerts has an order of."""
        rows = self._query(
            self.state / "alerts.db",
            "SELECT DISTINCT incident_id, json_extract(CAST(body AS TEXT), '$.incident.sources[0]') FROM entries"
            " WHERE kind = 'order_stored' AND json_extract(CAST(body AS TEXT), '$.incident.family') = 'gas'",
        )
        return [str(device) for _, device in rows]

    def _query(self, path: Path, sql: str) -> list[tuple[Any, ...]]:
        def ask() -> list[tuple[Any, ...]]:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
                return db.execute(sql).fetchall()

        return ask() if path.exists() else []


def until(condition: Callable[[], object], limit_s: float, what: str) -> None:
    """Wait for `condition`.

    Raises:
        AssertionError: `what` did not come.
    """
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {limit_s} s: {what}"
        time.sleep(0.01)
