"""The places of a sample city: areas, cells, streets, roads, lanes, buildings, shops, zones and devices."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from models.city.lattice import TURN_RAD, Block, Lattice, Layout, blocks
from models.city.names import SHOPS, numeral
from models.geo import PointE7
from models.places import (
    Area,
    AreaKind,
    Cell,
    CellKind,
    Device,
    DeviceKind,
    Line,
    LineKind,
    Node,
    NodeKind,
    Places,
    Zone,
)

CENTRE: PointE7 = (1_065_080_000, 295_080_000)
"""Somewhere in the west of Chongqing; nothing else about the city is real."""

DISTRICT, SUBDISTRICT = "500199", "500199001"
BUFFERS_M = {LineKind.STREET: 15.0, LineKind.ROAD: 10.0, LineKind.LANE: 5.0}
AGENT = "edge-01"
BUILDINGS_U = (0.32, 0.68)
"""Where buildings stand, as shares of the width of their cell."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A block with its codes."""

    block: Block
    band: int
    group: int
    code: str
    lane: str
    number: int
    """Within its community."""


def build(units: int, rng: random.Random) -> Places:
    """Give valid places with `units` base cells.

    Raises:
        ValueError: fewer than 4 units.
    """
    if units < 4:
        msg = f"{units} units make no city: four tiers need 4 or more"
        raise ValueError(msg)
    layout = Layout.of(units)
    lattice = Lattice(layout, CENTRE, rng)
    plots = _plots(layout, blocks(layout, units, rng))
    zones, devices = _watch(layout, lattice, plots)
    return Places(
        areas=tuple(_areas(layout)),
        cells=tuple(_cell(lattice, plot, rng) for plot in plots),
        nodes=tuple(node for plot in plots for node in _nodes(lattice, plot, rng)),
        lines=tuple(_lines(layout, lattice, {plot.lane for plot in plots})),
        zones=zones,
        devices=devices,
    )


def _plots(layout: Layout, found: list[Block]) -> list[Plot]:
    plots: list[Plot] = []
    counts = [0] * layout.bands
    for block in found:
        band = block.row // layout.rows_per_band
        group = layout.group_of(block.first)
        counts[band] += 1
        lane = layout.lane_row(block.row) - band * layout.rows_per_band
        code = f"{_community(band)}{counts[band]:03}"
        plots.append(Plot(block, band, group, code, _lane_code(band, group, lane), counts[band]))
    return plots


def _community(band: int) -> str:
    return f"{SUBDISTRICT}{band + 1:03}"


def _street_code(band: int) -> str:
    return f"ST-{band + 1:02}"


def _road_code(band: int, group: int) -> str:
    return f"RD-{band + 1:02}-{group + 1:02}"


def _lane_code(band: int, group: int, lane: int) -> str:
    return f"LN-{band + 1:02}-{group + 1:02}-{lane}"


def _areas(layout: Layout) -> Iterator[Area]:
    yield Area(code=DISTRICT, kind=AreaKind.DISTRICT, name="样例区", name_en="Sample District")
    yield Area(
        code=SUBDISTRICT, kind=AreaKind.SUBDISTRICT, name="样例街道", name_en="Sample Sub-district", parent=DISTRICT
    )
    for band in range(layout.bands):
        name, name_en = f"样例{numeral(band + 1)}社区", f"Sample Community {band + 1}"
        kind = AreaKind.COMMUNITY
        yield Area(code=_community(band), kind=kind, name=name, name_en=name_en, parent=SUBDISTRICT)


def _cell(lattice: Lattice, plot: Plot, rng: random.Random) -> Cell:
    kinds = (CellKind.RESIDENTIAL, CellKind.MIXED, CellKind.MARKET, CellKind.SCHOOL)
    return Cell(
        code=plot.code,
        kind=rng.choices(kinds, weights=(6, 3, 1, 1))[0],
        name=f"样例{numeral(plot.band + 1)}社区第{plot.number}网格",
        name_en=f"Sample Community {plot.band + 1}, Grid {plot.number}",
        parent=_community(plot.band),
        line=plot.lane,
        polygons=((lattice.ring(plot.block),),),
    )


def _lines(layout: Layout, lattice: Lattice, lanes: set[str]) -> Iterator[Line]:
    """Streets along the south of each band, a road across it for each group, and the lanes that serve a cell."""
    for band in range(layout.bands):
        south, north = band * layout.rows_per_band, (band + 1) * layout.rows_per_band
        street, name = _street_code(band), f"样例{numeral(band + 1)}街"
        along = lattice.along_row(south, 0, layout.columns)
        yield _line(LineKind.STREET, street, name, f"Sample Street {band + 1}", along)
        for group in range(layout.groups):
            road, road_name = _road_code(band, group), f"{name}{numeral(group + 1)}路"
            along = lattice.along_column(layout.road_column(group), south, north)
            yield _line(LineKind.ROAD, road, road_name, f"Sample Road {band + 1}-{group + 1}", along, street)
            for lane in range(1, layout.rows_per_band):
                code, lane_name = _lane_code(band, group, lane), f"{road_name}{numeral(lane)}巷"
                along = lattice.along_row(south + lane, *layout.group_edges(group))
                if code in lanes:
                    name_en = f"Sample Lane {band + 1}-{group + 1}-{lane}"
                    yield _line(LineKind.LANE, code, lane_name, name_en, along, road)


def _line(
    kind: LineKind, code: str, name: str, name_en: str, points: tuple[PointE7, ...], parent: str | None = None
) -> Line:
    buffer_m = BUFFERS_M[kind]
    return Line(code=code, kind=kind, name=name, name_en=name_en, points=points, buffer_m=buffer_m, parent=parent)


def _nodes(lattice: Lattice, plot: Plot, rng: random.Random) -> Iterator[Node]:
    """A building in the middle of each cell, a second one in some, and a shop with its frontage in most."""
    v = 0.62 if rng.random() < 0.5 else 0.55
    for number, u in enumerate(BUILDINGS_U[: rng.choice((1, 1, 2))], start=1):
        yield Node(
            code=f"{plot.code}-B{number}",
            kind=NodeKind.BUILDING,
            name=f"样例{numeral(plot.band + 1)}社区{plot.number}网格{number}号楼",
            name_en=f"Community {plot.band + 1}, Grid {plot.number}, Building {number}",
            cell=plot.code,
            polygons=((lattice.box(plot.block, u, v, width_m=rng.uniform(16, 26), depth_m=rng.uniform(11, 15)),),),
        )
    if rng.random() < 0.7:
        shop, shop_en = rng.choice(SHOPS)
        yield Node(
            code=f"{plot.code}-S1",
            kind=NodeKind.SHOP,
            name=f"样例{shop}（{numeral(plot.band + 1)}社区{plot.number}网格）",
            name_en=f"Sample {shop_en} (Community {plot.band + 1}, Grid {plot.number})",
            cell=plot.code,
            polygons=((lattice.box(plot.block, 0.5, 0.3, width_m=10, depth_m=8),),),
            frontage=((lattice.box(plot.block, 0.5, 0.3, width_m=10, depth_m=3, dy_m=-5.5),),),
        )


def _watch(layout: Layout, lattice: Lattice, plots: list[Plot]) -> tuple[tuple[Zone, ...], tuple[Device, ...]]:
    """Three zones on two streets: two with a camera and a sensor, one with a camera alone."""
    south, north = ([plot for plot in plots if plot.block.row == band * layout.rows_per_band] for band in (0, 1))
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
        street=_street_code(plot.band),
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
