"""From the `history` log to who keeps it, without waiting for that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from models import clock
from models.errors import StorageError
from stream.history.store import Keeper

if TYPE_CHECKING:  # what keeps the history in a process of its own needs no Faust there
    import faust
    from faust.types import EventT

_T = TypeVar("_T")
log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
BATCH_EVENTS: Final = 32
TRIM_S: Final = 3_600.0
DAY_MS: Final = 86_400_000


class Historian:
    """Has the `history` log kept. While that fails, the log keeps what was not taken.

    Args:
        keeper: who keeps it.
        keep_days: what is older is let go of.

    Attributes:
        rows: decisions that are kept so far, from when `run` has begun.
    """

    def __init__(self, keeper: Keeper, keep_days: int) -> None:
        self._keeper = keeper
        self._keep_ms = keep_days * DAY_MS
        self.rows = 0
        self._is_unsure = False  # after a failure nobody knows what of the records was new
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._waiting: asyncio.Queue[EventT[Any]] = asyncio.Queue(BATCH_EVENTS)

    async def take(self, stream: faust.Stream[Any]) -> None:
        """Queue the records of the log. The agent of `history`."""
        async for event in stream.noack().events():
            await self._waiting.put(event)

    async def run(self) -> None:
        """Have kept what is queued, in one piece as it comes, for ever; acknowledged once it is."""
        self.rows = await self._until_done(self._keeper.count)
        while True:
            events = [await self._waiting.get()]
            while not self._waiting.empty() and len(events) < BATCH_EVENTS:
                events.append(self._waiting.get_nowait())
            self.rows += await self._until_done(self._keeper.keep, [event.value for event in events])
            if self._is_unsure:
                self._is_unsure = False
                self.rows = await self._until_done(self._keeper.count)
            for event in events:
                event.ack()

    async def trim(self) -> None:
        """Let go of what is too old, once an hour, for ever."""
        while True:
            await self._until_done(self._keeper.trim, clock.now_ms() - self._keep_ms)
            await asyncio.sleep(TRIM_S)

    async def _until_done(self, work: Callable[..., _T], *arguments: object) -> _T:
        """Try until it succeeds; a failure is said once."""
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            try:
                done = await loop.run_in_executor(self._thread, work, *arguments)
            except StorageError as exc:
                if not failing:
                    log.error("the history cannot be written, trying again: %s", exc)  # noqa: TRY400
                failing = self._is_unsure = True
                await asyncio.sleep(RETRY_S)
            else:
                if failing:
                    log.warning("the history is written again")
                return done

    def close(self) -> None:
        """Wait for the thread, and for who keeps it."""
        self._thread.submit(self._keeper.close).result()
        self._thread.shutdown()
