"""Whose is this point? The four layers of `places.geojson` on uniform grids; the loops are in `stream.kernels`.

One winner per layer, whatever the order of the file: of cells the smallest code in byte order, of nodes the smallest
area, of lines the nearest centreline, then the lower level; ties go to the smaller code.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import ConfigError, Problem
from models.geo import PointE7, Polygon, Ring, metres_per_degree
from models.places import Cell, CellKind, CellType, Line, LineKind, Node, NodeKind, Places
from stream import kernels
from stream.kernels import NONE, Grid, Indices, Ints, Lines, Parts, Segments

OUTSIDE_M: Final = 200.0
"""A point outside all cells still belongs to the nearest within this."""
MAX_RADIUS_M: Final = 150.0
"""A vaguer position says nothing about who else is concerned."""
MAX_SQUARES: Final = 4_000_000
ROOM: Final = 64
"""Results that one question makes room for at first."""


class Whereabouts(NamedTuple):
    """Who owns a point, by layer.

    Attributes:
        cell: code of the base cell; None farther than `OUTSIDE_M` from all.
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
    """A cell near a point."""

    code: str
    distance_m: float


class Winners(NamedTuple):
    """Indices into `Locator.codes` of each layer, (n,) int32, `NONE` where there is no winner."""

    cell: Indices
    micro: Indices
    node: Indices
    line: Indices


class Locator:
    """The index over one version of the places. Building it is the expensive part; questions take microseconds.

    Raises:
        ConfigError: a polygon is wider than a quarter of the globe, where integers would no longer be exact.
    """

    def __init__(self, places: Places) -> None:
        cells: dict[CellType, list[Cell]] = {kind: [] for kind in CellType}
        for cell in sorted(places.cells, key=lambda cell: cell.code.encode()):
            cells[cell.type].append(cell)
        nodes = sorted(places.nodes, key=lambda node: (_area(node.polygons), node.code.encode()))
        self._cells, self._micro, self._exclusive = (
            _PolygonLayer([(cell.code, cell.polygons) for cell in cells[kind]])
            for kind in (CellType.BASE, CellType.MICRO, CellType.EXCLUSIVE)
        )
        self._nodes = _PolygonLayer([(node.code, (*node.polygons, *node.frontage)) for node in nodes])
        self._lines = _LineLayer(sorted(places.lines, key=lambda line: (-line.kind.level, line.code.encode())))

    @property
    def codes(self) -> dict[str, list[str]]:
        """Codes by layer, in the order that `Winners` counts."""
        return {
            "cell": self._cells.codes,
            "micro": self._micro.codes,
            "node": self._nodes.codes,
            "line": self._lines.codes,
        }

    def locate(self, lon_e7: int, lat_e7: int) -> Whereabouts:
        """Find the owners of one point."""
        cell, cell_m = self._cell(lon_e7, lat_e7)
        return Whereabouts(
            cell=cell,
            cell_m=cell_m,
            micro=self._micro.first(lon_e7, lat_e7),
            node=self._nodes.first(lon_e7, lat_e7),
            line=self._lines.nearest(lon_e7, lat_e7),
            exclusive=self._exclusive.all(lon_e7, lat_e7),
        )

    def locate_many(self, lon_e7: npt.ArrayLike, lat_e7: npt.ArrayLike) -> Winners:
        """Find the owners of many points, each array (n,) of 1e-7 degree."""
        lon, lat = (np.ascontiguousarray(values, dtype=np.int64).reshape(-1) for values in (lon_e7, lat_e7))
        winners = Winners(
            *(layer.first_many(lon, lat) for layer in (self._cells, self._micro, self._nodes, self._lines))
        )
        for i in np.flatnonzero(winners.cell == NONE):
            near = self._cells.near(int(lon[i]), int(lat[i]), OUTSIDE_M)
            winners.cell[i] = near[0][1] if near else NONE
        return winners

    def areas_many(self, points: Sequence[PointE7]) -> list[dict[str, str]]:
        """Give the codes by layer of each of the points."""
        if not points:
            return []
        winners = self.locate_many(*np.asarray(points, dtype=np.int64).reshape(-1, 2).T)
        found: list[dict[str, str]] = [{} for _ in points]
        for (layer, codes), indices in zip(self.codes.items(), winners, strict=True):
            for areas, index in zip(found, indices.tolist(), strict=True):
                if index != NONE:
                    areas[layer] = codes[index]
        return found

    def cells_within(self, lon_e7: int, lat_e7: int, radius_m: float) -> list[Owner]:
        """Give the base cells within a radius, counted up to `MAX_RADIUS_M`: nearest first, then by code."""
        near = self._cells.near(lon_e7, lat_e7, min(radius_m, MAX_RADIUS_M))
        return [Owner(self._cells.codes[index], mm / 1000) for mm, index in near]

    def _cell(self, lon: int, lat: int) -> tuple[str | None, float]:
        if code := self._cells.first(lon, lat):
            return code, 0.0
        near = self._cells.near(lon, lat, OUTSIDE_M)
        return (self._cells.codes[near[0][1]], near[0][0] / 1000) if near else (None, math.inf)


class _PolygonLayer:
    """Places with polygons, in order of precedence."""

    def __init__(self, places: Sequence[tuple[str, tuple[Polygon, ...]]]) -> None:
        self.codes = [code for code, _ in places]
        polygons = [(index, polygon) for index, (_, each) in enumerate(places) for polygon in each]
        segments = [_pieces(polygon) for _, polygon in polygons]
        box = np.array([_box(part) for part in segments], dtype=np.int64).reshape(-1, 4)
        self._check(box, polygons)
        lengths = [len(part) for part in segments]
        self.parts = Parts(
            segments=_columns(segments),
            first=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            box=box,
            owner=np.array([index for index, _ in polygons], dtype=np.int32),
        )
        self.grid = _grid(box)

    def first(self, lon: int, lat: int) -> str | None:
        part = kernels.first_cover(self.grid, self.parts, lon, lat)
        return None if part == NONE else self.codes[self.parts.owner[part]]

    def first_many(self, lon: Ints, lat: Ints) -> Indices:
        found = np.full(len(lon), NONE, dtype=np.int32)
        kernels.first_covers(self.grid, self.parts, lon, lat, found)
        is_found = found != NONE
        found[is_found] = self.parts.owner[found[is_found]]
        return found

    def all(self, lon: int, lat: int) -> tuple[str, ...]:
        found = np.empty(ROOM, dtype=np.int32)
        n = kernels.all_covers(self.grid, self.parts, lon, lat, found)
        if n > len(found):
            found = np.empty(n, dtype=np.int32)
            kernels.all_covers(self.grid, self.parts, lon, lat, found)
        owners = sorted(set(self.parts.owner[found[:n]].tolist()))
        return tuple(self.codes[owner] for owner in owners)

    def near(self, lon: int, lat: int, radius_m: float) -> list[tuple[int, int]]:
        """Give (distance in mm, index) of the places within a radius, nearest first, then by precedence."""
        room, radius_mm = ROOM, math.floor(radius_m * 1000 + 0.5)
        while True:
            found, found_mm = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int64)
            n = kernels.parts_within(self.grid, self.parts, lon, lat, radius_mm, found, found_mm)
            if n <= room:
                break
            room = n
        nearest: dict[int, int] = {}
        for owner, mm in zip(self.parts.owner[found[:n]].tolist(), found_mm[:n].tolist(), strict=True):
            nearest[owner] = min(mm, nearest.get(owner, mm))
        return sorted((mm, owner) for owner, mm in nearest.items())

    def _check(self, box: Ints, polygons: Sequence[tuple[int, Polygon]]) -> None:
        wide = np.flatnonzero((box[:, 2:] - box[:, :2]).max(axis=1, initial=0) >= kernels.MAX_SPAN_E7)
        if len(wide):
            code = self.codes[polygons[int(wide[0])][0]]
            problem = Problem("places.geojson", code, "is wider than a quarter of the globe", "split its polygon")
            raise ConfigError([problem])


class _LineLayer:
    """Centrelines, in order of precedence."""

    def __init__(self, places: Sequence[Line]) -> None:
        self.codes = [line.code for line in places]
        pieces = [_pieces([line.points]) for line in places]
        counts = [len(piece) for piece in pieces]
        buffers_m = np.array([line.buffer_m for line in places], dtype=np.float64)
        self.lines = Lines(
            segments=_columns(pieces),
            owner=np.repeat(np.arange(len(places), dtype=np.int32), counts),
            buffer_mm=np.floor(buffers_m * 1000 + 0.5).astype(np.int64),
        )
        self.grid = _grid(self._reach(np.repeat(buffers_m, counts)))

    def nearest(self, lon: int, lat: int) -> str | None:
        line = kernels.nearest_line(self.grid, self.lines, lon, lat)
        return None if line == NONE else self.codes[line]

    def first_many(self, lon: Ints, lat: Ints) -> Indices:
        found = np.full(len(lon), NONE, dtype=np.int32)
        kernels.nearest_lines(self.grid, self.lines, lon, lat, found)
        return found

    def _reach(self, buffer_m: npt.NDArray[np.float64]) -> Ints:
        """Give the boxes of the segments, grown by their buffers and a little more."""
        x1, y1, x2, y2 = self.lines.segments
        box = np.column_stack([np.minimum(x1, x2), np.minimum(y1, y2), np.maximum(x1, x2), np.maximum(y1, y2)])
        lat_deg = float(np.abs(box[:, [1, 3]]).max(initial=0)) / 1e7
        lon_m, lat_m = metres_per_degree(min(lat_deg + 0.01, 89.9))
        grow = np.ceil(1.02 * np.outer(buffer_m, [1e7 / lon_m, 1e7 / lat_m])).astype(np.int64) + 1
        return box + np.hstack([-grow, grow])


def _pieces(chains: Iterable[Ring]) -> Ints:
    """Give the segments of chains of points, (n, 4): x1 y1 x2 y2."""
    ends = [(*a, *b) for chain in chains for a, b in itertools.pairwise(chain)]
    return np.array(ends, dtype=np.int64).reshape(-1, 4)


def _columns(pieces: Sequence[Ints]) -> Segments:
    rows = np.concatenate([*pieces, np.empty((0, 4), dtype=np.int64)])
    return Segments(*(np.ascontiguousarray(column) for column in rows.T))


def _box(segments: Ints) -> tuple[int, int, int, int]:
    x, y = segments[:, [0, 2]], segments[:, [1, 3]]
    return int(x.min()), int(y.min()), int(x.max()), int(y.max())


def _area(polygons: Sequence[Polygon]) -> int:
    """Twice the area in square units: exact, and in one city good enough to tell which of two is smaller."""
    total = 0
    for outer, *holes in polygons:
        total += abs(_ring_area(outer)) - sum(abs(_ring_area(hole)) for hole in holes)
    return total


def _ring_area(ring: Ring) -> int:
    x0, y0 = ring[0]
    pairs = itertools.pairwise(ring)
    return sum((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0) for (x1, y1), (x2, y2) in pairs)


def _grid(box: Ints) -> Grid:
    """Lay squares over boxes, (n, 4), about as many as there are boxes, and list in each what touches it."""
    n = len(box)
    if not n:
        return Grid(0, 0, 1, 0, 0, np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int32))
    x0, y0 = int(box[:, 0].min()), int(box[:, 1].min())
    width, height = int(box[:, 2].max()) - x0 + 1, int(box[:, 3].max()) - y0 + 1
    step = max(math.isqrt(width * height // min(n, MAX_SQUARES)), max(width, height) // MAX_SQUARES, 1)
    columns, rows = -(-width // step), -(-height // step)
    low, high = (box[:, :2] - [x0, y0]) // step, (box[:, 2:] - [x0, y0]) // step
    across, up = (high - low + 1).T
    item = np.repeat(np.arange(n), across * up)
    nth = np.arange(len(item)) - np.repeat(np.cumsum(across * up) - across * up, across * up)
    column, row = low[item, 0] + nth % across[item], low[item, 1] + nth // across[item]
    square = row * columns + column
    order = np.argsort(square, kind="stable")
    start = np.searchsorted(square[order], np.arange(columns * rows + 1))
    return Grid(x0, y0, step, columns, rows, start.astype(np.int64), item[order].astype(np.int32))


def warm() -> None:
    """Compile every kernel, or load it from the cache: call this before the first message."""
    ring = ((0, 0), (10, 0), (10, 10), (0, 10), (0, 0))
    name: dict[str, Any] = {"name": "warm", "name_en": "warm"}
    cell = Cell(code="0", kind=CellKind.MIXED, parent="0", polygons=((ring,),), **name)
    places = Places(
        cells=(cell,),
        nodes=(Node(code="0", kind=NodeKind.BUILDING, cell="0", polygons=((ring,),), **name),),
        lines=(Line(code="0", kind=LineKind.LANE, points=((0, 0), (10, 10)), buffer_m=1.0, **name),),
    )
    locator = Locator(places)
    locator.locate(5, 5)
    locator.areas_many([(5, 5), (50_000, 50_000)])
