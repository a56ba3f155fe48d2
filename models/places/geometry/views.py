"""What cameras and sensors see, as shapely sees it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import shapely
from shapely import Geometry

from models.geo import LocalFrame
from models.places import Device, DeviceKind, Places
from models.places.coverage import SENSOR_RANGE_M, CellCoverage
from models.places.geometry.shapes import Geometries, array_of, outlines_of

ARC_DEG: Final = 3.0
"""An arc is drawn in steps of this: its area is right to 0.05 %."""


class View(NamedTuple):
    """What a device sees, in 1e-7 degree."""

    device: Device
    outline: Geometry


def views(places: Places) -> Iterator[View]:
    """Give what each device sees that sees anything."""
    for device in places.devices:
        reach_m = device.range_m or SENSOR_RANGE_M.get(device.kind)
        if reach_m is None:
            continue
        if device.kind is DeviceKind.CAMERA:
            if device.heading_deg is not None and device.fov_deg is not None:
                yield View(device, _sector(device.point, device.heading_deg, device.fov_deg, reach_m))
        else:
            yield View(device, _sector(device.point, 0.0, 360.0, reach_m))


def _sector(point: tuple[int, int], heading_deg: float, fov_deg: float, reach_m: float) -> Geometry:
    steps = max(math.ceil(fov_deg / ARC_DEG), 1)
    bearing = np.radians(heading_deg - fov_deg / 2 + fov_deg * np.arange(steps + 1) / steps)
    frame = LocalFrame.at(point)
    arc = np.column_stack(
        [np.sin(bearing) * reach_m / frame.x_m_per_unit, np.cos(bearing) * reach_m / frame.y_m_per_unit]
    )
    ring = arc[:-1] if fov_deg >= 360 else np.vstack([[0.0, 0.0], arc])
    return shapely.Polygon(ring + np.array(point))


def cells_of(places: Places, seen: Sequence[View]) -> Iterator[CellCoverage]:
    """Give what is seen of each cell, in the order of the places."""
    outlines = outlines_of([cell.polygons for cell in places.cells])
    views_at = array_of([view.outline for view in seen])
    which, whose = shapely.STRtree(outlines).query(views_at, predicate="intersects") if seen else np.empty((2, 0), int)
    by_cell: dict[int, list[int]] = {}
    for view, cell in zip(which.tolist(), whose.tolist(), strict=True):
        by_cell.setdefault(cell, []).append(view)
    areas = shapely.area(outlines)
    for index, cell in enumerate(places.cells):
        here = sorted(by_cell.get(index, []))
        frame = LocalFrame.at((int(cell.polygons.array[0, 0]), int(cell.polygons.array[0, 1])))
        cameras = [i for i in here if seen[i].device.kind is DeviceKind.CAMERA]
        sensors = [i for i in here if seen[i].device.kind is not DeviceKind.CAMERA]
        camera, sensor, both = (_share(outlines[index], views_at[chosen]) for chosen in (cameras, sensors, here))
        yield CellCoverage(
            code=cell.code,
            type=cell.type,
            name=cell.name,
            name_en=cell.name_en,
            area_m2=round(float(areas[index]) * frame.x_m_per_unit * frame.y_m_per_unit, 1),
            camera=camera,
            sensor=sensor,
            share=both,
            devices=tuple(seen[i].device.id for i in here),
        )


def _share(outline: Geometry, seen: Geometries) -> float:
    if not len(seen):
        return 0.0
    return round(float(outline.intersection(shapely.union_all(seen)).area / outline.area), 4)
