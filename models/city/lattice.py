"""Ground for a sample city: a bent lattice whose neighbours share every vertex, so there is no gap and no overlap.

Bands of rows lie on streets; columns are gathered in groups, each with one road across the band; the inner borders of a
band are lanes. Some neighbours are joined, so that cells differ in size and every vertex of a border is in both rings.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from models.geo import LocalFrame, PointE7, Ring

CELL_M = 100.0
"""Side of a cell: a unit grid is about 10,000 m2 (GB/T 30428)."""

CORNER_JITTER_M = 9.0
EDGE_JITTER_M = 3.0
EDGE_POINTS = 5
"""Points within an edge: a plain cell has 24 vertices."""

TURN_RAD = math.radians(14)
SPARE = 1.08
"""Lattice cells made per cell wanted; the rest is joined away."""


@dataclass(frozen=True, slots=True)
class Block:
    """A cell of the city: one or more lattice columns of one row."""

    row: int
    first: int
    last: int
    """Exclusive."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How many of what."""

    bands: int
    rows_per_band: int
    columns: int
    groups: int

    @classmethod
    def of(cls, units: int) -> Layout:
        """Choose a nearly square city with at least `units` lattice cells."""
        wanted = units * SPARE
        rows_per_band = 3 if units >= 30 else 2
        bands = max(2, round(math.sqrt(wanted) / rows_per_band))
        columns = max(2, math.ceil(wanted / (bands * rows_per_band)))
        return cls(bands, rows_per_band, columns, math.ceil(columns / 4))

    @property
    def rows(self) -> int:
        """Rows of the whole city."""
        return self.bands * self.rows_per_band

    def group_edges(self, group: int) -> tuple[int, int]:
        """Give the first column of a group and the one after its last."""
        return group * self.columns // self.groups, (group + 1) * self.columns // self.groups

    def group_of(self, column: int) -> int:
        """Give the group of a column."""
        return next(g for g in range(self.groups) if column < self.group_edges(g)[1])

    def road_column(self, group: int) -> int:
        """Give the column border that a group's road runs along."""
        first, last = self.group_edges(group)
        return (first + last) // 2

    def lane_row(self, row: int) -> int:
        """Give the row border of the lane that serves a row: an inner border of its band."""
        band, inner = divmod(row, self.rows_per_band)
        return band * self.rows_per_band + max(1, inner)


class Lattice:
    """The vertices, drawn once; every line and ring is made of them."""

    def __init__(self, layout: Layout, centre: PointE7, rng: random.Random) -> None:
        self.layout = layout
        self._frame = LocalFrame.at(centre)
        columns, rows = range(layout.columns + 1), range(layout.rows + 1)
        self._corners = {(c, r): self._drawn(c, r, CORNER_JITTER_M, rng) for r in rows for c in columns}
        self._across = {(c, r): self._edge((c, r), (c + 1, r), rng) for r in rows for c in columns[:-1]}
        self._up = {(c, r): self._edge((c, r), (c, r + 1), rng) for r in rows[:-1] for c in columns}

    def ring(self, block: Block) -> Ring:
        """Give the closed outline of a block, counter-clockwise."""
        bottom = self.along_row(block.row, block.first, block.last)
        right = self.along_column(block.last, block.row, block.row + 1)
        top = self.along_row(block.row + 1, block.first, block.last)[::-1]
        left = self.along_column(block.first, block.row, block.row + 1)[::-1]
        return (*bottom[:-1], *right[:-1], *top[:-1], *left)

    def along_row(self, row: int, first: int, last: int) -> tuple[PointE7, ...]:
        """Give the row border from one column border to another."""
        points = [xy for c in range(first, last) for xy in (self._corners[c, row], *self._across[c, row])]
        return tuple(self._to_e7(xy) for xy in [*points, self._corners[last, row]])

    def along_column(self, column: int, first: int, last: int) -> tuple[PointE7, ...]:
        """Give the column border from one row border to another."""
        points = [xy for r in range(first, last) for xy in (self._corners[column, r], *self._up[column, r])]
        return tuple(self._to_e7(xy) for xy in [*points, self._corners[column, last]])

    def inside(self, block: Block, u: float, v: float, dx_m: float = 0.0, dy_m: float = 0.0) -> PointE7:
        """Give the place at shares `u` and `v` of a block, moved by some metres; 0.25 to 0.75 is well inside."""
        corners = [self._corners[c, r] for r in (block.row, block.row + 1) for c in (block.first, block.last)]
        weights = ((1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v)
        x, y = (sum(w * corner[axis] for w, corner in zip(weights, corners, strict=True)) for axis in (0, 1))
        return self._to_e7((x + dx_m, y + dy_m))

    def box(self, block: Block, u: float, v: float, *, width_m: float, depth_m: float, dy_m: float = 0.0) -> Ring:
        """Give a rectangle with its middle at shares `u` and `v` of a block."""
        half_x, half_y = width_m / 2, depth_m / 2
        corners = ((-half_x, -half_y), (half_x, -half_y), (half_x, half_y), (-half_x, half_y), (-half_x, -half_y))
        return tuple(self.inside(block, u, v, dx, dy + dy_m) for dx, dy in corners)

    def _drawn(self, column: float, row: float, jitter_m: float, rng: random.Random) -> tuple[float, float]:
        x = (column - self.layout.columns / 2) * CELL_M
        y = (row - self.layout.rows / 2) * CELL_M
        return x + rng.uniform(-jitter_m, jitter_m), y + rng.uniform(-jitter_m, jitter_m)

    def _edge(self, start: tuple[int, int], end: tuple[int, int], rng: random.Random) -> list[tuple[float, float]]:
        (x0, y0), (x1, y1) = self._corners[start], self._corners[end]
        shares = [(n + 1) / (EDGE_POINTS + 1) for n in range(EDGE_POINTS)]
        noise = [
            (rng.uniform(-EDGE_JITTER_M, EDGE_JITTER_M), rng.uniform(-EDGE_JITTER_M, EDGE_JITTER_M)) for _ in shares
        ]
        return [(x0 + s * (x1 - x0) + dx, y0 + s * (y1 - y0) + dy) for s, (dx, dy) in zip(shares, noise, strict=True)]

    def _to_e7(self, xy: tuple[float, float]) -> PointE7:
        """Bend and turn the plane, so that the city does not look ruled."""
        x, y = xy[0] + 40 * math.sin(xy[1] / 350), xy[1] + 30 * math.sin(xy[0] / 450)
        return self._frame.to_e7(
            x * math.cos(TURN_RAD) - y * math.sin(TURN_RAD), x * math.sin(TURN_RAD) + y * math.cos(TURN_RAD)
        )


def blocks(layout: Layout, units: int, rng: random.Random) -> list[Block]:
    """Join neighbours until `units` blocks are left, row by row from the south-west.

    Neighbours with a road between them are joined only when there are no others.
    """
    roads = {layout.road_column(group) for group in range(layout.groups)}
    borders = {layout.group_edges(group)[0] for group in range(layout.groups)}
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
