from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Config, Mqtt
from models.messages import Dropped, Lane
from models.seqset import SeqSet
from stream.gaps import Gaps, gaps, lines, rows
from stream.recorded import Recorded
from stream.zones.row import ZoneRow
from tests.stream.rig import Listener, TestDevice, make_folder, running


def seqs(*values: int) -> SeqSet:
    made = SeqSet()
    for value in values:
        made.add(value)
    return made


def one(seen: SeqSet, dropped: SeqSet | None = None) -> Gaps:
    zone = ZoneRow(zone="z", seen={"cam-1|box|alarm": seen}, dropped={"cam-1|box|alarm": dropped} if dropped else {})
    (found,) = gaps([zone])
    return found


def test_what_never_came_is_missing() -> None:
    found = one(seqs(1, 2, 5, 9))
    assert (found.highest, found.missing, found.lost) == (9, ((3, 4), (6, 8)), 5)


def test_what_was_dropped_on_purpose_is_not_missing() -> None:
    found = one(seqs(1, 2, 5, 9), seqs(3, 4, 7))
    assert (found.missing, found.dropped) == (((6, 6), (8, 8)), 3)


def test_an_outbox_that_is_numbered_where_it_arrives_proves_nothing() -> None:
    assert gaps([ZoneRow(zone="z", seen={"smoke-1|foreign.p|alarm": seqs(4)})]) == []


def test_what_people_report_goes_to_many_zones_and_counts_together() -> None:
    key = "alerts|led-1|alarm"
    zones = [ZoneRow(zone=f"z{n}", seen={key: seqs(*values)}) for n, values in enumerate(((1, 3), (2, 6), (5,)))]
    (found,) = gaps(zones)
    assert (found.highest, found.missing) == (6, ((4, 4),))


@given(st.sets(st.integers(1, 60), min_size=1), st.sets(st.integers(1, 60)))
def test_missing_is_what_is_below_the_highest_and_neither_seen_nor_dropped(seen: set[int], dropped: set[int]) -> None:
    found = one(seqs(*seen), seqs(*dropped))
    missing = {seq for first, last in found.missing for seq in range(first, last + 1)}
    assert missing == set(range(1, max(seen))) - seen - dropped


def test_the_table_says_what_it_proves() -> None:
    assert list(lines([one(seqs(1, 2))]))[-1].startswith("nothing is missing")
    assert list(lines([one(seqs(1, 5))]))[-1].startswith("3 seqs are missing")


@pytest.fixture
def config(tmp_path: Path, mqtt_broker: Mqtt) -> Config:
    return make_folder(tmp_path / "city", mqtt_broker)


def test_a_drop_is_told_from_a_loss_by_the_log_of_a_real_stream(config: Config) -> None:
    listener = Listener(config)
    device = TestDevice(listener)
    with running(config) as stream:
        fires = device.fires(6)
        dropped = device.observe(Dropped(lane=Lane.ALARM, ranges=((3, 3),)))
        device.send([fires[0], fires[1], fires[4], fires[5], dropped])  # 3 was dropped, 4 is lost
        stream.wait(lambda: stream.counters()["decisions"] == 5)
        assert stream.stop() == 0
    recorded = Recorded(config.state / "log.db")
    (found,) = gaps(rows(recorded))
    recorded.close()
    assert (found.device_id, found.highest, found.dropped, found.missing) == ("cam-01", 7, 1, ((4, 4),))
