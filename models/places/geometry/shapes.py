"""Places as shapely sees them: built a layer at a time from the columns, on the integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely
from shapely import Geometry

from models.geo import LocalFrame, to_degrees
from models.outlines import Points, Polygons, stack, stack_lines
from models.places import CellType, Places
from models.places.sources import PlaceProblem, Sources

Geometries = npt.NDArray[np.object_]
Indices = npt.NDArray[np.intp]

MAX_FLAW_M2: Final = 1.0
MAX_FLAW_WIDTH_M: Final = 0.1
"""Overlaps and gaps up to both limits are drawing noise and tolerated (design: matcher)."""


class Shapes:
    """All layers, and what is needed to speak of them in metres."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.places: Places = sources.places
        self.cells = outlines_of([cell.polygons for cell in self.places.cells])
        self.is_valid: npt.NDArray[np.bool_] = shapely.is_valid(self.cells)
        is_base = np.array([cell.type is CellType.BASE for cell in self.places.cells], dtype=np.bool_)
        self.is_base = is_base
        self.base: Indices = np.flatnonzero(is_base & self.is_valid)
        """Base cells that can be reckoned with."""
        middle = self.places.cells[len(self.places.cells) // 2].polygons.array[0] if self.places.cells else (0, 0)
        self.frame = LocalFrame.at((int(middle[0]), int(middle[1])))

    @cached_property
    def base_tree(self) -> shapely.STRtree:
        """Finds base cells; its indices count in `base`."""
        return shapely.STRtree(self.cells[self.base])

    @cached_property
    def nodes(self) -> Geometries:
        """Outlines of the nodes, without their frontages."""
        return outlines_of([node.polygons for node in self.places.nodes])

    @cached_property
    def lines(self) -> Geometries:
        """Centrelines."""
        points, start = stack_lines([line.points for line in self.places.lines])
        kind = shapely.GeometryType.LINESTRING
        found: Geometries = shapely.from_ragged_array(kind, points.astype(np.float64), (start,))
        return found

    @cached_property
    def index_of_cell(self) -> dict[str, int]:
        """Index of each cell with a valid outline and a code that no other has, by code."""
        used = Counter(cell.code for cell in self.places.cells)
        codes = ((self.places.cells[i].code, int(i)) for i in np.flatnonzero(self.is_valid))
        return {code: i for code, i in codes if used[code] == 1}

    def crossings(self) -> Iterator[PlaceProblem]:
        """Name the rings that cross or touch themselves or one another."""
        for layer, field, rest in (
            ("cells", "polygons", ".geometry.coordinates"),
            ("nodes", "polygons", ".geometry.coordinates"),
            ("nodes", "frontage", ".properties.frontage.coordinates"),
            ("areas", "polygons", ".geometry.coordinates"),
        ):
            drawn: list[Polygons] = [getattr(item, field) for item in getattr(self.places, layer)]
            outlines = outlines_of(drawn)
            for index in np.flatnonzero(~shapely.is_valid(outlines)).tolist():
                reason, _, at = str(shapely.is_valid_reason(outlines[index])).partition("[")
                where = shown(*map(float, at.rstrip("]").split()[:2])) if at else ""
                code = getattr(self.places, layer)[index].code
                what = f"{layer[:-1]} {code}: {reason.strip().lower()}{where}"
                remedy = "redraw the ring so that it does not cross itself"
                yield self.sources.problem((layer, index), rest, what, remedy, shape=drawn[index])

    # --- metres ---

    def metric(self, geometries: Any) -> Any:  # noqa: ANN401  # one geometry or an array of them, as shapely has it
        """Return geometries in metres: one for one, an array for an array."""
        return shapely.transform(geometries, self.frame.xy_array)

    def area_m2(self, geometries: Geometries) -> npt.NDArray[np.float64]:
        """Return the area of each."""
        areas: npt.NDArray[np.float64] = shapely.area(geometries) * self.frame.x_m_per_unit * self.frame.y_m_per_unit
        return areas

    def is_flaw(self, geometries: Geometries) -> npt.NDArray[np.bool_]:
        """Tell which of some overlaps or gaps are more than drawing noise."""
        flaws = self.area_m2(geometries) > MAX_FLAW_M2
        doubtful = np.flatnonzero(~flaws & (shapely.area(geometries) > 0))
        eroded = grown(self.metric(geometries[doubtful]), -MAX_FLAW_WIDTH_M / 2)
        flaws[doubtful] = ~shapely.is_empty(eroded)
        return flaws

    def codes(self, indices: Sequence[int] | Indices) -> tuple[str, ...]:
        """Return the codes of cells."""
        return tuple(self.places.cells[i].code for i in indices)


def outlines_of(outlines: Sequence[Polygons]) -> Geometries:
    """Return each as one geometry, empty where it has no polygon; nothing is repaired."""
    columns = stack(outlines)
    first = np.searchsorted(columns.owner, np.arange(len(outlines) + 1)).astype(np.int64)
    offsets = (columns.ring_start, columns.part_start, first)
    kind = shapely.GeometryType.MULTIPOLYGON
    found: Geometries = shapely.from_ragged_array(kind, columns.points.astype(np.float64), offsets)
    return found


def array_of(geometries: Sequence[Geometry]) -> Geometries:
    """Return an array of them, of whatever kind and number they are."""
    array = np.empty(len(geometries), dtype=np.object_)
    array[:] = geometries
    return array


def grown(geometry: Any, by_m: float) -> Any:  # noqa: ANN401  # one geometry or an array of them
    """Return geometries in metres, grown or, below zero, shrunk."""
    with np.errstate(invalid="ignore"):  # GEOS divides by the length of a step that it then drops
        return shapely.buffer(geometry, by_m, quad_segs=4)


def drawn(geometry: Geometry) -> Polygons | Points | None:
    """Return what there is to draw of a geometry: its polygons, else its lines."""
    parts = [part for part in shapely.get_parts(geometry) if not part.is_empty]
    polygons = [part for part in parts if part.geom_type == "Polygon"]
    if polygons:
        return Polygons.of(
            [[np.rint(shapely.get_coordinates(ring)) for ring in (part.exterior, *part.interiors)] for part in polygons]
        )
    lines = [part for part in parts if part.geom_type == "LineString"]
    return Points.of(np.rint(shapely.get_coordinates(lines[0]))) if lines else None


def near(geometry: Geometry) -> str:
    """Return where a geometry is, for a message."""
    point = geometry.representative_point()
    return shown(point.x, point.y)


def shown(lon_e7: float, lat_e7: float) -> str:
    """Return a position, for a message."""
    return f" near [{to_degrees(round(lon_e7)):.7f}, {to_degrees(round(lat_e7)):.7f}]"
