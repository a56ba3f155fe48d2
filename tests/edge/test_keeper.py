from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from edge.keeper import Keeper
from edge.outbox import Entry, Outbox
from models.messages import Fault, Observation, decode
from models.seal import Keyring
from tests.conftest import wait_until
from tests.edge.test_sender import Wire, alarm


def make_keeper(path: Path, keys: Keyring) -> Keeper:
    def open_outbox() -> Outbox:
        return Outbox(path, machine="m", boot_id="b", max_bytes=64 << 20)

    return Keeper(open_outbox, Wire(), keys, tenant="t", agent="edge-01")


def rows(path: Path) -> list[Observation]:
    db = sqlite3.connect(path)
    found = [decode(body.encode(), Observation) for (body,) in db.execute("SELECT body FROM outbox ORDER BY id")]
    db.close()
    return found


def test_what_is_handed_over_is_committed_before_it_stops(tmp_path: Path, keys: Keyring) -> None:
    keeper = make_keeper(tmp_path / "o.sqlite", keys)
    keeper.start()
    for _ in range(500):
        keeper.put(Entry((alarm(),)))
    keeper.stop()
    assert len(rows(tmp_path / "o.sqlite")) == 500


def test_a_locked_disk_delays_and_loses_nothing(
    tmp_path: Path, keys: Keyring, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge.outbox_file.BUSY_S", 0.01)
    monkeypatch.setattr("edge.keeper.RETRY_S", 0.05)
    keeper = make_keeper(tmp_path / "o.sqlite", keys)
    keeper.start()
    assert keeper.ready.wait(10)
    other = sqlite3.connect(tmp_path / "o.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    keeper.put(Entry((alarm(),)))
    wait_until(lambda: "keeps nothing for now" in caplog.text)
    assert not keeper.is_drained
    assert keeper.backlog.depth == 1  # so the heartbeats say it
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: "keeps again" in caplog.text)
    keeper.stop()
    assert len(rows(tmp_path / "o.sqlite")) == 1
    assert caplog.text.count("keeps nothing for now") == 1


def test_what_the_memory_could_not_hold_meanwhile_is_told(
    tmp_path: Path, keys: Keyring, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge.outbox_file.BUSY_S", 0.01)
    monkeypatch.setattr("edge.keeper.RETRY_S", 0.05)
    monkeypatch.setattr("edge.keeper.MOST_WAITING", 3)
    keeper = make_keeper(tmp_path / "o.sqlite", keys)
    keeper.start()
    assert keeper.ready.wait(10)
    other = sqlite3.connect(tmp_path / "o.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(10):
        keeper.put(Entry((alarm(detail=str(number)),)))
    wait_until(lambda: "keeps nothing for now" in caplog.text and len(keeper._waiting) == 3)
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: "keeps again" in caplog.text)
    keeper.stop()
    found = [o.payload for o in rows(tmp_path / "o.sqlite") if isinstance(o.payload, Fault)]
    assert [fault.detail for fault in found[:3]] == ["7", "8", "9"]
    assert found[3].fault == "storage_failed"
    assert found[3].detail.startswith("7 observations")


def test_a_folder_that_cannot_be_written_is_tried_again(
    tmp_path: Path, keys: Keyring, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge.keeper.RETRY_S", 0.05)
    blocked = tmp_path / "state"
    blocked.write_text("a file where the folder should be")
    keeper = make_keeper(blocked / "o.sqlite", keys)
    keeper.start()
    keeper.put(Entry((alarm(),)))
    wait_until(lambda: "keeps nothing for now" in caplog.text)
    blocked.unlink()
    assert keeper.ready.wait(10)
    keeper.stop()
    assert len(rows(blocked / "o.sqlite")) == 1
