"""The map: of the places of the config what a page can draw of the part that it shows, as GeoJSON, and nothing more.

A page asks for a box. Where a layer has more in it than can be told apart, it is left out, and areas stand for cells;
lines are as straight as the eye cannot tell at that width. So a city of any size is drawn from answers of like size.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from litestar.exceptions import ClientException
from litestar.params import FromQuery
from litestar.response import Response
from msgspec import Struct

from models.geo import UNITS_PER_DEGREE, array_e7, to_degrees
from models.outlines import Points, Polygons, Positions, stack, stack_lines
from models.places import Area, AreaKind, Cell, Device, Line, LineKind, Node, Places

Ints = npt.NDArray[np.int64]
Place = Area | Cell | Node | Line | Device

MOST: Final = 2_000
"""Features of one layer in an answer."""
MOST_AREAS: Final = 600
"""Outlines of areas, which are the longest, and lines of one kind between them: more of them is a hatching."""
MOST_CODES: Final = 500
STEPS: Final = 2_048
"""A line is drawn as exactly as this share of the width of the box: about a pixel."""
EXACT_E7: Final = 128
"""A tolerance below this, 1.3 m, is none."""
PASSES: Final = 8
LEAST_POINTS: Final = 7
"""A chain of fewer is left as it is: a ring would lose its inside."""


class Box(NamedTuple):
    """Integers of 1e-7 degree."""

    west: int
    south: int
    east: int
    north: int


class _Geometry(Struct, frozen=True):
    type: str
    coordinates: Any


class _Properties(Struct, frozen=True, kw_only=True, omit_defaults=True):
    layer: str
    code: str
    kind: str
    zh: str
    en: str
    heading_deg: float | None = None
    fov_deg: float | None = None
    range_m: float | None = None


class _Feature(Struct, frozen=True, kw_only=True, tag_field="type", tag="Feature"):
    geometry: _Geometry
    properties: _Properties


class _Collection(Struct, frozen=True, kw_only=True, tag_field="type", tag="FeatureCollection"):
    """`whole` is the box of the city in degrees; nothing is left to be asked for where the answer is `complete`."""

    whole: tuple[float, ...]
    complete: bool
    features: list[_Feature]


class _Layer:
    """Places of one kind, found by their boxes."""

    def __init__(self, name: str, places: Sequence[Place]) -> None:
        self.name, self.places, self._boxes = name, places, _boxes(places)

    def within(self, box: Box) -> list[Place]:
        """Give those whose own box meets `box`, in the order of the file."""
        west, south, east, north = self._boxes.T
        is_near = (west <= box.east) & (east >= box.west) & (south <= box.north) & (north >= box.south)
        return [self.places[index] for index in np.flatnonzero(is_near).tolist()]

    @property
    def bounds(self) -> Ints:
        """The box around all, (0, 4) or (1, 4)."""
        low, high = self._boxes[:, :2], self._boxes[:, 2:]
        return np.hstack([low.min(0), high.max(0)])[None] if len(self._boxes) else self._boxes


class Map:
    """The places of one config, ready to be asked by any thread."""

    def __init__(self, places: Places) -> None:
        self._places = places
        areas = {kind: tuple(a for a in places.areas if a.kind is kind and a.polygons) for kind in reversed(AreaKind)}
        self._areas = [_Layer("area", layer) for layer in areas.values()]
        self._cells = _Layer("cell", places.cells)
        lines = {kind: tuple(line for line in places.lines if line.kind is kind) for kind in LineKind}
        self._lines = [_Layer("line", layer) for layer in lines.values()]
        self._details = [_Layer("node", places.nodes), _Layer("device", places.devices)]
        layers = (self._cells, *self._areas, *self._lines, *self._details)
        bounds = np.concatenate([layer.bounds for layer in layers])
        self._bounds = Box(*bounds[:, :2].min(0).tolist(), *bounds[:, 2:].max(0).tolist()) if len(bounds) else None

    @cached_property
    def whole(self) -> bytes:
        """The whole city: what every page begins with."""
        return self.view(self._bounds or Box(0, 0, 0, 0))

    def view(self, box: Box) -> bytes:
        """Give what is to be drawn of a box, in the order in which it is drawn."""
        cells = self._cells.within(box)
        has_cells = len(cells) <= MOST
        chosen = [("cell", cells)] if has_cells else self._instead(box)
        found = [(layer.name, layer.within(box)) for layer in (*self._lines, *(self._details if has_cells else ()))]
        most = MOST_AREAS if "area" in dict(chosen) else MOST
        chosen += [(name, places) for name, places in found if len(places) <= most]
        tolerance_e7 = (box.east - box.west) / STEPS
        tolerance_e7 = 0 if tolerance_e7 < EXACT_E7 else tolerance_e7
        is_all = self._bounds is None or (
            box.west <= self._bounds.west
            and box.south <= self._bounds.south
            and box.east >= self._bounds.east
            and box.north >= self._bounds.north
        )
        complete = is_all and has_cells and len(chosen) == 1 + len(found) and not tolerance_e7
        return self._encoded(chosen, tolerance_e7, complete=complete)

    def named(self, codes: Sequence[str]) -> bytes:
        """Give the cells, lines and nodes of these codes, wherever they are."""
        tables = (
            ("cell", self._places.cell_by_code),
            ("line", self._places.line_by_code),
            ("node", self._places.node_by_code),
        )
        chosen = [(name, [table[code] for code in codes if code in table]) for name, table in tables]
        return self._encoded(chosen, 0, complete=False)

    def _instead(self, box: Box) -> list[tuple[str, list[Place]]]:
        """Give the narrowest areas that are few enough."""
        found = (layer.within(box) for layer in self._areas)
        return next(([("area", areas)] for areas in found if 0 < len(areas) <= MOST_AREAS), [])

    def _encoded(self, chosen: Sequence[tuple[str, Sequence[Any]]], tolerance_e7: float, *, complete: bool) -> bytes:
        features = [feature for name, places in chosen for feature in _features(name, places, tolerance_e7)]
        whole = tuple(to_degrees(value) for value in self._bounds or ())
        return msgspec.json.encode(_Collection(whole=whole, complete=complete, features=features))


def _boxes(places: Sequence[Any]) -> Ints:
    """Return west, south, east and north of each place, (n, 4)."""
    if not places:
        return np.empty((0, 4), dtype=np.int64)
    if isinstance(places[0], Device):
        points = np.array([place.point for place in places], dtype=np.int64)
        return np.hstack([points, points])
    raws = [place.points.raw if isinstance(place, Line) else place.polygons.raw for place in places]
    points = np.frombuffer(b"".join(raws), "<i4").reshape(-1, 2)
    first = np.concatenate([[0], np.cumsum([len(raw) // 8 for raw in raws[:-1]], dtype=np.int64)]).astype(np.intp)
    return np.hstack([np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)]).astype(np.int64)


def _features(layer: str, places: Sequence[Any], tolerance_e7: float) -> Iterator[_Feature]:
    shapes: dict[str, Callable[[Sequence[Any], float], Iterator[_Geometry]]] = {"device": _points, "line": _lines}
    for place, geometry in zip(places, shapes.get(layer, _polygons)(places, tolerance_e7), strict=True):
        seen = {key: getattr(place, key) for key in ("heading_deg", "fov_deg", "range_m") if layer == "device"}
        kind = place.type if layer == "cell" else place.kind
        code = place.id if layer == "device" else place.code
        yield _Feature(
            geometry=geometry,
            properties=_Properties(layer=layer, code=code, kind=kind.value, zh=place.name, en=place.name_en, **seen),
        )


def _points(places: Sequence[Device], _tolerance_e7: float) -> Iterator[_Geometry]:
    return (_Geometry("Point", [to_degrees(value) for value in place.point]) for place in places)


def _lines(places: Sequence[Line], tolerance_e7: float) -> Iterator[_Geometry]:
    lines: list[Points] = [place.points for place in places]
    return (_Geometry("LineString", chain) for chain in _chains(*stack_lines(lines), tolerance_e7))


def _polygons(places: Sequence[Area | Cell | Node], tolerance_e7: float) -> Iterator[_Geometry]:
    outlines: list[Polygons] = [place.polygons for place in places]
    columns = stack(outlines)
    rings = iter(_chains(columns.points, columns.ring_start, tolerance_e7))
    for outline in outlines:
        yield _Geometry("MultiPolygon", [list(itertools.islice(rings, count)) for count in outline.parts])


def _chains(points: Positions, start: Ints, tolerance_e7: float) -> list[list[list[float]]]:
    """Give each chain as pairs of degrees."""
    if tolerance_e7:
        points, start = straightened(points, start, tolerance_e7)
    pairs = (points / UNITS_PER_DEGREE).tolist()
    return [pairs[a:b] for a, b in itertools.pairwise(start.tolist())]


def straightened(points: Positions, start: Ints, tolerance_e7: float) -> tuple[Positions, Ints]:
    """Leave out positions that lie on the line between their neighbours, but for so much in each of `PASSES`.

    Of two neighbours one stays in a pass, so that a bend is not taken apart at once; the ends of a chain stay.

    Args:
        points: (n, 2), of all chains.
        start: (chains + 1,), where each begins, and the end.
        tolerance_e7: in 1e-7 degree.
    """
    for _ in range(PASSES):
        lengths = np.diff(start)
        nth = np.arange(len(points)) - np.repeat(start[:-1], lengths)
        of = np.repeat(lengths, lengths)
        candidates = np.flatnonzero((nth % 2 == 1) & (nth < of - 1) & (of >= LEAST_POINTS))
        before, here, after = (points[candidates + by].astype(np.float64) for by in (-1, 0, 1))
        base, arm = after - before, here - before
        share = np.clip((base * arm).sum(axis=1) / np.maximum((base * base).sum(axis=1), 1.0), 0.0, 1.0)
        flat = candidates[np.hypot(*(arm - share[:, None] * base).T) <= tolerance_e7]
        if not len(flat):
            break
        keep = np.ones(len(points), dtype=np.bool_)
        keep[flat] = False
        kept = np.concatenate([[0], np.cumsum(keep)])
        points, start = points[keep], kept[start]
    return points, start


# --- asked over HTTP --------------------------------------------------------------------------------------------------

Asked = FromQuery[str | None]


async def answer(city: Map, bbox: str | None, codes: str | None) -> Response[bytes]:
    """Return a part of the map: of `bbox` (west, south, east, north in degrees), of `codes`, else of the whole city.

    Raises:
        ClientException: the box is none.
    """
    if codes is not None:
        found = await asyncio.to_thread(city.named, codes.split(",")[:MOST_CODES])
    elif bbox is not None:
        found = await asyncio.to_thread(city.view, _box(bbox))
    else:
        found = await asyncio.to_thread(lambda: city.whole)
    return Response(found, media_type="application/geo+json")


def _box(text: str) -> Box:
    try:
        degrees = [float(part) for part in text.split(",")]
    except ValueError:
        degrees = []
    is_box = len(degrees) == 4 and all(map(math.isfinite, degrees))
    if not is_box or not (degrees[0] < degrees[2] and degrees[1] < degrees[3]):
        raise ClientException("bbox is west, south, east and north in degrees")
    corners = np.clip(degrees, [-180, -90] * 2, [180, 90] * 2).reshape(2, 2)
    return Box(*array_e7(corners).reshape(-1).tolist())
