"""``kafka://``: Faust's own transport, with a consumer that commits a prefix and loses nothing in a rebalance."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, cast

from aiokafka.errors import CommitFailedError, KafkaError
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import ServiceT

from stream.log.prefix import PrefixConsumer

_FETCH_MAX_WAIT_MS = 50
_IDLE_S = 1.0
_FULL_S = 0.02


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that speaks with Kafka. A Kafka that is away for a while does not end the app.

    A fetch may begin before a rebalance and end after it, or before a seek and end after it. So what it brings says how
    often its partition had been sought by then; what is older than the last seek is read again.

    Attributes:
        seeks: by partition.
    """

    _is_commit_failing = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.seeks: Counter[TP] = Counter()

    async def _fetch_records(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as Faust's
        records = await super()._fetch_records(*args, **options)
        return {ensure_TP(tp): (self.seeks[ensure_TP(tp)], found) for tp, found in records.items()}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go on where the group's commits say, from the first record where there is none; changelogs stay.

        aiokafka stays where it is where there is no commit, and there may have been a fetch meanwhile.
        """
        found: Mapping[TP, int] = await self.call_thread(self._seek_to_committed)
        return found

    async def _seek_to_committed(self) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        tps = [tp for tp in consumer.assignment() if not self.consumer._is_changelog_tp(tp)]  # noqa: SLF001
        begin = await consumer.beginning_offsets(tps)
        committed = await asyncio.gather(*(consumer.committed(tp) for tp in tps))
        offsets = {tp: begin[tp] if offset is None else offset for tp, offset in zip(tps, committed, strict=True)}
        return self._sought(offsets)

    async def _seek_wait(self, consumer: Any, partitions: Mapping[TP, int]) -> None:  # noqa: ANN401 - as Faust's
        self._sought(partitions)
        async with asyncio.timeout(self.app.conf.broker_request_timeout):
            await asyncio.gather(*(consumer.position(tp) for tp in partitions))

    def _sought(self, offsets: Mapping[TP, int]) -> dict[TP, int]:
        """Seek and count it at once: no fetch ends between the two, or it would be thrown away and not read again."""
        for tp, offset in offsets.items():
            self._ensure_consumer().seek(tp, offset)
        self.seeks.update(map(ensure_TP, offsets))
        return {ensure_TP(tp): offset for tp, offset in offsets.items()}

    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> Any:  # noqa: ANN401 - aiokafka is not typed
        consumer = super()._create_consumer(loop=loop)
        # Of a broker's partitions aiokafka asks again only for those that it has nothing of, and waits for the answer
        # before it asks for the others: with Faust's 1,500 ms a busy partition stands still that long.
        consumer._fetch_max_wait_ms = _FETCH_MAX_WAIT_MS  # noqa: SLF001
        return consumer

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        assigned = self.assignment()
        wanted = {driver.ensure_aiokafka_TP(tp): offset for tp, offset in offsets.items() if tp in assigned}
        try:
            await self._ensure_consumer().commit(wanted)
        except CommitFailedError:
            return False  # the partitions were given out anew: whoever has them reads these records again
        except KafkaError as exc:
            if not self._is_commit_failing:
                self.log.error("Cannot commit, will try again: %s", exc)  # noqa: TRY400 - the sentence says it all
            self._is_commit_failing = True
            return False
        self._is_commit_failing = False
        return True


class Consumer(PrefixConsumer, driver.Consumer):
    """Reads Kafka for the app's streams and tables, and commits what was acknowledged, strictly as a prefix.

    Faust hands over all that a fetch brought, and waits where a stream is full: one slow agent stops all others. Here
    what a full stream has no room for stays behind, and the other partitions go on.
    """

    _thread: ConsumerThread

    def __post_init__(self) -> None:
        #: The next offset to hand over. Goes back in a rebalance only.
        self._positions: dict[TP, int] = {}
        #: What was fetched and not yet handed over, and after how many seeks.
        self._fetched: dict[TP, tuple[int, deque[Any]]] = {}
        #: Seeks up to when the partitions were last given out: nothing is read before the next.
        self._seeks: Counter[TP] = Counter()
        self._room = asyncio.Event()
        self.forget()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def forget(self) -> None:
        """Begin anew with all partitions."""
        super().forget()
        self._positions.clear()
        self._fetched.clear()
        if hasattr(self, "_thread"):
            self._seeks = Counter(self._thread.seeks)

    def positions(self) -> dict[TP, int]:
        """Return the next offset to be handed over, of each partition that is being read."""
        return {
            tp: self._positions.get(tp, self._read_offset[tp] or 0)
            for tp in self._get_active_partitions()
            if self.app.topics.acks_enabled_for(tp.topic)
        }

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch from these partitions again."""
        super().resume_partitions(tps)
        self._room.set()

    def on_buffer_drop(self, tp: TP) -> None:
        """Go on with a partition whose stream has caught up."""
        super().on_buffer_drop(tp)
        self._room.set()

    async def verify_all_partitions_active(self) -> None:
        """Leave it to the watchdog: Faust would only log, after five minutes."""

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        while not (self.should_stop or fetcher.should_stop):
            if not self.flow_active:
                await self.wait(cast("Any", self.can_resume_flow))
            await self._fetch()  # never cancelled: what it has taken would be nowhere
            await self.wait_first(self._hand_over(), self.suspend_flow.wait())

    async def _fetch(self) -> None:
        """Take what Kafka has of the partitions of which nothing is left."""
        active = self._get_active_partitions()
        self._fetched = {tp: some for tp, some in self._fetched.items() if some[0] == self._thread.seeks[tp]}
        is_waiting = any(tp in active for tp in self._fetched)
        empty = active - self._fetched.keys()
        if empty:
            wait_s = 0.0 if is_waiting else _FULL_S if self._buffered_partitions else _IDLE_S
            fetched: Mapping[TP, Any] = await self._getmany(set(empty), wait_s)
            for tp, (seeks, records) in fetched.items():
                if records and seeks > self._seeks[tp]:
                    self._fetched[tp] = (seeks, deque(records))
        elif not is_waiting:
            self._room.clear()
            await self.wait(cast("Any", self._room), timeout=_IDLE_S)

    async def _hand_over(self) -> None:
        """Hand over what is there, round robin over topics and partitions, to the streams that have room."""
        active = self._get_active_partitions()
        generation = self.app.consumer_generation_id
        ready = {tp: some for tp, some in self._fetched.items() if tp in active}
        for tp, record in self.scheduler.iterate({tp: list(records) for tp, (_, records) in ready.items()}):
            if generation != self.app.consumer_generation_id:
                return
            if tp not in active or ready[tp][0] != self._thread.seeks[tp]:
                continue
            self._taken(tp)
            if not self.app.topics.acks_enabled_for(tp.topic):
                await self.callback(self._to_message(tp, record))
            elif record.offset >= self._positions.get(tp, 0):
                self._positions[tp] = record.offset + 1
                self.expect(tp, record.offset)
                await self.callback(self._to_message(tp, record))

    def _taken(self, tp: TP) -> None:
        _, records = self._fetched[tp]
        records.popleft()
        if not records:
            del self._fetched[tp]


class Transport(driver.Transport):
    """Faust's door to Kafka."""

    Consumer: ClassVar[type[Any]] = Consumer
