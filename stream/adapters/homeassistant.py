"""Home Assistant discovery: entities that announce themselves, and the announcement of our own devices.

An entity's config names the topic of its state; that topic is subscribed then. A value template is Jinja and comes from
the network: only a path into the JSON is understood, and anything else is refused.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec

from models import topics
from models.errors import MessageError, Reason
from models.messages import Fault, Quality
from models.places import Device, DeviceKind
from stream.adapters.dialect import Faults, Heard, celsius, fields_of, number, payloads

NAME: Final = "homeassistant"
_SHORT: Final = {
    "stat_t": "state_topic",
    "dev_cla": "device_class",
    "uniq_id": "unique_id",
    "avty_t": "availability_topic",
    "avty": "availability",
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
    availability_topics: tuple[str, ...]
    not_available: str


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
        named = {topic for one in self._entities.values() for topic in (one.state_topic, *one.availability_topics)}
        return (f"{self._prefix}/#", *sorted(named))

    def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> list[Heard]:
        """Say what a message means; an announcement means nothing by itself, retained as it is."""
        del now_ms
        if topic.startswith(f"{self._prefix}/"):
            if topic.endswith("/config"):
                self._announced(topic, payload)
            return []
        quality = Quality.REPLAYED if is_retained else Quality.LIVE
        return [
            Heard(entity.source, said, quality)
            for entity in self._entities.values()
            if topic == entity.state_topic or topic in entity.availability_topics
            for said in self._said(entity, topic, payload)
        ]

    def _announced(self, topic: str, payload: bytes) -> None:
        if not payload:
            self._entities.pop(topic, None)
            return
        component = topic.split("/")[1]
        if component in ("binary_sensor", "sensor"):
            entity = _entity(component, fields_of(payload, topic))
            if entity is not None:
                self._entities[topic] = entity

    def _said(self, entity: Entity, topic: str, payload: bytes) -> list[Any]:
        text = payload.decode("utf-8", "replace")
        if topic in entity.availability_topics:
            is_gone = text == entity.not_available
            return [Fault(fault="offline")] if self._faults.news(entity.source, "offline", is_there=is_gone) else []
        value: object = _at(payload, entity.path, topic) if entity.path else text
        if entity.component == "binary_sensor":
            value = {entity.on: True, entity.off: False}.get(str(value))
        elif entity.name == "temperature" and (measured := number(value)) is not None:
            value = celsius(measured, entity.unit)
        return list(payloads(entity.source, {entity.name: value}, self._faults))


def _entity(component: str, config: dict[str, Any]) -> Entity | None:
    named = {_SHORT.get(key, key): value for key, value in config.items()}
    name = _CLASSES.get(str(named.get("device_class")))
    if name is None or (name == "battery_low" and component == "sensor"):
        return None
    base = str(config.get("~", ""))
    availability = named.get("availability") or []
    listed = [availability] if isinstance(availability, dict) else availability
    topics_ = [_full(str(one.get("topic") or one.get("t")), base) for one in listed if isinstance(one, dict)]
    if "availability_topic" in named:
        topics_.append(_full(str(named["availability_topic"]), base))
    if "state_topic" not in named:
        raise MessageError(Reason.WRONG_SHAPE, "an announced entity has no state_topic")
    return Entity(
        source=f"{NAME}/{named.get('unique_id') or named['state_topic']}",
        component=component,
        name=name,
        state_topic=_full(str(named["state_topic"]), base),
        path=_path(named.get("value_template")),
        on=str(named.get("payload_on", "ON")),
        off=str(named.get("payload_off", "OFF")),
        unit=str(named.get("unit_of_measurement", "C")),
        availability_topics=tuple(topics_),
        not_available=str(named.get("payload_not_available", "offline")),
    )


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
    value: object = fields_of(payload, topic)
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


# --- our own devices -------------------------------------------------------------------------------------------------

_OWN_CLASSES: Final = {
    DeviceKind.CAMERA: "problem",
    DeviceKind.SMOKE: "smoke",
    DeviceKind.HEAT: "heat",
    DeviceKind.GAS: "gas",
    DeviceKind.CO: "carbon_monoxide",
    DeviceKind.FLOOD: "moisture",
}


def announcement(device: Device, tenant: str, prefix: str = NAME) -> tuple[str, bytes]:
    """Return the retained message (topic, payload) by which one of our devices appears in Home Assistant.

    It is shown as connected or not, by the `status` topic that its agent keeps.
    """
    unique = f"gridwarden_{tenant}_{device.id}"
    config = {
        "unique_id": f"{unique}_connected",
        "name": None,
        "device_class": "connectivity",
        "state_topic": topics.status(tenant, device.agent or device.id),
        # The status is one line of JSON and its seal on the next; the template sees the first line alone.
        "value_template": "{{ 'ON' if (value.split('\\n')[0] | from_json).online else 'OFF' }}",
        "device": {
            "identifiers": [unique],
            "name": device.name_en,
            "manufacturer": "Gridwarden",
            "model": str(device.kind),
            "suggested_area": device.cell,
        },
        "origin": {"name": "Gridwarden"},
    }
    topic = f"{prefix}/binary_sensor/{re.sub(r'[^a-zA-Z0-9_-]', '_', unique)}/connected/config"
    return topic, msgspec.json.encode(config)
