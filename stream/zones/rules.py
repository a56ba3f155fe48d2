"""What one observation is worth under the operator's thresholds: the first half of the zone reducer, without state."""

from __future__ import annotations

import datetime as dt
import enum
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

from models.catalogue import Catalogue
from models.catalogue import Signal as Meaning
from models.messages import ButtonPress, Detection, Priority, Quality, Reading, Report
from models.places import CellKind, Places
from models.thresholds import LabelRule, Override, PropertyRule, Thresholds, Values
from models.topics import ALERTS
from stream.records import Located, TimeSource

BUTTON: Final = "button"
"""The catalogue lists a call point among the properties, under this name."""
REPORT: Final = "report"
"""Label of what a person has reported."""


class Level(enum.IntEnum):
    """How high a value stands.

    `NONE` is below the clear threshold; `HOLD` is between it and `hint`: too little to count, enough to keep a signal.
    """

    NONE = 0
    HOLD = 1
    HINT = 2
    ALARM = 3


class Judgement(NamedTuple):
    """One observation under the rules.

    Attributes:
        is_state: a sensor's value stands until it says otherwise; a camera that sees nothing sends nothing.
        is_manual: a person pressed a call point.
        is_single_ok: this kind of device needs no second one.
        rise_per_min: a rise of this much counts as `ALARM`.
        confirm_devices: so many devices must agree on an alarm.
    """

    label: str
    family: str
    meaning: Meaning
    level: Level
    confidence: float
    min_hits: int
    window_ms: int
    is_state: bool = False
    is_manual: bool = False
    is_single_ok: bool = False
    rise_per_min: float | None = None
    confirm_devices: int = 2


class _Limits(NamedTuple):
    label: str
    meaning: Meaning
    family: str
    hint: float
    alarm: float
    clear: float
    min_hits: int
    window_ms: int
    unit: str = ""
    rise_per_min: float | None = None
    confirm_devices: int = 2

    def level(self, value: float) -> Level:
        if value >= self.alarm:
            return Level.ALARM
        if value >= self.hint:
            return Level.HINT
        return Level.HOLD if value >= self.clear else Level.NONE


@dataclass(frozen=True)
class Rules:
    """All that decides about a zone, of the versions in force at one place of the log.

    Attributes:
        thresholds: resolved, so that every label has its scores.
        late_alarm_s: a first delivery alarms like live data while younger than this.
    """

    tenant: str
    thresholds: Thresholds
    catalogue: Catalogue
    places: Places
    late_alarm_s: float = 1800.0
    _labels: dict[str, _Limits] = field(init=False, repr=False, compare=False)
    _properties: dict[str, _Limits] = field(init=False, repr=False, compare=False)
    _narrower: dict[tuple[str, str, str], tuple[tuple[Override, _Limits], ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _alone: frozenset[str] = field(init=False, repr=False, compare=False)
    _zone: zoneinfo.ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_zone", zoneinfo.ZoneInfo(self.thresholds.time_zone))
        alone = (device.id for device in self.places.devices if device.kind in self.thresholds.single_ok)
        object.__setattr__(self, "_alone", frozenset(alone))
        object.__setattr__(self, "_labels", self._label_limits())
        object.__setattr__(self, "_properties", self._property_limits())

    @property
    def version(self) -> str:
        """The version of the thresholds, which stands with every decision."""
        return self.thresholds.version

    @property
    def confirm_ms(self) -> int:
        """A second device within this confirms."""
        return round(self.thresholds.confirm_s * 1000)

    @property
    def verify_ms(self) -> int:
        """After this without an answer a pre-alarm becomes an alarm."""
        return round(self.thresholds.verify_s * 1000)

    @property
    def clear_ms(self) -> int:
        """After this without anything above the clear threshold a pre-alarm ends."""
        return round(self.thresholds.clear_s * 1000)

    def is_urgent(self, meaning: Meaning) -> bool:
        """Whether the alarm is P1 or P2: only then nobody's silence is taken for a yes."""
        return self.catalogue.category_by_key[meaning.alarm].priority <= Priority.P2

    def may_be_staged(self, family: str, sources: Iterable[str]) -> bool:
        """Whether an alarm of these devices may be looked into first: never gas, CO or a call point."""
        return family in self.thresholds.staged.families and self._alone.isdisjoint(sources)

    def judge(self, located: Located) -> Judgement | None:
        """Give what an observation is worth; None for what no rule speaks of."""
        payload = located.observation.payload
        if isinstance(payload, (ButtonPress, Report)):
            return self._judge_person(payload, located.observation.device_id)
        limits, value = self._limits(located)
        if limits is None:
            return None
        is_state = isinstance(payload, Reading)
        # By position: by name it takes twice as long, and this is done for every observation.
        return Judgement(
            limits.label,
            limits.family,
            limits.meaning,
            limits.level(value),
            1.0 if is_state else value,
            limits.min_hits,
            limits.window_ms,
            is_state,
            False,
            limits.confirm_devices == 1 or located.observation.device_id in self._alone,
            limits.rise_per_min,
            limits.confirm_devices,
        )

    def floor(self, label: str, device_id: str, zone: str) -> float:
        """Return the confidence below which no hour of the day gives a detection a level."""
        base = self._labels.get(label)
        if base is None:
            return 0.0
        return min([base.clear, *(limits.clear for _, limits in self._overriding(base, device_id, zone))])

    def is_old(self, located: Located) -> bool:
        """Whether a late observation is too old to alarm.

        A live observation whose time is only the device's own word is believed to be live, not its clock.
        """
        if located.observation.quality is Quality.LIVE and located.time_source is TimeSource.DEVICE:
            return False
        return located.received_ms - located.event_ms > self.late_alarm_s * 1000

    def _limits(self, located: Located) -> tuple[_Limits | None, float]:
        payload = located.observation.payload
        if isinstance(payload, Detection):
            return self._for_place(self._labels.get(payload.label), located), payload.confidence
        if isinstance(payload, Reading):
            limits = self._for_place(self._properties.get(payload.property), located)
            return (limits if limits and limits.unit == payload.unit else None), payload.value
        return None, 0.0

    def _for_place(self, base: _Limits | None, located: Located) -> _Limits | None:
        """Give what decides here and now: that of the last override that matches, else `base`."""
        if base is None or not self.thresholds.overrides:
            return base
        local: dt.datetime | None = None
        for override, limits in self._overriding(base, located.observation.device_id, located.zone):
            if override.is_timed:
                local = local or dt.datetime.fromtimestamp(located.event_ms / 1000, self._zone)
            if local is None or override.is_on(local, self.thresholds.calendar):
                return limits
        return base

    def _overriding(self, base: _Limits, device_id: str, zone: str) -> tuple[tuple[Override, _Limits], ...]:
        """Give the overrides of a device, the last one first, with what each makes of `base`."""
        key = base.label, device_id, zone
        found = self._narrower.get(key)
        if found is None:
            found = self._narrower[key] = tuple(
                (override, self._under(base, override))
                for override in reversed(self.thresholds.overrides)
                if override.is_for(*key, self._kind_of(zone))
            )
        return found

    def _kind_of(self, zone_id: str) -> CellKind | None:
        zone = self.places.zone_by_id.get(zone_id)
        cell = self.places.cell_by_code.get(zone.cell) if zone else None
        return cell.kind if cell else None

    def _under(self, base: _Limits, override: Override) -> _Limits:
        values = Values(base.hint, base.alarm, base.min_hits, base.window_ms / 1000, base.confirm_devices)
        values = values.under(override)
        return base._replace(
            hint=values.hint,
            alarm=values.alarm,
            clear=self.thresholds.clear_below(values.hint),
            min_hits=values.min_hits,
            window_ms=round(values.window_s * 1000),
            confirm_devices=values.confirm_devices,
        )

    def _judge_person(self, payload: ButtonPress | Report, device_id: str) -> Judgement | None:
        if isinstance(payload, ButtonPress):
            return self._judge_button()
        # `alerts` knows who has reported it; a device that says so does not.
        return self._judge_report(payload.category) if device_id == ALERTS else None

    def _judge_button(self) -> Judgement | None:
        meaning = self.catalogue.properties.get(BUTTON)
        if meaning is None:
            return None
        family = self._family_of(meaning)
        return Judgement(BUTTON, family, meaning, Level.ALARM, 1.0, min_hits=1, window_ms=0, is_manual=True)

    def _judge_report(self, key: str) -> Judgement | None:
        """Take a person's word for a pre-alarm, and for the second source that makes an alarm of a camera's."""
        if key not in self.catalogue.category_by_key:
            return None
        meaning = self._meanings.get(key) or Meaning(pre_alarm=key, alarm=key)
        return Judgement(REPORT, self._family_of(meaning), meaning, Level.ALARM, 1.0, min_hits=1, window_ms=0)

    @cached_property
    def _meanings(self) -> dict[str, Meaning]:
        """What a sighting means whose category somebody names, at either stage."""
        known = (*self.catalogue.properties.values(), *self.catalogue.labels.values())
        return {key: meaning for meaning in known for key in (meaning.alarm, meaning.pre_alarm)}

    def _family_of(self, meaning: Meaning) -> str:
        return self.catalogue.category_by_key[meaning.alarm].family

    def _label_limits(self) -> dict[str, _Limits]:
        rules = self.thresholds.labels
        return {
            label: limits
            for label, meaning in self.catalogue.labels.items()
            if (rule := rules.get(label)) and (limits := self._filled(label, meaning, rule))
        }

    def _property_limits(self) -> dict[str, _Limits]:
        rules = self.thresholds.properties
        return {
            name: limits._replace(unit=rule.unit, rise_per_min=rule.rise_per_min)
            for name, meaning in self.catalogue.properties.items()
            if (rule := rules.get(name)) and (limits := self._filled(name, meaning, rule))
        }

    def _filled(self, label: str, meaning: Meaning, rule: LabelRule | PropertyRule) -> _Limits | None:
        values = self.thresholds.values_of(rule)
        if values is None:
            return None
        return _Limits(
            label=label,
            meaning=meaning,
            family=self._family_of(meaning),
            hint=values.hint,
            alarm=values.alarm,
            clear=self.thresholds.clear_below(values.hint),
            min_hits=values.min_hits,
            window_ms=round(values.window_s * 1000),
            confirm_devices=values.confirm_devices,
        )
