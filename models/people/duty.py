"""Shifts in local time, asked in POSIX milliseconds.

A weekly shift is a wall-clock window of the tenant's time zone: on the night the clocks change it is an hour shorter or
longer. Shifts that touch on the wall clock touch in real time too, since both ends are converted the same way; so a
roster without gaps on paper has none in the machine.
"""

from __future__ import annotations

import datetime as dt
import enum
import zoneinfo
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from models.content import Record
from models.messages import Id

DAY_MS = 86_400_000
HORIZON_DAYS = 8
"""How far duty is followed to each side of a day: one roster week and a day."""


class Weekday(enum.StrEnum):
    """Days of the week, Monday first."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


class ShiftKind(enum.StrEnum):
    """What sort of shift it is; `standby` is on call."""

    DAY = "day"
    NIGHT = "night"
    SEAT = "seat"
    STANDBY = "standby"


class Shift(Record, frozen=True, kw_only=True):
    """Somebody holds a post for some time."""

    post: Id
    person: Id
    kind: ShiftKind = ShiftKind.DAY


class WeeklyShift(Shift, frozen=True, kw_only=True):
    """Every week on `days`, from `start` to `end` local time; `end` not after `start` means the next day."""

    days: Annotated[tuple[Weekday, ...], Meta(min_length=1, max_length=7)]
    start: dt.time
    end: dt.time


class DatedShift(Shift, frozen=True, kw_only=True):
    """Once, from `start` to `end`; without an offset the tenant's local time is meant."""

    start: dt.datetime
    end: dt.datetime


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A person on duty, half-open."""

    person: str
    from_ms: int
    until_ms: int


class DutyPlan:
    """Weekly and dated shifts by post. Answers are kept per post and day, so a question costs a few microseconds."""

    def __init__(self, zone: zoneinfo.ZoneInfo, weekly: Sequence[WeeklyShift], dated: Sequence[DatedShift]) -> None:
        self.zone = zone
        self._weekly: dict[str, list[WeeklyShift]] = {}
        self._dated: dict[str, list[Span]] = {}
        self._kept: dict[tuple[str, int], tuple[Span, ...]] = {}
        for shift in weekly:
            self._weekly.setdefault(shift.post, []).append(shift)
        for once in dated:
            span = Span(once.person, self.to_ms(once.start), self.to_ms(once.end))
            self._dated.setdefault(once.post, []).append(span)

    def local(self, at_ms: int) -> dt.datetime:
        """Give the wall-clock time of a moment."""
        return dt.datetime.fromtimestamp(at_ms / 1000, self.zone)

    def to_ms(self, moment: dt.datetime) -> int:
        """Give the moment of a wall-clock time, of the tenant's zone where it names none.

        A time that the spring change skips counts as if the clock had not changed; of two equal
        times in autumn it is the first.
        """
        aware = moment if moment.tzinfo else moment.replace(tzinfo=self.zone)
        return round(aware.timestamp() * 1000)

    def at(self, post_id: str, at_ms: int) -> tuple[Span, ...]:
        """Give who holds a post at a moment, by person, each for as long as it goes on without a break."""
        day = at_ms // DAY_MS
        spans = self._kept.get((post_id, day))
        if spans is None:
            if len(self._kept) > 200_000:
                self._kept.clear()
            window = ((day - HORIZON_DAYS) * DAY_MS, (day + 1 + HORIZON_DAYS) * DAY_MS)
            spans = self._kept[post_id, day] = tuple(
                span
                for span in self.spans(post_id, *window)
                if span.from_ms < (day + 1) * DAY_MS and span.until_ms > day * DAY_MS
            )
        return tuple(span for span in spans if span.from_ms <= at_ms < span.until_ms)

    def spans(self, post_id: str, from_ms: int, until_ms: int) -> tuple[Span, ...]:
        """Give the duty of a post within a window, cut to it; shifts of a person that touch or overlap are joined."""
        joined: list[Span] = []
        for span in sorted(self._shifts(post_id, from_ms, until_ms)):
            cut = Span(span.person, max(span.from_ms, from_ms), min(span.until_ms, until_ms))
            if cut.from_ms >= cut.until_ms:
                continue
            last = joined[-1] if joined else None
            if last and last.person == cut.person and cut.from_ms <= last.until_ms:
                joined[-1] = Span(cut.person, last.from_ms, max(last.until_ms, cut.until_ms))
            else:
                joined.append(cut)
        return tuple(joined)

    def gaps(self, post_id: str, from_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
        """Yield the times within a window at which nobody holds a post."""
        free_from = from_ms
        for span in sorted(self.spans(post_id, from_ms, until_ms), key=lambda span: span.from_ms):
            if span.from_ms > free_from:
                yield free_from, span.from_ms
            free_from = max(free_from, span.until_ms)
        if free_from < until_ms:
            yield free_from, until_ms

    def _shifts(self, post_id: str, from_ms: int, until_ms: int) -> Iterator[Span]:
        yield from self._dated.get(post_id, ())
        weekly = self._weekly.get(post_id)
        if not weekly:
            return
        # A shift of the day before may reach in, and local days begin up to a day apart from UTC's.
        day = self.local(from_ms).date() - dt.timedelta(days=1)
        last = self.local(until_ms).date()
        while day <= last:
            weekday = list(Weekday)[day.weekday()]
            for shift in weekly:
                if weekday in shift.days:
                    end_day = day if shift.end > shift.start else day + dt.timedelta(days=1)
                    start = self.to_ms(dt.datetime.combine(day, shift.start))
                    yield Span(shift.person, start, self.to_ms(dt.datetime.combine(end_day, shift.end)))
            day += dt.timedelta(days=1)


def is_within_daily(start: dt.time, end: dt.time, now: dt.time) -> bool:
    """Whether a wall-clock time lies in a daily window, half-open; `end` not after `start` runs over midnight."""
    return start <= now < end if start < end else now >= start or now < end
