"""Base cells cover the ground once: no overlaps, no gaps, neither inside the city nor open to its edge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely
from shapely import Geometry

from models.places import AreaKind
from models.places.geometry.shapes import Geometries, Shapes, array_of, drawn, grown, near, outlines_of
from models.places.sources import PlaceProblem

SLIT_M: Final = 5.0
"""A gap open to the city's edge is told from the city's own shape by being narrower than this ..."""
MAX_MOUTH: Final = 0.2
"""... and so deep that its open side is at most this share of its outline: three times as deep as wide."""
BORDERED: Final = 0.5
"""A cell borders on a gap when it is this near, in units of 1e-7 degree."""


def problems(shapes: Shapes) -> Iterator[PlaceProblem]:
    """Name overlaps and gaps of base cells."""
    if not len(shapes.base):
        return
    base = shapes.cells[shapes.base]
    is_clean = bool(shapely.coverage_is_valid(base))
    if not is_clean:
        yield from _overlaps(shapes, base)
    if shapes.sources.named["cells"] - shapes.places.cell_by_code.keys():
        return  # A cell that could not be read leaves a hole that is no mistake of its own.
    union = _union(shapes, base, is_clean=is_clean)
    polygons = [part for part in shapely.get_parts(union) if part.geom_type == "Polygon"]
    holes = [shapely.Polygon(ring) for part in polygons for ring in part.interiors]
    yield from _gaps(shapes, array_of(holes), "between")
    solid = shapely.union_all([shapely.Polygon(part.exterior) for part in polygons])
    missing = list(_missing(shapes, solid))
    yield from (problem for problem, _ in missing)
    slits = _slits(shapes, solid)
    known = shapely.union_all([part for _, part in missing])
    yield from _gaps(shapes, slits[~shapely.intersects(slits, known)], "open to the city's edge between", least=2)


def _union(shapes: Shapes, base: Geometries, *, is_clean: bool) -> Geometry:
    broken = shapes.cells[shapes.is_base & ~shapes.is_valid]
    if is_clean and not len(broken):
        return shapely.coverage_union_all(base)
    # Of a ring that crosses itself the hull: the ground that it twists away is no second mistake.
    return shapely.union_all(np.concatenate([base, shapely.convex_hull(broken)]))


def _overlaps(shapes: Shapes, base: Geometries) -> Iterator[PlaceProblem]:
    suspects = np.flatnonzero(~shapely.is_empty(shapely.coverage_invalid_edges(base)))
    one, other = shapes.base_tree.query(base[suspects])
    pairs = np.unique(np.sort(np.column_stack([suspects[one], other]), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    shared = shapely.intersection(base[pairs[:, 0]], base[pairs[:, 1]])
    flaws = np.flatnonzero(shapes.is_flaw(shared))
    areas = shapes.area_m2(shared[flaws])
    for (a, b), flaw, area_m2 in zip(pairs[flaws].tolist(), shared[flaws], areas.tolist(), strict=True):
        codes = shapes.codes(shapes.base[[a, b]])
        what = f"cells {codes[0]} and {codes[1]} overlap by {area_m2:.1f} m2{near(flaw)}"
        remedy = "let them share one border with equal positions"
        at = "cells", int(shapes.base[b])
        yield shapes.sources.problem(
            at, ".geometry", what, remedy, codes=codes, area_m2=round(area_m2, 2), shape=drawn(flaw)
        )


def _gaps(shapes: Shapes, gaps: Geometries, kind: str, *, least: int = 1) -> Iterator[PlaceProblem]:
    gaps = gaps[shapes.is_flaw(gaps)]
    for gap, area_m2 in zip(gaps, shapes.area_m2(gaps).tolist(), strict=True):
        around = np.sort(shapes.base[shapes.base_tree.query(gap, predicate="dwithin", distance=BORDERED)])
        if len(around) < least:
            continue
        codes = shapes.codes(around)
        shown = ", ".join(codes[:6]) + (f" and {len(codes) - 6} more" if len(codes) > 6 else "")
        what = f"gap of {area_m2:.1f} m2{near(gap)} {kind} {shown}"
        remedy = "give the ground in it to one of these cells, or add a cell"
        at = "cells", int(around[0])
        yield shapes.sources.problem(
            at, ".geometry", what, remedy, codes=codes, area_m2=round(area_m2, 2), shape=drawn(gap)
        )


def _missing(shapes: Shapes, solid: Geometry) -> Iterator[tuple[PlaceProblem, Geometry]]:
    """Name the ground of an area's outline that no cell covers, once: for the smallest area that has it."""
    levels = list(AreaKind)
    areas = [(index, area) for index, area in enumerate(shapes.places.areas) if area.polygons]
    known: Geometry = shapely.GeometryCollection()
    for index, area in sorted(areas, key=lambda each: -levels.index(each[1].kind)):
        outline = shapely.make_valid(outlines_of([area.polygons])[0])
        bare = shapely.get_parts(outline.difference(solid).difference(known))
        bare = bare[shapes.is_flaw(bare)]
        known = shapely.union_all([known, *bare])
        for part, area_m2 in zip(bare, shapes.area_m2(bare).tolist(), strict=True):
            around = shapes.base[shapes.base_tree.query(part, predicate="dwithin", distance=BORDERED)]
            codes = (area.code, *shapes.codes(np.sort(around)))
            what = f"{area.kind} {area.code} has {area_m2:.1f} m2 that no cell covers{near(part)}"
            remedy = "draw a cell there, or correct the outline of the area"
            at, shape = ("areas", index), drawn(part)
            problem = shapes.sources.problem(
                at, ".geometry", what, remedy, codes=codes, area_m2=round(area_m2, 2), shape=shape
            )
            yield problem, part


def _slits(shapes: Shapes, solid: Geometry) -> Geometries:
    """Return what a disc of `SLIT_M` cannot enter from outside, where that is more than the inside of a corner."""
    metric = shapes.metric(solid)
    closed = grown(grown(metric, SLIT_M / 2), -SLIT_M / 2)
    filled = shapely.get_parts(closed.difference(metric))
    slits = filled[_open_share(filled, metric.boundary) <= MAX_MOUTH]
    scale = [shapes.frame.x_m_per_unit, shapes.frame.y_m_per_unit]
    found: Geometries = shapely.transform(slits, lambda xy: xy / scale + np.array(shapes.frame.origin))
    return found


def _open_share(parts: Geometries, edge: Geometry) -> npt.NDArray[np.float64]:
    """Return the share of the outline of each part that does not run along `edge`."""
    xy, part = shapely.get_coordinates(parts, return_index=True)
    middles, steps = (xy[:-1] + xy[1:]) / 2, np.hypot(*np.diff(xy, axis=0).T)
    steps[part[:-1] != part[1:]] = 0  # from one part to the next
    shapely.prepare(edge)
    is_open = ~shapely.dwithin(edge, shapely.points(middles), 0.01)
    total, opened = (np.bincount(part[:-1], weights, len(parts)) for weights in (steps, steps * is_open))
    share: npt.NDArray[np.float64] = opened / np.maximum(total, 1e-9)
    return share
