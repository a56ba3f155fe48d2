"""How much each person has on his hands, and when that is said."""

from __future__ import annotations

from alerts.loads import AGAIN_MS, BURST, PAUSE_MS, Loads
from models.messages import DecisionKind, Load, Priority, ReceiptKind
from tests.alerts.test_escalation import T0, Desk, opened, step


class Speaker:
    """Loads of a desk, with a clock in the hand."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.loads, self.now_ms = desk, Loads(), T0

    def said(self, after_ms: int = PAUSE_MS) -> dict[str, dict[Priority, int]]:
        """Take in what became of the case, let time pass, and give what is said then."""
        self.loads.put(self.desk.case)
        self.now_ms += after_ms
        return {load.person: load.open for load in self.loads.take_due(self.now_ms)}


def test_who_is_asked_bears_the_case_until_somebody_has_it() -> None:
    desk, _ = opened(step(0, "a", "b", at_once=True), priority=Priority.P3)
    speaker = Speaker(desk)
    assert speaker.said() == {"a": {Priority.P3: 1}, "b": {Priority.P3: 1}}
    desk.say("b", ReceiptKind.ACCEPTED)
    assert speaker.said() == {"a": {}}, "b still has it: nothing new about him"
    for kind in (ReceiptKind.ARRIVED, ReceiptKind.DONE):
        desk.say("b", kind)
    assert speaker.said() == {"b": {}}


def test_who_declines_or_whose_case_is_closed_bears_nothing() -> None:
    desk, _ = opened(step(0, "a", "b", at_once=True))
    speaker = Speaker(desk)
    speaker.said()
    desk.say("a", ReceiptKind.DECLINED)
    assert speaker.said() == {"a": {}}
    desk.decide(DecisionKind.CANCEL)
    assert speaker.said() == {"b": {}}


def test_a_load_is_said_again_while_it_is_not_zero() -> None:
    desk, _ = opened(step(0, "a", "b", at_once=True))
    speaker = Speaker(desk)
    speaker.said(0)
    desk.say("a", ReceiptKind.DECLINED)
    assert speaker.said() == {"a": {}}
    assert (speaker.said(AGAIN_MS - PAUSE_MS - 1), speaker.loads.next_ms) == ({}, T0 + AGAIN_MS)
    (load,) = speaker.loads.take_due(T0 + AGAIN_MS)
    assert load == Load(v=1, person="b", open={Priority.P2: 1}, at_ms=T0 + AGAIN_MS)
    desk.decide(DecisionKind.CANCEL)
    assert speaker.said(2 * PAUSE_MS) == {"b": {}}
    assert (speaker.loads.next_ms, speaker.said(9 * AGAIN_MS)) == (None, {})


def test_on_a_new_connection_everything_is_said_again_zeros_too() -> None:
    desk, _ = opened(step(0, "a", "b", at_once=True))
    desk.say("a", ReceiptKind.DECLINED)
    speaker = Speaker(desk)
    assert speaker.said() == {"a": {}, "b": {Priority.P2: 1}}, "an earlier run may have left a load of a behind"
    speaker.loads.say_all()
    assert speaker.said() == {"a": {}, "b": {Priority.P2: 1}}


def test_a_storm_says_no_more_than_a_burst_a_second_and_forgets_nobody() -> None:
    desk, _ = opened(step(0, *(f"p{n}" for n in range(BURST + 7)), at_once=True))
    speaker = Speaker(desk)
    first = speaker.said(0)
    assert (len(first), speaker.said(PAUSE_MS - 1), speaker.loads.next_ms) == (BURST, {}, T0 + PAUSE_MS)
    second = speaker.said(1)
    assert (len(second), first.keys() & second.keys()) == (7, set())
