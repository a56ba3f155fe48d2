from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.commands import register
from alerts.entries import Draft, Kind
from alerts.ledger import FILE, Ledger
from models.cli import main
from models.config import Config, to_toml
from models.errors import StorageError
from models.messages import Evidence
from tests.alerts.test_escalation import step
from tests.alerts.town import incident, order

JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"


def drafts() -> list[Draft]:
    at = incident(now_ms=1_800_000_000_000)
    first = order(at, steps=(step(0, "a"),))
    return [
        Draft(kind=Kind.ORDER_STORED, body=first, incident_id=at.incident_id, actor="stream"),
        Draft(kind=Kind.EVIDENCE, body=evidence(), actor="cam-01", picture=JPEG),
    ]


def evidence() -> Evidence:
    from hashlib import sha256

    digest = sha256(JPEG).hexdigest()
    return Evidence(v=1, evidence_id="ev-1", device_id="cam-01", sha256=digest, captured_at_ms=1, redaction="none")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    made = Config(tenant="t", state_dir="var", folder=str(tmp_path))
    (tmp_path / "gridwarden.toml").write_bytes(to_toml(made))
    return made


@pytest.fixture
def path(config: Config) -> Path:
    """A ledger of three records and a picture, closed."""
    config.state.mkdir()
    ledger = Ledger.open(f"sqlite:///{config.state / FILE}", now_ms=5)
    ledger.append(drafts(), 7)
    ledger.close()
    return config.state / FILE


@pytest.fixture
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """The same file in the hands of somebody who means ill: the triggers are gone."""
    connection = sqlite3.connect(path)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.commit()
    yield connection
    connection.close()


def verdict(config: Config) -> str:
    ledger = Ledger.open_read_only(config)
    try:
        found = ledger.verify()
    finally:
        ledger.close()
    return "whole" if found.broken is None else f"{found.broken.seq}: {found.broken.why}"


def test_what_is_written_is_read_back_and_goes_on_after_a_reopening(path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{path}", now_ms=9)
    assert [entry.kind for entry in ledger.read()] == ["genesis", "order_stored", "evidence"]
    assert ledger.picture("ev-1") == (evidence().sha256, JPEG)
    assert ledger.picture("ev-2") is None
    (again,) = ledger.append([drafts()[0]], 11)
    assert (again.seq, ledger.verify().records) == (4, 4)
    ledger.close()


@pytest.mark.parametrize("sql", ["UPDATE entries SET actor = 'x'", "DELETE FROM entries", "DELETE FROM evidence"])
def test_the_database_itself_refuses_to_change_the_past(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(sql)
    connection.close()


def test_a_second_writer_is_refused(path: Path) -> None:
    one, two = (Ledger.open(f"sqlite:///{path}", now_ms=9) for _ in range(2))
    one.append([drafts()[0]], 11)
    with pytest.raises(StorageError, match="cannot be written"):
        two.append([drafts()[0]], 11)
    one.close()
    two.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(1, 3), st.integers(0, 10_000), st.integers(1, 255))
def test_one_changed_byte_of_any_record_is_found_and_the_record_named(
    config: Config, raw: sqlite3.Connection, seq: int, where: int, by: int
) -> None:
    (body,) = raw.execute("SELECT body FROM entries WHERE seq = ?", (seq,)).fetchone()
    changed = bytearray(body)
    changed[where % len(body)] ^= by
    raw.execute("UPDATE entries SET body = ? WHERE seq = ?", (bytes(changed), seq))
    raw.commit()
    assert verdict(config) == f"{seq}: its content is not what its hash says"
    raw.execute("UPDATE entries SET body = ? WHERE seq = ?", (body, seq))
    raw.commit()
    assert verdict(config) == "whole"


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("UPDATE entries SET actor = 'me' WHERE seq = 2", "2: its content is not what its hash says"),
        ("UPDATE entries SET at_ms = 6 WHERE seq = 3", "3: its content is not what its hash says"),
        ("DELETE FROM entries WHERE seq = 2", "3: record 2 is missing"),
        ("UPDATE entries SET seq = 7 WHERE seq = 3", "7: record 3 is missing"),
        ("UPDATE evidence SET jpeg = x'ffd8ff00'", "3: evidence ev-1 is not what was sent: its SHA-256 differs"),
        ("DELETE FROM evidence", "3: the picture ev-1 is missing"),
    ],
)
def test_every_kind_of_tampering_is_named(config: Config, raw: sqlite3.Connection, sql: str, found: str) -> None:
    raw.execute(sql)
    raw.commit()
    assert verdict(config) == found


def test_a_chain_that_was_forged_anew_does_not_have_the_head_that_was_noted(config: Config, path: Path) -> None:
    ledger = Ledger.open_read_only(config)
    head = ledger.verify().head
    assert ledger.verify(head=head).broken is None
    broken = ledger.verify(head="ab" * 32).broken
    assert broken is not None
    assert broken.seq == 4
    ledger.close()


def test_the_command_says_whole_or_names_the_record(
    config: Config, raw: sqlite3.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register.__doc__
    assert main(["ledger", "verify", config.folder]) == 0
    assert capsys.readouterr().out.startswith("whole: 3 records, 1 pictures, head ")
    raw.execute("UPDATE entries SET actor = 'me' WHERE seq = 2")
    raw.commit()
    assert main(["ledger", "verify", config.folder]) == 1
    assert capsys.readouterr().out == "BROKEN at record 2: its content is not what its hash says\n"


def test_no_ledger_is_one_clear_sentence(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "verify", config.folder]) == 1
    assert "there is no ledger at" in capsys.readouterr().err
