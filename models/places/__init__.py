"""`places.geojson`: whose patch is where. Areas, cells, nodes, lines, zones and devices as one frozen value.

Four layers answer for a position (design: matcher): exclusive cells, nodes, lines and base cells; micro cells lie
inside one base cell. All coordinates are integers of 1e-7 degree (`models.geo`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from models.config import UNIT_GRID_M2
from models.content import MAX_FILE_BYTES, Content, Record, Text, grouped, read_bytes, uncollected
from models.datum import Datum
from models.errors import ConfigError, Problem
from models.geo import PointE7
from models.messages import Id
from models.outlines import Points, Polygons

Code = Annotated[str, Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,31}$")]
"""An area or cell code: 15 digits for a unit grid (GB/T 30428), its parent's digits first; or a local code."""


class CellType(enum.StrEnum):
    """Base cells cover the tenant without gaps; the others lie over or inside them."""

    BASE = "base"
    EXCLUSIVE = "exclusive"
    MICRO = "micro"


class CellKind(enum.StrEnum):
    """What stands in a cell."""

    RESIDENTIAL = "residential"
    MARKET = "market"
    SCHOOL = "school"
    STATION = "station"
    INDUSTRIAL = "industrial"
    HERITAGE = "heritage"
    FOREST_FRINGE = "forest_fringe"
    MIXED = "mixed"


class AreaKind(enum.StrEnum):
    """Administrative levels above the cell."""

    DISTRICT = "district"
    SUBDISTRICT = "subdistrict"
    COMMUNITY = "community"


class NodeKind(enum.StrEnum):
    """What has a chief of its own."""

    BUILDING = "building"
    SHOP = "shop"
    INSTITUTION = "institution"


class LineKind(enum.StrEnum):
    """Lines by level: street 1, road 2, lane 3."""

    STREET = "street"
    ROAD = "road"
    LANE = "lane"

    @property
    def level(self) -> int:
        """1 for a street, 3 for a lane."""
        return list(LineKind).index(self) + 1


class DeviceKind(enum.StrEnum):
    """What a device is; an `agent` speaks for others and stands in no zone."""

    CAMERA = "camera"
    SMOKE = "smoke"
    HEAT = "heat"
    GAS = "gas"
    CO = "co"
    FLOOD = "flood"
    SOUND = "sound"
    BUTTON = "button"
    GATEWAY = "gateway"
    AGENT = "agent"


class Area(Record, frozen=True, kw_only=True):
    """A district, sub-district or community; its outline is optional.

    Where it has one, its cells must cover it: without outlines a cell that is missing at the city's edge is not missed.
    """

    code: Code
    kind: AreaKind
    name: Text
    name_en: Text
    parent: Code | None = None
    polygons: Polygons = Polygons()


class Cell(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A unit of the grid.

    Attributes:
        parent: code of the area (base, exclusive) or of the cell (micro) that holds it.
        line: code of the lane, road or street that serves it.
        categories: an exclusive cell's own categories, by key or prefix such as ``fire.*``; empty elsewhere.
        lead_unit: unit that leads in an exclusive cell.
        area_m2: as the register has it; the validator compares it with the outline.
        assistance: many here need help to get away, as in a home for the elderly; whoever lives there is not said.
    """

    code: Code
    kind: CellKind
    name: Text
    name_en: Text
    parent: Code
    polygons: Polygons
    type: CellType = CellType.BASE
    line: Code | None = None
    categories: tuple[str, ...] = ()
    lead_unit: Id | None = None
    area_m2: Annotated[float, Meta(gt=0)] | None = None
    demonstration: bool = False
    assistance: bool = False


class Node(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A building, shop or institution.

    Attributes:
        frontage: the strip before the door that its chief answers for.
        assistance: what happens there is one step more urgent, as of a cell.
    """

    code: Code
    kind: NodeKind
    name: Text
    name_en: Text
    cell: Code
    polygons: Polygons
    frontage: Polygons = Polygons()
    assistance: bool = False


class Line(Record, frozen=True, kw_only=True):
    """A street, road or lane: a centreline, and how far its duty reaches to each side."""

    code: Code
    kind: LineKind
    name: Text
    name_en: Text
    points: Points
    buffer_m: Annotated[float, Meta(gt=0, le=200)]
    parent: Code | None = None
    demonstration: bool = False


class Zone(Record, frozen=True, kw_only=True):
    """Devices that watch the same thing and confirm one another.

    Attributes:
        street: code of the line whose code is the partition key of the `obs` log.
        point: where an alarm of the zone is, if its devices do not say better.
    """

    id: Id
    name: Text
    name_en: Text
    cell: Code
    street: Code
    point: PointE7 | None = None


class Device(Record, frozen=True, kw_only=True):
    """A camera, sensor, button or edge agent.

    Attributes:
        agent: id of the device of kind `agent` that speaks for it; an agent has none.
        source: of a device of another make: how it is called there, such as ``zigbee2mqtt/kitchen smoke``.
        power: a device on a battery speaks seldom, and is missed later.
        every_s: how often it speaks, where that is known, such as Tasmota's TelePeriod: missed after 2.5 times as long.
        heading_deg: camera only: clockwise from north.
        fov_deg: camera only: horizontal angle of view.
        range_m: how far a camera sees a fire of 1 m, or a sensor senses.
    """

    id: Id
    kind: DeviceKind
    name: Text
    name_en: Text
    cell: Code
    point: PointE7
    zone: Id | None = None
    agent: Id | None = None
    node: Code | None = None
    source: Text | None = None
    power: Literal["mains", "battery"] = "mains"
    every_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    height_m: Annotated[float, Meta(ge=0, le=500)] | None = None
    heading_deg: Annotated[float, Meta(ge=0, lt=360)] | None = None
    fov_deg: Annotated[float, Meta(gt=0, le=360)] | None = None
    range_m: Annotated[float, Meta(gt=0, le=5_000)] | None = None


class Places(Content, frozen=True, kw_only=True):
    """Everything that has a place. Order is that of the file.

    Attributes:
        datum: what the file's positions were given in. Here all are WGS-84.
    """

    areas: tuple[Area, ...] = ()
    cells: tuple[Cell, ...] = ()
    nodes: tuple[Node, ...] = ()
    lines: tuple[Line, ...] = ()
    zones: tuple[Zone, ...] = ()
    devices: tuple[Device, ...] = ()
    datum: Datum = Datum.WGS84

    @cached_property
    def area_by_code(self) -> Mapping[str, Area]:
        """Areas by code."""
        return {area.code: area for area in self.areas}

    @cached_property
    def cell_by_code(self) -> Mapping[str, Cell]:
        """Cells of all three types by code."""
        return {cell.code: cell for cell in self.cells}

    @cached_property
    def node_by_code(self) -> Mapping[str, Node]:
        """Nodes by code."""
        return {node.code: node for node in self.nodes}

    @cached_property
    def line_by_code(self) -> Mapping[str, Line]:
        """Lines by code."""
        return {line.code: line for line in self.lines}

    @cached_property
    def zone_by_id(self) -> Mapping[str, Zone]:
        """Zones by id."""
        return {zone.id: zone for zone in self.zones}

    @cached_property
    def device_by_id(self) -> Mapping[str, Device]:
        """Devices by id."""
        return {device.id: device for device in self.devices}

    @cached_property
    def devices_by_zone(self) -> Mapping[str, tuple[Device, ...]]:
        """Devices of each zone that has any, in the order of the file."""
        return grouped((device.zone, device) for device in self.devices if device.zone)

    @cached_property
    def devices_by_agent(self) -> Mapping[str, tuple[Device, ...]]:
        """Devices that each agent speaks for, in the order of the file."""
        return grouped((device.agent, device) for device in self.devices if device.agent)

    def zone_of(self, device_id: str) -> Zone | None:
        """Give the zone of a device; None for an agent or an unknown device."""
        device = self.device_by_id.get(device_id)
        return self.zone_by_id.get(device.zone) if device and device.zone else None

    def street_of(self, device_id: str) -> str | None:
        """Give the partition key of a device: its zone's street."""
        zone = self.zone_of(device_id)
        return zone.street if zone else None


class Reading(NamedTuple):
    """A file as far as it could be read.

    Attributes:
        problems: mistakes: with one of them the places may not be used.
        remarks: what was repaired, or looks doubtful and is taken all the same.
        is_whole: nothing had to be left out: others may be checked against these places, whatever is wrong with them.
    """

    places: Places
    problems: tuple[Problem, ...]
    remarks: tuple[Problem, ...]
    is_whole: bool


def read(
    raw: bytes, *, file: Path | str, geometry: bool = True, unit_grid_m2: tuple[float, float] = UNIT_GRID_M2
) -> Reading:
    """Read and validate what stands in a `places.geojson`.

    Args:
        raw: the bytes of the file.
        file: its name, for messages.
        unit_grid_m2: least and most area of a unit grid that is not remarked on.
        geometry: also look for crossings, overlaps, gaps and what lies outside its cell (needs shapely). It is the
            expensive part: a process that uses a file that was checked leaves it out.

    Raises:
        ConfigError: it is no FeatureCollection.
    """
    from models.places import check
    from models.places.geojson import parse

    with uncollected():
        places, sources, problems = parse(raw, file=file)
        problems += check.problems(sources)
        remarks: list[Problem] = list(check.remarks(sources))
    if geometry:
        from models.places.geometry import problems as geometry_problems  # it loads shapely

        mistakes, doubts = geometry_problems(sources, unit_grid_m2)
        problems += mistakes
        remarks += doubts
    return Reading(places, tuple(problems), tuple(remarks), sources.is_whole)


def load(path: Path, *, geometry: bool = True, max_bytes: int = MAX_FILE_BYTES) -> Places:
    """Read and validate `places.geojson`; see `read`.

    Raises:
        ConfigError: with all mistakes of the file, or it is larger than `max_bytes`.
    """
    found = read(read_bytes(path, max_bytes=max_bytes), file=path, geometry=geometry)
    if found.problems:
        raise ConfigError(found.problems)
    return found.places
