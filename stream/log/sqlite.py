"""The embedded durable log: what Kafka is to a cluster, in one SQLite file for one machine.

Appends of everybody who waits at the same time share one transaction (group commit, ``synchronous=FULL``): one thread
writes, so the event loop never waits for the disk. A second thread reads. A third looks every few milliseconds whether
another process has appended; what this process appends is known at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import logging
import queue
import shutil
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

from models.errors import StorageError
from stream.log.file import Extent, LogFile, NewRecord, NewTopic, Partition, Record, Topic

_T = TypeVar("_T")
_logger = logging.getLogger(__name__)

_POLL_S = 0.01
_GROUP_WRITES = 1_000  # appends in one transaction at most: bounds how long the first of them waits
_GROUP_BYTES = 4 << 20
_DELETE_ROWS = 2_000  # rows deleted in one transaction at most: appends go on between
_WAITING_BYTES = 64 << 20  # of appends that wait for the disk, before who wants to append waits as well
NEARLY_FULL = 0.8
"""Of the limit: from there on retention asks for room, not for age."""


@dataclass(frozen=True, slots=True)
class _Write:
    """One caller's wish, done by the writer thread inside the transaction of its group."""

    apply: Callable[[_Group], Any]
    stored: asyncio.Future[Any]
    size_bytes: int = 0


class _Group:
    """One transaction in the making: gives out offsets without asking the file for each."""

    def __init__(self, file: LogFile) -> None:
        self.file = file
        self.heads: dict[Partition, int] = {}
        self._next_offsets: dict[int, int] = {}
        self._rows: list[tuple[int, int, NewRecord]] = []

    def append(self, records: Sequence[NewRecord]) -> list[int]:
        partitions = [Partition(record.topic, record.partition) for record in records]
        ids = [self.file.partition_id(partition) for partition in partitions]  # refuses before anything is given out
        return [self._place(*row) for row in zip(partitions, ids, records, strict=True)]

    def finish(self) -> None:
        self.file.insert(self._rows)
        self.file.set_next_offsets(self._next_offsets)

    def _place(self, partition: Partition, partition_id: int, record: NewRecord) -> int:
        offset = self._next_offsets.get(partition_id)
        if offset is None:
            offset = self.file.next_offset(partition_id)
        self._next_offsets[partition_id] = self.heads[partition] = offset + 1
        self._rows.append((partition_id, offset, record))
        return offset


class SqliteLog:
    """A log file, opened: append, read, commit. Awaited from one event loop or several.

    Args:
        path: the file, made where it does not exist. Its folder must exist.
        busy_timeout_s: how long a write waits for another process's lock before it fails.
        limit_bytes: the most the file may grow to; None leaves it to the disk.

    Attributes:
        log_id: made with the file and never changed: the `outbox_id` of what leaves this log.

    Raises:
        StorageError: not a log, an unknown schema version, damaged, locked or not to be opened.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 10.0, limit_bytes: int | None = None) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._waiting_bytes = 0
        self._file = LogFile(path, busy_timeout_s=busy_timeout_s, limit_bytes=limit_bytes)
        self.log_id: str = self._file.log_id
        self._read_file = LogFile(path, busy_timeout_s=busy_timeout_s)
        self._watch_file = LogFile(path, busy_timeout_s=busy_timeout_s)
        self._topics: dict[str, Topic] = {}
        self._heads: dict[Partition, int] = self._read_file.heads()
        self._heads_lock = threading.Lock()
        self._listeners: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._failure: StorageError | None = None
        self._closing = threading.Event()
        self._claims: dict[str, TextIO] = {}
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="log-reader")
        self._threads = (
            threading.Thread(target=self._write_groups, name="log-writer", daemon=True),
            threading.Thread(target=self._watch, name="log-watcher", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    async def close(self) -> None:
        """Store what is waiting, and give the file back."""
        if not self._closing.is_set():
            self._closing.set()
            self._writes.put(None)
            await asyncio.to_thread(self._close)

    # -- Writing ---------------------------------------------------------------------------------

    def append_soon(self, records: Sequence[NewRecord]) -> asyncio.Future[list[int]]:
        """Queue `records`, stored in one piece, in the order of the calls; the future brings their offsets.

        Raises:
            StorageError: through the future: nothing of `records` is in the log.
            TypeError: a field is not what `NewRecord` says: found here, or it would fail the whole group.
        """
        for record in records:
            if not (_is_blob(record.value) and _is_blob(record.key) and _is_blob(record.headers)):
                raise TypeError(f"key, headers and value of a record are bytes or None: {record!r:.200}")
            if not 0 <= record.at_ms < 1 << 63:
                raise TypeError(f"at_ms is milliseconds since 1970: {record.at_ms!r}")
        return self._write(lambda group: group.append(records), sum(len(r.value or b"") for r in records))

    async def append(self, records: Sequence[NewRecord]) -> list[int]:
        """Store `records` in one piece and return their offsets: when this returns they are on disk.

        Raises:
            StorageError: nothing of `records` is in the log.
        """
        await self.room()
        return await self.append_soon(records)

    async def room(self) -> None:
        """Return when not too much waits for the disk already."""
        while self._waiting_bytes > _WAITING_BYTES:  # noqa: ASYNC110 - the writer is a thread, and belongs to no loop
            await asyncio.sleep(_POLL_S)

    async def create_topic(
        self, name: str, partitions: int, *, is_compacted: bool = False, retention_ms: int | None = None
    ) -> None:
        """Make the topic, where it is not there.

        Raises:
            StorageError: it is there with another number of partitions.
        """
        if name not in self._topics or len(self._topics[name].ids) != partitions:  # Faust asks again and again
            await self.create_topics([NewTopic(name, partitions, is_compacted, retention_ms)])

    async def create_topics(self, topics: Iterable[NewTopic]) -> None:
        """Make those of `topics` that are not there.

        Raises:
            StorageError: one is there with another number of partitions.
        """
        for topic in topics:
            made: Topic = await self._write(functools.partial(_create, topic=topic))
            self._topics[topic.name] = made
            self._raise_heads(dict.fromkeys((Partition(topic.name, n) for n in range(topic.partitions)), 0))

    async def commit(self, group_id: str, offsets: Mapping[Partition, int]) -> None:
        """Remember on disk where `group_id` goes on: the offset after the last one that it is done with."""

        def apply(group: _Group) -> None:
            ids = {group.file.partition_id(Partition(*partition)): offset for partition, offset in offsets.items()}
            group.file.commit_offsets(group_id, ids)

        await self._write(apply)

    async def compact(self, topic: str) -> int:
        """Keep only the newest record of each key of `topic`, and return how many went. Appends go on meanwhile.

        The newest offset wins, whatever its value says. Offsets stay as they are, and leave holes.
        """
        ids = await self._read(lambda file: file.superseded(topic))
        for start in range(0, len(ids), _DELETE_ROWS):
            chunk = ids[start : start + _DELETE_ROWS]
            await self._write(functools.partial(_delete, ids=chunk))
        return len(ids)

    async def tidy(self, compacted: Iterable[str], *, now_ms: int) -> dict[Partition, int]:
        """Compact those topics, let go of what is too old, and return how much was lost unread: see `retain`."""
        for topic in compacted:
            await self.compact(topic)
        return await self.retain(now_ms)

    async def retain(self, now_ms: int) -> dict[Partition, int]:
        """Let go of what is older than its topic keeps; return how much was lost unread, which is nothing as a rule.

        A record that a group has not done with stays, however old. Only when the log is nearly full the oldest go
        whatever their age, first those that every group has done with, then the others too: a log that takes nothing
        more would be worse.
        """
        for extent in await self._read(lambda file: file.extents(now_ms)):
            await self._cut(extent, min(extent.expired, extent.floor))
        while await self._is_nearly_full():
            extents = await self._read(lambda file: file.extents(now_ms))
            if not (done_with := next((one for one in extents if one.start < one.floor), None)):
                return await self._sacrifice(now_ms)
            await self._cut(done_with, min(done_with.floor, done_with.start + _DELETE_ROWS))
        return {}

    async def _sacrifice(self, now_ms: int) -> dict[Partition, int]:
        lost: dict[Partition, int] = {}
        while await self._is_nearly_full() and (extents := await self._read(lambda file: file.extents(now_ms))):
            oldest = extents[0]
            end = min(oldest.head, oldest.start + _DELETE_ROWS)
            await self._cut(oldest, end)
            lost[oldest.partition] = lost.get(oldest.partition, 0) + end - oldest.start
        for partition, count in lost.items():
            _logger.error("%s: nearly full: %s records of %s/%s are lost unread", self.path, count, *partition)
        return lost

    async def _cut(self, extent: Extent, offset: int) -> None:
        for end in range(extent.start + _DELETE_ROWS, offset + _DELETE_ROWS, _DELETE_ROWS):
            await self._write(functools.partial(_delete_before, partition_id=extent.id, offset=min(end, offset)))

    async def _is_nearly_full(self) -> bool:
        used_bytes = await self._read(LogFile.used_bytes)
        limit_bytes = used_bytes + shutil.disk_usage(self.path.parent).free
        return used_bytes >= NEARLY_FULL * min(limit_bytes, self._limit_bytes or limit_bytes)

    # -- Reading ---------------------------------------------------------------------------------

    async def read(
        self, offsets: Mapping[Partition, int], *, max_records: int = 1_000, max_bytes: int = 4 << 20
    ) -> dict[Partition, list[Record]]:
        """Return the records from each partition's offset on.

        The bounds are shared out evenly, and each partition that has a record gives at least one.
        """
        share = max(1, len(offsets))
        records, size_bytes = max(1, max_records // share), max_bytes // share

        def fetch(file: LogFile) -> dict[Partition, list[Record]]:
            return {
                partition: file.read(Partition(*partition), offset, max_records=records, max_bytes=size_bytes)
                for partition, offset in offsets.items()
            }

        return await self._read(fetch)

    async def heads(self) -> dict[Partition, int]:
        """Return the offset that the next record will get, of every partition, as the file has it now."""
        return await self._read(LogFile.heads)

    async def starts(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the lowest offset still in the log, of each of `partitions`."""
        return await self._read(lambda file: file.starts([Partition(*partition) for partition in partitions]))

    async def committed(self, group_id: str) -> dict[Partition, int]:
        """Return the offset at which `group_id` goes on, of every partition that it ever committed."""
        return await self._read(lambda file: file.committed(group_id))

    async def topic(self, name: str) -> Topic:
        """Return the topic called `name`.

        Raises:
            StorageError: no such topic.
        """
        if name not in self._topics:
            self._topics[name] = await self._read(lambda file: file.topic(name))
        return self._topics[name]

    def known_partitions(self, topic: str) -> int | None:
        """Return how many partitions `topic` has, None where this process has not met it. Does not touch the file."""
        return len(self._topics[topic].ids) if topic in self._topics else None

    def known_head(self, partition: Partition) -> int:
        """Return the offset that the next record will get, as last learnt. Does not touch the file.

        Raises:
            StorageError: the file can no longer be read, so nothing new will be learnt.
        """
        if self._failure is not None:
            raise self._failure
        return self._heads.get(partition, 0)

    def listen(self) -> asyncio.Event:
        """Return an event that is set whenever something may have been appended, by whichever process."""
        event = asyncio.Event()
        self._listeners.append((asyncio.get_running_loop(), event))
        return event

    def unlisten(self, event: asyncio.Event) -> None:
        """Forget an event that `listen` gave."""
        self._listeners = [listener for listener in self._listeners if listener[1] is not event]

    # -- One worker a group ----------------------------------------------------------------------

    def claim(self, group_id: str) -> None:
        """Make this the only log, of any process, that consumes as `group_id`, until `release` or the process's end.

        Raises:
            StorageError: another process does.
        """
        lock_path = self.path.with_name(f"{self.path.name}.{urllib.parse.quote(group_id, safe='')}.lock")
        lock = lock_path.open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            lock.close()
            raise StorageError(f"{self.path}: another process already works as {group_id!r}; stop it first") from exc
        self._claims[group_id] = lock

    def release(self, group_id: str) -> None:
        """Let another process work as `group_id`."""
        if (lock := self._claims.pop(group_id, None)) is not None:
            lock.close()

    # -- Threads ---------------------------------------------------------------------------------

    def _write(self, apply: Callable[[_Group], _T], size_bytes: int = 0) -> asyncio.Future[_T]:
        if self._closing.is_set():
            raise StorageError(f"{self.path}: the log is closed")
        stored: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._waiting_bytes += size_bytes
        stored.add_done_callback(functools.partial(self._settled, size_bytes))
        self._writes.put(_Write(apply, stored, size_bytes))
        return stored

    def _settled(self, size_bytes: int, _stored: object) -> None:
        self._waiting_bytes -= size_bytes

    async def _read(self, fetch: Callable[[LogFile], _T]) -> _T:
        if self._closing.is_set():
            raise StorageError(f"{self.path}: the log is closed")
        return await asyncio.get_running_loop().run_in_executor(self._reader, fetch, self._read_file)

    def _write_groups(self) -> None:
        is_open = True
        while is_open:
            writes: list[_Write] = []
            size_bytes = 0
            with contextlib.suppress(queue.Empty):
                while len(writes) < _GROUP_WRITES and size_bytes < _GROUP_BYTES:
                    write = self._writes.get(block=not writes)
                    if write is None:
                        is_open = False
                        break
                    writes.append(write)
                    size_bytes += write.size_bytes
            if writes:
                self._store(writes)

    def _store(self, writes: Sequence[_Write]) -> None:
        outcomes: list[tuple[asyncio.Future[Any], Any]] = []
        group = _Group(self._file)
        try:
            with self._file.transaction():
                for write in writes:
                    try:
                        outcomes.append((write.stored, write.apply(group)))
                    except StorageError as refusal:  # said before it wrote anything: its neighbours go on
                        outcomes.append((write.stored, refusal))
                group.finish()
        except Exception as failure:  # noqa: BLE001 - the thread's outermost loop: whoever waits must hear of it
            outcomes = [(write.stored, failure) for write in writes]
        else:
            self._raise_heads(group.heads)
        self._answer(outcomes)

    def _answer(self, outcomes: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
        for loop in {stored.get_loop() for stored, _ in outcomes}:
            mine = [outcome for outcome in outcomes if outcome[0].get_loop() is loop]
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, mine)

    def _watch(self) -> None:
        version = -1
        while not self._closing.wait(_POLL_S):
            try:
                if (seen := self._watch_file.data_version()) != version:
                    self._raise_heads(self._watch_file.heads())
                    version = seen
            except StorageError as exc:
                _logger.exception("the log can no longer be read")
                self._failure = exc
                self._tell()
                return

    def _raise_heads(self, heads: Mapping[Partition, int]) -> None:
        with self._heads_lock:
            news = {p: head for p, head in heads.items() if head > self._heads.get(p, -1)}
            self._heads.update(news)
        if news:
            self._tell()

    def _tell(self) -> None:
        for loop, event in self._listeners:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(event.set)

    def _close(self) -> None:
        for thread in self._threads:
            thread.join()
        self._reader.shutdown()
        with contextlib.suppress(queue.Empty):
            while (late := self._writes.get_nowait()) is not None:
                self._answer([(late.stored, StorageError(f"{self.path}: the log is closed"))])
        for group_id in list(self._claims):
            self.release(group_id)
        for file in (self._file, self._read_file, self._watch_file):
            file.close()


def _settle(outcomes: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for stored, outcome in outcomes:
        if stored.cancelled():
            continue
        if isinstance(outcome, Exception):
            stored.set_exception(outcome)
        else:
            stored.set_result(outcome)


def _create(group: _Group, topic: NewTopic) -> Topic:
    return group.file.create_topic(
        topic.name, topic.partitions, is_compacted=topic.is_compacted, retention_ms=topic.retention_ms
    )


def _delete(group: _Group, ids: Sequence[int]) -> None:
    group.file.delete(ids)


def _delete_before(group: _Group, partition_id: int, offset: int) -> None:
    group.file.delete_before(partition_id, offset)


def _is_blob(field: object) -> bool:
    return field is None or isinstance(field, bytes)
