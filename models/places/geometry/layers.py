"""What lies over the ground: exclusive and micro cells, nodes, lines, and the outlines of areas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import shapely

from models.content import patterns_meet
from models.places import CellType
from models.places.codes import is_unit_grid
from models.places.geometry.shapes import Shapes, drawn, near, outlines_of
from models.places.sources import PlaceProblem

FRONTAGE_M: Final = 30.0
"""A frontage farther than this from its shop belongs to another one."""
DECLARED_SHARE: Final = 0.05
"""A declared area is rounded, and measured on some other plane; beyond this it is another area."""
STRAY_M: Final = 200.0
"""A line farther than this from every cell is drawn elsewhere: there even a point has no owner."""


def problems(shapes: Shapes) -> Iterator[PlaceProblem]:
    """Name what cannot be."""
    yield from _rivals(shapes)
    yield from _micro(shapes)
    yield from _frontages(shapes)
    yield from _lines(shapes)


def remarks(shapes: Shapes, unit_grid_m2: tuple[float, float]) -> Iterator[PlaceProblem]:
    """Name what looks doubtful and is taken all the same."""
    yield from _strays(shapes)
    yield from _declared(shapes)
    yield from _unit_grids(shapes, unit_grid_m2)


def _declared(shapes: Shapes) -> Iterator[PlaceProblem]:
    """Name cells whose outline is not as large as the register has it: one of the two is out of date."""
    areas_m2 = shapes.area_m2(shapes.cells).tolist()
    for index, (cell, area_m2) in enumerate(zip(shapes.places.cells, areas_m2, strict=True)):
        if cell.area_m2 and shapes.is_valid[index] and abs(area_m2 / cell.area_m2 - 1) > DECLARED_SHARE:
            what = f"cell {cell.code} has {area_m2:,.0f} m2, and {cell.area_m2:,.0f} are declared"
            remedy = "correct its outline, or `area_m2`"
            rest = ".properties.area_m2"
            yield shapes.sources.problem(("cells", index), rest, what, remedy, area_m2=round(area_m2, 2))


def _unit_grids(shapes: Shapes, unit_grid_m2: tuple[float, float]) -> Iterator[PlaceProblem]:
    """Name cells with the code of a unit grid that are far from the size of one."""
    least_m2, most_m2 = unit_grid_m2
    areas_m2 = shapes.area_m2(shapes.cells)
    for index in np.flatnonzero(shapes.is_base & shapes.is_valid & ((areas_m2 < least_m2) | (areas_m2 > most_m2))):
        cell, area_m2 = shapes.places.cells[index], float(areas_m2[index])
        if is_unit_grid(cell):
            what = f"cell {cell.code} has {area_m2:,.0f} m2, and a unit grid has about 10,000"
            remedy = "draw it anew, give it a local code, or set `unit_grid_m2` in gridwarden.toml"
            yield shapes.sources.problem(("cells", int(index)), ".geometry", what, remedy, area_m2=round(area_m2, 2))


def _strays(shapes: Shapes) -> Iterator[PlaceProblem]:
    """Name base cells that reach out of the outline of their area."""
    area_by_code = {area.code: area for area in shapes.places.areas if area.polygons}
    inner = [i for i in shapes.base.tolist() if shapes.places.cells[i].parent in area_by_code]
    if not inner:
        return
    used = {code: i for i, code in enumerate(area_by_code)}
    outlines = shapely.make_valid(outlines_of([area.polygons for area in area_by_code.values()]))
    shapely.prepare(outlines)
    parents = np.array([used[shapes.places.cells[i].parent] for i in inner])
    chosen = np.flatnonzero(~shapely.covers(outlines[parents], shapes.cells[inner]))
    outside = shapely.difference(shapes.cells[np.array(inner)[chosen]], outlines[parents[chosen]])
    for at in np.flatnonzero(shapes.is_flaw(outside)).tolist():
        index, flaw = inner[chosen[at]], outside[at]
        cell, area_m2 = shapes.places.cells[index], float(shapes.area_m2(flaw))
        what = f"cell {cell.code} reaches {area_m2:.1f} m2 out of {cell.parent}{near(flaw)}"
        remedy = "correct its parent, or one of the outlines"
        codes = (cell.code, cell.parent)
        yield shapes.sources.problem(
            ("cells", index), ".geometry", what, remedy, codes=codes, area_m2=round(area_m2, 2), shape=drawn(flaw)
        )


def _rivals(shapes: Shapes) -> Iterator[PlaceProblem]:
    """Two exclusive cells with a category in common may not share ground: one place, one lead."""
    cells = shapes.places.cells
    is_exclusive = np.array([cell.type is CellType.EXCLUSIVE for cell in cells], dtype=np.bool_)
    chosen = np.flatnonzero(is_exclusive & shapes.is_valid)
    outlines = shapes.cells[chosen]
    for a, b in shapely.STRtree(outlines).query(outlines, predicate="intersects").T.tolist():
        one, other = cells[chosen[a]], cells[chosen[b]]
        common = [p for p in one.categories for q in other.categories if patterns_meet(p, q)]
        shared = outlines[a].intersection(outlines[b]) if a < b and common else None
        if shared is not None and shapes.is_flaw(np.array([shared]))[0]:
            area_m2 = float(shapes.area_m2(shared))
            what = f"exclusive cells {one.code} and {other.code} overlap by {area_m2:.1f} m2, both for {common[0]}"
            remedy = "redraw one of them, or take the category from it"
            at, codes = ("cells", int(chosen[b])), (one.code, other.code)
            yield shapes.sources.problem(
                at, ".geometry", what, remedy, codes=codes, area_m2=round(area_m2, 2), shape=drawn(shared)
            )


def _micro(shapes: Shapes) -> Iterator[PlaceProblem]:
    """A micro cell lies inside the one cell that holds it."""
    cells, known = shapes.places.cells, shapes.index_of_cell
    micro = [
        i for i, cell in enumerate(cells) if cell.type is CellType.MICRO and shapes.is_valid[i] and cell.parent in known
    ]
    if not micro:
        return
    parents = shapes.cells[[known[cells[i].parent] for i in micro]]
    outside = shapely.difference(shapes.cells[micro], parents)
    for at in np.flatnonzero(shapes.is_flaw(outside)).tolist():
        cell, flaw = cells[micro[at]], outside[at]
        area_m2 = float(shapes.area_m2(flaw))
        what = f"micro cell {cell.code} reaches {area_m2:.1f} m2 out of its cell {cell.parent}{near(flaw)}"
        remedy = "redraw it inside one cell, or cut it into one for each"
        codes = (cell.code, cell.parent)
        yield shapes.sources.problem(
            ("cells", micro[at]), ".geometry", what, remedy, codes=codes, area_m2=round(area_m2, 2), shape=drawn(flaw)
        )


def _frontages(shapes: Shapes) -> Iterator[PlaceProblem]:
    nodes = shapes.places.nodes
    chosen = [i for i, node in enumerate(nodes) if node.frontage]
    if not chosen:
        return
    away_m = shapely.distance(
        shapes.metric(shapes.nodes[chosen]), shapes.metric(outlines_of([nodes[i].frontage for i in chosen]))
    )
    for at in np.flatnonzero(away_m > FRONTAGE_M).tolist():
        index = chosen[at]
        what = f"the frontage of {nodes[index].code} is {away_m[at]:.0f} m away from it"
        remedy = "draw it before the door"
        rest = ".properties.frontage"
        yield shapes.sources.problem(("nodes", index), rest, what, remedy, shape=nodes[index].frontage)


def _lines(shapes: Shapes) -> Iterator[PlaceProblem]:
    if not len(shapes.base) or not shapes.places.lines:
        return
    reach = STRAY_M / min(shapes.frame.x_m_per_unit, shapes.frame.y_m_per_unit)
    starts = shapely.get_point(shapes.lines, 0)
    begins_near = shapes.base_tree.query_nearest(starts, max_distance=reach, all_matches=False)[0]
    others = np.setdiff1d(np.arange(len(shapes.lines)), begins_near)
    passes_near = others[shapes.base_tree.query(shapes.lines[others], predicate="dwithin", distance=reach)[0]]
    for index in np.setdiff1d(others, passes_near).tolist():
        line = shapes.places.lines[index]
        what = f"{line.kind} {line.code} is more than {STRAY_M:.0f} m away from every cell"
        yield shapes.sources.problem(("lines", index), ".geometry", what, "correct its positions, or remove it")
