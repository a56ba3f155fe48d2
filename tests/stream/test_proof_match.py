"""The proof and the matcher mean the same by a hole: there an order goes to the last resort, and nowhere else."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from models import catalogue as catalogues
from models.city import City, generate
from models.geo import PointE7
from models.messages import Stage
from models.people import May, People, Role
from models.people.duty import DAY_MS
from models.places import Cell, CellType
from models.proof import Kind, Proof, prove
from stream.rank import Question, match
from stream.world import World

FROM_MS = 1_780_000_020_000
CATALOGUE = catalogues.load()
KEYS = ("fire.heat", "gas.leak", "order.bike")


def thinned(city: City, rng: random.Random) -> People:
    """Take away nine shifts of ten of the chiefs, some of the officers', and a right, so that nights have holes."""
    role = {post.id: post.role for post in city.people.posts}
    keep = {Role.LANE_CHIEF: 0.1, Role.ROAD_CHIEF: 0.1, Role.STREET_CHIEF: 0.1, Role.GRID_OFFICER: 0.7}
    shifts = tuple(one for one in city.people.weekly_shifts if rng.random() < keep.get(role[one.post], 1.0))
    authority = tuple(
        msgspec.structs.replace(row, may=May.REPORT) if row.role is Role.GRID_OFFICER and row.category == "*" else row
        for row in city.people.authority
    )
    return msgspec.structs.replace(city.people, weekly_shifts=shifts, authority=authority)


def inside(cell: Cell) -> PointE7:
    """Give a point of a cell."""
    from shapely import Polygon

    ring = np.array(next(iter(cell.polygons))[0], dtype=np.float64)
    point = Polygon(ring).representative_point()
    return round(point.x), round(point.y)


@pytest.fixture(scope="module")
def case() -> tuple[World, Proof]:
    city = generate(24, 3)
    people = thinned(city, random.Random(5))
    return World("t", city.places, people, CATALOGUE), prove(city.places, people, CATALOGUE, from_ms=FROM_MS, days=3)


def test_where_the_proof_has_a_hole_and_only_there_the_last_resort_leads(case: tuple[World, Proof]) -> None:
    world, proof = case
    rng = random.Random(1)
    cells = [cell for cell in world.places.cells if cell.type is CellType.BASE]
    seen = {True: 0, False: 0}
    for _ in range(600):
        cell, key = rng.choice(cells), rng.choice(KEYS)
        at_ms = FROM_MS + rng.randrange(3 * DAY_MS)
        category = CATALOGUE.category_by_key[key]
        found = match(Question(inside(cell), 200.0, category, category.priority_at(Stage.ALARM), at_ms), world)
        if found.areas["cell"] != cell.code or "exclusive" in found.areas:
            continue
        holes = [one for one in proof.holes if one.kind is not Kind.OFFICE and one.from_ms <= at_ms < one.until_ms]
        is_hole = any(cell.code in one.cells and key in one.categories for one in holes)
        assert ("LAST_RESORT" in found.reasons) is is_hole, (cell.code, key, at_ms, found.reasons)
        seen[is_hole] += 1
    assert min(seen.values()) > 20
