"""An incident and its chain, as one order."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from models.catalogue import Category
from models.geo import point_e7
from models.messages import VERSION, DispatchOrder, Incident
from stream.rank import Question, match
from stream.world import World

PLACEHOLDER: Final = ("orders", 1)
"""`outbox_id` and `seq` of an order before egress gives it those of its place in the log."""


def matched_order(
    incident: Incident, category: Category, revision: int, reasons: tuple[str, ...], world: World
) -> DispatchOrder:
    """Return an order with a new chain, from the roster in force when the incident was updated."""
    position = incident.position
    question = Question(
        point=point_e7(position.lon_deg, position.lat_deg),
        radius_m=position.radius_m,
        category=category,
        priority=incident.priority,
        at_ms=incident.updated_at_ms,
        is_late=incident.late,
    )
    found = match(question, world)
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
        co_tellings=found.co_tellings,
        reasons=(*reasons, *found.reasons),
        versions=world.versions,
        ordered_at_ms=incident.updated_at_ms,
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
