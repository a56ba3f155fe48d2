"""What every consumer of ours does better than Faust's: it commits a prefix, and takes no acknowledgement twice."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from faust.transport import base
from faust.types import TP, Message
from mode import ServiceT

_YIELD_EVERY = 50  # records handed over without a break: the agents and the links want their turn


class Prefix:
    """What was handed over of one partition, and up to where all of it is acknowledged.

    Attributes:
        end: the offset after the longest acknowledged run from the first record on; None while that one is outstanding.
    """

    def __init__(self) -> None:
        self.end: int | None = None
        self._outstanding: deque[int] = deque()
        self._acknowledged: set[int] = set()

    def hand_over(self, offset: int) -> None:
        """Expect an acknowledgement of `offset`, which is higher than all before; what lies between is a hole."""
        self._outstanding.append(offset)

    def acknowledge(self, offsets: Iterable[int]) -> None:
        """Take acknowledgements, in any order."""
        self._acknowledged.update(offsets)
        while self._outstanding and self._outstanding[0] in self._acknowledged:
            offset = self._outstanding.popleft()
            self._acknowledged.discard(offset)
            self.end = offset + 1


if TYPE_CHECKING:
    _Consumer = base.Consumer
else:
    _Consumer = object


class PrefixConsumer(_Consumer):
    """Stands before a consumer of Faust's in the bases of a class, which calls `expect` for what it hands over."""

    def forget(self) -> None:
        """Wait for nothing of what was handed over so far: it comes again, here or elsewhere."""
        self._prefixes: defaultdict[TP, Prefix] = defaultdict(Prefix)
        self._acked.clear()
        self._acked_index.clear()

    def expect(self, tp: TP, offset: int) -> None:
        """Commit nothing beyond `offset` before it is acknowledged."""
        self._prefixes[tp].hand_over(offset)

    def ack(self, message: Message) -> bool:
        """Take an acknowledgement, unless the partition was given out anew since: then the record comes again.

        Faust takes it all the same, and would commit what nobody has in memory any more.
        """
        if message.generation_id != self.app.consumer_generation_id:
            return False
        return bool(super().ack(message))

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Begin anew with these partitions."""
        self.forget()
        await super().on_partitions_assigned(assigned, generation_id)

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Hand records over until the consumer or its fetcher stops.

        Faust's own loop keeps a second position beside the transport's. A seek while it hands a record over makes it
        drop what is read again, and the commit would wait for ever for records that nobody was given.
        """
        while not (self.should_stop or fetcher.should_stop):
            if not self.flow_active:
                await self.wait(cast("Any", self.can_resume_flow))
            await self.wait_first(self._hand_over(), self.suspend_flow.wait())

    async def _hand_over(self) -> None:
        count = 0
        async for _, message in self.getmany(timeout=1.0):
            await self.callback(message)
            count += 1
            if count % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _new_offset(self, tp: TP) -> int | None:
        """Return how far the group may go on, None where the first record is still outstanding.

        Faust's own rule takes the first run among the *acknowledged* offsets, and so jumps over a record that is still
        outstanding before it.
        """
        prefix = self._prefixes[tp]
        prefix.acknowledge(self._acked_index[tp])
        self._acked_index[tp].clear()
        self._acked[tp].clear()
        return prefix.end

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        committed = {tp: self._committed_offset[tp] for tp in offsets}
        is_done = await super()._commit_offsets(offsets, start_new_transaction)
        if not is_done:  # Faust takes them for committed all the same, and would never try again
            self._committed_offset.update(committed)
        return bool(is_done)
