"""What a person's merge, split, correction and assignment make of incidents: pure functions on values."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from models.catalogue import Category
from models.messages import Candidate, Decision, DispatchOrder, Incident, OrderStep, Response
from stream.assistance import urgency
from stream.desk.cases import (
    MAX_PICTURES,
    URGENCY,
    answer_of,
    counted,
    first_incident,
    flag_of,
    newly_flagged,
    reporters_of,
)
from stream.desk.orders import Moment, matched_order, next_order
from stream.desk.row import Case, Member


class RefusedError(Exception):
    """A decision that cannot be carried out; its text is the code that is counted."""


def merged(case: Case, other: Case, now: Moment) -> Case:
    """Return `case` with all of `other` in it: the more urgent stage, category and priority of the two.

    The revision is above both, so that whoever knew either sees that it is newer.
    """
    one, two = case.order.incident, other.order.incident
    is_worse = (-URGENCY.index(two.stage), two.priority) < (-URGENCY.index(one.stage), one.priority)
    worse = two if is_worse else one
    case = replace(
        case,
        count=case.count + other.count,
        confidence=max(case.confidence, other.confidence),
        sources=tuple(sorted({*case.sources, *other.sources})),
        members=case.members | other.members,
        first_event_ms=min(case.first_event_ms, other.first_event_ms),
        last_event_ms=max(case.last_event_ms, other.last_event_ms),
        corrected=other.corrected if is_worse else case.corrected,
    )
    before = Response.GENERAL if Response.GENERAL in (one.response, two.response) else None
    response, general_by_ms = answer_of(case.members.values(), before)
    incident = replace(
        counted(case, now.clock_ms),
        stage=worse.stage,
        response=response,
        general_by_ms=general_by_ms,
        category=worse.category,
        priority=min(one.priority, two.priority),
        assistance=one.assistance or two.assistance,
        aliases=tuple(dict.fromkeys((*one.aliases, two.incident_id, *two.aliases))),
        evidence_ids=tuple(dict.fromkeys((*one.evidence_ids, *two.evidence_ids)))[:MAX_PICTURES],
        late=one.late and two.late,
    )
    revision = max(case.order.revision, other.order.revision) + 1
    return _ordered(case, incident, revision, ("MERGED", *newly_flagged(one, incident)), now)


def split(case: Case, decision: Decision, now: Moment) -> tuple[Case, Case]:
    """Return what stays of `case`, and the incident that its signals make which the decision names.

    Raises:
        RefusedError: they are not its signals, or the one is among them that it is named after.
    """
    incident = case.order.incident
    named = set(decision.signals)
    if not named or not named <= case.members.keys():
        raise RefusedError("UNKNOWN_SIGNAL")
    if incident.incident_id in named:
        raise RefusedError("SPLITS_FOUNDER")
    off = {key: member for key, member in case.members.items() if key in named}
    left = {key: member for key, member in case.members.items() if key not in named}
    revision = case.order.revision + 1
    rest = _of_members(case, left)
    aliases = tuple(alias for alias in incident.aliases if alias not in named)
    stays = replace(counted(rest, now.clock_ms), aliases=aliases)
    made, apart = _anew(case, off, now)
    return (
        _ordered(rest, stays, revision, ("SPLIT",), now),
        _ordered(made, apart, revision, ("SPLIT", "OPENED", *newly_flagged(None, apart)), now),
    )


def _of_members(case: Case, members: dict[str, Member]) -> Case:
    return replace(
        case,
        members=members,
        count=sum(member.count for member in members.values()),
        confidence=max(member.confidence for member in members.values()),
        sources=_sources(members.values()),
        first_event_ms=min(member.raised.event_ms for member in members.values()),
        last_event_ms=max(member.last_event_ms for member in members.values()),
    )


def _anew(case: Case, members: dict[str, Member], now: Moment) -> tuple[Case, Incident]:
    """Return a case of its own made of `members`, named after the first, and its incident."""
    first = next(iter(members.values()))
    worst = max(members.values(), key=lambda member: URGENCY.index(member.stage))
    category = now.world.category(worst.raised.category, worst.raised.family)
    incident = first_incident(first.raised, category, now.clock_ms, now.world)
    incident = replace(
        incident,
        stage=worst.stage,
        priority=urgency(category.priority_at(worst.stage), incident.assistance),
        aliases=tuple(list(members)[1:]),
    )
    made = replace(_of_members(case, members), corrected=None)
    response, general_by_ms = answer_of(members.values())
    return made, replace(
        incident,
        count=made.count,
        confidence=made.confidence,
        sources=made.sources,
        reporters=reporters_of(members.values()),
        response=response,
        general_by_ms=general_by_ms,
    )


def _sources(members: Iterable[Member]) -> tuple[str, ...]:
    return tuple(sorted({source for member in members for source in member.sources}))


def corrected(case: Case, decision: Decision, now: Moment) -> Case:
    """Return `case` as what a person says it is: burning rubbish, a barbecue or dust, and not nothing.

    Raises:
        RefusedError: no such category.
    """
    category = now.world.catalogue.category_by_key.get(decision.category or case.order.incident.category)
    if category is None:
        raise RefusedError("UNKNOWN_CATEGORY")
    before = counted(case, now.clock_ms)
    # Of a person's own word the flag makes no other.
    flagged = before.assistance if decision.priority else flag_of(before, now.world)
    priority = decision.priority or urgency(category.priority_at(before.stage), flagged)
    incident = replace(before, category=category.key, priority=priority, assistance=flagged)
    case = replace(case, corrected=(category.key, priority))
    reasons = ("CORRECTED", f"WAS_{before.category}_{before.priority}", *newly_flagged(before, incident))
    return _ordered(case, incident, case.order.revision + 1, reasons, now, category)


def assigned(case: Case, decision: Decision, now: Moment) -> Case:
    """Return `case` led by the post that a person names; its people on duty are asked first.

    Raises:
        RefusedError: no such post, or nobody is on duty there.
    """
    post = next((post for post in now.world.people.posts if post.id == decision.post), None)
    if post is None:
        raise RefusedError("UNKNOWN_POST")
    on_duty = [
        Candidate(
            post=post.id,
            person=duty.person,
            duty_from_ms=duty.from_ms,
            duty_until_ms=duty.until_ms,
            reasons=("ASSIGNED",),
        )
        for duty in now.world.people.duties(post.id, now.clock_ms)
    ]
    if not on_duty:
        raise RefusedError("NOBODY_ON_DUTY")
    order = next_order(case.order, counted(case, now.clock_ms), ("ASSIGNED",))
    order = replace(order, lead_unit=post.unit, lead_post=post.id, steps=_first(order, on_duty))
    return replace(case, order=order, weighty_revision=order.revision)


def _first(order: DispatchOrder, candidates: list[Candidate]) -> tuple[OrderStep, ...]:
    """Return the steps with `candidates` at the head of the first one; one person appears once."""
    persons = {candidate.person for candidate in candidates}
    others = [
        replace(step, candidates=tuple(one for one in step.candidates if one.person not in persons))
        for step in order.steps
    ]
    return (replace(others[0], candidates=(*candidates, *others[0].candidates)), *others[1:])


def _ordered(
    case: Case,
    incident: Incident,
    revision: int,
    reasons: tuple[str, ...],
    now: Moment,
    category: Category | None = None,
) -> Case:
    category = category or now.world.category(incident.category, incident.family)
    order = matched_order(incident, category, revision, reasons, now)
    return replace(case, order=order, weighty_revision=revision, tell_by_ms=None)
