"""What may be wrong with the references in `Places`; the geometry is `models.places.geometry`'s."""

from __future__ import annotations

from collections.abc import Iterator

from models import topics
from models.content import duplicates
from models.errors import Problem
from models.places import (
    UNIT_GRID_DIGITS,
    Area,
    AreaKind,
    Cell,
    CellType,
    Device,
    DeviceKind,
    Line,
    LineKind,
    Node,
    Places,
)
from models.places.geojson import Sources


def problems(places: Places, sources: Sources) -> list[Problem]:
    """Name duplicate and reserved codes, and references to what is not there."""
    checks = (_duplicates, _reserved, _areas, _cells, _lines, _zones, _devices)
    return [problem for check in checks for problem in check(places, sources)]


def _duplicates(places: Places, sources: Sources) -> Iterator[Problem]:
    # A post's scope is a bare code, so the four spatial layers share one name space.
    spatial: dict[str, tuple[Area | Cell | Node | Line, ...]] = {
        "areas": places.areas,
        "cells": places.cells,
        "nodes": places.nodes,
        "lines": places.lines,
    }
    items = [((layer, index), item.code) for layer in spatial for index, item in enumerate(spatial[layer])]
    for at, code in duplicates(code for _, code in items):
        remedy = "give every area, cell, node and line a code of its own"
        yield sources.problem(items[at][0], ".properties.code", f"code {code} is used twice", remedy)
    for layer, ids in _ids(places).items():
        for index, key in duplicates(ids):
            yield sources.problem((layer, index), ".properties.id", f"id {key} is used twice", "give it one of its own")


def _ids(places: Places) -> dict[str, list[str]]:
    return {"zones": [zone.id for zone in places.zones], "devices": [device.id for device in places.devices]}


def _reserved(places: Places, sources: Sources) -> Iterator[Problem]:
    for layer, ids in _ids(places).items():
        for index, key in enumerate(ids):
            if key in topics.RESERVED:
                remedy = "choose another: it is a branch of the topic tree"
                yield sources.problem((layer, index), ".properties.id", f"id {key} is reserved", remedy)


def _unknown(sources: Sources, at: tuple[str, int], key: str, value: str, wanted: str) -> Problem:
    what, remedy = f"there is no {wanted} {value}", f"add that {wanted}, or correct the reference"
    return sources.problem(at, f".properties.{key}", what, remedy)


def _areas(places: Places, sources: Sources) -> Iterator[Problem]:
    for index, area in enumerate(places.areas):
        at = "areas", index
        if area.parent is None and area.kind is not AreaKind.DISTRICT:
            what = f"{area.kind} {area.code} has no parent"
            yield sources.problem(at, ".properties.parent", what, "name the area that holds it")
        elif area.parent is not None and area.parent not in sources.named["areas"]:
            yield _unknown(sources, at, "parent", area.parent, "area")


def _cells(places: Places, sources: Sources) -> Iterator[Problem]:
    named = sources.named
    for index, cell in enumerate(places.cells):
        at = "cells", index
        wanted = "cell" if cell.type is CellType.MICRO else "area"
        if cell.parent not in named[wanted + "s"]:
            yield _unknown(sources, at, "parent", cell.parent, wanted)
        elif _contradicts_parent(cell):
            what = f"code {cell.code} does not begin with its parent's code {cell.parent}"
            yield sources.problem(at, ".properties.code", what, "correct the code or the parent")
        if cell.line is not None and cell.line not in named["lines"]:
            yield _unknown(sources, at, "line", cell.line, "line")
        if bool(cell.categories) != (cell.type is CellType.EXCLUSIVE):
            what = f"{cell.type} cell {cell.code} has {'' if cell.categories else 'no '}categories"
            yield sources.problem(at, ".properties.categories", what, "an exclusive cell has some, others have none")
    for index, node in enumerate(places.nodes):
        if node.cell not in named["cells"]:
            yield _unknown(sources, ("nodes", index), "cell", node.cell, "cell")


def _contradicts_parent(cell: Cell) -> bool:
    is_unit_grid = len(cell.code) == UNIT_GRID_DIGITS and cell.code.isdigit() and cell.parent.isdigit()
    return is_unit_grid and not cell.code.startswith(cell.parent)


def _lines(places: Places, sources: Sources) -> Iterator[Problem]:
    for index, line in enumerate(places.lines):
        parent = places.line_by_code.get(line.parent or "")
        if line.parent is not None and line.parent not in sources.named["lines"]:
            yield _unknown(sources, ("lines", index), "parent", line.parent, "line")
        elif parent is not None and parent.kind.level >= line.kind.level:
            what = f"{parent.kind} {parent.code} cannot hold {line.kind} {line.code}"
            remedy = "a lane belongs to a road, a road to a street"
            yield sources.problem(("lines", index), ".properties.parent", what, remedy)


def _zones(places: Places, sources: Sources) -> Iterator[Problem]:
    for index, zone in enumerate(places.zones):
        if zone.cell not in sources.named["cells"]:
            yield _unknown(sources, ("zones", index), "cell", zone.cell, "cell")
        street = places.line_by_code.get(zone.street)
        if zone.street not in sources.named["lines"] or (street is not None and street.kind is not LineKind.STREET):
            yield _unknown(sources, ("zones", index), "street", zone.street, "street")


def _devices(places: Places, sources: Sources) -> Iterator[Problem]:
    for index, device in enumerate(places.devices):
        at = "devices", index
        for key, value in (("cell", device.cell), ("node", device.node), ("zone", device.zone)):
            if value is not None and value not in sources.named[key + "s"]:
                yield _unknown(sources, at, key, value, key)
        yield from _speaker(places, sources, at, device)


def _speaker(places: Places, sources: Sources, at: tuple[str, int], device: Device) -> Iterator[Problem]:
    if device.kind is DeviceKind.AGENT:
        for key in ("zone", "agent"):
            if getattr(device, key) is not None:
                what = f"agent {device.id} has a {key}"
                yield sources.problem(at, f".properties.{key}", what, "remove it: an agent only speaks for others")
        return
    if device.zone is None:
        what = f"{device.kind} {device.id} stands in no zone"
        yield sources.problem(at, ".properties.zone", what, "name its zone")
    agent = places.device_by_id.get(device.agent or "")
    is_broken = agent is None and device.agent in sources.named["devices"]
    if device.agent is not None and not is_broken and (agent is None or agent.kind is not DeviceKind.AGENT):
        yield _unknown(sources, at, "agent", device.agent, "agent")
