from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import catalogue, thresholds
from models.content import Content
from models.errors import Reason, StorageError
from models.messages import DeadLetter, Lane, Observation, decode
from models.places import Places
from stream.control import OBS, Contents, Settings, What
from stream.log.file import NewRecord
from stream.records import (
    ControlRecord,
    HistoryRecord,
    Located,
    ObservationRecord,
    SignalKind,
    SignalRecord,
    SignalsRecord,
    TickRecord,
    TimeSource,
    decode_history,
    decode_incidents,
    decode_obs,
    encode,
)
from stream.zones import machine as zone_machine
from stream.zones.machine import PartitionRow, ZoneMachine, meta_key, revision
from stream.zones.reducer import reduce_record
from tests.stream.rig import THRESHOLDS, detection

NOW_MS = 1_780_000_000_000
P = 2


@pytest.fixture(scope="module")
def contents_of(tmp_path_factory: pytest.TempPathFactory) -> dict[What, Content]:
    path: Path = tmp_path_factory.mktemp("config") / "thresholds.toml"
    path.write_text(THRESHOLDS)
    return {
        "places": Places(),
        "catalogue": catalogue.load(),
        "thresholds": thresholds.load(path).resolve({}),
        "settings": Settings(tenant="t", late_alarm_s=1800.0),
    }


class _Log:
    """One partition of `obs` and a machine over it."""

    def __init__(self, contents_of: dict[What, Content], held: dict[str, bytes] | None = None, offset: int = 0) -> None:
        self.stored = {content.version: content.to_bytes() for content in contents_of.values()}
        self.machine = ZoneMachine(lambda _partition: dict(held or {}), Contents(self.stored.get))
        self.offset = offset

    def put_in_force(self, contents_of: dict[What, Content]) -> None:
        for what in OBS:
            self.apply(ControlRecord(at_ms=NOW_MS, what=what, version=contents_of[what].version))

    def apply(self, record: msgspec.Struct, *, now_ms: int = NOW_MS) -> list[NewRecord]:
        return self.apply_bytes(encode(record), now_ms=now_ms)

    def apply_bytes(self, value: bytes, *, now_ms: int = NOW_MS) -> list[NewRecord]:
        outputs = self.machine.apply(P, self.offset, value, now_ms=now_ms)
        self.offset += 1
        return outputs

    def written(self) -> dict[str, bytes]:
        return {row.key: row.value for row in self.machine.changed() if row.value is not None}


@pytest.fixture
def log(contents_of: dict[What, Content]) -> _Log:
    made = _Log(contents_of)
    made.put_in_force(contents_of)
    return made


def _located(seq: int, *, event_ms: int = NOW_MS, label: str = "fire", zone: str = "zone-01") -> Located:
    observation = Observation(
        device_id="cam-01",
        outbox_id="o1",
        boot_id="b1",
        lane=Lane.ALARM,
        seq=seq,
        observed_at_ms=event_ms,
        observed_mono_ms=event_ms,
        payload=detection(0.8, label),
    )
    return Located(
        observation=observation,
        zone=zone,
        event_ms=event_ms,
        time_source=TimeSource.MONO,
        received_ms=event_ms,
        lon_e7=0,
        lat_e7=0,
        radius_m=15.0,
        areas={},
    )


def _record(*items: Located) -> ObservationRecord:
    return ObservationRecord(at_ms=NOW_MS, items=items)


def _three(first_seq: int = 1, zone: str = "zone-01") -> list[Located]:
    return [_located(first_seq + i, event_ms=NOW_MS - 600 + 300 * i, zone=zone) for i in range(3)]


def _to(topic: str, outputs: list[NewRecord]) -> list[Any]:
    decoders: dict[str, Callable[[bytes], Any]] = {
        "incidents": decode_incidents,
        "history": decode_history,
        "dead": lambda value: decode(value, DeadLetter),
    }
    return [decoders[topic](output.value or b"") for output in outputs if output.topic == topic]


def test_what_an_observation_does_goes_to_the_desk_and_into_the_history(log: _Log) -> None:
    outputs = log.apply(_record(*_three()), now_ms=NOW_MS + 7)
    (signal,) = _to("incidents", outputs)
    assert isinstance(signal, SignalRecord)
    assert (signal.kind, signal.at_ms) == (SignalKind.RAISED, NOW_MS + 7)
    (history,) = _to("history", outputs)
    assert isinstance(history, HistoryRecord)
    assert [decided.origin.n for decided in history.decided()] == [0, 1, 2]
    assert [output.partition for output in outputs if output.topic == "history"] == [P]


def test_signals_of_one_record_go_to_the_desk_together_but_not_too_many(
    log: _Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone_machine, "SIGNALS_TOGETHER", 2)
    zones = [f"zone-0{n}" for n in range(3)]
    seen = [one for n, zone in enumerate(zones) for one in _three(1 + 3 * n, zone)]
    both, last = _to("incidents", log.apply(_record(*seen), now_ms=NOW_MS + 7))
    assert isinstance(both, SignalsRecord)
    assert [signal.zone for signal in (*both.signals, last)] == zones
    assert {one.at_ms for one in (both, *both.signals, last)} == {NOW_MS + 7}


def test_what_came_before_counts_as_a_duplicate_and_says_nothing(log: _Log) -> None:
    log.apply(_record(*_three()))
    assert log.apply(_record(*_three())) == []
    counted = log.machine.counted()
    assert (counted.observations, counted.duplicates) == (6, 3)


def test_a_machine_that_takes_over_the_rows_goes_on_where_the_other_was(
    contents_of: dict[What, Content], log: _Log
) -> None:
    log.apply(_record(*_three()))
    rows = log.written()
    assert set(rows) == {"zone-01", meta_key(P)}
    assert revision(rows["zone-01"]) == log.offset - 1
    other = _Log(contents_of, rows, offset=log.offset - 1)
    assert other.apply(_record(*_three())) == []  # the last record again: it is in the rows
    assert other.apply(_record(*_three())) == []  # its observations again: they have been seen
    assert (other.machine.counted().observations, other.machine.counted().duplicates) == (6, 3)
    assert other.machine.in_force(P, "places") == contents_of["places"].version


def test_the_partitions_own_row_is_written_before_those_of_its_zones(log: _Log) -> None:
    log.apply(_record(*_three(), *_three(11, "zone-02")))
    rows = log.machine.changed()
    assert {row.key: row.stage for row in rows} == {meta_key(P): 0, "zone-01": 1, "zone-02": 1}
    assert log.machine.changed() == []


def test_a_tick_is_given_once_when_the_deadline_is_due(log: _Log) -> None:
    log.apply(_record(*_three()))
    assert list(log.machine.ticks(NOW_MS + 89_000)) == []
    (tick,) = log.machine.ticks(NOW_MS + 95_000)
    assert list(log.machine.ticks(NOW_MS + 95_100)) == []  # it is on its way
    outputs = log.apply_bytes(tick.value or b"", now_ms=NOW_MS + 95_200)
    assert decode_obs(tick.value or b"") == TickRecord(at_ms=NOW_MS + 95_000, zones=("zone-01",))
    (signal,) = _to("incidents", outputs)
    assert (signal.kind, signal.reasons) == (SignalKind.ESCALATED, ("VERIFY_EXPIRED",))
    assert list(log.machine.ticks(NOW_MS + 96_000)) == []


def test_of_a_batch_only_the_observation_at_fault_becomes_a_dead_letter(
    log: _Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []

    def fragile(rows: Any, record: Any, *, skip: Collection[int] = (), **more: Any) -> Any:
        attempts.append(skip)
        for n, item in enumerate(record.located()):
            if n not in skip and item.observation.payload.label == "poison":
                raise ZeroDivisionError(f"item {n}")
        return reduce_record(rows, record, skip=skip, **more)

    monkeypatch.setattr(zone_machine, "reduce_record", fragile)
    items = [_located(seq, label="poison" if seq in {101, 338} else "fire", event_ms=NOW_MS) for seq in range(512)]
    items = [msgspec.structs.replace(item, event_ms=NOW_MS + n) for n, item in enumerate(items)]
    outputs = log.apply(_record(*items[1:]))
    dead = _to("dead", outputs)
    assert [(letter.reason, letter.source) for letter in dead] == [
        (Reason.RULE_FAILED, f"obs/{P}/{log.offset - 1}/100"),
        (Reason.RULE_FAILED, f"obs/{P}/{log.offset - 1}/337"),
    ]
    assert "ZeroDivisionError: item 100" in dead[0].detail
    (history,) = _to("history", outputs)
    assert history.count == 509
    assert len(attempts) < 30  # found by halves, not one by one


def test_a_record_that_cannot_be_read_is_set_aside(log: _Log) -> None:
    (letter,) = _to("dead", log.apply_bytes(b"\xff noise"))
    assert letter.reason is Reason.RULE_FAILED
    assert len(_to("incidents", log.apply(_record(*_three())))) == 1


def test_without_rules_in_force_nothing_is_decided(contents_of: dict[What, Content]) -> None:
    with pytest.raises(StorageError, match="in force"):
        _Log(contents_of).apply(_record(*_three()))


def test_a_version_that_is_not_in_the_log_is_named(contents_of: dict[What, Content], log: _Log) -> None:
    log.apply(ControlRecord(at_ms=NOW_MS, what="thresholds", version="f" * 64))
    with pytest.raises(StorageError, match="thresholds"):
        log.apply(_record(*_three()))


def test_counters_begin_with_the_row_that_was_held(contents_of: dict[What, Content]) -> None:
    row = PartitionRow(applied_offset=9, observations=100, duplicates=4, pre_alarms_cleared=1)
    made = _Log(contents_of, {meta_key(P): msgspec.msgpack.encode(row)}, offset=10)
    made.put_in_force(contents_of)
    made.apply(_record(*_three()))
    counted = made.machine.counted()
    assert (counted.observations, counted.duplicates, counted.pre_alarms_cleared) == (103, 4, 1)


WHEN = st.none() | st.integers(0, 50)


@given(st.lists(st.tuples(st.sampled_from("abcd"), WHEN) | st.integers(0, 3) | st.just("round"), max_size=40))
def test_a_tick_names_every_zone_that_is_due_and_not_under_way_whatever_changes_between(
    story: list[tuple[str, int | None] | int | str],
) -> None:
    now_ms, way = 0, set[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zone_machine, "next_deadline_ms", lambda row: row)
        shard = zone_machine._Shard(P, {}, PartitionRow())
        for event in story:
            if isinstance(event, tuple):
                zone, due_ms = event
                shard.rows[zone] = due_ms  # type: ignore[assignment]  # stands for a row with this deadline
                shard.note_deadline(zone)
            elif isinstance(event, int):
                now_ms += 10 * event
                due = {zone for zone, due_ms in shard.deadlines.items() if due_ms <= now_ms} - way
                assert shard.due(now_ms) == sorted(due)
                way |= due
            else:
                shard.came_round(way)
                way = set()
