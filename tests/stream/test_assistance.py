"""A flagged place makes what happens there one step more urgent: once, and with its reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from models.geo import PointE7
from models.messages import DecisionKind, DispatchOrder, Priority, Stage
from models.places import CellType, Places
from models.words import REASONS
from stream.assistance import Assistance, urgency
from stream.desk.desk import Desk
from stream.records import SignalKind, SignalRecord
from stream.route import Asked, route
from stream.route_text import legend, lines
from stream.world import World
from tests.stream import builders as b
from tests.stream.builders import T0, at, box
from tests.stream.test_desk import Log, Rows, stored

RAISED, ESCALATED, EVIDENCE, _, _ = SignalKind
P1, P2, P3, P4 = Priority
HOME, OUTSIDE, ACROSS = at(50, 50), at(20, 20), at(150, 50)
"""In the building n1 of cell c1; in c1, outside of it; in c2."""


def flagged(*codes: str, **fields: Any) -> World:
    city = b.places(**fields)
    cells, nodes = (
        tuple(replace(one, assistance=one.code in codes) for one in layer) for layer in (city.cells, city.nodes)
    )
    return b.world(places=replace(city, cells=cells, nodes=nodes))


@pytest.fixture
def log() -> Log:
    return Log(flagged("n1"))


def vendor(log: Log, signal_id: str = "inc-1", **fields: Any) -> DispatchOrder:
    """Street order: P3 by its category."""
    said = {"category": "order.vendor", "family": "order", "stage": Stage.PRE_ALARM, "place": HOME} | fields
    return log.signal(signal_id, **said)[-1]


def seen(order: DispatchOrder) -> tuple[Priority, str | None, bool]:
    return order.incident.priority, order.incident.assistance, "ASSISTANCE" in order.reasons


@pytest.mark.parametrize(("priority", "up"), [(P1, P1), (P2, P1), (P3, P2), (P4, P3)])
def test_one_step_and_never_above_p1(priority: Priority, up: Priority) -> None:
    assert (urgency(priority, "n1"), urgency(priority, None)) == (up, priority)


def test_the_narrowest_flagged_place_that_covers_the_point_counts_even_where_another_owns_it() -> None:
    ward = b.node("n2", box(45, 45, 55, 55))
    micro = b.cell("m1", box(10, 10, 40, 40), type=CellType.MICRO)
    over = b.cell("x1", box(110, 10, 190, 90), type=CellType.EXCLUSIVE, categories=("gas.*",))
    city = b.places()
    wide = {"nodes": (*city.nodes, ward), "cells": (*city.cells, micro, over)}
    assert flagged("n1", **wide).assistance.at(HOME) == "n1"  # the ward in it is the node that answers
    assert flagged("n1", "n2", "c1", **wide).assistance.at(HOME) == "n2"
    assert flagged("c1", "m1", **wide).assistance.at(OUTSIDE) == "m1"
    assert flagged("c2", "x1", **wide).assistance.at(ACROSS) == "x1"
    assert flagged("c1", **wide).assistance.at(ACROSS) is None
    assert flagged("c2").assistance.at(at(300, 50)) is None  # near it, and not in it
    assert Assistance(Places()).at(HOME) is None


def test_an_incident_there_opens_one_step_up_and_says_why(log: Log) -> None:
    order = vendor(log)
    assert seen(order) == (P2, "n1", True)
    plain = Log(b.world())
    assert seen(vendor(plain)) == (P3, None, False)
    # The limits are those of the raised priority: what is asked, and when, is what any P2 is asked.
    assert [step.offset_ms for step in order.steps] != [step.offset_ms for step in plain.orders[-1].steps]
    plain.decide(DecisionKind.CORRECT, priority=P2)
    assert [step.offset_ms for step in order.steps] == [step.offset_ms for step in plain.orders[-1].steps]
    assert seen(vendor(log, "inc-2", place=ACROSS, zone="z2", after_ms=1)) == (P3, None, False)


def test_signals_that_are_matched_together_are_raised_as_each_alone(log: Log) -> None:
    vendor(log)
    (signal,) = (one for one in log.records if isinstance(one, SignalRecord))
    ((incident, (question, _)),) = Desk().foresee([signal], flagged("n1")).values()
    assert (incident.priority, question.priority, incident.assistance) == (P2, P2, "n1")


def test_more_of_it_a_rematch_and_a_merge_raise_it_no_further(log: Log) -> None:
    vendor(log)
    assert seen(vendor(log, kind=EVIDENCE, evidence_ids=("pic",), after_ms=10)) == (P2, "n1", False)
    assert seen(log.decide(DecisionKind.REMATCH)[-1]) == (P2, "n1", False)
    vendor(log, "inc-2", place=at(0, 0), after_ms=700_000)
    log.decide(DecisionKind.MERGE, "inc-2", into="inc-1")
    assert seen(log.orders[-1]) == (P2, "n1", False)


def test_a_raised_alarm_is_one_step_above_its_new_priority_and_p1_at_most(log: Log) -> None:
    (order,) = log.signal(place=HOME)
    assert seen(order) == (P1, "n1", True)  # a pre-alarm of P2
    (order,) = log.signal(kind=ESCALATED, stage=Stage.ALARM, place=HOME)
    assert seen(order) == (P1, "n1", False)


def test_a_merge_into_an_unflagged_incident_keeps_the_higher_of_the_two_and_says_where_from(log: Log) -> None:
    vendor(log, "inc-1", place=at(0, 0))
    vendor(log, "inc-2", after_ms=700_000)
    log.decide(DecisionKind.MERGE, "inc-2", into="inc-1")
    assert seen(log.orders[-1]) == (P2, "n1", True)


def test_what_is_split_off_is_judged_by_its_own_place(log: Log) -> None:
    vendor(log, "inc-1", place=at(0, 0))
    vendor(log, "inc-2", after_ms=700_000)
    log.decide(DecisionKind.MERGE, "inc-2", into="inc-1")
    _, apart = log.decide(DecisionKind.SPLIT, "inc-1", signals=("inc-2",))
    assert (apart.incident.incident_id, seen(apart)) == ("inc-2", (P2, "n1", True))


def test_a_correction_is_one_step_up_too_but_a_persons_priority_is_his(log: Log) -> None:
    vendor(log)
    (order,) = log.decide(DecisionKind.CORRECT, category="order.hanging")
    assert seen(order) == (P3, "n1", False)  # P4 by its category
    (order,) = log.decide(DecisionKind.CORRECT, priority=P4)
    assert seen(order) == (P4, "n1", False)
    assert seen(log.decide(DecisionKind.REMATCH)[-1])[0] is P4


def test_a_flag_that_is_set_later_counts_from_the_next_match_on_and_one_that_goes_takes_nothing_back() -> None:
    log = Log(b.world())
    vendor(log)
    log.world = flagged("n1")
    assert seen(vendor(log, kind=EVIDENCE, evidence_ids=("pic",), after_ms=10)) == (P3, None, False)
    assert seen(log.decide(DecisionKind.REMATCH)[-1]) == (P2, "n1", True)
    assert log.decide(DecisionKind.CLOSE, revision=2)[-1].reasons == ("STALE_DECISION",)  # it is another case now
    log.world = b.world()
    assert seen(log.decide(DecisionKind.REMATCH)[-1]) == (P2, "n1", False)


def test_who_is_asked_by_hand_is_told_the_place_and_the_reason_in_both_languages() -> None:
    world = flagged("n1")
    found = route(Asked(HOME[0] / 1e7, HOME[1] / 1e7, "order.vendor", T0), world)
    assert (found.areas["assistance"], found.reasons[0]) == ("n1", "ASSISTANCE")
    text = "\n".join((*lines(found, "order.vendor", T0, world), *legend([found], world)))
    assert "P2" in text.splitlines()[0]
    for words in ("assistance: n1 名 Name", f"ASSISTANCE: {REASONS['ASSISTANCE'].zh} {REASONS['ASSISTANCE'].en}"):
        assert words in text
    assert "ASSISTANCE" not in route(Asked(OUTSIDE[0] / 1e7, OUTSIDE[1] / 1e7, "order.vendor", T0), world).reasons


CATEGORIES = ("fire.flame.single", "order.vendor", "order.hanging", "gas.leak")
STORY = st.lists(
    st.tuples(
        st.sampled_from(["raise", "raise", "escalate", "evidence", "rematch", "merge", "split", "tick"]),
        st.integers(0, 4),
        st.sampled_from(CATEGORIES),
        st.sampled_from([HOME, OUTSIDE, ACROSS]),
        st.sampled_from([Stage.PRE_ALARM, Stage.ALARM]),
    ),
    max_size=25,
)


def said(log: Log, signal_id: str, category: str, kind: SignalKind, stage: Stage, place: PointE7) -> None:
    family = category.partition(".")[0]
    log.signal(signal_id, kind, stage, place=place, category=category, family=family, after_ms=100)


def play(story: list[tuple[str, int, str, PointE7, Stage]], world: World) -> Log:
    log = Log(world)
    known: list[tuple[str, str]] = []
    for n, (what, which, category, place, stage) in enumerate(story):
        if what == "raise":
            known.append((f"inc-{n:02}", category))
            said(log, *known[-1], RAISED, stage, place)
            continue
        if not known:
            continue
        signal_id, its_category = known[which % len(known)]
        if kind := {"escalate": ESCALATED, "evidence": EVIDENCE}.get(what):
            said(log, signal_id, its_category, kind, Stage.ALARM, place)
        elif what == "tick":
            log.tick(6_000)
        elif what == "merge":
            log.decide(DecisionKind.MERGE, signal_id, into=known[0][0])
        elif what == "split":
            log.decide(DecisionKind.SPLIT, signal_id, signals=(known[-1][0],))
        else:
            log.decide(DecisionKind.REMATCH, signal_id)
    return log


@settings(max_examples=80, deadline=None)
@given(STORY, st.data())
def test_every_incident_is_as_urgent_as_without_flags_or_exactly_one_step_more(
    story: list[tuple[str, int, str, PointE7, Stage]], data: st.DataObject
) -> None:
    """With every place flagged each order is that of a city without flags, one step up; a replay gives the same."""
    plain, log = play(story, b.world()), play(story, flagged("n1", "c1", "c2"))
    assert len(plain.orders) == len(log.orders)
    last: dict[str, str | None] = {}
    for one, two in zip(plain.orders, log.orders, strict=True):
        assert two.incident.priority is urgency(one.incident.priority, two.incident.assistance)
        assert two.incident.assistance
        key = two.incident.incident_id
        assert ("ASSISTANCE" in two.reasons) == (key not in last or "OPENED" in two.reasons)
        last[key] = two.incident.assistance
    again, rows = Log(log.world), Rows()
    orders = []
    restart = data.draw(st.integers(0, len(log.records)))
    for offset, record in enumerate(log.records):
        if offset == restart:
            stored(again.desk, rows)
            again.desk = Desk.load(rows)
        orders += again.apply(record, offset)
    assert orders == log.orders
