"""How long a street is blind when the worker that owns it is killed: two workers on Kafka, SIGKILL, next decision.

A device of each street sends one observation every 100 ms, and again what is not acknowledged. Measured is the time
from the kill until of each street one observation is decided that was made after it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from models.config import Config
from tests import servers
from tests.stream.rig import Listener, StreamProcess, TestDevice, detection, make_folder, running

DEVICES: Final = ("cam-01", "cam-02")
PROBE_S: Final = 0.1
RESEND_S: Final = 1.0


def say(metric: str, value: float, unit: str, **case: object) -> None:
    line = {"bench": "takeover", "case": {"workers": 2, **case}, "metric": metric, "value": value, "unit": unit}
    print(json.dumps(line), flush=True)


class Probes:
    """Observations of one device, sent until they are acknowledged."""

    def __init__(self, listener: Listener, device_id: str) -> None:
        self.device = TestDevice(listener, device_id)
        self._listener = listener
        self._waiting: dict[int, tuple[float, object]] = {}

    def send(self) -> None:
        """Send a new one, and those again that are due."""
        now_s = time.monotonic()
        acked = self._listener.acked(self.device.device_id)
        made = self.device.observe(detection(0.1))
        self._waiting = {seq: sent for seq, sent in self._waiting.items() if seq not in acked}
        due = [seen for at_s, seen in self._waiting.values() if now_s - at_s > RESEND_S]
        for seen in [made, *due]:
            self.device.send([seen])  # type: ignore[list-item]
            self._waiting[seen.seq] = (now_s, seen)  # type: ignore[attr-defined]


def blind_s(probes: list[Probes], killed: StreamProcess, other: StreamProcess) -> float:
    """Kill one, and return how long the longest of its streets was blind."""
    first = {probe.device.device_id: probe.device.seq + 1 for probe in probes}
    killed.kill()
    killed_s = time.monotonic()
    seen: dict[str, float] = {}
    while len(seen) < len(probes):
        for probe in probes:
            probe.send()
        time.sleep(PROBE_S)
        rows = other.history()
        for name, seq in first.items():
            if name not in seen and any(row[0] == name and row[3] >= seq for row in rows):
                seen[name] = time.monotonic() - killed_s
    return max(seen.values())


def settle(workers: tuple[StreamProcess, StreamProcess], probes: list[Probes]) -> None:
    while [worker.counters()["partitions"] for worker in workers] != [2, 2]:
        for probe in probes:
            probe.send()
        time.sleep(PROBE_S)


def run(config: Config, kills: int) -> None:
    listener = Listener(config)
    probes = [Probes(listener, name) for name in DEVICES]
    blind: list[float] = []
    with running(config, "a") as first, running(config, "b") as second:
        for n in range(kills):
            settle((first, second), probes)
            killed, other = ((first, second), (second, first))[n % 2]
            blind.append(blind_s(probes, killed, other))
            say("blind", round(blind[-1], 3), "s", kill=n)
            killed.start()
    listener.link.stop()
    say("blind_p50", round(statistics.median(blind), 3), "s", kills=kills)
    say("blind_max", round(max(blind), 3), "s", kills=kills)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="gridwarden-") as folder,
        servers.kafka(Path(folder) / "kafka") as kafka,
        servers.mosquitto(Path(folder) / "mosquitto") as mosquitto,
    ):
        config = make_folder(Path(folder) / "city", mosquitto.mqtt, broker=kafka.url)
        run(config, 1 if arguments.quick else arguments.kills)


if __name__ == "__main__":
    main()
