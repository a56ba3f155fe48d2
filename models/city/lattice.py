"""Ground for a sample city: a bent lattice whose neighbours share every vertex, so there is no gap and no overlap.

Bands of rows lie on streets; columns are gathered in groups, each with one road across the band; the inner borders of a
band are lanes. Some neighbours are joined, so that cells differ in size and every vertex of a border is in both rings.
Some borders follow a river bank, with a vertex every half metre, as surveyed outlines do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from models.geo import LocalFrame, PointE7
from models.outlines import PACKED, Polygons, Positions

Metres = npt.NDArray[np.float64]

CELL_M = 100.0
"""Side of a cell: a unit grid is about 10,000 m2 (GB/T 30428)."""

CORNER_JITTER_M = 9.0
EDGE_JITTER_M = 3.0
EDGE_POINTS = 5
"""Points within an edge: a plain cell has 24 vertices."""

BANK_POINTS = 195
"""Points within an edge on a river bank: such a cell has more than 200 vertices."""

BANK_RUN = 6
"""Edges of one river bank."""

BANK_SHARE = 0.012
"""Edges on a bank, by cell. Each is a border of two cells, so more than a hundredth of the cells has such a border."""

TURN_RAD = math.radians(14)
SPARE = 1.08
"""Lattice cells made per cell wanted; the rest is joined away."""

ROAD_COLUMNS = 4
STREETS_PER_SUBDISTRICT = 4


@dataclass(frozen=True, slots=True)
class Block:
    """A cell of the city: one or more lattice columns of one row."""

    row: int
    first: int
    last: int
    """Exclusive."""


@dataclass(frozen=True)
class Layout:
    """How many of what. A street crosses one run of columns of one band; its community lies along it."""

    bands: int
    rows_per_band: int
    columns: int
    runs: int
    groups_per_run: int

    @classmethod
    def of(cls, units: int, community: int = 39) -> Layout:
        """Choose a nearly square city with at least `units` lattice cells, about `community` to a street."""
        wanted = units * SPARE
        rows_per_band = 3 if units >= 30 else 2
        bands = max(2, round(math.sqrt(wanted) / rows_per_band))
        columns = max(2, math.ceil(wanted / (bands * rows_per_band)))
        runs = max(1, round(columns * rows_per_band / community))
        return cls(bands, rows_per_band, columns, runs, max(1, round(columns / runs / ROAD_COLUMNS)))

    @property
    def rows(self) -> int:
        """Rows of the whole city."""
        return self.bands * self.rows_per_band

    @property
    def groups(self) -> int:
        """Groups of columns from west to east: each has a road in every band."""
        return self.runs * self.groups_per_run

    @cached_property
    def edges(self) -> tuple[int, ...]:
        """The first column of each group, and the end."""
        return tuple(group * self.columns // self.groups for group in range(self.groups + 1))

    @cached_property
    def group_of(self) -> tuple[int, ...]:
        """The group of each column."""
        return tuple(g for g in range(self.groups) for _ in range(self.edges[g], self.edges[g + 1]))

    def rows_of(self, bands: tuple[int, int]) -> tuple[int, int]:
        """Give the first row of some bands and the one after their last."""
        return bands[0] * self.rows_per_band, bands[1] * self.rows_per_band

    def run_edges(self, run: int) -> tuple[int, int]:
        """Give the first column of a run and the one after its last."""
        return self.edges[run * self.groups_per_run], self.edges[(run + 1) * self.groups_per_run]

    def road_column(self, group: int) -> int:
        """Give the column border that a group's road runs along."""
        return (self.edges[group] + self.edges[group + 1]) // 2

    def lane_row(self, row: int) -> int:
        """Give the row border of the lane that serves a row: an inner border of its band."""
        band, inner = divmod(row, self.rows_per_band)
        return band * self.rows_per_band + max(1, inner)

    def street(self, band: int, run: int) -> int:
        """Number the streets row by row, from 0."""
        return band * self.runs + run

    def subdistrict(self, band: int, run: int) -> int:
        """Number the sub-districts, from 0: some streets north of one another."""
        return band // STREETS_PER_SUBDISTRICT * self.runs + run

    @property
    def subdistricts(self) -> int:
        """How many there are."""
        return math.ceil(self.bands / STREETS_PER_SUBDISTRICT) * self.runs

    @property
    def subdistrict_edges(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """The bands and the columns of each sub-district, half-open, in the order of their numbers."""
        for first in range(0, self.bands, STREETS_PER_SUBDISTRICT):
            for run in range(self.runs):
                yield (first, min(first + STREETS_PER_SUBDISTRICT, self.bands)), self.run_edges(run)


class Lattice:
    """The vertices, drawn once; every line and ring is made of them.

    Attributes:
        corners: (rows + 1, columns + 1, 2) in metres, before the plane is bent.
    """

    def __init__(self, layout: Layout, centre: PointE7, rng: random.Random, *, banks: int = 0) -> None:
        self.layout = layout
        self._frame = LocalFrame.at(centre)
        draw = np.random.default_rng(rng.getrandbits(64))
        across, up = np.arange(layout.columns + 1), np.arange(layout.rows + 1)
        at = np.stack(np.meshgrid(across, up), axis=-1) * CELL_M
        middle = np.array([layout.columns, layout.rows]) * CELL_M / 2
        self.corners: Metres = at - middle + draw.uniform(-CORNER_JITTER_M, CORNER_JITTER_M, at.shape)
        by_column = self.corners.swapaxes(0, 1)
        rows, columns = _edges(self.corners, draw), _edges(by_column, draw)
        river = _banks(self.corners, banks, draw)
        self._rows = [
            self._chain(c, e, river.get(r, {})) for r, (c, e) in enumerate(zip(self.corners, rows, strict=True))
        ]
        self._columns = [self._chain(c, e, {}) for c, e in zip(by_column, columns, strict=True)]

    def ring(self, block: Block) -> Positions:
        """Give the closed outline of a block, counter-clockwise."""
        return self.outline((block.row, block.row + 1), (block.first, block.last))

    def outline(self, rows: tuple[int, int], columns: tuple[int, int]) -> Positions:
        """Give the closed outline, counter-clockwise, of what lies between two rows and two columns."""
        bottom, top = (self.along_row(row, *columns) for row in rows)
        left, right = (self.along_column(column, *rows) for column in columns)
        top, left = top[::-1], left[::-1]
        return np.concatenate([bottom[:-1], right[:-1], top[:-1], left])

    def along_row(self, row: int, first: int, last: int) -> Positions:
        """Give the row border from one column border to another."""
        points, at = self._rows[row]
        return points[at[first] : at[last] + 1]

    def along_column(self, column: int, first: int, last: int) -> Positions:
        """Give the column border from one row border to another."""
        points, at = self._columns[column]
        return points[at[first] : at[last] + 1]

    def inside(self, block: Block, u: float, v: float) -> PointE7:
        """Give the place at shares `u` and `v` of a block; 0.25 to 0.75 is well inside."""
        lon, lat = self.points(self.shares([block], u, v))[0].tolist()
        return lon, lat

    def shares(self, blocks: Sequence[Block], u: npt.ArrayLike, v: npt.ArrayLike) -> Metres:
        """Give the places, (n, 2) in metres, at shares `u` and `v` of each block."""
        row, first, last = np.array([(b.row, b.first, b.last) for b in blocks], dtype=np.intp).reshape(-1, 3).T
        u, v = (np.broadcast_to(np.asarray(share, dtype=np.float64), row.shape)[:, None] for share in (u, v))
        south = (1 - u) * self.corners[row, first] + u * self.corners[row, last]
        north = (1 - u) * self.corners[row + 1, first] + u * self.corners[row + 1, last]
        place: Metres = (1 - v) * south + v * north
        return place

    def outlines(self, middles: Metres, rings: Metres) -> list[Polygons]:
        """Give polygons of one ring, (n, k, 2) or one (k, 2) for all, in metres around each of (n, 2) middles."""
        n, k = len(middles), rings.shape[-2]
        raw = self.points((middles[:, None] + rings).reshape(-1, 2)).tobytes()
        size = k * 2 * PACKED.itemsize
        return [Polygons(raw[i * size : (i + 1) * size], (k,), (1,)) for i in range(n)]

    def points(self, xy: Metres) -> Positions:
        """Bend and turn the plane, so that the city does not look ruled, and round to 1e-7 degree."""
        x, y = xy[:, 0] + 40 * np.sin(xy[:, 1] / 350), xy[:, 1] + 30 * np.sin(xy[:, 0] / 450)
        frame = self._frame
        lon = frame.origin[0] + (x * math.cos(TURN_RAD) - y * math.sin(TURN_RAD)) / frame.x_m_per_unit
        lat = frame.origin[1] + (x * math.sin(TURN_RAD) + y * math.cos(TURN_RAD)) / frame.y_m_per_unit
        rounded: Positions = np.rint(np.column_stack([lon, lat])).astype(PACKED)
        return rounded

    def _chain(self, corners: Metres, edges: Metres, banks: Mapping[int, Metres]) -> tuple[Positions, list[int]]:
        """Give the points of a border and where in them its corners are."""
        pieces = [piece for i, corner in enumerate(corners[:-1]) for piece in (corner[None], banks.get(i, edges[i]))]
        at = np.cumsum([0, *(1 + len(banks.get(i, edges[i])) for i in range(len(edges)))])
        return self.points(np.concatenate([*pieces, corners[-1:]])), at.tolist()


def _edges(corners: Metres, draw: np.random.Generator) -> Metres:
    """Give the points between neighbours of each border, (borders, edges, points, 2)."""
    shares = np.arange(1, EDGE_POINTS + 1)[:, None] / (EDGE_POINTS + 1)
    start, step = corners[:, :-1, None], np.diff(corners, axis=1)[:, :, None]
    points: Metres = start + shares * step
    return points + draw.uniform(-EDGE_JITTER_M, EDGE_JITTER_M, points.shape)


def _banks(corners: Metres, count: int, draw: np.random.Generator) -> dict[int, dict[int, Metres]]:
    """Give the points of `count` edges within the city, in runs along its rows, by row and edge: they meander."""
    rows, columns = corners.shape[0] - 2, corners.shape[1] - 1
    chosen: dict[int, dict[int, Metres]] = {}
    shares = np.arange(1, BANK_POINTS + 1) / (BANK_POINTS + 1)
    while count > 0:
        row, first = int(draw.integers(1, rows + 1)), int(draw.integers(columns))
        for edge in range(first, min(first + min(BANK_RUN, count), columns)):
            if edge in chosen.setdefault(row, {}):
                continue
            start, end = corners[row, edge], corners[row, edge + 1]
            swing = sum(3 / n * np.sin(n * math.pi * shares + draw.uniform(-0.5, 0.5)) for n in (2, 3, 5))
            swing = swing * np.sin(math.pi * shares) + draw.uniform(-0.2, 0.2, BANK_POINTS)
            chosen[row][edge] = start + shares[:, None] * (end - start) + swing[:, None] * [0.0, 1.0]
            count -= 1
    return chosen


def blocks(layout: Layout, units: int, rng: random.Random) -> list[Block]:
    """Join neighbours until `units` blocks are left, row by row from the south-west.

    Neighbours with a road between them are joined only when there are no others.
    """
    roads = {layout.road_column(group) for group in range(layout.groups)}
    borders = set(layout.edges)
    pairs = [(row, c) for row in range(layout.rows) for c in range(1, layout.columns) if c not in borders]
    rng.shuffle(pairs)
    pairs.sort(key=lambda pair: pair[1] in roads)
    opened: set[tuple[int, int]] = set()
    surplus = layout.rows * layout.columns - units
    for row, c in pairs:
        if len(opened) < surplus and not {(row, c - 1), (row, c + 1)} & opened:
            opened.add((row, c))
    if len(opened) < surplus:
        msg = f"{units} units do not fit a layout of {layout.rows} x {layout.columns}"
        raise ValueError(msg)
    cuts = {row: [c for c in range(layout.columns + 1) if (row, c) not in opened] for row in range(layout.rows)}
    return [Block(row, a, b) for row in cuts for a, b in zip(cuts[row], cuts[row][1:], strict=False)]


def blob(radius_m: float, points: int) -> Metres:
    """Give a closed, roundish outline, (points + 1, 2) in metres around its middle."""
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    radius = radius_m * (1 + 0.08 * np.sin(3 * turn) + 0.05 * np.cos(5 * turn))
    ring = np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])
    return np.vstack([ring, ring[:1]])


def rectangles(width_m: npt.ArrayLike, depth_m: npt.ArrayLike, north_m: npt.ArrayLike = 0.0) -> Metres:
    """Give closed rectangles, (5, 2) or (n, 5, 2), in metres around their middle, moved north."""
    x, y = np.array([-0.5, 0.5, 0.5, -0.5, -0.5]), np.array([-0.5, -0.5, 0.5, 0.5, -0.5])
    across, up = np.multiply.outer(width_m, x), np.multiply.outer(depth_m, y)
    return np.stack(np.broadcast_arrays(across, up + np.asarray(north_m)[..., None]), axis=-1)
