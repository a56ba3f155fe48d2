"""Kafka as a log: topics by an admin client, appends that wait until they are stored, reads from any offset.

A log is named by its servers and the tenant: ``kafka://host:9092/tenant``. Its topics are called ``<tenant>.<topic>``:
several tenants share a cluster. `Partition` and `NewRecord` carry the name without the tenant, as everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin import NewTopic as AdminTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from models.errors import StorageError
from stream.log.file import NewRecord, NewTopic, Partition, Record, decode_headers, encode_headers

log = logging.getLogger(__name__)

START_S: Final = 30.0
"""So long a Kafka that does not answer yet is waited for."""
TOPICS_S: Final = 20.0
SLOW_S: Final = 5.0
"""An append that takes longer is said in the log, once."""
MAX_RECORD_BYTES: Final = 64 << 20
"""A city's places are one record."""
_BATCH_BYTES: Final = 1 << 20
_READ_WAIT_MS: Final = 500
ID: Final = NewTopic("log-id", 1)
"""Its first record is the log's id."""


def servers_of(url: str) -> str:
    """Return the servers of ``kafka://one:9092,two:9092/tenant`` as clients want them."""
    text = url.removeprefix("kafka://").partition("/")[0]
    return ",".join(server if ":" in server else f"{server}:9092" for server in text.split(","))


def prefix_of(tenant: str) -> str:
    """Return what the names of a tenant's topics and groups begin with."""
    return f"{tenant}."


class KafkaLog:
    """A tenant's log, opened: append, read. Used from one event loop.

    Made with `KafkaLog.open`.

    Attributes:
        log_id: made with the log and never changed: the `outbox_id` of what leaves this log.
    """

    log_id: str

    def __init__(self, servers: str, tenant: str) -> None:
        self.servers = servers
        self._prefix = prefix_of(tenant)
        self._admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        self._producer: AIOKafkaProducer | None = None
        self._reader = AIOKafkaConsumer(
            bootstrap_servers=servers, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50
        )
        self._partitions: dict[str, int] = {}
        self._renewing = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._slow = 0

    @classmethod
    async def open(cls, servers: str, tenant: str, *, patience_s: float = START_S) -> KafkaLog:
        """Return the log, connected.

        Raises:
            StorageError: no Kafka answers there.
        """
        opened = cls(servers, tenant)
        end_s = time.monotonic() + patience_s
        while True:
            try:
                with _translated(servers):
                    await opened._admin.start()
                    await opened._reader.start()
                    await opened._look()
            except StorageError:
                await opened.close()
                if time.monotonic() > end_s:
                    raise
                await asyncio.sleep(0.5)
                opened = cls(servers, tenant)
            else:
                return opened

    async def close(self) -> None:
        """Let go of the connections."""
        if self._producer is not None:
            await self._producer.stop()
        await self._reader.stop()
        await self._admin.close()

    # --- topics -----------------------------------------------------------------------------------------------------

    async def create_topics(self, topics: Sequence[NewTopic]) -> None:
        """Make those of `topics` that are not there, wait until all can be used, and learn the log's id.

        Raises:
            StorageError: one is there with another number of partitions, or cannot be made.
        """
        wanted = [*topics, ID]
        with _translated(self.servers):
            brokers = len((await self._admin.describe_cluster())["brokers"])
            made = await self._admin.create_topics([self._described(topic, min(3, brokers)) for topic in wanted])
        for name, code, message, *_ in made.topic_errors:
            if code and code != TopicAlreadyExistsError.errno:
                raise StorageError(f"{self.servers}: topic {name!r} cannot be made: {message or for_code(code)}")
        await self._usable({topic.name: topic.partitions for topic in wanted})
        self.log_id = await self._learn_id()

    def _described(self, topic: NewTopic, replicas: int) -> AdminTopic:
        retention = {"retention.ms": str(-1 if topic.retention_ms is None else topic.retention_ms)}
        settings = {"cleanup.policy": "compact"} if topic.is_compacted else retention
        settings |= {"max.message.bytes": str(MAX_RECORD_BYTES), "min.insync.replicas": str(1 + (replicas > 2))}
        return AdminTopic(f"{self._prefix}{topic.name}", topic.partitions, replicas, topic_configs=settings)

    async def _look(self, names: Iterable[str] | None = None) -> dict[str, int]:
        """Return and remember the partitions of those topics of the tenant that have a leader for each."""
        wanted = None if names is None else [f"{self._prefix}{name}" for name in names]
        self._partitions |= {
            topic["topic"].removeprefix(self._prefix): len(topic["partitions"])
            for topic in await self._admin.describe_topics(wanted)
            if topic["topic"].startswith(self._prefix)
            and not topic["error_code"]
            and all(not part["error_code"] for part in topic["partitions"])
        }
        return self._partitions

    async def _usable(self, partitions: Mapping[str, int]) -> None:
        """Return when every partition has a leader: a worker that starts before is assigned nothing for minutes."""
        end_s = time.monotonic() + TOPICS_S
        while True:
            with _translated(self.servers):
                found = await self._look(partitions)
            led = {name: found[name] for name in partitions if name in found}
            for name, count in led.items():
                if count != partitions[name]:
                    raise StorageError(
                        f"{self.servers}: topic {self._prefix}{name} has {count} partitions and {partitions[name]} "
                        "were declared; a log's partitions are fixed: declare as many, or migrate to a new topic"
                    )
            if led == partitions:
                return
            if time.monotonic() > end_s:
                raise StorageError(f"{self.servers}: no leader for all of {sorted(partitions.keys() - led.keys())}")
            await asyncio.sleep(0.05)

    async def _learn_id(self) -> str:
        """Return the id, made by whoever comes first: of several the first in the topic counts."""
        place = Partition(ID.name, 0)
        if not (found := (await self.read({place: 0}, max_records=1))[place]):
            await self.append([NewRecord(ID.name, 0, uuid.uuid4().hex.encode(), time.time_ns() // 1_000_000)])
            found = (await self.read({place: 0}, max_records=1))[place]
        return (found[0].value or b"").decode()

    # --- writing ----------------------------------------------------------------------------------------------------

    async def append(self, records: Sequence[NewRecord]) -> list[int]:
        """Store `records`, those of each partition in their order, and return their offsets.

        While Kafka is away this waits, with what it was given.

        Raises:
            StorageError: not all of `records` are stored. Whoever tries again stores some of them twice.
        """
        async with self._told_when_slow():
            with _translated(self.servers):
                producer = self._producer or await self._renewed(None)
                try:
                    sent = [await self._send(producer, record) for record in records]
                    return [(await stored).offset for stored in sent]
                except KafkaError:
                    # What an idempotent producer could not place leaves a hole in its numbers: a new one has none.
                    await self._renewed(producer)
                    raise

    async def _send(self, producer: AIOKafkaProducer, record: NewRecord) -> Any:  # noqa: ANN401 - aiokafka is not typed
        return await producer.send(
            f"{self._prefix}{record.topic}",
            value=record.value,
            key=record.key,
            partition=record.partition,
            timestamp_ms=record.at_ms,
            headers=decode_headers(record.headers),
        )

    async def _renewed(self, broken: AIOKafkaProducer | None) -> AIOKafkaProducer:
        async with self._renewing:
            if self._producer is None or self._producer is broken:
                self._producer = AIOKafkaProducer(
                    bootstrap_servers=self.servers,
                    enable_idempotence=True,
                    max_batch_size=_BATCH_BYTES,
                    max_request_size=MAX_RECORD_BYTES,
                )
                await self._producer.start()
                if broken is not None:
                    with contextlib.suppress(KafkaError):
                        await broken.stop()
            return self._producer

    @contextlib.asynccontextmanager
    async def _told_when_slow(self) -> AsyncIterator[None]:
        def tell() -> None:
            self._slow += 1
            if self._slow == 1:
                log.error("%s stores nothing for %s s, so nothing is acknowledged", self.servers, SLOW_S)

        before = self._slow
        timer = asyncio.get_running_loop().call_later(SLOW_S, tell)
        try:
            yield
        finally:
            timer.cancel()
        if self._slow and self._slow != before:
            self._slow = 0
            log.warning("%s stores again", self.servers)

    async def tidy(self, compacted: Iterable[str], *, now_ms: int) -> dict[Partition, int]:
        """Do nothing: Kafka compacts, and lets go of what is too old, by itself."""
        return {}

    # --- reading ----------------------------------------------------------------------------------------------------

    async def heads(self) -> dict[Partition, int]:
        """Return the offset that the next record will get, of every partition of the tenant's topics."""
        places = [Partition(name, number) for name, count in self._partitions.items() for number in range(count)]
        with _translated(self.servers):
            return self._plain(await self._reader.end_offsets(list(map(self._place, places))))

    def known_partitions(self, topic: str) -> int | None:
        """Return how many partitions `topic` has, None where there is none."""
        return self._partitions.get(topic)

    async def starts(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the lowest offset still in the log, of each of `partitions`."""
        with _translated(self.servers):
            return self._plain(await self._reader.beginning_offsets(list(map(self._place, partitions))))

    async def read(
        self, offsets: Mapping[Partition, int], *, max_records: int = 1_000
    ) -> dict[Partition, list[Record]]:
        """Return the records from each partition's offset on: at least one where there is one."""
        async with self._reading:
            with _translated(self.servers):
                heads = await self._reader.end_offsets(list(map(self._place, offsets)))
                return {
                    partition: await self._read_one(self._place(partition), offset, heads, max_records)
                    for partition, offset in offsets.items()
                }

    async def _read_one(
        self, place: TopicPartition, offset: int, heads: Mapping[TopicPartition, int], max_records: int
    ) -> list[Record]:
        head = heads[place]
        if offset >= head:
            return []
        self._reader.assign([place])
        self._reader.seek(place, offset)
        found: list[Any] = []
        while not found and await self._reader.position(place) < head:
            found = (await self._reader.getmany(timeout_ms=_READ_WAIT_MS, max_records=max_records)).get(place, [])
        return [_record(one) for one in found]

    def _place(self, partition: Partition) -> TopicPartition:
        return TopicPartition(f"{self._prefix}{partition[0]}", partition[1])

    def _plain(self, offsets: Mapping[TopicPartition, int]) -> dict[Partition, int]:
        return {
            Partition(place.topic.removeprefix(self._prefix), place.partition): offset
            for place, offset in offsets.items()
        }


def _record(found: Any) -> Record:  # noqa: ANN401 - aiokafka is not typed
    return Record(found.offset, found.timestamp, found.key, encode_headers(found.headers), found.value)


@contextlib.contextmanager
def _translated(servers: str) -> Iterator[None]:
    try:
        yield
    except KafkaError as exc:
        raise StorageError(f"{servers}: {exc}; check that Kafka runs there and may be reached") from exc
