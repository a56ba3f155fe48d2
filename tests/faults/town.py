"""A town of gas sensors under a continuous load, run by the real processes, and what stands in their files.

Every sensor follows a file of lines. What was written there is the oracle: it knows nothing of outboxes, brokers and
logs, and each line has a value of its own, so that a row of the history names the line that it comes from.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from benchmarks.setting import write_city
from models.config import FILE, Config, Sensor, load, to_toml
from models.supervise import Child, Supervisor
from models.up import make_keys
from stream.recorded import Recorded
from stream.records import decode_order
from tests.faults.ground import GROUNDS, Ground, Reading, child, query
from tests.faults.proxy import Proxy

STREETS: Final = 20
LINES_PER_S: Final = 40.0
CALM: Final = 1.0
"""Percent of the explosive limit: far below any threshold. Lines add a millionth each, to tell them apart."""
ALARM: Final = 25.0
START_S: Final = 180.0
SETTLE_S: Final = 180.0
"""Without any progress; how fast this machine is proves nothing."""
BEHIND: Final = 20
EDGE_BROKER: Final = "edge-broker"
LOST: Final = "a line was lost"


class Town:
    """The chain on a city of its own, every process apart, the edge behind a proxy.

    Args:
        folder: for everything.
        sensors: one zone each.
        on: what it stands on: `embedded` or `servers`.
        preload: environment of the edge, for a library that lies about the time.

    Attributes:
        lines: proxies, by who speaks to whom.
        workers: names of the processes that are the stream.
    """

    def __init__(
        self, folder: Path, *, sensors: int, on: str = "embedded", preload: dict[str, str] | None = None
    ) -> None:
        self.folder, self.state = folder, folder / "state"
        self.state.mkdir(parents=True)
        self.devices = write_city(folder / "city", devices=sensors, streets=STREETS, units=max(135, sensors))
        self._make_gas_sensors()
        self._ground: Ground = GROUNDS[on](self.state)
        self.workers = self._ground.workers
        self.lines = {EDGE_BROKER: Proxy(self._ground.mqtt.port), **self._ground.lines}
        self.config = self._configure()
        make_keys(self.config)
        self._servers = self._ground.servers(self.state / FILE)
        self._chain = self._processes(preload or {})
        self.supervisor = Supervisor([*self._servers, *self._chain], self.state / "up.json")
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
        config = load(self.folder / "city")
        sensors = tuple(Sensor(device=name, source=f"{name}.jsonl") for name in self.devices)
        for name in self.devices:
            (self.folder / "city" / f"{name}.jsonl").touch()
        config = replace(config, state_dir=str(self.state), edge=replace(config.edge, sensors=sensors, cameras=()))
        config = self._ground.configure(config)
        (self.state / FILE).write_bytes(to_toml(config))
        behind = replace(config, mqtt=replace(config.mqtt, port=self.lines[EDGE_BROKER].port))
        (self.state / "edge.toml").write_bytes(to_toml(behind))
        return config

    def _processes(self, preload: dict[str, str]) -> list[Child]:
        file = self.state / FILE
        alerts = child("alerts", self.state, "alerts", str(file), ready_file=self.state / "alerts.json")
        edge = child("edge", self.state, "edge", str(self.state / "edge.toml"))
        if preload:
            edge.command = ["env", *(f"{key}={value}" for key, value in preload.items()), *edge.command]
        return [*self._ground.stream(file), alerts, edge]

    def start(self) -> None:
        """Start every process and the load, and return when all are ready."""
        self.supervisor.start(timeout_s=START_S, only=self._servers)
        self._ground.set_up()
        self.supervisor.start(timeout_s=START_S, only=self._chain)
        threading.Thread(target=self._load, name="load", daemon=True).start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def stop(self) -> None:
        """End the load and every process."""
        self._stop.set()
        self.supervisor.stop()
        for line in self.lines.values():
            line.close()
        for file in self._files.values():
            file.close()

    def has(self, name: str) -> bool:
        """Whether there is such a process."""
        return any(child.name == name for child in self.supervisor.children)

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

    def written(self) -> int:
        """Return how many lines are written."""
        with self._lock:
            return sum(map(len, self._written.values()))

    def waiting(self) -> int:
        """Return how many observations wait in the outbox."""
        return int(query(self.state / "outbox-edge-01.sqlite", "SELECT count(*) FROM outbox")[0][0])

    def unstored(self) -> int:
        """Return how many lines are written of which no reading is in the history yet."""
        return self.written() - len(self.history())

    def unheard(self) -> int:
        """Return how many orders of gas incidents stand in the log that alerts has not stored."""
        with closing(Recorded(self._ground.log(self.config))) as log:
            orders = (decode_order(record.value or b"").order for record in log.records("orders"))
            said = {(one.incident.incident_id, one.revision) for one in orders if one.incident.family == "gas"}
        return len(said - set(self._stored("json_extract(CAST(body AS TEXT), '$.revision')")))

    def settle(self) -> None:
        """Wait until every line written up to now is in the history, and every planted event an incident.

        An edge that is behind sends what is new first. So while it has a backlog, and the history grows, this waits.

        Raises:
            AssertionError: nothing of it came for a long time; it says what is missing.
        """
        with self._lock:
            written = {(device, value) for device, values in self._written.items() for value in values}
        end_s, fewest, most = time.monotonic() + SETTLE_S, len(written) + 1, 0
        while True:
            there = self._answered()
            missing = (written - set(there)) | {(one, ALARM) for one in set(self.planted) - set(self.incidents())}
            if not missing:
                return
            if len(missing) < fewest or (len(there) > most and self.waiting() > BEHIND):
                end_s = time.monotonic() + SETTLE_S
            fewest, most = min(fewest, len(missing)), max(most, len(there))
            if time.monotonic() > end_s:
                where = f"{self.waiting()} observations in the outbox, {len(there)} rows in the history"
                raise AssertionError(f"{LOST}: {len(missing)} missing, such as {sorted(missing)[:3]}; {where}")
            time.sleep(0.2)

    def doubled(self) -> int:
        """Return how many rows of the history are there more than once, or were never written."""
        rows = self.history()
        with self._lock:
            written = {(device, value) for device, values in self._written.items() for value in values}
        return len(rows) - len(written.intersection(rows))

    def history(self) -> list[Reading]:
        """Return every reading in the history.

        Raises:
            OSError: whoever keeps it does not answer.
        """
        return self._ground.readings()

    def _answered(self) -> list[Reading]:
        try:
            return self.history()
        except OSError:
            return []

    def incidents(self) -> list[str]:
        """Return the device of every gas incident that alerts has an order of."""
        return [str(device) for _, device in self._stored("json_extract(CAST(body AS TEXT), '$.incident.sources[0]')")]

    def _stored(self, what: str) -> list[tuple[str, object]]:
        return query(
            self.state / "alerts.db",
            f"SELECT DISTINCT incident_id, {what} FROM entries WHERE kind = 'order_stored'"
            " AND json_extract(CAST(body AS TEXT), '$.incident.family') = 'gas'",
        )


def until(condition: Callable[[], object], limit_s: float, what: str) -> None:
    """Wait for `condition`.

    Raises:
        AssertionError: `what` did not come.
    """
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {limit_s} s: {what}"
        time.sleep(0.01)
