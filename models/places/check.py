"""What may be wrong with the references in `Places`; the geometry is `models.places.geometry`'s."""

from __future__ import annotations

from collections.abc import Iterator

from models import topics
from models.content import duplicates
from models.errors import Problem
from models.places import AreaKind, CellType, Device, DeviceKind, LineKind
from models.places.codes import problems as code_problems
from models.places.sources import SPATIAL, At, Sources, key_of, shape_of

SHOWN = 5
"""Codes that one message names; the problem itself carries all."""


def problems(sources: Sources) -> list[Problem]:
    """Name duplicate and reserved codes, references to what is not there, and what contradicts itself."""
    checks = (_duplicates, _reserved, _areas, _cells, code_problems, _nodes, _lines, _zones, _devices)
    return [problem for check in checks for problem in check(sources)]


def remarks(sources: Sources) -> Iterator[Problem]:
    """Name what was repaired, and what nothing refers to."""
    if sources.clockwise:
        codes = tuple(key_of(getattr(sources.places, layer)[index]) for layer, index in sources.clockwise)
        what = f"run against the right-hand rule of RFC 7946, and were turned: {_some(codes)}"
        remedy = "write outer rings counter-clockwise and holes clockwise"
        yield sources.problem(sources.clockwise[0], ".geometry", what, remedy, codes=codes)
    if not sources.is_whole:
        return  # Whoever refers to these may be among what could not be read.
    held = {cell.parent for cell in sources.places.cells} | {area.parent for area in sources.places.areas}
    for index, area in enumerate(sources.places.areas):
        if area.code not in held:
            what = f"{area.kind} {area.code} holds no cell"
            yield sources.problem(("areas", index), ".properties.code", what, "name it as a parent, or remove it")
    watched = {device.zone for device in sources.places.devices}
    for index, zone in enumerate(sources.places.zones):
        if zone.id not in watched:
            what = f"no device stands in zone {zone.id}"
            yield sources.problem(("zones", index), ".properties.id", what, "name it in a device, or remove it")


def _some(codes: tuple[str, ...]) -> str:
    return ", ".join(codes[:SHOWN]) + (f" and {len(codes) - SHOWN} more" if len(codes) > SHOWN else "")


def _duplicates(sources: Sources) -> Iterator[Problem]:
    # A post's scope is a bare code, so the four spatial layers share one name space.
    items = [
        ((layer, index), item.code) for layer in SPATIAL for index, item in enumerate(getattr(sources.places, layer))
    ]
    for at, code in duplicates(code for _, code in items):
        remedy = "give every area, cell, node and line a code of its own"
        yield sources.problem(items[at][0], ".properties.code", f"code {code} is used twice", remedy)
    for layer, ids in _ids(sources).items():
        for index, key in duplicates(ids):
            yield sources.problem((layer, index), ".properties.id", f"id {key} is used twice", "give it one of its own")


def _ids(sources: Sources) -> dict[str, list[str]]:
    places = sources.places
    return {"zones": [zone.id for zone in places.zones], "devices": [device.id for device in places.devices]}


def _reserved(sources: Sources) -> Iterator[Problem]:
    for layer, ids in _ids(sources).items():
        for index, key in enumerate(ids):
            if key in topics.RESERVED:
                remedy = "choose another: it is a branch of the topic tree"
                yield sources.problem((layer, index), ".properties.id", f"id {key} is reserved", remedy)


def _unknown(sources: Sources, at: At, key: str, value: str, wanted: str) -> Problem:
    layer, index = at
    item = getattr(sources.places, layer)[index]
    what = f"{layer[:-1]} {key_of(item)} names a {key} that is not there: there is no {wanted} {value}"
    codes = (key_of(item), value)
    return sources.problem(
        at,
        f".properties.{key}",
        what,
        f"add that {wanted}, or correct the reference",
        codes=codes,
        shape=shape_of(item),
    )


def _areas(sources: Sources) -> Iterator[Problem]:
    levels = list(AreaKind)
    for index, area in enumerate(sources.places.areas):
        at = "areas", index
        parent = sources.places.area_by_code.get(area.parent or "")
        if area.parent is None:
            if area.kind is not AreaKind.DISTRICT:
                what = f"{area.kind} {area.code} has no parent"
                yield sources.problem(at, ".properties.parent", what, "name the area that holds it")
        elif area.parent not in sources.named["areas"]:
            yield _unknown(sources, at, "parent", area.parent, "area")
        elif parent is not None and levels.index(parent.kind) >= levels.index(area.kind):
            what = f"{parent.kind} {parent.code} cannot hold {area.kind} {area.code}"
            remedy = "a community belongs to a sub-district, a sub-district to a district"
            yield sources.problem(at, ".properties.parent", what, remedy, codes=(area.code, parent.code))


def _cells(sources: Sources) -> Iterator[Problem]:
    named = sources.named
    for index, cell in enumerate(sources.places.cells):
        at = "cells", index
        is_micro = cell.type is CellType.MICRO
        wanted = "cell" if is_micro else "area"
        parent = sources.places.cell_by_code.get(cell.parent) if is_micro else None
        if cell.parent not in named[wanted + "s"]:
            yield _unknown(sources, at, "parent", cell.parent, wanted)
        elif parent is not None and parent.type is not CellType.BASE:
            what = f"micro cell {cell.code} lies in {parent.type} cell {parent.code}"
            remedy = "name the base cell that holds it"
            yield sources.problem(at, ".properties.parent", what, remedy, codes=(cell.code, parent.code))
        if cell.line is not None and cell.line not in named["lines"]:
            yield _unknown(sources, at, "line", cell.line, "line")
        if bool(cell.categories) != (cell.type is CellType.EXCLUSIVE):
            what = f"{cell.type} cell {cell.code} has {'' if cell.categories else 'no '}categories"
            yield sources.problem(at, ".properties.categories", what, "an exclusive cell has some, others have none")


def _nodes(sources: Sources) -> Iterator[Problem]:
    for index, node in enumerate(sources.places.nodes):
        if node.cell not in sources.named["cells"]:
            yield _unknown(sources, ("nodes", index), "cell", node.cell, "cell")


def _lines(sources: Sources) -> Iterator[Problem]:
    for index, line in enumerate(sources.places.lines):
        parent = sources.places.line_by_code.get(line.parent or "")
        if line.parent is not None and line.parent not in sources.named["lines"]:
            yield _unknown(sources, ("lines", index), "parent", line.parent, "line")
        elif parent is not None and parent.kind.level >= line.kind.level:
            what = f"{parent.kind} {parent.code} cannot hold {line.kind} {line.code}"
            remedy = "a lane belongs to a road, a road to a street"
            codes = (line.code, parent.code)
            yield sources.problem(("lines", index), ".properties.parent", what, remedy, codes=codes)


def _zones(sources: Sources) -> Iterator[Problem]:
    for index, zone in enumerate(sources.places.zones):
        if zone.cell not in sources.named["cells"]:
            yield _unknown(sources, ("zones", index), "cell", zone.cell, "cell")
        street = sources.places.line_by_code.get(zone.street)
        if zone.street not in sources.named["lines"] or (street is not None and street.kind is not LineKind.STREET):
            yield _unknown(sources, ("zones", index), "street", zone.street, "street")


def _devices(sources: Sources) -> Iterator[Problem]:
    for index, device in enumerate(sources.places.devices):
        at = "devices", index
        for key, value in (("cell", device.cell), ("node", device.node), ("zone", device.zone)):
            if value is not None and value not in sources.named[key + "s"]:
                yield _unknown(sources, at, key, value, key)
        yield from _speaker(sources, at, device)
        yield from _view(sources, at, device)


def _speaker(sources: Sources, at: At, device: Device) -> Iterator[Problem]:
    if device.kind is DeviceKind.AGENT:
        for key in ("zone", "agent"):
            if getattr(device, key) is not None:
                what = f"agent {device.id} has a {key}"
                yield sources.problem(at, f".properties.{key}", what, "remove it: an agent only speaks for others")
        return
    if device.zone is None:
        what = f"{device.kind} {device.id} stands in no zone"
        yield sources.problem(at, ".properties.zone", what, "name its zone")
    agent = sources.places.device_by_id.get(device.agent or "")
    is_broken = agent is None and device.agent in sources.named["devices"]
    if device.agent is not None and not is_broken and (agent is None or agent.kind is not DeviceKind.AGENT):
        yield _unknown(sources, at, "agent", device.agent, "agent")


def _view(sources: Sources, at: At, device: Device) -> Iterator[Problem]:
    """What a camera sees is given whole or not at all; nothing else looks anywhere."""
    given = {key for key in ("heading_deg", "fov_deg", "range_m") if getattr(device, key) is not None}
    if device.kind is not DeviceKind.CAMERA:
        for key in sorted(given - {"range_m"}):
            what = f"{device.kind} {device.id} has a {key}"
            yield sources.problem(at, f".properties.{key}", what, "remove it: only a camera looks somewhere")
    elif given and len(given) < 3:
        for key in sorted({"heading_deg", "fov_deg", "range_m"} - given):
            what = f"camera {device.id} has no {key}"
            remedy = "give heading_deg, fov_deg and range_m, or none of them: then its view is unknown"
            yield sources.problem(at, f".properties.{key}", what, remedy)
