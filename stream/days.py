"""Who is on duty, day by day, as the numbers that `stream.chain` reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from models.catalogue import Catalogue
from models.messages import Priority
from models.people import Employment
from models.people.columns import EMPLOYMENTS, PeopleColumns
from models.people.duty import DAY_MS
from stream import layout
from stream.kernels import Indices, Ints
from stream.layout import DAY_KEYS, DUTY_FROM, DUTY_PERSON, DUTY_UNTIL, IS_VOLUNTEER, QUIET_UNTIL

N = TypeVar("N", np.int32, np.int64)

PRIORITIES: Final = tuple(Priority)
MAX_DAYS: Final = 32
"""Days of duty that are kept; a question about P4 needs five."""


class DayTables(NamedTuple):
    """The columns of `stream.layout.Tables` that depend on the day."""

    day_row: Indices
    day_first: Indices
    duties: Indices
    clocks: Ints


class Days:
    """Duty of the UTC days that were asked for. A day costs tenths of a second in a large city, once.

    Attributes:
        tables: as they are now; another value as soon as there is one more day in them.
    """

    def __init__(self, columns: PeopleColumns, catalogue: Catalogue) -> None:
        self._columns = columns
        is_volunteer = columns.employment == EMPLOYMENTS.index(Employment.VOLUNTEER)
        self._of_person = np.column_stack(
            [is_volunteer, columns.max_open, columns.quiet_from_min, columns.quiet_until_min]
        ).astype(np.int32)
        self._offsets_ms = [
            tuple({0, *(rule.after.nominal_ms for _, rule in catalogue.steps_for(priority))}) for priority in PRIORITIES
        ]
        self._any_offset_ms = tuple(set().union(*self._offsets_ms))
        self._clear()

    def cover(self, rows: Ints) -> DayTables:
        """Return the duty of every day on which the chains of these cases may ask (`Cases.rows`)."""
        # As if each case had every priority: for many at once that is told sooner, and mostly known already.
        if len(rows) > 1 and self._asked(rows, self._any_offset_ms) <= self._rows.keys():
            return self.tables
        priorities = {rows.item(0, layout.PRIORITY)} if len(rows) == 1 else set(rows[:, layout.PRIORITY].tolist())
        days: set[int] = set()
        for p in priorities:
            days |= self._asked(rows[rows[:, layout.PRIORITY] == p] if len(rows) > 1 else rows, self._offsets_ms[p])
        if not days <= self._rows.keys():
            self._add(days)
        return self.tables

    def _asked(self, rows: Ints, offsets_ms: Iterable[int]) -> set[int]:
        """Return the days on which the chains of these cases may ask if their steps are so late."""
        low, high = _ends(rows, layout.SINCE_MS)
        at_low, at_high = _ends(rows, layout.AT_MS)
        days: set[int] = set()
        for offset_ms in offsets_ms:
            first, last = max(low + offset_ms, at_low) // DAY_MS, max(high + offset_ms, at_high) // DAY_MS
            days.add(first)
            if last > first:
                days.update(range(first, last + 1))
        return days

    def cover_moment(self, at_ms: int) -> DayTables:
        """Return the duty that questions of any priority at this time need."""
        rows = np.full((len(PRIORITIES), 7), at_ms, dtype=np.int64)
        rows[:, layout.PRIORITY] = np.arange(len(PRIORITIES))
        return self.cover(rows)

    def _clear(self) -> None:
        self._rows: dict[int, int] = {}
        self._used = 0
        self.tables = DayTables(
            day_row=np.zeros(DAY_KEYS, dtype=np.int32),
            day_first=np.zeros((1, len(self._columns.post_ids) + 1), dtype=np.int32),
            duties=np.empty((0, 8), dtype=np.int32),
            clocks=np.zeros((1, 3), dtype=np.int64),
        )

    def _add(self, days: set[int]) -> None:
        known = {day % DAY_KEYS for day in self._rows}
        missing = days - self._rows.keys()
        if len(known) + len(missing) > MAX_DAYS or known & {day % DAY_KEYS for day in missing}:
            self._clear()
            missing = days
        for day in sorted(missing):
            self._add_day(day)

    def _add_day(self, day: int) -> None:
        from_ms, until_ms = day * DAY_MS, (day + 1) * DAY_MS
        duty = self._columns.day(from_ms)
        is_on = (duty.from_ms < until_ms) & (duty.until_ms > from_ms)
        kept = np.concatenate([[0], np.cumsum(is_on)])
        person = duty.person[is_on]
        since, offset_min = self._columns.utc_offsets(from_ms, until_ms)
        clock = np.array([int(offset_min[0]), int(since[-1]), int(offset_min[-1])])
        row, end = len(self._rows), self._used + len(person)
        # Room grows by doubling: a day costs its own duty, not that of all days before.
        duties = _with_room(self.tables.duties, self._used, end)
        rows = duties[self._used : end]
        # Counted from the day, and so half as wide: what a chain waits for is memory.
        rows[:, DUTY_FROM], rows[:, DUTY_UNTIL] = duty.from_ms[is_on] - from_ms, duty.until_ms[is_on] - from_ms
        rows[:, DUTY_PERSON], rows[:, IS_VOLUNTEER : QUIET_UNTIL + 1] = person, self._of_person[person]
        self.tables.day_row[day % DAY_KEYS] = row
        self.tables = DayTables(
            day_row=self.tables.day_row,
            day_first=_with_row(self.tables.day_first, row, kept[duty.start] + self._used),
            duties=duties,
            clocks=_with_row(self.tables.clocks, row, clock),
        )
        self._rows[day] = row
        self._used = end


def _ends(rows: Ints, column: int) -> tuple[int, int]:
    if len(rows) == 1:
        return rows.item(0, column), rows.item(0, column)
    return int(rows[:, column].min()), int(rows[:, column].max())


def _with_room(array: Indices, used: int, wanted: int) -> Indices:
    if wanted <= len(array):
        return array
    grown = layout.rows_of(max(wanted, 2 * len(array)), array.shape[1])
    grown[:used] = array[:used]
    return grown


def _with_row(array: npt.NDArray[N], row: int, values: npt.NDArray[np.integer[Any]]) -> npt.NDArray[N]:
    """Return `array` with `values` as row `row`, twice as long where there was no room."""
    if row >= len(array):
        array = np.concatenate([array, np.zeros_like(array)])
    array[row] = values
    return array
