"""The history's file, written by a process of its own: deciding never waits for it, and it has a core to itself.

It is asked over its standard input and answers on its standard output. It ends when who asks does, however that one
ends: what it was writing then is asked for again after the next start.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from models.errors import StorageError
from stream import frames
from stream.history.sqlite import History
from stream.history.store import Here

STOP_S: Final = 10.0
NICENESS: Final = 5
"""Where processors are short, deciding goes before: the log keeps what is not written yet."""


class Apart:
    """Keeps the history in the file at `path`. One thread at a time; the process begins with the first question."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._child: subprocess.Popen[bytes] | None = None

    def keep(self, values: Sequence[bytes]) -> int:
        """Keep records of the `history` log, those that are there already once; return how many decisions were new.

        Raises:
            StorageError: nothing was kept, or nobody knows: they are to be kept again.
        """
        return self._ask("keep", values)

    def trim(self, before_ms: int) -> None:
        """Let go of what is older, by event time.

        Raises:
            StorageError: it did not.
        """
        self._ask("trim", before_ms)

    def count(self) -> int:
        """Return how many decisions are kept.

        Raises:
            StorageError: the file cannot be read.
        """
        return self._ask("count", None)

    def close(self) -> None:
        """Let the process end, when it has done what it was asked."""
        if self._child is not None:
            assert self._child.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()
            try:
                self._child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
            assert self._child.stdout is not None
            self._child.stdout.close()
            self._child = None

    def _ask(self, what: str, argument: object) -> int:
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            frames.write(child.stdin, [what, argument])
            answer = frames.read(child.stdout)
        except BrokenPipeError:
            answer = None
        if answer is None:
            child.kill()
            code = child.wait()
            child.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
            self._child = None
            raise StorageError(f"{self._path}: the process that writes the history has ended with {code}")
        done, failure = frames.decode(answer)
        if failure is not None:
            raise StorageError(failure)
        return int(done)

    def _start(self) -> subprocess.Popen[bytes]:
        command = frames.command("stream.history.apart", str(self._path))
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._child


def main(path: Path) -> None:
    """Do what is asked until nobody can ask any more."""
    frames.live_and_die_with_parent()
    os.nice(NICENESS)
    store: Here | None = None
    while (asked := frames.read(sys.stdin.buffer)) is not None:
        what, argument = frames.decode(asked)
        try:
            store = store or Here(History(path))
            frames.write(sys.stdout.buffer, [_do(store, what, argument), None])
        except StorageError as exc:
            frames.write(sys.stdout.buffer, [0, str(exc)])
    if store is not None:
        store.close()


def _do(store: Here, what: str, argument: Any) -> int:  # noqa: ANN401  # of three kinds
    if what == "keep":
        return store.keep(argument)
    if what == "trim":
        store.trim(argument)
        return 0
    return store.count()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
