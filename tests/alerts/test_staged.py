"""An alarm of one source alone: what the seat may say of it, whose clock runs, and who hears that it is general."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from alerts.entries import Draft, Kind, Sent
from alerts.escalation import Clock, Wait
from alerts.notice import is_news
from models.errors import MessageError
from models.messages import DecisionKind, Incident, Priority, Response, Stage
from tests.alerts.test_escalation import T0, Desk, step
from tests.alerts.town import incident, order

SEAT = replace(step(0, "sam", at_once=True), seat=True)
STEPS = (step(0, "anna", "ben", at_once=True), SEAT)


def alarm(response: Response | None, general_by_ms: int | None = None) -> Incident:
    return incident(now_ms=T0, priority=Priority.P1, stage=Stage.ALARM, response=response, general_by_ms=general_by_ms)


def held() -> Desk:
    desk = Desk()
    desk.submit(order(alarm(Response.AWAITED, T0 + 15_000), steps=STEPS))
    return desk


def answered(desk: Desk, response: Response, general_by_ms: int | None = None) -> None:
    revision = desk.case.order.revision + 1
    desk.submit(order(alarm(response, general_by_ms), steps=STEPS, revision=revision, seq=revision))


def wait(desk: Desk, clock: Clock) -> Wait | None:
    return next((one for one in desk.plan(desk.case.incident_id).wait if one.clock is clock), None)


def test_the_seats_clock_is_as_short_as_the_streams_patience() -> None:
    desk = held()
    due = wait(desk, Clock.SEAT)
    assert due is not None
    assert due.until_ms == T0 + 15_000
    other = Desk()
    other.submit(order(alarm(Response.GENERAL), steps=STEPS))
    due = wait(other, Clock.SEAT)
    assert due is not None
    assert due.until_ms == T0 + 60_000, "else it has a minute"


def test_to_look_into_it_is_to_have_seen_it_and_starts_a_clock_of_its_own() -> None:
    desk = held()
    desk.decide(DecisionKind.INVESTIGATE)
    assert desk.case.is_acknowledged
    answered(desk, Response.INVESTIGATING, T0 + 185_000)
    due = wait(desk, Clock.INVESTIGATION)
    assert due is not None
    assert due.until_ms == T0 + 185_000
    assert wait(desk, Clock.SEAT) is None
    answered(desk, Response.GENERAL)
    assert wait(desk, Clock.INVESTIGATION) is None


@pytest.mark.parametrize("response", [None, Response.GENERAL, Response.INVESTIGATING])
def test_only_what_is_held_back_can_be_looked_into_and_once(response: Response | None) -> None:
    desk = held()
    answered(desk, response or Response.GENERAL, T0 + 1 if response is Response.INVESTIGATING else None)
    with pytest.raises(MessageError, match="only an alarm of one source alone can be looked into first, and once"):
        desk.decide(DecisionKind.INVESTIGATE)


def test_a_responder_may_confirm_an_alarm_while_it_is_held_back_and_nobody_afterwards() -> None:
    desk = held()
    with pytest.raises(MessageError, match="only a pre-alarm can be cleared"):
        desk.decide(DecisionKind.CLEAR)
    desk.decide(DecisionKind.CONFIRM)
    assert [one.kind for one in desk.book.unstored.values()] == [DecisionKind.CONFIRM]
    answered(desk, Response.GENERAL)
    with pytest.raises(MessageError, match="there is nothing to confirm"):
        desk.decide(DecisionKind.CONFIRM)


def test_whoever_was_told_hears_once_that_the_alarm_is_general() -> None:
    desk = held()
    (alert_id, *_) = desk.case.tellings

    def sent(*, general: bool) -> None:
        note = Sent(alert_id=alert_id, channel="mqtt", priority=Priority.P1, stage=Stage.ALARM, general=general)
        desk._take([Draft(kind=Kind.ALERT_SENT, body=note, incident_id=desk.case.incident_id)])

    sent(general=False)
    assert not is_news(desk.case, desk.case.tellings[alert_id])
    answered(desk, Response.GENERAL)
    assert is_news(desk.case, desk.case.tellings[alert_id])
    sent(general=True)
    assert not is_news(desk.case, desk.case.tellings[alert_id])


def test_a_neighbour_is_told_beside_the_chain_and_knows_why() -> None:
    desk = held()
    (nina,) = step(0, "nina").candidates
    near = replace(nina, reasons=("NEIGHBOUR",))
    told = desk.submit(order(alarm(Response.GENERAL), steps=STEPS, revision=2, seq=2, co_tellings=(near,)))
    assert [(one.person, one.reasons) for one in told] == [("nina", ("NEIGHBOUR", "CO_TELLING"))]
