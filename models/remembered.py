"""What was found to be right, by content hash: an expensive check is made once for each content, not at each start."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from models.supervise import write_atomically

FILE: Final = "checked.json"
KEEP: Final = 32
RELEASE: Final = 1
"""Raised when a check becomes stricter: what passed the old one is checked again."""


class _Checked(Struct, frozen=True):
    release: int = RELEASE
    keys: tuple[str, ...] = ()


def key_of(check: str, *contents: bytes) -> str:
    """Return the key of a check of some contents."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return f"{check}:{digest.hexdigest()}"


class Remembered:
    """The file in a state folder. Where it cannot be read or written nothing is remembered, and all is checked again.

    Args:
        state: the state folder; None remembers nothing.
    """

    def __init__(self, state: Path | None) -> None:
        self._path = state / FILE if state else None

    def has(self, key: str) -> bool:
        """Whether this was found to be right."""
        return key in self._read()

    def put(self, key: str) -> None:
        """Remember that this was found to be right."""
        keys = [each for each in self._read() if each != key]
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._path, msgspec.json.encode(_Checked(keys=(*keys, key)[-KEEP:])))

    def _read(self) -> tuple[str, ...]:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_Checked) if self._path else _Checked()
        except (OSError, msgspec.DecodeError):
            return ()
        return found.keys if found.release == RELEASE else ()
