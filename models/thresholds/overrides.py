"""Other scores for some devices, zones, kinds of cell, hours or days; and the bounds that whoever stands above has set.

Of the overrides that match an observation the last in the file wins, as a whole: one rule, to be read from the bottom.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Annotated, NamedTuple

from msgspec import Meta

from models.calendar import Calendar, Day
from models.content import Record, Text
from models.messages import Id
from models.places import CellKind

Hits = Annotated[int, Meta(ge=1, le=10_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Devices = Annotated[int, Meta(ge=1, le=16)]


class Bound(Record, frozen=True, kw_only=True):
    """What no rule below may cross, each as (lowest, highest); None: free.

    Attributes:
        set_by: who set it, named in the refusal.
    """

    set_by: Text
    hint: tuple[float, float] | None = None
    alarm: tuple[float, float] | None = None
    min_hits: tuple[Hits, Hits] | None = None
    window_s: tuple[Seconds, Seconds] | None = None
    confirm_devices: tuple[Devices, Devices] | None = None


class Override(Record, frozen=True, kw_only=True):
    """Other values for `labels`, where and while it applies. What is left out applies always, or stays as it is.

    Attributes:
        labels: labels of detectors or properties of sensors.
        devices: ids; empty: all.
        zones: ids; empty: all.
        kinds: of the cell that the zone names, such as ``heritage``; empty: all.
        days: weekdays, or `workday` and `holiday` by the calendar; empty: all.
        start: local time of day from which, to
        end: before which; an end that is not after its start lies on the next day, which is judged by the day it began.
        first: first local date of a season, to
        last: its last.
    """

    name: Text
    labels: Annotated[tuple[str, ...], Meta(min_length=1)]
    devices: tuple[Id, ...] = ()
    zones: tuple[Id, ...] = ()
    kinds: tuple[CellKind, ...] = ()
    days: tuple[Day, ...] = ()
    start: dt.time | None = None
    end: dt.time | None = None
    first: dt.date | None = None
    last: dt.date | None = None
    hint: float | None = None
    alarm: float | None = None
    min_hits: Hits | None = None
    window_s: Seconds | None = None
    confirm_devices: Devices | None = None

    @property
    def is_timed(self) -> bool:
        """Whether it applies at some times only."""
        return any((self.days, self.start, self.end, self.first, self.last))

    def is_for(self, label: str, device_id: str, zone: str, kind: CellKind | None = None) -> bool:
        """Whether it speaks of this label at this device, in a cell of this kind."""
        return (
            label in self.labels
            and (not self.devices or device_id in self.devices)
            and (not self.zones or zone in self.zones)
            and (not self.kinds or kind in self.kinds)
        )

    def is_on(self, local: dt.datetime, calendar: Calendar) -> bool:
        """Whether it applies at a local time."""
        start, end = self.start or dt.time.min, self.end or dt.time.min
        now = local.time()
        if end > start:
            return start <= now < end and self._is_on_day(local.date(), calendar)
        if now >= start:
            return self._is_on_day(local.date(), calendar)
        return now < end and self._is_on_day(local.date() - dt.timedelta(days=1), calendar)

    def _is_on_day(self, date: dt.date, calendar: Calendar) -> bool:
        if (self.first and date < self.first) or (self.last and date > self.last):
            return False
        return not self.days or not calendar.kinds_of(date).isdisjoint(self.days)


class Values(NamedTuple):
    """What decides about one label, of the file or of an override."""

    hint: float
    alarm: float
    min_hits: int
    window_s: float
    confirm_devices: int = 2

    def under(self, override: Override) -> Values:
        """Give the same with what an override says instead."""
        return Values(
            self.hint if override.hint is None else override.hint,
            self.alarm if override.alarm is None else override.alarm,
            override.min_hits or self.min_hits,
            override.window_s or self.window_s,
            override.confirm_devices or self.confirm_devices,
        )

    def mistakes(self, bound: Bound | None, highest: float | None) -> Iterable[tuple[str, str, str]]:
        """Give (key, what is wrong, remedy) of each value that cannot be.

        Args:
            bound: of the label.
            highest: 1 for a score, None for a sensor's own unit.
        """
        if self.hint > self.alarm:
            yield "hint", f"hint {self.hint} is above alarm {self.alarm}", "lower hint or raise alarm"
        for name, value in zip(self._fields, self, strict=True):
            if highest is not None and name in ("hint", "alarm") and not 0 <= value <= highest:
                yield name, f"{value} is no score", f"give a value of 0 to {highest:g}"
            limits = getattr(bound, name, None)
            if bound and limits and not limits[0] <= value <= limits[1]:
                low, high = limits
                what = f"{value:g} crosses the bound {low:g} to {high:g} that {bound.set_by} has set"
                yield name, what, "stay within it, or ask them to move it"
