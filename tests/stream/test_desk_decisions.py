"""What a person does to incidents beside ending them: merge, split, correct, assign."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.geo import LocalFrame, distance_m
from models.messages import DecisionKind, Priority, Stage
from stream.desk.desk import Desk
from stream.desk.index import Deadlines, PlaceIndex
from stream.records import SignalKind
from tests.stream.builders import T0, at
from tests.stream.test_desk import Log

FAR = at(500, 50)
NEAR = at(60, 50)


@pytest.fixture
def log() -> Log:
    return Log()


def reloaded(log: Log) -> Desk:
    """The desk as a restart would read it back."""
    rows = [(key, row) for key, row in log.desk.changes() if row is not None]
    return Desk.load({key: msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=type(row)) for key, row in rows})


# --- merge -----------------------------------------------------------------------------------------------------------


def test_a_merge_keeps_one_id_and_records_the_other_as_its_alias(log: Log) -> None:
    log.signal("inc-1", evidence_ids=("pic-1",))
    log.signal("inc-2", place=FAR, device_id="cam-2", sources=("cam-2",), evidence_ids=("pic-2",))
    (order,) = log.decide(DecisionKind.MERGE, "inc-2", into="inc-1")
    incident = order.incident
    assert (incident.incident_id, incident.aliases) == ("inc-1", ("inc-2",))
    assert (incident.count, incident.sources, incident.evidence_ids) == (6, ("cam-1", "cam-2"), ("pic-1", "pic-2"))
    assert order.reasons[0] == "MERGED"
    assert [one.incident_id for one in log.desk.open_incidents] == ["inc-1"]


def test_what_a_merged_incident_sees_later_counts_where_it_went(log: Log) -> None:
    log.signal("inc-1")
    log.signal("inc-2", place=FAR)
    log.decide(DecisionKind.MERGE, "inc-2", into="inc-1")
    (order,) = log.signal("inc-2", SignalKind.ESCALATED, Stage.ALARM, place=FAR, after_ms=1000)
    assert (order.incident.incident_id, order.incident.stage) == ("inc-1", Stage.ALARM)
    (closed,) = log.decide(DecisionKind.CLOSE, "inc-2", revision=order.revision)
    assert (closed.incident.incident_id, closed.incident.stage) == ("inc-1", Stage.RESTORED)
    assert {verdict.signal_id for verdict in log.verdicts} == {"inc-1", "inc-2"}


def test_the_more_urgent_of_the_two_decides_stage_and_priority(log: Log) -> None:
    log.signal("inc-1")
    log.signal("inc-2", stage=Stage.ALARM, place=FAR)
    (order,) = log.decide(DecisionKind.MERGE, "inc-2", into="inc-1")
    assert (order.incident.stage, order.incident.priority) == (Stage.ALARM, Priority.P1)
    assert order.incident.category == "fire.flame.confirmed"


def test_a_merge_is_newer_than_either_was(log: Log) -> None:
    log.signal("inc-1")
    log.signal("inc-2", place=FAR)
    for n in range(3):
        log.signal("inc-2", SignalKind.EVIDENCE, place=FAR, evidence_ids=(f"pic-{n}",), after_ms=6_000)
    newest = max(order.revision for order in log.orders)
    (order,) = log.decide(DecisionKind.MERGE, "inc-2", into="inc-1")
    assert order.revision == newest + 1


@pytest.mark.parametrize("into", ["inc-1", "inc-404", None])
def test_a_merge_into_nothing_or_itself_is_refused_and_shown(log: Log, into: str | None) -> None:
    log.signal("inc-1")
    (order,) = log.decide(DecisionKind.MERGE, "inc-1", into=into)
    assert log.ignored == ["UNKNOWN_TARGET"]
    assert order.reasons == ("REFUSED_UNKNOWN_TARGET",)


# --- split -----------------------------------------------------------------------------------------------------------


def test_a_split_makes_an_incident_of_its_own_and_both_are_told(log: Log) -> None:
    log.signal("inc-1")
    log.signal("inc-2", place=NEAR, device_id="cam-2", sources=("cam-2",), zone="z2", count=5)
    stays, new = log.decide(DecisionKind.SPLIT, "inc-1", signals=("inc-2",))
    assert (stays.incident.incident_id, stays.incident.aliases, stays.incident.count) == ("inc-1", (), 3)
    assert (new.incident.incident_id, new.incident.count, new.incident.sources) == ("inc-2", 5, ("cam-2",))
    assert new.incident.position != stays.incident.position
    assert "SPLIT" in stays.reasons
    assert "SPLIT" in new.reasons
    log.decide(DecisionKind.CLOSE, "inc-2")
    assert [(verdict.zone, verdict.signal_id) for verdict in log.verdicts] == [("z2", "inc-2")]


def test_what_was_merged_and_split_again_is_newer_than_it_ever_was(log: Log) -> None:
    log.signal("inc-1")
    for n in range(4):
        kind = SignalKind.EVIDENCE if n else SignalKind.RAISED
        log.signal("inc-2", kind, place=FAR, evidence_ids=(f"pic-{n}",), after_ms=6_000)
    before = max(order.revision for order in log.orders if order.incident.incident_id == "inc-2")
    log.decide(DecisionKind.MERGE, "inc-2", into="inc-1")
    _, new = log.decide(DecisionKind.SPLIT, "inc-1", signals=("inc-2",))
    assert new.revision > before


@pytest.mark.parametrize(
    ("signals", "code"),
    [((), "UNKNOWN_SIGNAL"), (("inc-404",), "UNKNOWN_SIGNAL"), (("inc-1",), "SPLITS_FOUNDER")],
)
def test_a_split_that_cannot_be_is_refused_and_shown(log: Log, signals: tuple[str, ...], code: str) -> None:
    log.signal("inc-1")
    log.signal("inc-2", place=NEAR)
    (order,) = log.decide(DecisionKind.SPLIT, "inc-1", signals=signals)
    assert log.ignored == [code]
    assert order.reasons == (f"REFUSED_{code}",)
    assert order.incident.aliases == ("inc-2",)


# --- correct and assign ----------------------------------------------------------------------------------------------


def test_burning_rubbish_is_reclassified_and_not_discarded(log: Log) -> None:
    log.signal("inc-1")
    (order,) = log.decide(DecisionKind.CORRECT, category="burning.rubbish")
    assert (order.incident.category, order.incident.stage) == ("burning.rubbish", Stage.PRE_ALARM)
    assert order.lead_unit == "urban_management"
    assert order.reasons[:2] == ("CORRECTED", "WAS_fire.flame.single_P2")


def test_more_of_the_same_evidence_does_not_undo_a_correction_but_the_alarm_is_told(log: Log) -> None:
    log.signal("inc-1")
    (corrected,) = log.decide(DecisionKind.CORRECT, category="bbq.open_air")
    (order,) = log.signal("inc-1", SignalKind.ESCALATED, Stage.ALARM, after_ms=1_000)
    assert order.incident.stage is Stage.ALARM
    assert (order.incident.category, order.incident.priority) == ("bbq.open_air", corrected.incident.priority)


def test_a_correction_may_raise_the_priority_alone(log: Log) -> None:
    log.signal("inc-1")
    (order,) = log.decide(DecisionKind.CORRECT, priority=Priority.P1)
    assert (order.incident.category, order.incident.priority) == ("fire.flame.single", Priority.P1)


def test_a_correction_to_an_unknown_category_is_refused_and_shown(log: Log) -> None:
    log.signal("inc-1")
    (order,) = log.decide(DecisionKind.CORRECT, category="no.such.thing")
    assert (log.ignored, order.reasons) == (["UNKNOWN_CATEGORY"], ("REFUSED_UNKNOWN_CATEGORY",))


def test_whoever_is_assigned_leads_and_is_asked_first_and_once(log: Log) -> None:
    log.signal("inc-1")
    (order,) = log.decide(DecisionKind.ASSIGN, post="grid-2")
    assert (order.lead_post, order.lead_unit) == ("grid-2", "unit-1")
    first = order.steps[0].candidates[0]
    assert (first.post, first.person, first.reasons) == ("grid-2", "p-grid-2", ("ASSIGNED",))
    everybody = [candidate.person for step in order.steps for candidate in step.candidates]
    assert everybody.count("p-grid-2") == 1


def test_an_unknown_post_is_not_assigned(log: Log) -> None:
    log.signal("inc-1")
    log.decide(DecisionKind.ASSIGN, post="nobody")
    assert log.ignored == ["UNKNOWN_POST"]


def test_a_restart_knows_all_of_it(log: Log) -> None:
    log.signal("inc-1")
    log.signal("inc-2", place=FAR)
    log.decide(DecisionKind.MERGE, "inc-2", into="inc-1")
    log.decide(DecisionKind.CORRECT, category="burning.rubbish")
    again = reloaded(log)
    assert again.open_incidents == log.desk.open_incidents
    assert again.case("inc-2") == log.desk.case("inc-1")


# --- what finds them -------------------------------------------------------------------------------------------------


def test_ten_thousand_observations_of_one_place_are_one_incident_with_its_count(log: Log) -> None:
    log.signal("inc-0", count=3)
    for n in range(1, 100):
        log.signal(f"inc-{n}", place=at(50 + n % 7, 50), zone=f"z{n}", count=101, after_ms=20)
    log.tick(5_000)
    (incident,) = log.desk.open_incidents
    assert (incident.incident_id, incident.count) == ("inc-0", 3 + 99 * 101)
    assert len(incident.aliases) == 99


def test_ten_thousand_places_farther_apart_than_the_merge_radius_are_ten_thousand_incidents(log: Log) -> None:
    for n in range(2_000):  # the bench offers ten thousand; so many suffice to see that none merge
        log.signal(f"inc-{n}", place=at(60 * (n % 50), 60 * (n // 50)), after_ms=1)
    assert len(log.desk.open_incidents) == len(log.orders) == 2_000


@given(
    places=st.lists(st.tuples(st.integers(-9_000, 9_000), st.integers(-9_000, 9_000)), max_size=40),
    asked=st.tuples(st.integers(-9_000, 9_000), st.integers(-9_000, 9_000)),
    within_m=st.floats(1, 5_000),
    lat=st.sampled_from([0, 295_000_000, 600_000_000, -850_000_000]),
)
def test_the_index_leaves_out_nothing_that_is_near(
    places: list[tuple[int, int]], asked: tuple[int, int], within_m: float, lat: int
) -> None:
    frame = LocalFrame.at((0, lat))
    index = PlaceIndex()
    points = {str(n): frame.to_e7(*place) for n, place in enumerate(places)}
    for key, point in points.items():
        index.add(key, "fire", point)
    question = frame.to_e7(*asked)
    near = {key for key, point in points.items() if distance_m(question, point) <= within_m}
    assert near <= set(index.around("fire", question, within_m))
    assert not set(index.around("gas", question, within_m))
    for key, point in points.items():
        index.remove(key, "fire", point)
    assert not set(index.around("fire", question, 1e6))


def test_deadlines_are_found_in_order_after_any_change() -> None:
    deadlines = Deadlines()
    for key, due_ms in (("b", T0), ("a", T0), ("c", T0 + 5), ("b", T0 + 9), ("d", T0 + 1), ("d", None)):
        deadlines.put(key, due_ms)
    assert deadlines.next_ms() == T0
    assert deadlines.due(T0 + 5) == ["a", "c"]
    assert deadlines.due(T0 + 5) == ["a", "c"]
    deadlines.put("a", None)
    assert deadlines.next_ms() == T0 + 5
