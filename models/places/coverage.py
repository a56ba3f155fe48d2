"""How much of each cell the cameras and sensors see. Nothing is in the way of anything: walls are not on the map.

So a share is the most that can be seen, and a blind cell is blind for certain. Needs shapely, as the validator does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from models.places import CellType, DeviceKind, Places
from models.places.drawing import write
from models.places.geojson import geometry_of
from models.places.geometry import need_shapely

SENSOR_RANGE_M: Final = {
    DeviceKind.SMOKE: 5.8,
    DeviceKind.HEAT: 3.6,
    DeviceKind.GAS: 5.0,
    DeviceKind.CO: 5.0,
    DeviceKind.FLOOD: 10.0,
    DeviceKind.SOUND: 30.0,
}
"""Where a sensor gives no range: smoke and heat as GB 50116 spaces them, the others proposals. A button sees none."""


class CellCoverage(Struct, frozen=True, kw_only=True):
    """One cell. Shares are of its area, 0..1.

    Attributes:
        share: seen by a camera or a sensor.
        devices: ids of those that see some of it.
    """

    code: str
    type: CellType
    name: str
    name_en: str
    area_m2: float
    camera: float
    sensor: float
    share: float
    devices: tuple[str, ...]


class Coverage(Struct, frozen=True, kw_only=True):
    """The whole report.

    Attributes:
        share: of all base cells together.
        blind: codes of the base cells of which nothing is seen.
        unknown: cameras that do not say where they look: they count for nothing.
        assumed: sensors whose range is the default of their kind.
    """

    occlusion: str = "ignored: walls are not on the map, so shares are the most that can be seen"
    share: float
    blind: tuple[str, ...]
    unknown: tuple[str, ...]
    assumed: tuple[str, ...]
    cells: tuple[CellCoverage, ...]


def of(places: Places, *, file: Path | str = "places.geojson") -> Coverage:
    """Reckon what the devices of `places` see.

    Raises:
        ConfigError: shapely is not installed.
    """
    need_shapely(file)
    from models.places.geometry.views import cells_of, views

    seen = list(views(places))
    cells = tuple(cells_of(places, seen))
    base = [cell for cell in cells if cell.type is CellType.BASE]
    ground_m2 = sum(cell.area_m2 for cell in base)
    cameras = [device for device in places.devices if device.kind is DeviceKind.CAMERA]
    return Coverage(
        share=round(sum(cell.share * cell.area_m2 for cell in base) / ground_m2, 4) if base else 0.0,
        blind=tuple(cell.code for cell in base if not cell.devices),
        unknown=tuple(device.id for device in cameras if device.range_m is None),
        assumed=tuple(view.device.id for view in seen if view.device.range_m is None),
        cells=cells,
    )


def to_json(report: Coverage) -> str:
    """Give the report as one JSON object."""
    return msgspec.json.encode(report).decode()


def lines(report: Coverage, *, limit: int) -> Iterator[str]:
    """Give the report as a table, the least seen cells first; `limit` 0 gives all."""
    base = sorted(
        (cell for cell in report.cells if cell.type is CellType.BASE), key=lambda cell: (cell.share, cell.code)
    )
    blind = f"{len(report.blind)} of {len(base)} cells are blind"
    yield f"{report.share:.1%} of the ground is seen by a camera or sensor; {blind}"
    yield f"occlusion is {report.occlusion}"
    if report.unknown:
        yield f"{len(report.unknown)} cameras do not say where they look and count for nothing: {_some(report.unknown)}"
    if report.assumed:
        yield f"{len(report.assumed)} sensors have the default range of their kind: {_some(report.assumed)}"
    yield ""
    yield f"{'cell':<32} {'m2':>10} {'camera':>7} {'sensor':>7} {'seen':>7}  name"
    shown = base[:limit] if limit else base
    for cell in shown:
        shares = " ".join(f"{share:>7.1%}" for share in (cell.camera, cell.sensor, cell.share))
        yield f"{cell.code:<32} {cell.area_m2:>10,.0f} {shares}  {cell.name} {cell.name_en}"
    if len(shown) < len(base):
        yield f"... and {len(base) - len(shown)} cells more; --limit 0 shows all"


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (" ..." if len(ids) > 5 else "")


def draw(path: Path, report: Coverage, places: Places) -> None:
    """Write the cells with their shares, and what each device sees, as GeoJSON.

    Raises:
        StorageError: it cannot be written.
    """
    write(path, _features(report, places))


def _features(report: Coverage, places: Places) -> Iterator[dict[str, Any]]:
    from models.places.geometry.shapes import drawn
    from models.places.geometry.views import views

    for cell, found in zip(places.cells, report.cells, strict=True):
        colour = "#c62828" if not found.devices else "#f9a825" if found.share < 0.5 else "#2e7d32"
        properties = {
            "layer": "cell",
            "code": cell.code,
            "type": cell.type,
            "camera": found.camera,
            "sensor": found.sensor,
            "share": found.share,
            "blind": not found.devices,
            "fill": colour,
            "fill-opacity": 0.35,
        }
        yield {"type": "Feature", "properties": properties, "geometry": geometry_of(cell.polygons)}
    for view in views(places):
        properties = {"layer": "view", "id": view.device.id, "kind": view.device.kind, "fill": "#1565c0"}
        yield {"type": "Feature", "properties": properties, "geometry": geometry_of(drawn(view.outline))}
