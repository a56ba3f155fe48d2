"""The compiled loops are compiled, exact, and do the same without the compiler."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from models import geo
from models.errors import ConfigError
from models.geo import PointE7, Polygon
from models.messages import Priority
from models.outlines import Polygons
from models.places import Cell, CellKind, CellType, Places
from stream import chain, kernels, locate, matcher, rank
from stream.kernels import NONE
from stream.locate import Locator
from stream.rank import Question
from tests.stream import builders as b
from tests.stream import reference

IS_PLAIN = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
EXAMPLES = 20 if IS_PLAIN else 120
ENTRY_POINTS: tuple[Callable[..., Any], ...] = (
    kernels.first,
    kernels.firsts,
    kernels.every,
    kernels.within,
    kernels.own,
    chain.rank,
)
Ring = list[PointE7]


def cells(*outlines: Sequence[Sequence[Ring]], kind: CellType = CellType.BASE) -> Places:
    """Make cells of polygons, each a list of rings that are not closed; codes in order."""
    return Places(
        cells=tuple(
            Cell(
                code=f"{i:03}",
                kind=CellKind.MIXED,
                parent="area",
                type=kind,
                polygons=Polygons.of([[[*ring, ring[0]] for ring in polygon] for polygon in outline]),
                **b.NAMES,
            )
            for i, outline in enumerate(outlines)
        )
    )


def oracle(places: Places, point: PointE7) -> int:
    code = reference.cell_of(places.cells, point)
    return NONE if code is None else int(code)


@pytest.mark.skipif(IS_PLAIN, reason="the compiler is switched off")
@pytest.mark.parametrize("kernel", ENTRY_POINTS, ids=lambda kernel: kernel.__name__)
def test_what_runs_is_machine_code(kernel: Callable[..., Any]) -> None:
    matcher.warm()
    assert kernels.signatures(kernel)


@pytest.mark.skipif(IS_PLAIN, reason="the compiler is switched off")
def test_nothing_is_compiled_after_the_warm_up() -> None:
    matcher.warm()
    before = [kernels.signatures(kernel) for kernel in ENTRY_POINTS]
    locator = locate.Locator(b.places())
    locator.locate(*b.at(50, 50))
    locator.locate(*b.at(-150, 50))
    locator.cells_within(*b.at(99, 50), 20.0)
    locator.areas_many([b.at(50, 50), b.at(5000, 5000)])
    locator.cell(*b.at(50, 50))
    reporters = frozenset({"p-grid-1"})
    question = Question(b.at(50, 50), 15.0, b.CATALOGUE.categories[0], Priority.P3, b.T0, reporters=reporters)
    rank.match(question, b.world())
    assert [kernels.signatures(kernel) for kernel in ENTRY_POINTS] == before


def test_the_cache_watches_every_file_that_is_compiled() -> None:
    """Numba looks at the file of a function alone: what that calls in another may change unseen."""
    package = Path(kernels.__file__).parent
    compiled = re.compile(r"^@(kernel|bare|inlined)$", re.MULTILINE)
    assert {path for path in package.rglob("*.py") if compiled.search(path.read_text())} < set(kernels.sources())


@pytest.mark.slow
@pytest.mark.skipif(IS_PLAIN, reason="it is off already")
def test_everything_runs_without_the_compiler() -> None:
    tests = ["tests/stream/test_locate.py", "tests/stream/test_kernels.py", "tests/stream/test_rank.py"]
    tests += ["tests/stream/test_chain.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    done = subprocess.run(
        command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- exact ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "is_covered"),
    [
        ((8, 8), True),
        ((0, 0), True),  # a corner
        ((10, 5), True),  # a border
        ((5, 10), True),
        ((15, 10), False),  # outside, on the line of that border
        ((11, 5), False),
        ((3, 3), True),  # the border of the hole belongs to the polygon
        ((4, 4), False),  # inside the hole
    ],
)
def test_a_polygon_covers_its_borders_and_those_of_its_holes(point: PointE7, is_covered: bool) -> None:
    outer, hole = [(0, 0), (10, 0), (10, 10), (0, 10)], [(3, 3), (3, 6), (6, 6), (6, 3)]
    assert (Locator(cells([[outer, hole]])).cell(*point) == 0) is is_covered


def test_one_unit_beside_a_border_is_beside_it_however_long_the_border() -> None:
    far = kernels.MAX_SPAN_E7 - 1
    wedge = Locator(cells([[[(0, 0), (far, far - 1), (far, far)]]]))
    assert wedge.cell(far // 2, far // 2) == 0
    assert wedge.cell(far // 2, far // 2 + 1) == NONE
    assert wedge.cell(far // 2, far // 2 - 1) == NONE


def test_a_square_with_more_parts_than_a_mask_has_bits_answers_all_the_same() -> None:
    fans = [[[[(0, 0), (100, i), (100, i + 1)]]] for i in range(100)]
    piled = Locator(cells(*fans, kind=CellType.EXCLUSIVE))
    assert len(piled.locate(0, 0).exclusive) == 100
    assert piled.locate(100, 50).exclusive == ("049", "050")
    fan = Locator(cells(*fans))
    assert [fan.cell(100, i) for i in range(101)] == [0, *range(100)]
    assert fan.cell(100, 101) == NONE


def test_borders_on_every_unit_of_a_square_are_refused_by_name() -> None:
    comb = [[[[(x, 0), (x + 1, 0), (x + 1, 600), (x, 600)]]] for x in range(600)]
    with pytest.raises(ConfigError, match=r"000.*borders so close together"):
        Locator(cells(*comb))


coordinates = st.one_of(st.integers(-20, 20), st.integers(-2_000, 2_000))
points = st.tuples(coordinates, coordinates)
rings = st.lists(points, min_size=3, max_size=9, unique=True)


def is_sound(polygon: shapely.Polygon) -> bool:
    return bool(polygon.is_valid and polygon.area > 0)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(rings, min_size=1, max_size=5), st.lists(points, min_size=1, max_size=20))
@example([[(0, 0), (20, 0), (20, 20), (0, 20)], [(20, 0), (40, 0), (40, 20), (20, 20)]], [(20, 10), (20, 20), (40, 5)])
def test_whatever_lies_over_whatever_the_smallest_code_that_shapely_says_covers_wins(
    drawn: list[Ring], asked: list[PointE7]
) -> None:
    drawn = [ring for ring in drawn if is_sound(shapely.Polygon(ring))]
    assume(drawn)
    places = cells(*[[[ring]] for ring in drawn])
    locator = Locator(places)
    on_borders = [p for ring in drawn for p in ring]
    middles = [((a[0] + c[0]) // 2, (a[1] + c[1]) // 2) for ring in drawn for a, c in pairwise(ring)]
    everywhere = [*asked, *on_borders, *middles]
    many = locator.cell_many(*(np.array(column, dtype=np.int64) for column in zip(*everywhere, strict=True)))
    for point, found in zip(everywhere, many.tolist(), strict=True):
        assert found == locator.cell(*point) == oracle(places, point), point


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(1, 2_000), st.integers(0, 2**32 - 1), st.lists(points, min_size=1, max_size=20))
def test_a_ring_with_a_hole_that_another_cell_fills_and_slivers_have_no_seam(
    size: int, seed: int, asked: list[PointE7]
) -> None:
    """A jagged hole with a cell in it, and beside them a sliver one unit wide: one border, three owners."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.choice(360, 12, replace=False)) / 360 * 2 * np.pi
    radius = rng.uniform(0.3, 0.9, 12) * size
    hole = list(
        dict.fromkeys(zip(*(np.rint(radius * f(angle)).astype(int).tolist() for f in (np.cos, np.sin)), strict=True))
    )
    outer = [(-size - 1, -size - 1), (size + 1, -size - 1), (size + 1, size + 1), (-size - 1, size + 1)]
    sliver = [(size + 1, -size - 1), (size + 2, -size - 1), (size + 1, size + 1)]
    assume(len(hole) > 2 and is_sound(shapely.Polygon(hole)) and is_sound(shapely.Polygon(outer, [hole])))
    places = cells([[outer, hole]], [[hole]], [[sliver]])
    locator = Locator(places)
    for point in [*asked, *hole, *outer, *sliver, (0, 0), (size + 1, 0), (size + 2, 0)]:
        assert locator.cell(*point) == oracle(places, point), point


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(rings, st.lists(points, min_size=1, max_size=20), points)
def test_a_place_of_many_parts_is_one_place(ring: Ring, asked: list[PointE7], away: PointE7) -> None:
    assume(is_sound(shapely.Polygon(ring)))
    other = [(x + away[0] + 5_000, y + away[1]) for x, y in ring]
    places = cells([[ring], [other]])
    locator = Locator(places)
    for x, y in [*asked, *ring]:
        for point in ((x, y), (x + away[0] + 5_000, y + away[1])):
            assert locator.cell(*point) == oracle(places, point), point


# --- near -------------------------------------------------------------------------------------------------------------


@settings(deadline=None)  # the first call loads its machine code
@given(st.integers(-899_000_000, 899_000_000))
def test_metres_per_unit_are_those_of_the_models(lat: int) -> None:
    lon_m, lat_m = geo.metres_per_degree(lat / 1e7)
    assert kernels.metres_per_unit(lat) == pytest.approx((lon_m / 1e7, lat_m / 1e7), rel=1e-9)


@settings(deadline=None)  # the first call loads its machine code
@given(points, points, points)
def test_a_distance_to_a_segment_is_that_of_the_models(a: PointE7, c: PointE7, p: PointE7) -> None:
    a, c, p = ((x * 1000, y * 1000) for x, y in (a, c, p))
    frame = geo.LocalFrame.at(p)
    mm = kernels.segment_mm(*frame.to_xy(a), *frame.to_xy(c))
    assert mm == pytest.approx(1000 * geo.segment_distance_m(p, a, c), abs=0.6)


def test_polygons_given_as_rings_are_closed() -> None:
    """The helper of this file, so that a slip here does not pass for exactness."""
    polygon: Polygon = next(iter(cells([[[(0, 0), (9, 0), (9, 9)]]]).cells[0].polygons))
    assert polygon[0][0] == polygon[0][-1]
