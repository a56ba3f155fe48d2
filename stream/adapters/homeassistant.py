"""Home Assistant discovery: entities that announce themselves.

An entity's config names the topic of its state; that topic is subscribed then. A value template is Jinja and comes from
the network: only a path into the JSON is understood, and anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from models.errors import MessageError, Reason
from models.messages import OFFLINE, Quality
from stream.adapters.dialect import Dialect, Faults, Heard, celsius, fields_of, heard, matches, number
from stream.adapters.names import Host, Names

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

    @property
    def topics(self) -> Iterable[str]:
        """Where something is said of it."""
        return dict.fromkeys((self.state_topic, *(said.topic for said in self.availability)))


class HomeAssistant(Dialect):
    """All entities under one discovery prefix.

    Args:
        prefix: the discovery prefix.
        host: who listens.
    """

    def __init__(self, prefix: str = NAME, host: Host | None = None) -> None:
        host = host or Host()
        self._prefix = prefix
        self._faults = Faults(host)
        self._entities: Names[Entity] = Names(host)
        """By the topic of its announcement."""
        self._named: dict[str, dict[str, Entity]] = {}
        """Who is meant by a message, by its topic and that of the announcement."""

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters: the announcements, and what those that are remembered name."""
        return (f"{self._prefix}/#", *self._named)

    @property
    def common(self) -> tuple[str, ...]:
        """The announcements."""
        return (f"{self._prefix}/#",)

    def hears(self, topic: str) -> bool:
        """Whether a message on `topic` is for it."""
        return topic in self._named or matches(f"{self._prefix}/#", topic)

    def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> list[Heard]:
        """Say what a message means; an announcement means nothing by itself, retained as it is."""
        del now_ms
        if topic.startswith(f"{self._prefix}/"):
            if topic.endswith("/config"):
                self._announced(topic, payload)
            return []
        quality = Quality.REPLAYED if is_retained else Quality.LIVE
        meant = self._named.get(topic, {}).values()
        return [said for entity in meant for said in self._said(entity, topic, payload, quality)]

    def _announced(self, topic: str, payload: bytes) -> None:
        component = topic.split("/")[1]
        if component not in ("binary_sensor", "sensor"):
            return
        entity = _entity(component, fields_of(payload, topic)) if payload else None
        if payload and entity is None:
            return
        self._forget(topic, self._entities.pop(topic))
        if entity is None:
            return
        for named in entity.topics:
            self._named.setdefault(named, {})[topic] = entity
        pushed_out = self._entities.put(topic, entity, source=entity.source)
        if pushed_out:
            self._forget(*pushed_out)

    def _forget(self, announcement: str, entity: Entity | None) -> None:
        for named in entity.topics if entity else ():
            del self._named[named][announcement]
            if not self._named[named]:
                del self._named[named]

    def _said(self, entity: Entity, topic: str, payload: bytes, quality: Quality) -> Iterator[Heard]:
        for said in entity.availability:
            if topic == said.topic:
                is_gone = str(_at(payload, said.path, topic)) == said.gone
                yield from self._faults.news(entity.source, OFFLINE, quality, is_there=is_gone)
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
