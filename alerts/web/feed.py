"""The live feed: server-sent events whose id is a ledger number: after a drop everything missed comes, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import ValidationException
from litestar.params import FromQuery
from litestar.response import Stream

from alerts.entries import Entry
from alerts.office import Office

HEARTBEAT_S: Final = 5.0
"""A page that hears nothing for two of these says that it may be stale."""
RETRY_MS: Final = 1_000

Cursor = FromQuery[int | None]
"""The type of a feed's argument `cursor`: the last ledger number that the listener has."""

Render = Callable[[Sequence[Entry]], object | None]
"""Makes the data of one event of new entries; None: nothing in them is for this listener."""

_encode = msgspec.json.Encoder().encode


def cursor_of(request: Request[object, object, State], cursor: int | None) -> int:
    """Return where the listener left off: the browser's own word after a drop, else what the page asks for.

    Raises:
        ValidationException: not a number.
    """
    last = request.headers.get("last-event-id")
    if last is None:
        return cursor or 0
    if not last.isdecimal() or len(last) > 16:
        raise ValidationException("Last-Event-ID is not a number of the ledger")
    return int(last)


def feed(office: Office, cursor: int, render: Render) -> Stream:
    """Return a response that tells everything after `cursor`, and then goes on for as long as somebody listens."""
    return Stream(
        _events(office, cursor, render),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(office: Office, cursor: int, render: Render) -> AsyncIterator[bytes]:
    yield b"retry: %d\n: the feed of the ledger\n\n" % RETRY_MS
    # A cursor from another ledger lies ahead of ours: start over rather than wait for ever.
    cursor = min(cursor, office.stored_seq)
    while not office.closing:
        entries = await office.entries_after(cursor)
        if entries:
            cursor = entries[-1].seq
            told = render(entries)
            if told is not None:
                yield b"id: %d\ndata: %b\n\n" % (cursor, _encode(told))
        elif not await office.wait_beyond(cursor, HEARTBEAT_S):
            yield b": %d\n\n" % cursor
