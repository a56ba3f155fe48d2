"""RFC 7946 in, `Places` out; and back. Shapes only: what refers to what is checked in `models.places.check`.

Every feature says in its property ``layer`` what it is: ``area``, ``cell``, ``node``, ``line``, ``zone`` or ``device``.
The other properties are the fields of that type, the geometry is its polygons, points or point. Positions are turned
into WGS-84, and rings so that outer ones run counter-clockwise and holes clockwise (RFC 7946, 3.1.6).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw, Struct

from models.content import Record, convert
from models.datum import Datum, to_wgs84
from models.errors import ConfigError, Problem
from models.geo import PointE7, point_e7, to_degrees
from models.outlines import Points, Polygons
from models.places import Area, Cell, Device, Line, Node, Places, Zone
from models.places.coordinates import SWAPPED, read_line, read_outlines, read_point, read_polygons
from models.places.settle import settle
from models.places.sources import SPATIAL, PlaceProblem, Shape, Sources, shape_of

KINDS: Mapping[str, tuple[str, type[Record]]] = {
    "area": ("areas", Area),
    "cell": ("cells", Cell),
    "node": ("nodes", Node),
    "line": ("lines", Line),
    "zone": ("zones", Zone),
    "device": ("devices", Device),
}
GEOMETRIC = frozenset({"polygons", "points", "point"})
"""The fields that a geometry fills."""
POLYGONS = frozenset({"Polygon", "MultiPolygon"})
TOGETHER = 64
"""Features whose polygons are read in one go: few enough that all their numbers stay in the cache."""
SWAPPED_LEAST = 3
"""Geometries with swapped positions from which on they are one mistake."""
_WGS84_NAMES = ("CRS84", "4326", "4490")
"""How the `crs` of older GeoJSON ends where it means what RFC 7946 means; CGCS2000 is within a decimetre of it."""


class _Geometry(Struct):
    type: str
    coordinates: Raw


class _Feature(Struct):
    type: Literal["Feature"]
    properties: dict[str, Any]
    geometry: _Geometry | None = None


class _Head(Struct):
    type: Literal["FeatureCollection"]
    features: list[Raw]
    datum: Any = Datum.WGS84
    source_datum: Any = None
    bbox: Any = None
    crs: Any = None


class Parsed(NamedTuple):
    """What a file says, where it says it, and what is wrong with it; what has a mistake is left out of the places."""

    places: Places
    sources: Sources
    problems: list[Problem]


def parse(raw: bytes, *, file: Path | str) -> Parsed:
    """Take a FeatureCollection apart.

    Raises:
        ConfigError: not JSON, or not a FeatureCollection at all.
    """
    head, features = _document(raw, file)
    problems: list[Problem] = []
    sources = Sources(file=file)
    datum = _datum(head, file, problems)
    items: dict[str, list[Record]] = {name: [] for name, _ in KINDS.values()}
    reader = _FeatureReader(file, problems)
    for index, (properties, geometry) in enumerate(_opened(features)):
        read = reader.read(index, properties, geometry, sources)
        if read is None:
            sources.is_whole = False
            continue
        layer, item = read
        items[layer].append(item)
        sources.features[layer].append(index)
    sources.places, sources.clockwise = settle(items, datum)
    if head.source_datum is not None:
        written = convert(head.source_datum, Datum, file=file, path="source_datum", problems=problems)
        sources.places = msgspec.structs.replace(sources.places, datum=written or datum)
    sources.bbox = _bbox(head.bbox, datum, file, problems)
    return Parsed(sources.places, sources, _swaps_as_one(problems, file))


def _document(raw: bytes, file: Path | str) -> tuple[_Head, list[Any]]:
    try:
        head = msgspec.json.decode(raw, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = _plain_document(raw, file)
        known = {name: document[name] for name in _Head.__struct_fields__ if name in document}
        return _Head(**known | {"features": []}), document["features"]
    else:
        return head, head.features


def _plain_document(raw: bytes, file: Path | str) -> dict[str, Any]:
    """Read the file with Python's own reader: it takes NaN and Infinity, which are then named where they stand."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise ConfigError([Problem(file, "$", f"is not JSON: {exc}", "correct the place that is named")]) from exc
    if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
        raise ConfigError([Problem(file, "type", "is not a FeatureCollection", "give a GeoJSON FeatureCollection")])
    if not isinstance(document.get("features"), list):
        raise ConfigError([Problem(file, "features", "is not a list", "give the list of features")])
    return document


def _datum(head: _Head, file: Path | str, problems: list[Problem]) -> Datum:
    if head.crs is not None and not any(name in str(head.crs) for name in _WGS84_NAMES):
        what = f"{str(head.crs)[:80]} is not a reference system that is read"
        problems.append(Problem(file, "crs", what, f"give positions in degrees; `datum` is one of {', '.join(Datum)}"))
    return convert(head.datum, Datum, file=file, path="datum", problems=problems) or Datum.WGS84


def _bbox(value: object, datum: Datum, file: Path | str, problems: list[Problem]) -> tuple[int, int, int, int] | None:
    if value is None:
        return None
    box = convert(value, list[float], file=file, path="bbox", problems=problems)
    if box is None:
        return None
    corners = (box[:2], box[len(box) // 2 :][:2]) if len(box) in {4, 6} else ((0, 0), (0, 0))
    (west, south), (east, north) = (point_e7(*corner) for corner in to_wgs84(corners, datum).tolist())
    if not (west < east and south < north):
        problems.append(Problem(file, "bbox", "has no area", "give west, south, east, north"))
        return None
    return west, south, east, north


def _swaps_as_one(problems: list[Problem], file: Path | str) -> list[Problem]:
    """Name swapped positions of many geometries once, before all others: nobody reads 100,000 lines."""
    swapped = [p for p in problems if isinstance(p, PlaceProblem) and p.what.startswith(SWAPPED)]
    if len(swapped) < SWAPPED_LEAST:
        return problems
    shapes = [p.shape for p in swapped if isinstance(p.shape, Polygons)]
    one = PlaceProblem(
        file=file,
        path="features",
        what=f"{SWAPPED} in {len(swapped):,} geometries, such as {swapped[0].path}",
        remedy="give [longitude, latitude] in degrees",
        codes=tuple(code for p in swapped for code in p.codes),
        shape=Polygons.of([polygon for shape in shapes for polygon in shape]) if shapes else swapped[0].shape,
    )
    return [one, *(p for p in problems if not (isinstance(p, PlaceProblem) and p.what.startswith(SWAPPED)))]


def _opened(features: Sequence[object]) -> Iterator[tuple[dict[str, Any] | None, object]]:
    """Give the properties of each feature, None where it is none, and its geometry: polygons read if they are right."""
    for low in range(0, len(features), TOGETHER):
        parts = [_parts(feature) for feature in features[low : low + TOGETHER]]
        shapes = [shape for properties, geometry in parts for shape in (geometry, (properties or {}).get("frontage"))]
        kinds = [_kind_of(shape) for shape in shapes]
        outlines = iter(read_outlines([kind for kind in kinds if kind[0] in POLYGONS]))
        found = [
            (next(outlines) or shape) if kind in POLYGONS else shape
            for shape, (kind, _) in zip(shapes, kinds, strict=True)
        ]
        for (properties, _), geometry, frontage in zip(parts, found[::2], found[1::2], strict=True):
            yield (properties | {"frontage": frontage} if properties and frontage else properties), geometry


def _parts(feature: object) -> tuple[dict[str, Any] | None, object]:
    """Give the properties and the geometry, its coordinates as they stand in the file where that is possible."""
    if isinstance(feature, Raw):
        try:
            read = _decode_feature(feature)
        except msgspec.DecodeError:
            feature = msgspec.json.decode(feature)
        else:
            return read.properties, read.geometry
    properties = feature.get("properties") if isinstance(feature, dict) else None
    if not isinstance(feature, dict) or feature.get("type") != "Feature" or not isinstance(properties, dict):
        return None, None
    return dict(properties), feature.get("geometry")


class _FeatureReader:
    """Reads one feature after the other and collects their mistakes."""

    def __init__(self, file: Path | str, problems: list[Problem]) -> None:
        self.file, self.problems = file, problems
        self.index = 0
        self.codes: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return f"features[{self.index}]"

    def refuse(self, rest: str, what: str, remedy: str, shape: Shape = None) -> None:
        self.problems.append(
            PlaceProblem(
                file=self.file, path=f"{self.path}{rest}", what=what, remedy=remedy, codes=self.codes, shape=shape
            )
        )

    def read(
        self, index: int, properties: dict[str, Any] | None, geometry: object, sources: Sources
    ) -> tuple[str, Record] | None:
        self.index, self.codes = index, ()
        if properties is None:
            self.refuse("", "is not a Feature with properties", "give `type`, `geometry` and `properties`")
            return None
        layer = KINDS.get(str(properties.pop("layer", None)))
        if layer is None:
            self.refuse(".properties.layer", "unknown layer", f"use one of: {', '.join(KINDS)}")
            return None
        name, shape = layer
        key = properties.get("code" if name in SPATIAL else "id")
        if isinstance(key, str):
            sources.named[name].add(key)
            self.codes = (key,)
        before = len(self.problems)
        if not GEOMETRIC.isdisjoint(properties):
            for field in GEOMETRIC & properties.keys():
                self.refuse(f".properties.{field}", "unknown key", "remove it: the geometry says this")
        properties |= self._geometry(name, geometry)
        if "frontage" in properties:
            properties["frontage"] = self._polygons(properties["frontage"], ".properties.frontage")
        item = self._convert(properties, shape)
        return (name, item) if item is not None and len(self.problems) == before else None

    def _convert(self, value: dict[str, Any], shape: type[Record]) -> Record | None:
        with contextlib.suppress(msgspec.ValidationError):
            return msgspec.convert(value, shape)
        found: list[Problem] = []
        convert(value, shape, file=self.file, path=f"{self.path}.properties", problems=found)
        # A missing geometry was named already, where it stands.
        geometric = tuple(f"{self.path}.properties.{name}" for name in GEOMETRIC)
        for problem in found:
            if not problem.path.startswith(geometric):
                self.refuse(problem.path.removeprefix(self.path), problem.what, problem.remedy)
        return None

    def _geometry(self, layer: str, geometry: object) -> dict[str, Any]:
        if geometry is None and layer in {"areas", "zones"}:
            return {}
        if layer in {"areas", "cells", "nodes"}:
            return {"polygons": self._polygons(geometry, ".geometry")}
        wanted = "LineString" if layer == "lines" else "Point"
        kind, coordinates = _kind_of(geometry)
        if kind != wanted:
            self.refuse(".geometry", f"is not a {wanted}", f"give a {wanted} with coordinates")
            return {}
        at = ".geometry.coordinates"
        if layer == "lines":
            return {"points": read_line(coordinates, at, self.refuse)}
        return {"point": read_point(coordinates, at, self.refuse)}

    def _polygons(self, geometry: object, rest: str) -> Polygons:
        if isinstance(geometry, Polygons):
            return geometry
        kind, coordinates = _kind_of(geometry)
        if kind not in POLYGONS:
            self.refuse(rest, "is not a Polygon or MultiPolygon", "give one, with coordinates")
            return Polygons()
        return read_polygons(kind, coordinates, f"{rest}.coordinates", self.refuse)


_decode_feature = msgspec.json.Decoder(_Feature).decode


def _kind_of(geometry: object) -> tuple[str, object]:
    if isinstance(geometry, _Geometry):
        return geometry.type, geometry.coordinates
    return (str(geometry.get("type")), geometry.get("coordinates")) if isinstance(geometry, dict) else ("", None)


# --- out ---


def dump(places: Places) -> bytes:
    """Write `places` as a FeatureCollection in WGS-84, one feature a line; `parse` gives the same value back."""
    lines = b",\n".join(msgspec.json.encode(feature) for feature in _features(places))
    head: dict[str, object] = {"type": "FeatureCollection", "datum": Datum.WGS84}
    if places.datum is not Datum.WGS84:
        head["source_datum"] = places.datum
    return msgspec.json.encode(head)[:-1] + b',"features":[\n' + lines + b"\n]}\n"


def _features(places: Places) -> Iterator[dict[str, Any]]:
    for layer, (name, _) in KINDS.items():
        for item in getattr(places, name):
            properties = {
                field: value
                for field in item.__struct_fields__
                if field not in GEOMETRIC
                and (value := getattr(item, field)) not in (None, (), Polygons())
                and value is not False
            }
            if "frontage" in properties:
                properties["frontage"] = geometry_of(properties["frontage"])
            geometry = geometry_of(shape_of(item))
            yield {"type": "Feature", "properties": {"layer": layer, **properties}, "geometry": geometry}


def geometry_of(shape: Shape) -> dict[str, Any] | None:
    """Return the GeoJSON geometry of a shape, in degrees."""
    match shape:
        case Polygons() if shape:
            rings = [[_degrees(ring) for ring in polygon] for polygon in shape]
            is_one = len(rings) == 1
            return {
                "type": "Polygon" if is_one else "MultiPolygon",
                "coordinates": rings[0] if is_one else rings,
            }
        case Points():
            return {"type": "LineString", "coordinates": _degrees(shape)}
        case (int(), int()):
            return {"type": "Point", "coordinates": _degrees([shape])[0]}
    return None


def _degrees(points: Points | tuple[PointE7, ...] | list[PointE7]) -> list[list[float]]:
    return [[to_degrees(lon), to_degrees(lat)] for lon, lat in points]
