"""The ledger: append-only, hash-chained, the only memory of `alerts`. SQLite by default, any SQLAlchemy URL else.

Each record carries the hash of the one before, so that a changed, removed or inserted record is found and named. A
cut-off end cannot be seen from inside: `gridwarden ledger verify` prints the newest hash, and ``--head HASH`` proves
later that it is still part of the chain.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from sqlite3 import Connection
from typing import Any, Final, Self

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from alerts.entries import GENESIS_HASH, Draft, Entry, Genesis, Kind, chain
from models.config import Config
from models.errors import StorageError
from models.messages import Evidence

FILE: Final = "alerts.db"

_metadata = sa.MetaData()
_entries = sa.Table(
    "entries",
    _metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("incident_id", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("prev_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
_evidence = sa.Table(
    "evidence",
    _metadata,
    sa.Column("evidence_id", sa.Text, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("device_id", sa.Text, nullable=False),
    sa.Column("captured_at_ms", sa.BigInteger, nullable=False),
    sa.Column("jpeg", sa.LargeBinary, nullable=False),
)
for _table in (_entries, _evidence):
    for _verb in ("UPDATE", "DELETE"):
        _trigger = sa.DDL(  # type: ignore[no-untyped-call]
            f"CREATE TRIGGER {_table.name}_no_{_verb.lower()} BEFORE {_verb} ON {_table.name} "
            f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        )
        sa.event.listen(_table, "after_create", _trigger.execute_if(dialect="sqlite"))


@dataclass(frozen=True, slots=True)
class Broken:
    """The first record that is not what was written.

    Attributes:
        seq: its number, as it stands or as it should.
    """

    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `Ledger.verify` found: `broken` is None for a whole chain."""

    records: int
    pictures: int
    head: str
    broken: Broken | None = None


def url_of(config: Config) -> str:
    """Return the SQLAlchemy URL of the ledger of `config`."""
    if config.alerts.ledger != "embedded":
        return config.alerts.ledger
    config.state.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{config.state / FILE}"


class Ledger:
    """One writer's hold on the ledger. A second writer is told so by the database: two records cannot have one number.

    Methods block until the disk has it; call them off the event loop.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.seq = 0
        self.head = GENESIS_HASH

    @classmethod
    def open(cls, url: str, *, now_ms: int) -> Self:
        """Open the ledger at `url`; make it, with a fresh id, if it is not there.

        Raises:
            StorageError: it cannot be opened or made.
        """
        ledger = cls(_engine(url))
        try:
            _metadata.create_all(ledger._engine)
            with ledger._engine.connect() as connection:
                last = connection.execute(_entries.select().order_by(_entries.c.seq.desc()).limit(1)).first()
        except SQLAlchemyError as exc:
            raise StorageError(f"the ledger {url} cannot be opened: {exc}") from exc
        if last is None:
            ledger.append([Draft(kind=Kind.GENESIS, body=Genesis(ledger_id=f"led-{secrets.token_hex(8)}"))], now_ms)
        else:
            ledger.seq, ledger.head = last.seq, last.hash
        return ledger

    @classmethod
    def open_read_only(cls, config: Config) -> Self:
        """Open the ledger of `config` beside its writer, without ever writing to it.

        Raises:
            StorageError: there is none.
        """
        if config.alerts.ledger != "embedded":
            return cls(_engine(config.alerts.ledger))
        path = config.state / FILE
        if not path.is_file():
            raise StorageError(f"there is no ledger at {path}; has `gridwarden alerts` run yet?")
        return cls(_engine(f"sqlite:///file:{path}?mode=ro&uri=true"))

    def link(self, drafts: Sequence[Draft], at_ms: int) -> list[Entry]:
        """Give `drafts` their places in the chain. Nothing is stored until `write`."""
        entries = []
        for draft in drafts:
            entry = chain(draft, seq=self.seq + 1, at_ms=at_ms, prev_hash=self.head)
            self.seq, self.head = entry.seq, entry.hash
            entries.append(entry)
        return entries

    def write(self, entries: Sequence[Entry], pictures: Sequence[Draft] = ()) -> None:
        """Store `entries`, and the pictures that `EVIDENCE` drafts bring, in one transaction.

        Raises:
            StorageError: the disk is full, the database is gone, or somebody else writes this ledger.
        """
        rows = [_row(entry) for entry in entries]
        images = [_picture_row(draft) for draft in pictures]
        try:
            with self._engine.begin() as connection:
                if images:
                    connection.execute(_evidence.insert(), images)
                if rows:
                    connection.execute(_entries.insert(), rows)
        except SQLAlchemyError as exc:
            raise StorageError(f"the ledger cannot be written: {exc}") from exc

    def append(self, drafts: Sequence[Draft], at_ms: int) -> list[Entry]:
        """Link and write."""
        entries = self.link(drafts, at_ms)
        self.write(entries, [draft for draft in drafts if draft.picture])
        return entries

    def read(self, *, after: int = 0, limit: int | None = None) -> Iterator[Entry]:
        """Yield the records with a number above `after`, in order.

        Raises:
            StorageError: the database cannot be read.
        """
        query = _entries.select().where(_entries.c.seq > after).order_by(_entries.c.seq).limit(limit)
        try:
            with self._engine.connect() as connection:
                for row in connection.execution_options(yield_per=500).execute(query):
                    yield Entry(**row._asdict())
        except SQLAlchemyError as exc:
            raise StorageError(f"the ledger cannot be read: {exc}") from exc

    def picture(self, evidence_id: str) -> tuple[str, bytes] | None:
        """Return (SHA-256, JPEG) of an evidence picture, or None if there is none.

        Raises:
            StorageError: the stored picture is not the one that was sent.
        """
        query = sa.select(_evidence.c.sha256, _evidence.c.jpeg).where(_evidence.c.evidence_id == evidence_id)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        if sha256(row.jpeg).hexdigest() != row.sha256:
            raise StorageError(f"evidence {evidence_id} is not what was sent: its SHA-256 differs")
        return row.sha256, row.jpeg

    def verify(self, *, head: str | None = None) -> Verdict:
        """Check every link and every picture; name the first record that is broken.

        Args:
            head: a hash noted earlier, which must still be in the chain.
        """
        previous, records, pictures, found = GENESIS_HASH, 0, 0, head in (None, GENESIS_HASH)
        for entry in self.read():
            records += 1
            why = _wrong(entry, records, previous)
            if why is None and entry.kind == Kind.EVIDENCE:
                pictures += 1
                why = self._wrong_picture(entry)
            if why is not None:
                return Verdict(records, pictures, previous, Broken(entry.seq, why))
            previous = entry.hash
            found = found or previous == head
        if not found:
            return Verdict(records, pictures, previous, Broken(records + 1, f"the record with hash {head} is missing"))
        return Verdict(records, pictures, previous)

    def _wrong_picture(self, entry: Entry) -> str | None:
        evidence = entry.read()
        assert isinstance(evidence, Evidence)
        try:
            stored = self.picture(evidence.evidence_id)
        except StorageError as exc:
            return str(exc)
        if stored is None:
            return f"the picture {evidence.evidence_id} is missing"
        return None if stored[0] == evidence.sha256 else f"the picture {evidence.evidence_id} is another one"

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()


def _wrong(entry: Entry, number: int, previous: str) -> str | None:
    if entry.seq != number:
        return f"record {number} is missing" if entry.seq > number else "a record was put in before the first"
    if entry.prev_hash != previous:
        return "it does not follow the record before"
    return None if entry.hash == entry.computed_hash() else "its content is not what its hash says"


def _row(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}


def _picture_row(draft: Draft) -> dict[str, Any]:
    body = draft.body
    assert isinstance(body, Evidence)
    return {
        "evidence_id": body.evidence_id,
        "sha256": body.sha256,
        "device_id": body.device_id,
        "captured_at_ms": body.captured_at_ms,
        "jpeg": draft.picture,
    }


def _engine(url: str) -> sa.Engine:
    try:
        engine = sa.create_engine(url)
    except (SQLAlchemyError, ImportError) as exc:
        raise StorageError(f"{url} is not a database URL that can be used here: {exc}") from exc
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: Connection, _record: object) -> None:
    cursor = connection.cursor()
    # FULL: a commit that was acknowledged survives a power cut, which WAL with NORMAL does not promise.
    for pragma in ("busy_timeout=5000", "journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
