"""The history: every observation that was not a duplicate, and the decision on it, in a SQLite file beside the log.

A row is named by its origin in `obs`, so that a record that is read twice after a crash is written once; (device,
outbox, lane, seq) is not, so that a duplicate which slipped into the log shows.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

from models import messages
from models.errors import StorageError
from models.messages import Heartbeat
from stream.history.rows import describe
from stream.history.store import Outcomes, Seen
from stream.records import Decided, HeartbeatRecord, HistoryLog, HistoryRecord, OrderedRecord

FILE: Final = "history.db"
CACHE_KIB: Final = 32_768
"""Each device has a page of its own in the index that is being filled: they stay in memory."""
MANY: Final = 400
"""Rows of one statement: while one runs the event loop has the interpreter to itself, between two it has not."""
TRIM_ROWS: Final = 20_000
"""Rows let go of in one transaction: whoever reads waits no longer than that takes."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS history (
    partition INTEGER NOT NULL, "offset" INTEGER NOT NULL, n INTEGER NOT NULL,
    device_id TEXT NOT NULL, outbox_id TEXT NOT NULL, lane TEXT NOT NULL, seq INTEGER NOT NULL,
    event_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL, time_source TEXT NOT NULL, skew_ms INTEGER,
    kind TEXT NOT NULL, label TEXT NOT NULL, confidence REAL, value REAL, quality TEXT NOT NULL,
    outcome TEXT NOT NULL, rule_version TEXT NOT NULL, zone TEXT NOT NULL, cell TEXT, signal_id TEXT,
    payload TEXT NOT NULL,
    PRIMARY KEY (partition, "offset", n)
) STRICT, WITHOUT ROWID;
DROP INDEX IF EXISTS history_by_name;
DROP INDEX IF EXISTS history_by_zone;
CREATE INDEX IF NOT EXISTS history_by_device ON history (device_id, event_ms);
CREATE INDEX IF NOT EXISTS history_by_time ON history (event_ms);
CREATE TABLE IF NOT EXISTS dispatch (
    incident_id TEXT NOT NULL, revision INTEGER NOT NULL, at_ms INTEGER NOT NULL, category TEXT NOT NULL,
    priority TEXT NOT NULL, stage TEXT NOT NULL, lead_unit TEXT NOT NULL, lead_post TEXT NOT NULL,
    latency_ms INTEGER, timeline TEXT NOT NULL,
    PRIMARY KEY (incident_id, revision)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS dispatch_by_time ON dispatch (at_ms);
CREATE TABLE IF NOT EXISTS heartbeat (
    device_id TEXT NOT NULL, at_ms INTEGER NOT NULL, frame_age_ms INTEGER, fps REAL NOT NULL, inference_p50_ms REAL,
    inference_p99_ms REAL, outbox_depth INTEGER NOT NULL, oldest_unsent_ms INTEGER, temperature_c REAL,
    config_version TEXT NOT NULL,
    PRIMARY KEY (device_id, at_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS heartbeat_by_time ON heartbeat (at_ms);
"""


class _Table(NamedTuple):
    """What is inserted and let go of, as SQL."""

    insert: str
    insert_many: str
    trim: str


def _table(name: str, columns: int, key: str, time: str) -> _Table:
    marks = f"({', '.join('?' * columns)})"
    old = f"SELECT {key} FROM {name} WHERE {time} < ? LIMIT {TRIM_ROWS}"  # noqa: S608  # constants
    return _Table(
        f"INSERT OR IGNORE INTO {name} VALUES {marks}",  # noqa: S608
        f"INSERT OR IGNORE INTO {name} VALUES {', '.join([marks] * MANY)}",  # noqa: S608
        f"DELETE FROM {name} WHERE ({key}) IN ({old})",  # noqa: S608
    )


_HISTORY: Final = _table("history", 22, 'partition, "offset", n', "event_ms")
_DISPATCH: Final = _table("dispatch", 10, "incident_id, revision", "at_ms")
_HEARTBEAT: Final = _table("heartbeat", 10, "device_id, at_ms", "at_ms")


class History:
    """The file, open for writing. One thread at a time.

    Raises:
        StorageError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            # The events are committed in the log after this file is: what is committed there must not be lost here.
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as exc:
            raise StorageError(f"{path}: the history cannot be opened: {exc}") from exc

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def count(self) -> int:
        """Return the number of rows."""
        return int(self._connection.execute("SELECT count(*) FROM history").fetchone()[0])

    def write(self, records: Sequence[HistoryLog]) -> int:
        """Put `records` on disk, what is there already left out, and return how many observations were new.

        Raises:
            StorageError: nothing was written.
        """
        with self._transaction():
            before = self._connection.total_changes
            insert = self._connection.executemany
            self._insert([row_of(one) for r in records if isinstance(r, HistoryRecord) for one in r.decided()])
            new = self._connection.total_changes - before
            insert(_DISPATCH.insert, [_dispatch_row(r) for r in records if isinstance(r, OrderedRecord)])
            beats = [beat for r in records if isinstance(r, HeartbeatRecord) for beat in r.heartbeats]
            insert(_HEARTBEAT.insert, [_heartbeat_row(beat) for beat in beats])
        return new

    def _insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        end = len(rows) - len(rows) % MANY
        for start in range(0, end, MANY):
            self._connection.execute(_HISTORY.insert_many, [*chain.from_iterable(rows[start : start + MANY])])
        self._connection.executemany(_HISTORY.insert, rows[end:])

    def trim(self, before_ms: int) -> None:
        """Let go of what is older, a little at a time."""
        for table in (_HISTORY, _DISPATCH, _HEARTBEAT):
            deleted = TRIM_ROWS
            while deleted == TRIM_ROWS:
                with self._transaction():
                    deleted = self._connection.execute(table.trim, (before_ms,)).rowcount

    def outcomes(self, since_ms: int, until_ms: int) -> Outcomes:
        """Return what became of the observations of a time, by device and label."""
        rows = self._connection.execute(
            "SELECT device_id, label, outcome, count(*) FROM history WHERE event_ms >= ? AND event_ms < ?"
            " GROUP BY device_id, label, outcome",
            (since_ms, until_ms),
        )
        return {(device, label, outcome): count for device, label, outcome, count in rows}

    def seen(self, device_id: str, since_ms: int, until_ms: int, limit: int) -> list[Seen]:
        """Return the observations of a device, oldest first."""
        rows = self._connection.execute(
            "SELECT event_ms, device_id, outbox_id, lane, seq, kind, label, outcome, confidence, value, signal_id"
            " FROM history WHERE device_id = ? AND event_ms >= ? AND event_ms < ?"
            " ORDER BY event_ms, seq, outbox_id, lane LIMIT ?",
            (device_id, since_ms, until_ms, limit),
        )
        return [Seen(**dict(zip(Seen.__struct_fields__, row, strict=True))) for row in rows]

    def latencies_ms(self, since_ms: int, until_ms: int) -> dict[str, list[int]]:
        """Return how long orders took from the device's eye to the log, by priority, in rising order."""
        rows = self._connection.execute(
            "SELECT priority, latency_ms FROM dispatch WHERE at_ms >= ? AND at_ms < ? AND latency_ms IS NOT NULL"
            " ORDER BY latency_ms",
            (since_ms, until_ms),
        )
        found: defaultdict[str, list[int]] = defaultdict(list)
        for priority, latency_ms in rows:
            found[priority].append(latency_ms)
        return dict(found)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._connection:  # rolls back whatever is raised
                self._connection.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as exc:
            raise StorageError(f"{self.path}: {exc}") from exc


def row_of(decided: Decided) -> tuple[Any, ...]:
    """Return a decision as a row of the table.

    Words are plain strings in it: for every other type sqlite3 looks for an adapter, which takes longer than the row.
    """
    origin, rule_version, said, k, outcome, signal_id = decided
    observation = said.observations[k]
    kind, label, confidence, value = describe(observation.payload)
    return (
        origin.partition,
        origin.offset,
        origin.n,
        observation.device_id,
        observation.outbox_id,
        str(observation.lane),
        observation.seq,
        said.event_ms[k],
        said.received_ms,
        str(said.time_source),
        said.skew_ms,
        kind,
        label,
        confidence,
        value,
        str(observation.quality),
        str(outcome),
        rule_version,
        said.zone,
        said.areas.get("cell"),
        signal_id,
        messages.encode(observation.payload).decode(),
    )


def _dispatch_row(record: OrderedRecord) -> tuple[Any, ...]:
    return (
        record.incident_id,
        record.revision,
        record.at_ms,
        record.category,
        record.priority,
        record.stage,
        record.lead_unit,
        record.lead_post,
        record.latency_ms,
        messages.encode(record.timeline).decode(),
    )


def _heartbeat_row(beat: Heartbeat) -> tuple[Any, ...]:
    return (
        beat.device_id,
        beat.at_ms,
        beat.frame_age_ms,
        beat.fps,
        beat.inference_p50_ms,
        beat.inference_p99_ms,
        beat.outbox_depth,
        beat.oldest_unsent_ms,
        beat.temperature_c,
        beat.config_version,
    )
