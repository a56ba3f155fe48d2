from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from alerts import rematch
from alerts.admission import Request, Wish, admit
from alerts.casebook import Case, Casebook
from alerts.entries import GENESIS_HASH, Draft, Entry, Genesis, Intent, Kind, chain
from alerts.escalation import NAG_MS, Clock, Plan, Why, next_step
from models.errors import MessageError
from models.ids import alert_id
from models.messages import (
    Candidate,
    DecisionKind,
    OrderStep,
    Priority,
    Receipt,
    ReceiptKind,
    Stage,
)
from tests.alerts.town import LIMITS, candidate, incident, order

T0 = 1_800_000_000_000
MIN = 60_000


class Desk:
    """The pure core alone, with a clock in the hand: what the office does, without a disk."""

    def __init__(self) -> None:
        self.book = Casebook()
        self.entries: list[Entry] = []
        self.now_ms = T0
        self._take([Draft(kind=Kind.GENESIS, body=Genesis(ledger_id="led-1"))])

    def _take(self, drafts: Iterable[Draft]) -> None:
        for draft in drafts:
            last = self.entries[-1].hash if self.entries else GENESIS_HASH
            entry = chain(draft, seq=len(self.entries) + 1, at_ms=self.now_ms, prev_hash=last)
            self.entries.append(entry)
            self.book.apply(entry)

    def submit(self, request: Request) -> list[Intent]:
        """Take a request and everything that follows at once; return who was told."""
        self._take(admit(self.book, request, now_ms=self.now_ms))
        return self.follow_up()

    def follow_up(self) -> list[Intent]:
        told: list[Intent] = []
        for case in list(self.book.cases.values()):
            while (plan := self.plan(case.incident_id)).tell or plan.rematch:
                self._take(
                    Draft(kind=Kind.ALERT_INTENDED, body=intent, incident_id=case.incident_id) for intent in plan.tell
                )
                told += plan.tell
                if plan.rematch:
                    self._take([rematch.decision(self.book, case, plan.rematch, self.now_ms)])
        return told

    def wait(self, until_ms: int) -> list[Intent]:
        """Let time pass, waking up exactly when the plans say; return who was told."""
        told: list[Intent] = []
        while (next_ms := min((p.next_ms for p in self.plans() if p.next_ms), default=until_ms + 1)) <= until_ms:
            assert next_ms > self.now_ms
            self.now_ms = next_ms
            told += self.follow_up()
        self.now_ms = until_ms
        return told + self.follow_up()

    def plans(self) -> list[Plan]:
        return [self.plan(incident_id) for incident_id in self.book.cases]

    def plan(self, incident_id: str) -> Plan:
        case = self.book.cases[incident_id]
        return next_step(case, LIMITS[case.priority], now_ms=self.now_ms, people=self.book.people)

    @property
    def case(self) -> Case:
        (case,) = self.book.cases.values()
        return case

    def say(self, person: str, kind: ReceiptKind) -> list[Intent]:
        telling = next(t for t in self.case.tellings.values() if t.intent.person == person)
        receipt = Receipt(v=1, alert_id=telling.intent.alert_id, kind=kind, by=person, at_ms=0)
        return self.submit(receipt)

    def decide(self, kind: DecisionKind, reason: str = "because") -> list[Intent]:
        return self.submit(Wish(incident_id=self.case.incident_id, kind=kind, by="seat", reason=reason))


def step(
    number: int, *people: str | Candidate, after_ms: int = 0, at_once: bool = False, mode: str = "alert"
) -> OrderStep:
    who = tuple(p if isinstance(p, Candidate) else candidate(f"post-{p}", p) for p in people)
    assert mode in {"alert", "digest", "list"}
    return OrderStep(step=number, offset_ms=after_ms, mode=mode, at_once=at_once, candidates=who)  # type: ignore[arg-type]


def opened(*steps: OrderStep, priority: Priority = Priority.P2, **changes: Any) -> tuple[Desk, list[Intent]]:
    desk = Desk()
    at = incident(now_ms=T0, priority=priority)
    return desk, desk.submit(order(at, steps=steps, **changes))


def people(intents: Iterable[Intent]) -> list[str]:
    return [intent.person for intent in intents]


def test_the_first_candidate_is_told_and_the_next_step_waits_for_its_offset() -> None:
    desk, told = opened(step(0, "a", "b"), step(1, "c", after_ms=3 * MIN))
    assert people(told) == ["a"]
    assert told[0].alert_id == alert_id(desk.case.incident_id, "post-a", "a", 0)
    assert people(desk.wait(T0 + 3 * MIN - 1)) == []
    assert people(desk.wait(T0 + 3 * MIN)) == ["b", "c"]  # no answer in the P2 clock; step 1 is due too


def test_a_step_that_tells_all_at_once_tells_all_at_once() -> None:
    _, told = opened(step(0, "a", "b", "c", at_once=True), priority=Priority.P1)
    assert people(told) == ["a", "b", "c"]
    assert {intent.reasons[-1] for intent in told} == {Why.AT_ONCE}


def test_an_accept_stops_the_upward_timers() -> None:
    desk, _ = opened(step(0, "a", "b"), step(1, "c", after_ms=3 * MIN))
    desk.now_ms += MIN
    desk.say("a", ReceiptKind.ACCEPTED)
    desk.say("a", ReceiptKind.ARRIVED)
    assert people(desk.wait(T0 + 10 * 60 * MIN)) == []
    assert desk.plan(desk.case.incident_id).wait[0].clock in {Clock.HANDLING, Clock.SEAT}


def test_no_arrival_in_time_starts_the_timers_again_where_they_stood() -> None:
    desk, _ = opened(step(0, "a"), step(1, "c", after_ms=3 * MIN), step(2, "d", after_ms=6 * MIN))
    desk.now_ms += MIN
    desk.say("a", ReceiptKind.ACCEPTED)
    arrival = T0 + MIN + LIMITS[Priority.P2].arrive_ms  # type: ignore[operator]
    assert people(desk.wait(arrival + 2 * MIN - 1)) == []
    assert people(desk.wait(arrival + 2 * MIN)) == ["c"]  # two of its three minutes were left, and no storm comes
    assert people(desk.wait(arrival + 5 * MIN)) == ["d"]


def test_a_decline_asks_the_next_candidate_of_the_same_step_at_once() -> None:
    desk, _ = opened(step(0, "a", "b"), step(1, "c", after_ms=3 * MIN))
    told = desk.say("a", ReceiptKind.DECLINED)
    assert people(told) == ["b"]
    assert told[0].reasons[-1] == Why.DECLINED_BEFORE


def test_when_nobody_of_a_step_is_left_the_next_one_does_not_wait() -> None:
    desk, _ = opened(step(0, "a"), step(1, "c", "d", after_ms=3 * MIN), step(2, "e", after_ms=6 * MIN))
    told = desk.say("a", ReceiptKind.DECLINED)
    assert people(told) == ["c"]
    assert told[0].reasons[-1] == Why.NOBODY_BELOW
    assert people(desk.say("c", ReceiptKind.DECLINED)) == ["d"]


def test_who_hands_a_case_back_sets_the_clocks_going_again() -> None:
    desk, _ = opened(step(0, "a", "b"), step(1, "c", after_ms=3 * MIN))
    desk.say("a", ReceiptKind.ACCEPTED)
    desk.now_ms += MIN
    assert people(desk.say("a", ReceiptKind.DECLINED)) == ["b"]
    assert people(desk.wait(T0 + 4 * MIN)) == ["c"]


def test_once_somebody_has_the_case_a_decline_asks_nobody_else() -> None:
    desk, _ = opened(step(0, "a", "b"), step(1, "c", "d"), step(2, "e", after_ms=3 * MIN))
    desk.say("c", ReceiptKind.ACCEPTED)
    assert desk.say("a", ReceiptKind.DECLINED) == []
    both, _ = opened(
        step(0, "a", "c", at_once=True), step(1, "e", after_ms=3 * MIN), co_tellings=(candidate("p", "x"),)
    )
    both.say("x", ReceiptKind.ACCEPTED)
    both.say("a", ReceiptKind.DECLINED)
    assert both.say("c", ReceiptKind.DECLINED) == []


def test_an_order_that_comes_again_is_no_entry_and_an_older_one_changes_no_step() -> None:
    desk, _ = opened(step(0, "a"))
    first = desk.case.order
    desk.submit(order(first.incident, steps=(step(0, "a"), step(1, "c", after_ms=MIN)), revision=3))
    entries = len(desk.entries)
    assert desk.submit(first) == []
    assert len(desk.entries) == entries
    desk.submit(order(first.incident, steps=(step(0, "z"),), revision=2))
    assert desk.case.order.revision == 3
    assert people(desk.wait(T0 + MIN)) == ["c"]


def test_the_lead_moves_to_another_post_only_when_somebody_of_it_accepts() -> None:
    desk, _ = opened(step(0, "a"), step(1, "c", after_ms=3 * MIN), step(2, "d", after_ms=3 * MIN))
    desk.wait(T0 + 3 * MIN)
    assert desk.case.lead_post == "post-a", "told is not taken"
    desk.say("d", ReceiptKind.ACCEPTED)
    desk.now_ms += MIN
    desk.say("c", ReceiptKind.ACCEPTED)
    assert desk.case.lead_post == "post-d", "who was first keeps it"
    desk.say("d", ReceiptKind.DECLINED)
    assert desk.case.lead_post == "post-c"
    desk.say("a", ReceiptKind.ACCEPTED)
    assert desk.case.lead_post == "post-a", "whose patch it is"
    desk.say("a", ReceiptKind.DECLINED)
    desk.say("c", ReceiptKind.DECLINED)
    assert desk.case.lead_post == "post-a"


def test_who_is_off_duty_at_sending_time_is_skipped() -> None:
    gone = candidate("post-a", "a", duty=(0, T0))
    not_yet = candidate("post-b", "b", duty=(T0 + MIN, 1 << 52))
    _, told = opened(step(0, gone, not_yet, "c"))
    assert people(told) == ["c"]


def resting(person: str, until_ms: int, from_ms: int = 0) -> Candidate:
    return replace(candidate(f"post-{person}", person), quiet_from_ms=from_ms, quiet_until_ms=until_ms)


def test_quiet_hours_defer_what_can_wait_and_somebody_awake_goes_first() -> None:
    asleep = resting("a", T0 + 300 * MIN)
    desk, told = opened(step(0, asleep, "b"), priority=Priority.P3)
    assert people(told) == ["b"]
    assert desk.say("b", ReceiptKind.DECLINED) == []
    assert (Clock.QUIET, ("a",)) in [(wait.clock, wait.on) for wait in desk.plan(desk.case.incident_id).wait]
    assert desk.wait(T0 + 300 * MIN - 1) == []
    assert people(desk.wait(T0 + 300 * MIN)) == ["a"]


def test_nobody_above_takes_the_place_of_who_is_asleep_before_his_own_time_has_come() -> None:
    desk, told = opened(step(0, resting("a", T0 + 300 * MIN)), step(1, "c", after_ms=15 * MIN), priority=Priority.P3)
    assert told == []
    assert people(desk.wait(T0 + 15 * MIN)) == ["c"]


def test_of_those_who_are_told_at_once_each_is_told_when_he_is_awake() -> None:
    people_of_it = ("c", resting("a", T0 + 30 * MIN), resting("b", T0 + 60 * MIN))
    desk, told = opened(step(0, *people_of_it, at_once=True), priority=Priority.P4)
    assert people(told) == ["c"]
    assert people(desk.wait(T0 + 30 * MIN)) == ["a"]
    assert people(desk.wait(T0 + 60 * MIN)) == ["b"]


def test_quiet_hours_that_begin_before_his_turn_count() -> None:
    desk, _ = opened(step(0, "a", resting("b", T0 + 500 * MIN, T0 + MIN)), priority=Priority.P3)
    assert desk.wait(T0 + 499 * MIN) == []
    assert people(desk.wait(T0 + 500 * MIN)) == ["b"]


def test_what_is_urgent_or_becomes_so_waits_for_nobody_to_wake_up() -> None:
    asleep = step(0, resting("a", T0 + 300 * MIN))
    assert people(opened(asleep, priority=Priority.P2)[1]) == ["a"]
    desk, told = opened(asleep, priority=Priority.P3)
    assert told == []
    raised = replace(desk.case.order.incident, priority=Priority.P2)
    assert people(desk.submit(order(raised, steps=(asleep,), revision=2, seq=2))) == ["a"]


def test_the_acknowledge_of_the_seat_stops_the_clock_of_the_seat_alone() -> None:
    desk, _ = opened(step(0, "a"), step(1, "c", after_ms=3 * MIN))
    assert Clock.SEAT in {wait.clock for wait in desk.plan(desk.case.incident_id).wait}
    desk.decide(DecisionKind.ACKNOWLEDGE)
    assert Clock.SEAT not in {wait.clock for wait in desk.plan(desk.case.incident_id).wait}
    assert people(desk.wait(T0 + 3 * MIN)) == ["c"]


def test_who_confirms_an_alarm_is_not_rung_for_it() -> None:
    desk, _ = opened(step(0, "a"))
    desk.decide(DecisionKind.CONFIRM)
    at = replace(desk.case.order.incident, stage=Stage.ALARM, priority=Priority.P1)
    desk.submit(order(at, steps=(step(0, "a", at_once=True),), revision=2))
    assert desk.case.is_acknowledged


def test_offsets_run_from_the_first_revision_that_has_the_step() -> None:
    desk, _ = opened(step(0, "a"))
    desk.now_ms = T0 + 2 * MIN
    at = desk.case.order.incident
    steps = (step(0, "a"), step(1, "c", after_ms=3 * MIN))
    assert desk.submit(order(at, steps=steps, revision=2)) == []
    assert people(desk.wait(T0 + 5 * MIN - 1)) == []
    desk.submit(order(at, steps=steps, revision=3))
    assert people(desk.wait(T0 + 5 * MIN)) == ["c"]


def test_a_raise_to_p1_tells_those_above_at_once_and_nobody_twice() -> None:
    desk, _ = opened(step(0, "a", "b"), step(1, "c", after_ms=3 * MIN))
    desk.decide(DecisionKind.ACKNOWLEDGE)
    at = replace(desk.case.order.incident, stage=Stage.ALARM, priority=Priority.P1)
    told = desk.submit(order(at, steps=(step(0, "a", "b", at_once=True), step(1, "c", "a", at_once=True)), revision=2))
    assert people(told) == ["b", "c"]
    assert not desk.case.is_acknowledged  # the seat has seen a pre-alarm, not this


def test_a_closed_case_waits_for_nothing_and_a_reopened_one_goes_on_where_it_stood() -> None:
    desk, _ = opened(step(0, "a"), step(1, "c", after_ms=3 * MIN))
    desk.now_ms += MIN
    desk.decide(DecisionKind.CLOSE)
    assert desk.plan(desk.case.incident_id) == Plan()
    desk.now_ms += 60 * MIN
    assert desk.decide(DecisionKind.REOPEN) == []
    assert people(desk.wait(desk.now_ms + 2 * MIN)) == ["c"]


def test_an_alarm_reopens_what_was_cleared_as_a_pre_alarm() -> None:
    desk, _ = opened(step(0, "a"))
    desk.decide(DecisionKind.CLEAR)
    assert desk.case.state == "cleared"
    at = replace(desk.case.order.incident, stage=Stage.ALARM, priority=Priority.P1)
    desk.submit(order(at, steps=(step(0, "a", "b", at_once=True),), revision=2))
    assert desk.case.is_open
    assert people(t.intent for t in desk.case.tellings.values()) == ["a", "b"]


def test_a_decision_that_the_stream_refused_is_undone() -> None:
    desk, _ = opened(step(0, "a"))
    desk.decide(DecisionKind.CLOSE)
    desk.submit(order(desk.case.order.incident, steps=(step(0, "a"),), revision=2, reasons=("STALE_DECISION",)))
    assert desk.case.is_open


def test_what_is_over_calls_nobody_but_waits_for_the_check() -> None:
    desk, _ = opened(step(0, "a"), step(1, "c", after_ms=3 * MIN))
    at = replace(desk.case.order.incident, stage=Stage.RESTORED)
    desk.submit(order(at, steps=desk.case.order.steps, revision=2))
    assert people(desk.wait(T0 + 60 * MIN)) == []
    (wait,) = desk.plan(desk.case.incident_id).wait
    assert wait.clock is Clock.VERIFICATION


def test_a_merged_case_is_left_to_the_one_that_took_it_over() -> None:
    desk = Desk()
    first, second = incident(1, now_ms=T0), incident(2, now_ms=T0, device="cam-02")
    desk.submit(order(first, steps=(step(0, "a"), step(1, "c", after_ms=3 * MIN))))
    desk.submit(order(second, steps=(step(0, "b"),), seq=2))
    desk.submit(order(replace(second, aliases=(first.incident_id,)), steps=(step(0, "b"),), seq=3, revision=2))
    merged = desk.book.cases[first.incident_id]
    assert merged.merged_into == second.incident_id
    assert desk.plan(first.incident_id) == Plan()


def test_digests_and_lists_alert_nobody() -> None:
    desk, told = opened(step(0, "a", mode="digest"), step(1, "c", mode="list"), priority=Priority.P4)
    assert told == []
    assert desk.plan(desk.case.incident_id).wait


# --- invariants -------------------------------------------------------------------------------------------------------

PERSONS = ["a", "b", "c", "d", "e", "f"]
steps_strategy = st.lists(
    st.builds(
        lambda who, after, at_once: (tuple(who), after, at_once),
        st.lists(st.sampled_from(PERSONS), unique=True, max_size=3),
        st.sampled_from([0, 0, MIN, 3 * MIN, 10 * MIN]),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)
events_strategy = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from(PERSONS), st.sampled_from(list(ReceiptKind))),
        st.tuples(st.just("wait"), st.sampled_from([1, 1_000, MIN, 7 * MIN, 60 * MIN]), st.none()),
        st.tuples(st.just("decide"), st.sampled_from(list(DecisionKind)), st.none()),
        st.tuples(st.just("order"), steps_strategy, st.sampled_from(list(Stage))),
        st.tuples(st.just("again"), st.none(), st.none()),
    ),
    max_size=14,
)


QUIET = {"e": (T0, T0 + 7 * MIN), "f": (T0 + MIN, T0 + 60 * MIN)}


def build(spec: list[tuple[tuple[str, ...], int, bool]]) -> tuple[OrderStep, ...]:
    return tuple(
        step(n, *(resting(p, QUIET[p][1], QUIET[p][0]) if p in QUIET else p for p in who), after_ms=ms, at_once=at_once)
        for n, (who, ms, at_once) in enumerate(spec)
    )


def play(spec: list[tuple[tuple[str, ...], int, bool]], events: list[tuple[object, ...]], priority: Priority) -> Desk:
    """Run any history through the core; refusals are part of it."""
    desk, _ = opened(*build(spec), priority=priority)
    for kind, one, two in events:
        try:
            if kind == "say":
                mine = [t for t in desk.case.tellings.values() if t.intent.person == one]
                if mine:
                    desk.say(str(one), two)  # type: ignore[arg-type]
            elif kind == "wait":
                desk.wait(desk.now_ms + one)  # type: ignore[operator]
            elif kind == "decide":
                desk.decide(one)  # type: ignore[arg-type]
            elif kind == "order":
                at = replace(desk.case.order.incident, stage=two)
                revision = desk.case.order.revision + 1
                desk.submit(order(at, steps=build(one), revision=revision, seq=revision))  # type: ignore[arg-type]
            else:
                desk.submit(desk.case.order)
        except MessageError:
            continue
        check(desk)
    return desk


def check(desk: Desk) -> None:
    case, plan = desk.case, desk.plan(desk.case.incident_id)
    told = [telling.intent.person for telling in case.tellings.values()]
    assert len(told) == len(set(told)), "somebody was told twice"
    assert not plan.tell
    if case.is_open:
        assert plan.wait, "an open case waits for nothing"
        assert all(wait.on for wait in plan.wait)
        assert desk.now_ms < plan.next_ms <= desk.now_ms + 60 * 60 * 1000 * 24  # type: ignore[operator]
        assert all(w.overdue_ms is None or w.until_ms - desk.now_ms <= NAG_MS for w in plan.wait)
    else:
        assert plan == Plan()


@given(steps_strategy, events_strategy, st.sampled_from([Priority.P2, Priority.P3]))
def test_nobody_is_told_twice_and_every_open_case_has_a_next_action_time(
    spec: list[tuple[tuple[str, ...], int, bool]], events: list[tuple[object, ...]], priority: Priority
) -> None:
    play(spec, events, priority)


@given(steps_strategy, events_strategy, st.sampled_from([Priority.P2, Priority.P3]))
def test_a_replay_of_the_ledger_is_the_live_state(
    spec: list[tuple[tuple[str, ...], int, bool]], events: list[tuple[object, ...]], priority: Priority
) -> None:
    desk = play(spec, events, priority)
    replayed = Casebook()
    for entry in desk.entries:
        replayed.apply(entry)
    assert vars(replayed) == vars(desk.book)


@given(steps_strategy, st.integers(0, 60 * MIN))
def test_after_an_accept_and_an_arrival_no_timer_tells_anybody(
    spec: list[tuple[tuple[str, ...], int, bool]], later_ms: int
) -> None:
    desk, told = opened(*build(spec))
    if not told:
        return
    desk.say(told[0].person, ReceiptKind.ACCEPTED)
    desk.say(told[0].person, ReceiptKind.ARRIVED)
    assert desk.wait(desk.now_ms + later_ms) == []
