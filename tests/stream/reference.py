"""Plain twins of the compiled locator, by other formulas: shapely decides, nothing is indexed."""

from __future__ import annotations

from collections.abc import Iterable

import shapely

from models.geo import LocalFrame, PointE7, Polygon, line_distance_m
from models.places import Cell, Line, Node


def shape(polygon: Polygon) -> shapely.Polygon:
    """Give a polygon on the very integers that the locator tests."""
    return shapely.Polygon(polygon[0], polygon[1:])


def covering(places: Iterable[tuple[str, Iterable[Polygon]]], point: PointE7) -> list[str]:
    """Give the codes of the places that cover a point, borders included, in byte order."""
    here = shapely.Point(point)
    found = [code for code, polygons in places if any(shape(polygon).covers(here) for polygon in polygons)]
    return sorted(found, key=str.encode)


def cell_of(cells: Iterable[Cell], point: PointE7) -> str | None:
    """Give the smallest code in byte order of the cells that cover a point."""
    return next(iter(covering(((cell.code, cell.polygons) for cell in cells), point)), None)


def node_of(nodes: Iterable[Node], point: PointE7) -> str | None:
    """Give the node that covers a point, itself or with its frontage: of several the one of the smallest area."""
    by_code = {node.code: node for node in nodes}
    found = covering(((node.code, (*node.polygons, *node.frontage)) for node in by_code.values()), point)
    return min(found, key=lambda code: (_area(by_code[code].polygons), code.encode()), default=None)


def line_of(lines: Iterable[Line], point: PointE7, *, slack_m: float = 0.002) -> set[str]:
    """Give the lines that may be the nearest within whose buffer a point lies, to a millimetre or two."""
    away_m = {line.code: line_distance_m(point, line.points.array) for line in lines}
    inside = [line for line in lines if away_m[line.code] <= line.buffer_m + slack_m]
    least_m = min((away_m[line.code] for line in inside), default=0.0)
    return {line.code for line in inside if away_m[line.code] <= least_m + slack_m}


def distance_m(polygons: Iterable[Polygon], point: PointE7) -> float:
    """Give the distance from a point to the nearest of some polygons, on the plane that touches at the point."""
    frame = LocalFrame.at(point)
    here = shapely.Point(0, 0)
    return float(
        min(
            shapely.Polygon(
                [frame.to_xy(p) for p in polygon[0]], [[frame.to_xy(p) for p in hole] for hole in polygon[1:]]
            ).distance(here)
            for polygon in polygons
        )
    )


def _area(polygons: Iterable[Polygon]) -> float:
    return float(sum(shape(polygon).area for polygon in polygons))
