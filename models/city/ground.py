"""The places of a sample city, put together; areas, lines, buildings and shops are made here."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import numpy as np

from models.city import cells
from models.city.cells import BUILDINGS_U, ISLAND_AT
from models.city.lattice import BANK_SHARE, Lattice, Layout, rectangles
from models.city.names import SHOPS, numeral
from models.city.plots import (
    DISTRICT,
    SUBDISTRICTS_PER_DISTRICT,
    Plot,
    communities,
    label,
    plots_of,
    subdistrict_code,
)
from models.city.template import Ground
from models.city.watch import watch
from models.geo import PointE7
from models.outlines import Points, Polygons, Positions
from models.places import Area, AreaKind, Line, LineKind, Node, NodeKind, Places

CENTRE: PointE7 = (1_065_080_000, 295_080_000)
"""Somewhere in the west of Chongqing; nothing else about the city is real."""

BUFFERS_M = {LineKind.STREET: 15.0, LineKind.ROAD: 10.0, LineKind.LANE: 5.0}
SHOP_V = 0.3


def build(units: int, ground: Ground, rng: random.Random) -> Places:
    """Give valid places with `units` base cells.

    Raises:
        ValueError: fewer than 4 units.
    """
    if units < 4:
        msg = f"{units} units make no city: four tiers need 4 or more"
        raise ValueError(msg)
    layout = Layout.of(units, ground.community)
    lattice = Lattice(layout, CENTRE, rng, banks=round(units * BANK_SHARE))
    plots = plots_of(layout, units, rng)
    zones, devices = watch(layout, lattice, plots)
    return Places(
        areas=tuple(_areas(layout, lattice)),
        cells=(
            *cells.base_cells(lattice, plots, rng),
            *cells.exclusive_cells(layout, lattice, ground.exclusive if units >= 30 else ()),
            *(cells.micro_cells(lattice, plots, rng) if ground.micro else ()),
        ),
        nodes=tuple(_nodes(lattice, plots, rng)),
        lines=tuple(_lines(layout, lattice, {plot.lane_code for plot in plots})),
        zones=zones,
        devices=devices,
    )


def _areas(layout: Layout, lattice: Lattice) -> Iterator[Area]:
    """Districts without an outline, then sub-districts and communities with one."""
    districts = math.ceil(layout.subdistricts / SUBDISTRICTS_PER_DISTRICT)
    for district in range(districts):
        name, name_en = "样例区", "Sample District"
        if districts > 1:
            name, name_en = f"样例{numeral(district + 1)}区", f"Sample District {district + 1}"
        yield Area(code=str(DISTRICT - district), kind=AreaKind.DISTRICT, name=name, name_en=name_en)
    for number, (bands, columns) in enumerate(layout.subdistrict_edges):
        name, name_en = "样例街道", "Sample Sub-district"
        if layout.subdistricts > 1:
            name, name_en = label(layout, number)[0], f"Sample Sub-district {number + 1}"
        yield _area(lattice, AreaKind.SUBDISTRICT, subdistrict_code(number), (name, name_en), bands, columns)
    for here in communities(layout):
        bands, columns = (here.band, here.band + 1), layout.run_edges(here.run)
        yield _area(lattice, AreaKind.COMMUNITY, here.code, here.names, bands, columns)


def _area(
    lattice: Lattice,
    kind: AreaKind,
    code: str,
    names: tuple[str, str],
    bands: tuple[int, int],
    columns: tuple[int, int],
) -> Area:
    rows = lattice.layout.rows_of(bands)
    polygons = Polygons.of([[lattice.outline(rows, columns)]])
    return Area(code=code, kind=kind, name=names[0], name_en=names[1], parent=code[:-3], polygons=polygons)


def _lines(layout: Layout, lattice: Lattice, lanes: set[str]) -> Iterator[Line]:
    """Streets along the south of each band, a road across it for each group, and the lanes that serve a cell."""
    for here in communities(layout):
        south, north = here.band * layout.rows_per_band, (here.band + 1) * layout.rows_per_band
        name, name_en = here.street_names
        along = lattice.along_row(south, *layout.run_edges(here.run))
        yield _line(LineKind.STREET, here.street, name, name_en, along)
        for nth in range(layout.groups_per_run):
            group = here.run * layout.groups_per_run + nth
            road_name = f"{name}{numeral(nth + 1)}路"
            road_name_en = name_en.replace("Street ", "Road ") + f"-{nth + 1}"
            along = lattice.along_column(layout.road_column(group), south, north)
            yield _line(LineKind.ROAD, here.road(nth), road_name, road_name_en, along, here.street)
            for lane in range(1, layout.rows_per_band):
                code = here.lane(nth, lane)
                if code in lanes:
                    lane_name_en = road_name_en.replace("Road ", "Lane ") + f"-{lane}"
                    along = lattice.along_row(south + lane, layout.edges[group], layout.edges[group + 1])
                    yield _line(
                        LineKind.LANE, code, f"{road_name}{numeral(lane)}巷", lane_name_en, along, here.road(nth)
                    )


def _line(kind: LineKind, code: str, name: str, name_en: str, points: Positions, parent: str | None = None) -> Line:
    buffer_m = BUFFERS_M[kind]
    return Line(
        code=code, kind=kind, name=name, name_en=name_en, points=Points.of(points), buffer_m=buffer_m, parent=parent
    )


def _nodes(lattice: Lattice, plots: list[Plot], rng: random.Random) -> Iterator[Node]:
    """A building in the middle of each cell, a second one in some, and a shop with its frontage in most."""
    draw = np.random.default_rng(rng.getrandbits(64))
    for number, u in enumerate(BUILDINGS_U, start=1):
        share = 1 if number == 1 else 1 / 3
        chosen = [
            plot
            for plot, drawn in zip(plots, draw.random(len(plots)), strict=True)
            if drawn < share and (number == 1 or not (plot.is_enclave or plot.has_hole))
        ]
        yield from _buildings(lattice, chosen, number, u, draw)
    chosen = [
        plot for plot, drawn in zip(plots, draw.random(len(plots)), strict=True) if drawn < 0.7 and not plot.is_enclave
    ]
    yield from _shops(lattice, chosen, rng)


def _buildings(lattice: Lattice, plots: list[Plot], number: int, u: float, draw: np.random.Generator) -> Iterator[Node]:
    if not plots:
        return
    small = np.array([plot.is_enclave for plot in plots])
    at = lattice.shares(
        [plot.block for plot in plots],
        np.where(small, ISLAND_AT[0], u),
        np.where(small, ISLAND_AT[1], draw.choice([0.55, 0.62], len(plots))),
    )
    width_m = np.where(small, 13.0, draw.uniform(16, 26, len(plots)))
    depth_m = np.where(small, 9.0, draw.uniform(11, 15, len(plots)))
    for plot, outline in zip(plots, lattice.outlines(at, rectangles(width_m, depth_m)), strict=True):
        name, name_en = plot.names
        yield Node(
            code=f"{plot.code}-B{number}",
            kind=NodeKind.BUILDING,
            name=f"{name}{number}号楼",
            name_en=f"{name_en}, Building {number}",
            cell=plot.code,
            polygons=outline,
        )


def _shops(lattice: Lattice, plots: list[Plot], rng: random.Random) -> Iterator[Node]:
    at = lattice.shares([plot.block for plot in plots], 0.5, SHOP_V)
    outlines = lattice.outlines(at, rectangles(10.0, 8.0))
    frontages = lattice.outlines(at, rectangles(10.0, 3.0, -5.5))
    for plot, outline, frontage in zip(plots, outlines, frontages, strict=True):
        shop, shop_en = rng.choice(SHOPS)
        name, name_en = plot.names
        yield Node(
            code=f"{plot.code}-S1",
            kind=NodeKind.SHOP,
            name=f"{name}{shop}",
            name_en=f"{name_en}, {shop_en}",
            cell=plot.code,
            polygons=outline,
            frontage=frontage,
        )
