from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from models.errors import StorageError
from models.messages import (
    ButtonPress,
    Dropped,
    Fault,
    Lane,
    Observation,
    Payload,
    Reading,
    Report,
    SelfTest,
)
from stream.history import History, describe
from stream.records import HistoryItem, Located, Origin, Outcome, TimeSource
from tests.stream.rig import detection

NOW_MS = 1_780_000_000_000


def _item(offset: int, n: int, *, seq: int = 1, payload: Payload | None = None) -> HistoryItem:
    observation = Observation(
        device_id="cam-01",
        outbox_id="outbox-1",
        boot_id="boot-1",
        lane=Lane.ALARM,
        seq=seq,
        observed_at_ms=NOW_MS,
        observed_mono_ms=1,
        payload=payload or detection(0.7),
    )
    located = Located(
        observation=observation,
        zone="zone-01",
        event_ms=NOW_MS,
        time_source=TimeSource.MONO,
        received_ms=NOW_MS + 5,
        lon_e7=0,
        lat_e7=0,
        radius_m=15.0,
        areas={"cell": "500199001001003"},
    )
    return HistoryItem(origin=Origin(2, offset, n), outcome=Outcome.HIT, rule_version="r1", located=located)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    opened = History(tmp_path / "history.db")
    yield opened
    opened.close()


def test_a_record_that_is_read_again_is_written_once(history: History) -> None:
    items = [_item(7, n, seq=n + 1) for n in range(3)]
    assert history.write(items) == 3
    assert history.write([*items, _item(8, 0, seq=4)]) == 1
    assert history.count() == 4


def test_a_duplicate_that_slipped_into_the_log_shows(history: History) -> None:
    history.write([_item(7, 0, seq=1), _item(9, 0, seq=1)])
    rows = history._connection.execute("SELECT seq, count(*) FROM history GROUP BY device_id, outbox_id, lane, seq")
    assert rows.fetchall() == [(1, 2)]


def test_nothing_of_a_batch_is_written_when_one_row_cannot_be(history: History) -> None:
    bad = replace(_item(7, 1), located=replace(_item(7, 1).located, event_ms=1 << 70))
    with pytest.raises(OverflowError):
        history.write([_item(7, 0), bad])
    assert history.count() == 0
    assert history.write([_item(7, 0)]) == 1


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (detection(0.7), ("detection", "fire", 0.7, None)),
        (Reading(property="gas", value=12.5, unit="%"), ("reading", "gas", None, 12.5)),
        (ButtonPress(), ("button", "manual", None, None)),
        (Report(category="fire"), ("report", "fire", None, None)),
        (Fault(fault="dark"), ("fault", "dark", None, None)),
        (SelfTest(), ("test", "canary", None, None)),
        (Dropped(lane=Lane.ALARM, ranges=((3, 5), (9, 9))), ("dropped", "alarm", None, 4.0)),
    ],
)
def test_every_kind_of_observation_has_a_row(
    history: History, payload: Payload, expected: tuple[str, str, float | None, float | None]
) -> None:
    assert describe(payload) == expected
    history.write([_item(1, 0, payload=payload)])
    assert history._connection.execute("SELECT kind, label, confidence, value FROM history").fetchone() == expected


def test_what_is_no_history_is_named(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StorageError, match=r"history\.db"):
        History(path)
