"""Whose is this point? The four layers of `places.geojson` on uniform grids; the loops are in `stream.kernels`.

One winner per layer, whatever the order of the file: of cells the smallest code in byte order, of nodes the smallest
area, of lines the nearest centreline, then the lower level; ties go to the smaller code.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from models.content import covers
from models.errors import ConfigError, Problem
from models.geo import PointE7, metres_per_degree
from models.outlines import Columns, Polygons, ring_areas, stack, stack_lines
from models.places import Cell, CellType, Line, Node, Places
from stream import kernels, squares
from stream.kernels import (
    AHEAD,
    BLOCK,
    HEADER,
    MAX_NEIGHBOURS,
    MAX_RADIUS_MM,
    NONE,
    ROOM,
    Asked,
    Indices,
    Ints,
    Layers,
    Owners,
)
from stream.squares import Segments, Squares

MAX_RADIUS_M: Final = MAX_RADIUS_MM / 1000
MAX_SQUARES: Final = 1 << 23
MIN_SHIFT: Final = 8
"""Squares of at least 256 units, under three metres: in smaller ones borders may leave no place between them."""
SQUARES_PER_CELL: Final = 56
"""Of the layer that is asked most."""
SQUARES_PER_PART: Final = 24
MANY_PER_PART: Final = 512
CACHED_SQUARES: Final = 1 << 18
SQUARES_PER_PIECE: Final = 2
"""For each piece of a line. The more squares, the fewer borders in each, but the more memory to fetch."""


class Whereabouts(NamedTuple):
    """Who owns a point, by layer.

    Attributes:
        cell: code of the base cell; None farther than 200 m from all.
        cell_m: distance to it, 0 inside.
        exclusive: codes of all exclusive cells here; which of them counts depends on the category.
    """

    cell: str | None
    cell_m: float
    micro: str | None
    node: str | None
    line: str | None
    exclusive: tuple[str, ...]

    @property
    def areas(self) -> dict[str, str]:
        """The winners by layer; a layer without one is missing."""
        layers = {"cell": self.cell, "micro": self.micro, "node": self.node, "line": self.line}
        return {layer: code for layer, code in layers.items() if code is not None}


class Owner(NamedTuple):
    """A cell or node near a point."""

    code: str
    distance_m: float


class Codes(NamedTuple):
    """Codes by layer, in the order that `Owners` counts: that of precedence."""

    cell: tuple[str, ...]
    micro: tuple[str, ...]
    node: tuple[str, ...]
    line: tuple[str, ...]
    exclusive: tuple[str, ...]


class Locator:
    """The index over one version of the places. Building it is the expensive part; questions take microseconds.

    One thread at a time may ask: what the loops work with is kept from question to question.

    Attributes:
        codes: codes by layer; a place's index in `Owners` is its index here.
        layers: the layers, as the kernels want them.
        cell: gives the index of the base cell that covers a point, `NONE` where there is none. The quickest question:
            one call into machine code.
        cell_many: gives `cell` of many points, each (n,) int64, as (n,) int32.

    Raises:
        ConfigError: a polygon is wider than a quarter of the globe, where integers would no longer be exact, or borders
            lie so close that there is no room between them.
    """

    def __init__(self, places: Places, categories: Sequence[str] = ()) -> None:
        cells: dict[CellType, list[Cell]] = {kind: [] for kind in CellType}
        for cell in sorted(places.cells, key=_code):
            cells[cell.type].append(cell)
        nodes = _by_area(places.nodes)
        lines = sorted(places.lines, key=lambda line: (-line.kind.level, line.code))
        layers = (cells[CellType.BASE], cells[CellType.MICRO], nodes, lines, cells[CellType.EXCLUSIVE])
        self.codes = Codes(*(tuple(place.code for place in layer) for layer in layers))
        base, micro, exclusive = (
            _polygon_layer([cell.polygons for cell in cells[kind]], codes, squares_each)
            for kind, codes, squares_each in (
                (CellType.BASE, self.codes.cell, SQUARES_PER_CELL),
                (CellType.MICRO, self.codes.micro, SQUARES_PER_PART),
                (CellType.EXCLUSIVE, self.codes.exclusive, SQUARES_PER_PART),
            )
        )
        outlines = [_joined(node.polygons, node.frontage) for node in nodes]
        self.layers = Layers(
            cells=base,
            micro=micro,
            nodes=_polygon_layer(outlines, self.codes.node, SQUARES_PER_PART),
            lines=_line_layer(lines),
            exclusive=exclusive,
            answers=_answers(cells[CellType.EXCLUSIVE], categories),
        )
        self.cell: Callable[[int, int], int] = partial(kernels.first, base)
        self._room = np.empty(ROOM, dtype=np.int32)
        self.cell_many: Callable[[Ints, Ints], Indices] = _asked_together(base)

    def exclusive(self, lon_e7: int, lat_e7: int) -> list[int]:
        """Give the indices of all exclusive cells that cover a point."""
        room = self._room
        n = kernels.every(self.layers.exclusive, lon_e7, lat_e7, room)
        if n > len(room):
            self._room = np.empty(2 * n, dtype=np.int32)
            return self.exclusive(lon_e7, lat_e7)
        return cast("list[int]", room[:n].tolist())

    def owners(self, asked: Asked) -> Owners:
        """Find the owners of every layer for each question."""
        n = len(asked.lon)
        cell, micro, node, line, exclusive = (np.empty(n, dtype=np.int32) for _ in range(5))
        cell_mm, near = np.empty(n, dtype=np.int64), np.empty((n, MAX_NEIGHBOURS), dtype=np.int32)
        owners = Owners(cell, cell_mm, micro, node, line, exclusive, near)
        kernels.own(self.layers, asked, owners)
        return owners

    def locate(self, lon_e7: int, lat_e7: int) -> Whereabouts:
        """Find the owners of one point."""
        owners = self.owners(_plain([lon_e7], [lat_e7]))
        cell, micro, node, line = (
            codes[index] if index != NONE else None
            for codes, index in zip(
                self.codes[:4], (int(o[0]) for o in (owners.cell, owners.micro, owners.node, owners.line)), strict=True
            )
        )
        cell_m = int(owners.cell_mm[0]) / 1000 if cell is not None else math.inf
        return Whereabouts(
            cell,
            cell_m,
            micro,
            node,
            line,
            tuple(self.codes.exclusive[index] for index in self.exclusive(lon_e7, lat_e7)),
        )

    def locate_many(self, lon_e7: npt.ArrayLike, lat_e7: npt.ArrayLike) -> Owners:
        """Find the owners of many points, each array (n,) of 1e-7 degree."""
        return self.owners(_plain(lon_e7, lat_e7))

    def areas_many(self, points: Sequence[PointE7]) -> list[dict[str, str]]:
        """Give the codes by layer of each of the points."""
        if not points:
            return []
        owners = self.locate_many(*np.asarray(points, dtype=np.int64).reshape(-1, 2).T)
        found: list[dict[str, str]] = [{} for _ in points]
        for layer in ("cell", "micro", "node", "line"):
            codes, indices = getattr(self.codes, layer), getattr(owners, layer).tolist()
            for areas, index in zip(found, indices, strict=True):
                if index != NONE:
                    areas[layer] = codes[index]
        return found

    def cells_within(self, lon_e7: int, lat_e7: int, radius_m: float) -> list[Owner]:
        """Give the base cells within a radius, counted up to `MAX_RADIUS_M`: nearest first, then by code."""
        return _within(self.layers.cells, self.codes.cell, lon_e7, lat_e7, radius_m)

    def nodes_within(self, lon_e7: int, lat_e7: int, radius_m: float) -> list[Owner]:
        """Give the nodes within a radius, their frontage included, likewise."""
        return _within(self.layers.nodes, self.codes.node, lon_e7, lat_e7, radius_m)


def _within(layer: Indices, codes: Sequence[str], lon_e7: int, lat_e7: int, radius_m: float) -> list[Owner]:
    room, radius_mm = ROOM, millimetres(min(radius_m, MAX_RADIUS_M))
    while True:
        found, found_mm = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int64)
        n = kernels.within(layer, lon_e7, lat_e7, radius_mm, found, found_mm)
        if n <= room:
            break
        room = n
    kernels.by_distance(n, found, found_mm)
    places = zip(found[:n].tolist(), found_mm[:n].tolist(), strict=True)
    return [Owner(codes[index], mm / 1000) for index, mm in places]


def millimetres(metres: float) -> int:
    """Round metres as the kernels round distances."""
    return math.floor(metres * 1000 + 0.5)


def _plain(lon_e7: npt.ArrayLike, lat_e7: npt.ArrayLike) -> Asked:
    """Ask for owners alone: without a radius, of no category."""
    lon, lat = (np.ascontiguousarray(values, dtype=np.int64).reshape(-1) for values in (lon_e7, lat_e7))
    return Asked(lon, lat, np.zeros_like(lon), np.full_like(lon, NONE))


def _asked_together(layer: Indices) -> Callable[[Ints, Ints], Indices]:
    """Return the question for many points of a layer: a closure, since a small batch takes little more than a call."""
    firsts, empty, int32 = kernels.firsts, np.empty, np.dtype(np.int32)
    scratch = empty((5, BLOCK), dtype=np.int64)

    def cell_many(lon_e7: Ints, lat_e7: Ints) -> Indices:
        found: Indices = empty(len(lon_e7), int32)
        firsts(layer, lon_e7, lat_e7, found, scratch)
        return found

    return cell_many


_code = operator.attrgetter("code")
"""Characters compare as the bytes of UTF-8 do."""


def _by_area(nodes: Sequence[Node]) -> list[Node]:
    """Sort nodes as they take precedence: the smallest area first, then the smallest code."""
    by_code = sorted(nodes, key=_code)
    columns = stack([node.polygons for node in by_code])
    area = np.abs(ring_areas(columns))
    is_hole = np.ones(len(area), dtype=bool)
    is_hole[columns.part_start[:-1]] = False
    owner = np.repeat(columns.owner, np.diff(columns.part_start))
    total = np.bincount(owner, np.where(is_hole, -area, area), minlength=len(nodes))
    return [by_code[i] for i in np.argsort(total, kind="stable").tolist()]


def _joined(one: Polygons, other: Polygons) -> Polygons:
    return Polygons(one.raw + other.raw, one.rings + other.rings, one.parts + other.parts) if other else one


def _answers(exclusive: Sequence[Cell], categories: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Tell which exclusive cell answers for which category, (cells, categories)."""
    patterns = {pattern for cell in exclusive for pattern in cell.categories}
    stands = {pattern: [covers(pattern, key) for key in categories] for pattern in patterns}
    answers = np.zeros((len(exclusive), len(categories)), dtype=np.uint8)
    for number, cell in enumerate(exclusive):
        for pattern in cell.categories:
            answers[number] |= np.array(stands[pattern], dtype=np.uint8)
    return answers


def _polygon_layer(outlines: Sequence[Polygons], codes: Sequence[str], squares_each: int) -> Indices:
    columns = stack(outlines)
    segments, first = _borders(columns)
    _check_span(segments, first, columns, codes)
    grid = _grid(
        segments, np.zeros(2, dtype=np.int64), _squares_for(len(columns.owner), len(segments.x1), squares_each)
    )
    n = grid.columns * grid.rows
    lists = _listed(grid, segments, np.zeros((len(segments.x1), 2), dtype=np.int64))
    start, none = np.zeros(n + 1, dtype=np.int64), np.empty(0, dtype=np.int32)
    squares.list_centres(grid, segments, first, start, none)
    start = np.cumsum(start)
    centres = np.empty(start[-1], dtype=np.int32)
    squares.list_centres(grid, segments, first, start, centres)
    # A segment's record at most brings a chunk with one owner.
    room = HEADER + n + 11 * len(lists[1]) + 6 * len(centres) + AHEAD
    layer = np.zeros(room, dtype=np.int32)
    layer[:HEADER] = grid
    length = squares.pack_polygons(grid, segments, first, columns.owner, (*lists, start, centres), layer)
    if length < 0:
        code = codes[columns.owner[segments.part[lists[1][lists[0][-length - 1]]]]]
        what, remedy = "has borders so close together that no point lies between them", "simplify its polygon"
        raise ConfigError([Problem("places.geojson", code, what, remedy)])
    return layer[: length + AHEAD]  # what lies behind was never written, and so takes no memory


def _squares_for(parts: int, pieces: int, each: int) -> int:
    """Give how many squares suit a layer: many for each part as long as all of them fit the processor's cache."""
    return max(each * parts, min(MANY_PER_PART * parts, CACHED_SQUARES), pieces)


def _line_layer(lines: Sequence[Line]) -> Indices:
    points, first = stack_lines([line.points for line in lines])
    owner = np.repeat(np.arange(len(lines), dtype=np.int32), np.diff(first))
    segments = _pieces(points, owner, last=first[1:] - 1, drop_points=False)
    buffer_m = np.array([line.buffer_m for line in lines], dtype=np.float64)
    lat_deg = float(np.abs(points[:, 1]).max(initial=0)) / 1e7
    metres = metres_per_degree(min(lat_deg + 0.01, 89.9))
    reach = (np.ceil(1.02 * np.outer(buffer_m, 1e7 / np.array(metres))).astype(np.int64) + 1)[segments.part]
    grid = _grid(segments, reach.max(axis=0, initial=0), SQUARES_PER_PIECE * len(segments.x1))
    start, listed = _listed(grid, segments, reach)
    n = grid.columns * grid.rows
    layer = np.empty(HEADER + n * 2 + 6 * len(listed), dtype=np.int32)
    layer[:HEADER] = grid
    length = squares.pack_lines(grid, segments, np.floor(buffer_m * 1000 + 0.5).astype(np.int64), start, listed, layer)
    return layer[:length].copy()


def _borders(columns: Columns) -> tuple[Segments, Ints]:
    """Give the borders of parts, and where those of each part start."""
    ends = columns.ring_start[columns.part_start]  # positions where each part starts
    owner = np.repeat(np.arange(len(columns.owner), dtype=np.int32), np.diff(ends))
    segments = _pieces(columns.points, owner, last=columns.ring_start[1:] - 1, drop_points=True)
    first = np.searchsorted(segments.part, np.arange(len(columns.owner) + 1)).astype(np.int64)
    return segments, first


def _pieces(points: npt.NDArray[np.int32], part: Indices, *, last: Ints, drop_points: bool) -> Segments:
    """Join neighbours but across the `last` of a chain; a piece without length bounds nothing."""
    is_joined = np.ones(len(points), dtype=bool)
    is_joined[last] = False
    x, y = np.ascontiguousarray(points.T, dtype=np.int64)
    if drop_points:
        is_joined[:-1] &= (x[1:] != x[:-1]) | (y[1:] != y[:-1])
    start = np.flatnonzero(is_joined)
    return Segments(x[start], y[start], x[start + 1], y[start + 1], part[start])


def _check_span(segments: Segments, first: Ints, columns: Columns, codes: Sequence[str]) -> None:
    if not len(segments.x1):
        return
    at = first[:-1]
    for low, high in ((segments.x1, segments.x2), (segments.y1, segments.y2)):
        least = np.minimum.reduceat(np.minimum(low, high), at)
        wide = np.flatnonzero(np.maximum.reduceat(np.maximum(low, high), at) - least >= kernels.MAX_SPAN_E7)
        if len(wide):
            code = codes[columns.owner[wide[0]]]
            problem = Problem("places.geojson", code, "is wider than a quarter of the globe", "split its polygon")
            raise ConfigError([problem])


def _grid(segments: Segments, reach: Ints, wanted: int) -> Squares:
    """Lay about as many squares as wanted over segments and what they reach."""
    x1, y1, x2, y2, _ = segments
    if not len(x1):
        return Squares(0, 0, 0, 0, 0, 0)
    x0, y0 = int(min(x1.min(), x2.min()) - reach[0]), int(min(y1.min(), y2.min()) - reach[1])
    width = int(max(x1.max(), x2.max()) + reach[0]) - x0 + 1
    height = int(max(y1.max(), y2.max()) + reach[1]) - y0 + 1
    x0, y0 = max(x0, -(1 << 31)), max(y0, -(1 << 31))
    wanted = min(wanted, MAX_SQUARES)
    x_shift = y_shift = MIN_SHIFT
    while (((width - 1) >> x_shift) + 1) * (((height - 1) >> y_shift) + 1) > wanted * 2**0.5:
        if x_shift < y_shift:
            x_shift += 1
        else:
            y_shift += 1
    return Squares(x0, y0, x_shift, y_shift, ((width - 1) >> x_shift) + 1, ((height - 1) >> y_shift) + 1)


def _listed(grid: Squares, segments: Segments, reach: Ints) -> tuple[Ints, Indices]:
    start, none = np.zeros(grid.columns * grid.rows + 1, dtype=np.int64), np.empty(0, dtype=np.int32)
    squares.list_segments(grid, segments, reach, start, none)
    start = np.cumsum(start)
    listed = np.empty(start[-1], dtype=np.int32)
    squares.list_segments(grid, segments, reach, start, listed)
    return start, listed


def warm() -> None:
    """Compile every kernel, or load it from the cache: call this before the first message."""
    locator = Locator(Places())
    locator.cell(0, 0)
    locator.cell_many(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
    locator.locate(0, 0)
    locator.cells_within(0, 0, 1.0)
