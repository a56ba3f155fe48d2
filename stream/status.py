"""`stream.json`: there once the stream serves, with what it has counted so far; `gridwarden up` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from models.supervise import write_atomically

FILE: Final = "stream.json"


def file_of(worker: str | None) -> str:
    """Return the file's name: several workers may share a state folder."""
    return FILE if worker is None else f"stream-{worker}.json"


class Counters(Struct, frozen=True, kw_only=True):
    """What the stream has done since its log was made.

    Attributes:
        observations: in the log, duplicates included.
        decisions: rows of the history: one for each observation that was not a duplicate.
        dropped: messages let go unread in this process because too many were waiting; they are sent again.
        partitions: of `obs`, that are this worker's.
        limited: messages let go unread because their sender said too much; a sender of ours sends them again.
        unlettered: dead letters not written because there were enough of their sender.
        restarts: how often the watchdog has started this worker anew.
        reloads: how often this process put a changed config folder in force.
        reloads_refused: how often it refused one; `reloaded.json` says why.
        lost: records of the log that had to go unread because it was nearly full.
        foreign_forgotten: names of devices that nobody has admitted, forgotten because they were too many.
        foreign_gaps: how often messages of a device of another make that numbers them were missing, in this process.
    """

    observations: int
    decisions: int
    duplicates: int
    pre_alarms_cleared: int
    dead_letters: int
    orders: int
    dropped: int
    limited: int = 0
    unlettered: int = 0
    partitions: int = 0
    restarts: int = 0
    lost: int = 0
    reloads: int = 0
    reloads_refused: int = 0
    foreign_gaps: int = 0
    foreign_forgotten: int = 0


class _State(Struct, frozen=True, kw_only=True):
    ready: bool
    counters: Counters


class StateFile:
    """The file, written when something was counted and not otherwise: whoever watches it sees when all is quiet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Counters | None = None

    def write(self, counters: Counters) -> None:
        """Put `counters` there, where they changed."""
        if counters != self._written:
            write_atomically(self._path, msgspec.json.encode(_State(ready=True, counters=counters)))
            self._written = counters
