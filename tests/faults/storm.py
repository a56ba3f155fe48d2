"""Faults at random, one after the other, under a load that never stops; after each everything must be there once.

    python -m tests.faults.storm --faults 200 --seed 7

prints a table, and resumes with `--from N` where it was stopped: fault N is the same in every run of a seed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chain.oracle import locked
from tests.faults.town import Town, until

PAUSE_S: Final = 8.0
"""Longer than any session timeout: a process that is thawed after it speaks for a world that has moved on."""
UNHEARD: Final = 5
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
    """Faults on a town."""

    def __init__(self, town: Town, *, clock: Path | None) -> None:
        self._town = town
        self._clock = clock
        self.faults: list[tuple[str, str, Callable[[], int]]] = [
            *(("kill", name, lambda name=name: self._kill(name)) for name in ("edge", "broker", "stream", "alerts")),
            *(("pause", name, lambda name=name: self._pause(name)) for name in ("edge", "broker", "stream", "alerts")),
            ("restart", "stream", lambda: self._restart("stream")),
            ("restart", "alerts", lambda: self._restart("alerts")),
            ("cut", "edge-broker", self._cut),
            ("delay", "edge-broker", self._delay),
            ("disk full", "stream", lambda: self._disk_full("stream")),
            ("disk full", "edge", lambda: self._disk_full("edge")),
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
        until(lambda: child.pid is not None, 30.0, f"{name} runs")
        assert child.pid is not None
        return child.pid

    @contextmanager
    def _frozen(self, name: str) -> Iterator[None]:
        pid = self._pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def _something_to_lose(self, name: str) -> Iterator[int]:
        """Let what a process should answer for pile up before it; yield how much that is."""
        if name == "alerts":
            with self._frozen("alerts"):
                self._town.plant()
                until(lambda: self._town.unheard("orders") > 0, 30.0, "an order waits for alerts")
                yield self._town.unheard("orders")
        elif name == "stream":
            with locked(self._town.state / "log.db"):  # it takes messages and cannot store them
                at_stake = self._piled_up("observations wait for the stream")
                yield at_stake
        else:
            with self._frozen("broker" if name == "broker" else "stream"):
                at_stake = self._piled_up("observations wait in the outbox")
                yield at_stake

    def _piled_up(self, what: str, pending: Callable[[], int] | None = None) -> int:
        """Wait until enough is unanswered, and return how much that is: the next look may find it answered."""
        found: list[int] = []

        def is_enough() -> bool:
            found[:] = [(pending or self._town.waiting)()]
            return found[0] >= UNHEARD

        until(is_enough, 30.0, what)
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

    def _cut(self) -> int:
        self._town.proxy.cut()
        at_stake = self._piled_up("observations wait in the outbox")
        time.sleep(1.0)
        self._town.proxy.mend()
        return at_stake

    def _delay(self) -> int:
        self._town.proxy.delay_s = 0.7
        at_stake = self._piled_up("observations wait in the outbox")
        time.sleep(2.0)
        self._town.proxy.mend()
        return at_stake

    def _disk_full(self, name: str) -> int:
        """Let no file of a process grow for a while: what a full disk does to it."""
        pid = self._pid(name)
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        smallest = min(path.stat().st_size for path in self._town.state.glob("*.db-wal")) if name == "stream" else 0
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (max(smallest, 4096), limits[1]))
        try:
            # The edge cannot even put into its outbox what it reads: then the lines of its files are at stake.
            pending = self._town.waiting if name == "stream" else self._town.unstored
            at_stake = self._piled_up(f"something waits for the {name}", pending)
            time.sleep(2.0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        return at_stake

    def _step_clock(self) -> int:
        """Step the wall clock of the edge an hour ahead and back again; its boot clock goes on."""
        assert self._clock is not None
        with self._frozen("stream"):
            at_stake = self._piled_up("observations wait in the outbox")
            self._clock.write_text("+3600")
        time.sleep(2.0)
        self._clock.write_text("-86400")
        time.sleep(2.0)
        self._clock.write_text("+0")
        return at_stake


def run(folder: Path, *, faults: int, seed: int, first: int = 0) -> Iterator[Outcome]:
    """Yield what was found after each fault.

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
    town = Town(folder, sensors=3 * faults + 10, preload=preload)
    try:
        town.start()
        storm = Storm(town, clock=clock)
        town.plant()
        town.settle()
        for number in range(first, faults):
            try:
                yield storm.strike(number, seed)
            except AssertionError as exc:
                where = (
                    f"fault {number}: python -m tests.faults.storm --faults {number + 1} --seed {seed} --from {number}"
                )
                raise AssertionError(f"{exc}\n{where}\n{_last_words(town)}") from exc
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", type=int, default=0, dest="first")
    arguments = parser.parse_args()
    sys.stdout.write(HEAD + "\n")
    with tempfile.TemporaryDirectory(prefix="gridwarden-storm-") as name:
        for outcome in run(Path(name), faults=arguments.faults, seed=arguments.seed, first=arguments.first):
            sys.stdout.write(row(outcome) + "\n")
            sys.stdout.flush()
            if not outcome.is_clean:
                sys.exit(1)
