"""Tasmota: ``tele/<device>/SENSOR``, ``stat/<device>/RESULT`` and its Zigbee bridge's ``ZbReceived``.

Its times carry no offset, so they are not used: what is not retained was said now. An input (``Switch1``) and the first
bit of a Zigbee zone's status are alarms of whatever the device is: what they mean is told by its kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from models.messages import OFFLINE, Quality, Reading
from stream.adapters.dialect import CONTACT, Dialect, Faults, Heard, celsius, fields_of, heard, number, truth
from stream.adapters.names import Host

NAME: Final = "tasmota"
_ZONE_STATUS: Final = {2: "tamper", 3: "battery_low", 6: "trouble", 8: "test", 9: "battery_defect"}
"""Bits of the IAS zone status word, which comes as an attribute and as a notification of its change."""
_STATUS_NAMES: Final = ("ZoneStatus", "ZoneStatusChange")
_NAMED: Final = {"Fire": "smoke", "Water": "water_leak", "CO": "carbon_monoxide"}
"""What the bridge calls the first bit, where it knows the type of the zone. ``CO`` is a yes or no here."""


class Tasmota(Dialect):
    """All Tasmota devices of a broker, with the default topic order ``%prefix%/%topic%/``.

    Args:
        host: who listens.
    """

    def __init__(self, host: Host | None = None) -> None:
        self._faults = Faults(host or Host())

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters."""
        return ("tele/+/SENSOR", "tele/+/LWT", "stat/+/RESULT")

    @property
    def common(self) -> tuple[str, ...]:
        """Nothing: each message says all that is needed."""
        return ()

    def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> list[Heard]:
        """Say what a message means."""
        del now_ms
        _, device, kind = topic.split("/", 2)
        source = f"{NAME}/{device}"
        quality = Quality.REPLAYED if is_retained else Quality.LIVE
        if kind == "LWT":
            return list(self._faults.news(source, OFFLINE, quality, is_there=payload.strip() == b"Offline"))
        return list(self._said(source, fields_of(payload, f"a message of {source}"), quality))

    def _said(self, source: str, fields: Mapping[str, Any], quality: Quality) -> Iterator[Heard]:
        unit = str(fields.get("TempUnit", "C"))
        for name, value in fields.items():
            if name == "ZbReceived" and isinstance(value, dict):
                for short, attributes in value.items():
                    if isinstance(attributes, dict):
                        yield from self._zigbee(source, short, attributes, quality)
            elif name.startswith("Switch"):
                yield from _contact(f"{source}/{name}", value, quality)
            elif isinstance(value, dict):
                yield from heard(source, _in_celsius(value, unit), self._faults, quality)

    def _zigbee(self, bridge: str, short: str, attributes: Mapping[str, Any], quality: Quality) -> Iterator[Heard]:
        source = f"{bridge}/{attributes.get('Name') or short}"
        fields = {_NAMED.get(name, name): value for name, value in attributes.items()}
        status = next((fields[name] for name in _STATUS_NAMES if isinstance(fields.get(name), int)), None)
        if status is not None:
            fields |= {name: bool(status >> bit & 1) for bit, name in _ZONE_STATUS.items()}
        said = list(heard(source, fields, self._faults, quality))
        yield from said
        if status is not None and not attributes.keys() & _NAMED.keys():
            is_test = any(one.quality is Quality.TEST for one in said)
            yield from _contact(source, status & 1, Quality.TEST if is_test else quality)


def _contact(source: str, value: object, quality: Quality) -> Iterator[Heard]:
    is_on = truth(value.get("Action") if isinstance(value, dict) else value)
    if is_on is not None:
        yield Heard(source, Reading(property=CONTACT, value=float(is_on), unit="1"), quality)


def _in_celsius(fields: Mapping[str, Any], unit: str) -> dict[str, Any]:
    measured = number(fields.get("Temperature"))
    return dict(fields) if measured is None else {**fields, "Temperature": celsius(measured, unit)}
