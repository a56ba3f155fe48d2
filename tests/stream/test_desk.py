"""The desk: one incident of many signals, in whatever order crashes and people make them come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.geo import PointE7
from models.messages import Decision, DecisionKind, DispatchOrder, Priority, Stage, Timeline
from stream.desk.desk import Desk, Heard
from stream.desk.row import META, CaseRow, MetaRow
from stream.records import (
    ControlRecord,
    DecisionRecord,
    OrderRecord,
    Origin,
    SignalKind,
    SignalRecord,
    TickRecord,
    VerdictRecord,
)
from stream.world import World
from stream.zones.reducer import ZoneRow, reduce_record
from tests.stream import builders as b
from tests.stream.builders import T0, at

RAISED, ESCALATED, EVIDENCE, CLEARED, _ = SignalKind
WORLD = b.world()


class Log:
    """The `incidents` log with its desk: appends a record, applies it, keeps what came out."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world
        self.desk = Desk()
        self.records: list[Heard] = []
        self.orders: list[DispatchOrder] = []
        self.verdicts: list[VerdictRecord] = []
        self.ignored: list[str] = []
        self.now = T0
        self._obs_offset = 0
        self._decision = 0

    def put(self, record: Heard) -> list[DispatchOrder]:
        self.records.append(record)
        return self.apply(record, len(self.records) - 1)

    def apply(self, record: Heard, offset: int) -> list[DispatchOrder]:
        applied = self.desk.apply(record, offset=offset, world=self.world or WORLD)
        orders = [order.order for order in applied.orders]
        self.orders += orders
        self.verdicts += applied.verdicts
        self.ignored += [applied.ignored] if applied.ignored else []
        return orders

    def signal(
        self,
        signal_id: str = "inc-1",
        kind: SignalKind = RAISED,
        stage: Stage = Stage.PRE_ALARM,
        *,
        after_ms: int = 0,
        place: PointE7 | None = None,
        partition: int = 0,
        **fields: Any,
    ) -> list[DispatchOrder]:
        self.now += after_ms
        self._obs_offset += 1
        lon, lat = place or at(50, 50)
        is_alarm = stage is Stage.ALARM
        defaults: dict[str, Any] = {
            "zone": "z1",
            "category": "fire.flame.confirmed" if is_alarm else "fire.flame.single",
            "family": "fire",
            "label": "fire",
            "confidence": 0.6,
            "device_id": "cam-1",
            "sources": ("cam-1",),
            "count": 3 if kind is RAISED else 1,
            "event_ms": self.now,
            "radius_m": 15.0,
            "areas": {"cell": "c1"},
            "timeline": Timeline(captured_ms=self.now - 200, ingested_ms=self.now - 50),
        }
        record = SignalRecord(
            at_ms=self.now,
            origin=Origin(partition, self._obs_offset, 0),
            signal_id=signal_id,
            kind=kind,
            stage=Stage.RESTORED if kind is CLEARED else stage,
            lon_e7=lon,
            lat_e7=lat,
            **(defaults | fields),
        )
        return self.put(record)

    def decide(
        self, kind: DecisionKind, incident_id: str = "inc-1", *, revision: int | None = None, **fields: Any
    ) -> list[DispatchOrder]:
        self._decision += 1
        known = [order.revision for order in self.orders if order.incident.incident_id == incident_id]
        decision = Decision(
            v=1,
            outbox_id="alerts-1",
            seq=self._decision,
            incident_id=incident_id,
            expected_revision=max(known, default=0) if revision is None else revision,
            kind=kind,
            by="p-seat",
            at_ms=self.now,
            **fields,
        )
        return self.put(DecisionRecord(at_ms=self.now, decision=decision))

    def tick(self, after_ms: int) -> list[DispatchOrder]:
        self.now += after_ms
        return self.put(TickRecord(at_ms=self.now))


@pytest.fixture
def log() -> Log:
    return Log()


# --- opening and matching --------------------------------------------------------------------------------------------


def test_a_pre_alarm_opens_an_incident_of_p2_with_a_chain_and_a_lead(log: Log) -> None:
    (order,) = log.signal(evidence_ids=("pic-1",))
    incident = order.incident
    assert (incident.incident_id, incident.stage, incident.priority) == ("inc-1", Stage.PRE_ALARM, Priority.P2)
    assert (incident.category, incident.count, incident.evidence_ids) == ("fire.flame.single", 3, ("pic-1",))
    assert (order.revision, order.lead_post, order.lead_unit) == (1, "grid-1", "emergency")
    assert order.reasons[0] == "OPENED"
    assert incident.areas == {"cell": "c1", "node": "n1"}
    assert order.versions == WORLD.versions


def test_the_timeline_tells_when_it_was_decided(log: Log) -> None:
    (order,) = log.signal()
    assert order.incident.timeline == Timeline(captured_ms=T0 - 200, ingested_ms=T0 - 50, decided_ms=T0)


def test_an_alarm_opens_an_incident_of_p1(log: Log) -> None:
    (order,) = log.signal(stage=Stage.ALARM)
    assert (order.incident.priority, order.incident.stage) == (Priority.P1, Stage.ALARM)


def test_an_alarm_raises_the_same_incident(log: Log) -> None:
    log.signal()
    (order,) = log.signal(kind=ESCALATED, stage=Stage.ALARM, after_ms=30_000)
    assert (order.revision, order.incident.incident_id, order.incident.stage) == (2, "inc-1", Stage.ALARM)
    assert (order.incident.priority, order.incident.category) == (Priority.P1, "fire.flame.confirmed")
    assert order.reasons[0] == "RAISED"
    assert order.steps[0].at_once


def test_a_late_incident_is_for_the_command_seat_alone_until_it_is_fresh(log: Log) -> None:
    (order,) = log.signal(late=True)
    assert ([step.seat for step in order.steps], order.incident.late, order.co_tellings) == ([True], True, ())
    (order,) = log.signal(kind=EVIDENCE, after_ms=1000)
    assert (order.incident.late, order.reasons[0]) == (False, "FRESH")
    assert {step.step for step in order.steps} == {0, 1, 2, 3, 4, 5}


def test_a_category_the_catalogue_does_not_know_is_taken_for_the_worst_of_its_family(log: Log) -> None:
    (order,) = log.signal(category="fire.new_kind")
    assert order.incident.category == "fire.flame.confirmed"


# --- merging ---------------------------------------------------------------------------------------------------------


def test_a_signal_near_in_place_and_time_is_the_same_incident(log: Log) -> None:
    log.signal("inc-1")
    (order,) = log.signal("inc-2", zone="z2", partition=2, place=at(99, 50), after_ms=500_000, sources=("cam-9",))
    assert (order.incident.incident_id, order.incident.aliases) == ("inc-1", ("inc-2",))
    assert (order.incident.count, order.incident.sources) == (6, ("cam-1", "cam-9"))
    assert order.reasons[0] == "MERGED"
    assert len(log.desk.open_incidents) == 1


@pytest.mark.parametrize(
    ("place", "after_ms", "family"),
    [(at(101, 50), 0, "fire"), (at(50, 50), 600_001, "fire"), (at(50, 50), 0, "gas")],
    ids=["too far", "too late", "another family"],
)
def test_a_signal_elsewhere_is_another_incident(log: Log, place: PointE7, after_ms: int, family: str) -> None:
    log.signal("inc-1")
    (order,) = log.signal("inc-2", place=place, after_ms=after_ms, family=family)
    assert (order.incident.incident_id, order.revision) == ("inc-2", 1)


def test_the_time_counts_from_the_newest_evidence(log: Log) -> None:
    log.signal("inc-1")
    for _ in range(5):
        log.signal("inc-1", EVIDENCE, after_ms=500_000)
    (order,) = log.signal("inc-2", after_ms=500_000)
    assert order.incident.incident_id == "inc-1"


def test_of_two_incidents_the_nearer_takes_the_signal(log: Log) -> None:
    log.signal("inc-1", place=at(0, 0))
    log.signal("inc-2", place=at(60, 0))
    (order,) = log.signal("inc-3", place=at(35, 0))
    assert order.incident.incident_id == "inc-2"


def test_a_merged_alarm_raises_the_incident(log: Log) -> None:
    log.signal("inc-1")
    (order,) = log.signal("inc-2", stage=Stage.ALARM)
    assert (order.incident.stage, order.incident.priority) == (Stage.ALARM, Priority.P1)
    assert order.reasons[:2] == ("MERGED", "RAISED")


def test_a_priority_never_falls_whatever_the_category_becomes(log: Log) -> None:
    log.signal(category="water.main", family="water")
    (order,) = log.signal("inc-2", stage=Stage.ALARM, category="drain.overflow", family="water")
    assert b.CATALOGUE.category_by_key["drain.overflow"].priority is Priority.P3
    assert (order.incident.category, order.incident.priority) == ("drain.overflow", Priority.P2)


def test_a_merged_pre_alarm_lowers_nothing(log: Log) -> None:
    log.signal("inc-1", stage=Stage.ALARM)
    (order,) = log.signal("inc-2")
    assert (order.incident.stage, order.incident.priority) == (Stage.ALARM, Priority.P1)
    assert order.incident.category == "fire.flame.confirmed"


def test_a_fire_that_two_zones_see_is_one_incident_with_all_its_evidence(log: Log) -> None:
    """From observations on: what the zones say, in their partitions' order, is what the desk hears."""
    seen, rows, counted = b.Seen(), dict[str, ZoneRow](), 0
    for i in range(40):
        near = seen("cam-1", b.detection(0.8), T0 + i * 500, point=at(90, 50))
        far = seen("cam-9", b.detection(0.8), T0 + i * 500, point=at(110, 50), zone="z2")
        reduced = reduce_record(rows, b.batch(near, far), partition=0, offset=i, rules=b.rules())
        rows.update(reduced.rows)
        counted += sum(outcome is not None for outcome in reduced.outcomes)
        for signal in reduced.signals:
            log.put(signal)
    tick = TickRecord(at_ms=T0 + 30_000, zones=("z1", "z2"))
    for signal in reduce_record(rows, tick, partition=0, offset=40, rules=b.rules()).signals:
        log.put(signal)
    log.now = T0 + 30_000
    log.tick(5000)
    (incident,) = log.desk.open_incidents
    assert (incident.sources, incident.count) == (("cam-1", "cam-9"), counted)
    assert [order.revision for order in log.orders] == list(range(1, len(log.orders) + 1))


# --- telling ---------------------------------------------------------------------------------------------------------


def test_counts_are_told_every_five_seconds_and_the_last_by_a_tick(log: Log) -> None:
    log.signal()
    told = [len(log.signal(kind=EVIDENCE, after_ms=1000)) for _ in range(7)]
    assert told == [0, 0, 0, 0, 1, 0, 0]
    assert log.desk.next_deadline_ms() == T0 + 10_000
    assert log.tick(2999) == []
    (order,) = log.tick(1)
    assert (order.incident.count, order.reasons, order.revision) == (10, ("COUNT",), 3)
    assert log.desk.next_deadline_ms() is None


def test_a_count_keeps_the_chain(log: Log) -> None:
    (first,) = log.signal()
    (second,) = log.signal(kind=EVIDENCE, after_ms=6000)
    assert (second.steps, second.lead_post) == (first.steps, first.lead_post)


def test_a_new_picture_is_told_at_once(log: Log) -> None:
    log.signal(evidence_ids=("pic-1",))
    (order,) = log.signal(kind=EVIDENCE, after_ms=100, evidence_ids=("pic-2",))
    assert (order.incident.evidence_ids, order.reasons) == (("pic-1", "pic-2"), ("EVIDENCE",))


def test_an_incident_shows_at_most_sixteen_pictures(log: Log) -> None:
    log.signal()
    for i in range(20):
        log.signal(kind=EVIDENCE, evidence_ids=(f"pic-{i:02}",))
    assert log.orders[-1].incident.evidence_ids == tuple(f"pic-{i:02}" for i in range(16))


# --- the end ---------------------------------------------------------------------------------------------------------


def test_a_pre_alarm_that_is_cleared_is_restored_and_stays_open(log: Log) -> None:
    log.signal()
    (order,) = log.signal(kind=CLEARED, after_ms=1000)
    assert (order.incident.stage, order.reasons) == (Stage.RESTORED, ("RESTORED", "CLEARED"))
    assert len(log.desk.open_incidents) == 1


def test_one_of_two_signals_cleared_restores_nothing(log: Log) -> None:
    log.signal("inc-1")
    log.signal("inc-2")
    (order,) = log.signal("inc-1", CLEARED)
    assert (order.incident.stage, order.reasons) == (Stage.PRE_ALARM, ("CLEARED",))


def test_an_incident_that_was_an_alarm_is_not_restored_by_a_cleared_pre_alarm(log: Log) -> None:
    log.signal("inc-1", stage=Stage.ALARM)
    log.signal("inc-2")
    (order,) = log.signal("inc-2", CLEARED)
    assert order.incident.stage is Stage.ALARM


def test_new_evidence_raises_a_restored_incident_again(log: Log) -> None:
    log.signal("inc-1")
    log.signal("inc-1", CLEARED)
    (order,) = log.signal("inc-2", after_ms=1000)
    assert (order.incident.incident_id, order.incident.stage) == ("inc-1", Stage.PRE_ALARM)


def test_a_close_ends_the_incident_and_tells_its_zones_what_the_desk_had_heard(log: Log) -> None:
    log.signal("inc-1")
    log.signal("inc-2", zone="z2")
    log.signal("inc-1", ESCALATED, Stage.ALARM)
    (order,) = log.decide(DecisionKind.CLOSE)
    assert (order.incident.stage, order.reasons) == (Stage.RESTORED, ("CLOSED",))
    assert [(v.zone, v.signal_id, v.verdict, v.seen, v.origin) for v in log.verdicts] == [
        ("z1", "inc-1", "close", (3, 0), (3, 0)),
        ("z2", "inc-2", "close", (2, 0), (3, 1)),
    ]
    assert log.desk.open_incidents == ()


def test_evidence_after_a_close_opens_a_new_incident(log: Log) -> None:
    log.signal("inc-1")
    log.decide(DecisionKind.CLOSE)
    (order,) = log.signal("inc-2", after_ms=1000)
    assert (order.incident.incident_id, order.revision) == ("inc-2", 1)


def test_a_straggler_of_a_closed_incident_is_ignored_with_a_reason(log: Log) -> None:
    log.signal("inc-1")
    log.decide(DecisionKind.CANCEL)
    assert log.signal("inc-1", EVIDENCE) == []
    assert log.ignored == ["UNKNOWN_SIGNAL"]


# --- decisions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [DecisionKind.CONFIRM, DecisionKind.CLEAR])
def test_confirm_and_clear_go_to_the_zones_of_pre_alarms(log: Log, kind: DecisionKind) -> None:
    log.signal("inc-1")
    log.signal("inc-2", zone="z2", stage=Stage.ALARM)
    assert log.decide(kind) == []
    assert [(v.signal_id, v.verdict) for v in log.verdicts] == [("inc-1", kind.value)]


def test_an_acknowledgement_changes_nothing(log: Log) -> None:
    log.signal()
    assert (log.decide(DecisionKind.ACKNOWLEDGE), log.verdicts, log.ignored) == ([], [], [])


def test_a_rematch_asks_the_roster_again(log: Log) -> None:
    log.signal()
    (order,) = log.decide(DecisionKind.REMATCH)
    assert (order.revision, order.reasons[0]) == (2, "REMATCHED")


def test_a_decision_is_taken_by_alias(log: Log) -> None:
    log.signal("inc-1")
    log.signal("inc-2")
    (order,) = log.decide(DecisionKind.CLOSE, "inc-2", revision=2)
    assert order.incident.incident_id == "inc-1"


def test_a_close_that_did_not_know_of_the_alarm_is_stale_and_shows_it(log: Log) -> None:
    log.signal()
    log.signal(kind=ESCALATED, stage=Stage.ALARM)
    (order,) = log.decide(DecisionKind.CLOSE, revision=1)
    assert (order.reasons, log.ignored, log.verdicts) == (("STALE_DECISION",), ["STALE"], [])
    assert len(log.desk.open_incidents) == 1


def test_a_mere_count_makes_no_decision_stale(log: Log) -> None:
    log.signal()
    log.signal(kind=EVIDENCE, after_ms=6000)
    (order,) = log.decide(DecisionKind.CLOSE, revision=1)
    assert order.reasons == ("CLOSED",)


def test_a_decision_that_comes_twice_counts_once(log: Log) -> None:
    log.signal()
    log.decide(DecisionKind.CONFIRM)
    log.put(log.records[-1])
    assert (len(log.verdicts), log.ignored) == (1, ["DUPLICATE"])


def test_a_decision_on_nothing_is_ignored_with_a_reason(log: Log) -> None:
    log.decide(DecisionKind.CLOSE, "inc-404")
    log.signal(stage=Stage.ALARM)
    log.decide(DecisionKind.CLEAR)
    log.decide(DecisionKind.REOPEN)
    assert log.ignored == ["UNKNOWN_INCIDENT", "NOTHING_TO_DECIDE", "STILL_OPEN"]


# --- records and rows ------------------------------------------------------------------------------------------------


def test_a_signal_that_a_crashed_zone_says_again_counts_once(log: Log) -> None:
    log.signal()
    log.signal(kind=EVIDENCE, after_ms=6000)
    assert log.put(log.records[0]) == []
    assert log.put(log.records[1]) == []
    assert log.ignored == ["DUPLICATE", "DUPLICATE"]


def test_a_record_is_applied_once(log: Log) -> None:
    log.signal()
    log.apply(log.records[0], 0)
    assert (len(log.orders), log.ignored) == (1, ["APPLIED"])


def test_control_records_put_versions_in_force_from_there_on(log: Log) -> None:
    for version in ("one", "two"):
        log.put(ControlRecord(at_ms=T0, what="people", version=version))
    assert [log.desk.in_force.at("people", offset) for offset in range(3)] == [None, "one", "two"]


def test_a_failing_rule_changes_nothing(log: Log) -> None:
    log.signal()
    rows = log.desk.changes()
    poison = msgspec.structs.replace(log.records[0], origin=Origin(0, 99, 0), signal_id="inc-9", lat_e7=None)
    with pytest.raises(TypeError):
        log.desk.apply(poison, offset=1, world=WORLD)
    assert log.desk.changes() == rows


Rows = dict[str, CaseRow | MetaRow]


def stored(desk: Desk, rows: Rows, *, only: int | None = None) -> None:
    """Store rows in order, through bytes; after `only` of them the machine dies."""
    for key, row in desk.changes()[:only]:
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=type(row))
    if only is None:
        desk.settle()


def test_rows_come_back_as_they_were(log: Log) -> None:
    rows: Rows = {}
    log.signal("inc-1")
    log.signal("inc-2", place=at(180, 50))
    log.decide(DecisionKind.CLOSE, "inc-2")
    stored(log.desk, rows)
    assert Desk.load(rows).open_incidents == log.desk.open_incidents
    stored(log.desk, rows)
    assert sorted(rows) == [META, "inc-1"]


def test_half_a_set_of_rows_is_as_none_of_it(log: Log) -> None:
    rows: Rows = {}
    log.signal("inc-1")
    stored(log.desk, rows)
    log.signal("inc-1", ESCALATED, Stage.ALARM)
    log.signal("inc-2", place=at(180, 50))
    stored(log.desk, rows, only=2)
    (incident,) = Desk.load(rows).open_incidents
    assert (incident.incident_id, incident.stage) == ("inc-1", Stage.PRE_ALARM)


# --- invariants ------------------------------------------------------------------------------------------------------

STORY = st.lists(
    st.tuples(
        st.sampled_from(
            ["raise", "raise", "escalate", "evidence", "clear", "close", "cancel", "confirm", "tick", "rematch"]
        ),
        st.integers(0, 5),
        st.sampled_from([0, 700, 4000, 400_000]),
        st.sampled_from([0.0, 30.0, 90.0, 180.0, 2000.0]),
        st.sampled_from([Stage.PRE_ALARM, Stage.ALARM]),
        st.booleans(),
    ),
    max_size=30,
)
Step = tuple[str, int, int, float, Stage, bool]


def play(story: Sequence[Step]) -> Log:
    """Tell a story that zones could tell: what is over says nothing more, an alarm does not go back."""
    log = Log()
    stages: dict[str, Stage] = {}
    for n, (what, which, after_ms, x_m, stage, late) in enumerate(story):
        live = sorted(stages)
        chosen = live[which % len(live)] if live else None
        if what == "raise":
            stages[f"inc-{n:02}"] = stage
            log.signal(f"inc-{n:02}", RAISED, stage, after_ms=after_ms, place=at(x_m, 50), late=late)
        elif what == "tick":
            log.tick(after_ms)
        elif chosen is None:
            continue
        elif what == "escalate":
            stages[chosen] = Stage.ALARM
            log.signal(chosen, ESCALATED, Stage.ALARM, after_ms=after_ms)
        elif what == "evidence":
            log.signal(
                chosen, EVIDENCE, stages[chosen], after_ms=after_ms, evidence_ids=(f"pic-{which}",) if late else ()
            )
        elif what == "clear" and stages[chosen] is Stage.PRE_ALARM:
            log.signal(chosen, CLEARED, after_ms=after_ms)
            del stages[chosen]
        elif what in {"close", "cancel", "confirm", "rematch"}:
            log.decide(DecisionKind(what), chosen, revision=1000)
            for verdict in log.verdicts:
                if verdict.verdict == "close":
                    stages.pop(verdict.signal_id, None)
    return log


@settings(max_examples=60, deadline=None)
@given(STORY)
def test_invariants_of_incidents(story: list[Step]) -> None:
    log = play(story)
    last: dict[str, DispatchOrder] = {}
    for order in log.orders:
        incident = order.incident
        before = last.get(incident.incident_id)
        assert order.revision == (before.revision + 1 if before else 1)
        assert order.lead_post
        assert order.lead_unit
        assert any(step.candidates for step in order.steps)
        told = [c.person for step in order.steps for c in step.candidates] + [c.person for c in order.co_tellings]
        assert max(Counter(told).values()) == 1
        if before:
            assert incident.priority <= before.incident.priority
            assert incident.count >= before.incident.count
            if before.incident.stage is Stage.ALARM:
                assert incident.stage is Stage.ALARM or order.reasons[0] in {"CLOSED", "CANCELLED"}
        last[incident.incident_id] = order
    names = [name for i in log.desk.open_incidents for name in (i.incident_id, *i.aliases)]
    assert len(names) == len(set(names)), "a signal belongs to one incident"


@settings(max_examples=60, deadline=None)
@given(STORY, st.data())
def test_a_replay_after_any_crash_gives_the_same_incidents(story: list[Step], data: st.DataObject) -> None:
    log = play(story)
    again, rows = Log(), Rows()
    orders: dict[tuple[str, int], OrderRecord] = {}
    offset = 0
    crashes = data.draw(st.integers(0, 4))
    while offset < len(log.records):
        applied = again.desk.apply(log.records[offset], offset=offset, world=WORLD)
        for record in applied.orders:
            key = (record.order.incident.incident_id, record.order.revision)
            assert orders.setdefault(key, record) == record, "what is said again is what was said"
        offset += 1
        what = data.draw(st.sampled_from(["go on", "store", "crash"]))
        if what == "store":
            stored(again.desk, rows)
        elif what == "crash" and crashes:
            crashes -= 1
            stored(again.desk, rows, only=data.draw(st.integers(0, 3)))
            again.desk = Desk.load(rows)
            offset = again.desk.applied_offset + 1
    assert again.desk.open_incidents == log.desk.open_incidents
    assert [record.order for record in orders.values()] == log.orders


def test_a_canary_makes_an_order_to_nobody_and_no_incident(log: Log) -> None:
    (order,) = log.signal(
        "song-1", SignalKind.CANARY, Stage.RESTORED, family="canary", category="canary", sources=("cam-1",)
    )
    assert (order.steps, order.co_tellings, order.incident.category, order.incident.sources) == (
        (),
        (),
        "canary",
        ("cam-1",),
    )
    assert order.incident.timeline.captured_ms is not None
    assert log.desk.open_incidents == ()
    assert log.signal("inc-1")[0].incident.aliases == ()
