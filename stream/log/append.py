"""Putting records into the logs so that none is lost and none overtakes another, however long the disk is full."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from models.errors import StorageError
from stream.log.file import NewRecord

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
INPUT: Final = "obs"


def new(topic: str, partition: int, value: bytes, at_ms: int) -> NewRecord:
    """Return a record to be appended."""
    return NewRecord(topic, partition, value, at_ms)


class Log(Protocol):
    """What is appended to.

    Whoever gets a `StorageError` does not know how much of the call is stored (Kafka stores record by record, the
    embedded log all or nothing) and appends all of it again: what reads a log knows records that came twice.
    """

    async def append(self, records: Sequence[NewRecord]) -> list[int]:
        """Store `records`, those of each partition in their order, and return their offsets."""


def size_bytes(records: Iterable[NewRecord]) -> int:
    """Return how much the values of `records` take."""
    return sum(len(record.value or b"") for record in records)


class Appender:
    """Stores records, however long it takes: a failure is said once, and the same records are tried again."""

    def __init__(self, target: Log) -> None:
        self._target = target
        self._failing = 0

    async def store(self, records: Sequence[NewRecord]) -> None:
        """Return when all of `records` are on disk."""
        if not records or await self._try(records):
            return
        self._failing += 1
        while not await self._try(records):  # noqa: ASYNC110  # a disk sets no event when it has room again
            await asyncio.sleep(RETRY_S)
        self._failing -= 1
        if not self._failing:
            log.warning("storing again")

    async def _try(self, records: Sequence[NewRecord]) -> bool:
        try:
            await self._target.append(records)
        except StorageError as exc:
            if not self._failing:
                log.error("nothing can be stored, so nothing is acknowledged: %s", exc)  # noqa: TRY400
            return False
        return True


class Outflow:
    """Outputs on their way into the logs: `put` never waits, the order stays, `settled` says when they are stored.

    What goes back into `obs` waits until all before it is stored, and is not merely sent after it: a zone that goes to
    another worker must not be heard of from there before its last words from here.

    Attributes:
        waiting_bytes: of outputs that are not stored yet: whoever makes them stops when these are too many.
    """

    def __init__(self, appender: Appender) -> None:
        self.waiting_bytes = 0
        self._appender = appender
        self._waiting: list[NewRecord] = []
        self._news = asyncio.Event()
        self._put = 0
        self._stored = 0
        self._progress = asyncio.Condition()

    def put(self, records: Sequence[NewRecord]) -> None:
        """Queue `records`."""
        if records:
            self._waiting += records
            self._put += len(records)
            self.waiting_bytes += size_bytes(records)
            self._news.set()

    async def settled(self) -> None:
        """Return when everything that was put before this call is on disk."""
        mark = self._put
        async with self._progress:
            await self._progress.wait_for(lambda: self._stored >= mark)

    async def run(self) -> None:
        """Store what is put, for ever. One transaction at a time: what comes meanwhile goes into the next."""
        while True:
            await self._news.wait()
            self._news.clear()
            batch, self._waiting = self._waiting, []
            for _, part in itertools.groupby(batch, lambda record: record.topic == INPUT):
                await self._appender.store(list(part))
            async with self._progress:
                self._stored += len(batch)
                self.waiting_bytes -= size_bytes(batch)
                self._progress.notify_all()
