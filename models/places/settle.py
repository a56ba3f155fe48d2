"""What a file may say in several ways, said in one: WGS-84, outer rings counter-clockwise, holes clockwise."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from models.content import Record
from models.datum import Datum, to_wgs84
from models.geo import UNITS_PER_DEGREE, array_e7
from models.outlines import Points, Polygons, ring_areas, stack, stack_lines, unstack
from models.places import Places
from models.places.sources import At

_OUTLINES = (("areas", "polygons"), ("cells", "polygons"), ("nodes", "polygons"), ("nodes", "frontage"))


def settle(items: Mapping[str, list[Any]], datum: Datum) -> tuple[Places, list[At]]:
    """Return the places of `items`, lists by layer, and layer and index of all in which a ring was turned."""
    layers: dict[str, list[Any]] = {name: list(layer) for name, layer in items.items()}
    if datum is not Datum.WGS84:
        _convert(layers, datum)
    turned = sorted({at for layer, field in _OUTLINES for at in _turn(layers, layer, field)})
    return Places(datum=datum, **{name: tuple(layer) for name, layer in layers.items()}), turned


def _turn(layers: dict[str, list[Any]], layer: str, field: str) -> list[At]:
    """Turn each ring of `layer` that runs the wrong way round; return what was changed."""
    items = layers[layer]
    outlines: list[Polygons] = [getattr(item, field) for item in items]
    columns = stack(outlines)
    is_outer = np.zeros(len(columns.ring_start) - 1, dtype=np.bool_)
    is_outer[columns.part_start[:-1]] = True
    areas = ring_areas(columns)
    ring_owner = np.repeat(columns.owner, np.diff(columns.part_start))
    turned = sorted(set(ring_owner[(areas < 0) == is_outer][areas[(areas < 0) == is_outer] != 0].tolist()))
    for index in turned:
        items[index] = replace(items[index], **{field: _right_handed(outlines[index])})
    return [(layer, index) for index in turned]


def _right_handed(outline: Polygons) -> Polygons:
    alone = stack([outline])
    areas = ring_areas(alone)
    starts = alone.ring_start
    rings: list[npt.NDArray[np.int32]] = [alone.points[a:b] for a, b in itertools.pairwise(starts)]
    outer = set(alone.part_start[:-1].tolist())
    fixed = [ring[::-1] if (areas[i] < 0) == (i in outer) else ring for i, ring in enumerate(rings)]
    return Polygons(b"".join(ring.tobytes() for ring in fixed), outline.rings, outline.parts)


def _convert(layers: dict[str, list[Any]], datum: Datum) -> None:
    """Turn all positions into WGS-84."""
    for layer, field in _OUTLINES:
        outlines = [getattr(item, field) for item in layers[layer]]
        _put(layers[layer], field, unstack(_in_wgs84(stack(outlines).points, datum), outlines))
    lines: list[Points] = [line.points for line in layers["lines"]]
    points, starts = stack_lines(lines)
    moved = _in_wgs84(points, datum)
    _put(layers["lines"], "points", [Points.of(moved[a:b]) for a, b in itertools.pairwise(starts)])
    for layer in ("zones", "devices"):
        standing = [i for i, item in enumerate(layers[layer]) if item.point]
        moved = _in_wgs84([layers[layer][i].point for i in standing], datum)
        for i, (lon, lat) in zip(standing, moved.tolist(), strict=True):
            layers[layer][i] = replace(layers[layer][i], point=(lon, lat))


def _put(items: list[Record], field: str, values: Sequence[object]) -> None:
    items[:] = [replace(item, **{field: value}) for item, value in zip(items, values, strict=True)]


def _in_wgs84(points: npt.ArrayLike, datum: Datum) -> npt.NDArray[np.int64]:
    # Each position once, so that two cells that share a border still share it to the last digit.
    given = np.asarray(points, dtype=np.int64).reshape(-1, 2)
    if not len(given):
        return given
    keys, where = np.unique((given[:, 0] << 32) + given[:, 1], return_inverse=True)
    lat = ((keys + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
    each = np.column_stack([(keys - lat) >> 32, lat])
    return array_e7(to_wgs84(each / UNITS_PER_DEGREE, datum))[where]
