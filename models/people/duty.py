"""Shifts in local time, asked in POSIX milliseconds.

A weekly shift is a wall-clock window of the tenant's time zone: on the night the clocks change it is an hour shorter or
longer. Shifts that touch on the wall clock touch in real time too, since both ends are converted the same way; so a
roster without gaps on paper has none in the machine.
"""

from __future__ import annotations

import datetime as dt
import enum
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Final

from msgspec import Meta

from models.calendar import WEEK, Weekday
from models.content import Record, grouped
from models.messages import Id

DAY_MS: Final = 86_400_000
HORIZON_DAYS: Final = 8
"""How far ahead duty is followed: one roster week and a day."""


def window(at_ms: int) -> tuple[int, int]:
    """Give the time that a duty asked about at a moment is cut to: from the UTC day before, `HORIZON_DAYS` ahead.

    It depends on the moment alone, so an order says the same of a duty whenever it is made again.
    """
    day = at_ms // DAY_MS
    return (day - 1) * DAY_MS, (day + 1 + HORIZON_DAYS) * DAY_MS


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


class Swap(Record, frozen=True, kw_only=True):
    """Somebody takes over what another would have been on duty for, at one post, from `start` to `end`."""

    post: Id
    person: Id
    substitute: Id
    start: dt.datetime
    end: dt.datetime


Term = tuple[dt.date | None, dt.date | None]
"""First and last day, both inclusive; None: open."""

_EVER: Final = (-(1 << 62), 1 << 62)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A person on duty, half-open."""

    person: str
    from_ms: int
    until_ms: int

    def cut(self, from_ms: int, until_ms: int) -> Span:
        """Give the part within a time; it may be empty."""
        return Span(self.person, max(self.from_ms, from_ms), min(self.until_ms, until_ms))


@dataclass(frozen=True, slots=True)
class Rota:
    """What a duty plan is made of.

    Attributes:
        posts: terms of the posts that have one, by id.
        persons: of the persons likewise.
        absent: persons who do not serve at present.
    """

    zone: zoneinfo.ZoneInfo
    weekly: Sequence[WeeklyShift] = ()
    dated: Sequence[DatedShift] = ()
    swaps: Sequence[Swap] = ()
    posts: Mapping[str, Term] = field(default_factory=lambda: MappingProxyType({}))
    persons: Mapping[str, Term] = field(default_factory=lambda: MappingProxyType({}))
    absent: frozenset[str] = frozenset()


class DutyPlan:
    """Who holds which post when: shifts, less the terms of posts and persons, with swaps.

    A question costs a few microseconds: answers are kept per post and day.
    """

    def __init__(self, rota: Rota) -> None:
        self.rota = rota
        self.zone = rota.zone
        self._weekly = grouped((shift.post, shift) for shift in rota.weekly)
        self._dated = grouped((shift.post, shift) for shift in rota.dated)
        self._swaps = grouped((swap.post, swap) for swap in rota.swaps)
        self._kept: dict[tuple[str, int], tuple[Span, ...]] = {}

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
            spans = self._kept[post_id, day] = tuple(
                span
                for span in self.spans(post_id, *window(at_ms))
                if span.from_ms < (day + 1) * DAY_MS and span.until_ms > day * DAY_MS
            )
        return tuple(span for span in spans if span.from_ms <= at_ms < span.until_ms)

    def spans(
        self, post_id: str, from_ms: int, until_ms: int, *, swaps: Sequence[Swap] | None = None
    ) -> tuple[Span, ...]:
        """Give the duty of a post within a window, cut to it; shifts of a person that touch or overlap are joined.

        `swaps` are those of the post to go by, all of them if it is None.
        """
        held = list(self._shifts(post_id, *self._within(self.rota.posts.get(post_id), from_ms, until_ms)))
        for swap in self._swaps.get(post_id, ()) if swaps is None else swaps:
            held = list(self._swapped(held, swap))
        serving = [
            span.cut(*self._within(self.rota.persons.get(span.person), from_ms, until_ms))
            for span in held
            if span.person not in self.rota.absent
        ]
        return tuple(_joined(serving))

    def gaps(self, post_id: str, from_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
        """Yield the times within a window at which nobody holds a post."""
        free_from = from_ms
        for span in sorted(self.spans(post_id, from_ms, until_ms), key=lambda span: span.from_ms):
            if span.from_ms > free_from:
                yield free_from, span.from_ms
            free_from = max(free_from, span.until_ms)
        if free_from < until_ms:
            yield free_from, until_ms

    def term(self, term: Term | None) -> tuple[int, int]:
        """Give the moments from and until which a term runs; for ever without one."""
        first, last = term or (None, None)
        return (
            _EVER[0] if first is None else self._midnight(first),
            _EVER[1] if last is None else self._midnight(last + dt.timedelta(days=1)),
        )

    def _within(self, term: Term | None, from_ms: int, until_ms: int) -> tuple[int, int]:
        since_ms, to_ms = self.term(term)
        return max(from_ms, since_ms), min(until_ms, to_ms)

    def _midnight(self, day: dt.date) -> int:
        return self.to_ms(dt.datetime.combine(day, dt.time()))

    def _shifts(self, post_id: str, from_ms: int, until_ms: int) -> Iterator[Span]:
        for once in self._dated.get(post_id, ()):
            yield Span(once.person, self.to_ms(once.start), self.to_ms(once.end)).cut(from_ms, until_ms)
        weekly = self._weekly.get(post_id)
        for day in self.days(from_ms, until_ms) if weekly else ():
            for shift in weekly or ():
                if WEEK[day.weekday()] in shift.days:
                    end_day = day if shift.end > shift.start else day + dt.timedelta(days=1)
                    start = self.to_ms(dt.datetime.combine(day, shift.start))
                    end = self.to_ms(dt.datetime.combine(end_day, shift.end))
                    yield Span(shift.person, start, end).cut(from_ms, until_ms)

    def days(self, from_ms: int, until_ms: int) -> Iterator[dt.date]:
        """Yield the local days whose weekly shifts may reach into a window.

        A shift of the day before may, and local days begin up to a day apart from UTC's.
        """
        if from_ms < until_ms:
            day = self.local(from_ms).date() - dt.timedelta(days=1)
            last = self.local(until_ms).date()
            while day <= last:
                yield day
                day += dt.timedelta(days=1)

    def _swapped(self, held: Iterable[Span], swap: Swap) -> Iterator[Span]:
        start, end = self.to_ms(swap.start), self.to_ms(swap.end)
        for span in held:
            if span.person != swap.person:
                yield span
                continue
            yield span.cut(span.from_ms, start)
            yield span.cut(end, span.until_ms)
            given = span.cut(start, end)
            yield Span(swap.substitute, given.from_ms, given.until_ms)


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(span for span in spans if span.from_ms < span.until_ms):
        last = joined[-1] if joined else None
        if last and last.person == span.person and span.from_ms <= last.until_ms:
            joined[-1] = Span(span.person, last.from_ms, max(last.until_ms, span.until_ms))
        else:
            joined.append(span)
    return joined


def is_within_daily(start: dt.time, end: dt.time, now: dt.time) -> bool:
    """Whether a wall-clock time lies in a daily window, half-open; `end` not after `start` runs over midnight."""
    return start <= now < end if start < end else now >= start or now < end
