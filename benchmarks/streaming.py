"""A stream for the benchmarks: a city, a Mosquitto, workers, and what stands where `alerts` would."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from msgspec.structs import replace

from benchmarks.setting import until, write_city
from benchmarks.share import shared
from models import seal, topics
from models.config import FILE, Config, Mqtt, load, to_toml
from models.supervise import gridwarden
from stream.status import file_of

SAMPLE_S: Final = 0.5
STALLED_S: Final = 20.0
READY_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class Point:
    """Where the log is and who reads it.

    Attributes:
        log: ``embedded`` or ``kafka``.
        broker: for the config.
        worker_cores: that each worker may use; None: as many as it gets.
    """

    log: str
    broker: str
    workers: int = 1
    worker_cores: float | None = None

    def case(self) -> dict[str, object]:
        """Return what a line says of it."""
        share = {"worker_cores": self.worker_cores} if self.worker_cores else {}
        return {"log": self.log, "workers": self.workers, **share}


@dataclass
class Memory:
    """Resident memory of some processes and their children, twice a second."""

    processes: Sequence[psutil.Process]
    mib: list[float] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look while the block runs."""
        ended = threading.Event()
        looking = threading.Thread(target=self._look, args=(ended,), daemon=True)
        looking.start()
        try:
            yield
        finally:
            ended.set()
            looking.join()

    def _look(self, ended: threading.Event) -> None:
        while True:
            family = [one for process in self.processes for one in (process, *process.children(recursive=True))]
            self.mib.append(sum(one.memory_info().rss for one in family) / 2**20)
            if ended.wait(SAMPLE_S):
                return


class Receiver:
    """The process that takes the orders."""

    def __init__(self, config: Path) -> None:
        command = [sys.executable, "-P", "-m", "benchmarks.receiver", str(config)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def came(self) -> tuple[int, ...]:
        """Return of how many incidents and devices orders came so far, and the most evidence of one of them."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        return tuple(map(int, self._line().split()))

    def wait_for(self, *, incidents: int = 0, devices: int = 0, evidence: int = 0) -> None:
        """Return when so much came, or nothing further for `STALLED_S`."""
        grows_until(self.came, (incidents, devices, evidence))

    def end(self) -> dict[str, Any]:
        """End it and return what it noted."""
        out, _ = self._process.communicate(timeout=30)
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found


class Running:
    """A stream that runs.

    Attributes:
        devices: ids of its cameras.
    """

    def __init__(self, config: Config, devices: Sequence[str], names: Sequence[str | None]) -> None:
        self.config, self.devices, self._names = config, devices, names
        self.path = Path(config.folder) / FILE
        self.processes: list[psutil.Process] = []

    def counted(self, what: str) -> int:
        """Return a counter, of all workers together."""
        files = [self.config.state / file_of(name) for name in self._names]
        return sum(int(json.loads(file.read_text())["counters"][what]) for file in files)

    def wait_for(self, decisions: int) -> None:
        """Return when so many are counted, or no further one for `STALLED_S`."""
        grows_until(lambda: (self.counted("decisions"),), (decisions,))

    def rows(self) -> int:
        """Return how many decisions stand in the history."""
        with closing(sqlite3.connect(f"file:{self.config.state / 'history.db'}?mode=ro", uri=True, timeout=60)) as db:
            return int(db.execute("SELECT count(*) FROM history").fetchone()[0])

    def cpu_s(self) -> float:
        """Return the processor time that the workers and their children have had."""
        family = [one for process in self.processes for one in (process, *process.children(recursive=True))]
        return sum(sum(one.cpu_times()[:2]) for one in family)

    def is_ready(self) -> bool:
        """Whether all workers serve.

        Raises:
            RuntimeError: one has ended.
        """
        if not all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in self.processes):
            raise RuntimeError("a worker has ended")
        return all((self.config.state / file_of(name)).exists() for name in self._names)

    def load(self, module: str, *args: object) -> dict[str, Any]:
        """Run a load in a process of its own, and return what it printed."""
        command = [sys.executable, "-P", "-m", module, str(self.path), *map(str, args)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@dataclass(frozen=True, slots=True)
class City:
    """A config folder, written once and copied for each point."""

    folder: Path
    devices: Sequence[str]

    @classmethod
    def write(cls, folder: Path, *, devices: int, streets: int) -> City:
        """Write it, with room for all devices."""
        return cls(folder, write_city(folder, devices=devices, streets=streets, units=max(300, devices // 2)))


@contextmanager
def running(city: City, folder: Path, point: Point, mqtt: Mqtt) -> Iterator[Running]:
    """Run the workers of `point` on a copy of `city` in `folder`; gone afterwards."""
    shutil.copytree(city.folder, folder)
    config = replace(load(folder), mqtt=mqtt, tenant=folder.name)
    config = replace(config, stream=replace(config.stream, broker=point.broker))
    (folder / FILE).write_bytes(to_toml(config))
    config = load(folder)
    config.state.mkdir(parents=True, exist_ok=True)
    seal.make_keys(config.keys, [topics.STREAM, topics.ALERTS, "edge-01", *city.devices])
    names: list[str | None] = [None] if point.workers == 1 else [f"w{n}" for n in range(point.workers)]
    stream = Running(config, city.devices, names)
    with ExitStack() as stack:
        log = stack.enter_context((folder / "stream.log").open("ab"))
        for name in names:
            command = gridwarden("--log-level", "WARNING", "stream", str(folder))
            child = subprocess.Popen([*command, *(["--worker", name] if name else [])], stdout=log, stderr=log)
            stack.callback(_end, child)
            stream.processes.append(psutil.Process(child.pid))
        try:
            until(stream.is_ready, READY_S, "the stream did not start")
            until(lambda: _is_shared(stream), READY_S, "the workers did not come to terms")
            if point.worker_cores:
                stack.enter_context(shared(stream.processes, point.worker_cores))
            yield stream
        finally:
            sys.stderr.write((folder / "stream.log").read_text()[-3000:])


def _is_shared(stream: Running) -> bool:
    parts = stream.config.stream.partitions
    return stream.counted("partitions") == parts


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def grows_until(count: Callable[[], Sequence[int]], wanted: Sequence[int]) -> None:
    """Return when all counts have reached what is wanted, or none has grown for `STALLED_S`."""
    last: Sequence[int] = ()
    since_s = time.monotonic()
    while True:
        found = count()
        if all(one >= end for one, end in zip(found, wanted, strict=True)):
            return
        if found != last:
            last, since_s = found, time.monotonic()
        elif time.monotonic() - since_s > STALLED_S:
            return
        time.sleep(0.05)


def line(case: Mapping[str, object], metric: str, value: float, unit: str, **more: object) -> None:
    """Print one point."""
    row = {"bench": "stream", "case": case, "metric": metric, "value": round(value, 3), "unit": unit, **more}
    print(json.dumps(row), flush=True)
