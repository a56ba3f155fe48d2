"""An incident and its chain, as one order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from msgspec.structs import replace

from models.catalogue import Category
from models.geo import point_e7, to_degrees
from models.messages import (
    CANARY,
    VERSION,
    Candidate,
    DispatchOrder,
    Incident,
    Load,
    Position,
    Priority,
    Response,
    Stage,
)
from stream.neighbours import neighbours
from stream.quiet import with_quiet_hours
from stream.rank import Match, Question, match, match_many
from stream.records import SignalRecord
from stream.settle import with_settlers
from stream.world import World

PLACEHOLDER: Final = ("orders", 1)
"""`outbox_id` and `seq` of an order before egress gives it those of its place in the log."""


class Moment(NamedTuple):
    """What is in force and known while a record is applied.

    Attributes:
        clock_ms: the desk's time.
        loads: newest word of each person who has open cases.
    """

    world: World
    clock_ms: int
    loads: Mapping[str, Load]


Asked = tuple[Question, Match]
"""Whom an incident concerns, and the answer."""


def matched_together(incidents: Iterable[tuple[Incident, Category]], now: Moment) -> Iterator[Asked]:
    """Return what `matched_order` asks of incidents that are opened at one time, asked at once for all of them."""
    questions = [_question(incident, category, 1, now) for incident, category in incidents]
    return zip(questions, match_many(questions, now.world), strict=True)


def matched_order(
    incident: Incident,
    category: Category,
    revision: int,
    reasons: tuple[str, ...],
    now: Moment,
    asked: Asked | None = None,
) -> DispatchOrder:
    """Return an order with a new chain, from the roster in force when the incident was updated.

    `asked` is what `matched_together` says of the incident, if it was asked.
    """
    if asked is None:
        question = _question(incident, category, revision, now)
        asked = question, match(question, now.world)
    question, found = asked
    found = with_quiet_hours(with_settlers(found, category, now.world.people), question, now.world.people)
    around = _neighbours(incident, category, found, now)
    return DispatchOrder(
        v=VERSION,
        outbox_id=PLACEHOLDER[0],
        seq=PLACEHOLDER[1],
        revision=revision,
        incident=replace(incident, areas=found.areas),
        lead_unit=found.lead_unit,
        lead_post=found.lead_post,
        co_units=found.co_units,
        steps=found.steps,
        co_tellings=(*found.co_tellings, *around),
        reasons=(*reasons, *found.reasons),
        versions=now.world.versions,
        ordered_at_ms=incident.updated_at_ms,
        basis=found.basis,
    )


def _question(incident: Incident, category: Category, revision: int, now: Moment) -> Question:
    position = incident.position
    return Question(
        point=point_e7(position.lon_deg, position.lat_deg),
        radius_m=position.radius_m,
        category=category,
        priority=incident.priority,
        at_ms=incident.updated_at_ms,
        reporters=frozenset(incident.reporters),
        is_late=incident.late,
        loads=now.loads,
        # The clocks of `alerts` run from the first revision on: a step that is due by now is about to be used now.
        since_ms=incident.opened_at_ms if revision > 1 else None,
    )


def _neighbours(incident: Incident, category: Category, found: Match, now: Moment) -> tuple[Candidate, ...]:
    """Return who is told of a general alarm because it is near."""
    within_m = category.neighbours_m
    if incident.response is not Response.GENERAL or incident.late or within_m is None:
        return ()
    told = {one.person for step in found.steps for one in step.candidates}
    told |= {one.person for one in found.co_tellings} | set(incident.reporters)
    position = incident.position
    point = point_e7(position.lon_deg, position.lat_deg)
    return neighbours(point, within_m, incident.updated_at_ms, told, now.world)


def canary_order(signal: SignalRecord, world: World, clock_ms: int) -> DispatchOrder:
    """Return the order that a canary makes: to nobody, so that `alerts` may measure it."""
    incident = Incident(
        incident_id=signal.signal_id,
        category=CANARY,
        family=CANARY,
        priority=Priority.P4,
        stage=Stage.RESTORED,
        position=Position(
            lon_deg=to_degrees(signal.lon_e7), lat_deg=to_degrees(signal.lat_e7), radius_m=signal.radius_m
        ),
        areas=signal.areas,
        opened_at_ms=clock_ms,
        updated_at_ms=clock_ms,
        label=CANARY,
        confidence=signal.confidence,
        count=1,
        sources=signal.sources,
        timeline=replace(signal.timeline, decided_ms=signal.at_ms),
    )
    return DispatchOrder(
        v=VERSION,
        outbox_id=PLACEHOLDER[0],
        seq=PLACEHOLDER[1],
        revision=1,
        incident=incident,
        lead_unit="",
        lead_post="",
        co_units=(),
        steps=(),
        reasons=("CANARY",),
        versions=world.versions,
        ordered_at_ms=clock_ms,
    )


def next_order(order: DispatchOrder, incident: Incident, reasons: tuple[str, ...]) -> DispatchOrder:
    """Return the next revision of an order, with the same chain."""
    return replace(
        order,
        revision=order.revision + 1,
        incident=incident,
        reasons=reasons,
        ordered_at_ms=incident.updated_at_ms,
    )
