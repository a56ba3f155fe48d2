"""GeoJSON coordinates in, packed positions out.

What is right is read in one go, many features at a time. What is not is read position by position, to name the mistake.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Annotated, Any, Final, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Raw

from models.geo import PointE7, Ring, array_e7, to_e7
from models.outlines import PACKED, POINT_BYTES, Points, Polygons

MAX_RING_POINTS: Final = 200_000
"""Positions of one ring: no real cell comes near."""

SWAPPED: Final = "latitude and longitude are swapped"
"""How that mistake begins: whoever makes it makes it in a whole file."""

Refuse = Callable[[str, str, str, Polygons | Points | PointE7 | None], None]
"""Takes the place in the file, what is wrong there, the remedy, and what can be drawn of it."""

_Longitude = Annotated[float, Meta(ge=-180.0, le=180.0)]
_Latitude = Annotated[float, Meta(ge=-90.0, le=90.0)]

P = TypeVar("P")
S = TypeVar("S", Polygons, Points, PointE7)


def read_polygons(kind: str, coordinates: object, rest: str, refuse: Refuse) -> Polygons:
    """Read the coordinates of a `Polygon` or `MultiPolygon`: those in the file, or decoded ones."""
    [found] = read_outlines([(kind, coordinates)])
    return found or _Namer(refuse).all_of(_plain(coordinates), rest, functools.partial(_Namer.polygons, kind=kind))


def read_outlines(geometries: Iterable[tuple[str, object]]) -> list[Polygons]:
    """Read many polygons, each by kind and coordinates, like `read_polygons`; one with a mistake comes out empty."""
    sizes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    rings: list[list[tuple[float, ...]]] = []
    for kind, coordinates in geometries:
        found, width = _typed(kind, coordinates)
        polygons: list[list[list[tuple[float, ...]]]] = [found] if kind == "Polygon" and found else found
        mine = [ring for polygon in polygons for ring in polygon]
        if any(ring[0] != ring[-1] for ring in mine):
            mine, polygons = [], []
        sizes.append((tuple(map(len, mine)), tuple(map(len, polygons))))
        rings += mine if width == 2 else [[position[:2] for position in ring] for ring in mine]
    raw, at, outlines = _packed(chain.from_iterable(rings), 2), 0, []
    for lengths, parts in sizes:
        end = at + POINT_BYTES * sum(lengths)
        outlines.append(Polygons(raw[at:end], lengths, parts))
        at = end
    return outlines


def read_line(coordinates: object, rest: str, refuse: Refuse) -> Points:
    """Read the coordinates of a `LineString`."""
    found, width = _typed("LineString", coordinates)
    if any(position[:2] != found[0][:2] for position in found):
        return Points(_packed(found, width))
    return _Namer(refuse).all_of(_plain(coordinates), rest, _Namer.line)


def read_point(coordinates: object, rest: str, refuse: Refuse) -> PointE7:
    """Read the coordinates of a `Point`."""
    return _Namer(refuse).all_of(_plain(coordinates), rest, _Namer.point)


class _Shape:
    """A strict type, from the bytes of the file or from what was decoded already."""

    def __init__(self, shape: Any) -> None:  # noqa: ANN401  # a type with annotations is no `type`
        # A struct: with the shape itself, each call would first take that apart.
        self._decode, self._box = msgspec.json.Decoder(shape).decode, msgspec.defstruct("_Box", [("value", shape)])

    def read(self, value: object) -> list[Any]:
        if isinstance(value, Raw):
            found: list[Any] = self._decode(value)
            return found
        box: Any = msgspec.convert({"value": value}, self._box)
        return list(box.value)


def _shapes_of(position: Any) -> dict[str, _Shape]:  # noqa: ANN401  # likewise
    line = Annotated[list[position], Meta(min_length=2)]
    ring = Annotated[list[position], Meta(min_length=4, max_length=MAX_RING_POINTS)]
    polygon = Annotated[list[ring], Meta(min_length=1)]
    many = Annotated[list[polygon], Meta(min_length=1)]
    return {kind: _Shape(shape) for kind, shape in (("LineString", line), ("Polygon", polygon), ("MultiPolygon", many))}


_FLAT: Final = _shapes_of(tuple[_Longitude, _Latitude])
_RAISED: Final = _shapes_of(tuple[_Longitude, _Latitude, float])


def _typed(kind: str, coordinates: object) -> tuple[list[Any], int]:
    """Give the nested positions and how many numbers each has; none where something is wrong with one of them."""
    for shapes, width in ((_FLAT, 2), (_RAISED, 3)):
        try:
            return shapes[kind].read(coordinates), width
        except msgspec.DecodeError:  # a wrong shape is one, too
            continue
    return [], 2


def _packed(positions: Iterable[tuple[float, ...]], width: int) -> bytes:
    numbers = np.fromiter(chain.from_iterable(positions), np.float64)
    return array_e7(numbers.reshape(-1, width)[:, :2]).astype(PACKED).tobytes()


def _plain(coordinates: object) -> object:
    return msgspec.json.decode(coordinates) if isinstance(coordinates, Raw) else coordinates


class _Namer:
    """Reads position by position, and names all that is wrong."""

    def __init__(self, refuse: Refuse) -> None:
        self._refuse = refuse
        self._count = 0
        self._swapped: list[str] = []

    def all_of(self, coordinates: object, rest: str, read: Callable[[_Namer, object, str], S]) -> S:
        """Read all of a geometry; what is swapped in it is named once, and drawn where it was meant to be."""
        found = read(self, coordinates, rest)
        if self._swapped:
            many = f" in {len(self._swapped)} positions, such as" if len(self._swapped) > 1 else ":"
            self.refuse(rest, f"{SWAPPED}{many} {self._swapped[0]}", "give [longitude, latitude] in degrees", found)
        return found

    def refuse(self, rest: str, what: str, remedy: str, shape: Polygons | Points | PointE7 | None = None) -> None:
        self._count += 1
        self._refuse(rest, what, remedy, shape)

    def polygons(self, coordinates: object, rest: str, *, kind: str) -> Polygons:
        if kind == "Polygon":
            return Polygons.of([self.polygon(coordinates, rest)])
        found = list(self.each(coordinates, rest, self.polygon))
        if not found and isinstance(coordinates, list):
            self.refuse(rest, "has no polygon", "give at least one")
        return Polygons.of(found)

    def polygon(self, coordinates: object, rest: str) -> tuple[Ring, ...]:
        rings = tuple(self.each(coordinates, rest, self.ring))
        if not rings and isinstance(coordinates, list):
            self.refuse(rest, "has no ring", "give the outer ring first, then the holes")
        return rings

    def ring(self, coordinates: object, rest: str) -> Ring:
        before = self._count
        ring = tuple(self.each(coordinates, rest, self.point))
        if self._count > before:
            return ring
        shape = Points.of(ring)
        if len(ring) > MAX_RING_POINTS:
            self.refuse(rest, f"has {len(ring):,} positions", f"simplify it to {MAX_RING_POINTS:,} or fewer", shape)
        elif ring and ring[0] != ring[-1]:
            self.refuse(rest, "ring is not closed", "repeat its first position as the last one", shape)
        elif len(ring) < 4:
            remedy = "give four or more, the last equal to the first"
            self.refuse(rest, f"ring has {len(ring)} positions", remedy, shape)
        return ring

    def line(self, coordinates: object, rest: str) -> Points:
        before = self._count
        points = tuple(self.each(coordinates, rest, self.point))
        if self._count == before and len(set(points)) < 2:
            self.refuse(rest, "line has no length", "give two different positions or more", Points.of(points))
        return Points.of(points)

    def each(self, values: object, rest: str, read: Callable[[object, str], P]) -> Iterator[P]:
        if not isinstance(values, list):
            self.refuse(rest, "is not a list", "nest the coordinates as RFC 7946 says")
            return
        for index, value in enumerate(values):
            yield read(value, f"{rest}[{index}]")

    def point(self, value: object, rest: str) -> PointE7:
        numbers = value if isinstance(value, list) else []
        if len(numbers) not in {2, 3} or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
            self.refuse(rest, "is not a position", "give [longitude, latitude] in degrees")
        elif any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            self.refuse(rest, "is not a finite number (NaN or infinite)", "give [longitude, latitude] in degrees")
        else:
            lon_deg, lat_deg = numbers[:2]
            if abs(lon_deg) <= 180 and abs(lat_deg) <= 90:
                return to_e7(lon_deg), to_e7(lat_deg)
            shown = f"[{str(lon_deg)[:15]}, {str(lat_deg)[:15]}]"
            if abs(lon_deg) <= 90 < abs(lat_deg) <= 180:
                self._swapped.append(shown)
                return to_e7(lat_deg), to_e7(lon_deg)
            self.refuse(rest, f"is outside the earth: {shown}", "give [longitude, latitude] in degrees")
        return 0, 0
