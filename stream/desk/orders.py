"""An incident and its chain, as one order."""

from __future__ import annotations

from collections.abc import Mapping
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
from stream.rank import Match, Question, match
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


def matched_order(
    incident: Incident, category: Category, revision: int, reasons: tuple[str, ...], now: Moment
) -> DispatchOrder:
    """Return an order with a new chain, from the roster in force when the incident was updated."""
    position = incident.position
    question = Question(
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
    found = with_settlers(match(question, now.world), category, now.world.people)
    around = _neighbours(question, incident, found, now)
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


def _neighbours(question: Question, incident: Incident, found: Match, now: Moment) -> tuple[Candidate, ...]:
    """Return who is told of a general alarm because it is near."""
    within_m = question.category.neighbours_m
    if incident.response is not Response.GENERAL or incident.late or within_m is None:
        return ()
    told = {one.person for step in found.steps for one in step.candidates}
    told |= {one.person for one in found.co_tellings} | question.reporters
    return neighbours(question.point, within_m, question.at_ms, told, now.world)


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
