"""Home Assistant discovery: entities that announce themselves, and the announcement of our own devices.

An entity's config names the topic of its state; that topic is subscribed then. A value template is Jinja and comes from
the network: only a path into the JSON is understood, and anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from models import topics
from models.errors import MessageError, Reason
from models.messages import Quality
from models.places import Device, DeviceKind
from stream.adapters.dialect import Faults, Heard, celsius, fields_of, heard, number

NAME: Final = "homeassistant"
MAX_TOPIC: Final = 512
_SHORT: Final = {
    "stat_t": "state_topic",
    "dev_cla": "device_class",
    "uniq_id": "unique_id",
    "avty_t": "availability_topic",
    "avty_tpl": "availability_template",
    "avty": "availability",
    "t": "topic",
    "val_tpl": "value_template",
    "pl_on": "payload_on",
    "pl_off": "payload_off",
    "pl_not_avail": "payload_not_available",
    "unit_of_meas": "unit_of_measurement",
}
_TEMPLATE: Final = re.compile(r"^\{\{\s*value_json((?:\.\w+|\[['\"]\w+['\"]\])+)\s*\}\}$")
_STEP: Final = re.compile(r"\w+")
_CLASSES: Final = {
    "smoke": "smoke",
    "gas": "gas",
    "carbon_monoxide": "carbon_monoxide",
    "moisture": "water_leak",
    "heat": "heat",
    "tamper": "tamper",
    "problem": "problem",
    "battery": "battery_low",
    "temperature": "temperature",
    "humidity": "humidity",
    "pm25": "pm25",
    "carbon_dioxide": "co2",
    "sound_pressure": "noise",
}
"""Device classes to the names of `dialect`. A battery that is a share, not a warning, is none of them."""


class Availability(NamedTuple):
    """Where it is said that an entity is gone, at which path of the JSON, and by which word."""

    topic: str
    path: tuple[str, ...]
    gone: str


class Entity(NamedTuple):
    """What an announcement says."""

    source: str
    component: str
    name: str
    state_topic: str
    path: tuple[str, ...]
    on: str
    off: str
    unit: str
    availability: tuple[Availability, ...]


class HomeAssistant:
    """All entities under one discovery prefix.

    Args:
        prefix: the discovery prefix.
    """

    def __init__(self, prefix: str = NAME) -> None:
        self._prefix = prefix
        self._faults = Faults()
        self._entities: dict[str, Entity] = {}

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters: the announcements, and what those named so far."""
        named = {
            topic
            for one in self._entities.values()
            for topic in (one.state_topic, *(said.topic for said in one.availability))
        }
        return (f"{self._prefix}/#", *sorted(named))

    @property
    def common(self) -> tuple[str, ...]:
        """The announcements."""
        return (f"{self._prefix}/#",)

    def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> list[Heard]:
        """Say what a message means; an announcement means nothing by itself, retained as it is."""
        del now_ms
        if topic.startswith(f"{self._prefix}/"):
            if topic.endswith("/config"):
                self._announced(topic, payload)
            return []
        quality = Quality.REPLAYED if is_retained else Quality.LIVE
        return [said for entity in self._entities.values() for said in self._said(entity, topic, payload, quality)]

    def _announced(self, topic: str, payload: bytes) -> None:
        if not payload:
            self._entities.pop(topic, None)
            return
        component = topic.split("/")[1]
        if component in ("binary_sensor", "sensor"):
            entity = _entity(component, fields_of(payload, topic))
            if entity is not None:
                self._entities[topic] = entity

    def _said(self, entity: Entity, topic: str, payload: bytes, quality: Quality) -> Iterator[Heard]:
        for said in entity.availability:
            if topic == said.topic:
                is_gone = str(_at(payload, said.path, topic)) == said.gone
                yield from self._faults.news(entity.source, "offline", quality, is_there=is_gone)
        if topic == entity.state_topic:
            value = _at(payload, entity.path, topic)
            if entity.component == "binary_sensor":
                value = {entity.on: True, entity.off: False}.get(str(value))
            elif entity.name == "temperature" and (measured := number(value)) is not None:
                value = celsius(measured, entity.unit)
            yield from heard(entity.source, {entity.name: value}, self._faults, quality)


def _entity(component: str, config: dict[str, Any]) -> Entity | None:
    named = _in_full(config)
    name = _CLASSES.get(str(named.get("device_class")))
    if name is None or (name == "battery_low" and component == "sensor"):
        return None
    base = str(config.get("~", ""))
    state_topic = _topic(named.get("state_topic"), base)
    return Entity(
        source=f"{NAME}/{named.get('unique_id') or state_topic}",
        component=component,
        name=name,
        state_topic=state_topic,
        path=_path(named.get("value_template")),
        on=str(named.get("payload_on", "ON")),
        off=str(named.get("payload_off", "OFF")),
        unit=str(named.get("unit_of_measurement", "C")),
        availability=tuple(_availability(named, base)),
    )


def _availability(named: dict[str, Any], base: str) -> Iterator[Availability]:
    """Yield where it is said that an entity is gone: one topic, or a list of them, each with a word of its own."""
    if "availability_topic" in named:
        topic = _topic(named["availability_topic"], base)
        yield Availability(topic, _path(named.get("availability_template")), _gone(named))
    listed = named.get("availability") or []
    for one in listed if isinstance(listed, list) else [listed]:
        if isinstance(one, dict):
            said = _in_full(one)
            yield Availability(_topic(said.get("topic"), base), _path(said.get("value_template")), _gone(said))


def _gone(named: dict[str, Any]) -> str:
    return str(named.get("payload_not_available", "offline"))


def _in_full(config: dict[str, Any]) -> dict[str, Any]:
    return {_SHORT.get(key, key): value for key, value in config.items()}


def _topic(topic: object, base: str) -> str:
    """Return the full name of a topic that an announcement names.

    Raises:
        MessageError: it is none that could be subscribed, or a filter, which would subscribe others as well.
    """
    full = _full(topic, base) if isinstance(topic, str) else ""
    if not full or len(full) > MAX_TOPIC or any(sign in full for sign in "+#\0"):
        raise MessageError(Reason.WRONG_SHAPE, f"an announced entity names the topic {topic!r:.80}, which is none")
    return full


def _full(topic: str, base: str) -> str:
    if topic.startswith("~"):
        return base + topic[1:]
    return topic[:-1] + base if topic.endswith("~") else topic


def _path(template: object) -> tuple[str, ...]:
    """Return the path that a template takes into the JSON.

    Raises:
        MessageError: the template does more than that; it is not run.
    """
    if template is None:
        return ()
    found = _TEMPLATE.match(str(template).strip())
    if found is None:
        what = f"the value template {str(template)[:80]!r} is more than a path such as {{{{ value_json.smoke }}}}"
        raise MessageError(Reason.WRONG_SHAPE, what)
    return tuple(_STEP.findall(found[1]))


def _at(payload: bytes, path: tuple[str, ...], topic: str) -> object:
    if not path:
        return payload.decode("utf-8", "replace")
    value: object = fields_of(payload, topic)
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


# --- our own devices -------------------------------------------------------------------------------------------------

# What we send is one line of JSON and its seal on the next; a template sees the first line alone.
_LINE: Final = "(value.split('\\n')[0] | from_json)"
_ONLINE: Final = "{{ 'online' if " + _LINE + ".online else 'offline' }}"
_NEWEST: Final = (
    "{% set said = " + _LINE + ".observations | rejectattr('quality', 'in', ['replayed', 'test'])"
    " | selectattr('payload.property', 'eq', '<property>') | map(attribute='payload.value') | list %}"
)
_MEASURED: Final = _NEWEST + "{{ said[-1] if said }}"
_DETECTED: Final = _NEWEST + "{{ ('ON' if said[-1] >= 0.5 else 'OFF') if said }}"
"""Of a message that says nothing of the property nothing comes out, and Home Assistant leaves the state as it is."""


class _Shown(NamedTuple):
    """A property of one of our devices: its unit, or None of a yes or no, and what Home Assistant calls its class."""

    property: str
    device_class: str | None
    unit: str | None = None


_SHOWN: Final = {
    DeviceKind.SMOKE: (_Shown("smoke", "smoke"),),
    DeviceKind.HEAT: (_Shown("heat_alarm", "heat"), _Shown("temperature", "temperature", "°C")),
    DeviceKind.GAS: (_Shown("gas_alarm", "gas"), _Shown("gas", None, "%")),
    DeviceKind.CO: (_Shown("co_alarm", "carbon_monoxide"), _Shown("co", "carbon_monoxide", "ppm")),
    DeviceKind.FLOOD: (_Shown("water_leak", "moisture"), _Shown("water_level", "distance", "cm")),
}


def announcements(device: Device, tenant: str, prefix: str = NAME) -> Iterator[tuple[str, bytes]]:
    """Yield the retained messages (topic, payload) by which one of our devices appears in Home Assistant.

    It is shown as connected or not, by the `status` topic that its agent keeps, and a sensor with what it measures.
    """
    unique = f"gridwarden_{tenant}_{device.id}"
    status = topics.status(tenant, device.agent or device.id)
    shared = {
        "device": {
            "identifiers": [unique],
            "name": device.name_en,
            "manufacturer": "Gridwarden",
            "model": str(device.kind),
            "suggested_area": device.cell,
        },
        "origin": {"name": "Gridwarden"},
    }
    connected = {
        "name": None,
        "device_class": "connectivity",
        "state_topic": status,
        "value_template": _ONLINE,
        "payload_on": "online",
        "payload_off": "offline",
    }
    yield _announcement(prefix, "binary_sensor", unique, "connected", connected | shared)
    for shown in _SHOWN.get(device.kind, ()):
        component, template = ("sensor", _MEASURED) if shown.unit else ("binary_sensor", _DETECTED)
        config = {
            "name": shown.property.replace("_", " ").capitalize(),
            "device_class": shown.device_class,
            "unit_of_measurement": shown.unit,
            "state_topic": topics.obs(tenant, device.id),
            "value_template": template.replace("<property>", shown.property),
            "availability": [{"topic": status, "value_template": _ONLINE}],
        }
        said = {key: value for key, value in config.items() if value is not None}
        yield _announcement(prefix, component, unique, shown.property, said | shared)


def _announcement(prefix: str, component: str, unique: str, name: str, config: dict[str, Any]) -> tuple[str, bytes]:
    node = re.sub(r"[^a-zA-Z0-9_-]", "_", unique)
    return f"{prefix}/{component}/{node}/{name}/config", msgspec.json.encode(config | {"unique_id": f"{unique}_{name}"})
