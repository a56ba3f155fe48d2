"""What stands outside the code under test: it believes neither the edge, nor the stream, nor alerts.

- `audit`: a table in the outbox file, fed by a trigger: every row ever put into the outbox, whatever became of it.
- `Recorder`: subscribed where the officers are.
- plain SQL on the files that the chain leaves behind.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from models import seal, topics
from models.config import Mqtt
from models.link import Link
from models.messages import Alert, decode

Row = tuple[str, str, str, int]
"""(device, outbox, lane, seq): the name of an observation for ever."""


def plant_audit(outbox: Path) -> None:
    """Let the outbox file `outbox` keep a row in `audit` of each row that is ever inserted."""
    with closing(sqlite3.connect(outbox)) as db:
        db.executescript(
            """
            CREATE TABLE audit (device_id TEXT, lane TEXT, seq INTEGER, boot_id TEXT);
            CREATE TRIGGER audit_all AFTER INSERT ON outbox
            BEGIN INSERT INTO audit VALUES (NEW.device_id, NEW.lane, NEW.seq, NEW.boot_id); END;
            """
        )


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of `sql` on the SQLite file `path`, read-only."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
        return db.execute(sql).fetchall()


def count(path: Path, table: str) -> int:
    """Return the number of rows of `table`."""
    [(number,)] = query(path, f"SELECT count(*) FROM {table}")
    assert isinstance(number, int)
    return number


def unacknowledged(log: Path, topic: str) -> int:
    """Return how many records of `topic` stand in the log beyond the committed offset of its slowest reader."""
    [(number,)] = query(
        log,
        f"""SELECT coalesce(sum(p.next_offset - coalesce(
                (SELECT min(c.next_offset) FROM committed c WHERE c.partition_id = p.id), 0)), 0)
            FROM partition p JOIN topic t ON t.id = p.topic_id WHERE t.name = '{topic}'""",
    )
    assert isinstance(number, int)
    return number


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of the SQLite file `path`: nobody can store anything there meanwhile."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            db.execute("ROLLBACK")


class Recorder:
    """Writes down every alert that reaches the place where the officers listen. It never answers."""

    def __init__(self, broker: Mqtt, tenant: str, name: str = "recorder") -> None:
        self.alerts: list[Alert] = []
        self.changed = threading.Condition()
        self._link = Link(
            broker,
            name,
            on_message=self._came,
            subscriptions=(topics.alert(tenant, "+"),),
            persistent=True,
        )
        self._link.start()

    def _came(self, topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        ack()
        if topic.endswith("/ack"):
            return
        with self.changed:
            self.alerts.append(decode(seal.split(payload)[0], Alert))
            self.changed.notify_all()

    def stop(self) -> None:
        self._link.stop()
