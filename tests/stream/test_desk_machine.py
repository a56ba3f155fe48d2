from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from models import catalogue, city, thresholds
from models.content import Content
from models.errors import Reason, StorageError
from models.messages import DeadLetter, Decision, DecisionKind, Incident, Stage, decode
from stream.control import INCIDENTS, Contents, Settings, What
from stream.desk import desk as of_desk
from stream.desk.cases import first_incident
from stream.desk.desk import Desk
from stream.desk.machine import DeskMachine
from stream.desk.row import META
from stream.log.file import NewRecord
from stream.records import (
    ControlRecord,
    DecisionRecord,
    OrderedRecord,
    OrderedRecords,
    OrderRecord,
    Origin,
    SignalKind,
    SignalRecord,
    SignalsRecord,
    VerdictRecord,
    decode_history,
    decode_obs,
    decode_order,
    encode,
)

NOW_MS = 1_780_000_000_000
CITY = city.generate(8)
CONTENTS: dict[What, Content] = {
    "places": CITY.places,
    "people": CITY.people,
    "catalogue": catalogue.load(),
    "thresholds": thresholds.load().resolve({"fire": (0.3, 0.6), "smoke": (0.3, 0.6)}),
    "settings": Settings(tenant="t", late_alarm_s=1800.0),
}


class _Incidents:
    """The `incidents` log and a machine over it."""

    def __init__(self, held: dict[str, bytes] | None = None) -> None:
        stored = {content.version: content.to_bytes() for content in CONTENTS.values()}
        self.machine = DeskMachine(lambda: dict(held or {}), Contents(stored.get))

    def apply(self, offset: int, record: Struct, *, now_ms: int = NOW_MS) -> list[NewRecord]:
        return self.machine.apply(0, offset, encode(record), now_ms=now_ms)

    def put_in_force(self) -> None:
        for offset, what in enumerate(INCIDENTS):
            self.apply(offset, ControlRecord(at_ms=NOW_MS, what=what, version=CONTENTS[what].version))

    def written(self) -> dict[str, bytes]:
        return {row.key: row.value for row in self.machine.changed() if row.value is not None}


FIRST = len(INCIDENTS)


@pytest.fixture
def incidents() -> _Incidents:
    made = _Incidents()
    made.put_in_force()
    return made


def _signal(n: int, **more: Any) -> SignalRecord:
    device = CITY.places.device_by_id["cam-01"]
    fields: dict[str, Any] = {
        "origin": Origin(1, n, 0),
        "signal_id": "inc-first",
        "kind": SignalKind.RAISED if n == 0 else SignalKind.EVIDENCE,
        "stage": Stage.PRE_ALARM,
        "zone": "zone-01",
        "category": "fire.flame.single",
        "family": "fire",
        "label": "fire",
        "confidence": 0.8,
        "device_id": "cam-01",
        "sources": ("cam-01",),
        "count": 3,
        "event_ms": NOW_MS,
        "lon_e7": device.point[0],
        "lat_e7": device.point[1],
        "radius_m": 15.0,
        "areas": {},
    }
    return SignalRecord(at_ms=NOW_MS, **(fields | more))


def test_a_signal_becomes_an_order_stamped_once_with_the_time_of_its_making(incidents: _Incidents) -> None:
    output, kept = incidents.apply(FIRST, _signal(0), now_ms=NOW_MS + 5)
    record = decode_order(output.value or b"")
    assert (output.topic, output.partition, record.at_ms) == ("orders", 0, NOW_MS + 5)
    assert record.order.incident.incident_id == "inc-first"
    ordered = decode_history(kept.value or b"")
    assert isinstance(ordered, OrderedRecord)
    assert (kept.topic, ordered.origin, ordered.timeline.matched_ms) == ("history", (FIRST, 0), NOW_MS + 5)
    assert incidents.apply(FIRST, _signal(0)) == []


def test_a_decision_goes_back_to_the_partition_of_its_zone(incidents: _Incidents) -> None:
    incidents.apply(FIRST, _signal(0))
    decision = Decision(
        v=1,
        outbox_id="o",
        seq=1,
        incident_id="inc-first",
        expected_revision=1,
        kind=DecisionKind.CLOSE,
        by="p-1",
        at_ms=NOW_MS,
    )
    outputs = incidents.apply(FIRST + 1, DecisionRecord(at_ms=NOW_MS, decision=decision), now_ms=NOW_MS + 9)
    (back,) = [output for output in outputs if output.topic == "obs"]
    verdict = decode_obs(back.value or b"")
    assert back.partition == 1  # where the signal was raised
    assert isinstance(verdict, VerdictRecord)
    assert (verdict.verdict, verdict.signal_id, verdict.at_ms) == ("close", "inc-first", NOW_MS + 9)


def test_a_record_on_which_a_rule_fails_is_set_aside_and_the_next_one_counts(
    incidents: _Incidents, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Desk, "apply", broken)
        (output,) = incidents.apply(FIRST, _signal(0))
    letter = decode(output.value or b"", DeadLetter)
    assert (letter.reason, letter.source) == (Reason.RULE_FAILED, f"incidents/0/{FIRST}")
    assert [output.topic for output in incidents.apply(FIRST + 1, _signal(0))] == ["orders", "history"]


def test_before_anything_is_in_force_nothing_is_decided() -> None:
    with pytest.raises(StorageError, match="in force"):
        _Incidents().apply(0, _signal(0))


def test_the_desks_own_row_is_written_last(incidents: _Incidents) -> None:
    incidents.apply(FIRST, _signal(0))
    rows = incidents.machine.changed()
    assert {row.key: row.stage for row in rows} == {"inc-first": 0, META: 1}


def test_after_a_crash_amid_its_rows_the_desk_writes_none_until_it_has_caught_up(incidents: _Incidents) -> None:
    incidents.apply(FIRST, _signal(0))
    before = incidents.written()
    incidents.apply(FIRST + 1, _signal(1))
    incidents.apply(FIRST + 2, _signal(2))
    after = incidents.written()
    again = _Incidents(after | {META: before[META]})  # the last row did not make it
    assert not again.machine.may_write()
    again.apply(FIRST + 1, _signal(1))
    assert not again.machine.may_write()
    again.apply(FIRST + 2, _signal(2))
    assert again.machine.may_write()
    assert again.written() == after


# --- many signals in one record ---


def _openings(*ids: str) -> tuple[SignalRecord, ...]:
    """Fires far from one another, by zones of one partition."""
    here = CITY.places.device_by_id["cam-01"].point
    return tuple(
        _signal(0, origin=Origin(1, 7, n), signal_id=key, lon_e7=here[0] + 10_000 * n) for n, key in enumerate(ids)
    )


def _orders(outputs: list[NewRecord]) -> list[OrderRecord]:
    return [decode_order(output.value or b"") for output in outputs if output.topic == "orders"]


def test_signals_of_one_record_are_matched_together_and_kept_together(
    incidents: _Incidents, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("stream.desk.orders.match", lambda *_: asked.append(1))
    outputs = incidents.apply(FIRST, SignalsRecord(at_ms=NOW_MS, signals=_openings("inc-a", "inc-b", "inc-c")))
    assert [output.topic for output in outputs] == ["orders"] * 3 + ["history"]
    kept = decode_history(outputs[-1].value or b"")
    assert isinstance(kept, OrderedRecords)
    assert [(one.incident_id, one.origin) for one in kept.orders] == [
        ("inc-a", (FIRST, 0)),
        ("inc-b", (FIRST, 1)),
        ("inc-c", (FIRST, 2)),
    ]
    assert not asked


def test_a_signal_on_which_a_rule_fails_is_set_aside_alone(
    incidents: _Incidents, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = first_incident

    def broken(signal: SignalRecord, *more: Any) -> Incident:
        if signal.signal_id == "inc-b":
            raise ZeroDivisionError
        return opened(signal, *more)

    signals = _openings("inc-a", "inc-b", "inc-c")
    with monkeypatch.context() as patch:
        patch.setattr(of_desk, "first_incident", broken)
        outputs = incidents.apply(FIRST, SignalsRecord(at_ms=NOW_MS, signals=signals))
    assert [one.order.incident.incident_id for one in _orders(outputs)] == ["inc-a", "inc-c"]
    (dead,) = [output for output in outputs if output.topic == "dead"]
    letter = decode(dead.value or b"", DeadLetter)
    assert (letter.reason, letter.source) == (Reason.RULE_FAILED, f"incidents/0/{FIRST}/1")


def test_a_record_of_many_that_comes_again_after_a_crash_says_nothing_new(incidents: _Incidents) -> None:
    record = SignalsRecord(at_ms=NOW_MS, signals=_openings("inc-a", "inc-b"))
    incidents.apply(FIRST, record)
    again = _Incidents(incidents.written())
    assert again.apply(FIRST, record) == []
    assert again.apply(FIRST + 1, record) == [], "the zones said it again"


KEYS = ("inc-a", "inc-b", "inc-c", "inc-d")
SIGNALS = st.tuples(
    st.sampled_from(KEYS),
    st.sampled_from([SignalKind.RAISED, SignalKind.ESCALATED, SignalKind.EVIDENCE, SignalKind.CLEARED]),
    st.integers(0, 4),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(records=st.lists(st.lists(SIGNALS, min_size=1, max_size=5), min_size=1, max_size=6))
def test_what_stands_in_one_record_does_what_it_does_in_records_of_its_own(
    records: list[list[tuple[str, SignalKind, int, bool]]],
) -> None:
    here = CITY.places.device_by_id["cam-01"].point
    together, alone = _Incidents(), _Incidents()
    said: list[list[OrderRecord]] = [[], []]
    offsets = [FIRST, FIRST]
    for incidents in (together, alone):
        incidents.put_in_force()
    for number, record in enumerate(records):
        at_ms = NOW_MS + 700 * number
        signals = tuple(
            _signal(
                0,
                origin=Origin(1, number, n),
                signal_id=key,
                kind=kind,
                stage=Stage.ALARM if is_alarm else Stage.PRE_ALARM,
                event_ms=at_ms,
                lon_e7=here[0] + 3_000 * step,  # 29 m apart: some are merged
                sources=(key,),
            )
            for n, (key, kind, step, is_alarm) in enumerate(record)
        )
        signals = tuple(replace(signal, at_ms=at_ms) for signal in signals)
        said[0] += _orders(together.apply(offsets[0], SignalsRecord(at_ms=at_ms, signals=signals), now_ms=at_ms))
        offsets[0] += 1
        for signal in signals:
            said[1] += _orders(alone.apply(offsets[1], signal, now_ms=at_ms))
            offsets[1] += 1
    assert said[0] == said[1]
    assert together.machine.desk.open_incidents == alone.machine.desk.open_incidents
