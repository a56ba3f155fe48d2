"""The compiled loops that find whose a point is: exact integers for inside or outside, float64 metres for near or far.

Coordinates are integers of 1e-7 degree. A layer of places is one int32 array, laid out as `stream.squares` says. A part
may span at most `MAX_SPAN_E7` in each direction: then no product of two differences leaves 64 bits, and every test of
a border is exact.

This is the only door to numba, and to its cache.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Bits = npt.NDArray[np.uint8]
F = TypeVar("F", bound=Callable[..., Any])

MAX_SPAN_E7: Final = 1 << 30
NONE: Final = -1
HEADER: Final = 6
MAX_NEIGHBOURS: Final = 4
"""Other owners near a point who are told."""
ROOM: Final = 64
"""Owners that one question makes room for at first."""
BLOCK: Final = 512
"""Points whose squares are looked up together, so that the memory is asked for many at a time."""
LOWEST_BIT: Final = np.append(0, np.array([2**bit % 37 for bit in range(36)]).argsort())
"""Place of the only bit that is set, by remainder: the powers of two differ modulo 37."""
AHEAD: Final = 16
"""Numbers to the next line of the cache; a layer ends with as many that mean nothing."""
OUTSIDE_MM: Final = (15_000, 50_000, 200_000)
"""A point outside all cells still belongs to the nearest within the last; the first ones make the search short."""
MAX_RADIUS_MM: Final = 150_000
"""A vaguer position says nothing about who else is concerned."""


_settings: Any = numba.config  # its names are made when it is imported


def sources() -> list[Path]:
    """Return every file whose functions, or whose constants, become machine code."""
    folder = Path(__file__).parent
    return [folder / f"{name}.py" for name in ("kernels", "layout", "squares")] + sorted(folder.glob("chain/*.py"))


def _cache_folder() -> Path:
    """Return a folder for the machine code of the sources as they are: numba looks at the file of a function alone.

    Where it cannot be written, numba goes to the user's cache.
    """
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources()))
    return Path(_settings.CACHE_DIR or Path(__file__).parent / "__pycache__") / f"kernels-{digest.hexdigest()[:16]}"


_settings.CACHE_DIR = str(_cache_folder())
_njit: Any = numba.njit  # its stubs leave `_nrt` out


def kernel(function: F) -> F:
    """Compile `function`; numba has no types of its own, so the plain function's stay."""
    compiled: Any = _njit(cache=True, error_model="numpy")(function)
    return cast("F", compiled)


def bare(function: F) -> F:
    """Compile `function` without counting references: it may make no arrays, and is quicker to call."""
    compiled: Any = _njit(cache=True, _nrt=False, error_model="numpy")(function)
    return cast("F", compiled)


def inlined(function: F) -> F:
    """Compile `function` like `bare`, into whoever calls it: for what takes whole tables and is called all the time."""
    compiled: Any = _njit(cache=True, _nrt=False, error_model="numpy", forceinline=True)(function)
    return cast("F", compiled)


def signatures(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Return the argument types for which `function` has machine code; none where the compiler is switched off."""
    return tuple(getattr(function, "signatures", ()))


class Layers(NamedTuple):
    """The layers of a map, and which exclusive cell answers for which category: (exclusive cells, categories)."""

    cells: Indices
    micro: Indices
    nodes: Indices
    lines: Indices
    exclusive: Indices
    answers: Bits


class Asked(NamedTuple):
    """Questions, one a row: position, how vague it is, and the category's index; below 0: any exclusive cell counts."""

    lon: Ints
    lat: Ints
    radius_mm: Ints
    category: Ints


class Owners(NamedTuple):
    """Who owns each point, as indices of each layer, `NONE` where nobody does.

    Attributes:
        cell_mm: how far the cell is, 0 inside.
        near: (n, MAX_NEIGHBOURS): other cells within the radius, nearest first, then by precedence.
    """

    cell: Indices
    cell_mm: Ints
    micro: Indices
    node: Indices
    line: Indices
    exclusive: Indices
    near: Indices


@kernel
def _entry(layer: Indices, lon: int, lat: int) -> int:
    """Return the entry of the square that holds a point, `NONE` outside the grid."""
    column, row = (lon - layer[0]) >> layer[2], (lat - layer[1]) >> layer[3]
    # One sign tells all four sides: a processor that guesses at each of them is often wrong.
    if column | row | (layer[4] - 1 - column) | (layer[5] - 1 - row) < 0:
        return NONE
    return int(layer[HEADER + row * np.int64(layer[4]) + column])


@kernel
def _cover(layer: Indices, at: int, lon: int, lat: int) -> int:
    """Return the mask of the parts of the chunk at `at` that cover a point, borders included.

    Seen from the reference point, the way from the point p crosses the segment from a to b if a and b lie on different
    sides of the line through p, and p lies right of the line from a to b: the reference point never does.
    """
    n_owners, n_segments = layer[at] >> 1, layer[at + 1]
    mask, border = np.int64(layer[at + 2]), np.int64(0)
    x, y = lon - np.int64(layer[at + 3]), lat - np.int64(layer[at + 4])
    first = at + 5 + n_owners
    for s in range(first, first + 5 * n_segments, 5):
        x1, y1 = np.int64(layer[s]), np.int64(layer[s + 1])
        x2, y2 = np.int64(layer[s + 2]), np.int64(layer[s + 3])
        side1, side2 = x1 * y - y1 * x, x2 * y - y2 * x
        left = x1 * y2 - y1 * x2 + side2 - side1
        if left == 0 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
            border |= layer[s + 4]
        # Without a branch, for the same reason.
        mask ^= np.int64(layer[s + 4]) * ((left < 0) & ((side1 > 0) != (side2 > 0)))
    return int(mask | border)


@kernel
def _first_of(layer: Indices, at: int, lon: int, lat: int) -> int:
    """Return the first owner of the record at `at` that covers a point."""
    while True:
        mask = _cover(layer, at, lon, lat)
        if mask:
            return int(layer[at + 5 + LOWEST_BIT[(mask & -mask) % 37]])
        if not layer[at] & 1:
            return NONE
        at += 5 + (layer[at] >> 1) + 5 * layer[at + 1]


@kernel
def first(layer: Indices, lon: int, lat: int) -> int:
    """Return the first owner, in order of precedence, that covers a point, else `NONE`."""
    entry = _entry(layer, lon, lat)
    return entry if entry >= NONE else _first_of(layer, -entry, lon, lat)


@bare
def firsts(layer: Indices, lon: Ints, lat: Ints, found: Indices, scratch: Ints) -> None:
    """Put `first` of each point into `found`; `scratch` is (5, BLOCK), to work with.

    Block by block: the squares, then the start of the records of those that lie on a border, then the records. The
    first passes ask the memory for many things at a time; point by point, the processor would wait for one by one.
    """
    square, inside, at, open_at, fetched = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    for low in range(0, len(lon), BLOCK):
        x, y, here = lon[low : low + BLOCK], lat[low : low + BLOCK], found[low : low + BLOCK]
        here[:] = NONE
        if not _squares(layer, x, y, square):
            continue
        n_inside, n = 0, 0
        for i in range(len(x)):
            inside[n_inside] = i
            n_inside += square[i] >= 0
        for k in range(n_inside):
            i = inside[k]
            entry = int(layer[HEADER + square[i]])
            here[i] = entry
            at[n], open_at[n] = -entry, i
            n += entry < NONE
        for k in range(n):
            fetched[k] = layer[at[k]] + layer[at[k] + AHEAD]
        for k in range(n):
            i = open_at[k]
            here[i] = _first_of(layer, at[k], x[i], y[i])


@kernel
def _squares(layer: Indices, lon: Ints, lat: Ints, square: Ints) -> bool:
    """Put the square of each point into `square`, `NONE` outside the grid, and return whether any lies inside.

    Without a branch: the processor does eight points at a time.
    """
    x0, y0, x_shift, y_shift = np.int64(layer[0]), np.int64(layer[1]), np.int64(layer[2]), np.int64(layer[3])
    columns, rows = np.int64(layer[4]), np.int64(layer[5])
    signs = np.int64(-1)
    for i in range(len(lon)):
        column, row = (lon[i] - x0) >> x_shift, (lat[i] - y0) >> y_shift
        sign = column | row | (columns - 1 - column) | (rows - 1 - row)
        square[i] = NONE if sign < 0 else row * columns + column
        signs &= sign
    return bool(signs >= 0)


@kernel
def every(layer: Indices, lon: int, lat: int, found: Indices) -> int:
    """Put every owner that covers a point into `found`, each once; return how many there are, if need be too many."""
    entry = _entry(layer, lon, lat)
    if entry >= NONE:
        if entry != NONE and len(found):
            found[0] = entry
        return int(entry != NONE)
    at, n, last = -entry, 0, NONE
    while True:
        mask = _cover(layer, at, lon, lat)
        for bit in range(layer[at] >> 1):
            owner = int(layer[at + 5 + bit])
            if (mask >> bit) & 1 and owner != last:
                if n < len(found):
                    found[n] = owner
                n, last = n + 1, owner
        if not layer[at] & 1:
            return n
        at += 5 + (layer[at] >> 1) + 5 * layer[at + 1]


@kernel
def metres_per_unit(lat: int) -> tuple[float, float]:
    """Return the lengths of 1e-7 degree of longitude and of latitude, as `models.geo.metres_per_degree` has them.

    The cosines of the multiples of an angle are polynomials in its cosine: one cosine instead of six.
    """
    c = math.cos(math.radians(lat / 1e7))
    c2 = 2 * c * c - 1
    c3, c4 = c * (2 * c2 - 1), 2 * c2 * c2 - 1
    c5, c6 = 2 * c2 * c3 - c, 2 * c3 * c3 - 1
    x = 111_412.84 * c - 93.5 * c3 + 0.118 * c5
    y = 111_132.92 - 559.82 * c2 + 1.175 * c4 - 0.0023 * c6
    return max(x, 0.0) / 1e7, y / 1e7


@kernel
def segment_mm(ax: float, ay: float, bx: float, by: float) -> int:
    """Return how far the segment from a to b, in metres from the point asked, is from it, in whole millimetres.

    Whole, so that two that meet are equally far from a point beyond their common end.
    """
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy
    along = -(ax * dx + ay * dy)
    if along <= 0.0 or length2 == 0.0:
        distance_m = math.sqrt(ax * ax + ay * ay)
    elif along >= length2:
        distance_m = math.sqrt(bx * bx + by * by)
    else:
        distance_m = abs(ax * by - ay * bx) / math.sqrt(length2)
    return int(distance_m * 1000.0 + 0.5)


@kernel
def nearest_line(layer: Indices, lon: int, lat: int) -> int:
    """Return the line whose centreline is nearest, of those within whose buffer the point lies; of two the first."""
    entry = _entry(layer, lon, lat)
    if entry == NONE:
        return NONE
    x_m, y_m = metres_per_unit(lat)
    best, best_mm = NONE, 0
    first_at = 1 - entry
    for s in range(first_at, first_at + 6 * layer[-entry], 6):
        ax, ay = (layer[s + 2] - lon) * x_m, (layer[s + 3] - lat) * y_m
        bx, by = (layer[s + 4] - lon) * x_m, (layer[s + 5] - lat) * y_m
        mm = segment_mm(ax, ay, bx, by)
        if mm <= layer[s + 1] and (best == NONE or mm < best_mm):
            best, best_mm = int(layer[s]), mm
    return best


@kernel
def nearest_lines(layer: Indices, lon: Ints, lat: Ints, found: Indices) -> None:
    """Put `nearest_line` of each point into `found`."""
    for i in range(len(lon)):
        found[i] = nearest_line(layer, lon[i], lat[i])


@kernel
def _note(owner: int, mm: int, n: int, found: Indices, found_mm: Ints) -> int:
    """Note how far an owner is, if he is nearer than noted; return how many are noted, if need be more than fit."""
    for i in range(min(n, len(found))):
        if found[i] == owner:
            found_mm[i] = min(found_mm[i], mm)
            return n
    if n < len(found):
        found[n], found_mm[n] = owner, mm
    return n + 1


@kernel
def _note_borders(
    layer: Indices,
    at: int,
    place: tuple[int, int, float, float],
    radius_mm: int,
    n: int,
    found: Indices,
    found_mm: Ints,
) -> int:
    """Note the owners of the borders of the record at `at` that come within a radius of a place."""
    lon, lat, x_m, y_m = place
    while True:
        n_owners, n_segments = layer[at] >> 1, layer[at + 1]
        x, y = lon - layer[at + 3], lat - layer[at + 4]
        owners = at + 5
        at = owners + n_owners
        for s in range(at, at + 5 * n_segments, 5):
            ax, ay = (layer[s] - x) * x_m, (layer[s + 1] - y) * y_m
            bx, by = (layer[s + 2] - x) * x_m, (layer[s + 3] - y) * y_m
            mm = segment_mm(ax, ay, bx, by)
            if mm <= radius_mm:
                mask = layer[s + 4]
                for bit in range(n_owners):
                    if (mask >> bit) & 1:
                        n = _note(layer[owners + bit], mm, n, found, found_mm)
        if not layer[owners - 5] & 1:
            return n
        at += 5 * n_segments


@kernel
def within(layer: Indices, lon: int, lat: int, radius_mm: int, found: Indices, found_mm: Ints) -> int:
    """Put the owners within a radius and their distances into `found`, `found_mm`; return how many there are.

    If that is more than fit, it may count an owner twice, and the rest is left out: ask again with more room.
    """
    n = every(layer, lon, lat, found)
    found_mm[:n] = 0
    x_m, y_m = metres_per_unit(lat)
    reach_x, reach_y = int(radius_mm / 1000.0 / max(x_m, 1e-6)) + 2, int(radius_mm / 1000.0 / y_m) + 2
    left, right = (
        max((lon - reach_x - layer[0]) >> layer[2], 0),
        min((lon + reach_x - layer[0]) >> layer[2], layer[4] - 1),
    )
    low, high = (
        max((lat - reach_y - layer[1]) >> layer[3], 0),
        min((lat + reach_y - layer[1]) >> layer[3], layer[5] - 1),
    )
    place = (lon, lat, x_m, y_m)
    for row in range(low, high + 1):
        for column in range(left, right + 1):
            entry = layer[HEADER + row * np.int64(layer[4]) + column]
            if entry < NONE:
                n = _note_borders(layer, -entry, place, radius_mm, n, found, found_mm)
    return n


@kernel
def by_distance(n: int, found: Indices, found_mm: Ints) -> None:
    """Sort the first `n` owners: nearest first, then by precedence."""
    for i in range(1, n):
        owner, mm, k = found[i], found_mm[i], i
        while k > 0 and (found_mm[k - 1] > mm or (found_mm[k - 1] == mm and found[k - 1] > owner)):
            found[k], found_mm[k] = found[k - 1], found_mm[k - 1]
            k -= 1
        found[k], found_mm[k] = owner, mm


@kernel
def nearest(layer: Indices, lon: int, lat: int, found: Indices, found_mm: Ints) -> int:
    """Return the owner nearest to a point that nobody covers, his distance in ``found_mm[0]``; `NONE` beyond 200 m."""
    for radius_mm in OUTSIDE_MM:
        n = min(within(layer, lon, lat, radius_mm, found, found_mm), len(found))
        if n:
            by_distance(n, found, found_mm)
            return int(found[0])
    return NONE


@kernel
def own(layers: Layers, asked: Asked, owners: Owners) -> None:
    """Find the owners of every layer, and who else is near, for each question."""
    room, room_mm = np.empty(ROOM, dtype=np.int32), np.empty(ROOM, dtype=np.int64)
    for i in range(len(asked.lon)):
        lon, lat, radius_mm, category = asked.lon[i], asked.lat[i], asked.radius_mm[i], asked.category[i]
        cell, cell_mm = first(layers.cells, lon, lat), np.int64(0)
        if cell == NONE:
            cell = nearest(layers.cells, lon, lat, room, room_mm)
            cell_mm = room_mm[0] if cell != NONE else np.int64(NONE)
        owners.cell[i], owners.cell_mm[i] = cell, cell_mm
        owners.micro[i] = first(layers.micro, lon, lat)
        owners.node[i] = first(layers.nodes, lon, lat)
        owners.line[i] = nearest_line(layers.lines, lon, lat)
        owners.exclusive[i] = NONE
        for k in range(min(every(layers.exclusive, lon, lat, room), ROOM)):
            if category < 0 or layers.answers[room[k], category]:
                owners.exclusive[i] = room[k]
                break
        owners.near[i, :] = NONE
        if cell == NONE or radius_mm > MAX_RADIUS_MM:
            continue
        n, told = min(within(layers.cells, lon, lat, radius_mm, room, room_mm), ROOM), 0
        by_distance(n, room, room_mm)
        for k in range(n):
            if room[k] != cell and told < MAX_NEIGHBOURS:
                owners.near[i, told] = room[k]
                told += 1
