"""What all dialects share: what was heard, and which names mean what."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from models.errors import MessageError, Reason
from models.messages import NO_FAULT, OFFLINE, Fault, Payload, Quality, Reading, SelfTest
from stream.adapters.names import Host

SETTLE_MS: Final = 5_000
"""After its bridge came up, what a device is said to have seen is cached state, not news."""
MOST_S: Final = 100_000_000_000
"""A number above this is no time in seconds, and a thousand times as much is none in milliseconds."""
BEGINNING_MS: Final = 1_577_836_800_000
"""2020-01-01: before it there was no clock that is set."""
FRESH_MS: Final = 60_000
"""A device that was last seen longer ago than this did not say it now."""


class Heard(NamedTuple):
    """One thing that a device said.

    Attributes:
        source: the device, as its own world names it.
        observed_ms: by the device's or the bridge's clock, where it says.
    """

    source: str
    payload: Payload
    quality: Quality = Quality.LIVE
    observed_ms: int | None = None


class Ask(NamedTuple):
    """A message that a dialect wants said, such as Sparkplug's request to be born again."""

    topic: str
    payload: bytes


class Dialect(Protocol):
    """One adapter. It remembers a little; time is an argument.

    Attributes:
        subscriptions: topics that it wants to hear; may grow while it listens.
        common: what each of several workers must hear, to understand what they divide between them. Of what is divided
            a broker gives nothing retained.
    """

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters."""

    @property
    def common(self) -> tuple[str, ...]:
        """Topic filters, among those of `subscriptions` or within them."""

    def hears(self, topic: str) -> bool:
        """Whether a message on `topic` is for it."""
        return any(matches(wanted, topic) for wanted in self.subscriptions)

    def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> Sequence[Heard | Ask]:
        """Say what a message means; nothing for one that is none of its business.

        Raises:
            MessageError: it should mean something, and cannot be read.
        """


def matches(wanted: str, topic: str) -> bool:
    """Whether an MQTT topic filter takes a topic."""
    filters, levels = wanted.split("/"), topic.split("/")
    if filters[-1] == "#":
        filters = filters[:-1]
        levels = levels[: len(filters)]
    return len(filters) == len(levels) and all(f in ("+", level) for f, level in zip(filters, levels, strict=True))


# --- names -----------------------------------------------------------------------------------------------------------

ALARMS: Final = {
    "smoke": "smoke",
    "gas": "gas_alarm",
    "carbon_monoxide": "co_alarm",
    "water_leak": "water_leak",
    "moisture": "water_leak",
    "heat": "heat_alarm",
}
"""Yes-or-no names to our property; the unit is ``1``."""

MEASURES: Final = {
    "temperature": ("temperature", "Cel"),
    "humidity": ("humidity", "%"),
    "co": ("co", "[ppm]"),
    "co2": ("co2", "[ppm]"),
    "carbondioxide": ("co2", "[ppm]"),
    "pm25": ("pm25", "ug/m3"),
    "pm2.5": ("pm25", "ug/m3"),
    "noise": ("sound", "dB"),
    "water_level": ("water_level", "cm"),
    "gas_value": ("gas", "%"),
}
"""Measured names, in lower case, to our property and its unit."""

FAULTS: Final = {
    "tamper": "tamper",
    "battery_low": "battery_low",
    "battery_defect": "battery_defect",
    "trouble": "trouble",
    "fault_alarm": "trouble",
    "problem": "trouble",
}
"""Yes-or-no names of what is wrong with a device."""
TESTS: Final = frozenset({"test", "self_test"})
"""Yes-or-no names of a drill."""
CONTACT: Final = "contact"
"""A yes or no of which only the kind of the device says what it means: a relay, or an unnamed bit."""
_NO_NEWS: Final = frozenset({Quality.REPLAYED, Quality.TEST})


class Faults:
    """Which faults each device has said: one that it goes on saying is no news.

    What is replayed or part of a test is remembered by nobody after us, so it takes no news away, but that a device is
    gone, which is a state and no news. Nor is anything
    remembered of a device that nobody has admitted: it is news once it is.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._said: set[tuple[str, str]] = set()

    def news(self, source: str, fault: str, quality: Quality = Quality.LIVE, *, is_there: bool) -> Iterator[Heard]:
        """Yield this fault, if it was not there before; of a device that was gone also that it is back."""
        key = (source, fault)
        if not is_there:
            if key in self._said and fault == OFFLINE:
                yield Heard(source, Fault(fault=NO_FAULT), quality)
            self._said.discard(key)
        elif key not in self._said:
            is_known = quality not in _NO_NEWS or (fault == OFFLINE and quality is Quality.REPLAYED)
            if is_known and self._host.is_admitted(source):
                self._said.add(key)
            yield Heard(source, Fault(fault=fault), quality)


def heard(
    source: str,
    fields: Mapping[str, Any],
    faults: Faults,
    quality: Quality = Quality.LIVE,
    observed_ms: int | None = None,
) -> Iterator[Heard]:
    """Yield what the named fields of one message mean; a name that means nothing here is passed over.

    Of a device that says that it is being tested everything is a test: its smoke is not one.
    """
    named = {name.lower(): value for name, value in fields.items()}
    if quality is not Quality.REPLAYED and is_test(named):
        quality = Quality.TEST
    for name, value in named.items():
        if name in FAULTS and (is_so := truth(value)) is not None:
            yield from faults.news(source, FAULTS[name], quality, is_there=is_so)
        elif payload := _payload(name, value):
            yield Heard(source, payload, quality, observed_ms)


def is_test(fields: Mapping[str, Any]) -> bool:
    """Whether a device says, under names in lower case, that it is being tested."""
    return any(truth(fields.get(name)) for name in TESTS)


def _payload(name: str, value: object) -> Payload | None:
    if name in ALARMS and (is_so := truth(value)) is not None:
        return Reading(property=ALARMS[name], value=float(is_so), unit="1")
    if name in MEASURES and (measured := number(value)) is not None:
        known, unit = MEASURES[name]
        return Reading(property=known, value=measured, unit=unit)
    return SelfTest(label=name) if name in TESTS and truth(value) else None


def truth(value: object) -> bool | None:
    """Return yes or no as devices say it; None for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return bool(value)
    said = str(value).strip().lower()
    if said in {"on", "true", "yes", "1", "detected", "alarm"}:
        return True
    return False if said in {"off", "false", "no", "0", "clear", "normal"} else None


def number(value: object) -> float | None:
    """Return a finite number, also one that comes as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        measured = float(value)
    except ValueError:
        return None
    return measured if math.isfinite(measured) else None


def celsius(value: float, unit: str) -> float:
    """Return a temperature in degrees Celsius; `unit` is ``C``, ``F`` or with a degree sign before it."""
    return round((value - 32) / 1.8, 3) if unit.strip("° ").upper() == "F" else value


def fields_of(payload: bytes, what: str) -> dict[str, Any]:
    """Decode a JSON object.

    Raises:
        MessageError: it is none.
    """
    try:
        decoded = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise MessageError(Reason.NOT_UTF8_JSON, f"{what} is not JSON: {exc}") from exc
    if not isinstance(decoded, dict):
        raise MessageError(Reason.WRONG_SHAPE, f"{what} is no JSON object")
    return decoded


def moment_ms(value: object) -> int | None:
    """Return a time given as ISO 8601 with an offset, in milliseconds or in seconds; None for anything else.

    A wall time without an offset is not guessed at: nobody says in which zone the device thinks it is. A clock that was
    never set says nothing either.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        at_ms = value if value > MOST_S else value * 1000
        return round(at_ms) if BEGINNING_MS <= at_ms < MOST_S * 1000 else None
    if isinstance(value, str):
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            return None
        return None if moment.tzinfo is None else round(moment.timestamp() * 1000)
    return None
