"""RFC 7946 in, `Places` out; and back. Shapes only: what refers to what is checked in `models.places.check`.

Every feature says in its property ``layer`` what it is: ``area``, ``cell``, ``node``, ``line``, ``zone`` or ``device``.
The other properties are the fields of that type, the geometry is its polygons, points or point.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from models.content import Record, convert
from models.errors import ConfigError, Problem
from models.geo import PointE7, Polygon, to_degrees, to_e7
from models.places import Area, Cell, Datum, Device, Line, Node, Places, Zone

LAYERS: Mapping[str, tuple[str, type[Record]]] = {
    "area": ("areas", Area),
    "cell": ("cells", Cell),
    "node": ("nodes", Node),
    "line": ("lines", Line),
    "zone": ("zones", Zone),
    "device": ("devices", Device),
}
MAX_RING_POINTS = 200_000
"""Positions of one ring: no real cell comes near."""


@dataclass(slots=True)
class Sources:
    """Where in the file each thing stood, so that a later check can name it.

    Attributes:
        features: layer field (such as `cells`) to the feature indices, parallel to `Places`.
        named: codes and ids of all features, broken ones too: a reference to those is no second mistake.
    """

    file: Path | str = "places.geojson"
    features: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name, _ in LAYERS.values()})
    named: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name, _ in LAYERS.values()})

    def path(self, layer: str, index: int, rest: str = "") -> str:
        """Give the path of item `index` of `Places.<layer>` in the file."""
        return f"features[{self.features[layer][index]}]{rest}"

    def problem(self, at: tuple[str, int], rest: str, what: str, remedy: str) -> Problem:
        """Name a mistake at `rest` of the item that `at` gives as layer and index."""
        return Problem(self.file, self.path(*at, rest), what, remedy)


def parse(raw: bytes, *, file: Path | str) -> tuple[Places, Sources, list[Problem]]:
    """Take a FeatureCollection apart. What has a mistake is left out of the result and named in the list.

    Raises:
        ConfigError: not JSON, or not a FeatureCollection at all.
    """
    document = _document(raw, file)
    sources = Sources(file=file)
    problems: list[Problem] = []
    datum = convert(document.get("datum", Datum.WGS84), Datum, file=file, path="datum", problems=problems)
    items: dict[str, list[Record]] = {name: [] for name, _ in LAYERS.values()}
    for index, feature in enumerate(document["features"]):
        reader = _FeatureReader(file, f"features[{index}]", problems)
        read = reader.read(feature, sources)
        if read:
            layer, item = read
            items[layer].append(item)
            sources.features[layer].append(index)
    layers: dict[str, Any] = {name: tuple(layer) for name, layer in items.items()}
    return Places(datum=datum or Datum.WGS84, **layers), sources, problems


def _document(raw: bytes, file: Path | str) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Python's own reader takes NaN and Infinity, which are then named where they stand.
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError) as exc:
            raise ConfigError([Problem(file, "$", f"is not JSON: {exc}", "correct the place that is named")]) from exc
    if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
        raise ConfigError([Problem(file, "type", "is not a FeatureCollection", "give a GeoJSON FeatureCollection")])
    if not isinstance(document.get("features"), list):
        raise ConfigError([Problem(file, "features", "is not a list", "give the list of features")])
    return document


class _FeatureReader:
    """Reads one feature and collects its mistakes."""

    def __init__(self, file: Path | str, path: str, problems: list[Problem]) -> None:
        self.file, self.path, self.problems = file, path, problems

    def refuse(self, rest: str, what: str, remedy: str) -> None:
        self.problems.append(Problem(self.file, f"{self.path}{rest}", what, remedy))

    def read(self, feature: object, sources: Sources) -> tuple[str, Record] | None:
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if not isinstance(feature, dict) or feature.get("type") != "Feature" or not isinstance(properties, dict):
            self.refuse("", "is not a Feature with properties", "give `type`, `geometry` and `properties`")
            return None
        layer = LAYERS.get(str(properties.get("layer")))
        if layer is None:
            self.refuse(".properties.layer", "unknown layer", f"use one of: {', '.join(LAYERS)}")
            return None
        name, shape = layer
        key = properties.get("code" if name in {"areas", "cells", "nodes", "lines"} else "id")
        if isinstance(key, str):
            sources.named[name].add(key)
        before = len(self.problems)
        value = {k: v for k, v in properties.items() if k != "layer"} | self._geometry(name, feature.get("geometry"))
        if "frontage" in value:
            value["frontage"] = self._polygons(value["frontage"], ".properties.frontage")
        item = self._convert(value, shape)
        return (name, item) if item is not None and len(self.problems) == before else None

    def _convert(self, value: dict[str, Any], shape: type[Record]) -> Record | None:
        found: list[Problem] = []
        item = convert(value, shape, file=self.file, path=f"{self.path}.properties", problems=found)
        # A missing geometry was named already, where it stands.
        geometric = tuple(f"{self.path}.properties.{name}" for name in ("polygons", "points", "point"))
        self.problems += [problem for problem in found if not problem.path.startswith(geometric)]
        return item

    def _geometry(self, layer: str, geometry: object) -> dict[str, Any]:
        if geometry is None and layer in {"areas", "zones"}:
            return {}
        if layer in {"areas", "cells", "nodes"}:
            return {"polygons": self._polygons(geometry, ".geometry")}
        kind, name, read = ("LineString", "points", self._line) if layer == "lines" else ("Point", "point", self._point)
        if not isinstance(geometry, dict) or geometry.get("type") != kind:
            self.refuse(".geometry", f"is not a {kind}", f"give a {kind} with coordinates")
            return {}
        return {name: read(geometry.get("coordinates"), ".geometry.coordinates")}

    def _polygons(self, geometry: object, rest: str) -> tuple[Polygon, ...]:
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        if not isinstance(geometry, dict) or kind not in {"Polygon", "MultiPolygon"}:
            self.refuse(rest, "is not a Polygon or MultiPolygon", "give one, with coordinates")
            return ()
        rest += ".coordinates"
        coordinates = geometry.get("coordinates")
        if kind == "Polygon":
            return (self._polygon(coordinates, rest),)
        return tuple(self._each(coordinates, rest, self._polygon))

    def _polygon(self, coordinates: object, rest: str) -> Polygon:
        rings = tuple(self._each(coordinates, rest, self._ring))
        if not rings:
            self.refuse(rest, "has no ring", "give the outer ring first, then the holes")
        return rings

    def _ring(self, coordinates: object, rest: str) -> tuple[PointE7, ...]:
        before = len(self.problems)
        ring = tuple(self._each(coordinates, rest, self._point))
        if len(self.problems) > before:
            return ring
        if len(ring) > MAX_RING_POINTS:
            self.refuse(rest, f"has {len(ring):,} positions", f"simplify it to {MAX_RING_POINTS:,} or fewer")
        elif ring and ring[0] != ring[-1]:
            self.refuse(rest, "ring is not closed", "repeat its first position as the last one")
        elif len(ring) < 4:
            self.refuse(rest, f"ring has {len(ring)} positions", "give four or more, the last equal to the first")
        return ring

    def _line(self, coordinates: object, rest: str) -> tuple[PointE7, ...]:
        before = len(self.problems)
        points = tuple(self._each(coordinates, rest, self._point))
        if len(self.problems) == before and len(set(points)) < 2:
            self.refuse(rest, "line has no length", "give two different positions or more")
        return points

    def _each(self, values: object, rest: str, read: Callable[[object, str], Any]) -> Iterator[Any]:
        if not isinstance(values, list):
            self.refuse(rest, "is not a list", "nest the coordinates as RFC 7946 says")
            return
        for index, value in enumerate(values):
            yield read(value, f"{rest}[{index}]")

    def _point(self, value: object, rest: str) -> PointE7:
        numbers = value if isinstance(value, list) else []
        if len(numbers) not in {2, 3} or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
            self.refuse(rest, "is not a position", "give [longitude, latitude] in degrees")
        elif any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            self.refuse(rest, "is not a finite number (NaN or infinite)", "give [longitude, latitude] in degrees")
        else:
            lon_deg, lat_deg = numbers[:2]
            if abs(lon_deg) <= 180 and abs(lat_deg) <= 90:
                return to_e7(lon_deg), to_e7(lat_deg)
            is_swapped = abs(lon_deg) <= 90 < abs(lat_deg) <= 180
            what = "latitude and longitude are swapped" if is_swapped else "is outside the earth"
            shown = f"[{str(lon_deg)[:15]}, {str(lat_deg)[:15]}]"
            self.refuse(rest, f"{what}: {shown}", "give [longitude, latitude] in degrees of WGS-84")
        return 0, 0


def dump(places: Places) -> bytes:
    """Write `places` as a FeatureCollection, one feature a line; `parse` gives the same value back."""
    features = [_feature(layer, item) for layer, (name, _) in LAYERS.items() for item in getattr(places, name)]
    lines = b",\n".join(msgspec.json.encode(feature) for feature in features)
    head = msgspec.json.encode({"type": "FeatureCollection", "datum": places.datum})[:-1]
    return head + b',"features":[\n' + lines + b"\n]}\n"


def _feature(layer: str, item: Record) -> dict[str, Any]:
    properties = {
        name: value
        for name in item.__struct_fields__
        if (value := getattr(item, name)) not in (None, ()) and name not in {"polygons", "points", "point"}
    }
    if "frontage" in properties:
        properties["frontage"] = _polygons_out(properties["frontage"])
    geometry: dict[str, Any] | None = None
    if isinstance(item, Area | Cell | Node) and item.polygons:
        geometry = _polygons_out(item.polygons)
    elif isinstance(item, Line):
        geometry = {"type": "LineString", "coordinates": _degrees(item.points)}
    elif isinstance(item, Device | Zone) and item.point:
        geometry = {"type": "Point", "coordinates": _degrees([item.point])[0]}
    return {"type": "Feature", "properties": {"layer": layer, **properties}, "geometry": geometry}


def _polygons_out(polygons: tuple[Polygon, ...]) -> dict[str, Any]:
    rings = [[_degrees(ring) for ring in polygon] for polygon in polygons]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _degrees(points: tuple[PointE7, ...] | list[PointE7]) -> list[list[float]]:
    return [[to_degrees(lon), to_degrees(lat)] for lon, lat in points]
