"""Asking a running stream for the config folder as it is now, and its answer.

``gridwarden reload`` checks the folder in its own process, leaves a request in the state folder, and waits for what the
stream says. The stream builds the new version beside the old one, and puts it in force by control records in the log.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from models.errors import StorageError
from models.supervise import write_atomically

REQUEST: Final = "reload.request"
ANSWER: Final = "reloaded.json"
POLL_S: Final = 0.1


class Reloaded(Struct, frozen=True, kw_only=True):
    """What came of a request.

    Attributes:
        request: names the request; empty where the stream answers of itself, at its start.
        outcome: `applied`; `unchanged`, when everything was in force already; `refused`, and then nothing has changed.
        changed: what is new of places, people, catalogue, thresholds and settings.
        moved: zones and devices that what is known of them was moved with.
        versions: of all that is in force now.
        problems: why it was refused.
    """

    request: str
    at_ms: int
    outcome: Literal["applied", "unchanged", "refused"]
    changed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    versions: dict[str, str] = {}  # msgspec copies a mutable default
    problems: tuple[str, ...] = ()


class Requests:
    """Both ends of it: files in the state folder. The last answer of all stays there, for whoever looks."""

    def __init__(self, state: Path) -> None:
        self._request, self._last = state / REQUEST, state / ANSWER

    def ask(self, request: str) -> None:
        """Leave a request."""
        write_atomically(self._request, request.encode())

    def withdraw(self) -> None:
        """Take the request back."""
        self._request.unlink(missing_ok=True)

    def _to(self, request: str) -> Path:
        return self._last.with_name(f"{ANSWER}.{request}")

    def take(self, worker: str) -> str | None:
        """Return the request that waits, if any, and be the one that answers it."""
        mine = self._request.with_name(f"{REQUEST}.{worker}")
        try:
            self._request.rename(mine)
            request = mine.read_text()
            mine.unlink()
        except FileNotFoundError:  # none, or another worker was faster
            return None
        return request

    def answer(self, answer: Reloaded) -> None:
        """Say what came of it."""
        for path in (self._last, self._to(answer.request)) if answer.request else (self._last,):
            write_atomically(path, msgspec.json.encode(answer))

    def answered(self, request: str) -> Reloaded | None:
        """Return the answer to `request`, if it is there, once."""
        try:
            raw = self._to(request).read_bytes()
        except FileNotFoundError:
            return None
        self._to(request).unlink()
        return msgspec.json.decode(raw, type=Reloaded)


class Watched:
    """A file that is saved now and then. Pure but for the look at its date."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._last = self._stamp()

    def has_changed(self) -> bool:
        """Whether it was saved since the last time that this was true, and is not being written just now.

        A file is taken as written when two looks find it the same.
        """
        before, self._last = self._last, self._stamp()
        if self._last is None or self._last != before or self._last == self._known:
            return False
        self._known = self._last
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def ask(state: Path, *, timeout_s: float) -> Reloaded:
    """Ask the stream on `state` to reload, and wait for the answer.

    Raises:
        StorageError: the request cannot be left there, or no answer came in time.
    """
    requests, request = Requests(state), os.urandom(8).hex()
    try:
        requests.ask(request)
    except OSError as exc:
        raise StorageError(f"{state}: a request cannot be left there: {exc.strerror or exc}") from exc
    end_s = time.monotonic() + timeout_s
    while (answer := requests.answered(request)) is None:
        if time.monotonic() >= end_s:
            requests.withdraw()
            raise StorageError(f"no stream has answered on {state} within {timeout_s:g} s; is one running?")
        time.sleep(POLL_S)
    return answer


def report(answer: Reloaded, *, as_json: bool) -> str:
    """Say what came of a request."""
    if as_json:
        return msgspec.json.encode(answer).decode()
    if answer.outcome == "refused":
        return "\n".join(["refused, what was in force stays in force:", *answer.problems])
    if answer.outcome == "unchanged":
        return "everything was in force already"
    moved = [f"moved: {what}" for what in answer.moved]
    return "\n".join([*moved, *(f"in force: {what} {answer.versions[what][:12]}" for what in answer.changed)])
