"""`thresholds.toml`: from which score on a candidate counts, and how long it must last.

A label without a score of its own takes the detector's (`Thresholds.resolve`); what the stream decides by is the
resolved value, and its hash stands with every decision.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from models.calendar import Calendar
from models.content import Content, Record, Text, convert, duplicates, read_toml
from models.errors import ConfigError, Problem
from models.places import DeviceKind, Places
from models.thresholds.overrides import Bound, Devices, Hits, Override, Seconds, Values

__all__ = [
    "Bound",
    "Calendar",
    "LabelRule",
    "Override",
    "PropertyRule",
    "Staged",
    "Supervision",
    "Thresholds",
    "Values",
    "load",
    "place_problems",
]

DEFAULT = Path(__file__).parent.parent / "data" / "thresholds.toml"
"""The thresholds that ship, and that `gridwarden city` copies."""

Score = Annotated[float, Meta(ge=0, le=1)]
NEVER_STAGED: Final = frozenset({"gas", "co"})
"""Families of which every alarm is general at once: nobody is sent to look into gas."""
MAX_STAGED_MS: Final = 360_000
"""No alarm is held back for longer (six minutes, as the British code has it)."""


class LabelRule(Record, frozen=True, kw_only=True):
    """Scores of one detector label.

    Attributes:
        hint: from here on a candidate counts as a hit towards a pre-alarm; None: the detector's.
        alarm: from here on it can confirm an alarm; None: the detector's.
        min_hits: hits within `window_s`; None: those of the file.
    """

    hint: Score | None = None
    alarm: Score | None = None
    min_hits: Hits | None = None
    window_s: Seconds | None = None


class PropertyRule(Record, frozen=True, kw_only=True):
    """Limits of one sensor property.

    Attributes:
        unit: UCUM code in which the limits are given; a reading in another unit is refused.
        hint: from here on a reading is a pre-alarm.
        alarm: from here on it can confirm an alarm.
        rise_per_min: a rise of this much per minute counts as `alarm`; None: not looked at.
        min_hits: readings within `window_s`: a sensor has its own debounce, so one is enough.
    """

    unit: Annotated[str, Meta(min_length=1, max_length=16)]
    hint: float
    alarm: float
    rise_per_min: Annotated[float, Meta(gt=0)] | None = None
    min_hits: Hits = 1
    window_s: Seconds | None = None


class Supervision(Record, frozen=True, kw_only=True):
    """How long a device may be silent, and how wrong its clock may be, before that is told.

    Attributes:
        pulsed_s: cameras, agents and gateways, which send heartbeats.
        gone_s: whatever is heard over a connection that has ended, if no other follows.
        mains_s: other sensors.
        battery_s: sensors on a battery: an hourly word at best.
        battery_alone_s: the same where it is the only one of its zone.
        skew_s: off by more than this, a wall clock is wrong
        skew_for_s: if every message of so long says so. Event times are corrected all the while.
    """

    pulsed_s: Seconds = 60.0
    gone_s: Seconds = 20.0
    mains_s: Seconds = 900.0
    battery_s: Annotated[float, Meta(gt=0, le=604_800)] = 93_600.0
    battery_alone_s: Annotated[float, Meta(gt=0, le=604_800)] = 7_200.0
    skew_s: Seconds = 5.0
    skew_for_s: Seconds = 300.0


class Staged(Record, frozen=True, kw_only=True):
    """How long an alarm of one source alone may be looked into before everybody around is told (S6 to S8).

    Attributes:
        families: of events that may be looked into at all: never gas or CO.
        ack_s: the command seat acknowledges within this, or the alarm is general.
        choose_s: one that is acknowledged is general so long after the alarm, if nobody chose to look into it.
        investigate_s: the limit of looking into it; `MAX_STAGED_MS` after the alarm it is general whatever is set.
    """

    families: tuple[Text, ...] = ("fire",)
    ack_s: Annotated[float, Meta(gt=0, le=60)] = 15.0
    choose_s: Annotated[float, Meta(gt=0, le=60)] = 60.0
    investigate_s: Annotated[float, Meta(gt=0, le=360)] = 180.0


class Thresholds(Content, frozen=True, kw_only=True):
    """All thresholds of a tenant.

    Attributes:
        min_hits: hits of one track or device within
        window_s: make a pre-alarm.
        confirm_s: a second independent device within this confirms it;
        confirm_devices: or so many in all, where more than two must agree. 1: a device at alarm level needs no other.
        verify_s: without an answer for so long a pre-alarm becomes an alarm: it fails safe, if the alarm is P1 or P2.
        clear_s: below the clear threshold for so long, a pre-alarm ends.
        hysteresis: the clear threshold is this share below `hint`.
        single_ok: kinds of device of which one alone is an alarm.
        staged: how long an alarm of one source alone may be looked into.
        supervision: how long a device may be silent.
        time_zone: IANA name, in which hours and days of `overrides` are meant.
        calendar: which days are worked.
        bounds: by label or property: set by whoever stands above, not crossed by anything in this file.
        overrides: other values for some devices, zones, kinds of cell, hours or days; the last that matches wins.
    """

    labels: dict[str, LabelRule] = msgspec.field(default_factory=dict)
    properties: dict[str, PropertyRule] = msgspec.field(default_factory=dict)
    min_hits: Hits = 3
    window_s: Seconds = 10.0
    confirm_s: Seconds = 60.0
    confirm_devices: Devices = 2
    verify_s: Seconds = 90.0
    clear_s: Seconds = 120.0
    hysteresis: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    single_ok: tuple[DeviceKind, ...] = (DeviceKind.GAS, DeviceKind.CO, DeviceKind.BUTTON)
    staged: Staged = Staged()
    supervision: Supervision = Supervision()
    time_zone: str = "Asia/Shanghai"
    calendar: Calendar = Calendar()
    bounds: dict[str, Bound] = msgspec.field(default_factory=dict)
    overrides: tuple[Override, ...] = ()

    def resolve(self, defaults: Mapping[str, tuple[float, float]]) -> Thresholds:
        """Give the same with every label's scores, hits and window filled in.

        Args:
            defaults: label to the detector's own (hint, alarm), from its manifest.

        Raises:
            ConfigError: a label has a score neither here nor there, or its hint is above its alarm.
        """
        labels = {
            label: self._filled(self.labels.get(label, LabelRule()), defaults.get(label, (None, None)))
            for label in sorted(self.labels.keys() | defaults.keys())
        }
        resolved = msgspec.structs.replace(self, labels=labels)
        problems = [*_missing(resolved), *_value_problems(resolved, "thresholds.toml")]
        if problems:
            raise ConfigError(problems)
        return resolved

    def _filled(self, rule: LabelRule, default: tuple[float | None, float | None]) -> LabelRule:
        return LabelRule(
            hint=default[0] if rule.hint is None else rule.hint,
            alarm=default[1] if rule.alarm is None else rule.alarm,
            min_hits=rule.min_hits or self.min_hits,
            window_s=rule.window_s or self.window_s,
        )

    def values_of(self, rule: LabelRule | PropertyRule) -> Values | None:
        """Give the values of a rule, those of the file where it is silent; None without scores."""
        if rule.hint is None or rule.alarm is None:
            return None
        hits, window_s = rule.min_hits or self.min_hits, rule.window_s or self.window_s
        return Values(rule.hint, rule.alarm, hits, window_s, self.confirm_devices)

    def clear_below(self, hint: float) -> float:
        """Give the value below which a signal counts as gone."""
        return hint * (1 - self.hysteresis)


def load(path: Path = DEFAULT) -> Thresholds:
    """Read and validate `thresholds.toml`.

    Raises:
        ConfigError: with all mistakes of the file.
    """
    problems: list[Problem] = []
    thresholds = convert(read_toml(path), Thresholds, file=path, path="", problems=problems)
    if thresholds is not None:
        problems += [*_value_problems(thresholds, path), *_override_problems(thresholds, path)]
    if thresholds is None or problems:
        raise ConfigError(problems)
    return thresholds


def _missing(resolved: Thresholds) -> Iterator[Problem]:
    for label, rule in resolved.labels.items():
        for name in ("hint", "alarm"):
            if getattr(rule, name) is None:
                what = "no score, and the detector gives none"
                yield Problem("thresholds.toml", f"labels.{label}.{name}", what, "give one, or correct the label")


def _value_problems(thresholds: Thresholds, file: Path | str) -> Iterator[Problem]:
    """Yield what is wrong with the values of the file, and with those of each override on top of them."""
    for table, rules, highest in (("labels", thresholds.labels, 1.0), ("properties", thresholds.properties, None)):
        for label, rule in rules.items():
            values = thresholds.values_of(rule)
            if values is None:  # the detector's scores are still to come
                continue
            bound = thresholds.bounds.get(label)
            for key, what, remedy in values.mistakes(bound, highest):
                yield Problem(file, f"{table}.{label}.{key}", what, remedy)
            for index, override in enumerate(thresholds.overrides):
                if label in override.labels:
                    for key, what, remedy in values.under(override).mistakes(bound, highest):
                        yield Problem(file, f"overrides[{index}].{key}", f"{label}: {what}", remedy)


def _override_problems(thresholds: Thresholds, file: Path) -> Iterator[Problem]:
    known = thresholds.labels.keys() | thresholds.properties.keys()
    remedy = f"use one of: {', '.join(sorted(known))}; or write its table first"
    for index, override in enumerate(thresholds.overrides):
        for label in override.labels:
            if label not in known:
                yield Problem(file, f"overrides[{index}].labels", f"no rule for {label!r}", remedy)
        if override.first and override.last and override.last < override.first:
            what = f"the season ends on {override.last}, before it begins"
            yield Problem(
                file, f"overrides[{index}].last", what, "correct one of the two; a season ends in a later year"
            )
    for index, name in duplicates(override.name for override in thresholds.overrides):
        yield Problem(file, f"overrides[{index}].name", f"{name!r} is there twice", "rename one of them")
    for family in NEVER_STAGED.intersection(thresholds.staged.families):
        yield Problem(file, "staged.families", f"an alarm of {family!r} is never held back", "leave it out")
    for label in thresholds.bounds.keys() - known:
        yield Problem(file, f"bounds.{label}", f"no rule for {label!r}", remedy)
    try:
        zoneinfo.ZoneInfo(thresholds.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        what = f"no such time zone: {thresholds.time_zone!r}"
        yield Problem(file, "time_zone", what, "use an IANA name such as Asia/Shanghai")


def place_problems(thresholds: Thresholds, places: Places, *, file: Path) -> Iterator[Problem]:
    """Yield the devices and zones of overrides that the city does not know: such a rule would silently do nothing."""
    zones = {zone.id for zone in places.zones}
    for index, override in enumerate(thresholds.overrides):
        for kind, named, known in (
            ("devices", override.devices, places.device_by_id.keys()),
            ("zones", override.zones, zones),
        ):
            for one in named:
                if one not in known:
                    what = f"no {kind.removesuffix('s')} {one!r} in places.geojson"
                    yield Problem(file, f"overrides[{index}].{kind}", what, "correct the id")
        for zone in override.zones or _zones_of(override, places):
            watching = len(places.devices_by_zone.get(zone, ()))
            if (override.confirm_devices or 0) > max(watching, 2):
                what = f"{override.confirm_devices} devices must agree, and {zone!r} has {watching}"
                yield Problem(file, f"overrides[{index}].confirm_devices", what, "ask for fewer, or mount more")


def _zones_of(override: Override, places: Places) -> list[str]:
    """Give the zones in cells of the kinds that an override names."""
    kind_of = {cell.code: cell.kind for cell in places.cells}
    return [zone.id for zone in places.zones if kind_of.get(zone.cell) in override.kinds]
