"""The peers of `bench_locate`, each as it is used in the field, on the same cells and points as ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import h3
import numpy as np
import numpy.typing as npt
import shapely

from models.geo import UNITS_PER_DEGREE
from models.outlines import Polygons, stack
from stream.kernels import NONE, Indices, Ints, kernel

Shapes = npt.NDArray[np.object_]

H3_RESOLUTION: Final = 11
"""Hexagons of about 2,150 m2: some five to a cell of the grid."""
TURN_FROM: Final = 20_000
"""Points from which the join turned round is worth a tree of its own."""


class Points(NamedTuple):
    """Points to be located, as integers of 1e-7 degree, as shapely's on the same integers, and in degrees."""

    lon: Ints
    lat: Ints
    shapes: Shapes
    lon_deg: list[float]
    lat_deg: list[float]

    @classmethod
    def of(cls, lon: Ints, lat: Ints) -> Points:
        """Make all of them from the integers."""
        lon_deg, lat_deg = ((values / UNITS_PER_DEGREE).tolist() for values in (lon, lat))
        return cls(np.ascontiguousarray(lon), np.ascontiguousarray(lat), shapely.points(lon, lat), lon_deg, lat_deg)

    def part(self, low: int, high: int) -> Points:
        """Give some of them."""
        part = slice(low, high)
        return Points(self.lon[part], self.lat[part], self.shapes[part], self.lon_deg[part], self.lat_deg[part])

    def __len__(self) -> int:
        return len(self.lon)


Search = Callable[[Points], Indices]
"""Gives the cell of each point, by number; `NONE` where there is none."""


def shapes_of(outlines: Sequence[Polygons]) -> Shapes:
    """Make the shapely geometries of places on the very integers, in their order."""
    columns = stack(outlines)
    rings = shapely.linearrings(
        columns.points.astype(float),
        indices=np.repeat(np.arange(len(columns.ring_start) - 1), np.diff(columns.ring_start)),
    )
    parts = shapely.polygons(rings, indices=np.repeat(np.arange(len(columns.owner)), np.diff(columns.part_start)))
    counts = np.bincount(columns.owner, minlength=len(outlines))
    shapes: Shapes = shapely.multipolygons(parts, indices=columns.owner)
    is_alone = counts == 1
    shapes[is_alone] = parts[np.concatenate([[0], np.cumsum(counts)[:-1]])[is_alone]]
    return shapes


@dataclass(frozen=True)
class Shapely:
    """Its three idioms over one tree; polygons are prepared."""

    shapes: Shapes
    tree: shapely.STRtree

    @classmethod
    def of(cls, shapes: Shapes) -> Shapely:
        """Prepare the polygons and build the tree."""
        shapely.prepare(shapes)
        return cls(shapes, shapely.STRtree(shapes))

    def query(self, points: Points) -> Indices:
        """`STRtree.query` with a predicate: exact, borders included. This is the oracle too."""
        return _smallest(len(points), *self.tree.query(points.shapes, predicate="intersects"))

    def contains_xy(self, points: Points) -> Indices:
        """`STRtree.query` by boxes, then `contains_xy` on the prepared polygons: it leaves the borders out."""
        point, cell = self.tree.query(points.shapes)
        is_in = shapely.contains_xy(self.shapes[cell], points.lon[point], points.lat[point])
        return _smallest(len(points), point[is_in], cell[is_in])

    def turned(self, points: Points) -> Indices:
        """The join turned round: a tree of the points, asked by all polygons."""
        cell, point = shapely.STRtree(points.shapes).query(self.shapes, predicate="intersects")
        return _smallest(len(points), point, cell)

    def query_one(self, points: Points) -> Indices:
        """`query`, point by point."""
        found = np.full(len(points), NONE, dtype=np.int32)
        for i, shape in enumerate(points.shapes):
            cells = self.tree.query(shape, predicate="intersects")
            if len(cells):
                found[i] = cells.min()
        return found

    def contains_xy_one(self, points: Points) -> Indices:
        """`contains_xy`, point by point."""
        found = np.full(len(points), NONE, dtype=np.int32)
        for i, (shape, x, y) in enumerate(zip(points.shapes, points.lon.tolist(), points.lat.tolist(), strict=True)):
            cells = self.tree.query(shape)
            cells = cells[shapely.contains_xy(self.shapes[cells], x, y)]
            if len(cells):
                found[i] = cells.min()
        return found


def _smallest(n: int, point: Ints, cell: Ints) -> Indices:
    found = np.full(n, NONE, dtype=np.int32)
    order = np.argsort(-cell, kind="stable")
    found[point[order]] = cell[order]
    return found


@dataclass(frozen=True)
class Linear:
    """A linear scan with bounding boxes, compiled: what the closest domain system does, without its other mistakes."""

    points: Ints
    first: Ints
    owner: Indices
    box: Ints

    @classmethod
    def of(cls, outlines: Sequence[Polygons]) -> Linear:
        """Lay the borders of the cells out."""
        columns = stack(outlines)
        points = columns.points.astype(np.int64)
        joined = np.ones(len(points), dtype=bool)
        joined[columns.ring_start[1:] - 1] = False
        at = np.flatnonzero(joined)
        segments = np.hstack([points[at], points[at + 1]])
        first = np.searchsorted(at, columns.ring_start[columns.part_start])
        low = np.minimum.reduceat(np.minimum(segments[:, :2], segments[:, 2:]), first[:-1])
        high = np.maximum.reduceat(np.maximum(segments[:, :2], segments[:, 2:]), first[:-1])
        return cls(np.ascontiguousarray(segments), first.astype(np.int64), columns.owner, np.hstack([low, high]))

    def search(self, points: Points) -> Indices:
        """Scan all cells for each point."""
        found = np.full(len(points), NONE, dtype=np.int32)
        scan(self.points, self.first, self.box, points.lon, points.lat, found)
        found[found != NONE] = self.owner[found[found != NONE]]
        return found


@kernel
def scan(segments: Ints, first: Ints, box: Ints, lon: Ints, lat: Ints, found: Indices) -> None:
    """Put the first part whose box and then whose borders hold each point into `found`."""
    for i in range(len(lon)):
        x, y = lon[i], lat[i]
        for p in range(len(box)):
            if box[p, 0] <= x <= box[p, 2] and box[p, 1] <= y <= box[p, 3] and holds(segments, first, p, x, y):
                found[i] = p
                break


@kernel
def holds(segments: Ints, first: Ints, p: int, x: int, y: int) -> bool:
    """Whether a part covers a point, borders included: a ray to the east."""
    inside = False
    for s in range(first[p], first[p + 1]):
        x1, y1, x2, y2 = segments[s]
        if y < min(y1, y2) or y > max(y1, y2):
            continue
        cross = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        if cross == 0:
            if min(x1, x2) <= x <= max(x1, x2):
                return True
        elif (y1 > y) != (y2 > y) and (cross > 0) == (y2 > y1):
            inside = not inside
    return inside


@dataclass(frozen=True)
class Hexagons:
    """H3 cells with exact refinement: each hexagon names the cells that overlap it. The loop is Python's."""

    cells_at: dict[int, tuple[int, ...]]
    linear: Linear

    @classmethod
    def of(cls, outlines: Sequence[Polygons]) -> Hexagons:
        """Cover every part with the hexagons that overlap it; refinement is `Linear`'s test."""
        at: dict[int, list[int]] = {}
        linear, part = Linear.of(outlines), 0
        for outline in outlines:
            for outer, *holes in outline:
                rings = [
                    [(lat / UNITS_PER_DEGREE, lon / UNITS_PER_DEGREE) for lon, lat in ring] for ring in (outer, *holes)
                ]
                shape = h3.LatLngPoly(rings[0], *rings[1:])
                for cell in h3.polygon_to_cells_experimental(shape, H3_RESOLUTION, contain="overlap"):
                    at.setdefault(h3.str_to_int(cell), []).append(part)
                part += 1
        return cls({cell: tuple(parts) for cell, parts in at.items()}, linear)

    def search(self, points: Points) -> Indices:
        """Look each point's hexagon up, then test the cells that it names."""
        found = np.full(len(points), NONE, dtype=np.int32)
        places = zip(points.lat_deg, points.lon_deg, points.lon.tolist(), points.lat.tolist(), strict=True)
        for i, (lat_deg, lon_deg, x, y) in enumerate(places):
            for part in self.cells_at.get(h3.str_to_int(h3.latlng_to_cell(lat_deg, lon_deg, H3_RESOLUTION)), ()):
                if holds(self.linear.points, self.linear.first, part, x, y):
                    found[i] = self.linear.owner[part]
                    break
        return found
