"""The map: the places of the config as GeoJSON, with what a page draws and nothing more."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from models.geo import PointE7, to_degrees
from models.outlines import Polygons
from models.places import Places


class Map(Struct, frozen=True, kw_only=True):
    """A GeoJSON FeatureCollection, encoded once."""

    geojson: bytes


class _Geometry(Struct, frozen=True):
    type: str
    coordinates: list[object]


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
    features: list[_Feature]


def map_of(places: Places) -> Map:
    """Return the cells, lines, buildings and devices of `places` in the order in which they are drawn."""
    return Map(geojson=msgspec.json.encode(_Collection(features=list(_features(places)))))


def _features(places: Places) -> Iterator[_Feature]:
    for cell in places.cells:
        yield _Feature(
            geometry=_polygons(cell.polygons),
            properties=_Properties(layer="cell", code=cell.code, kind=cell.type.value, zh=cell.name, en=cell.name_en),
        )
    for line in places.lines:
        yield _Feature(
            geometry=_Geometry("LineString", [_point(point) for point in line.points]),
            properties=_Properties(layer="line", code=line.code, kind=line.kind.value, zh=line.name, en=line.name_en),
        )
    for node in places.nodes:
        yield _Feature(
            geometry=_polygons(node.polygons),
            properties=_Properties(layer="node", code=node.code, kind=node.kind.value, zh=node.name, en=node.name_en),
        )
    for device in places.devices:
        yield _Feature(
            geometry=_Geometry("Point", [*_point(device.point)]),
            properties=_Properties(
                layer="device",
                code=device.id,
                kind=device.kind.value,
                zh=device.name,
                en=device.name_en,
                heading_deg=device.heading_deg,
                fov_deg=device.fov_deg,
                range_m=device.range_m,
            ),
        )


def _point(point: PointE7) -> list[float]:
    return [to_degrees(point[0]), to_degrees(point[1])]


def _polygons(polygons: Polygons) -> _Geometry:
    return _Geometry("MultiPolygon", [[[_point(point) for point in ring] for ring in polygon] for polygon in polygons])
