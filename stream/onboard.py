"""``gridwarden devices``: who speaks here and is not admitted, and admitting one: its key, zone and street at once."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from models import seal
from models.check import PLACES
from models.config import Config
from models.config import load as config_of
from models.errors import ConfigError, Problem, Reason
from models.geo import PointE7, point_e7, to_degrees
from models.messages import DeadLetter, decode
from models.places import Device, DeviceKind, Places, load, read
from models.supervise import write_atomically
from stream.log.engine import recorded_at
from stream.recorded import Recorded
from stream.telling import tell


class Stranger(Struct, frozen=True, kw_only=True):
    """A device that speaks and is not admitted.

    Attributes:
        source: how it calls itself.
        letters: dead letters of it, at most one an hour for a device of another make.
    """

    source: str
    topic: str
    letters: int
    first_ms: int
    last_ms: int


def strangers(recorded: Recorded, places: Places) -> list[Stranger]:
    """Return those that spoke and are still not admitted, the newest first."""
    known = places.device_by_id.keys() | {device.source for device in places.devices}
    found: dict[str, Stranger] = {}
    for record in recorded.records("dead"):
        letter = decode(record.value or b"", DeadLetter)
        if letter.reason is not Reason.UNKNOWN_DEVICE:
            continue
        for source in _sources(letter):
            if source not in known:
                before = found.get(source)
                found[source] = Stranger(
                    source=source,
                    topic=letter.source,
                    letters=1 + (before.letters if before else 0),
                    first_ms=before.first_ms if before else letter.at_ms,
                    last_ms=letter.at_ms,
                )
    return sorted(found.values(), key=lambda one: -one.last_ms)


def _sources(letter: DeadLetter) -> list[str]:
    """Return who is meant: ``'cam-09' is no device ...`` of our own, ``a, b: ...`` of other makes."""
    if letter.detail.startswith("'"):
        return [letter.detail[1:].partition("'")[0]]
    return letter.detail.partition(": ")[0].split(", ")


class Admission(Struct, frozen=True, kw_only=True):
    """What a person says of a device.

    Attributes:
        source: how it calls itself; a device of our own calls itself by its id.
        position: longitude and latitude in degrees; None: where its zone is.
    """

    source: str
    id: str
    kind: DeviceKind
    zone: str
    name: str
    name_en: str
    position: tuple[float, float] | None = None
    agent: str | None = None
    is_on_battery: bool = False
    every_s: float | None = None


class Admitted(Struct, frozen=True, kw_only=True):
    """What it has got.

    Attributes:
        key_file: to be copied to the device; None for a device of another make, which does not seal.
    """

    id: str
    zone: str
    street: str
    cell: str
    key_file: str | None


def admit(asked: Admission, config: Config) -> Admitted:
    """Put a device into `places.geojson` and make its key. `gridwarden reload` puts it in force.

    Raises:
        ConfigError: it cannot stand there; the file is as it was.
    """
    file = Path(config.folder) / PLACES
    places = load(file)
    zone = next((one for one in places.zones if one.id == asked.zone), None)
    if zone is None:
        names = ", ".join(one.id for one in places.zones[:10])
        raise ConfigError([Problem(file, "zone", f"no zone {asked.zone!r}", f"name one of: {names}, ...")])
    if asked.id in places.device_by_id:
        raise ConfigError([Problem(file, "id", f"{asked.id!r} is a device already", "give it another id")])
    is_ours = asked.source == asked.id
    device = Device(
        id=asked.id,
        kind=asked.kind,
        name=asked.name,
        name_en=asked.name_en,
        cell=zone.cell,
        point=_point(asked, zone.point, places, file),
        zone=zone.id,
        agent=asked.agent,
        source=None if is_ours else asked.source,
        power="battery" if asked.is_on_battery else "mains",
        every_s=asked.every_s,
    )
    document = msgspec.json.decode(file.read_bytes())
    document["features"].append(_feature(device))
    changed = msgspec.json.format(msgspec.json.encode(document), indent=1)
    found = read(changed, file=file, geometry=False)
    if found.problems:
        raise ConfigError(found.problems)
    write_atomically(file, changed)
    if is_ours:
        seal.make_keys(config.keys, [asked.id])
    key_file = str(config.keys / f"{asked.id}.key") if is_ours else None
    return Admitted(id=asked.id, zone=zone.id, street=zone.street, cell=zone.cell, key_file=key_file)


def _point(asked: Admission, zone: PointE7 | None, places: Places, file: Path) -> PointE7:
    if asked.position is not None:
        return point_e7(*asked.position)
    beside = next((device.point for device in places.devices if device.zone == asked.zone), zone)
    if beside is None:
        raise ConfigError([Problem(file, "position", f"zone {asked.zone} has none", "give --at LON LAT")])
    return beside


def _feature(device: Device) -> dict[str, Any]:
    properties = {key: value for key, value in msgspec.to_builtins(device).items() if value is not None}
    lon_e7, lat_e7 = properties.pop("point")
    geometry = {"type": "Point", "coordinates": [to_degrees(lon_e7), to_degrees(lat_e7)]}
    return {"type": "Feature", "properties": {"layer": "device", **properties}, "geometry": geometry}


def stranger_lines(found: Iterable[Stranger]) -> Iterator[str]:
    """Yield a line for each stranger, or one that says that there is none."""
    is_empty = True
    for one in found:
        is_empty = False
        last = dt.datetime.fromtimestamp(one.last_ms / 1000, dt.UTC).isoformat(" ", "seconds")
        yield f"{last}  {one.letters:>6}  {one.source}  on {one.topic}"
    if is_empty:
        yield "everybody who spoke is admitted"


def admitted_lines(one: Admitted) -> Iterator[str]:
    """Yield what a person has to know and do next."""
    yield f"{one.id} stands in zone {one.zone}, street {one.street}, cell {one.cell}"
    if one.key_file:
        yield f"its key: {one.key_file} (copy it to the device, mode 0600)"
    yield "put it in force: gridwarden reload"


def run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Do what ``gridwarden devices`` was asked for; return the exit code.

    Raises:
        ConfigError: the device cannot be admitted so.
        StorageError: there is no log to list from.
    """
    config = config_of(args.config)
    if args.admit is None:
        recorded = Recorded(recorded_at(config))
        try:
            found = strangers(recorded, load(Path(config.folder) / PLACES, geometry=False))
        finally:
            recorded.close()
        tell(found, stranger_lines(found), say, as_json=args.json)
        return 0
    admitted = admit(_asked(args), config)
    tell(admitted, admitted_lines(admitted), say, as_json=args.json)
    return 0


def _asked(args: argparse.Namespace) -> Admission:
    missing = [name for name in ("kind", "zone") if getattr(args, name) is None]
    if missing:
        raise ConfigError([Problem("--admit", name, "is missing", f"give --{name}") for name in missing])
    if args.kind not in set(DeviceKind):
        kinds = ", ".join(DeviceKind)
        raise ConfigError([Problem("--kind", args.kind, "is no kind of device", f"use one of: {kinds}")])
    name = args.id or args.admit
    return Admission(
        source=args.admit,
        id=name,
        kind=DeviceKind(args.kind),
        zone=args.zone,
        name=args.name or name,
        name_en=args.name_en or name,
        position=tuple(args.at) if args.at else None,
        agent=args.agent,
        is_on_battery=args.battery,
        every_s=args.every,
    )
