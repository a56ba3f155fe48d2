"""What the tables say of one person, post or day: questions that every step of the chain asks."""

from __future__ import annotations

from typing import NamedTuple

from models.people.duty import DAY_MS
from stream.kernels import NONE, Ints, inlined
from stream.layout import (
    DAY_KEYS,
    DAY_MINUTES,
    HELD,
    HELD_END,
    IS_FILLED,
    MINUTE_MS,
    QUIET_FROM,
    QUIET_UNTIL,
    REQUIRED,
    Tables,
)


class Moment(NamedTuple):
    """A step of one question: what is needed to tell who may be asked. `day` is a row of `Tables.day_first`."""

    case: int
    category: int
    priority: int
    step: int
    due_ms: int
    day: int


@inlined
def is_among(values: Ints, first: int, end: int, value: int) -> bool:
    """Whether `value` is one of those from `first` to `end`."""
    for i in range(first, end):  # noqa: SIM110  # numba has no generators in any()
        if values[i] == value:
            return True
    return False


@inlined
def copy(source: Ints, target: Ints) -> None:
    """Copy a row; an assignment by slices would make an array in between."""
    for column in range(len(target)):
        target[column] = source[column]


@inlined
def day_of(tables: Tables, at_ms: int) -> int:
    """Return the row of a moment's day in `Tables.day_first` and `Tables.clocks`."""
    return int(tables.day_row[at_ms // DAY_MS & (DAY_KEYS - 1)])


@inlined
def holds(tables: Tables, duty: int, at_ms: int) -> bool:
    """Whether a duty of the day of `at_ms` is held then."""
    return bool(tables.duties[duty, 1] <= at_ms % DAY_MS < tables.duties[duty, 2])


@inlined
def first_held(tables: Tables, moment: Moment, person: int) -> int:
    """Return the first of a person's posts that he holds then, or `NONE`."""
    for i in range(tables.persons[person, HELD], tables.persons[person, HELD_END]):
        own = tables.lists[i]
        for duty in range(tables.day_first[moment.day, own], tables.day_first[moment.day, own + 1]):
            if tables.duties[duty, 0] == person and holds(tables, duty, moment.due_ms):
                return int(own)
    return NONE


@inlined
def is_quiet(tables: Tables, person: int, at_ms: int) -> bool:
    """Whether it is then a quiet hour of somebody, by the clock of the roster."""
    start, end = tables.persons[person, QUIET_FROM], tables.persons[person, QUIET_UNTIL]
    if start < 0:
        return False
    day = day_of(tables, at_ms)
    ahead = tables.clocks[day, 0] if at_ms < tables.clocks[day, 1] else tables.clocks[day, 2]
    now = (at_ms // MINUTE_MS + ahead) % DAY_MINUTES
    return bool(start <= now < end) if start < end else bool(now >= start or now < end)


@inlined
def open_cases(loads: Ints, person: int) -> int:
    """Return how many cases somebody has open: 0 where nobody says, `NONE` where the last word is too old."""
    for i in range(len(loads)):
        if loads[i, 0] == person:
            return int(loads[i, 1])
    return 0


@inlined
def is_qualified(tables: Tables, category: int, person: int) -> bool:
    """Whether somebody has all that a category asks of its lead."""
    required = tables.categories[category, REQUIRED]
    if required == 0 and tables.categories[category, IS_FILLED]:
        return True
    return bool(tables.categories[category, IS_FILLED] and tables.qualifications[person] & required == required)
