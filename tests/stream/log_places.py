"""A log to be tested, embedded or on Kafka, behind one face: the conformance suite runs the same cases against both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import faust
from aiokafka.admin import AIOKafkaAdminClient

from stream.log.engine import App, StreamLog
from stream.log.file import NewTopic, Partition, Record
from stream.log.kafka import KafkaLog, prefix_of, servers_of
from stream.log.sqlite import SqliteLog
from tests.stream.sqlite_harness import PATIENCE_S, EagerTables


class ReadableLog(StreamLog, Protocol):
    """What both logs can do beyond what the app needs."""

    async def read(self, offsets: Mapping[Partition, int], *, max_records: int = ...) -> dict[Partition, list[Record]]:
        """Return the records from each partition's offset on."""


class Place(Protocol):
    """Where a log is."""

    def name(self, topic: str) -> str:
        """What Faust calls `topic`."""

    def app(self, app_id: str = "watch", **settings: Any) -> faust.App:
        """An app on the log, not started."""

    def opened(self) -> contextlib.AbstractAsyncContextManager[ReadableLog]:
        """The log, opened by itself."""

    async def committed(self, app: faust.App) -> dict[Partition, int]:
        """Where the app's group goes on."""

    async def rebalance(self, app: faust.App) -> None:
        """Give the partitions out anew; returns when that has begun."""


def make_app(broker: str, app_id: str, folder: Path, **settings: Any) -> faust.App:
    """An app as the stream process makes it."""
    return App(
        app_id,
        broker=broker,
        store="memory://",
        datadir=folder / f"{app_id}-data",
        web_enabled=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        TableManager=EagerTables,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_commit_interval=3600.0,  # a test commits when it means to
        value_serializer="raw",
        **settings,
    )


class Embedded:
    """A file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "log.db"

    def name(self, topic: str) -> str:
        return topic

    def app(self, app_id: str = "watch", **settings: Any) -> faust.App:
        return make_app(f"sqlite://{self._path}", app_id, self._folder, **settings)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[ReadableLog]:
        log = SqliteLog(self._path)
        try:
            yield log
        finally:
            await log.close()

    async def committed(self, app: faust.App) -> dict[Partition, int]:
        log: SqliteLog = app.transport.log  # type: ignore[attr-defined] # our transport
        return await log.committed(app.conf.id)

    async def rebalance(self, app: faust.App) -> None:
        await app.consumer.subscribe({channel.get_topic_name() for channel in list(app.topics)})


class OnKafka:
    """A tenant of its own on a Kafka that others use as well."""

    def __init__(self, url: str, tenant: str, folder: Path) -> None:
        self._url, self._tenant, self._folder = url, tenant, folder

    def name(self, topic: str) -> str:
        return f"{prefix_of(self._tenant)}{topic}"

    def app(self, app_id: str = "watch", **settings: Any) -> faust.App:
        return make_app(self._url, self.name(app_id), self._folder, **settings)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[ReadableLog]:
        log = await KafkaLog.open(servers_of(self._url), self._tenant)
        try:
            yield log
        finally:
            await log.close()

    async def committed(self, app: faust.App) -> dict[Partition, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=servers_of(self._url))
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(app.conf.id)
        finally:
            await admin.close()
        prefix = prefix_of(self._tenant)
        return {Partition(place.topic.removeprefix(prefix), place.partition): at.offset for place, at in found.items()}

    async def rebalance(self, app: faust.App) -> None:
        thread: Any = app.consumer._thread  # type: ignore[attr-defined] # ours
        coordinator = thread._consumer._coordinator
        thread.thread_loop.call_soon_threadsafe(coordinator.request_rejoin)


@contextlib.asynccontextmanager
async def running(place: Place, app: faust.App, topics: Iterable[NewTopic]) -> AsyncIterator[ReadableLog]:
    """The log of `place` with `topics`, while `app` runs on it with its tables recovered."""
    async with place.opened() as log:
        await log.create_topics([*topics])
        app.finalize()
        await app.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await app.tables.wait_until_recovery_completed()
            yield log
        finally:
            await app.stop()
