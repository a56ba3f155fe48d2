"""The consumer of ``sqlite://``: what the app's streams and tables read, and what they commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from faust.transport import base
from faust.types import TP, ConsumerMessage, Message

from models.errors import StorageError
from stream.log.file import Partition, Record, decode_headers
from stream.log.prefix import PrefixConsumer
from stream.log.sqlite import SqliteLog

if TYPE_CHECKING:
    from stream.log.transport import Transport

_MAX_POLL_RECORDS = 500
_MEMBER = "only"


class _Fetched(NamedTuple):
    """A record on its way to the streams: it is the next one only while the position is still `follows`."""

    follows: int
    record: Record


class _Cluster:
    """What the assignor wants to know of a broker: how many partitions a topic has."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._log.known_partitions(topic) or 0))


class Consumer(PrefixConsumer, base.Consumer):
    """Reads the log for the app's streams and tables, and commits what was acknowledged, strictly as a prefix."""

    transport: Transport

    def __post_init__(self) -> None:
        self._assigned: set[TP] = set()
        #: The next offset to hand over. Moves when a record is handed over, not when it is read from the file, so
        #: that what a pause or a seek leaves behind is simply read again.
        self._positions: dict[TP, int] = {}
        self.forget()
        self._is_commit_failing = False

    async def on_start(self) -> None:
        """Open the log, and see to it that no second worker consumes as this app."""
        self._log: SqliteLog = self.transport.opening.acquire()
        try:
            self._log.claim(self.app.conf.id)
        except StorageError:
            await self.transport.opening.release()
            raise
        self._news = self._log.listen()

    async def on_stop(self) -> None:
        """Commit what is acknowledged and let go of the log."""
        await super().on_stop()
        self._log.unlisten(self._news)
        self._log.release(self.app.conf.id)
        await self.transport.opening.release()

    # -- Subscription ----------------------------------------------------------------------------

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Take over every partition of `topics`, which are made where they are not there, as declared."""
        wanted = set(topics)
        for channel in list(self.app.topics):
            if wanted & set(channel.topics):
                await channel.maybe_declare()
        for topic in wanted:
            await self._log.topic(topic)
        # The conductor waits for this call to return, and the assignment waits for the conductor.
        self.add_future(self._assign(wanted))

    async def _assign(self, topics: set[str]) -> None:
        self.app.on_rebalance_start()
        await self.on_partitions_revoked(set(self._assigned))
        assignor = cast("Any", self.app.assignor)
        assignments = assignor.assign(_Cluster(self._log), {_MEMBER: assignor.metadata(topics)})
        assignor.on_assignment(assignments[_MEMBER])
        self._assigned = assignor.assigned_actives() | assignor.assigned_standbys()
        # Nothing is handed over before Faust has said from where: recovery seeks the changelogs, and then the rest.
        self._positions.clear()
        self.app.consumer_generation_id += 1
        await self.on_partitions_assigned(set(self._assigned), self.app.consumer_generation_id)

    def assignment(self) -> set[TP]:
        """Return the partitions that this worker owns: all that it subscribed to."""
        return set(self._assigned)

    def topic_partitions(self, topic: str) -> int | None:
        """Return how many partitions `topic` has, None where it is not known."""
        return self._log.known_partitions(topic)

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """Return the partition that a record of `key` goes to."""
        if self._log.known_partitions(topic) is None:
            return None
        return self.transport.choose_partition(topic, key, partition)

    async def create_topic(
        self, topic: str, partitions: int, replication: int, *, compacting: bool | None = None, **_options: object
    ) -> None:
        """Make the topic where it is not there. Replication means nothing on one machine; retention is the app's.

        Raises:
            StorageError: it is there with another number of partitions.
        """
        await self._log.create_topic(topic, partitions, is_compacted=bool(compacting))

    # -- Fetching --------------------------------------------------------------------------------

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        """Give the next records, round robin over topics and partitions; none when the time is over."""
        active = self._get_active_partitions()
        fetched = await self._getmany(set(active), timeout)
        for tp in fetched:
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
        for tp, (follows, record) in self.scheduler.iterate(fetched):
            # Paused, or sought elsewhere, while the records before were handed over: it is read again when it is due.
            if tp in active and self._positions.get(tp) == follows:
                self._positions[tp] = record.offset + 1
                # What a seek brings once more below the commit is not waited for: Faust takes no second ack of it.
                if self.app.topics.acks_enabled_for(tp.topic) and record.offset >= (self._committed_offset[tp] or 0):
                    self.expect(tp, record.offset)
                yield tp, self._to_message(tp, record)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, list[Any]]:
        deadline_s = time.monotonic() + timeout
        while active_partitions == self._get_active_partitions():
            self._news.clear()
            behind = {
                tp: position
                for tp, position in self._positions.items()
                if tp in active_partitions and position < self._log.known_head(Partition(*tp))
            }
            if behind:
                return await self._fetch(behind)
            try:
                await asyncio.wait_for(self._news.wait(), deadline_s - time.monotonic())
            except TimeoutError:
                break
        return {}

    async def _fetch(self, positions: Mapping[TP, int]) -> dict[TP, list[_Fetched]]:
        heads = {tp: self._log.known_head(Partition(*tp)) for tp in positions}
        conf = self.app.conf
        read = await self._log.read(
            {Partition(*tp): position for tp, position in positions.items()},
            max_records=conf.broker_max_poll_records or _MAX_POLL_RECORDS,
            max_bytes=conf.consumer_max_fetch_size,
        )
        fetched: dict[TP, list[_Fetched]] = {}
        for tp, position in positions.items():
            follows = position
            fetched[tp] = []
            for record in read[Partition(*tp)]:
                fetched[tp].append(_Fetched(follows, record))
                follows = record.offset + 1
            if not fetched[tp] and self._positions.get(tp) == position:
                self._positions[tp] = heads[tp]  # compaction left nothing up to there
        return fetched

    def _to_message(self, tp: TP, record: Record) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            record.offset,
            record.at_ms / 1000.0,
            0,  # the time is the producer's, not the log's
            decode_headers(record.headers),
            record.key,
            record.value,
            None,
            len(record.key or b""),
            len(record.value or b""),
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch from these partitions again, from where they were left."""
        super().resume_partitions(tps)
        self._news.set()

    def on_buffer_drop(self, tp: TP) -> None:
        """Fetch again from a partition whose stream has caught up."""
        super().on_buffer_drop(tp)
        self._news.set()

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    # -- Positions -------------------------------------------------------------------------------

    def positions(self) -> dict[TP, int]:
        """Return the next offset to be handed over, of each partition that is being read."""
        return {tp: self._positions[tp] for tp in self._get_active_partitions() if self._is_read(tp)}

    def _is_read(self, tp: TP) -> bool:
        return tp in self._positions and self.app.topics.acks_enabled_for(tp.topic)

    async def position(self, tp: TP) -> int | None:
        """Return the next offset to be handed over."""
        return self._positions.get(tp)

    def highwater(self, tp: TP) -> int:
        """Return the offset that the partition's next record will get, as last learnt."""
        return self._log.known_head(Partition(*tp))

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the offset that each partition's next record will get, as the file has it now."""
        heads = await self._log.heads()
        return {tp: heads[Partition(*tp)] for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the lowest offset still in the log."""
        starts = await self._log.starts([Partition(*tp) for tp in partitions])
        return {tp: starts[Partition(*tp)] for tp in partitions}

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Go on from these offsets."""
        for tp, offset in partitions.items():
            await self.seek(tp, offset)

    async def _seek(self, partition: TP, offset: int) -> None:
        self._positions[partition] = offset
        for records in (self._prefixes, self._acked, self._acked_index):
            records.pop(partition, None)
        self._news.set()

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go on where the group's commits say; a table's changelog goes on where recovery left it."""
        tps = {tp for tp in self._assigned if not self._is_changelog_tp(tp)}
        committed = await self._log.committed(self.app.conf.id)
        is_latest = self.app.conf.consumer_auto_offset_reset == "latest"
        begin = await (self.highwaters(*tps) if is_latest else self.earliest_offsets(*tps))
        positions = {tp: committed.get(Partition(*tp), begin[tp]) for tp in tps}
        if new := tps - committed.keys():
            # From here on retention knows that somebody wants these records.
            await self._commit({tp: begin[tp] for tp in new})
        await self.seek_wait(positions)
        return positions

    # -- Committing ------------------------------------------------------------------------------

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        try:
            await self._log.commit(self.app.conf.id, {Partition(*tp): offset for tp, offset in offsets.items()})
        except StorageError as exc:
            if not self._is_commit_failing:
                self.log.error("Cannot commit, will try again: %s", exc)  # noqa: TRY400 - the sentence says it all
            self._is_commit_failing = True
            return False
        self._is_commit_failing = False
        return True
