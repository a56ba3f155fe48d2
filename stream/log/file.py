"""One SQLite file as a log: topics, partitions, records, committed offsets. Synchronous; an instance is a connection.

A record's row id is ``partition << 40 | offset``: a partition lies together in the file, in offset order, and a read
from an offset is one range of the primary key, without a second index. WAL lets several processes read while one
writes; a write transaction is begun as IMMEDIATE, so offsets are given out under the file's own lock and stay
contiguous whoever appends.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from models.errors import StorageError

SCHEMA_VERSION = 3
APPLICATION_ID = 0x47574C47  # "GWLG": tells our log from any other SQLite file
_OFFSET_BITS = 40
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1
_PAGE_BYTES = 4096
_WAL_BYTES = 64 << 20  # the write-ahead log is cut back to this after it was larger

_SCHEMA = (
    "CREATE TABLE log (id TEXT NOT NULL, created_at_ms INTEGER NOT NULL) STRICT",
    """CREATE TABLE topic (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL, is_compacted INTEGER NOT NULL,
        retention_ms INTEGER
    ) STRICT""",
    """CREATE TABLE partition (
        id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL REFERENCES topic, number INTEGER NOT NULL,
        next_offset INTEGER NOT NULL DEFAULT 0, UNIQUE (topic_id, number)
    ) STRICT""",
    """CREATE TABLE record (
        id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, key BLOB, headers BLOB, value BLOB
    ) STRICT""",
    """CREATE TABLE committed (
        group_id TEXT NOT NULL, partition_id INTEGER NOT NULL REFERENCES partition, next_offset INTEGER NOT NULL,
        PRIMARY KEY (group_id, partition_id)
    ) STRICT, WITHOUT ROWID""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_UPGRADES: dict[int, tuple[str, ...]] = {1: ("ALTER TABLE topic ADD COLUMN retention_ms INTEGER",), 2: ()}
"""What makes a file of each version into one of the next. From 3 on older programs cannot read its records."""

_REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk or the log's limit is full, nothing was stored; free space or raise the limit",
    sqlite3.SQLITE_BUSY: "another process holds its lock, nothing was stored; find who has the file open",
    sqlite3.SQLITE_LOCKED: "another connection holds its lock, nothing was stored; find who has the file open",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; move it away and restore a copy",
    sqlite3.SQLITE_NOTADB: "this is not a SQLite file, or its head is damaged; move it away and restore a copy",
    sqlite3.SQLITE_READONLY: "the file or its folder may not be written; give this user the right",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; check that its folder exists and may be written",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write, nothing was stored; check the disk and its free space",
}


class Partition(NamedTuple):
    """One partition of a topic. Equal to Faust's ``TP`` of the same values, as both are plain tuples."""

    topic: str
    number: int


class NewTopic(NamedTuple):
    """What is to be made. Records older than `retention_ms` may go, with None none does; of a compacted topic none."""

    name: str
    partitions: int
    is_compacted: bool = False
    retention_ms: int | None = None


class NewRecord(NamedTuple):
    """What is to be appended. `at_ms` is POSIX milliseconds; `headers` come from `encode_headers`."""

    topic: str
    partition: int
    value: bytes | None
    at_ms: int
    key: bytes | None = None
    headers: bytes | None = None


class Record(NamedTuple):
    """What is in the log. A record whose `value` is None deletes its key from a compacted topic."""

    offset: int
    at_ms: int
    key: bytes | None
    headers: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as declared: `ids` are the row ids of its partitions, by number."""

    name: str
    is_compacted: bool
    ids: tuple[int, ...]
    retention_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """What a partition holds, for retention.

    Attributes:
        first_at_ms: of its oldest record.
        start: offset of that; `head`: the offset that the next record will get.
        expired: the offset before which all is older than the topic keeps.
        floor: the offset at which the slowest of the groups goes on that ever committed here; `head` without any.
    """

    partition: Partition
    id: int
    first_at_ms: int
    start: int
    expired: int
    floor: int
    head: int


def encode_headers(headers: Mapping[str, bytes] | Iterable[tuple[str, bytes]] | None) -> bytes | None:
    """Return `headers` as stored, None where there are none."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return msgspec.msgpack.encode(list(pairs)) or None if pairs else None


def decode_headers(headers: bytes | None) -> list[tuple[str, bytes]]:
    """Return the pairs that `encode_headers` was given, in their order."""
    return msgspec.msgpack.decode(headers, type=list[tuple[str, bytes]]) if headers else []


class LogFile:
    """One connection to a log file. Not safe to share: every thread has its own.

    Args:
        path: the file, made with its schema where it does not exist. Its folder must exist.
        busy_timeout_s: how long a transaction waits for another process's lock.
        limit_bytes: the most the file may grow to; None leaves it to the disk.

    Raises:
        StorageError: not a log, an unknown schema version, damaged, locked or not to be opened.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 10.0, limit_bytes: int | None = None) -> None:
        self.path = path
        self._topics: dict[str, Topic] = {}
        with self._translated():
            # Opened here, used by one thread at a time: the check would only forbid the hand-over.
            self._connection = sqlite3.connect(
                path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
            )
        try:
            self._prepare(busy_timeout_s, limit_bytes)
        except StorageError:
            self._connection.close()
            raise

    def close(self) -> None:
        """Give the file back."""
        with self._translated():
            self._connection.close()

    # -- Reading ---------------------------------------------------------------------------------

    def topic(self, name: str) -> Topic:
        """Return the topic called `name`.

        Raises:
            StorageError: no such topic.
        """
        if name not in self._topics and (found := self._find_topic(name)) is not None:
            self._topics[name] = found
        if name not in self._topics:
            raise StorageError(f"{self.path}: there is no topic {name!r}; declare it before it is used")
        return self._topics[name]

    def read(self, partition: Partition, offset: int, *, max_records: int, max_bytes: int) -> list[Record]:
        """Return the records from `offset` on, as many as fit, at least one where there is one."""
        base = self._base(partition)
        records: list[Record] = []
        size_bytes = 0
        with self._translated(), contextlib.closing(self._connection.cursor()) as rows:
            rows.execute(
                "SELECT id & ?, at_ms, key, headers, value FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
                (_OFFSET_MASK, base + offset, base + _OFFSET_MASK, max_records),
            )
            for row in rows:
                record = Record(*row)
                records.append(record)
                size_bytes += len(record.value or b"") + len(record.headers or b"") + len(record.key or b"")
                if size_bytes >= max_bytes:
                    break
        return records

    def heads(self) -> dict[Partition, int]:
        """Return the offset that the next record will get, of every partition."""
        rows = self._query("SELECT name, number, next_offset FROM partition JOIN topic ON topic.id = topic_id")
        return {Partition(name, number): next_offset for name, number, next_offset in rows}

    def starts(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the lowest offset still in the log; the next one to be given out where there is none."""
        heads = self.heads()
        starts = {}
        for partition in partitions:
            base = self._base(partition)
            ((lowest,),) = self._query("SELECT min(id) FROM record WHERE id >= ? AND id < ?", base, base + _OFFSET_MASK)
            starts[partition] = heads[partition] if lowest is None else lowest & _OFFSET_MASK
        return starts

    def committed(self, group_id: str) -> dict[Partition, int]:
        """Return the offset at which `group_id` goes on, of every partition that it ever committed."""
        rows = self._query(
            """SELECT name, number, committed.next_offset FROM committed
            JOIN partition ON partition.id = partition_id JOIN topic ON topic.id = topic_id WHERE group_id = ?""",
            group_id,
        )
        return {Partition(name, number): next_offset for name, number, next_offset in rows}

    def extents(self, now_ms: int) -> list[Extent]:
        """Return what the partitions of topics that are not compacted hold, the one with the oldest record first."""
        rows = self._query(
            """SELECT name, number, partition.id, retention_ms, next_offset, (
                SELECT min(next_offset) FROM committed WHERE partition_id = partition.id
            ) FROM partition JOIN topic ON topic.id = topic_id WHERE NOT is_compacted"""
        )
        found = []
        for name, number, partition_id, retention_ms, head, floor in rows:
            span = (partition_id << _OFFSET_BITS, (partition_id << _OFFSET_BITS) + _OFFSET_MASK)
            first = self._query(
                "SELECT id & ?, at_ms FROM record WHERE id >= ? AND id < ? LIMIT 1", _OFFSET_MASK, *span
            )
            if not first:
                continue
            ((start, first_at_ms),) = first
            expired = start
            if retention_ms is not None:
                kept = self._query(
                    "SELECT id & ? FROM record WHERE id >= ? AND id < ? AND at_ms >= ? ORDER BY id LIMIT 1",
                    *(_OFFSET_MASK, *span, now_ms - retention_ms),
                )
                expired = kept[0][0] if kept else head
            place = Partition(name, number)
            done_with = head if floor is None else floor
            found.append(Extent(place, partition_id, first_at_ms, start, expired, done_with, head))
        return sorted(found, key=lambda extent: extent.first_at_ms)

    def used_bytes(self) -> int:
        """Return how much of the file is in use; what was deleted is used again before the file grows."""
        pages = self._pragma("page_count") - self._pragma("freelist_count")
        return pages * self._pragma("page_size")

    def superseded(self, topic: str) -> list[int]:
        """Return the ids of the records of `topic` that have a newer one of the same key in their partition."""
        ids: list[int] = []
        for partition_id in self.topic(topic).ids:
            base = partition_id << _OFFSET_BITS
            newest = "SELECT max(id) FROM record WHERE id >= ? AND id < ? AND key IS NOT NULL GROUP BY key"
            ids += (
                row_id
                for (row_id,) in self._query(
                    f"SELECT id FROM record WHERE id >= ? AND id < ? AND key IS NOT NULL AND id NOT IN ({newest})",  # noqa: S608 - a constant
                    *(base, base + _OFFSET_MASK) * 2,
                )
            )
        return ids

    def data_version(self) -> int:
        """Return a number that changes when another connection, of any process, has committed."""
        ((version,),) = self._query("PRAGMA data_version")
        return int(version)

    # -- Writing, inside a transaction -----------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Store everything that is written inside, on disk and in one piece, or nothing of it.

        Raises:
            StorageError: nothing was stored.
        """
        with self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._topics.clear()  # a topic that was made inside is gone again
                if self._connection.in_transaction:  # SQLite has rolled back by itself where the disk was full
                    self._connection.execute("ROLLBACK")
                raise

    def create_topic(
        self, name: str, partitions: int, *, is_compacted: bool = False, retention_ms: int | None = None
    ) -> Topic:
        """Make the topic, or return it where it is there with as many partitions, from now on kept as long as said.

        Raises:
            StorageError: it is there with another number of partitions.
        """
        execute = self._connection.execute
        found = self._find_topic(name)
        if found is None:
            topic_id = execute(
                "INSERT INTO topic (name, partitions, is_compacted, retention_ms) VALUES (?, ?, ?, ?)",
                (name, partitions, is_compacted, retention_ms),
            ).lastrowid
            ids = [
                execute("INSERT INTO partition (topic_id, number) VALUES (?, ?)", (topic_id, number)).lastrowid
                for number in range(partitions)
            ]
            made = tuple(partition_id for partition_id in ids if partition_id is not None)
            return Topic(name, is_compacted, made, retention_ms)
        if len(found.ids) != partitions:
            raise StorageError(
                f"{self.path}: topic {name!r} has {len(found.ids)} partitions and {partitions} were declared; "
                "a log's partitions are fixed: declare as many, or migrate to a new topic"
            )
        if found.retention_ms != retention_ms:
            execute("UPDATE topic SET retention_ms = ? WHERE name = ?", (retention_ms, name))
        return replace(found, retention_ms=retention_ms)

    def partition_id(self, partition: Partition) -> int:
        """Return the row id of `partition`.

        Raises:
            StorageError: no such topic or partition.
        """
        ids = self.topic(partition.topic).ids
        if not 0 <= partition.number < len(ids):
            raise StorageError(
                f"{self.path}: topic {partition.topic!r} has {len(ids)} partitions, there is no {partition.number}"
            )
        return ids[partition.number]

    def next_offset(self, partition_id: int) -> int:
        """Return the offset that the partition's next record will get."""
        ((next_offset,),) = self._connection.execute("SELECT next_offset FROM partition WHERE id = ?", (partition_id,))
        return int(next_offset)

    def insert(self, rows: Sequence[tuple[int, int, NewRecord]]) -> None:
        """Put records at ``(partition id, offset)``. `set_next_offsets` belongs to it, in the same transaction."""
        self._connection.executemany(
            "INSERT INTO record (id, at_ms, key, headers, value) VALUES (?, ?, ?, ?, ?)",
            (
                (partition_id << _OFFSET_BITS | offset, record.at_ms, record.key, record.headers, record.value)
                for partition_id, offset, record in rows
            ),
        )

    def set_next_offsets(self, next_offsets: Mapping[int, int]) -> None:
        """Remember the heads, by partition id."""
        self._connection.executemany(
            "UPDATE partition SET next_offset = ? WHERE id = ?",
            ((next_offset, partition_id) for partition_id, next_offset in next_offsets.items()),
        )

    def commit_offsets(self, group_id: str, offsets: Mapping[int, int]) -> None:
        """Remember where `group_id` goes on, by partition id. Going back is allowed: that is a replay."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO committed (group_id, partition_id, next_offset) VALUES (?, ?, ?)",
            ((group_id, partition_id, offset) for partition_id, offset in offsets.items()),
        )

    def delete(self, ids: Sequence[int]) -> None:
        """Remove the records of these ids."""
        self._connection.executemany("DELETE FROM record WHERE id = ?", ((row_id,) for row_id in ids))

    def delete_before(self, partition_id: int, offset: int) -> None:
        """Remove the records of a partition before `offset`."""
        base = partition_id << _OFFSET_BITS
        self._connection.execute("DELETE FROM record WHERE id >= ? AND id < ?", (base, base + offset))

    # -- Within ----------------------------------------------------------------------------------

    def _prepare(self, busy_timeout_s: float, limit_bytes: int | None) -> None:
        self._enter_wal(busy_timeout_s)
        with self._translated():
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
            if limit_bytes is not None:
                self._connection.execute(f"PRAGMA max_page_count = {limit_bytes // _PAGE_BYTES}")
        if self._pragma("user_version") < SCHEMA_VERSION:
            with self.transaction():
                # Looked at again under the lock: two processes may make the file at the same moment.
                if self._pragma("user_version") == 0:
                    self._create_schema()
                elif self._pragma("application_id") == APPLICATION_ID:
                    self._upgrade()
        self._check_version()
        ((log_id,),) = self._query("SELECT id FROM log")
        self.log_id = str(log_id)

    def _enter_wal(self, busy_timeout_s: float) -> None:
        deadline_s = time.monotonic() + busy_timeout_s
        while True:
            try:
                with self._translated():
                    self._connection.execute("PRAGMA journal_mode = WAL")
            except StorageError as exc:
                # SQLite does not wait by itself for this one lock, which another process holds while it opens the file.
                is_busy = getattr(exc.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.005)
            else:
                return

    def _create_schema(self) -> None:
        if self._query("SELECT 1 FROM sqlite_schema"):
            raise StorageError(f"{self.path}: this SQLite file is no Gridwarden log; name another path")
        for statement in _SCHEMA:
            self._connection.execute(statement)
        self._connection.execute("INSERT INTO log VALUES (?, ?)", (uuid.uuid4().hex, time.time_ns() // 1_000_000))

    def _upgrade(self) -> None:
        for version in range(self._pragma("user_version"), SCHEMA_VERSION):
            for statement in _UPGRADES[version]:
                self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _check_version(self) -> None:
        if self._pragma("application_id") != APPLICATION_ID:
            raise StorageError(f"{self.path}: this SQLite file is no Gridwarden log; name another path")
        if (version := self._pragma("user_version")) != SCHEMA_VERSION:
            raise StorageError(
                f"{self.path}: the log has schema version {version} and this program knows {SCHEMA_VERSION}; "
                "run the version of Gridwarden that wrote it, or name another path"
            )

    def _pragma(self, name: str) -> int:
        ((value,),) = self._query(f"PRAGMA {name}")
        return int(value)

    def _find_topic(self, name: str) -> Topic | None:
        rows = self._query(
            """SELECT is_compacted, partition.id, retention_ms FROM topic JOIN partition ON topic_id = topic.id
            WHERE name = ? ORDER BY number""",
            name,
        )
        return Topic(name, bool(rows[0][0]), tuple(row[1] for row in rows), rows[0][2]) if rows else None

    def _base(self, partition: Partition) -> int:
        return self.partition_id(partition) << _OFFSET_BITS

    def _query(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        with self._translated():
            return self._connection.execute(sql, arguments).fetchall()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            remedy = _REMEDIES.get(getattr(exc, "sqlite_errorcode", 0) & 0xFF, "")
            raise StorageError(f"{self.path}: {exc}{'; ' if remedy else ''}{remedy}") from exc
