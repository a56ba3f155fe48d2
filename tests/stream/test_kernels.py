"""The compiled loops are compiled, exact, and do the same without the compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from models import geo
from stream import kernels, locate
from stream.kernels import Parts, Segments
from tests.stream import builders as b

IS_PLAIN = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
ENTRY_POINTS: tuple[Callable[..., Any], ...] = (
    kernels.first_cover,
    kernels.first_covers,
    kernels.all_covers,
    kernels.nearest_line,
    kernels.nearest_lines,
    kernels.parts_within,
)
Ring = list[tuple[int, int]]


def parts(*rings: Ring) -> Parts:
    """Make one part: an outer ring and its holes, not closed."""
    ends = [(*a, *b) for ring in rings for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)]
    x1, y1, x2, y2 = (np.array(column, dtype=np.int64) for column in zip(*ends, strict=True))
    box = np.array([[min(x1), min(y1), max(x1), max(y1)]], dtype=np.int64)
    first = np.array([0, len(ends)], dtype=np.int64)
    return Parts(Segments(x1, y1, x2, y2), first, box, np.zeros(1, dtype=np.int32))


@pytest.mark.skipif(IS_PLAIN, reason="the compiler is switched off")
@pytest.mark.parametrize("kernel", ENTRY_POINTS, ids=lambda kernel: kernel.__name__)
def test_what_runs_is_machine_code(kernel: Callable[..., Any]) -> None:
    locate.warm()
    assert kernels.signatures(kernel)


@pytest.mark.skipif(IS_PLAIN, reason="the compiler is switched off")
def test_nothing_is_compiled_after_the_warm_up() -> None:
    locate.warm()
    before = [kernels.signatures(kernel) for kernel in ENTRY_POINTS]
    locator = locate.Locator(b.places())
    locator.locate(*b.at(50, 50))
    locator.locate(*b.at(-150, 50))
    locator.cells_within(*b.at(99, 50), 20.0)
    locator.areas_many([b.at(50, 50), b.at(5000, 5000)])
    assert [kernels.signatures(kernel) for kernel in ENTRY_POINTS] == before


@pytest.mark.slow
@pytest.mark.skipif(IS_PLAIN, reason="it is off already")
def test_everything_runs_without_the_compiler() -> None:
    tests = ["tests/stream/test_locate.py", "tests/stream/test_kernels.py", "tests/stream/test_rank.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    done = subprocess.run(
        command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("point", "is_covered"),
    [
        ((8, 8), True),
        ((0, 0), True),  # a corner
        ((10, 5), True),  # a border
        ((5, 10), True),  # a border that lies along the ray
        ((15, 10), False),  # outside, on the line of that border
        ((11, 5), False),
        ((3, 3), True),  # the border of the hole belongs to the polygon
        ((4, 4), False),  # inside the hole
    ],
)
def test_a_polygon_covers_its_borders_and_those_of_its_holes(point: tuple[int, int], is_covered: bool) -> None:
    square = parts([(0, 0), (10, 0), (10, 10), (0, 10)], [(3, 3), (3, 6), (6, 6), (6, 3)])
    assert bool(kernels.covers(square, 0, *point)) is is_covered


def test_one_unit_beside_a_border_is_beside_it_however_long_the_border() -> None:
    far = kernels.MAX_SPAN_E7 - 1
    wedge = parts([(0, 0), (far, far - 1), (far, far)])
    assert kernels.covers(wedge, 0, far // 2, far // 2)
    assert not kernels.covers(wedge, 0, far // 2, far // 2 + 1)


coordinates = st.integers(-20, 20)
points = st.tuples(coordinates, coordinates)


@settings(max_examples=300, deadline=None)
@given(st.lists(points, min_size=3, max_size=9, unique=True), st.lists(points, min_size=1, max_size=20))
def test_covers_says_what_shapely_says_on_the_same_integers(ring: Ring, asked: list[tuple[int, int]]) -> None:
    polygon = shapely.Polygon(ring)
    if not polygon.is_valid or polygon.area == 0:
        return
    part = parts(ring)
    for point in [*asked, *ring]:
        assert kernels.covers(part, 0, *point) == polygon.covers(shapely.Point(point)), point


@given(st.integers(-899_000_000, 899_000_000))
def test_metres_per_unit_are_those_of_the_models(lat: int) -> None:
    lon_m, lat_m = geo.metres_per_degree(lat / 1e7)
    assert kernels.metres_per_unit(lat) == pytest.approx((lon_m / 1e7, lat_m / 1e7), rel=1e-12)


@given(points, points, points)
def test_a_distance_to_a_segment_is_that_of_the_models(
    a: tuple[int, int], b: tuple[int, int], p: tuple[int, int]
) -> None:
    scaled = [(x * 1000, y * 1000) for x, y in (a, b, p)]
    pieces = Segments(*(np.array([value], dtype=np.int64) for value in (*scaled[0], *scaled[1])))
    mm = kernels.segment_mm(pieces, 0, *scaled[2], *kernels.metres_per_unit(scaled[2][1]))
    assert mm == pytest.approx(1000 * geo.segment_distance_m(scaled[2], scaled[0], scaled[1]), abs=0.6)
