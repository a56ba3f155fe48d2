"""The producer of ``sqlite://``: appends what the app sends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

from faust.transport import base
from faust.types import TP, HeadersArg, RecordMetadata

from stream.log.file import NewRecord, encode_headers

if TYPE_CHECKING:
    from stream.log.transport import Transport


class Producer(base.Producer):
    """Appends to the log."""

    transport: Transport

    async def on_start(self) -> None:
        """Open the log."""
        await super().on_start()
        self._log = self.transport.opening.acquire()
        self._unsent: set[asyncio.Future[list[int]]] = set()

    async def on_stop(self) -> None:
        """Store what is waiting and let go of the log."""
        await super().on_stop()
        await self.flush()
        await self.transport.opening.release()

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Queue a record; what is returned, awaited, tells where it is stored.

        Raises:
            StorageError: no such topic or partition; through the future: nothing was stored.
        """
        await self._log.topic(topic)
        await self._log.room()
        tp = TP(topic, self.transport.choose_partition(topic, key, partition))
        at_ms = time.time_ns() // 1_000_000 if timestamp is None else round(timestamp * 1000)
        record = NewRecord(*tp, value, at_ms, key, encode_headers(cast("Any", headers)))
        appended = self._log.append_soon([record])
        sent: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()

        def settle(appended: asyncio.Future[list[int]]) -> None:
            self._unsent.discard(appended)
            if sent.cancelled():
                return
            if (failure := appended.exception()) is not None:
                sent.set_exception(failure)
            else:
                sent.set_result(RecordMetadata(*tp, tp, appended.result()[0], at_ms, 0))

        self._unsent.add(appended)
        appended.add_done_callback(settle)
        return sent

    async def send_and_wait(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> RecordMetadata:
        """Store a record on disk and tell where.

        Raises:
            StorageError: nothing was stored.
        """
        return await (await self.send(topic, key, value, partition, timestamp, headers))

    async def flush(self) -> None:
        """Return when all that was sent so far is stored, or has told its sender that it is not."""
        if self.buffer.started:
            await self.buffer.flush()
        if self._unsent:
            await asyncio.wait(set(self._unsent))

    async def create_topic(
        self, topic: str, partitions: int, replication: int, *, compacting: bool | None = None, **_options: object
    ) -> None:
        """Make the topic where it is not there. Replication means nothing on one machine; retention is the app's.

        Raises:
            StorageError: it is there with another number of partitions.
        """
        await self._log.create_topic(topic, partitions, is_compacted=bool(compacting))

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Return the partition that a record of `key` goes to."""
        return TP(topic, self.transport.choose_partition(topic, key, None))

    def supports_headers(self) -> bool:
        """Return True: the log keeps them."""
        return True
