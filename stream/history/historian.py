"""From the `history` log into a store, on a thread of its own."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import faust
import msgspec
from faust.types import EventT

from models import clock
from models.errors import StorageError
from stream.history.store import Store
from stream.records import HistoryLog, decode_history

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
BATCH_EVENTS: Final = 32
TRIM_S: Final = 3_600.0
DAY_MS: Final = 86_400_000


class Historian:
    """Writes the `history` log into a store. While the store fails the log keeps what it has not taken.

    Args:
        store: where it is written.
        keep_days: what is older is let go of.

    Attributes:
        rows: observations in the store so far.
    """

    def __init__(self, store: Store, keep_days: int) -> None:
        self._store = store
        self._keep_ms = keep_days * DAY_MS
        self.rows = store.count()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._waiting: asyncio.Queue[EventT[Any]] = asyncio.Queue(BATCH_EVENTS)

    async def take(self, stream: faust.Stream[Any]) -> None:
        """Queue the records of the log. The agent of `history`."""
        async for event in stream.noack().events():
            await self._waiting.put(event)

    async def run(self) -> None:
        """Write what is queued, in one piece as it comes, for ever; acknowledged once it is kept."""
        while True:
            events = [await self._waiting.get()]
            while not self._waiting.empty() and len(events) < BATCH_EVENTS:
                events.append(self._waiting.get_nowait())
            records = [record for event in events if (record := _decoded(event)) is not None]
            self.rows += await self._until_done(self._store.write, records)
            for event in events:
                event.ack()

    async def trim(self) -> None:
        """Let go of what is too old, once an hour, for ever."""
        while True:
            await self._until_done(self._store.trim, clock.now_ms() - self._keep_ms)
            await asyncio.sleep(TRIM_S)

    async def _until_done(self, work: Any, argument: Any) -> Any:  # noqa: ANN401  # one of two methods of the store
        """Try until it succeeds; a failure is said once."""
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            try:
                done = await loop.run_in_executor(self._thread, work, argument)
            except StorageError as exc:
                if not failing:
                    log.error("the history cannot be written, trying again: %s", exc)  # noqa: TRY400
                failing = True
                await asyncio.sleep(RETRY_S)
            else:
                if failing:
                    log.warning("the history is written again")
                return done

    def close(self) -> None:
        """Wait for the thread, and close the store."""
        self._thread.shutdown()
        self._store.close()


def _decoded(event: EventT[Any]) -> HistoryLog | None:
    try:
        record: HistoryLog = decode_history(event.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        message: Any = event.message
        log.exception("%s/%s/%s is no record of the history", message.topic, message.partition, message.offset)
        return None
    else:
        return record
