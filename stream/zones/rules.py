"""What one observation is worth under the operator's thresholds: the first half of the zone reducer, without state."""

from __future__ import annotations

import datetime as dt
import enum
import zoneinfo
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from models.catalogue import Catalogue
from models.catalogue import Signal as Meaning
from models.messages import ButtonPress, Detection, Quality, Reading
from models.places import Places
from models.thresholds import LabelRule, Override, PropertyRule, Thresholds, Values
from stream.records import Located, TimeSource

BUTTON: Final = "button"
"""The catalogue lists a call point among the properties, under this name."""


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
    _zone: zoneinfo.ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_zone", zoneinfo.ZoneInfo(self.thresholds.time_zone))
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

    def judge(self, located: Located) -> Judgement | None:
        """Give what an observation is worth; None for what no rule speaks of."""
        payload = located.observation.payload
        if isinstance(payload, ButtonPress):
            return self._judge_button()
        limits, value = self._limits(located)
        if limits is None:
            return None
        device = self.places.device_by_id.get(located.observation.device_id)
        is_state = isinstance(payload, Reading)
        return Judgement(
            label=limits.label,
            family=limits.family,
            meaning=limits.meaning,
            level=limits.level(value),
            confidence=1.0 if is_state else value,
            min_hits=limits.min_hits,
            window_ms=limits.window_ms,
            is_state=is_state,
            is_single_ok=device is not None and device.kind in self.thresholds.single_ok,
            rise_per_min=limits.rise_per_min,
        )

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
        key = base.label, located.observation.device_id, located.zone
        narrower = self._narrower.get(key)
        if narrower is None:
            narrower = self._narrower[key] = tuple(
                (override, self._under(base, override))
                for override in reversed(self.thresholds.overrides)
                if override.is_for(*key)
            )
        local: dt.datetime | None = None
        for override, limits in narrower:
            if override.is_timed:
                local = local or dt.datetime.fromtimestamp(located.event_ms / 1000, self._zone)
            if local is None or override.is_on(local, self.thresholds.calendar):
                return limits
        return base

    def _under(self, base: _Limits, override: Override) -> _Limits:
        values = Values(base.hint, base.alarm, base.min_hits, base.window_ms / 1000).under(override)
        return base._replace(
            hint=values.hint,
            alarm=values.alarm,
            clear=self.thresholds.clear_below(values.hint),
            min_hits=values.min_hits,
            window_ms=round(values.window_s * 1000),
        )

    def _judge_button(self) -> Judgement | None:
        meaning = self.catalogue.properties.get(BUTTON)
        if meaning is None:
            return None
        family = self._family_of(meaning)
        return Judgement(BUTTON, family, meaning, Level.ALARM, 1.0, min_hits=1, window_ms=0, is_manual=True)

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
        )
