"""The answer to an alarm as the desk tells it: held back or general, and who around is told (S6 to S8)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from models.messages import DecisionKind, DispatchOrder, Response, Stage
from models.people import Contract, Employment, Role, Unit, UnitKind
from stream.desk.desk import Desk
from stream.desk.row import CaseRow, MetaRow
from stream.neighbours import neighbours
from stream.records import SignalKind, VerdictRecord
from stream.zones.reducer import next_deadline_ms
from tests.stream import builders as b
from tests.stream.builders import T0, at
from tests.stream.test_desk import Log
from tests.stream.test_zones import Log as ZoneLog

RAISED, ESCALATED, EVIDENCE, CLEARED, _ = SignalKind
BY_MS = T0 + 15_000
PLACE = at(80, 50)
"""In cell c1, 20 m from cell c2 and from the building n1."""


@pytest.fixture
def log() -> Log:
    return Log()


def held(log: Log, **fields: Any) -> DispatchOrder:
    """An alarm of one source alone, which is waited with."""
    log.signal("inc-1", place=PLACE)
    answer: dict[str, Any] = {"response": Response.AWAITED, "general_by_ms": BY_MS} | fields
    (order,) = log.signal("inc-1", ESCALATED, Stage.ALARM, place=PLACE, **answer)
    return order


def general(log: Log) -> DispatchOrder:
    (order,) = log.signal("inc-1", ESCALATED, Stage.ALARM, place=PLACE, response=Response.GENERAL)
    return order


def around(order: DispatchOrder) -> list[str]:
    return [one.post for one in order.co_tellings if "NEIGHBOUR" in one.reasons]


def newest(log: Log) -> Response | None:
    return log.orders[-1].incident.response


def verdicts(log: Log) -> list[str]:
    return [verdict.verdict for verdict in log.verdicts]


# --- the seat's word --------------------------------------------------------------------------------------------------


def test_an_alarm_that_is_held_back_says_until_when_and_tells_no_neighbour(log: Log) -> None:
    order = held(log)
    assert (order.incident.response, order.incident.general_by_ms) == (Response.AWAITED, BY_MS)
    assert around(order) == []


def test_the_seats_word_goes_to_the_zone_and_what_comes_of_it_is_told(log: Log) -> None:
    held(log)
    assert log.decide(DecisionKind.ACKNOWLEDGE) == []
    (told,) = log.signal("inc-1", EVIDENCE, Stage.ALARM, response=Response.ACKNOWLEDGED, general_by_ms=T0 + 60_000)
    assert told.reasons == ("ACKNOWLEDGED",)
    assert log.decide(DecisionKind.INVESTIGATE) == []
    (told,) = log.signal("inc-1", EVIDENCE, Stage.ALARM, response=Response.INVESTIGATING, general_by_ms=T0 + 190_000)
    assert (told.reasons, told.incident.general_by_ms) == (("INVESTIGATING",), T0 + 190_000)
    assert log.decide(DecisionKind.CONFIRM) == []
    assert verdicts(log) == ["acknowledge", "investigate", "confirm"]
    assert log.ignored == []


def test_what_cannot_be_held_back_is_refused_and_shown(log: Log) -> None:
    held(log)
    general(log)
    (order,) = log.decide(DecisionKind.INVESTIGATE)
    assert (order.reasons, order.incident.response) == (("REFUSED_NOT_HELD_BACK",), Response.GENERAL)
    log.decide(DecisionKind.ACKNOWLEDGE)
    log.decide(DecisionKind.CONFIRM)
    assert verdicts(log) == []


def test_nothing_is_looked_into_twice(log: Log) -> None:
    held(log, response=Response.INVESTIGATING)
    log.decide(DecisionKind.INVESTIGATE)
    assert (verdicts(log), log.ignored) == ([], ["NOT_HELD_BACK"])


def test_who_closes_an_alarm_that_has_become_general_meanwhile_decides_again(log: Log) -> None:
    seen = held(log)
    general(log)
    (order,) = log.decide(DecisionKind.CLOSE, revision=seen.revision)
    assert order.reasons == ("STALE_DECISION",)


# --- a second signal, wherever it stands ------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [Stage.PRE_ALARM, Stage.ALARM])
def test_a_signal_of_another_zone_is_a_second_one_and_makes_the_alarm_general(log: Log, stage: Stage) -> None:
    held(log)
    held_back = {"response": Response.AWAITED, "general_by_ms": BY_MS}
    answer: dict[str, Any] = held_back if stage is Stage.ALARM else {}
    (order,) = log.signal("inc-2", RAISED, stage, zone="z2", place=at(95, 50), sources=("cam-9",), **answer)
    assert (order.incident.response, order.incident.general_by_ms) == (Response.GENERAL, None)
    assert "GENERAL" in order.reasons
    assert around(order) == ["chief-n1", "grid-2"]


def test_one_that_is_over_or_too_old_to_alarm_is_no_second_signal(log: Log) -> None:
    held(log)
    log.signal("inc-2", zone="z2", place=at(95, 50), late=True)
    assert newest(log) is Response.AWAITED
    log.signal("inc-3", zone="z2", place=at(95, 50), partition=1)
    assert newest(log) is Response.GENERAL
    other = Log()
    other.signal("inc-3", zone="z2", place=at(95, 50))
    other.signal("inc-3", CLEARED, zone="z2", place=at(95, 50))
    other.signal("inc-1", place=PLACE)
    other.signal("inc-1", ESCALATED, Stage.ALARM, response=Response.AWAITED, general_by_ms=BY_MS)
    assert newest(other) is Response.AWAITED


def test_a_general_alarm_stays_one_whatever_a_zone_or_a_split_says(log: Log) -> None:
    held(log)
    log.signal("inc-2", zone="z2", place=at(95, 50))
    log.signal("inc-1", EVIDENCE, Stage.ALARM, response=Response.INVESTIGATING, general_by_ms=T0 + 190_000)
    log.decide(DecisionKind.SPLIT, signals=("inc-2",))
    answer: dict[str, Any] = {"response": Response.INVESTIGATING, "general_by_ms": T0 + 190_000}
    (told,) = log.signal("inc-1", EVIDENCE, Stage.ALARM, evidence_ids=("pic-1",), **answer)
    assert (told.incident.response, told.incident.general_by_ms) == (Response.GENERAL, None)


def test_two_incidents_that_a_person_merges_are_two_signals(log: Log) -> None:
    held(log)
    log.signal("inc-2", zone="z2", place=at(180, 50))
    (order,) = log.decide(DecisionKind.MERGE, "inc-2", into="inc-1")
    assert order.incident.response is Response.GENERAL


# --- neighbours -------------------------------------------------------------------------------------------------------


def test_of_a_general_alarm_the_owners_around_are_told_once_and_not_who_is_asked_anyhow(log: Log) -> None:
    held(log)
    order = general(log)
    assert around(order) == ["chief-n1", "grid-2"]
    everybody = [one.person for step in order.steps for one in step.candidates]
    everybody += [one.person for one in order.co_tellings]
    assert len(everybody) == len(set(everybody))
    (again,) = log.decide(DecisionKind.REMATCH)
    assert around(again) == around(order)


def test_a_press_of_a_call_point_tells_them_at_once(log: Log) -> None:
    (order,) = log.signal("inc-1", RAISED, Stage.ALARM, place=PLACE, category="fire.manual", response=Response.GENERAL)
    assert order.reasons[:2] == ("OPENED", "GENERAL")
    assert around(order) == ["chief-n1", "grid-2"]


def test_a_neighbour_who_has_reported_it_need_not_be_told(log: Log) -> None:
    log.signal("inc-1", place=PLACE, reporters=("p-grid-2",))
    (order,) = log.signal("inc-1", ESCALATED, Stage.ALARM, response=Response.GENERAL, reporters=("p-grid-2",))
    assert around(order) == ["chief-n1"]


def test_a_category_without_a_radius_tells_nobody_around(log: Log) -> None:
    held(log)
    log.decide(DecisionKind.CORRECT, category="burning.rubbish")
    assert around(general(log)) == []


def test_nobody_around_is_told_who_is_off_duty_a_volunteer_or_too_far_away() -> None:
    def told(within_m: float, **fields: Any) -> list[str]:
        world = b.world(people=b.people(**fields))
        return [one.post for one in neighbours(PLACE, within_m, T0, {"p-grid-1"}, world)]

    assert told(50) == ["chief-n1", "grid-2"]
    assert told(19) == []
    held_posts = [(post.id, f"p-{post.id}") for post in b.POSTS if post.id != "grid-2"]
    assert told(50, shifts=held_posts) == ["chief-n1"]
    watch = b.post("watch", Role.STREET_OFFICE, 0, "c2", "district")
    assert told(50, posts=(*b.POSTS, watch)) == ["chief-n1", "grid-2"], "an office owns no cell"
    ended = Contract(first_day=dt.date(2020, 1, 1), last_day=dt.date(2020, 12, 31))
    for unit in (
        Unit(id="unit-2", kind=UnitKind.VOLUNTEER_GROUP, **b.NAMES),
        Unit(id="unit-2", kind=UnitKind.CONTRACTOR, contract=ended, **b.NAMES),
    ):
        of_unit = tuple(replace(one, unit="unit-2") if one.id == "grid-2" else one for one in b.POSTS)
        assert told(50, posts=of_unit, units=(*b.people().units, unit)) == ["chief-n1"]
    persons = tuple(
        replace(one, employment=Employment.VOLUNTEER) if one.id == "p-chief-n1" else one for one in b.people().persons
    )
    assert told(50, persons=persons) == ["grid-2"]


# --- zone and desk together -------------------------------------------------------------------------------------------


class Chain:
    """A zone and the desk: what one says is put before the other, as the logs do."""

    def __init__(self) -> None:
        self.zone, self.log, self._told = ZoneLog(), Log(), 0

    def settle(self) -> None:
        """Pass on what has been said, until nobody says anything more."""
        while self._told < len(self.zone.signals) or self.log.verdicts:
            for signal in self.zone.signals[self._told :]:
                self._told += 1
                self.log.put(signal)
            verdicts, self.log.verdicts = self.log.verdicts, []
            for verdict in verdicts:
                self.zone.put(msgspec.structs.replace(verdict, at_ms=self.zone.rows["z1"].clock_ms))

    def decide(self, kind: DecisionKind, at_ms: int) -> None:
        self.zone.tick(at_ms)
        self.settle()
        self.log.decide(kind, self.log.orders[0].incident.incident_id)
        self.settle()

    def answer(self) -> Response | None:
        return self.log.orders[-1].incident.response


def story() -> Chain:
    chain = Chain()
    chain.zone.see("cam-1", 0.6, 0.6, 0.6)
    alarm_ms = T0 + 2050 + 90_000
    chain.decide(DecisionKind.ACKNOWLEDGE, alarm_ms)
    chain.decide(DecisionKind.INVESTIGATE, alarm_ms + 10_000)
    return chain


def test_from_the_seats_word_to_the_general_alarm_when_time_is_up() -> None:
    chain = story()
    assert chain.answer() is Response.INVESTIGATING
    due_ms = next_deadline_ms(chain.zone.rows["z1"])
    assert due_ms == chain.log.orders[-1].incident.general_by_ms == T0 + 2050 + 90_000 + 10_000 + 180_000
    chain.zone.tick(due_ms)
    chain.settle()
    assert chain.answer() is Response.GENERAL
    assert [order.incident.stage for order in chain.log.orders][1:] == [Stage.ALARM] * (len(chain.log.orders) - 1)


def test_the_same_records_give_the_same_orders_and_a_restart_forgets_nothing() -> None:
    chain = story()
    again, stored = Log(), dict[str, CaseRow | MetaRow]()
    for offset, record in enumerate(chain.log.records):
        again.apply(record, offset)
        again.apply(record, offset)
        for key, row in again.desk.changes():
            if row is not None:
                stored[key] = msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=type(row))
        again.desk = Desk.load(stored)
    assert again.orders == chain.log.orders
    replayed = ZoneLog()
    for said in chain.zone.records:
        replayed.put(said)
    assert replayed.signals == chain.zone.signals
    assert any(isinstance(said, VerdictRecord) for said in chain.zone.records)
