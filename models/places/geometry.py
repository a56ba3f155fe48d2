"""What may be wrong with the shapes in `Places`. The only door to shapely in `models`, opened when a file is validated.

Topology is tested on the integer coordinates, so shapely sees exactly what the matcher sees; areas and widths are taken
in metres on a plane at the city's middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from models.content import patterns_meet
from models.errors import ConfigError, Problem
from models.geo import UNITS_PER_DEGREE, LocalFrame, Polygon
from models.places import CellType, Places
from models.places.geojson import Sources

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    Geometries = np.ndarray[tuple[int], np.dtype[np.object_]]

MAX_FLAW_M2 = 1.0
MAX_FLAW_WIDTH_M = 0.1
"""Overlaps and gaps up to both limits are drawing noise and tolerated (design: matcher)."""


def problems(places: Places, sources: Sources) -> list[Problem]:
    """Name crossing rings, overlaps and gaps of base cells, and what lies outside its declared cell.

    Raises:
        ConfigError: shapely is not installed.
    """
    try:
        import shapely
    except ImportError as exc:
        problem = Problem(sources.file, "$", "shapes cannot be checked without shapely", "install gridwarden[stream]")
        raise ConfigError([problem]) from exc
    checker = _Checker(shapely, places, sources)
    return [
        *checker.crossings(),
        *checker.overlaps_and_gaps(),
        *checker.rival_exclusive_cells(),
        *checker.outsiders(),
    ]


class _Checker:
    """Shapely's view of the places, on integers."""

    def __init__(self, shapely: ModuleType, places: Places, sources: Sources) -> None:
        self.shapely, self.places, self.sources = shapely, places, sources
        self.cells = self._array([self._build(cell.polygons) for cell in places.cells])
        self.is_valid = shapely.is_valid(self.cells)
        self.base = [i for i, cell in enumerate(places.cells) if cell.type is CellType.BASE and self.is_valid[i]]
        middle = places.cells[len(places.cells) // 2].polygons[0][0][0] if places.cells else (0, 0)
        self.frame = LocalFrame.at(middle)

    def crossings(self) -> Iterator[Problem]:
        shapes = list(self._shapes())
        outlines = self._array([outline for _, _, outline in shapes])
        for index in np.flatnonzero(~self.shapely.is_valid(outlines)):
            (layer, item), rest, outline = shapes[index]
            reason, _, at = self.shapely.is_valid_reason(outline).partition("[")
            where = self._shown(*map(float, at.rstrip("]").split()[:2])) if at else ""
            code = getattr(self.places, layer)[item].code
            what = f"{layer[:-1]} {code}: {reason.strip().lower()}{where}"
            yield self.sources.problem((layer, item), rest, what, "redraw the ring so that it does not cross itself")

    def _shapes(self) -> Iterator[tuple[tuple[str, int], str, BaseGeometry]]:
        for i, outline in enumerate(self.cells):
            yield ("cells", i), ".geometry.coordinates", outline
        for i, node in enumerate(self.places.nodes):
            yield ("nodes", i), ".geometry.coordinates", self._build(node.polygons)
            if node.frontage:
                yield ("nodes", i), ".properties.frontage.coordinates", self._build(node.frontage)
        for i, area in enumerate(self.places.areas):
            if area.polygons:
                yield ("areas", i), ".geometry.coordinates", self._build(area.polygons)

    def overlaps_and_gaps(self) -> Iterator[Problem]:
        if not self.base:
            return
        base = self.cells[self.base]
        is_clean = bool(self.shapely.coverage_is_valid(base))
        if not is_clean:
            yield from self._overlaps(base)
        if self.sources.named["cells"] - self.places.cell_by_code.keys():
            return  # A cell that could not be read leaves a hole that is no mistake of its own.
        broken = [i for i in np.flatnonzero(~self.is_valid) if self.places.cells[i].type is CellType.BASE]
        if is_clean and not broken:
            union = self.shapely.coverage_union_all(base)
        else:
            mended = self.shapely.make_valid(self.cells[broken])
            union = self.shapely.union_all(np.concatenate([base, mended]))
        yield from self._gaps(base, union)

    def _overlaps(self, base: Geometries) -> Iterator[Problem]:
        first, second = self.shapely.STRtree(base).query(base, predicate="intersects")
        for a, b in zip(first, second, strict=True):
            shared = base[a].intersection(base[b]) if a < b else None
            if shared is None or self._is_tolerated(shared):
                continue
            one, other = (self.places.cells[self.base[i]].code for i in (a, b))
            what = f"cells {one} and {other} overlap by {self._metric(shared).area:.1f} m2{self._near(shared)}"
            remedy = "let them share one border with equal positions"
            yield self.sources.problem(("cells", self.base[b]), ".geometry", what, remedy)

    def _gaps(self, base: Geometries, union: BaseGeometry) -> Iterator[Problem]:
        parts = [part for part in self.shapely.get_parts(union) if part.geom_type == "Polygon"]
        rings = [ring for part in parts for ring in part.interiors]
        gaps = [gap for gap in map(self.shapely.Polygon, rings) if not self._is_tolerated(gap)]
        tree = self.shapely.STRtree(base)
        for gap in gaps:
            around = sorted(self.base[i] for i in tree.query(gap, predicate="intersects"))
            codes = ", ".join(self.places.cells[i].code for i in around[:6])
            what = f"gap of {self._metric(gap).area:.1f} m2{self._near(gap)} between {codes}"
            remedy = "give the ground in it to one of these cells, or add a cell"
            yield self.sources.problem(("cells", around[0]), ".geometry", what, remedy)

    def rival_exclusive_cells(self) -> Iterator[Problem]:
        """Two exclusive cells with a category in common may not share ground: one place, one lead."""
        cells = self.places.cells
        chosen = [i for i, cell in enumerate(cells) if cell.type is CellType.EXCLUSIVE and self.is_valid[i]]
        outlines = self.cells[chosen]
        for a, b in self.shapely.STRtree(outlines).query(outlines, predicate="intersects").T:
            one, other = cells[chosen[a]], cells[chosen[b]]
            common = [p for p in one.categories for q in other.categories if patterns_meet(p, q)]
            if a < b and common and not self._is_tolerated(outlines[a].intersection(outlines[b])):
                what = f"exclusive cells {one.code} and {other.code} overlap, both for {common[0]}"
                remedy = "redraw one of them, or take the category from it"
                yield self.sources.problem(("cells", chosen[b]), ".geometry", what, remedy)

    def outsiders(self) -> Iterator[Problem]:
        index_of = {self.places.cells[i].code: i for i in np.flatnonzero(self.is_valid)}
        tree = self.shapely.STRtree(self.cells[self.base])
        for (layer, i), name, code, point in self._things():
            declared = index_of.get(code)
            if declared is None or self.cells[declared].covers(point):
                continue
            owners = sorted(self.places.cells[self.base[j]].code for j in tree.query(point, predicate="intersects"))
            what = f"{layer[:-1]} {name} is outside its cell {code}: it stands in {owners[0] if owners else 'no cell'}"
            remedy = "correct its cell or its position (is the datum WGS-84?)"
            yield self.sources.problem((layer, i), ".properties.cell", what, remedy)

    def _things(self) -> Iterator[tuple[tuple[str, int], str, str, BaseGeometry]]:
        for i, device in enumerate(self.places.devices):
            yield ("devices", i), device.id, device.cell, self.shapely.Point(device.point)
        for i, zone in enumerate(self.places.zones):
            if zone.point:
                yield ("zones", i), zone.id, zone.cell, self.shapely.Point(zone.point)
        for i, node in enumerate(self.places.nodes):
            outline = self._build(node.polygons)
            if outline.is_valid:
                yield ("nodes", i), node.code, node.cell, outline.representative_point()

    def _build(self, polygons: tuple[Polygon, ...]) -> BaseGeometry:
        parts = [self.shapely.Polygon(polygon[0], polygon[1:]) for polygon in polygons]
        return parts[0] if len(parts) == 1 else self.shapely.MultiPolygon(parts)

    def _array(self, geometries: list[BaseGeometry]) -> Geometries:
        # NumPy would take a MultiPolygon apart if it were not told how long the array is.
        array = np.empty(len(geometries), dtype=np.object_)
        array[:] = geometries
        return array

    def _metric(self, geometry: BaseGeometry) -> BaseGeometry:
        return self.shapely.transform(geometry, self.frame.xy_array)

    def _is_tolerated(self, flaw: BaseGeometry) -> bool:
        metric = self._metric(flaw)
        return bool(metric.area <= MAX_FLAW_M2 and metric.buffer(-MAX_FLAW_WIDTH_M / 2).is_empty)

    def _near(self, geometry: BaseGeometry) -> str:
        point = geometry.representative_point()
        return self._shown(point.x, point.y)

    def _shown(self, lon_e7: float, lat_e7: float) -> str:
        return f" near [{lon_e7 / UNITS_PER_DEGREE:.7f}, {lat_e7 / UNITS_PER_DEGREE:.7f}]"
