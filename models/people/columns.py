"""People as arrays, for whoever asks about all of them at once.

Persons, posts and units are numbered by id in byte order: comparing numbers compares ids.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.calendar import WEEK
from models.content import uncollected
from models.people import People
from models.people.duty import DutyPlan, Term, window
from models.people.posts import Edge, Employment, Person, Post, Role, Unit, UnitKind

Bools = NDArray[np.bool_]
I16 = NDArray[np.int16]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
N = TypeVar("N", bound=np.generic)
R = TypeVar("R", Post, Person, Unit)

NOBODY: Final = -1
ROLES: Final = tuple(Role)
EMPLOYMENTS: Final = tuple(Employment)
NO_QUIET: Final = -1
CLOCK_STEP_MS: Final = 15 * 60_000
"""Clocks change on full quarters of an hour of UTC."""


@dataclass(frozen=True, slots=True)
class DutyColumns:
    """Who holds which post when, within a window and cut to it.

    Attributes:
        start: (posts + 1,) where the duties of a post begin in the other columns.
        person: by number; within a post in order, then by time.
        from_ms: inclusive.
        until_ms: exclusive.
        window: from and until which duties were followed.
    """

    start: I64
    person: I32
    from_ms: I64
    until_ms: I64
    window: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PeopleColumns:
    """One `People` as arrays; lists of varying length are in CSR form.

    Attributes:
        person_ids: sorted, as are the other ids and the codes: the place in them is the number.
        role: of each post, index in `ROLES`.
        unit: of each post, by number.
        parent: the post above; `NOBODY` at the top.
        collaborates: the post is bound to its parent by `collaborates`.
        deputy_start: (posts + 1,) into the two columns of deputies, which are in the order of the file:
        deputy_post: `NOBODY` where the deputy is a person, and
        deputy_person: `NOBODY` where it is a post.
        scope_start: (codes + 1,) into
        scope_post: the posts that answer for a code.
        held_start: (persons + 1,) into
        held_post: the posts that a person holds by any shift or swap.
        employment: of each person, index in `EMPLOYMENTS`.
        quiet_from_min: minute of the local day at which quiet hours begin; `NO_QUIET` without any.
        quiet_until_min: at which they end; not after `quiet_from_min`: on the next day.
        qualification_bits: bit i is `qualification_names[i]`.
        contract_from_ms: of each unit; it has a contract, or needs none, from here
        contract_until_ms: to here, exclusive.
    """

    people: People
    person_ids: tuple[str, ...]
    post_ids: tuple[str, ...]
    unit_ids: tuple[str, ...]
    scope_codes: tuple[str, ...]
    role: NDArray[np.uint8]
    level: NDArray[np.uint8]
    unit: I32
    parent: I32
    collaborates: Bools
    deputy_start: I64
    deputy_post: I32
    deputy_person: I32
    scope_start: I64
    scope_post: I32
    held_start: I64
    held_post: I32
    employment: NDArray[np.uint8]
    max_open: I32
    quiet_from_min: I16
    quiet_until_min: I16
    qualification_bits: NDArray[np.uint64]
    qualification_names: tuple[str, ...]
    is_volunteer_group: Bools
    contract_from_ms: I64
    contract_until_ms: I64
    _shifts: _Shifts

    @classmethod
    def of(cls, people: People) -> Self:
        """Return the columns of `people`, which has been checked."""
        with uncollected():
            return cls._of(people)

    @classmethod
    def _of(cls, people: People) -> Self:
        post_number, posts = _numbered(people.posts)
        person_number, persons = _numbered(people.persons)
        unit_number, units = _numbered(people.units)
        deputies = [(deputy, post_number.get(deputy, NOBODY)) for post in posts for deputy in post.deputies]
        scopes = sorted((code, number) for number, post in enumerate(posts) for code in dict.fromkeys(post.scope))
        posts_at = Counter(code for code, _ in scopes)
        shifts = _Shifts.of(people, post_number, person_number)
        holder, held = _held(people, shifts, post_number, person_number)
        names = tuple(sorted({name for person in persons for name in person.qualifications}))
        bit = {name: 1 << index for index, name in enumerate(names)}
        quiet = [person.quiet_hours for person in persons]
        terms = [people.plan.term((u.contract.first_day, u.contract.last_day) if u.contract else None) for u in units]
        return cls(
            people=people,
            person_ids=tuple(person_number),
            post_ids=tuple(post_number),
            unit_ids=tuple(unit_number),
            scope_codes=tuple(posts_at),
            role=_column((ROLES.index(post.role) for post in posts), np.uint8),
            level=_column((post.level for post in posts), np.uint8),
            unit=_column((unit_number.get(post.unit, NOBODY) for post in posts), np.int32),
            parent=_column((post_number.get(post.supervisor or "", NOBODY) for post in posts), np.int32),
            collaborates=_column((people.edge_of(post) is Edge.COLLABORATES for post in posts), np.bool_),
            deputy_start=starts_of(len(post.deputies) for post in posts),
            deputy_post=_column((number for _, number in deputies), np.int32),
            deputy_person=_column(
                (NOBODY if number != NOBODY else person_number[key] for key, number in deputies), np.int32
            ),
            scope_start=starts_of(posts_at.values()),
            scope_post=_column((number for _, number in scopes), np.int32),
            held_start=starts_of(np.bincount(holder, minlength=len(persons))),
            held_post=held.astype(np.int32),
            employment=_column((EMPLOYMENTS.index(person.employment) for person in persons), np.uint8),
            max_open=_column((person.max_open for person in persons), np.int32),
            quiet_from_min=_column((_minute(hours.start) if hours else NO_QUIET for hours in quiet), np.int16),
            quiet_until_min=_column((_minute(hours.end) if hours else NO_QUIET for hours in quiet), np.int16),
            qualification_bits=_column(
                (sum(bit[name] for name in set(person.qualifications)) for person in persons), np.uint64
            ),
            qualification_names=names,
            is_volunteer_group=_column((unit.kind is UnitKind.VOLUNTEER_GROUP for unit in units), np.bool_),
            contract_from_ms=_column((from_ms for from_ms, _ in terms), np.int64),
            contract_until_ms=_column((until_ms for _, until_ms in terms), np.int64),
            _shifts=shifts,
        )

    def authority(self, keys: Sequence[str]) -> NDArray[np.int8]:
        """Return what each role may do about each category: (roles, keys), `May.rank`, or -1 for nothing at all."""
        table = np.full((len(ROLES), len(keys)), NOBODY, np.int8)
        for row, role in enumerate(ROLES):
            for column, key in enumerate(keys):
                may = self.people.may(role, key)
                if may is not None:
                    table[row, column] = may.rank
        return table

    def required(self, qualifications: Iterable[str]) -> int | None:
        """Return the bits of all of these; None if there is one that nobody has."""
        names = self.qualification_names
        wanted = set(qualifications)
        return sum(1 << names.index(name) for name in wanted) if wanted <= set(names) else None

    def day(self, at_ms: int) -> DutyColumns:
        """Return the duty that questions about a UTC day see: what `People.duties` gives."""
        return self.duty(*window(at_ms))

    def utc_offsets(self, from_ms: int, until_ms: int) -> tuple[I64, I16]:
        """Return the moments from which an offset of local time holds, the first `from_ms`, and it in minutes."""
        zone = self.people.plan.zone
        steps = np.arange(from_ms, until_ms, CLOCK_STEP_MS, dtype=np.int64)
        offsets = [_offset_min(zone, at_ms) for at_ms in steps.tolist()]
        kept = [0, *(i for i in range(1, len(offsets)) if offsets[i] != offsets[i - 1])]
        return steps[kept], np.array(offsets, np.int16)[kept]

    def duty(self, from_ms: int, until_ms: int) -> DutyColumns:
        """Return all duty within a window, as `DutyPlan.spans` gives it for one post."""
        rota, plan = self.people.rota, self.people.plan
        spans = self._shifts.spans(plan, from_ms, until_ms)
        swapped = sorted({swap.post for swap in rota.swaps})
        if swapped:
            by_hand = Spans.of(
                (_place(self.post_ids, key), _place(self.person_ids, span.person), span.from_ms, span.until_ms)
                for key in swapped
                for span in plan.spans(key, from_ms, until_ms)
            )
            spans = spans.where(~np.isin(spans.post, [_place(self.post_ids, key) for key in swapped])) + by_hand
        spans = spans.cut(*self._terms(self.post_ids, rota.posts), spans.post)
        spans = spans.cut(*self._terms(self.person_ids, rota.persons), spans.person)
        absent = [_place(self.person_ids, key) for key in rota.absent if key in self.people.person_by_id]
        spans = spans.where((spans.from_ms < spans.until_ms) & ~np.isin(spans.person, absent))
        return joined(spans, len(self.post_ids), (from_ms, until_ms))

    def _terms(self, ids: Sequence[str], terms: Mapping[str, Term]) -> tuple[I64, I64]:
        since, to = np.full(len(ids), -(1 << 62), np.int64), np.full(len(ids), 1 << 62, np.int64)
        for key, term in terms.items():
            number = _place(ids, key)
            since[number], to[number] = self.people.plan.term(term)
        return since, to


@dataclass(frozen=True, slots=True)
class Spans:
    """Duty as rows, in no order.

    Attributes:
        post: by number; `joined` takes any other group of persons as well.
        person: by number.
        from_ms: inclusive.
        until_ms: exclusive.
    """

    post: I64
    person: I64
    from_ms: I64
    until_ms: I64

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, int, int]]) -> Spans:
        """Return rows of post, person, from and until."""
        return cls(*np.array(list(rows), np.int64).reshape(-1, 4).T)

    def __add__(self, other: Spans) -> Spans:
        return Spans(
            np.concatenate([self.post, other.post]),
            np.concatenate([self.person, other.person]),
            np.concatenate([self.from_ms, other.from_ms]),
            np.concatenate([self.until_ms, other.until_ms]),
        )

    def where(self, mask: Bools) -> Spans:
        """Return some of the rows."""
        return Spans(self.post[mask], self.person[mask], self.from_ms[mask], self.until_ms[mask])

    def cut(self, since: I64, to: I64, owner: I64) -> Spans:
        """Cut each row to the term of its owner."""
        return Spans(
            self.post, self.person, np.maximum(self.from_ms, since[owner]), np.minimum(self.until_ms, to[owner])
        )


@dataclass(frozen=True, slots=True)
class _Shifts:
    """All shifts: the weekly ones with places in `times`, the dated ones as spans.

    Attributes:
        days: bit d for the weekday d, Monday 0.
        times: the different times of day in them; there are few.
    """

    post: I64
    person: I64
    days: NDArray[np.uint8]
    start: I64
    end: I64
    times: tuple[dt.time, ...]
    dated: Spans

    @classmethod
    def of(cls, people: People, posts: Mapping[str, int], persons: Mapping[str, int]) -> _Shifts:
        weekly = [shift for shift in people.weekly_shifts if shift.post in posts and shift.person in persons]
        dated = [shift for shift in people.dated_shifts if shift.post in posts and shift.person in persons]
        times = tuple(sorted({time for shift in weekly for time in (shift.start, shift.end)}))
        place = {time: index for index, time in enumerate(times)}
        to_ms = cache(people.plan.to_ms)
        bits = cache(lambda days: sum(1 << WEEK.index(day) for day in set(days)))
        post = _column((posts[shift.post] for shift in weekly), np.int64)
        person = _column((persons[shift.person] for shift in weekly), np.int64)
        start = _column((place[shift.start] for shift in weekly), np.int64)
        order = np.lexsort((start, person, post))  # so that those of a day are sorted already: see `joined`
        return cls(
            post=post[order],
            person=person[order],
            days=_column((bits(shift.days) for shift in weekly), np.uint8)[order],
            start=start[order],
            end=_column((place[shift.end] for shift in weekly), np.int64)[order],
            times=times,
            dated=Spans.of((posts[s.post], persons[s.person], to_ms(s.start), to_ms(s.end)) for s in dated),
        )

    def spans(self, plan: DutyPlan, from_ms: int, until_ms: int) -> Spans:
        """Return the shifts that reach into a window, cut to it."""
        parts = [self.dated]
        overnight = self.end_is_next_day
        for day in plan.days(from_ms, until_ms):
            today, tomorrow = (self._moments(plan, day + dt.timedelta(days=ahead)) for ahead in (0, 1))
            on = (self.days >> day.weekday() & 1).astype(bool)
            start, end = self.start[on], self.end[on]
            until = np.where(overnight[on], tomorrow[end], today[end])
            parts.append(Spans(self.post[on], self.person[on], today[start], until))
        columns = zip(*((part.post, part.person, part.from_ms, part.until_ms) for part in parts), strict=True)
        post, person, since, to = (np.concatenate(column) for column in columns)
        spans = Spans(post, person, np.maximum(since, from_ms), np.minimum(to, until_ms))
        return spans.where(spans.from_ms < spans.until_ms)

    @property
    def end_is_next_day(self) -> Bools:
        """Whether a shift runs over midnight: `times` are sorted, so their places compare as they do."""
        return self.end <= self.start

    def _moments(self, plan: DutyPlan, day: dt.date) -> I64:
        return _column((plan.to_ms(dt.datetime.combine(day, time)) for time in self.times), np.int64)


def joined(spans: Spans, posts: int, window: tuple[int, int]) -> DutyColumns:
    """Sort the rows of a window by post, person and time, and join those that touch or overlap."""
    width = window[1] - window[0] + 1
    pair = spans.post << 32 | spans.person
    # Of a few days, each sorted, and one after the other, a stable sort has little to do.
    order = np.argsort(pair, kind="stable")
    is_new, from_ms = np.ones(len(pair), np.bool_), spans.from_ms[order]
    is_new[1:] = np.diff(pair[order]) != 0
    if np.any((from_ms[1:] < from_ms[:-1]) & ~is_new[1:]):
        order = np.lexsort((spans.from_ms, pair))
    # A person at a post has a stretch of the number line for himself: joining is then about numbers alone.
    base = np.cumsum(is_new) * width - window[0]
    since, to = base + spans.from_ms[order], base + spans.until_ms[order]
    reach = np.maximum.accumulate(to) if len(to) else to
    is_first = is_new.copy()
    is_first[1:] |= since[1:] > reach[:-1]
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(since))[: len(first)] - 1
    rows = order[first]
    return DutyColumns(
        start=starts_of(np.bincount(spans.post[rows], minlength=posts)),
        person=spans.person[rows].astype(np.int32),
        from_ms=since[first] - base[first],
        until_ms=reach[last] - base[first],
        window=window,
    )


def _held(people: People, shifts: _Shifts, posts: Mapping[str, int], persons: Mapping[str, int]) -> tuple[I64, I64]:
    """Give persons and the posts that they hold by any shift or swap, sorted, each pair once."""
    swaps = [
        (posts[s.post], persons[s.substitute]) for s in people.swaps if s.post in posts and s.substitute in persons
    ]
    post, person = np.array(swaps, np.int64).reshape(-1, 2).T
    person = np.concatenate([shifts.person, shifts.dated.person, person])
    post = np.concatenate([shifts.post, shifts.dated.post, post])
    pairs = np.unique(person << 32 | post)
    return pairs >> 32, pairs & 0xFFFFFFFF


def _numbered(records: Iterable[R]) -> tuple[dict[str, int], list[R]]:
    """Give the numbers by id, and the records in the order of their numbers."""
    ordered = sorted(records, key=lambda record: record.id)
    return {record.id: number for number, record in enumerate(ordered)}, ordered


def _place(ids: Sequence[str], key: str) -> int:
    return bisect_left(ids, key)


def _column(values: Iterable[Any], kind: type[N]) -> NDArray[N]:
    return np.fromiter(values, kind)


def starts_of(counts: Iterable[int]) -> I64:
    """Return where each list begins, and where the last one ends."""
    return np.cumsum(np.concatenate([[0], np.fromiter(counts, np.int64)]), dtype=np.int64)


def _offset_min(zone: dt.tzinfo, at_ms: int) -> int:
    offset = dt.datetime.fromtimestamp(at_ms / 1000, zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds() // 60)


def _minute(time: dt.time) -> int:
    return 60 * time.hour + time.minute
