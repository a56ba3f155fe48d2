"""What stands somewhere stands in the cell that it names; and if most do not, what may be wrong with all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from models.datum import Datum, from_wgs84, to_wgs84
from models.geo import UNITS_PER_DEGREE, PointE7
from models.places.geometry.shapes import Geometries, Shapes
from models.places.sources import LAYERS, At, PlaceProblem, key_of

SUSPECT_SHARE: Final = 0.5
"""So many of them outside their cells, and it is looked for one cause ..."""
EXPLAINED_SHARE: Final = 0.8
"""... which must bring so many of these back inside ..."""
SUSPECT_LEAST: Final = 3
"""... and be seen so often."""

Degrees = npt.NDArray[np.float64]


class _Standing(NamedTuple):
    """Something with a point, and the index of the cell that it names."""

    at: At
    cell: int
    point: PointE7


def problems(shapes: Shapes) -> Iterator[PlaceProblem]:
    """Name devices, zones and nodes outside their declared cell, and what lies outside the declared bounding box."""
    yield from _outside_bbox(shapes)
    things = list(_things(shapes))
    if not things:
        return
    points = np.array([thing.point for thing in things], dtype=np.int64).reshape(-1, 2)
    declared = shapes.cells[[thing.cell for thing in things]]
    outside = np.flatnonzero(~_covers(declared, points))
    hints = _hints(shapes, things, declared, points, outside)
    yield from _common_cause(shapes, things, outside, hints)
    for index in outside.tolist():
        yield _outsider(shapes, things[index], hints.get(index))


def _things(shapes: Shapes) -> Iterator[_Standing]:
    places, known = shapes.places, shapes.index_of_cell
    for i, device in enumerate(places.devices):
        if device.cell in known:
            yield _Standing(("devices", i), known[device.cell], device.point)
    for i, zone in enumerate(places.zones):
        if zone.point and zone.cell in known:
            yield _Standing(("zones", i), known[zone.cell], zone.point)
    inside = shapely.get_coordinates(shapely.point_on_surface(shapes.nodes)).tolist() if places.nodes else []
    for i, (node, (x, y), is_valid) in enumerate(
        zip(places.nodes, inside, shapely.is_valid(shapes.nodes).tolist(), strict=True)
    ):
        if is_valid and node.cell in known:
            yield _Standing(("nodes", i), known[node.cell], (round(x), round(y)))


def _covers(cells: Geometries, points: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = shapely.covers(cells, shapely.points(points.astype(np.float64)))
    return found


def _outsider(shapes: Shapes, thing: _Standing, hint: str | None) -> PlaceProblem:
    layer, index = thing.at
    item, cell = getattr(shapes.places, layer)[index], shapes.places.cells[thing.cell]
    there = shapes.base[shapes.base_tree.query(shapely.Point(thing.point), predicate="intersects")]
    owners = sorted(shapes.codes(there))
    there_is = owners[0] if owners else "no cell"
    what = f"{layer[:-1]} {key_of(item)} is outside its cell {cell.code}: it stands in {there_is}"
    remedy = f"correct its cell or its position ({hint or 'is the datum right?'})"
    codes = (key_of(item), cell.code, *owners[:1])
    return shapes.sources.problem(thing.at, ".properties.cell", what, remedy, codes=codes, shape=thing.point)


# --- one cause for many ---


def _hints(
    shapes: Shapes,
    things: list[_Standing],
    declared: Geometries,
    points: npt.NDArray[np.int64],
    outside: npt.NDArray[np.intp],
) -> dict[int, str]:
    """Return what would bring each of those outside back into its cell: the first cause that does."""
    hints: dict[int, str] = {}
    if not len(outside):
        return hints
    degrees = points[outside] / UNITS_PER_DEGREE
    for cause, moved in _moves(degrees, shapes.places.datum):
        is_inside = _covers(declared[outside], np.rint(moved * UNITS_PER_DEGREE).astype(np.int64))
        for index in outside[is_inside].tolist():
            hints.setdefault(index, cause)
    return hints


def _moves(degrees: Degrees, datum: Datum) -> Iterator[tuple[str, Degrees]]:
    """Give where positions would be if they had been written otherwise than the file says."""
    written = from_wgs84(degrees, datum)
    if (np.abs(written[:, 0]) <= 90).all():
        yield "longitude and latitude look swapped", to_wgs84(written[:, ::-1], datum)
    for other in Datum:
        if other is not datum:
            yield f"they look like {other} in a file of {datum}", to_wgs84(written, other)


def _common_cause(
    shapes: Shapes, things: list[_Standing], outside: npt.NDArray[np.intp], hints: dict[int, str]
) -> Iterator[PlaceProblem]:
    devices = [i for i, thing in enumerate(things) if thing.at[0] == "devices"]
    out = [i for i in outside.tolist() if things[i].at[0] == "devices"]
    if len(out) < max(SUSPECT_LEAST, SUSPECT_SHARE * len(devices)):
        return
    for cause in sorted(set(hints.values())):
        explained = [i for i in out if hints.get(i) == cause]
        if len(explained) >= max(SUSPECT_LEAST, EXPLAINED_SHARE * len(out)):
            codes = tuple(shapes.places.devices[things[i].at[1]].id for i in explained)
            what = f"{len(out)} of {len(devices)} devices stand outside their cells: {cause}"
            remedy = "write all positions of the file in one datum, longitude first, and name it in `datum`"
            yield PlaceProblem(file=shapes.sources.file, path="datum", what=what, remedy=remedy, codes=codes)


def _outside_bbox(shapes: Shapes) -> Iterator[PlaceProblem]:
    """Name, by layer, what lies outside the box that the file declares: all of it moved shows nowhere else."""
    if shapes.sources.bbox is None:
        return
    west, south, east, north = shapes.sources.bbox
    low, high = np.array([west, south]), np.array([east, north])
    for layer in LAYERS:
        items = [(i, points) for i, item in enumerate(getattr(shapes.places, layer)) if len(points := _points(item))]
        out = [i for i, points in items if (points < low).any() or (points > high).any()]
        if out:
            codes = tuple(key_of(getattr(shapes.places, layer)[i]) for i in out)
            some = ", ".join(codes[:5])
            what = f"{len(out)} of {len(items)} {layer} reach out of the `bbox` of the file, such as {some}"
            remedy = "correct the bbox, the datum or the positions"
            yield shapes.sources.problem((layer, out[0]), ".geometry", what, remedy, codes=codes)


def _points(item: object) -> npt.NDArray[np.int64]:
    for field in ("polygons", "points"):
        if hasattr(item, field):
            array: npt.NDArray[np.int64] = getattr(item, field).array
            return array
    point = getattr(item, "point", None)
    return np.array([point] if point else [], dtype=np.int64).reshape(-1, 2)
