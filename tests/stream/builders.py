"""Small worlds and observations for tests of the stream's core: everything has a default, a test names what matters."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from models import catalogue as catalogues
from models import thresholds as thresholds_
from models.calendar import Weekday
from models.geo import LocalFrame, PointE7, Polygon
from models.messages import ButtonPress, Detection, Lane, Observation, Payload, Quality, Reading
from models.outlines import Points, Polygons
from models.people import Authority, May, People, Person, Post, Role, Unit, UnitKind
from models.people.duty import WeeklyShift
from models.places import Cell, CellKind, Device, DeviceKind, Line, LineKind, Node, NodeKind, Places, Zone
from models.thresholds import LabelRule, Thresholds
from stream.records import (
    HistoryItem,
    HistoryRecord,
    Located,
    ObservationRecord,
    ObsLog,
    Outcome,
    Said,
    TimeSource,
    encode,
    said_of,
)
from stream.world import World
from stream.zones.rules import Rules

T0 = 1_780_000_000_000
"""A Friday afternoon in Shanghai, when everybody of `people` is on duty."""
ORIGIN: PointE7 = (1_065_000_000, 295_000_000)
FRAME = LocalFrame.at(ORIGIN)
CATALOGUE = catalogues.load()
NAMES: dict[str, Any] = {"name": "名", "name_en": "Name"}


def at(x_m: float, y_m: float) -> PointE7:
    """Give the position so many metres east and north of the origin."""
    return FRAME.to_e7(x_m, y_m)


def box(x1: float, y1: float, x2: float, y2: float) -> Polygon:
    """Give a rectangle in metres."""
    return ((at(x1, y1), at(x2, y1), at(x2, y2), at(x1, y2), at(x1, y1)),)


def cell(code: str, polygon: Polygon, **fields: Any) -> Cell:
    defaults: dict[str, Any] = NAMES | {"kind": CellKind.MIXED}
    return Cell(code=code, parent="area", polygons=Polygons.of([polygon]), **(defaults | fields))


def node(code: str, polygon: Polygon, **fields: Any) -> Node:
    outline = Polygons.of([polygon])
    return Node(code=code, kind=NodeKind.BUILDING, cell="c1", polygons=outline, **(NAMES | fields))


def line(code: str, *points: tuple[float, float], kind: LineKind = LineKind.LANE, buffer_m: float = 8.0) -> Line:
    return Line(code=code, kind=kind, points=Points.of([at(*p) for p in points]), buffer_m=buffer_m, **NAMES)


def device(name: str, kind: DeviceKind, zone: str = "z1", point: PointE7 | None = None) -> Device:
    return Device(id=name, kind=kind, cell="c1", point=point or at(50, 50), zone=zone, **NAMES)


def places(**fields: Any) -> Places:
    """Two cells side by side, a building in the first, a lane between them, two zones with devices."""
    defaults: dict[str, Any] = {
        "cells": (cell("c1", box(0, 0, 100, 100)), cell("c2", box(100, 0, 200, 100))),
        "nodes": (node("n1", box(40, 40, 60, 60)),),
        "lines": (line("l1", (100, 0), (100, 100)),),
        "zones": (Zone(id="z1", cell="c1", street="s1", **NAMES), Zone(id="z2", cell="c2", street="s1", **NAMES)),
        "devices": (
            device("cam-1", DeviceKind.CAMERA),
            device("cam-2", DeviceKind.CAMERA),
            device("smoke-1", DeviceKind.SMOKE),
            device("heat-1", DeviceKind.HEAT),
            device("gas-1", DeviceKind.GAS),
            device("button-1", DeviceKind.BUTTON),
            device("cam-9", DeviceKind.CAMERA, "z2", at(150, 50)),
        ),
    }
    return Places(**(defaults | fields))


def post(name: str, role: Role, level: int, scope: str, supervisor: str | None = None, **fields: Any) -> Post:
    return Post(
        id=name, role=role, level=level, scope=(scope,), supervisor=supervisor, **(NAMES | {"unit": "unit-1"} | fields)
    )


POSTS = (
    post("district", Role.DISTRICT_OFFICE, 0, "area"),
    post("office", Role.STREET_OFFICE, 0, "area", "district"),
    post("seat", Role.SEAT_OPERATOR, 0, "area", "district"),
    post("street", Role.STREET_CHIEF, 1, "st1", "office"),
    post("road", Role.ROAD_CHIEF, 2, "r1", "street"),
    post("lane", Role.LANE_CHIEF, 3, "l1", "road"),
    post("grid-1", Role.GRID_OFFICER, 4, "c1", "lane"),
    post("grid-2", Role.GRID_OFFICER, 4, "c2", "lane"),
    post("chief-n1", Role.BUILDING_CHIEF, 4, "n1", "lane"),
)
AUTHORITY = tuple(
    Authority(role=role, category="*", may=May.ASSIST)
    for role in (Role.GRID_OFFICER, Role.BUILDING_CHIEF, Role.LANE_CHIEF, Role.ROAD_CHIEF, Role.STREET_CHIEF)
)


def always(post_id: str, person: str) -> WeeklyShift:
    return WeeklyShift(post=post_id, person=person, days=tuple(Weekday), start=dt.time(0), end=dt.time(0))


def people(posts: Iterable[Post] = POSTS, shifts: Iterable[tuple[str, str]] | None = None, **fields: Any) -> People:
    """One person ``p-<post>`` always on duty in each post, unless `shifts` says who holds what."""
    posts = tuple(posts)
    held = [(one.id, f"p-{one.id}") for one in posts] if shifts is None else list(shifts)
    names = dict.fromkeys(person for _, person in held)
    defaults: dict[str, Any] = {
        "time_zone": "Asia/Shanghai",
        "units": (Unit(id="unit-1", kind=UnitKind.DEPARTMENT, **NAMES),),
        "persons": tuple(Person(id=name, display_name="名", name_en="Name") for name in names),
        "posts": posts,
        "weekly_shifts": tuple(always(post_id, person) for post_id, person in held),
        "authority": AUTHORITY,
    }
    return People(**(defaults | fields))


def world(**fields: Any) -> World:
    defaults: dict[str, Any] = {"tenant": "demo", "places": places(), "people": people(), "catalogue": CATALOGUE}
    return World(**(defaults | fields))


def thresholds(**fields: Any) -> Thresholds:
    three_hits = msgspec.structs.replace(thresholds_.load(), labels={"fire": LabelRule(), "smoke": LabelRule()})
    resolved = three_hits.resolve({"fire": (0.5, 0.7), "smoke": (0.5, 0.7)})
    return msgspec.structs.replace(resolved, **fields)


def rules(**fields: Any) -> Rules:
    defaults: dict[str, Any] = {
        "tenant": "demo",
        "thresholds": thresholds(),
        "catalogue": CATALOGUE,
        "places": places(),
    }
    return Rules(**(defaults | fields))


def detection(confidence: float, label: str = "fire", evidence_id: str | None = None) -> Detection:
    return Detection(
        detector="d",
        detector_version="1",
        label=label,
        confidence=confidence,
        box=(0.1, 0.1, 0.2, 0.2),
        track_id="t",
        hits=1,
        first_seen_ms=T0,
        evidence_id=evidence_id,
    )


def reading(value: float, name: str = "smoke", unit: str = "1") -> Reading:
    return Reading(property=name, value=value, unit=unit)


BUTTON = ButtonPress()


class Seen:
    """Makes located observations with a seq of their own per device."""

    def __init__(self) -> None:
        self._seqs: dict[str, int] = {}

    def __call__(
        self,
        device_id: str,
        payload: Payload,
        event_ms: int,
        *,
        zone: str = "z1",
        quality: Quality = Quality.LIVE,
        received_ms: int | None = None,
        time_source: TimeSource = TimeSource.MONO,
        point: PointE7 | None = None,
        seq: int | None = None,
    ) -> Located:
        if seq is None:
            seq = self._seqs[device_id] = self._seqs.get(device_id, 0) + 1
        lon, lat = point or at(50, 50)
        observation = Observation(
            device_id=device_id,
            outbox_id="box",
            boot_id="boot",
            lane=Lane.ALARM,
            seq=seq,
            observed_at_ms=event_ms,
            observed_mono_ms=0,
            payload=payload,
            quality=quality,
        )
        return Located(
            observation=observation,
            zone=zone,
            event_ms=event_ms,
            time_source=time_source,
            received_ms=event_ms + 50 if received_ms is None else received_ms,
            lon_e7=lon,
            lat_e7=lat,
            radius_m=15.0,
            areas={"cell": "c1"},
        )


def batch(*items: Located, at_ms: int | None = None) -> ObservationRecord:
    """Make the record of a batch, appended when its last item came."""
    at_ms = max(i.received_ms for i in items) if at_ms is None else at_ms
    return ObservationRecord(at_ms=at_ms, said=tuple(gathered(items)))


def gathered(items: Iterable[Located]) -> Iterator[Said]:
    """Give observations as ingest does: those together that follow each other and share what a message shares."""

    def shared(one: Said) -> Said:
        return replace(one, observations=(), event_ms=(), inferred_ms=())

    run: list[Said] = []
    for one in map(said_of, items):
        same = run and run[0].observations[0].device_id == one.observations[0].device_id
        if run and not (same and shared(run[0]) == shared(one)):
            yield joined(run)
            run = []
        run.append(one)
    if run:
        yield joined(run)


def joined(run: Sequence[Said]) -> Said:
    """Return what a device said as one."""
    inferred = tuple(ms for one in run for ms in one.inferred_ms or (None,))
    return replace(
        run[0],
        observations=tuple(seen for one in run for seen in one.observations),
        event_ms=tuple(ms for one in run for ms in one.event_ms),
        inferred_ms=inferred if any(ms is not None for ms in inferred) else (),
    )


def decided(
    record: ObsLog, offset: int, outcomes: Sequence[Outcome | None], signal_ids: dict[int, str], *, version: str = ""
) -> list[HistoryItem]:
    """Return the decisions on a record one by one, as the history is told them."""
    kept = HistoryRecord(
        at_ms=0,
        place=(0, offset),
        obs=msgspec.Raw(encode(record)),
        rule_version=version,
        outcomes=tuple(outcomes),
        signal_ids=signal_ids,
    )
    return [one.item() for one in kept.decided()]
