"""Whose is this point? The index against the definition, on shapes that meet, overlap, have holes and lie apart."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.city import generate
from models.errors import ConfigError
from models.geo import PointE7
from models.outlines import Polygons
from models.places import CellType, LineKind, Places
from stream.kernels import NONE
from stream.locate import Locator
from tests.stream import builders as b
from tests.stream import reference
from tests.stream.builders import at, box

MESSY = b.places(
    cells=(
        b.cell("b", box(0, 0, 100, 100)),
        b.cell("a", box(100, 0, 200, 100)),
        b.cell("B", (*box(0, 100, 200, 200), *box(50, 120, 150, 180))),
        b.cell("c", box(50, 120, 150, 180)),
        b.cell("m1", box(10, 10, 60, 60), type=CellType.MICRO),
        b.cell("x1", box(20, 20, 150, 50), type=CellType.EXCLUSIVE, categories=("fire.*",)),
        b.cell("x2", box(40, 20, 180, 50), type=CellType.EXCLUSIVE, categories=("order.vendor",)),
    ),
    nodes=(
        b.node("big", box(30, 30, 90, 90)),
        b.node("small", box(40, 40, 60, 60), frontage=Polygons.of([box(40, 30, 60, 40), box(35, 25, 65, 35)])),
        b.node("equal", box(70, 40, 90, 60)),
    ),
    lines=(
        b.line("street", (0, 100), (200, 100), kind=LineKind.STREET, buffer_m=20),
        b.line("a-road", (100, 0), (100, 200), kind=LineKind.ROAD, buffer_m=12),
        b.line("lane", (100, 100), (150, 150), (200, 100), kind=LineKind.LANE, buffer_m=5),
        b.line("lane-0", (100, 0), (100, 50), kind=LineKind.LANE, buffer_m=5),
    ),
)
LOCATOR = Locator(MESSY)
BASE = [cell for cell in MESSY.cells if cell.type is CellType.BASE]


def corners(places: Places) -> list[PointE7]:
    """Give every vertex of every polygon: where errors live."""
    polygons = [polygon for cell in places.cells for polygon in cell.polygons]
    polygons += [polygon for node in places.nodes for polygon in node.polygons]
    return sorted({point for polygon in polygons for ring in polygon for point in ring})


places_on_the_map = st.one_of(
    st.builds(at, st.floats(-20, 220), st.floats(-20, 220)),
    st.sampled_from(corners(MESSY)),
    st.builds(
        lambda a, x, y: (a[0] + x, a[1] + y), st.sampled_from(corners(MESSY)), st.integers(-2, 2), st.integers(-2, 2)
    ),
    # Points on the borders between corners.
    st.builds(lambda a, b: ((a[0] + b[0]) // 2, (a[1] + b[1]) // 2), *[st.sampled_from(corners(MESSY))] * 2),
)


@settings(max_examples=400, deadline=None)
@given(places_on_the_map)
def test_the_winners_are_those_of_the_definition(point: PointE7) -> None:
    found = LOCATOR.locate(*point)
    cell = reference.cell_of(BASE, point)
    assert (found.cell if found.cell_m == 0 else None) == cell
    assert found.node == reference.node_of(MESSY.nodes, point)
    exclusive = [(cell.code, cell.polygons) for cell in MESSY.cells if cell.type is CellType.EXCLUSIVE]
    assert list(found.exclusive) == reference.covering(exclusive, point)
    assert found.micro == reference.cell_of([c for c in MESSY.cells if c.type is CellType.MICRO], point)
    lines = reference.line_of(MESSY.lines, point)
    assert found.line in lines if lines else found.line is None


@settings(max_examples=50, deadline=None)
@given(st.lists(places_on_the_map, max_size=30))
def test_a_batch_says_what_single_questions_say(points: list[PointE7]) -> None:
    assert LOCATOR.areas_many(points) == [LOCATOR.locate(*point).areas for point in points]


def test_a_batch_of_arrays_gives_indices_by_layer() -> None:
    lon, lat = np.array([at(50, 50), at(5000, 50)]).T
    winners = LOCATOR.locate_many(lon, lat)
    assert LOCATOR.codes.cell[winners.cell[0]] == "b"
    assert (winners.cell[1], winners.line[1]) == (NONE, NONE)


# --- each rule by itself ---------------------------------------------------------------------------------------------


def test_on_a_shared_border_the_smallest_code_in_byte_order_wins() -> None:
    assert LOCATOR.locate(*at(100, 50)).cell == "a"
    assert LOCATOR.locate(*at(50, 100)).cell == "B"
    assert LOCATOR.locate(*at(100, 100)).cell == "B"


def test_a_hole_belongs_to_the_cell_that_fills_it() -> None:
    assert LOCATOR.locate(*at(100, 150)).cell == "c"
    assert LOCATOR.locate(*at(50, 150)).cell == "B"


def test_of_nodes_the_smallest_wins_with_its_frontage() -> None:
    assert LOCATOR.locate(*at(50, 50)).node == "small"
    assert LOCATOR.locate(*at(45, 37)).node == "small"
    assert LOCATOR.locate(*at(35, 85)).node == "big"


def test_frontages_that_overlap_do_not_cut_each_other_out() -> None:
    assert LOCATOR.locate(*at(50, 32)).node == "small"


def test_of_lines_the_nearest_wins_then_the_lower_level() -> None:
    assert LOCATOR.locate(*at(103, 93)).line == "a-road"
    assert LOCATOR.locate(*at(95, 98)).line == "street"
    assert LOCATOR.locate(*at(100, 20)).line == "lane-0"
    assert LOCATOR.locate(*at(50, 121)).line is None


def test_among_many_short_lines_none_within_its_buffer_is_missed() -> None:
    rng = random.Random(1)
    spots = [(rng.uniform(0, 2000), rng.uniform(0, 2000)) for _ in range(400)]
    lines = tuple(
        b.line(f"l{i:03}", (x, y), (x + rng.uniform(-9, 9), y + rng.uniform(1, 9)), buffer_m=rng.uniform(5, 80))
        for i, (x, y) in enumerate(spots)
    )
    locator = Locator(b.places(lines=lines))
    for _ in range(400):
        point = at(rng.uniform(0, 2000), rng.uniform(0, 2000))
        near = reference.line_of(lines, point)
        found = locator.locate(*point).line
        assert found in near if near else found is None


def test_outside_all_cells_the_nearest_within_200_m_still_answers() -> None:
    near = LOCATOR.locate(*at(-199, 50))
    assert near.cell == "b"
    assert near.cell_m == pytest.approx(199, abs=0.3)
    assert LOCATOR.locate(*at(-202, 50)).cell is None
    assert "cell" not in LOCATOR.areas_many([at(-202, 50)])[0]


def test_of_two_cells_equally_far_the_smaller_code_answers() -> None:
    assert LOCATOR.locate(*at(100, -20)).cell == "a"


@settings(max_examples=200, deadline=None)
@given(st.floats(-150, 350), st.floats(-150, 350), st.floats(1, 150))
def test_cells_within_a_radius_are_all_of_them_nearest_first(x_m: float, y_m: float, radius_m: float) -> None:
    point = at(x_m, y_m)
    found = LOCATOR.cells_within(*point, radius_m)
    away = {cell.code: reference.distance_m(cell.polygons, point) for cell in BASE}
    slack_m = 0.002
    assert {owner.code for owner in found} >= {code for code, m in away.items() if m <= radius_m - slack_m}
    assert {owner.code for owner in found} <= {code for code, m in away.items() if m <= radius_m + slack_m}
    assert [owner.distance_m for owner in found] == sorted(owner.distance_m for owner in found)
    for owner in found:
        assert owner.distance_m == pytest.approx(away[owner.code], abs=slack_m)


def test_a_radius_counts_up_to_150_m() -> None:
    assert LOCATOR.cells_within(*at(-151, 50), 10_000.0) == []
    assert [owner.code for owner in LOCATOR.cells_within(*at(-149, 50), 10_000.0)] == ["b"]


def test_more_neighbours_than_expected_are_all_found() -> None:
    crowd = b.places(cells=tuple(b.cell(f"{i:03}", box(i, 0, i + 1, 1)) for i in range(100)), nodes=(), lines=())
    assert len(Locator(crowd).cells_within(*at(50, 0.5), 100.0)) == 100
    piled = b.places(
        cells=tuple(b.cell(f"{i:03}", box(0, 0, 1, 1), type=CellType.EXCLUSIVE) for i in range(100)), nodes=(), lines=()
    )
    assert len(Locator(piled).locate(*at(0.5, 0.5)).exclusive) == 100


def test_an_empty_map_knows_nothing() -> None:
    empty = Locator(Places())
    assert empty.locate(*at(0, 0)).areas == {}
    assert empty.areas_many([at(0, 0)]) == [{}]
    assert empty.areas_many([]) == []


def test_a_polygon_too_wide_for_exact_integers_is_refused_by_name() -> None:
    wide = (((0, 0), (1_100_000_000, 0), (1_100_000_000, 10), (0, 0)),)
    with pytest.raises(ConfigError, match=r"wide-1.*quarter of the globe"):
        Locator(b.places(cells=(b.cell("wide-1", wide),)))


# --- a whole city ----------------------------------------------------------------------------------------------------


@cache
def city() -> tuple[Places, Locator]:
    places = generate(135, seed=0).places
    return places, Locator(places)


def test_every_vertex_of_a_city_belongs_to_the_smallest_code_that_covers_it() -> None:
    places, locator = city()
    vertices = random.Random(0).sample(corners(places), 300)
    cells = [cell for cell in places.cells if cell.type is CellType.BASE]
    found = [areas.get("cell") for areas in locator.areas_many(vertices)]
    assert found == [reference.cell_of(cells, vertex) for vertex in vertices]


def test_every_device_of_a_city_is_found_in_its_cell() -> None:
    places, locator = city()
    found = locator.areas_many([device.point for device in places.devices])
    assert [areas["cell"] for areas in found] == [device.cell for device in places.devices]
