"""The whole chain on one machine: latency from a frame to an officer, observations per second, memory.

    python -m benchmarks.bench_chain [--quick]

Latency: real edge code plays a clip on one camera after the other; from `captured` of the frame that completes the
confirmation to receipt in a separate officer client. Throughput: a separate process offers sealed, distinct
observations, twenty per message, from 200 devices on 20 streets, one in ten above the threshold; a figure counts only
when as many decisions stand in the history as observations were sent.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.setting import Chain, line, running_chain, until
from edge.demo.render import render
from models.clock import now_ms

BENCH = "chain"
STREETS = 20


def latency(incidents: int, clip: Path) -> None:
    """Print the latency of `incidents` fires, one camera each, and the memory of the chain after them."""
    with running_chain(devices=incidents, streets=STREETS) as (chain, devices):
        config = str(chain.effective)
        officer = _start("benchmarks.officer", config)
        received = _Lines(officer)
        until(lambda: "ready" in received.first_words, 60, "the officer client did not start")
        fires = _start("benchmarks.fires", config, str(clip), *devices)
        captured = _Lines(fires)
        until(lambda: len(captured.rows) >= incidents, incidents * 5 + 60, "not every fire was confirmed at the edge")
        expected = {incident: int(ms) for _, incident, ms in captured.rows}
        until(lambda: expected.keys() <= received.first_words, 60, "not every incident reached the officer")
        arrived = {row[0]: int(row[1]) for row in received.rows if len(row) == 2}
        delays = np.array([arrived[incident] - ms for incident, ms in expected.items()])
        case = {"incidents": len(delays), "clip": clip.name}
        line(BENCH, case, "latency_p50_ms", float(np.percentile(delays, 50)), "ms")
        line(BENCH, case, "latency_p99_ms", float(np.percentile(delays, 99)), "ms")
        for name, mib in (chain.resident_mib() | {"edge": _resident(fires)}).items():
            line(BENCH, case | {"process": name}, "resident_mib", mib, "MiB")
        for process in (fires, officer):
            process.communicate(timeout=30)


def throughput(rate: float, seconds: float) -> None:
    """Print how fast the chain decides what is offered at `rate` per second for `seconds`."""
    with running_chain(devices=200, streets=STREETS) as (chain, devices):
        command = [sys.executable, "-P", "-m", "benchmarks.load", str(chain.effective)]
        command += ["--rate", str(rate), "--seconds", str(seconds), *devices]
        load = subprocess.Popen(command, stdout=subprocess.PIPE)
        out, _ = load.communicate(timeout=seconds + 200)
        sent = json.loads(out)
        until(lambda: chain.history_rows() >= sent["sent"], 60, "not every observation was decided")
        took_s = (now_ms() - sent["begun_ms"]) / 1000
        rows = chain.history_rows()
        case = {"offered_per_s": rate, "devices": 200, "streets": STREETS, "per_message": 20, "above": 0.1}
        if rows != sent["sent"]:
            raise SystemExit(
                f"decisions {rows} are not the observations sent {sent['sent']}: the figure does not count"
            )
        line(BENCH, case, "observations_per_s", rows / took_s, "1/s")
        line(BENCH, case, "generator_cpu_share", sent["cpu_share"], "cores")
        line(BENCH, case, "resent_messages", sent["resent_messages"], "messages")
        _memory(chain, case)


def _memory(chain: Chain, case: Mapping[str, object]) -> None:
    resident = chain.resident_mib()
    for name, mib in resident.items():
        line(BENCH, {**case, "process": name}, "resident_mib", mib, "MiB")
    line(BENCH, {**case, "process": "all"}, "resident_mib", sum(resident.values()), "MiB")


def _start(module: str, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", module, *args]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _resident(process: subprocess.Popen[str]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    kib = next(row.split()[1] for row in status.splitlines() if row.startswith("VmRSS"))
    return int(kib) / 1024


class _Lines:
    """The lines that a process prints, split into words, as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.rows: list[list[str]] = []
        self.first_words: set[str] = set()
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            words = text.split()
            self.rows.append(words)
            self.first_words.add(words[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few incidents and a short load: ends within 40 s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "fire.mp4"
        render(clip, 16, fire_from_s=0.0)
        latency(6 if args.quick else 210, clip)
    if args.quick:
        throughput(5000, 5)
    else:
        for rate in (5000, 8000):
            throughput(rate, 30)


if __name__ == "__main__":
    main()
