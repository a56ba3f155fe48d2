"""The history: every observation that was not a duplicate, and the decision on it, in a SQLite file beside the log.

A row is named by its origin in `obs`, so that a record that is read twice after a crash is written once; (device,
outbox, lane, seq) is only indexed, so that a duplicate which slipped into the log shows.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import faust
from faust.types import EventT

from models import messages
from models.errors import StorageError
from models.messages import ButtonPress, Detection, Dropped, Fault, Payload, Reading, Report, SelfTest
from stream.records import HistoryItem, decode_history

log = logging.getLogger(__name__)

FILE: Final = "history.db"
RETRY_S: Final = 1.0
BATCH_EVENTS: Final = 200

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
CREATE INDEX IF NOT EXISTS history_by_name ON history (device_id, outbox_id, lane, seq);
CREATE INDEX IF NOT EXISTS history_by_zone ON history (zone, event_ms);
"""
_COLUMNS: Final = 22
_INSERT: Final = f"INSERT OR IGNORE INTO history VALUES ({', '.join('?' * _COLUMNS)})"  # noqa: S608  # a constant


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
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as exc:
            raise StorageError(f"{path}: the history cannot be opened: {exc}") from exc

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def count(self) -> int:
        """Return the number of rows."""
        return int(self._connection.execute("SELECT count(*) FROM history").fetchone()[0])

    def write(self, items: Iterable[HistoryItem]) -> int:
        """Put `items` on disk, those that are there already left out, and return how many were new.

        Raises:
            StorageError: nothing was written.
        """
        before = self._connection.total_changes
        try:
            with self._connection:  # rolls back whatever is raised
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(_INSERT, map(row_of, items))
        except sqlite3.Error as exc:
            raise StorageError(f"{self.path}: {exc}") from exc
        return self._connection.total_changes - before


def row_of(item: HistoryItem) -> tuple[Any, ...]:
    """Return `item` as a row of the table."""
    located, observation = item.located, item.located.observation
    kind, label, confidence, value = describe(observation.payload)
    return (
        item.origin.partition,
        item.origin.offset,
        item.origin.n,
        observation.device_id,
        observation.outbox_id,
        observation.lane,
        observation.seq,
        located.event_ms,
        located.received_ms,
        located.time_source,
        located.skew_ms,
        kind,
        label,
        confidence,
        value,
        observation.quality,
        item.outcome,
        item.rule_version,
        located.zone,
        located.areas.get("cell"),
        item.signal_id,
        messages.encode(observation.payload).decode(),
    )


def describe(payload: Payload) -> tuple[str, str, float | None, float | None]:  # noqa: PLR0911  # one a kind
    """Return kind, label, confidence and value of what a device said."""
    match payload:
        case Detection():
            return "detection", payload.label, payload.confidence, None
        case Reading():
            return "reading", payload.property, None, payload.value
        case ButtonPress():
            return "button", payload.button, None, None
        case Report():
            return "report", payload.category, None, None
        case Fault():
            return "fault", payload.fault, None, None
        case SelfTest():
            return "test", payload.label, None, None
        case Dropped():
            return "dropped", payload.lane, None, float(sum(last - first + 1 for first, last in payload.ranges))


class Historian:
    """Writes the `history` log into the file, on a thread of its own: it never delays an alert.

    Attributes:
        rows: in the file so far.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self.rows = history.count()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._waiting: asyncio.Queue[EventT[Any]] = asyncio.Queue(BATCH_EVENTS)

    async def take(self, stream: faust.Stream[Any]) -> None:
        """Queue the records of the log. The agent of `history`."""
        async for event in stream.noack().events():
            await self._waiting.put(event)

    async def run(self) -> None:
        """Write what is queued, in one transaction as it comes, for ever; acknowledged once it is on disk."""
        while True:
            events = [await self._waiting.get()]
            while not self._waiting.empty() and len(events) < BATCH_EVENTS:
                events.append(self._waiting.get_nowait())
            self.rows += await self._stored([event.value for event in events])
            for event in events:
                event.ack()

    async def _stored(self, values: list[bytes]) -> int:
        """Write until it is written; a full disk is said once."""
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            try:
                return await loop.run_in_executor(self._thread, self._write, values)
            except StorageError as exc:
                if not failing:
                    log.error("the history cannot be written, trying again: %s", exc)  # noqa: TRY400
                failing = True
                await asyncio.sleep(RETRY_S)

    def close(self) -> None:
        """Wait for the thread, and give the file back."""
        self._thread.shutdown()
        self._history.close()

    def _write(self, values: list[bytes]) -> int:
        return self._history.write(item for value in values for item in decode_history(value).items)
