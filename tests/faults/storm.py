"""Faults at random, one after the other, under a load that never stops; after each everything must be there once.

    python -m tests.faults.storm --faults 200 --seed 7

prints a table, and resumes with `--from N` where it was stopped: fault N is the same in every run of a seed. The first
half of the faults strikes a town on the embedded log, the other a town on Mosquitto, Kafka and InfluxDB.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.chain.oracle import locked
from tests.faults.ground import GROUNDS, missing
from tests.faults.town import Town, until

PAUSE_S: Final = 8.0
"""Longer than any session timeout: a process that is thawed after it speaks for a world that has moved on."""
UNHEARD: Final = 5
PATIENCE_S: Final = 90.0
FAKETIME: Final = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One fault, and what was found after it.

    Attributes:
        unacknowledged: observations or orders that nobody had answered for when it struck.
        recovery_s: until every line and every planted event was there.
    """

    number: int
    fault: str
    target: str
    unacknowledged: int
    recovery_s: float
    lines: int
    lost: int
    doubled: int
    incidents: int
    planted: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, doubled or made up."""
        return self.lost == self.doubled == 0 and self.incidents == self.planted


class Storm:
    """Faults on a town.

    Attributes:
        faults: what may happen, to whom, and how; the order is part of what a seed means.
    """

    def __init__(self, town: Town, *, clock: Path | None) -> None:
        self._town = town
        self._clock = clock
        mine = ("edge", "broker", *town.workers, "alerts")
        servers = tuple(name for name in ("kafka", "influxdb", "history") if town.has(name))
        self.faults: list[tuple[str, str, Callable[[], int]]] = [
            *(("kill", name, partial(self._kill, name)) for name in mine + servers),
            *(("pause", name, partial(self._pause, name)) for name in mine + servers),
            *(("restart", name, partial(self._restart, name)) for name in (town.workers[0], "alerts", *servers)),
            *(("cut", name, partial(self._cut, name)) for name in town.lines),
            *(("delay", name, partial(self._delay, name)) for name in town.lines),
            *(("disk full", name, partial(self._disk_full, name)) for name in (servers[:1] or town.workers)),
            ("disk full", "edge", partial(self._disk_full, "edge")),
            *((("clock step", "edge", self._step_clock),) if clock else ()),
        ]

    def strike(self, number: int, seed: int) -> Outcome:
        """Let fault `number` of a seed happen, and look at everything after it."""
        fault, target, act = random.Random(f"{seed}/{number}").choice(self.faults)
        before = set(self._town.planted)
        unacknowledged = act()
        assert unacknowledged > 0, f"{fault} {target} struck when there was nothing to lose"
        self._town.plant()
        started_s = time.monotonic()
        self._town.settle()
        history, incidents = self._town.history(), self._town.incidents()
        assert len(self._town.planted) > len(before)
        return Outcome(
            number=number,
            fault=fault,
            target=target,
            unacknowledged=unacknowledged,
            recovery_s=time.monotonic() - started_s,
            lines=len(history),
            lost=0,
            doubled=self._town.doubled(),
            incidents=len(incidents),
            planted=len(self._town.planted),
        )

    # --- the faults ------------------------------------------------------------------------------------------------

    def _pid(self, name: str) -> int:
        child = self._town.child(name)
        until(lambda: child.pid is not None, PATIENCE_S, f"{name} runs")
        assert child.pid is not None
        return child.pid

    @contextmanager
    def _frozen(self, *names: str) -> Iterator[None]:
        pids = [self._pid(name) for name in names]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextmanager
    def _something_to_lose(self, name: str) -> Iterator[int]:
        """Let what a process should answer for pile up before it; yield how much that is."""
        if name == "alerts":
            with self._frozen("alerts"):
                self._town.plant()
                yield self._piled_up("an order waits for alerts", self._town.unheard, enough=1)
        elif name in {"influxdb", "history"}:
            with self._frozen("influxdb"):
                yield self._piled_up("decisions wait for the database", self._decided_since(self._town.written()))
        elif name in {"kafka", *self._town.workers}:
            # The stream takes messages and cannot store them.
            no_log = self._frozen("kafka") if self._town.has("kafka") else locked(self._town.state / "log.db")
            with no_log:
                yield self._piled_up("observations wait for the stream")
        else:
            with self._frozen(*(("broker",) if name == "broker" else self._town.workers)):
                yield self._piled_up("observations wait in the outbox")

    def _decided_since(self, before: int) -> Callable[[], int]:
        """Count the lines since then that the stream has taken: the database stands still and cannot have them."""
        return lambda: self._town.written() - before - self._town.waiting()

    def _piled_up(self, what: str, pending: Callable[[], int] | None = None, *, enough: int = UNHEARD) -> int:
        """Wait until enough is unanswered, and return how much that is: the next look may find it answered."""
        found: list[int] = []

        def is_enough() -> bool:
            found[:] = [(pending or self._town.waiting)()]
            return found[0] >= enough

        until(is_enough, PATIENCE_S, what)
        return found[0]

    def _kill(self, name: str) -> int:
        with self._something_to_lose(name) as at_stake:
            os.kill(self._pid(name), signal.SIGKILL)
        return at_stake

    def _restart(self, name: str) -> int:
        with self._something_to_lose(name) as at_stake:
            os.kill(self._pid(name), signal.SIGTERM)
        return at_stake

    def _pause(self, name: str) -> int:
        with self._something_to_lose(name) as at_stake:
            pass
        with self._frozen(name):
            self._town.plant()
            time.sleep(PAUSE_S)
        return at_stake

    def _cut(self, name: str) -> int:
        line, before = self._town.lines[name], self._town.written()
        line.cut()
        at_stake = self._piled_up(f"something waits before the line {name}", self._before(name, before))
        time.sleep(1.0)
        line.mend()
        return at_stake

    def _delay(self, name: str) -> int:
        line, before = self._town.lines[name], self._town.written()
        line.delay_s = 0.7
        at_stake = self._piled_up(f"something waits before the line {name}", self._before(name, before))
        time.sleep(2.0)
        line.mend()
        return at_stake

    def _before(self, name: str, written: int) -> Callable[[], int]:
        """Count what waits before a line: what was decided since, or what is in the outbox."""
        return self._decided_since(written) if name == "history-influx" else self._town.waiting

    def _disk_full(self, name: str) -> int:
        """Let no file of a process grow for a while: what a full disk does to it."""
        pid = self._pid(name)
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        smallest = min((path.stat().st_size for path in self._town.state.glob("*.db-wal")), default=0)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (max(smallest if name == "stream" else 0, 4096), limits[1]))
        try:
            # The edge cannot even put into its outbox what it reads: then the lines of its files are at stake.
            pending = self._town.unstored if name == "edge" else self._town.waiting
            at_stake = self._piled_up(f"something waits for the {name}", pending)
            time.sleep(2.0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        return at_stake

    def _step_clock(self) -> int:
        """Step the wall clock of the edge an hour ahead and back again; its boot clock goes on."""
        assert self._clock is not None
        with self._frozen(*self._town.workers):
            at_stake = self._piled_up("observations wait in the outbox")
            self._clock.write_text("+3600")
        time.sleep(2.0)
        self._clock.write_text("-86400")
        time.sleep(2.0)
        self._clock.write_text("+0")
        return at_stake


def run(folder: Path, numbers: Sequence[int], *, seed: int, on: str = "embedded") -> Iterator[Outcome]:
    """Yield what was found after each of these faults of a seed, in a town on that ground.

    Raises:
        AssertionError: something was lost or doubled; it says after which fault, and how to repeat it.
    """
    clock = folder / "faketime" if FAKETIME else None
    preload = {}
    if clock:
        clock.write_text("+0")
        preload = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
    town = Town(folder, sensors=3 * len(numbers) + 10, on=on, preload=preload)
    try:
        town.start()
        storm = Storm(town, clock=clock)
        town.plant()
        town.settle()
        for number in numbers:
            try:
                yield storm.strike(number, seed)
            except AssertionError as exc:
                again = f"python -m tests.faults.storm --on {on} --faults {number + 1} --seed {seed} --from {number}"
                raise AssertionError(f"{exc}\nfault {number}: {again}\n{_last_words(town)}") from exc
    finally:
        town.stop()


def _last_words(town: Town) -> str:
    return "\n".join(f"--- {path.name}\n{path.read_text()[-1500:]}" for path in sorted(town.state.glob("*.log")))


COLUMNS: Final = ("fault", "of", "at stake", "back in", "rows", "lost", "twice", "incidents")
HEAD: Final = "     {:<11} {:<12} {:>8} {:>8} {:>7} {:>5} {:>6} {:>10}".format(*COLUMNS)


def row(one: Outcome) -> str:
    """Return an outcome as a line of the table."""
    incidents = f"{one.incidents}/{one.planted}"
    return (
        f"{one.number:>4} {one.fault:<11} {one.target:<12} {one.unacknowledged:>8} {one.recovery_s:>6.1f} s"
        f" {one.lines:>7} {one.lost:>5} {one.doubled:>6} {incidents:>10}"
    )


def _parts(on: str, faults: int, first: int) -> list[tuple[str, range]]:
    """Return which faults happen where: with both grounds, the first half on the embedded one."""
    half = {"embedded": faults, "servers": 0}.get(on, (faults + 1) // 2)
    return [("embedded", range(first, half)), ("servers", range(max(first, half), faults))]


def main() -> int:
    """Let faults happen, and print a table of what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--keep", action="store_true", help="leave the files of every town in the temporary folder")
    parser.add_argument("--on", choices=("both", *GROUNDS), default="both", help="what the town stands on")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else the town would outlive its runner
    sys.stdout.write(f"{HEAD}\n")
    for on, numbers in _parts(arguments.on, arguments.faults, arguments.first):
        if on == "servers" and numbers and (absent := missing()):
            sys.stdout.write(f"{len(numbers)} faults on servers are left out: {'; '.join(absent)}\n")
            continue
        with contextlib.ExitStack() as stack:
            name = tempfile.mkdtemp(prefix="gridwarden-storm-")
            if not arguments.keep:
                stack.callback(shutil.rmtree, name)
            for outcome in run(Path(name), numbers, seed=arguments.seed, on=on) if numbers else ():
                sys.stdout.write(f"{row(outcome)}\n")
                sys.stdout.flush()
                if not outcome.is_clean:
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
