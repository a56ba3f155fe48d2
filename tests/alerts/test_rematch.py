"""When `alerts` asks the stream for a new chain, and what it does until the answer, and without one."""

from __future__ import annotations

from msgspec.structs import replace

from alerts.escalation import Clock, Why
from alerts.rematch import AGAIN_MS, ANSWER_MS, Reason
from models.messages import Decision, DecisionKind, DispatchOrder, OrderStep, Priority, ReceiptKind, Versions
from tests.alerts.test_escalation import MIN, T0, Desk, opened, people, step
from tests.alerts.town import candidate


def gone(person: str) -> OrderStep:
    """A first step whose only candidate has gone home a minute ago."""
    return step(0, candidate(f"post-{person}", person, duty=(0, T0 - MIN)))


def asked(desk: Desk) -> list[Decision]:
    return [decision for _, decision in desk.case.decisions if decision.kind is DecisionKind.REMATCH]


def answer(desk: Desk, *steps: OrderStep, **changes: object) -> DispatchOrder:
    order = desk.case.order
    return replace(order, revision=order.revision + 1, seq=order.seq + 1, steps=steps, **changes)


def test_an_empty_step_asks_for_a_new_chain_and_waits_for_the_answer() -> None:
    desk, told = opened(gone("a"), step(1, "c", after_ms=3 * MIN))
    assert told == []
    (decision,) = asked(desk)
    assert (decision.by, decision.reason, decision.expected_revision) == ("alerts", Reason.STEP_EMPTY, 1)
    assert desk.book.unstored == {decision.seq: decision}, "it goes to the stream like any other decision"
    wait = next(wait for wait in desk.plans()[0].wait if wait.clock is Clock.REMATCH)
    assert (wait.until_ms, wait.on) == (T0 + ANSWER_MS, ("stream",))
    assert people(desk.submit(answer(desk, step(0, "b"), step(1, "c", after_ms=3 * MIN)))) == ["b"]
    assert len(asked(desk)) == 1


def test_without_an_answer_in_five_seconds_the_old_step_is_used() -> None:
    desk, _ = opened(gone("a"), step(1, "c", after_ms=3 * MIN))
    assert desk.wait(T0 + ANSWER_MS - 1) == []
    (intent,) = desk.wait(T0 + ANSWER_MS)
    assert (intent.person, Why.OFF_DUTY in intent.reasons) == ("a", True)
    assert people(desk.wait(T0 + ANSWER_MS + 3 * MIN)) == ["c"], "and then the chain goes on"


def test_an_answer_that_helps_no_more_makes_no_circle() -> None:
    desk, _ = opened(gone("a"))
    told = desk.submit(answer(desk, gone("a")))
    assert (people(told), len(asked(desk))) == (["a"], 1)
    desk.say("a", ReceiptKind.DECLINED)
    later = desk.submit(answer(desk, gone("b")))
    assert (people(later), len(asked(desk))) == (["b"], 1)


def test_a_step_that_empties_later_asks_again() -> None:
    desk, _ = opened(gone("a"), step(1, candidate("post-c", "c", duty=(0, T0 + 2 * MIN)), after_ms=3 * MIN))
    desk.wait(T0 + ANSWER_MS)
    assert desk.wait(T0 + 3 * MIN) == []
    assert [one.at_ms for one in asked(desk)] == [T0, T0 + 3 * MIN]
    assert 3 * MIN > AGAIN_MS


def test_a_seat_whose_shift_has_ended_is_asked_for_anew() -> None:
    seat = replace(step(0, candidate("seat", "s", duty=(0, T0 - 1)), at_once=True), seat=True)
    desk, told = opened(step(0, "a"), seat)
    assert (people(told), len(asked(desk))) == (["a"], 1)
    assert people(desk.submit(answer(desk, step(0, "a"), replace(step(0, "t", at_once=True), seat=True)))) == ["t"]


def test_while_somebody_has_the_case_nobody_is_asked_for() -> None:
    desk, _ = opened(step(0, "a"), step(1, candidate("post-c", "c", duty=(0, T0)), after_ms=MIN, at_once=True))
    desk.say("a", ReceiptKind.ACCEPTED)
    desk.wait(T0 + 2 * MIN)
    assert asked(desk) == []


def test_a_step_of_which_everybody_was_told_is_not_empty() -> None:
    desk, _ = opened(step(0, candidate("post-a", "a", duty=(0, T0 + 1_000)), "b"))
    desk.wait(T0 + 10 * MIN)
    assert asked(desk) == []


def test_who_has_gone_home_is_let_be_while_another_of_his_step_was_told() -> None:
    desk, told = opened(step(0, "a", candidate("post-b", "b", duty=(0, T0)), at_once=True), step(1, "c", after_ms=MIN))
    assert (people(told), asked(desk)) == (["a"], [])
    desk.say("a", ReceiptKind.DECLINED)
    assert len(asked(desk)) == 1, "now the step is empty"


def test_beside_the_steps_only_who_is_on_duty_is_told() -> None:
    beside = (candidate("post-z", "z", duty=(0, T0)),)
    desk, told = opened(gone("a"), co_tellings=beside)
    assert people(told + desk.wait(T0 + AGAIN_MS - 1)) == ["a"]


def test_a_new_roster_asks_once_for_each_case_that_nobody_has() -> None:
    desk, _ = opened(step(0, "a"), step(1, "c", after_ms=30 * MIN), priority=Priority.P3)
    other = replace(desk.case.order, versions=Versions(places="p", people="w2", catalogue="c"))
    other = replace(other, incident=replace(other.incident, incident_id="inc-2"), seq=2)
    desk.submit(other)
    first = desk.book.cases[desk.entries[1].incident_id]
    reasons = {case.incident_id: [d.reason for _, d in case.decisions] for case in desk.book.cases.values()}
    assert reasons == {first.incident_id: [Reason.ROSTER_CHANGED], "inc-2": []}
