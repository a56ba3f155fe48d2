"""Which devices may speak, for whom, and where they stand: looked up once when the places are loaded."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

from models import topics
from models.geo import PointE7, distance_m
from models.places import DeviceKind, Places
from stream.desk.index import PlaceIndex

Locate = Callable[[Sequence[PointE7]], list[dict[str, str]]]
"""The area codes by layer of each of the points."""

FIXED_RADIUS_M: Final = 15.0
"""How far a thing may be from the device that reports it, where the device does not say."""
REACH_M: Final = 50.0
"""A report from nearer than this to a device is about what that device watches: the radius within which we merge."""
SQUARE: Final = 5_000
"""Side, in 1e-7 degree, of the squares that are the zones of reports where nothing is watched: 55 m of latitude."""
_SPEAKERS: Final = frozenset({DeviceKind.AGENT, DeviceKind.GATEWAY})


def partition_of(street: str, partitions: int) -> int:
    """Return the partition of a street. CRC-32 (ISO-HDLC): the same in every process and release."""
    return zlib.crc32(street.encode()) % partitions


class Homes(NamedTuple):
    """Where places have things remembered. A device without a zone is a zone of its own."""

    zone_of_device: Mapping[str, str]
    partition_of_zone: Mapping[str, int]


def homes_of(places: Places, partitions: int) -> Homes:
    """Return where `places` have each device and zone."""
    alone = {device.id: partition_of(device.id, partitions) for device in places.devices if device.zone is None}
    zones = {zone.id: partition_of(zone.street, partitions) for zone in places.zones}
    return Homes({device.id: device.zone or device.id for device in places.devices}, {**alone, **zones})


@dataclass(frozen=True, slots=True)
class Site:
    """A device as ingest needs it.

    Attributes:
        agent: the device that may speak for it.
        zone: by which it is judged.
        partition: of `obs`, by the zone's street.
        areas: area codes by layer where it stands.
        kind: None of people who report.
    """

    device_id: str
    agent: str | None
    zone: str
    partition: int
    point: PointE7
    areas: dict[str, str] = field(hash=False)
    kind: DeviceKind | None = None


class Registry:
    """The sites by device id, and the partition of each zone.

    Args:
        places: the places in force.
        locate: finds area codes; called once, with all devices.
        partitions: of the `obs` topic.
    """

    def __init__(self, places: Places, locate: Locate, *, partitions: int) -> None:
        self.locate = locate
        self._homes = homes = homes_of(places, partitions)
        areas = locate([device.point for device in places.devices]) if places.devices else []
        self.sites: Mapping[str, Site] = {
            device.id: Site(
                device_id=device.id,
                agent=device.agent,
                zone=homes.zone_of_device[device.id],
                partition=homes.partition_of_zone[homes.zone_of_device[device.id]],
                point=device.point,
                areas=area,
                kind=device.kind,
            )
            for device, area in zip(places.devices, areas, strict=True)
        }
        self._detectors = [one.id for one in places.devices if one.zone and one.kind not in _SPEAKERS]
        self._by_source = {one.source: self.sites[one.id] for one in places.devices if one.source}
        self._partitions = partitions

    @classmethod
    def of_sites(cls, sites: Mapping[str, Site], *, partitions: int) -> Registry:
        """Return one that knows these sites, and nothing of where anything else is."""
        registry = cls(Places(), lambda points: [{} for _ in points], partitions=partitions)
        registry.sites = sites
        registry._homes = Homes(
            {key: site.zone for key, site in sites.items()}, {site.zone: site.partition for site in sites.values()}
        )
        return registry

    def site_of(self, source: str) -> Site | None:
        """Return the site of a device of another make; what names a part of a device names the device."""
        while source:
            if site := self._by_source.get(source):
                return site
            source = source.rpartition("/")[0]
        return None

    def parts_of(self, source: str) -> list[Site]:
        """Return the sites of the devices of another make that are parts of `source`."""
        return [site for other, site in self._by_source.items() if other.startswith(f"{source}/")]

    def is_admitted(self, source: str) -> bool:
        """Whether `source` is a device of another make that is one of ours, a part of one, or has one as its part."""
        return source in self._above or self.site_of(source) is not None

    def heard_over(self, agent: str) -> list[Site]:
        """Return the sites of the devices that are heard over the connection of `agent`, its own among them."""
        return self._heard_over.get(agent, [])

    def site_of_report(self, point: PointE7) -> Site:
        """Return where a report belongs: to the zone that is watched there, else to a zone of its own place.

        So a report and a camera confirm each other, and two reports of one place are two of one thing.
        """
        near = [(distance_m(point, self.sites[key].point), key) for key in self._watching.around("", point, REACH_M)]
        away_m, key = min(near, default=(REACH_M, ""))
        zone = self.sites[key].zone if away_m < REACH_M else f"@{point[0] // SQUARE},{point[1] // SQUARE}"
        return Site(topics.ALERTS, None, zone, self.partition_of_zone(zone), point, {})

    @cached_property
    def _above(self) -> frozenset[str]:
        """Whatever the sources of our devices are parts of."""
        parts = (source.split("/") for source in self._by_source)
        return frozenset("/".join(part[:n]) for part in parts for n in range(1, len(part)))

    @cached_property
    def _heard_over(self) -> dict[str, list[Site]]:
        heard: defaultdict[str, list[Site]] = defaultdict(list)
        for site in self.sites.values():
            for agent in dict.fromkeys((site.device_id, site.agent)):
                if agent:
                    heard[agent].append(site)
        return dict(heard)

    @cached_property
    def _watching(self) -> PlaceIndex:
        """The places of the devices that watch a zone."""
        index = PlaceIndex()
        for device_id in self._detectors:
            index.add(device_id, "", self.sites[device_id].point)
        return index

    def partition_of_zone(self, zone: str) -> int:
        """Return where the records of `zone` stand."""
        known = self._homes.partition_of_zone.get(zone)
        return partition_of(zone, self._partitions) if known is None else known
