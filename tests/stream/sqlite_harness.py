"""What the tests of the embedded log share: an app on a file, started and stopped, and records to put into it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import faust
from faust.tables.manager import TableManager
from faust.transport.drivers import TRANSPORTS
from faust.types import EventT

from stream.log.engine import App
from stream.log.file import NewRecord, Partition
from stream.log.sqlite import SqliteLog

_T = TypeVar("_T")
PATIENCE_S = 20.0
TRANSPORTS.aliases.setdefault("sqlite", "stream.log.transport:Transport")


class EagerTables(TableManager):
    """Faust's tables without the second for which they wait, at every start, whether somebody declares one more."""

    async def sleep(self, n: Any) -> None:
        await super().sleep(0)


def make_app(path: Path, app_id: str = "watch", *, query: str = "", **settings: Any) -> faust.App:
    """An app as the stream process makes it, on the log at `path`."""
    return App(
        app_id,
        broker=f"sqlite://{path}{query}",
        store="memory://",
        datadir=path.parent / f"{app_id}-data",
        web_enabled=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        TableManager=EagerTables,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=2.0,
        broker_commit_interval=3600.0,  # a test commits when it means to
        value_serializer="raw",
        **settings,
    )


def collect(app: faust.App, topic: Any) -> asyncio.Queue[EventT[Any]]:
    """Every event of `topic`, none acknowledged."""
    events: asyncio.Queue[EventT[Any]] = asyncio.Queue()

    async def collecting(stream: Any) -> None:
        async for event in stream.noack().events():
            events.put_nowait(event)

    app.agent(topic, name=f"collect-{topic.get_topic_name()}")(collecting)
    return events


async def take(events: asyncio.Queue[_T], count: int) -> list[_T]:
    """The next `count` of `events`."""
    return [await asyncio.wait_for(events.get(), PATIENCE_S) for _ in range(count)]


@contextlib.asynccontextmanager
async def running(app: faust.App) -> AsyncIterator[SqliteLog]:
    """The app's log, while the app runs with its tables recovered."""
    app.finalize()
    await app.start()
    try:
        await asyncio.wait_for(app.tables.wait_until_recovery_completed(), PATIENCE_S)
        log: SqliteLog = app.transport.log  # type: ignore[attr-defined] # our transport
        yield log
    finally:
        await app.stop()


@contextlib.asynccontextmanager
async def opened(path: Path, *topics: str, partitions: int = 1, **options: Any) -> AsyncIterator[SqliteLog]:
    """The log at `path`, with `topics`."""
    log = SqliteLog(path, **options)
    try:
        for topic in topics:
            await log.create_topic(topic, partitions)
        yield log
    finally:
        await log.close()


def numbered(topic: str, numbers: Iterable[int], partition: int = 0) -> list[NewRecord]:
    """Records whose value says their number."""
    return [NewRecord(topic, partition, str(number).encode(), 1_700_000_000_000 + number) for number in numbers]


async def values(log: SqliteLog, topic: str, partition: int = 0) -> list[bytes | None]:
    """Every value of a partition, which must lie at contiguous offsets from 0."""
    place = Partition(topic, partition)
    found = (await log.read({place: 0}, max_records=1_000_000, max_bytes=1 << 30))[place]
    assert [record.offset for record in found] == list(range(len(found)))
    return [record.value for record in found]


def run(test: Coroutine[Any, Any, _T]) -> _T:
    """Run one asynchronous test to its end, or to the end of patience."""

    async def bounded() -> _T:
        return await asyncio.wait_for(test, 3 * PATIENCE_S)

    return asyncio.run(bounded())
