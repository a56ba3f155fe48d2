"""How the numbers that decide who is asked are laid out: tables, questions, answers, and the codes of reasons.

`stream.tables` and `stream.days` fill the tables, `stream.chain` reads them, `stream.rank` gives the answers names.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

import numpy as np

from models.people.duty import DAY_MS, HORIZON_DAYS
from stream.kernels import Indices, Ints

LAST_RESORT_MS: Final = HORIZON_DAYS * DAY_MS
MINUTE_MS: Final = 60_000
DAY_MINUTES: Final = 1_440
DAY_KEYS: Final = 4_096
"""Days that can be told apart by their number alone: eleven years."""
OFFICE_STEP: Final = 4
"""The steps below it are in the field: their hard filters are never waived."""
URGENT: Final = 2
"""P1 and P2 are 0 and 1."""
CO_TELLING: Final = -1
"""Stands for the row of the catalogue where somebody is told beside the steps."""


class Reason(enum.IntEnum):
    """Why somebody is asked, in this place of the order, or is not; the number is the bit of a mask."""

    INSIDE_EXCLUSIVE = 0
    INSIDE_CELL = 1
    INSIDE_MICRO = 2
    INSIDE_NODE = 3
    LINE_HIT = 4
    LINE_OF_CELL = 5
    ABOVE_LEAD = 6
    OFFICE = 7
    SEAT = 8
    BORDER_RADIUS = 9
    OUTSIDE = 10
    NEAREST_CELL = 11
    POSITION_VAGUE = 12
    LAST_RESORT = 13
    DEPUTY = 14
    CHIEF_ABSENT = 15
    UNQUALIFIED = 16
    OVER_LOAD = 17
    LOAD_UNKNOWN = 18
    QUIET_HOURS = 19
    OFF_DUTY = 20
    VOLUNTEER = 21
    REPORTER = 22
    NO_CONTRACT = 23
    NO_AUTHORITY = 24
    NOBODY = 25
    NO_POST = 26
    LATE = 27
    PARTNER = 28


INSIDE_EXCLUSIVE: Final = 1 << Reason.INSIDE_EXCLUSIVE
INSIDE_CELL: Final = 1 << Reason.INSIDE_CELL
INSIDE_MICRO: Final = 1 << Reason.INSIDE_MICRO
INSIDE_NODE: Final = 1 << Reason.INSIDE_NODE
LINE_HIT: Final = 1 << Reason.LINE_HIT
LINE_OF_CELL: Final = 1 << Reason.LINE_OF_CELL
ABOVE_LEAD: Final = 1 << Reason.ABOVE_LEAD
OFFICE: Final = 1 << Reason.OFFICE
SEAT: Final = 1 << Reason.SEAT
BORDER_RADIUS: Final = 1 << Reason.BORDER_RADIUS
OUTSIDE: Final = 1 << Reason.OUTSIDE
NEAREST_CELL: Final = 1 << Reason.NEAREST_CELL
POSITION_VAGUE: Final = 1 << Reason.POSITION_VAGUE
LAST_RESORT: Final = 1 << Reason.LAST_RESORT
DEPUTY: Final = 1 << Reason.DEPUTY
CHIEF_ABSENT: Final = 1 << Reason.CHIEF_ABSENT
UNQUALIFIED: Final = 1 << Reason.UNQUALIFIED
OVER_LOAD: Final = 1 << Reason.OVER_LOAD
LOAD_UNKNOWN: Final = 1 << Reason.LOAD_UNKNOWN
QUIET_HOURS: Final = 1 << Reason.QUIET_HOURS
OFF_DUTY: Final = 1 << Reason.OFF_DUTY
VOLUNTEER: Final = 1 << Reason.VOLUNTEER
REPORTER: Final = 1 << Reason.REPORTER
NO_CONTRACT: Final = 1 << Reason.NO_CONTRACT
NO_AUTHORITY: Final = 1 << Reason.NO_AUTHORITY
NOBODY: Final = 1 << Reason.NOBODY
NO_POST: Final = 1 << Reason.NO_POST


class Tables(NamedTuple):
    """Everything that decides. Columns are named below; a list is given by where it begins and ends in `lists`.

    Attributes:
        posts: (posts, 8) int32.
        persons: (persons, 2) int32.
        qualifications: (persons,) int64, a bit each.
        units: (units, 3) int64.
        places: (places, 4) int32: cells, micro cells, nodes, lines and exclusive cells, one layer after the other.
        base: (5,) where each of these layers begins.
        stations: (rows, areas, 2) int32: lists of the seats, or of the one office, of an area; the last area is that
            of a point without a cell.
        lists: int32: posts and persons. A deputy takes two places: a post twice, or ``-2 - person`` and the only post
            that he holds, `NONE` where there are several or none.
        rules: (priorities, rows, 5) int64, in the order in which steps are told; the first `NONE` ends a priority.
        order: (rows, roles) int64, place of a role in the row's order, or `NONE`.
        roles: (2,) int64: mask of the chiefs of lines, and the grid officer's.
        categories: (categories, 3) int64.
        last_resort: (rows, 3) int64: as rules, the rows that are asked when nobody in the field may be.
        first_ack_ms: (priorities,) int64, `NONE` without such a clock.
        day_row: (DAY_KEYS,) int32, the row in the next three of the UTC day whose number has this remainder.
        day_first: (days, posts + 1) int32, where the duties of a post begin in:
        duties: (duties, 8) int32.
        clocks: (days, 3) int64: local minutes ahead of UTC until a moment, that moment, and after it.
    """

    posts: Indices
    persons: Indices
    qualifications: Ints
    units: Ints
    places: Indices
    base: Ints
    stations: Indices
    lists: Indices
    rules: Ints
    order: Ints
    roles: Ints
    categories: Ints
    last_resort: Ints
    first_ack_ms: Ints
    day_row: Indices
    day_first: Indices
    duties: Indices
    clocks: Ints


# Columns of Tables.posts, eight for whole lines of the cache; HOLDERS hold it by any shift and serve at present.
ROLE, UNIT, PARENT, DEPUTIES, DEPUTIES_END, HOLDERS, HOLDERS_END = range(7)
# Columns of Tables.persons: the posts that he holds by any shift.
HELD, HELD_END = range(2)
# Columns of Tables.duties, eight likewise: who, from and until in ms of the day, 1 for a volunteer, and what else is
# asked of him; quiet hours are minutes of the local day.
DUTY_PERSON, DUTY_FROM, DUTY_UNTIL, IS_VOLUNTEER, MAX_OPEN, QUIET_FROM, QUIET_UNTIL = range(7)
# Columns of Tables.units.
IS_GROUP, CONTRACT_FROM, CONTRACT_UNTIL = range(3)
# Columns of Tables.places; POSTS answer for it; the other two are of cells only.
POSTS, POSTS_END, LINE, AREA = range(4)
# Columns of Tables.rules.
ROW, STEP, IS_SEAT, OFFSET_MS, AT_ONCE = range(5)
# Columns of Tables.categories: mask of roles, bits of the lead's qualifications, and whether anybody has them all.
MAY_ASSIST, REQUIRED, IS_FILLED = range(3)
# Layers in Tables.base.
CELLS, MICRO, NODES, LINES, EXCLUSIVE = range(5)


class Cases(NamedTuple):
    """Questions beside where they are.

    Attributes:
        rows: (n, 7) int64; a step is due at SINCE_MS + its offset, though not before AT_MS: a chain that is made again
            keeps its clocks.
        reporters: int32, persons.
        loads: (k, 2) int64: open cases by person, ascending; `NONE` where the last word is too old.
    """

    rows: Ints
    reporters: Indices
    loads: Ints


# Columns of Cases.rows; priority 0 is P1; REPORTERS is a list in Cases.reporters.
CATEGORY, PRIORITY, AT_MS, SINCE_MS, RADIUS_MM, REPORTERS, REPORTERS_END = range(7)


class Chains(NamedTuple):
    """Room for answers. Steps and candidates of all questions stand one after the other.

    Attributes:
        heads: (n, 3) int64.
        steps: (room, 5) int64.
        candidates: (room, 6) int64.
    """

    heads: Ints
    steps: Ints
    candidates: Ints


# Columns of Chains.heads: post that leads or `NONE`, mask of `Reason`, and where its steps end in `steps`.
LEAD, REASONS, STEPS_END = range(3)
# Columns of Chains.steps: row of the catalogue or `CO_TELLING`, ..., and where its candidates end in the next.
STEP_ROW, STEP_OFFSET_MS, STEP_AT_ONCE, STEP_REASONS, CANDIDATES_END = range(5)
# Columns of Chains.candidates: POST is asked (of a deputy his chief's); the duty that makes him a candidate is of OWN.
PERSON, POST, OWN, WHY, FROM_MS, UNTIL_MS = range(6)


LINE_INTS: Final = 16
"""Numbers of 32 bits in a line of the cache."""
TOGETHER: Final = 32
"""Questions whose rows are fetched together: few enough that all of it stays in the cache."""
AHEAD_EACH: Final = 48
"""Rows that are fetched of each; what does not fit is read when it is needed."""
AHEAD_LEVELS: Final = 3
"""Posts one above the other that are fetched: those higher up serve so many cells that they are in the cache."""


class Sheet(NamedTuple):
    """Scratch of one question: the counts of what is on it, and room for it.

    Attributes:
        counts: int64, by the names below.
        slots: (room, 4) posts to ask.
        entries: (room, 10) who may be asked at a step: a candidate's six columns, three that compare as the order, and
            whether he may lead.
        ranked: rows of entries, in order: of these, `counts` tells how many there are.
        told: persons given so far.
        asked: posts asked so far, filled or not.
        ahead: (room, 8) int32: places, then posts, whose rows are fetched before the questions are answered.
    """

    counts: Ints
    slots: Ints
    entries: Ints
    ranked: Ints
    told: Ints
    asked: Ints
    ahead: Indices


def rows_of(n: int, columns: int) -> Indices:
    """Return (n, columns) zeros that begin with a line of the cache: a row of eight never lies in two of them."""
    spare = np.zeros(n * columns + LINE_INTS, dtype=np.int32)
    first = -spare.ctypes.data % (4 * LINE_INTS) // 4
    return spare[first : first + n * columns].reshape(n, columns)


def sheet_of(room: int) -> Sheet:
    """Return a sheet with room for as many persons, posts and slots in one question."""
    slots, entries = np.empty((room, 4), dtype=np.int64), np.empty((room, KEY + 4), dtype=np.int64)
    ranked, told, asked = (np.empty(room, dtype=np.int64) for _ in range(3))
    return Sheet(np.zeros(10, dtype=np.int64), slots, entries, ranked, told, asked, rows_of(AHEAD_EACH * TOGETHER, 8))


# Places in Sheet.counts: how many of each, the mask of reasons, how many may lead, and whether something did not fit.
N_SLOTS, N_ENTRIES, N_TOLD, N_ASKED, N_STEPS, N_CANDIDATES, WHY_SO, N_LEADS, LEADER, IS_FULL = range(10)
# Columns of Sheet.ahead: number of a place or post; the row of the day for which it is asked; what it is; its posts, or
# its deputies; its duties.
NUMBER, DAY, KIND, LIST, LIST_END, DUTY, DUTY_END = range(7)
# Kinds of them: beside the chain, below the rest of the chain, a deputy's.
BESIDE, BELOW, OF_DEPUTY = range(3)
# Columns of Sheet.slots.
SLOT_ORDER, SLOT_POST, SLOT_WHY, SLOT_DISTANCE_M = range(4)
KEY: Final = 6
"""First of the three columns of Sheet.entries that compare."""
MAY_LEAD: Final = KEY + 3
"""Column of Sheet.entries: he is qualified, and no volunteer."""
IS_DEPUTY: Final = 1 << 38
"""In the first key: behind a chief who is there himself."""
