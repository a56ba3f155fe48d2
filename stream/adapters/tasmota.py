"""Tasmota: ``tele/<device>/SENSOR``, ``stat/<device>/RESULT`` and its Zigbee bridge's ``ZbReceived``.

Its times carry no offset, so they are not used: what is not retained was said now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from models.messages import Fault, Payload, Quality, Reading
from stream.adapters.dialect import Faults, Heard, celsius, fields_of, number, payloads, truth

NAME: Final = "tasmota"
_ZONE_STATUS: Final = {0: "smoke", 2: "tamper", 3: "battery_low", 6: "trouble", 8: "test", 9: "battery_defect"}
"""Bits of the IAS zone status word of a fire sensor."""


class Tasmota:
    """All Tasmota devices of a broker, with the default topic order ``%prefix%/%topic%/``."""

    def __init__(self) -> None:
        self._faults = Faults()

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters."""
        return ("tele/+/SENSOR", "tele/+/LWT", "stat/+/RESULT")

    def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> list[Heard]:
        """Say what a message means."""
        del now_ms
        _, device, kind = topic.split("/", 2)
        source = f"{NAME}/{device}"
        quality = Quality.REPLAYED if is_retained else Quality.LIVE
        if kind == "LWT":
            is_gone = self._faults.news(source, "offline", is_there=payload.strip() == b"Offline")
            return [Heard(source, Fault(fault="offline"), quality)] if is_gone else []
        fields = fields_of(payload, f"a message of {source}")
        return [Heard(whose, said, quality) for whose, said in self._said(source, fields)]

    def _said(self, source: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, Payload]]:
        unit = str(fields.get("TempUnit", "C"))
        for name, value in fields.items():
            if name == "ZbReceived" and isinstance(value, dict):
                for short, attributes in value.items():
                    yield from self._zigbee(source, short, attributes)
            elif isinstance(value, dict):
                yield from ((source, said) for said in self._sensor(source, name, value, unit))
            elif name.startswith("Switch") and (is_on := truth(value)) is not None:
                yield f"{source}/{name}", Reading(property="contact", value=float(is_on), unit="1")

    def _sensor(self, source: str, name: str, fields: Mapping[str, Any], unit: str) -> Iterator[Payload]:
        if name.startswith("Switch") and (is_on := truth(fields.get("Action"))) is not None:
            yield Reading(property="contact", value=float(is_on), unit="1")
            return
        measured = dict(fields)
        if (temperature := number(fields.get("Temperature"))) is not None:
            measured["Temperature"] = celsius(temperature, unit)
        yield from payloads(source, measured, self._faults)

    def _zigbee(self, bridge: str, short: str, attributes: object) -> Iterator[tuple[str, Payload]]:
        if not isinstance(attributes, dict):
            return
        source = f"{bridge}/{attributes.get('Name') or short}"
        named = {"smoke": attributes.get("Fire"), "water_leak": attributes.get("Water")}
        fields = {name: value for name, value in named.items() if value is not None} | attributes
        status = fields.pop("ZoneStatus", None)
        if isinstance(status, int):
            fields |= {name: bool(status >> bit & 1) for bit, name in _ZONE_STATUS.items()}
        yield from ((source, said) for said in payloads(source, fields, self._faults))
