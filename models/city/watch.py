"""What watches a sample city: three zones with an edge agent, cameras and sensors."""

from __future__ import annotations

import math

from models.city.cells import BUILDINGS_U
from models.city.lattice import TURN_RAD, Lattice, Layout
from models.city.plots import Plot
from models.places import Device, DeviceKind, Zone

AGENT = "edge-01"


def watch(layout: Layout, lattice: Lattice, plots: list[Plot]) -> tuple[tuple[Zone, ...], tuple[Device, ...]]:
    """Three zones on two streets: two with a camera and a sensor, one with a camera alone."""
    south, north = (
        [plot for plot in plots if plot.block.row == band * layout.rows_per_band and not plot.is_enclave]
        for band in (0, 1)
    )
    sites = (south[len(south) // 2], north[len(north) // 3], south[0])
    zones = tuple(_zone(number, plot) for number, plot in enumerate(sites, start=1))
    agent = Device(
        id=AGENT,
        kind=DeviceKind.AGENT,
        name="边缘代理1号",
        name_en="Edge agent 1",
        cell=sites[0].code,
        point=lattice.inside(sites[0].block, 0.5, 0.5),
    )
    cameras = [_camera(lattice, plot, number) for number, plot in enumerate(sites, start=1)]
    smoke = _sensor(lattice, sites[0], DeviceKind.SMOKE, ("烟雾探测器1号", "Smoke detector 1"), zones[0])
    heat = _sensor(lattice, sites[1], DeviceKind.HEAT, ("感温探测器1号", "Heat detector 1"), zones[1])
    return zones, (agent, *cameras, smoke, heat)


def _zone(number: int, plot: Plot) -> Zone:
    return Zone(
        id=_zone_id(number),
        name=f"样例{number}号监测区",
        name_en=f"Sample Zone {number}",
        cell=plot.code,
        street=plot.community.street,
    )


def _zone_id(number: int) -> str:
    return f"zone-{number:02}"


def _camera(lattice: Lattice, plot: Plot, number: int) -> Device:
    """A camera beside the street, looking along it: odd ones to the west, even ones to the east."""
    looks_west = number % 2 == 1
    along_street_deg = 90 - math.degrees(TURN_RAD)
    return Device(
        id=f"cam-{number:02}",
        kind=DeviceKind.CAMERA,
        name=f"样例摄像机{number}号",
        name_en=f"Sample camera {number}",
        cell=plot.code,
        point=lattice.inside(plot.block, 0.75 if looks_west else 0.25, 0.25),
        zone=_zone_id(number),
        agent=AGENT,
        height_m=4.5,
        heading_deg=along_street_deg + 180 * looks_west,
        fov_deg=78.0,
        range_m=40.0,
    )


def _sensor(lattice: Lattice, plot: Plot, kind: DeviceKind, names: tuple[str, str], zone: Zone) -> Device:
    """A sensor in the first building of the cell."""
    return Device(
        id=f"{kind}-01",
        kind=kind,
        name=names[0],
        name_en=names[1],
        cell=plot.code,
        point=lattice.inside(plot.block, BUILDINGS_U[0], 0.585),
        zone=zone.id,
        agent=AGENT,
        node=f"{plot.code}-B1",
    )
