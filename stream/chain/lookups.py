"""What the tables say of one person, post or day: questions that every step of the chain asks."""

from __future__ import annotations

from typing import NamedTuple

from models.people.duty import DAY_MS
from stream.kernels import NONE, Ints, inlined
from stream.layout import (
    DAY_KEYS,
    DAY_MINUTES,
    DUTY_FROM,
    DUTY_PERSON,
    DUTY_UNTIL,
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
    """A step of one question: what is needed to tell who may be asked.

    Attributes:
        day: row of `Tables.day_first` and `Tables.clocks`.
        of_day_ms: since the UTC day began.
        minute: of the local day.
    """

    case: int
    category: int
    priority: int
    step: int
    due_ms: int
    day: int
    of_day_ms: int
    minute: int


@inlined
def day_of(tables: Tables, at_ms: int) -> int:
    """Return the row of a moment's day in `Tables.day_first` and `Tables.clocks`."""
    return int(tables.day_row[at_ms // DAY_MS & (DAY_KEYS - 1)])


@inlined
def moment_of(tables: Tables, case: int, category: int, priority: int, step: int, due_ms: int) -> Moment:
    """Return a step, with what all who are asked at it have in common."""
    day = day_of(tables, due_ms)
    ahead = tables.clocks[day, 0] if due_ms < tables.clocks[day, 1] else tables.clocks[day, 2]
    minute = (due_ms // MINUTE_MS + ahead) % DAY_MINUTES
    return Moment(case, category, priority, step, due_ms, day, due_ms % DAY_MS, minute)


@inlined
def is_among(values: Ints, first: int, end: int, value: int) -> bool:
    """Whether `value` is one of those from `first` to `end`."""
    for i in range(first, end):  # noqa: SIM110  # numba has no generators in any()
        if values[i] == value:
            return True
    return False


@inlined
def holds(tables: Tables, duty: int, of_day_ms: int) -> bool:
    """Whether a duty of a day is held so long after it began."""
    return bool(tables.duties[duty, DUTY_FROM] <= of_day_ms < tables.duties[duty, DUTY_UNTIL])


@inlined
def first_held(tables: Tables, moment: Moment, person: int) -> int:
    """Return the first of a person's posts that he holds then, or `NONE`."""
    for i in range(tables.persons[person, HELD], tables.persons[person, HELD_END]):
        own = tables.lists[i]
        for duty in range(tables.day_first[moment.day, own], tables.day_first[moment.day, own + 1]):
            if tables.duties[duty, DUTY_PERSON] == person and holds(tables, duty, moment.of_day_ms):
                return int(own)
    return NONE


@inlined
def is_quiet(tables: Tables, duty: int, now: int) -> bool:
    """Whether it is a quiet hour of who has a duty, at a minute of the local day."""
    start, end = tables.duties[duty, QUIET_FROM], tables.duties[duty, QUIET_UNTIL]
    if start < 0:
        return False
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
