"""Who may settle on the spot: whom the catalogue names and the authority table lets."""

from __future__ import annotations

from msgspec.structs import replace

from models.geo import to_degrees
from models.messages import Incident, Position, Priority, Stage
from models.people import Authority, May, Role
from stream.desk.orders import Moment, matched_order
from stream.route import Asked, route
from stream.route_text import lines
from stream.settle import MAY_SETTLE
from tests.stream import builders as b

SETTLES = (Authority(role=Role.GRID_OFFICER, category="order.*", may=May.SETTLE), *b.AUTHORITY)


def asked(category: str) -> Asked:
    lon_e7, lat_e7 = b.at(20, 20)
    return Asked(to_degrees(lon_e7), to_degrees(lat_e7), category, b.T0)


def test_whom_both_catalogue_and_authority_name_may_settle_it() -> None:
    world = b.world(people=b.people(authority=SETTLES))
    found = route(asked("order.vendor"), world)
    named = {one.post for step in found.steps for one in step.candidates if MAY_SETTLE in one.reasons}
    assert named == {"grid-1"}  # the lane's chief is named by the catalogue and may but assist
    assert "may settle it on the spot: grid-1" in list(lines(found, "order.vendor", b.T0, world))


def test_without_either_nobody_may() -> None:
    assert "order.vendor" in b.CATALOGUE.category_by_key
    only_catalogue = b.world()
    only_authority = b.world(people=b.people(authority=(replace(SETTLES[0], category="*"), *b.AUTHORITY)))
    for world, category in ((only_catalogue, "order.vendor"), (only_authority, "fire.smoke.single")):
        assert "may settle it on the spot: -" in list(lines(route(asked(category), world), category, b.T0, world))


def test_the_order_says_it_too() -> None:
    world = b.world(people=b.people(authority=SETTLES))
    lon_e7, lat_e7 = b.at(20, 20)
    incident = Incident(
        incident_id="inc-1",
        category="order.vendor",
        family="order",
        priority=Priority.P3,
        stage=Stage.ALARM,
        position=Position(lon_deg=to_degrees(lon_e7), lat_deg=to_degrees(lat_e7)),
        areas={},
        opened_at_ms=b.T0,
        updated_at_ms=b.T0,
        label="vendor",
        confidence=0.9,
        count=1,
        sources=("cam-1",),
    )
    category = world.catalogue.category_by_key["order.vendor"]
    order = matched_order(incident, category, 1, ("OPENED",), Moment(world, b.T0, {}))
    may = {one.post: MAY_SETTLE in one.reasons for step in order.steps for one in step.candidates}
    assert (may["grid-1"], any(may[post] for post in may if post != "grid-1")) == (True, False)
    assert order.basis == category.basis
