"""Our own devices announce themselves to Home Assistant, which lets them appear there by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from models import topics
from models.places import Device, DeviceKind
from stream.adapters.homeassistant import NAME

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
