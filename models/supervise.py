"""Child processes that are started in order, restarted when they die, and stopped in reverse order."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from models.errors import ConfigError, GridwardenError

log = logging.getLogger(__name__)

STOP_S: Final = 6.0
FIRST_RESTART_S: Final = 0.3
LAST_RESTART_S: Final = 10.0
CALM_S: Final = 30.0
"""A child that lived this long starts again at the first delay."""


def gridwarden(*args: str) -> list[str]:
    """Return the command line of one of our own subcommands, in this very Python."""
    # -P: a folder named `models` in the working directory must not stand in for ours.
    return [sys.executable, "-P", "-m", "models.cli", *args]


def _die_with_parent() -> None:
    """Make the kernel end this child when its parent goes, however it goes."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@dataclass
class Child:
    """One process that shall run.

    Attributes:
        name: for the log and the state file.
        command: its command line.
        ready_file: a file that it writes when it serves; removed before each start, so that it cannot be a stale one.
        ready: true once it serves; asked again and again after a start.
        log_file: where its standard error goes.
    """

    name: str
    command: Sequence[str]
    ready_file: Path | None
    ready: Callable[[], bool]
    log_file: Path
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    restarts: int = 0
    restart_at_s: float = 0.0
    delay_s: float = FIRST_RESTART_S
    log_read: int = 0

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def start(self) -> None:
        """Start the process in a session of its own, so that a Ctrl-C in the terminal reaches the supervisor alone."""
        if self.ready_file is not None:
            self.ready_file.unlink(missing_ok=True)
        with self.log_file.open("ab") as sink:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # no thread of ours holds a lock here
            )
        self.started_s = time.monotonic()

    def stop(self) -> None:
        """Ask it to stop, and end it if it does not within `STOP_S`."""
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            log.warning("%s did not stop within %.0f s and is killed", self.name, STOP_S)
            process.kill()
            process.wait()

    def new_errors(self) -> list[str]:
        """Return what its log calls an error since the last call: each says what is wrong, and the remedy."""
        with self.log_file.open("rb") as file:
            file.seek(self.log_read)
            lines = file.read().splitlines(keepends=True)
        whole = lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]
        self.log_read += sum(map(len, whole))
        texts = (line.decode(errors="replace").partition(" ERROR ") for line in whole)
        return [error.strip() for _, is_error, error in texts if is_error]

    def last_words(self) -> str:
        """Return the end of its log."""
        try:
            lines = self.log_file.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-12:])


class Supervisor:
    """Keeps a list of children alive. `state_file` always names their process ids."""

    def __init__(self, children: Sequence[Child], state_file: Path) -> None:
        self.children = list(children)
        self._state_file = state_file
        self._written = b""

    def start(self, *, timeout_s: float, only: Sequence[Child]) -> None:
        """Start the children `only`, and return when all are ready. The first must be ready before the rest start.

        Raises:
            ConfigError, GridwardenError: one of them ended or did not get ready; its last words are in the message.
        """
        deadline_s = time.monotonic() + timeout_s
        first, *rest = only
        for together in ([first], rest):
            for child in together:
                child.start()
            self._write_state()
            for child in together:
                self._wait_ready(child, deadline_s)

    def _wait_ready(self, child: Child, deadline_s: float) -> None:
        while not child.ready():
            _pass_on_errors(child)
            if child.process is not None and child.process.poll() is not None:
                self._give_up(child)
            if time.monotonic() > deadline_s:
                raise GridwardenError(f"{child.name} is not ready in time\n{child.last_words()}")
            time.sleep(0.02)

    def _give_up(self, child: Child) -> None:
        assert child.process is not None
        words = child.last_words()
        if child.process.returncode == ConfigError.exit_code:
            error = ConfigError([])
            error.args = (words,)
            raise error
        raise GridwardenError(f"{child.name} ended with code {child.process.returncode} while starting\n{words}")

    def watch(self) -> None:
        """Start again whoever has died, after a delay that doubles while it keeps dying. Call it often."""
        now_s = time.monotonic()
        for child in self.children:
            _pass_on_errors(child)
            if child.process is None or child.process.poll() is None:
                continue
            if child.restart_at_s == 0.0:
                if now_s - child.started_s > CALM_S:
                    child.delay_s = FIRST_RESTART_S
                log.warning(
                    "%s ended with code %s and is started again in %.1f s",
                    child.name,
                    child.process.returncode,
                    child.delay_s,
                )
                child.restart_at_s = now_s + child.delay_s
                child.delay_s = min(child.delay_s * 2, LAST_RESTART_S)
            elif now_s >= child.restart_at_s:
                child.restart_at_s = 0.0
                child.restarts += 1
                child.start()
        self._write_state()

    def stop(self) -> None:
        """Stop all in reverse order of their start."""
        for child in reversed(self.children):
            child.stop()
        self._write_state()

    def _write_state(self) -> None:
        state = {child.name: {"pid": child.pid, "restarts": child.restarts} for child in self.children}
        data = msgspec.json.encode(state)
        if data != self._written:
            write_atomically(self._state_file, data)
            self._written = data


def _pass_on_errors(child: Child) -> None:
    if child.process is not None:
        for error in child.new_errors():
            log.error("%s: %s", child.name, error)


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader sees the old or the new file, never a half. Mode 0600."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    part.replace(path)
