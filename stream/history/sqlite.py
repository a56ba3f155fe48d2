"""The history: every observation that was not a duplicate, and the decision on it, in a SQLite file beside the log.

A row is named by its origin in `obs`, so that a record that is read twice after a crash is written once; (device,
outbox, lane, seq) is not, so that a duplicate which slipped into the log shows.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from models import messages
from models.errors import StorageError
from models.messages import Heartbeat
from stream.history.schema import EARLIER, SPAN_MS, TABLES, VIEW
from stream.history.store import Outcomes, Seen
from stream.records import (
    HeartbeatRecord,
    HistoryLog,
    HistoryRecord,
    ObservationRecord,
    OrderedRecord,
    Origin,
    Outcome,
    decode_obs,
    encode,
    said_of,
)

FILE: Final = "history.db"
CACHE_KIB: Final = 32_768
"""Each device has a page of its own in the index that is being filled: they stay in memory."""
TRIM_ROWS: Final = 1_000
"""Rows let go of in one transaction: whoever reads waits no longer than that takes."""

_MESSAGE: Final = "INSERT OR IGNORE INTO message VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_DISPATCH: Final = "INSERT OR IGNORE INTO dispatch VALUES (?,?,?,?,?,?,?,?,?,?)"
_HEARTBEAT: Final = "INSERT OR IGNORE INTO heartbeat VALUES (?,?,?,?,?,?,?,?,?,?)"
_WITHIN: Final = f"event_ms >= ?1 AND event_ms < ?2 AND first_ms >= ?1 - {SPAN_MS} AND first_ms < ?2"


def _older(table: str, key: str, condition: str) -> str:
    older = f"SELECT {key} FROM {table} WHERE {condition} LIMIT {TRIM_ROWS}"  # noqa: S608  # constants
    return f"DELETE FROM {table} WHERE ({key}) IN ({older})"  # noqa: S608


_OLDER: Final = (
    _older("message", "rowid", "first_ms < ?1 AND last_ms < ?1"),
    _older("dispatch", "incident_id, revision", "at_ms < ?1"),
    _older("heartbeat", "device_id, at_ms", "at_ms < ?1"),
)


class _Named(Struct, frozen=True, gc=False):
    device_id: str


class _Told(Struct, frozen=True, gc=False):
    """A `Said` of which the observations stay as they are written."""

    zone: str
    time_source: str
    received_ms: int
    areas: dict[str, str]
    observations: tuple[msgspec.Raw, ...]
    event_ms: tuple[int, ...]
    skew_ms: int | None = None

    def pieces(self) -> list[slice]:
        """Return what of it goes into a row each: nearly always all."""
        count = len(self.event_ms)
        if max(self.event_ms) - min(self.event_ms) <= SPAN_MS:
            return [slice(0, count)]
        return [slice(k, k + 1) for k in range(count)]


class _Obs(Struct, frozen=True, gc=False):
    """An `ObservationRecord`, likewise."""

    said: tuple[_Told, ...] = ()
    items: msgspec.Raw | None = None


_decode_named = msgspec.json.Decoder(_Named).decode
_decode_told = msgspec.json.Decoder(_Told).decode
_decode_obs = msgspec.json.Decoder(_Obs).decode


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
            is_earlier = self._connection.execute(
                "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'history'"
            )
            earlier = EARLIER if is_earlier.fetchone() else ""
            self._connection.executescript(f"BEGIN IMMEDIATE; {TABLES} {earlier} {VIEW} COMMIT;")
        except sqlite3.Error as exc:
            raise StorageError(f"{path}: the history cannot be opened: {exc}") from exc

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def count(self) -> int:
        """Return how many observations are kept."""
        return int(self._connection.execute("SELECT coalesce(sum(decisions), 0) FROM message").fetchone()[0])

    def write(self, records: Sequence[HistoryLog]) -> int:
        """Put `records` on disk, what is there already left out, and return how many observations were new.

        Raises:
            StorageError: nothing was written.
        """
        new = 0
        with self._transaction():
            for record in records:
                match record:
                    case HistoryRecord():
                        for decisions, row in rows_of(record):
                            new += decisions * self._connection.execute(_MESSAGE, row).rowcount
                    case OrderedRecord():
                        self._connection.execute(_DISPATCH, _dispatch_row(record))
                    case HeartbeatRecord():
                        self._connection.executemany(_HEARTBEAT, map(_heartbeat_row, record.heartbeats))
        return new

    def trim(self, before_ms: int) -> None:
        """Let go of what is older, a little at a time."""
        for delete in _OLDER:
            deleted = TRIM_ROWS
            while deleted == TRIM_ROWS:
                with self._transaction():
                    deleted = self._connection.execute(delete, (before_ms,)).rowcount

    def outcomes(self, since_ms: int, until_ms: int) -> Outcomes:
        """Return what became of the observations of a time, by device and label."""
        rows = self._connection.execute(
            f"SELECT device_id, label, outcome, count(*) FROM history WHERE {_WITHIN}"  # noqa: S608  # a constant
            " GROUP BY device_id, label, outcome",
            (since_ms, until_ms),
        )
        return {(device, label, outcome): count for device, label, outcome, count in rows}

    def seen(self, device_id: str, since_ms: int, until_ms: int, limit: int) -> list[Seen]:
        """Return the observations of a device, oldest first."""
        rows = self._connection.execute(
            f"SELECT {', '.join(Seen.__struct_fields__)} FROM history WHERE {_WITHIN} AND device_id = ?3"  # noqa: S608
            " ORDER BY event_ms, seq, outbox_id, lane LIMIT ?4",
            (since_ms, until_ms, device_id, limit),
        )
        return [msgspec.convert(row, Seen) for row in rows]

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


def rows_of(record: HistoryRecord) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Give the decisions as rows of `message`, each with how many are in it."""
    for item in record.items:
        yield from _rows(
            _decode_told(encode(said_of(item.located))),
            item.origin,
            item.rule_version,
            (item.outcome,),
            (item.signal_id,),
        )
    if not record.outcomes:
        return
    n = 0
    for told in _all_of(record.obs):
        end = n + len(told.event_ms)
        signal_ids = tuple(record.signal_ids.get(at) for at in range(n, end)) if record.signal_ids else ()
        yield from _rows(told, Origin(*record.place, n), record.rule_version, record.outcomes[n:end], signal_ids)
        n = end


def _all_of(obs: msgspec.Raw) -> tuple[_Told, ...]:
    """Return what a record of `obs` tells, whatever release has written it."""
    found = _decode_obs(obs)
    if found.items is None:
        return found.said
    older = decode_obs(obs)
    assert isinstance(older, ObservationRecord)
    return tuple(_decode_told(encode(said)) for said in older.parts())


def _rows(
    told: _Told,
    origin: Origin,
    rule_version: str,
    outcomes: Sequence[Outcome | None],
    signal_ids: Sequence[str | None],
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    for piece in told.pieces():
        of_piece, event_ms, signals = outcomes[piece], told.event_ms[piece], signal_ids[piece]
        decisions = len(of_piece) - of_piece.count(None)
        if not decisions:
            continue
        observations = told.observations[piece]
        yield (
            decisions,
            (
                origin.partition,
                origin.offset,
                origin.n + piece.start,
                _decode_named(observations[0]).device_id,
                min(event_ms),
                max(event_ms),
                decisions,
                told.received_ms,
                told.time_source,
                told.skew_ms,
                rule_version,
                told.zone,
                told.areas.get("cell"),
                encode(event_ms).decode(),
                encode(of_piece).decode(),
                encode(signals).decode() if any(signals) else None,
                f"[{b','.join(observations).decode()}]",
            ),
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
