"""Config contents in the compacted control topic: packed, and cut where one is larger than a record may be.

A small content is one record under its version, as it is. A large one is a list of how many pieces it has, and the
pieces under ``<version>/<n>``: a city of 62,000 cells takes 37 MB in canonical form, and Kafka takes 1 MB in a record.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from models.content import Content

PIECE_BYTES: Final = 1 << 19
_MARK: Final = b"pieces:"
"""No canonical form begins so: those are JSON objects."""
_LEVEL: Final = 1
"""Places are packed coordinates: a higher level takes ten times as long for a few per cent."""

Get = Callable[[str], bytes | None]
"""Returns the row under a key."""


def rows_of(content: Content) -> list[tuple[str, bytes]]:
    """Return the rows by which a content is stored; the one under its version last: where it is, all are."""
    raw = content.to_bytes()
    if len(raw) <= PIECE_BYTES:
        return [(content.version, raw)]
    packed = zlib.compress(raw, _LEVEL)
    pieces = [packed[start : start + PIECE_BYTES] for start in range(0, len(packed), PIECE_BYTES)]
    rows = [(f"{content.version}/{n}", piece) for n, piece in enumerate(pieces)]
    return [*rows, (content.version, b"%s%d" % (_MARK, len(pieces)))]


def content_of(version: str, get: Get) -> bytes | None:
    """Return a content from its rows, None where one of them is not there."""
    raw = get(version)
    if raw is None or not raw.startswith(_MARK):
        return raw
    pieces = [get(f"{version}/{n}") for n in range(int(raw.removeprefix(_MARK)))]
    found = [piece for piece in pieces if piece is not None]
    return zlib.decompress(b"".join(found)) if len(found) == len(pieces) else None
