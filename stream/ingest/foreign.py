"""Devices of other makes at the gate: what their dialects heard becomes observations of the devices that we know.

They do not seal, keep nothing and number nothing. So they are admitted by name alone (`source` in `places.geojson`), on
a broker that decides who may publish; and they are numbered here, in an outbox of this process, where they arrive.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from models.config import Adapter, Config
from models.errors import MessageError, Reason
from models.messages import ButtonPress, Fault, Lane, Observation, Payload, Reading
from models.places import DeviceKind, Places
from stream.adapters import (
    Ask,
    Dialect,
    EspHome,
    Heard,
    HomeAssistant,
    PlainJson,
    Sparkplug,
    Tasmota,
    Zigbee2Mqtt,
)
from stream.adapters.announcing import announcements
from stream.adapters.dialect import CONTACT
from stream.adapters.homeassistant import NAME as HOME_ASSISTANT
from stream.adapters.names import Host, Names
from stream.adapters.zigbee2mqtt import NAME as ZIGBEE2MQTT
from stream.ingest.registry import FIXED_RADIUS_M, Registry, Site
from stream.log.engine import is_kafka
from stream.records import Said, TimeSource
from stream.zones.row import FOREIGN_OUTBOX

MAX_AHEAD_MS: Final = 5 * 60_000
SAY_AGAIN_MS: Final = 3_600_000
"""An unknown device is a dead letter once in so long: it may speak every second."""
UNKNOWN: Final = 10_000
"""Unknown devices of which we know when they were listed."""
_BY_CONTACT: Final = {
    DeviceKind.SMOKE: "smoke",
    DeviceKind.HEAT: "heat_alarm",
    DeviceKind.GAS: "gas_alarm",
    DeviceKind.CO: "co_alarm",
    DeviceKind.FLOOD: "water_leak",
}
"""What the closed contact of a device means, by its kind; of a call point it is a press."""


def foreign_of(config: Config, places: Places, process: str) -> Foreign:
    """Return all dialects that a config names; where Home Assistant is one, our own devices appear there."""
    host = Host()
    dialects = [dialect_of(adapter, host, hears_all=not is_kafka(config)) for adapter in config.stream.adapters]
    return Foreign(dialects, process, greetings_of(config, places), host)


def greetings_of(config: Config, places: Places) -> list[tuple[str, bytes]]:
    """Return the retained messages by which our own devices appear in the world of another make."""
    return [
        greeting
        for adapter in config.stream.adapters
        if adapter.kind == "homeassistant"
        for device in places.devices
        if device.source is None
        for greeting in announcements(device, config.tenant, adapter.base or HOME_ASSISTANT)
    ]


def dialect_of(adapter: Adapter, host: Host | None = None, *, hears_all: bool = True) -> Dialect:
    """Return what understands the devices of an adapter; `hears_all`: this worker divides them with no other."""
    match adapter.kind:
        case "zigbee2mqtt":
            return Zigbee2Mqtt(adapter.base or ZIGBEE2MQTT, host)
        case "tasmota":
            return Tasmota(host)
        case "homeassistant":
            return HomeAssistant(adapter.base or HOME_ASSISTANT, host)
        case "sparkplug":
            return Sparkplug(adapter.base or "+", host, hears_all=hears_all)
        case "esphome":
            return EspHome(adapter.base, host)
        case "json":
            return PlainJson(adapter.base, host)


class Foreign:
    """All dialects of a worker.

    Args:
        process: names this process, and no other.
        greetings: retained messages by which our own devices appear in the world of another make.
        host: the one that the dialects know.

    Attributes:
        asks: what the dialects want said; whoever says it empties the list.
    """

    def __init__(
        self,
        dialects: Sequence[Dialect] = (),
        process: str = "",
        greetings: Sequence[tuple[str, bytes]] = (),
        host: Host | None = None,
    ) -> None:
        self.asks: list[Ask] = []
        self.greetings = list(greetings)
        self._dialects = dialects
        self._outbox_id = f"{FOREIGN_OUTBOX}{process}"
        self._seqs: defaultdict[str, int] = defaultdict(int)
        self._host = host or Host()
        self._unknown: Names[int] = Names(self._host, UNKNOWN)
        """When an unknown device was listed."""

    def greet(self, greetings: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Take other greetings, and return what is to be said for it: the news, and nothing where a device is gone."""
        gone = dict.fromkeys((topic for topic, _ in self.greetings), b"")
        news = gone | dict(greetings)
        said = dict(self.greetings)
        self.greetings = list(greetings)
        return [(topic, payload) for topic, payload in news.items() if said.get(topic) != payload]

    @property
    def gaps(self) -> int:
        """How often messages of a device that numbers them were missing."""
        return sum(dialect.gaps for dialect in self._dialects if isinstance(dialect, Sparkplug))

    @property
    def forgotten(self) -> int:
        """How often the name of a device that nobody has admitted had to be forgotten for another one."""
        return self._host.forgotten

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters; they may grow with what is heard."""
        return tuple(topic for dialect in self._dialects for topic in dialect.subscriptions)

    def filters(self, share: str) -> tuple[str, ...]:
        """Return what is to be subscribed, with `share` before what several workers divide between them."""
        if not share:
            return self.subscriptions
        common = dict.fromkeys(topic for dialect in self._dialects for topic in dialect.common)
        return (*common, *(f"{share}{topic}" for topic in self.subscriptions if topic not in common))

    def take(self, topic: str, payload: bytes, registry: Registry, *, is_retained: bool, now_ms: int) -> list[Said]:
        """Return what a message says of devices that we know.

        Raises:
            MessageError: it is in no dialect, cannot be read, or is of a device that nobody has admitted.
        """
        self._host.is_admitted = registry.is_admitted
        speaking = [one for one in self._dialects if one.hears(topic)]
        if not speaking:
            raise MessageError(Reason.WRONG_SHAPE, f"{topic!r} is no topic of ours")
        heard: list[Heard] = []
        for dialect in speaking:
            for one in dialect.hear(topic, payload, is_retained=is_retained, now_ms=now_ms):
                if isinstance(one, Ask):
                    self.asks.append(one)
                else:
                    heard.append(one)
        said = [self._said(one, site, now_ms) for one in heard for site in _sites(one, registry)]
        if not said:
            self._quarantine((one.source for one in heard), now_ms)
        return said

    def _quarantine(self, sources: Iterable[str], now_ms: int) -> None:
        news = [one for one in dict.fromkeys(sources) if now_ms - (self._unknown.get(one) or 0) >= SAY_AGAIN_MS]
        for source in news:
            self._unknown.put(source, now_ms, source=source)
        if news:
            listed = ", ".join(news)
            raise MessageError(Reason.UNKNOWN_DEVICE, f"{listed}: `gridwarden devices` lists it, and admits it")

    def _said(self, heard: Heard, site: Site, now_ms: int) -> Said:
        self._seqs[site.device_id] += 1
        is_believed = heard.observed_ms is not None and heard.observed_ms <= now_ms + MAX_AHEAD_MS
        observed_ms = heard.observed_ms if is_believed and heard.observed_ms is not None else now_ms
        observation = Observation(
            device_id=site.device_id,
            outbox_id=self._outbox_id,
            boot_id=self._outbox_id,
            lane=Lane.ALARM,
            seq=self._seqs[site.device_id],
            observed_at_ms=observed_ms,
            observed_mono_ms=0,
            payload=_meant(heard.payload, site.kind),
            quality=heard.quality,
        )
        return Said(
            observations=(observation,),
            zone=site.zone,
            event_ms=(observed_ms,),
            time_source=TimeSource.DEVICE if is_believed else TimeSource.MONO,
            received_ms=now_ms,
            lon_e7=site.point[0],
            lat_e7=site.point[1],
            radius_m=FIXED_RADIUS_M,
            areas=site.areas,
        )


def _sites(heard: Heard, registry: Registry) -> list[Site]:
    """Return who is meant: a fault of a device, such as that it is gone, is one of all that are parts of it."""
    site = registry.site_of(heard.source)
    if site is not None:
        return [site]
    return registry.parts_of(heard.source) if isinstance(heard.payload, Fault) else []


def _meant(payload: Payload, kind: DeviceKind | None) -> Payload:
    """Return what a device of this kind means by a contact; all else as it is."""
    if not isinstance(payload, Reading) or payload.property != CONTACT:
        return payload
    if kind is DeviceKind.BUTTON and payload.value:
        return ButtonPress()
    meaning = _BY_CONTACT.get(kind) if kind else None
    return Reading(property=meaning, value=payload.value, unit=payload.unit) if meaning else payload
