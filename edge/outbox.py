"""What the edge has seen and nobody has yet said to have stored: durable, bounded, in two lanes.

Rows are named by (device, lane, seq); a seq is never used twice. A row goes when it was acknowledged, or when the file
is full: then telemetry goes first, then pictures, then alarms, always the oldest first, and a `Dropped` record takes
the place of observations. It is put in the alarm lane, the last to be dropped, is never dropped itself, and names the
lane it means.

An `Outbox` belongs to one thread.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from edge.evidence import Picture
from edge.moment import Moment
from edge.outbox_file import guarded, open_file
from models.messages import Dropped, Lane, Observation, Payload, encode
from models.seqset import Range, to_ranges

log = logging.getLogger(__name__)

FULL: Final = 0.9
"""Share of the limit at which rows are dropped, down to `ROOMY`: rarely and many, so that drops make few records."""
ROOMY: Final = 0.8
PICTURE_SHARE: Final = 0.5
ROW_BYTES: Final = 1024
"""A generous guess of what one new row takes, indices included."""
PICTURE: Final = "evidence_id, device_id, sha256, captured_at_ms, redaction, x1, y1, x2, y2, jpeg"
DROP_ROWS: Final = 200
RANGES_PER_RECORD: Final = 500


@dataclass(frozen=True, slots=True)
class Draft:
    """An observation that has no seq yet: it gets one when it is committed."""

    device_id: str
    lane: Lane
    observed: Moment
    payload: Payload
    inferred_mono_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What is committed together: observations, their pictures, and how far a sensor's file was read for them."""

    drafts: tuple[Draft, ...] = ()
    pictures: tuple[Picture, ...] = ()
    bookmarks: Mapping[str, str] = field(default_factory=dict)


class Row(NamedTuple):
    """One observation as it lies in the file; `body` is its JSON."""

    id: int
    device_id: str
    lane: str
    seq: int
    body: str
    queued_at_ms: int
    boot_id: str


class Outbox:
    """The file at `path`. Every method may raise `StorageError`; then nothing has changed."""

    def __init__(self, path: Path, *, machine: str, boot_id: str, max_bytes: int) -> None:
        self.path = path
        self.boot_id = boot_id
        self._max_bytes = max_bytes
        self._db, self.outbox_id = open_file(path, machine=machine, max_bytes=max_bytes)
        with guarded(path):
            self.last_id = self._int("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'")
            """The highest row id that an earlier process wrote."""

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self._db.close()

    # --- in --------------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry], *, now_ms: int) -> int:
        """Commit `entries` in one transaction and return how many observations they held."""
        drafts = [draft for entry in entries for draft in entry.drafts]
        pictures = [picture for entry in entries for picture in entry.pictures]
        most = int(self._max_bytes * PICTURE_SHARE)
        if any(len(picture.jpeg) > most for picture in pictures):
            log.error("%s: a picture does not fit max_outbox_mb and is left out; raise edge.max_outbox_mb", self.path)
            pictures = [picture for picture in pictures if len(picture.jpeg) <= most]
        with self.transaction():
            room_bytes = ROW_BYTES * len(drafts) + sum(len(picture.jpeg) for picture in pictures)
            self._make_room(room_bytes, now_ms)
            for draft in drafts:
                self._insert(draft, now_ms=now_ms)
            self._db.executemany(
                f"INSERT OR IGNORE INTO evidence ({PICTURE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # a constant
                [
                    (p.evidence_id, p.device_id, p.sha256, p.captured_at_ms, p.redaction, *p.box, p.jpeg)
                    for p in pictures
                ],
            )
            marks = [(f"bookmark:{name}", mark) for entry in entries for name, mark in entry.bookmarks.items()]
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", marks)
        return len(drafts)

    def _insert(self, draft: Draft, *, now_ms: int, kept: bool = False) -> None:
        seq = self._int(
            "INSERT INTO counter VALUES (?, ?, 1)"
            " ON CONFLICT (device_id, lane) DO UPDATE SET last_seq = last_seq + 1 RETURNING last_seq",
            (draft.device_id, draft.lane),
        )
        observation = Observation(
            device_id=draft.device_id,
            outbox_id=self.outbox_id,
            boot_id=self.boot_id,
            lane=draft.lane,
            seq=seq,
            observed_at_ms=draft.observed.wall_ms,
            observed_mono_ms=draft.observed.mono_ms,
            payload=draft.payload,
            inferred_mono_ms=draft.inferred_mono_ms,
        )
        row = (draft.device_id, draft.lane, seq, encode(observation).decode(), now_ms, self.boot_id, kept)
        self._db.execute(
            "INSERT INTO outbox (device_id, lane, seq, body, queued_at_ms, boot_id, kept) VALUES (?, ?, ?, ?, ?, ?, ?)",
            row,
        )

    # --- bounds ----------------------------------------------------------------------------------------------------

    def _make_room(self, wanted_bytes: int, now_ms: int) -> None:
        if self._used_bytes() + wanted_bytes <= self._max_bytes * FULL:
            return
        dropped: dict[tuple[str, Lane], list[int]] = {}
        while self._used_bytes() + wanted_bytes > self._max_bytes * ROOMY:
            if self._drop_rows(Lane.TELEMETRY, dropped):
                continue
            if self._drop_pictures():
                continue
            if not self._drop_rows(Lane.ALARM, dropped):
                break
        for (device_id, lane), seqs in dropped.items():
            log.error("%s: full: dropped %d of %s, lane %s", self.path, len(seqs), device_id, lane)
            self._record_drop(device_id, lane, to_ranges(seqs), now_ms)

    def _drop_rows(self, lane: Lane, dropped: dict[tuple[str, Lane], list[int]]) -> int:
        rows = self._db.execute(
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE lane = ? AND kept = 0 ORDER BY id LIMIT ?)"
            " RETURNING device_id, seq",
            (lane, DROP_ROWS),
        ).fetchall()
        for device_id, seq in rows:
            dropped.setdefault((device_id, lane), []).append(seq)
        return len(rows)

    def _drop_pictures(self) -> int:
        sql = "DELETE FROM evidence WHERE id IN (SELECT id FROM evidence ORDER BY id LIMIT 4) RETURNING evidence_id"
        ids = [evidence_id for (evidence_id,) in self._db.execute(sql).fetchall()]
        if ids:
            log.error("%s: full: dropped pictures %s", self.path, ", ".join(ids))
        return len(ids)

    def _record_drop(self, device_id: str, lane: Lane, ranges: tuple[Range, ...], now_ms: int) -> None:
        for first in range(0, len(ranges), RANGES_PER_RECORD):
            payload = Dropped(lane=lane, ranges=ranges[first : first + RANGES_PER_RECORD])
            draft = Draft(device_id, Lane.ALARM, Moment(now_ms, 0), payload)
            self._insert(draft, now_ms=now_ms, kept=True)

    def _used_bytes(self) -> int:
        pages = self._int("PRAGMA page_count") - self._int("PRAGMA freelist_count")
        return pages * self._int("PRAGMA page_size")

    # --- out -------------------------------------------------------------------------------------------------------

    def new_alarm_ids(self, limit: int, *, after: int) -> list[int]:
        """Return up to `limit` ids of alarm rows above the id `after`, newest first."""
        sql = "SELECT id FROM outbox WHERE lane = ? AND kept = 0 AND id > ? ORDER BY id DESC LIMIT ?"
        with guarded(self.path):
            return [row_id for (row_id,) in self._db.execute(sql, (Lane.ALARM, after, limit))]

    def next_ids(self, limit: int, *, skip: Collection[int]) -> list[int]:
        """Return up to `limit` row ids not in `skip`: alarms, drop records, telemetry; each oldest first."""
        chosen: list[int] = []
        sql = "SELECT id FROM outbox WHERE lane = ? AND kept = ? ORDER BY id LIMIT ?"
        with guarded(self.path):
            for lane, kept in ((Lane.ALARM, 0), (Lane.ALARM, 1), (Lane.TELEMETRY, 0)):
                if len(chosen) < limit:
                    rows = self._db.execute(sql, (lane, kept, limit + len(skip)))
                    chosen += [row_id for (row_id,) in rows if row_id not in skip]
        return chosen[:limit]

    def rows(self, ids: Collection[int]) -> list[Row]:
        """Return those rows of `ids` that are still there, by device, lane and seq."""
        marks = ",".join("?" * len(ids))
        sql = f"SELECT {','.join(Row._fields)} FROM outbox WHERE id IN ({marks}) ORDER BY device_id, lane, seq"  # noqa: S608  # question marks only
        with guarded(self.path):
            return [Row(*row) for row in self._db.execute(sql, tuple(ids))]

    def ack(self, device_id: str, lane: str, ranges: Sequence[Range]) -> list[int]:
        """Delete exactly the rows named and return their ids. The caller has compared the `outbox_id`."""
        sql = "DELETE FROM outbox WHERE device_id = ? AND lane = ? AND seq BETWEEN ? AND ? RETURNING id"
        gone: list[int] = []
        with self.transaction():
            for first, last in ranges:
                gone += [row_id for (row_id,) in self._db.execute(sql, (device_id, lane, first, last)).fetchall()]
        return gone

    def give_up(self, row: Row, *, now_ms: int) -> None:
        """Delete a row that can never be sent; a `Dropped` record takes its place."""
        with self.transaction():
            self._db.execute("DELETE FROM outbox WHERE id = ?", (row.id,))
            self._record_drop(row.device_id, Lane(row.lane), ((row.seq, row.seq),), now_ms)

    def next_pictures(self, limit: int, *, skip: Collection[str]) -> list[str]:
        """Return up to `limit` evidence ids to send next, not in `skip`, newest first."""
        with guarded(self.path):
            rows = self._db.execute("SELECT evidence_id FROM evidence ORDER BY id DESC LIMIT ?", (limit + len(skip),))
            return [evidence_id for (evidence_id,) in rows if evidence_id not in skip][:limit]

    def picture(self, evidence_id: str) -> Picture | None:
        """Return a picture, or None if it is no longer there."""
        sql = f"SELECT {PICTURE} FROM evidence WHERE evidence_id = ?"  # noqa: S608  # a constant
        with guarded(self.path):
            row = self._db.execute(sql, (evidence_id,)).fetchone()
        if row is None:
            return None
        name, device_id, sha256, captured_at_ms, redaction, x1, y1, x2, y2, jpeg = row
        return Picture(name, device_id, sha256, captured_at_ms, redaction, (x1, y1, x2, y2), jpeg)

    def ack_picture(self, evidence_id: str, sha256: str) -> bool:
        """Delete the picture of that id and hash; return whether it was there."""
        with self.transaction():
            sql = "DELETE FROM evidence WHERE evidence_id = ? AND sha256 = ?"
            return self._db.execute(sql, (evidence_id, sha256)).rowcount == 1

    # --- what is known of it ---------------------------------------------------------------------------------------

    def depth(self) -> int:
        """Return the number of observations that are not acknowledged."""
        with guarded(self.path):
            return self._int("SELECT count(*) FROM outbox")

    def pictures(self) -> int:
        """Return the number of pictures that are not acknowledged."""
        with guarded(self.path):
            return self._int("SELECT count(*) FROM evidence")

    def oldest_ms(self) -> int | None:
        """Return when the oldest unacknowledged observation was queued."""
        with guarded(self.path):
            row = self._db.execute("SELECT queued_at_ms FROM outbox ORDER BY id LIMIT 1").fetchone()
        return int(row[0]) if row else None

    def bookmarks(self) -> dict[str, str]:
        """Return what was last committed under each name in `Entry.bookmarks`."""
        with guarded(self.path):
            rows = self._db.execute("SELECT key, value FROM meta WHERE key LIKE 'bookmark:%'").fetchall()
        return {key.removeprefix("bookmark:"): value for key, value in rows}

    @property
    def is_retired(self) -> bool:
        """Whether a receiver has refused this outbox for ever."""
        with guarded(self.path):
            return bool(self._int("SELECT count(*) FROM meta WHERE key = 'retired'"))

    def retire(self) -> None:
        """Remember that this outbox is refused, over restarts too."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('retired', '1')")

    def _int(self, sql: str, arguments: tuple[object, ...] = ()) -> int:
        return int(self._db.execute(sql, arguments).fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make one commit of all that is done within; a transaction within is part of it."""
        if self._db.in_transaction:
            yield
            return
        with guarded(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.OperationalError):  # a full disk has rolled back already
                    self._db.execute("ROLLBACK")
                raise
