"""Who is told next, and until when somebody may keep us waiting: a pure function of the case and the time.

Three rules carry the rest. A step is due when its offset has run since we stored the first order with this step; while
somebody has the case the clocks stand still; whoever was told of a case is not told again under another id. So a
restart, a resend or a new revision changes nothing that was done, and every open case waits on somebody by a named
clock.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from alerts.casebook import Case, Telling
from alerts.entries import Intent
from alerts.rematch import Reason, Rematch
from alerts.timers import Timers
from models.catalogue import Clocks, TimeLimit
from models.ids import alert_id
from models.messages import Candidate, OrderStep, Priority, ReceiptKind, Stage
from models.topics import STREAM

SEAT: Final = "seat"
NAG_MS: Final = 60_000
DAY_MS: Final = 86_400_000


class Limits(Struct, frozen=True, kw_only=True):
    """How long each clock of a priority runs, in ms. `arrive_ms` None: nobody has to come by a time."""

    answer_ms: int
    arrive_ms: int | None
    handle_ms: int
    verify_ms: int


def limits_of(clocks: Clocks) -> dict[Priority, Limits]:
    """Return the limits that the catalogue sets.

    Work hours count as hours: a calendar of working time is not read yet, and waiting too short errs on the safe side.
    """

    def ms(table: dict[Priority, TimeLimit], priority: Priority) -> int:
        return table[priority].nominal_ms if priority in table else DAY_MS

    return {
        priority: Limits(
            answer_ms=ms(clocks.first_ack, priority),
            arrive_ms=ms(clocks.arrival, priority) if priority in clocks.arrival else None,
            handle_ms=ms(clocks.handling, priority),
            verify_ms=ms(clocks.verification, priority),
        )
        for priority in Priority
    }


class Clock(enum.StrEnum):
    """What an open case waits for."""

    ANSWER = "answer"
    STEP = "step"
    ARRIVAL = "arrival"
    HANDLING = "handling"
    VERIFICATION = "verification"
    SEAT = "seat"
    INVESTIGATION = "investigation"
    NOBODY_LEFT = "nobody_left"
    REMATCH = "rematch"
    QUIET = "quiet"


class Why(enum.StrEnum):
    """Why somebody is told now; added to the candidate's own reasons."""

    FIRST_IN_ORDER = "FIRST_IN_ORDER"
    AT_ONCE = "AT_ONCE"
    DECLINED_BEFORE = "DECLINED_BEFORE"
    NO_ANSWER = "NO_ANSWER"
    STEP_DUE = "STEP_DUE"
    NOBODY_BELOW = "NOBODY_BELOW"
    CO_TELLING = "CO_TELLING"
    OFF_DUTY = "OFF_DUTY"
    SEAT = "SEAT"


class Wait(Struct, frozen=True, kw_only=True):
    """Nothing to do until `until_ms`, unless one of `on` says something.

    Attributes:
        overdue_ms: when the clock ran out, if it did: from then on we look, and ring, every `NAG_MS`.
    """

    until_ms: int
    clock: Clock
    on: tuple[str, ...]
    overdue_ms: int | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """What follows now: record and send all of `tell`, or ask for a `rematch`, then plan again; else wait.

    All empty: the case is closed.

    Attributes:
        rematch: why the stream is to be asked for a new chain, which is recorded too.
    """

    tell: tuple[Intent, ...] = ()
    rematch: Reason | None = None
    wait: tuple[Wait, ...] = ()

    @property
    def next_ms(self) -> int | None:
        """When to look again."""
        return min((wait.until_ms for wait in self.wait), default=None)


def next_step(case: Case, limits: Limits, *, now_ms: int, people: str = "") -> Plan:
    """Return who is to be told now and what is waited for, soonest first.

    Args:
        case: the case.
        limits: of its priority.
        now_ms: our time.
        people: version of the people by which the stream matches now, if it is known.
    """
    if not case.is_open:
        return Plan()
    chain = _Chain(case, limits, now_ms)
    if case.order.incident.stage is Stage.RESTORED:
        # Over, as far as devices can tell: nobody else is called, but a person has to look and close it.
        return Plan(wait=(chain.wait_for_the_check(),))
    tell = tuple(chain.tell())
    if tell:
        return Plan(tell=tell)
    rematch = chain.rematch_reason(people)
    if rematch:
        return Plan(rematch=rematch)
    return Plan(wait=tuple(sorted(chain.waits(), key=lambda wait: (wait.until_ms, wait.clock))))


class _Chain:
    """The steps of one case at one moment."""

    def __init__(self, case: Case, limits: Limits, now_ms: int) -> None:
        self.case = case
        self.now_ms = now_ms
        self.limits = limits
        self.timers = Timers(case, now_ms, self.limits.arrive_ms)
        self.told = {telling.intent.person: telling for telling in case.tellings.values()}
        self.rematch = Rematch(case, now_ms)
        self._planned: set[str] = set()
        """Persons that this very plan tells."""
        alerting = [step for step in case.order.steps if step.mode == "alert"]
        self.steps = sorted((step for step in alerting if not step.seat), key=lambda step: (step.step, step.offset_ms))
        self.seats = [step for step in alerting if step.seat]
        self.active = list(self._active())

    def _active(self) -> Iterator[tuple[OrderStep, Why | None]]:
        """Yield the steps whose turn it is, by the clock or because nobody below is left, and why if that is news."""
        nobody_below = False
        for step in self.steps:
            due = self._is_due(step)
            if due or nobody_below:
                yield step, Why.NOBODY_BELOW if not due else Why.STEP_DUE if step.offset_ms else None
            nobody_below = (due or nobody_below) and self._is_spent(step)

    # --- who is told -----------------------------------------------------------------------------------------------

    def tell(self) -> Iterator[Intent]:
        """Yield everybody whose time has come, who shall act before who shall know."""
        for step, why in self.active:
            yield from self._from_step(step, why)
        yield from self._intents(None, self._askable(self.case.order.co_tellings), Why.CO_TELLING)
        for step in self.seats:
            if self._is_due(step):
                yield from self._intents(step, self._reachable(step), Why.SEAT)

    def _from_step(self, step: OrderStep, why: Why | None) -> Iterator[Intent]:
        reason = self._wants(step, why)
        if reason:
            found = self._reachable(step)
            yield from self._intents(step, found if step.at_once else found[:1], reason)

    def _wants(self, step: OrderStep, why: Why | None = None) -> Why | None:
        """Return why somebody more of a step is to be told now, if so."""
        if step.at_once:
            return why or Why.AT_ONCE
        asked = self._told_of(step)
        if not asked:
            return why or Why.FIRST_IN_ORDER
        if self.timers.held_until_ms is None:
            newest = max(asked, key=lambda telling: telling.intended_ms)
            if all(telling.declined for telling in asked):
                return Why.DECLINED_BEFORE
            if self.timers.elapsed(newest.intended_ms) >= self.limits.answer_ms:
                return Why.NO_ANSWER
        return None

    def rematch_reason(self, people: str) -> Reason | None:
        """Return why a new chain is needed: somebody is wanted where nobody is on duty, or the roster is another."""
        if not self.rematch.may_ask or self.timers.held_until_ms is not None:
            return None
        wanting = [step for step, _ in self.active if self._wants(step)]
        wanting += [step for step in self.seats if self._is_due(step)]
        if any(self._is_deserted(step) for step in wanting):
            return Reason.STEP_EMPTY
        return Reason.ROSTER_CHANGED if people not in {"", self.case.order.versions.people} else None

    def _intents(self, step: OrderStep | None, candidates: list[Candidate], why: Why) -> Iterator[Intent]:
        number = step.step if step else 0
        for candidate in candidates:
            self._planned.add(candidate.person)
            yield Intent(
                alert_id=alert_id(self.case.incident_id, candidate.post, candidate.person, number),
                step=number,
                post=candidate.post,
                person=candidate.person,
                seat=bool(step and step.seat),
                reasons=tuple(dict.fromkeys((*candidate.reasons, *(step.reasons if step else ()), why.value))),
            )

    # --- what is waited for ----------------------------------------------------------------------------------------

    def waits(self) -> Iterator[Wait]:
        """Yield each clock that runs, given that nobody is to be told now."""
        incident, seat_ms = self.case.order.incident, self.case.stage_ms + self.limits.answer_ms
        if not self.case.is_acknowledged:
            # The stream waits no longer than that for the seat, and then tells everybody around.
            yield self._wait(min(seat_ms, incident.general_by_ms or seat_ms), Clock.SEAT, (SEAT,))
        elif incident.general_by_ms is not None:
            yield self._wait(incident.general_by_ms, Clock.INVESTIGATION, (SEAT,))
        holders = [telling for telling in self.case.tellings.values() if telling.accepted]
        for telling in holders:
            yield self._wait_on_holder(telling)
        if self.rematch.until_ms is not None:
            yield self._wait(self.rematch.until_ms, Clock.REMATCH, (STREAM,))
        yield from self._until_awake(self._on_duty(self.case.order.co_tellings))
        if self.timers.held_until_ms is None:
            yield from self._upward_waits(holders)

    def wait_for_the_check(self) -> Wait:
        """Return the clock that runs once everything is over but the checking."""
        return self._wait(self.case.stage_ms + self.limits.verify_ms, Clock.VERIFICATION, (SEAT,))

    def _wait_on_holder(self, telling: Telling) -> Wait:
        who = (telling.intent.person,)
        accepted_ms = max(mark.at_ms for mark in telling.marks if mark.kind is ReceiptKind.ACCEPTED)
        done_ms, arrived_ms = telling.first(ReceiptKind.DONE), telling.first(ReceiptKind.ARRIVED)
        if done_ms is not None:
            return self._wait(done_ms + self.limits.verify_ms, Clock.VERIFICATION, (SEAT,))
        if arrived_ms is None and self.limits.arrive_ms is not None:
            return self._wait(accepted_ms + self.limits.arrive_ms, Clock.ARRIVAL, who)
        return self._wait(accepted_ms + self.limits.handle_ms, Clock.HANDLING, who)

    def _upward_waits(self, holders: list[Telling]) -> Iterator[Wait]:
        asked = tuple(t.intent.person for t in self.case.tellings.values() if t.answer is None and not t.intent.seat)
        running = []
        active = [step for step, _ in self.active]
        for step in self.steps:
            if step not in active:
                since_ms, limit_ms, clock, on = self.case.since[(step.step, False)], step.offset_ms, Clock.STEP, asked
            elif not step.at_once and self._told_of(step) and self._askable(step.candidates):
                newest = max(self._told_of(step), key=lambda telling: telling.intended_ms)
                since_ms, limit_ms = newest.intended_ms, self.limits.answer_ms
                clock, on = Clock.ANSWER, (newest.intent.person,)
            else:
                running += self._until_awake(self._may_be_told(step))
                continue
            until_ms = self.timers.runs_out_ms(since_ms, limit_ms)
            running.append(Wait(until_ms=max(until_ms, self.now_ms + 1), clock=clock, on=on or (SEAT,)))
        yield from running
        if not running and not holders and self.rematch.until_ms is None:
            # The chain is at its end. Who was asked may still answer; the seat rings until somebody does.
            last_ms = max([t.intended_ms for t in self.case.tellings.values()], default=self.case.revisions[-1][1])
            clock = Clock.ANSWER if asked else Clock.NOBODY_LEFT
            yield self._wait(last_ms + (self.limits.answer_ms if asked else 0), clock, (*asked, SEAT))

    def _wait(self, due_ms: int, clock: Clock, on: tuple[str, ...]) -> Wait:
        if due_ms > self.now_ms:
            return Wait(until_ms=due_ms, clock=clock, on=on)
        again_ms = self.now_ms + NAG_MS - (self.now_ms - due_ms) % NAG_MS
        return Wait(until_ms=again_ms, clock=clock, on=on, overdue_ms=due_ms)

    # --- the parts of a step ---------------------------------------------------------------------------------------

    def _is_due(self, step: OrderStep) -> bool:
        return self.timers.elapsed(self.case.since[(step.step, step.seat)]) >= step.offset_ms

    def _askable(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return who was never told of this case, by any step, is on duty now, and may be called now."""
        return [one for one in self._on_duty(candidates) if self._is_awake(one)]

    def _on_duty(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        return [one for one in self._untold(candidates) if one.duty_from_ms <= self.now_ms < one.duty_until_ms]

    def _is_awake(self, one: Candidate) -> bool:
        """Return whether somebody may be called now: quiet hours defer what is not urgent."""
        return self.case.priority <= Priority.P2 or not one.quiet_from_ms <= self.now_ms < one.quiet_until_ms

    def _until_awake(self, candidates: Iterable[Candidate]) -> list[Wait]:
        """Return the clock that runs for whoever of them is only waited for because of quiet hours."""
        asleep = [one for one in candidates if not self._is_awake(one)]
        if not asleep:
            return []
        until_ms = min(one.quiet_until_ms for one in asleep)
        return [Wait(until_ms=until_ms, clock=Clock.QUIET, on=tuple(one.person for one in asleep))]

    def _reachable(self, step: OrderStep) -> list[Candidate]:
        """Return who of a step may be told now."""
        return [one for one in self._may_be_told(step) if self._is_awake(one)]

    def _may_be_told(self, step: OrderStep) -> list[Candidate]:
        """Return who of a step may be told: where nobody is on duty and no better chain can come, those off duty."""
        if not self._is_deserted(step) or self.rematch.has_hope:
            return self._on_duty(step.candidates)
        return [replace(one, reasons=(*one.reasons, Why.OFF_DUTY.value)) for one in self._untold(step.candidates)]

    def _untold(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        return [one for one in candidates if one.person not in self.told and one.person not in self._planned]

    def _is_deserted(self, step: OrderStep) -> bool:
        """Return whether a step is left to people who are off duty: of those told, if any, nobody may still come."""
        if self._on_duty(step.candidates) or not self._untold(step.candidates):
            return False
        is_planned = any(one.person in self._planned for one in step.candidates)
        return not is_planned and all(telling.declined for telling in self._told_of(step))

    def _told_of(self, step: OrderStep) -> list[Telling]:
        return [self.told[c.person] for c in step.candidates if c.person in self.told]

    def _is_spent(self, step: OrderStep) -> bool:
        """Return whether nobody of a step is left who has, or could still take, the case."""
        if self.timers.held_until_ms is not None:
            return False
        if self._is_deserted(step) and self.rematch.has_hope:
            return False
        return all(telling.declined for telling in self._told_of(step)) and not self._may_be_told(step)
