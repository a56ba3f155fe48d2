"""The outbox's SQLite file: its tables, how it is opened, and what happens to one that is not ours.

An outbox is bound to the machine that made it. A file that another machine made (a cloned card, or a card moved over),
or that is damaged, is set aside under another name, never sent and never deleted, and a new outbox with a new
`outbox_id` is begun: two machines must not use one seq for two observations.
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from models.errors import StorageError

log = logging.getLogger(__name__)

BUSY_S: Final = 2.0
PAGE_BYTES: Final = 4096
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (
    device_id TEXT, lane TEXT, last_seq INTEGER NOT NULL, PRIMARY KEY (device_id, lane)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id TEXT NOT NULL,
    lane TEXT NOT NULL,
    seq INTEGER NOT NULL,
    body TEXT NOT NULL,
    queued_at_ms INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    kept INTEGER NOT NULL DEFAULT 0,
    UNIQUE (device_id, lane, seq)
);
CREATE INDEX IF NOT EXISTS outbox_order ON outbox (lane, kept, id);
CREATE TABLE IF NOT EXISTS evidence (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    evidence_id TEXT NOT NULL UNIQUE,
    device_id TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    captured_at_ms INTEGER NOT NULL,
    redaction TEXT NOT NULL,
    x1 REAL NOT NULL, y1 REAL NOT NULL, x2 REAL NOT NULL, y2 REAL NOT NULL,
    jpeg BLOB NOT NULL
);
"""


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn what SQLite complains of into a `StorageError` that names the file."""
    try:
        yield
    except sqlite3.Error as exc:
        raise StorageError(f"{path}: {exc}; check free space, permissions, and that no other program locks it") from exc


def open_file(path: Path, *, machine: str, max_bytes: int) -> tuple[sqlite3.Connection, str]:
    """Return the connection to the outbox at `path` and its `outbox_id`; made if it is not there or not ours.

    Raises:
        StorageError: it cannot be made, or is locked.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageError(f"{path.parent}: {exc.strerror}; make the folder, or name another `state_dir`") from exc
    for _ in range(2):
        connection = None
        try:
            connection = _connect(path, max_bytes)
            made_on, outbox_id = _identity(connection, machine)
        except sqlite3.OperationalError as exc:
            _close(connection)
            raise StorageError(f"{path}: {exc}; check free space, permissions and other programs") from exc
        except sqlite3.DatabaseError as exc:
            _close(connection)
            _set_aside(path, "damaged", str(exc))
            continue
        if made_on == machine:
            return connection, outbox_id
        connection.close()
        _set_aside(path, f"foreign-{outbox_id}", "another machine made it")
    raise StorageError(f"{path}: no outbox can be made there; check the disk")


def _connect(path: Path, max_bytes: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=256")
    connection.execute("PRAGMA journal_size_limit=1048576")
    connection.execute(f"PRAGMA max_page_count={max(max_bytes // PAGE_BYTES, 64)}")
    connection.executescript(SCHEMA)
    return connection


def _identity(connection: sqlite3.Connection, machine: str) -> tuple[str, str]:
    fresh = (("machine", machine), ("outbox_id", f"ob-{uuid.uuid4().hex[:20]}"))
    connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", fresh)
    found = dict(connection.execute("SELECT key, value FROM meta"))
    return found["machine"], found["outbox_id"]


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()


def _set_aside(path: Path, why: str, detail: str) -> None:
    target = path.with_name(f"{path.name}.{why}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{why}-{number}")
    try:
        for suffix in ("-wal", "-shm"):  # first the satellites: a file whose -wal went missing has lost rows
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.rename(target.with_name(target.name + suffix))
        path.rename(target)
    except OSError as exc:
        raise StorageError(f"{path}: cannot be set aside: {exc.strerror}; move it away by hand") from exc
    log.error("%s: %s; it is kept as %s and not sent, a new outbox is begun", path, detail, target.name)
