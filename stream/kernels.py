"""The compiled inner loops of the locator: exact integers for inside or outside, float64 metres for near or far.

Coordinates are int64 of 1e-7 degree. A part may span at most `MAX_SPAN_E7` in each direction: then no product of two
differences leaves 64 bits, and every test of a border is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
F = TypeVar("F", bound=Callable[..., Any])

MAX_SPAN_E7: Final = 1 << 30
NONE: Final = -1


def kernel(function: F) -> F:
    """Compile `function`; numba has no types of its own, so the plain function's stay."""
    compiled: Any = numba.njit(cache=True)(function)
    return cast("F", compiled)


def signatures(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Return the argument types for which `function` has machine code; none where the compiler is switched off."""
    return tuple(getattr(function, "signatures", ()))


class Grid(NamedTuple):
    """Uniform squares in CSR form: square k lists ``items[start[k]:start[k + 1]]``, ascending.

    Square k is column ``k % columns`` and row ``k // columns`` from the south-west corner (x0, y0), `step` units wide.
    """

    x0: int
    y0: int
    step: int
    columns: int
    rows: int
    start: Ints
    items: Indices


class Segments(NamedTuple):
    """Straight pieces from (x1, y1) to (x2, y2)."""

    x1: Ints
    y1: Ints
    x2: Ints
    y2: Ints


class Parts(NamedTuple):
    """Polygons with holes, in order of precedence: part p is bounded by segments ``first[p]`` to ``first[p + 1]``.

    Attributes:
        box: (parts, 4): x_min y_min x_max y_max.
        owner: index of the place that a part belongs to.
    """

    segments: Segments
    first: Ints
    box: Ints
    owner: Indices


class Lines(NamedTuple):
    """Centrelines: segment s belongs to line ``owner[s]``, whose duty reaches ``buffer_mm[owner[s]]`` to each side."""

    segments: Segments
    owner: Indices
    buffer_mm: Ints


@kernel
def square_of(grid: Grid, lon: int, lat: int) -> int:
    """Return the square that holds a point, `NONE` outside the grid."""
    column, row = (lon - grid.x0) // grid.step, (lat - grid.y0) // grid.step
    if column < 0 or row < 0 or column >= grid.columns or row >= grid.rows:
        return NONE
    return row * grid.columns + column


@kernel
def covers(parts: Parts, p: int, lon: int, lat: int) -> bool:
    """Whether part `p` covers a point, its borders and those of its holes included. Exact.

    A ray to the east, half-open in latitude, so that a vertex on it counts once.
    """
    box = parts.box
    if lon < box[p, 0] or lat < box[p, 1] or lon > box[p, 2] or lat > box[p, 3]:
        return False
    x1, y1, x2, y2 = parts.segments
    inside = False
    for s in range(parts.first[p], parts.first[p + 1]):
        low, high = min(y1[s], y2[s]), max(y1[s], y2[s])
        if lat < low or lat > high:
            continue
        cross = (x2[s] - x1[s]) * (lat - y1[s]) - (y2[s] - y1[s]) * (lon - x1[s])
        if cross == 0:
            if min(x1[s], x2[s]) <= lon <= max(x1[s], x2[s]):
                return True
        elif (y1[s] > lat) != (y2[s] > lat) and (cross > 0) == (y2[s] > y1[s]):
            inside = not inside
    return inside


@kernel
def first_cover(grid: Grid, parts: Parts, lon: int, lat: int) -> int:
    """Return the first part, in order of precedence, that covers a point, else `NONE`."""
    square = square_of(grid, lon, lat)
    if square == NONE:
        return NONE
    for i in range(grid.start[square], grid.start[square + 1]):
        if covers(parts, grid.items[i], lon, lat):
            return int(grid.items[i])
    return NONE


@kernel
def first_covers(grid: Grid, parts: Parts, lon: Ints, lat: Ints, found: Indices) -> None:
    """Put `first_cover` of each point into `found`."""
    for i in range(len(lon)):
        found[i] = first_cover(grid, parts, lon[i], lat[i])


@kernel
def all_covers(grid: Grid, parts: Parts, lon: int, lat: int, found: Indices) -> int:
    """Put every part that covers a point into `found` and return how many there are, if need be more than fit."""
    square = square_of(grid, lon, lat)
    if square == NONE:
        return 0
    n = 0
    for i in range(grid.start[square], grid.start[square + 1]):
        if covers(parts, grid.items[i], lon, lat):
            if n < len(found):
                found[n] = grid.items[i]
            n += 1
    return n


@kernel
def metres_per_unit(lat: int) -> tuple[float, float]:
    """Return the lengths of 1e-7 degree of longitude and of latitude, as `models.geo.metres_per_degree` has them."""
    phi = math.radians(lat / 1e7)
    x = 111_412.84 * math.cos(phi) - 93.5 * math.cos(3 * phi) + 0.118 * math.cos(5 * phi)
    y = 111_132.92 - 559.82 * math.cos(2 * phi) + 1.175 * math.cos(4 * phi) - 0.0023 * math.cos(6 * phi)
    return max(x, 0.0) / 1e7, y / 1e7


@kernel
def segment_mm(segments: Segments, s: int, lon: int, lat: int, x_m: float, y_m: float) -> int:
    """Return the distance from a point to segment `s` in whole millimetres.

    Whole, so that two lines that meet are equally far from a point beyond their common end.
    """
    ax, ay = (segments.x1[s] - lon) * x_m, (segments.y1[s] - lat) * y_m
    bx, by = (segments.x2[s] - lon) * x_m, (segments.y2[s] - lat) * y_m
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy
    along = -(ax * dx + ay * dy)
    if along <= 0.0 or length2 == 0.0:
        distance_m = math.hypot(ax, ay)
    elif along >= length2:
        distance_m = math.hypot(bx, by)
    else:
        distance_m = abs(ax * by - ay * bx) / math.sqrt(length2)
    return math.floor(distance_m * 1000.0 + 0.5)


@kernel
def nearest_line(grid: Grid, lines: Lines, lon: int, lat: int) -> int:
    """Return the line whose centreline is nearest, of those within whose buffer the point lies.

    Of two the first: segments stand in the order of their lines, in the grid too.
    """
    square = square_of(grid, lon, lat)
    if square == NONE:
        return NONE
    x_m, y_m = metres_per_unit(lat)
    best, best_mm = NONE, 0
    for i in range(grid.start[square], grid.start[square + 1]):
        s = grid.items[i]
        owner = lines.owner[s]
        mm = segment_mm(lines.segments, s, lon, lat, x_m, y_m)
        if mm > lines.buffer_mm[owner]:
            continue
        if best == NONE or mm < best_mm:
            best, best_mm = int(owner), mm
    return best


@kernel
def nearest_lines(grid: Grid, lines: Lines, lon: Ints, lat: Ints, found: Indices) -> None:
    """Put `nearest_line` of each point into `found`."""
    for i in range(len(lon)):
        found[i] = nearest_line(grid, lines, lon[i], lat[i])


@kernel
def part_mm(parts: Parts, p: int, lon: int, lat: int, x_m: float, y_m: float) -> int:
    """Return the distance from a point to part `p` in whole millimetres, 0 where it covers the point."""
    if covers(parts, p, lon, lat):
        return 0
    best_mm = NONE
    for s in range(parts.first[p], parts.first[p + 1]):
        mm = segment_mm(parts.segments, s, lon, lat, x_m, y_m)
        if best_mm == NONE or mm < best_mm:
            best_mm = mm
    return best_mm


@kernel
def parts_within(grid: Grid, parts: Parts, lon: int, lat: int, radius_mm: int, found: Indices, found_mm: Ints) -> int:
    """Put the parts within a radius and their distances into `found`, `found_mm`; return how many there are.

    If that is more than fit, the rest is left out. The order is that of the squares.
    """
    x_m, y_m = metres_per_unit(lat)
    reach_x = int(radius_mm / 1000.0 / max(x_m, 1e-6)) + 1
    reach_y = int(radius_mm / 1000.0 / y_m) + 1
    left = max((lon - reach_x - grid.x0) // grid.step, 0)
    right = min((lon + reach_x - grid.x0) // grid.step, grid.columns - 1)
    bottom = max((lat - reach_y - grid.y0) // grid.step, 0)
    top = min((lat + reach_y - grid.y0) // grid.step, grid.rows - 1)
    n = 0
    for row in range(bottom, top + 1):
        for column in range(left, right + 1):
            square = row * grid.columns + column
            for i in range(grid.start[square], grid.start[square + 1]):
                p = grid.items[i]
                # A part lies in several squares: it is looked at in the first of them that is in reach.
                own_column = max((parts.box[p, 0] - grid.x0) // grid.step, left)
                own_row = max((parts.box[p, 1] - grid.y0) // grid.step, bottom)
                if own_column != column or own_row != row:
                    continue
                mm = part_mm(parts, p, lon, lat, x_m, y_m)
                if mm <= radius_mm:
                    if n < len(found):
                        found[n], found_mm[n] = p, mm
                    n += 1
    return n
