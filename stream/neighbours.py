"""Who is told of a general alarm because it is near: the owners of the cells and nodes around (design 4, S8).

They are told to look to their own, not to handle it: so their authority does not matter. Whoever may never be alerted
for what is urgent, a volunteer, is not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from models.geo import PointE7
from models.messages import Candidate
from models.people import Employment, Post, UnitKind
from stream.world import World

NEIGHBOUR: Final = "NEIGHBOUR"
OWNER_LEVEL: Final = 4
"""The level of the posts that answer for one cell or node."""


def neighbours(
    point: PointE7, within_m: float, at_ms: int, told: Collection[str], world: World
) -> tuple[Candidate, ...]:
    """Return who holds the posts of the cells and nodes within a radius, the nearest first, each person once.

    Args:
        point: where the alarm is.
        within_m: up to `stream.locate.MAX_RADIUS_M`.
        at_ms: of the duty.
        told: persons who are told anyhow.
        world: in force.
    """
    locator, seen = world.locator, set(told)
    near = [*locator.nodes_within(*point, within_m), *locator.cells_within(*point, within_m)]
    found: list[Candidate] = []
    for owner in sorted(near, key=lambda owner: owner.distance_m):
        for post in _owners(owner.code, at_ms, world):
            for duty in world.people.duties(post.id, at_ms):
                is_volunteer = world.people.person_by_id[duty.person].employment is Employment.VOLUNTEER
                if duty.person in seen or is_volunteer:
                    continue
                seen.add(duty.person)
                found.append(
                    Candidate(
                        post=post.id,
                        person=duty.person,
                        duty_from_ms=duty.from_ms,
                        duty_until_ms=duty.until_ms,
                        reasons=(NEIGHBOUR,),
                    )
                )
    return tuple(found)


def _owners(code: str, at_ms: int, world: World) -> Iterator[Post]:
    people = world.people
    for post in people.posts_by_scope.get(code, ()):
        is_group = people.unit_by_id[post.unit].kind is UnitKind.VOLUNTEER_GROUP
        if post.level == OWNER_LEVEL and not is_group and people.has_contract(post.unit, at_ms):
            yield post
