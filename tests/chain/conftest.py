"""A whole chain, as ``gridwarden up`` runs it, on a sample city."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge.demo.render import render
from models.config import Config, load
from models.supervise import gridwarden


@dataclass
class Up:
    """A running ``gridwarden up``."""

    state: Path
    process: subprocess.Popen[bytes]

    @property
    def config(self) -> Config:
        return load(self.state / "gridwarden.toml")

    @property
    def outbox(self) -> Path:
        return self.state / "outbox-edge-01.sqlite"

    @property
    def log(self) -> Path:
        return self.state / "log.db"

    def pid(self, name: str) -> int:
        """Return the process id of a child, once it has one."""
        found: list[int] = []

        def has_pid() -> bool:
            path = self.state / "up.json"
            pid = json.loads(path.read_text()).get(name, {}).get("pid") if path.exists() else None
            found[:] = [pid] if pid else []
            return bool(found)

        self.until(has_pid, f"{name} runs")
        return found[0]

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a child, and to nobody else."""
        os.kill(self.pid(name), number)

    def until(self, condition: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
        """Wait for `condition`; it fails with the logs of all processes."""
        deadline_s = time.monotonic() + limit_s
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                pytest.fail(f"not within {limit_s} s: {what}\n{self.logs()}")
            time.sleep(0.02)

    def logs(self) -> str:
        """Return the end of every log."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-2500:]}" for path in sorted(self.state.glob("*.log")))

    def report(self, limit_s: float) -> dict[str, Any]:
        """Wait for the end and return the JSON object."""
        try:
            out, _ = self.process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"not at its end after {limit_s} s\n{self.logs()}")
        assert self.process.returncode == 0, self.logs()
        report: dict[str, Any] = json.loads(out)
        return report


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start ``gridwarden up`` with more arguments; it is stopped after the test, whatever happened."""
    started: list[Up] = []

    def start(*args: str, state: Path = tmp_path / "state") -> Up:
        state.mkdir(exist_ok=True)
        command = gridwarden("--log-level", "WARNING", "up", "--state", str(state), *args)
        with (state / "up.stderr.log").open("wb") as sink:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink)
        started.append(Up(state, process))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.terminate()
            one.process.wait(40)
        assert one.process.stdout is not None
        one.process.stdout.close()


@pytest.fixture(scope="session")
def burning_street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn street that burns for a minute."""
    path = tmp_path_factory.mktemp("clip") / "burning_street.mp4"
    render(path, 60)
    return path
