"""Whether the devices of a zone do their duty: silence and faults are told, and hide no alarm (S10).

Who sends heartbeats is missed when they stop; a sensor that sends none is missed when nothing at all comes any more. A
zone in which every detector has failed is not watched: that is told more urgently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from models.catalogue import Catalogue
from models.catalogue import Signal as Meaning
from models.messages import Stage, Timeline
from models.places import Device, DeviceKind, Places
from models.thresholds import Supervision
from stream.zones import clocks, density
from stream.zones.family import ActiveSignal
from stream.zones.row import ZoneRow

FAMILY: Final = "device"
FAMILIES: Final = frozenset({FAMILY, clocks.WRONG.family, density.COARSE.family})
"""Of what devices tell of themselves, not of the street."""
FAULT: Final = "device.fault"
UNPROTECTED: Final = "device.unprotected"
LASTING: Final = frozenset({"tamper", "battery_low", "battery_defect", "trouble"})
"""Faults that a device does not take back by going on: a person ends them."""
_PULSED: Final = frozenset({DeviceKind.CAMERA, DeviceKind.AGENT, DeviceKind.GATEWAY})
"""Kinds that send heartbeats."""
_NO_DETECTORS: Final = frozenset({DeviceKind.AGENT, DeviceKind.GATEWAY, DeviceKind.BUTTON})


MISSED_TIMES: Final = 2.5
"""A device that says how often it speaks is missed after so many times as long."""


def missed_after_ms(device: Device, places: Places, limits: Supervision) -> int:
    """Return how long a device may be silent."""
    if device.every_s is not None:
        return round(MISSED_TIMES * device.every_s * 1000)
    if device.kind in _PULSED:
        return round(limits.pulsed_s * 1000)
    if device.power == "battery":
        is_alone = len(detectors_of(device.zone or device.id, places)) <= 1
        return round((limits.battery_alone_s if is_alone else limits.battery_s) * 1000)
    return round(limits.mains_s * 1000)


def is_supervised(device: Device, *, is_heartbeat: bool) -> bool:
    """Whether this word of a device is one that will be missed when the next does not come."""
    return is_heartbeat or device.kind not in _PULSED | {DeviceKind.BUTTON}


def detectors_of(zone: str, places: Places) -> tuple[Device, ...]:
    """Return the devices by which a zone is watched."""
    return tuple(device for device in places.devices_by_zone.get(zone, ()) if device.kind not in _NO_DETECTORS)


def failed(row: ZoneRow) -> dict[str, str]:
    """Return the devices that do not do their duty, and why not."""
    return {**row.faults, **dict.fromkeys(row.silent, "silent")}


def stage_of(row: ZoneRow, places: Places) -> Stage | None:
    """Return how bad it is; None while every device does its duty."""
    bad = failed(row)
    if not bad:
        return None
    watching = [device.id for device in detectors_of(row.zone, places)]
    return Stage.ALARM if watching and all(device in bad for device in watching) else Stage.PRE_ALARM


def meaning(catalogue: Catalogue) -> Meaning | None:
    """Return the categories of it; None where the catalogue has none, and then nothing is told."""
    if FAULT not in catalogue.category_by_key:
        return None
    alarm = UNPROTECTED if UNPROTECTED in catalogue.category_by_key else FAULT
    return Meaning(pre_alarm=FAULT, alarm=alarm)


def raised(
    row: ZoneRow, places: Places, bad: Mapping[str, str], stage: Stage, meant: Meaning | None, signal_id: str
) -> ActiveSignal | None:
    """Return the signal of a zone whose devices fail.

    Args:
        row: of the zone.
        places: in force.
        bad: the devices, and what is wrong with each.
        stage: how bad it is.
        meant: the categories.
        signal_id: names it.

    Returns:
        None where nobody knows the devices any more, or the catalogue no such category.
    """
    place = next((device for device in map(places.device_by_id.get, sorted(bad)) if device), None)
    if place is None or meant is None:
        return None
    first = min(bad)
    return ActiveSignal(
        signal_id=signal_id,
        stage=stage,
        meaning=meant,
        label=bad[first],
        device_id=first,
        confidence=1.0,
        sources=tuple(sorted(bad)),
        raised_event_ms=row.clock_ms,
        told_event_ms=row.clock_ms,
        lon_e7=place.point[0],
        lat_e7=place.point[1],
        radius_m=0.0,
        areas={"cell": place.cell},
        timeline=Timeline(captured_ms=row.clock_ms, ingested_ms=row.clock_ms),
        untold=len(bad),
    )
