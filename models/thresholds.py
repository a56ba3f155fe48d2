"""`thresholds.toml`: from which score on a candidate counts, and how long it must last.

A label without a score of its own takes the detector's (`Thresholds.resolve`); what the stream decides by is the
resolved value, and its hash stands with every decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from models.content import Content, Record, convert, read_toml
from models.errors import ConfigError, Problem
from models.places import DeviceKind

DEFAULT = Path(__file__).parent / "data" / "thresholds.toml"
"""The thresholds that ship, and that `gridwarden city` copies."""

Score = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Hits = Annotated[int, Meta(ge=1, le=10_000)]


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


class Thresholds(Content, frozen=True, kw_only=True):
    """All thresholds of a tenant.

    Attributes:
        min_hits: hits of one track or device within
        window_s: make a pre-alarm.
        confirm_s: a second independent device within this confirms it.
        verify_s: without an answer for so long a pre-alarm becomes an alarm: it fails safe.
        clear_s: below the clear threshold for so long, a pre-alarm ends.
        hysteresis: the clear threshold is this share below `hint`.
        single_ok: kinds of device of which one alone is an alarm.
    """

    labels: dict[str, LabelRule] = msgspec.field(default_factory=dict)
    properties: dict[str, PropertyRule] = msgspec.field(default_factory=dict)
    min_hits: Hits = 3
    window_s: Seconds = 10.0
    confirm_s: Seconds = 60.0
    verify_s: Seconds = 90.0
    clear_s: Seconds = 120.0
    hysteresis: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    single_ok: tuple[DeviceKind, ...] = (DeviceKind.GAS, DeviceKind.CO, DeviceKind.BUTTON)

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
        problems = [*_missing(resolved), *_order_problems(resolved, "thresholds.toml")]
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
        problems += _order_problems(thresholds, path)
    if thresholds is None or problems:
        raise ConfigError(problems)
    return thresholds


def _missing(resolved: Thresholds) -> Iterator[Problem]:
    for label, rule in resolved.labels.items():
        for name in ("hint", "alarm"):
            if getattr(rule, name) is None:
                what = "no score, and the detector gives none"
                yield Problem("thresholds.toml", f"labels.{label}.{name}", what, "give one, or correct the label")


def _order_problems(thresholds: Thresholds, file: Path | str) -> Iterator[Problem]:
    tables: tuple[tuple[str, Mapping[str, LabelRule | PropertyRule]], ...] = (
        ("labels", thresholds.labels),
        ("properties", thresholds.properties),
    )
    for table, rules in tables:
        for name, rule in rules.items():
            if rule.hint is not None and rule.alarm is not None and rule.hint > rule.alarm:
                what = f"hint {rule.hint} is above alarm {rule.alarm}"
                yield Problem(file, f"{table}.{name}.hint", what, "lower hint or raise alarm")
