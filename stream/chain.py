"""The compiled loops that find who is asked, in which order, and why: the chain of steps 0 to 5.

Places, posts, persons and units are numbers; `stream.layout` says how they lie, `stream.tables` makes them. Comparing
the numbers of two posts or persons compares their ids. Nothing here calls a kernel of another file (see
`stream.kernels`); numba's cache does not see a change of a constant of `stream.layout` either.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.people.duty import DAY_MS
from stream.kernels import MAX_RADIUS_MM, NONE, Ints, Owners, bare, inlined
from stream.layout import (
    ABOVE_LEAD,
    AHEAD_LEVELS,
    AREA,
    AT_MS,
    AT_ONCE,
    BELOW,
    BESIDE,
    BORDER_RADIUS,
    CANDIDATES_END,
    CATEGORY,
    CELLS,
    CHIEF_ABSENT,
    CO_TELLING,
    CONTRACT_FROM,
    CONTRACT_UNTIL,
    DAY,
    DAY_KEYS,
    DAY_MINUTES,
    DEPUTIES,
    DEPUTIES_END,
    DEPUTY,
    DEPUTY_PERSON,
    DEPUTY_POST,
    DUTY,
    EXCLUSIVE,
    FROM_MS,
    HELD,
    HELD_END,
    HOLDERS,
    HOLDERS_END,
    INSIDE_CELL,
    INSIDE_EXCLUSIVE,
    INSIDE_MICRO,
    INSIDE_NODE,
    IS_DEPUTY,
    IS_FILLED,
    IS_FULL,
    IS_GROUP,
    IS_SEAT,
    KEY,
    KIND,
    LAST_RESORT,
    LAST_RESORT_MS,
    LEAD,
    LEADER,
    LINE,
    LINE_HIT,
    LINE_OF_CELL,
    LINES,
    LIST,
    LIST_END,
    LOAD_UNKNOWN,
    MAX_OPEN,
    MAY_ASSIST,
    MAY_LEAD,
    MICRO,
    MINUTE_MS,
    N_ASKED,
    N_CANDIDATES,
    N_ENTRIES,
    N_LEADS,
    N_SLOTS,
    N_STEPS,
    N_TOLD,
    NEAREST_CELL,
    NO_AUTHORITY,
    NO_CONTRACT,
    NO_POST,
    NOBODY,
    NODES,
    NUMBER,
    OFF_DUTY,
    OFFICE,
    OFFICE_STEP,
    OFFSET_MS,
    OUTSIDE,
    OVER_LOAD,
    OWN,
    PARENT,
    PERSON,
    POSITION_VAGUE,
    POST,
    POSTS,
    POSTS_END,
    PRIORITY,
    QUALIFICATIONS,
    QUIET_FROM,
    QUIET_HOURS,
    QUIET_UNTIL,
    RADIUS_MM,
    REASONS,
    REPORTER,
    REPORTERS,
    REPORTERS_END,
    REQUIRED,
    ROLE,
    ROW,
    SEAT,
    SINCE_MS,
    SLOT_DISTANCE_M,
    SLOT_ORDER,
    SLOT_POST,
    SLOT_WHY,
    STEP,
    STEP_AT_ONCE,
    STEP_OFFSET_MS,
    STEP_REASONS,
    STEP_ROW,
    STEPS_END,
    TOGETHER,
    UNIT,
    UNQUALIFIED,
    UNTIL_MS,
    URGENT,
    VOLUNTEER,
    WHY,
    WHY_SO,
    Cases,
    Chains,
    Sheet,
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


class Turn(NamedTuple):
    """Whose duty is looked at for a slot.

    Attributes:
        own: the post whose duty it is: that of the slot, or of a deputy.
        only: a deputy who is named as a person; `NONE` for whoever holds the post.
        rank: 0 for a chief, else 1 + the place among his deputies, with `IS_DEPUTY` if he is there himself.
    """

    own: int
    only: int
    rank: int


class Beside(NamedTuple):
    """Who is told beside the steps: those of a list of posts who have one of some roles (a mask), and why."""

    first: int
    end: int
    roles: int
    why: int


@inlined
def _is_among(values: Ints, n: int, value: int) -> bool:
    for i in range(n):  # noqa: SIM110  # numba has no generators in any()
        if values[i] == value:
            return True
    return False


@inlined
def _day(tables: Tables, at_ms: int) -> int:
    return int(tables.day_row[at_ms // DAY_MS & (DAY_KEYS - 1)])


@inlined
def _is_quiet(tables: Tables, person: int, at_ms: int) -> bool:
    start, end = tables.persons[person, QUIET_FROM], tables.persons[person, QUIET_UNTIL]
    if start < 0:
        return False
    day = _day(tables, at_ms)
    ahead = tables.clocks[day, 0] if at_ms < tables.clocks[day, 1] else tables.clocks[day, 2]
    now = (at_ms // MINUTE_MS + ahead) % DAY_MINUTES
    return bool(start <= now < end) if start < end else bool(now >= start or now < end)


@inlined
def _open_cases(loads: Ints, person: int) -> int:
    """Return how many cases somebody has open: 0 where nobody says, `NONE` where the last word is too old."""
    for i in range(len(loads)):
        if loads[i, 0] == person:
            return int(loads[i, 1])
    return 0


@inlined
def _refusal(tables: Tables, cases: Cases, moment: Moment, post: int, own: int, duty: int) -> int:
    """Return why who has a duty of post `own` is not asked for `post`, 0 if he is: the hard filters."""
    person, unit = tables.duties[duty, 0], tables.posts[own, UNIT]
    if moment.priority < URGENT and (tables.duties[duty, 3] or tables.units[unit, IS_GROUP]):
        return VOLUNTEER
    if moment.step >= OFFICE_STEP:
        return 0
    for i in range(cases.rows[moment.case, REPORTERS], cases.rows[moment.case, REPORTERS_END]):
        if cases.reporters[i] == person:
            return REPORTER
    if not tables.units[unit, CONTRACT_FROM] <= moment.due_ms < tables.units[unit, CONTRACT_UNTIL]:
        return NO_CONTRACT
    if not (tables.categories[moment.category, MAY_ASSIST] >> tables.posts[post, ROLE]) & 1:
        return NO_AUTHORITY
    return 0


@inlined
def _is_qualified(tables: Tables, category: int, person: int) -> bool:
    required = tables.categories[category, REQUIRED]
    if required == 0 and tables.categories[category, IS_FILLED]:
        return True
    return bool(
        tables.categories[category, IS_FILLED] and tables.persons[person, QUALIFICATIONS] & required == required
    )


@inlined
def _enter(tables: Tables, cases: Cases, moment: Moment, slot: Ints, duty: int, turn: Turn, sheet: Sheet) -> bool:
    """Enter the person of a duty for a slot (row of `Sheet.slots`) if he passes the filters and was not told before."""
    own, rank = turn.own, turn.rank
    person, count = tables.duties[duty, 0], sheet.counts
    if _is_among(sheet.told, count[N_TOLD], person):
        return False
    refusal = _refusal(tables, cases, moment, slot[SLOT_POST], own, duty)
    if refusal:
        count[WHY_SO] |= refusal
        return False
    if count[N_ENTRIES] == len(sheet.entries):
        count[IS_FULL] = 1
        return False
    why, n_open, is_over = slot[SLOT_WHY], 0, 0
    if rank:
        why |= DEPUTY if rank & IS_DEPUTY else DEPUTY | CHIEF_ABSENT
    is_unqualified = 0 if _is_qualified(tables, moment.category, person) else 1
    if moment.step < OFFICE_STEP:
        why |= UNQUALIFIED * is_unqualified
    if moment.priority >= URGENT:
        n_open = _open_cases(cases.loads, person)
        if n_open == NONE:
            count[WHY_SO] |= LOAD_UNKNOWN
            why |= LOAD_UNKNOWN
            n_open = 0
        is_over = 1 if n_open > tables.persons[person, MAX_OPEN] else 0
        why |= OVER_LOAD * is_over
        if _is_quiet(tables, person, moment.due_ms):
            why |= QUIET_HOURS
    entry = sheet.entries[count[N_ENTRIES]]
    entry[PERSON], entry[POST], entry[OWN], entry[WHY] = person, slot[SLOT_POST], own, why
    entry[FROM_MS], entry[UNTIL_MS] = tables.duties[duty, 1], tables.duties[duty, 2]
    place = max((rank & (IS_DEPUTY - 1)) - 1, 0)
    entry[KEY] = slot[SLOT_ORDER] << 39 | (rank & IS_DEPUTY) | place << 22 | is_unqualified << 21 | is_over << 20
    entry[KEY] |= min(n_open, 0xFFFFF)
    entry[KEY + 1] = slot[SLOT_DISTANCE_M] << 32 | person
    entry[KEY + 2] = slot[SLOT_POST]
    is_group = tables.units[tables.posts[own, UNIT], IS_GROUP]
    entry[MAY_LEAD] = 0 if is_unqualified or tables.duties[duty, 3] or is_group else 1
    count[N_ENTRIES] += 1
    return True


@inlined
def _holds(tables: Tables, duty: int, at_ms: int) -> bool:
    return bool(tables.duties[duty, 1] <= at_ms < tables.duties[duty, 2])


@inlined
def _enter_holders(tables: Tables, cases: Cases, moment: Moment, slot: Ints, turn: Turn, sheet: Sheet) -> int:
    """Enter whoever holds the post whose turn it is; return how many that are. Of deputies each takes a place."""
    n = 0
    for duty in range(tables.day_first[moment.day, turn.own], tables.day_first[moment.day, turn.own + 1]):
        if _holds(tables, duty, moment.due_ms) and (turn.only == NONE or turn.only == tables.duties[duty, 0]):
            place = turn.rank + n if turn.rank else 0
            entered = _enter(tables, cases, moment, slot, duty, Turn(turn.own, turn.only, place), sheet)
            n += 1 if entered else 0
    return n


@inlined
def _first_held(tables: Tables, moment: Moment, person: int) -> int:
    """Return the first of a person's posts that he holds then, or `NONE`."""
    for i in range(tables.persons[person, HELD], tables.persons[person, HELD_END]):
        own = tables.lists[i]
        for duty in range(tables.day_first[moment.day, own], tables.day_first[moment.day, own + 1]):
            if tables.duties[duty, 0] == person and _holds(tables, duty, moment.due_ms):
                return int(own)
    return NONE


@inlined
def _copy(source: Ints, target: Ints) -> None:
    """Copy a row; an assignment by slices would make an array in between."""
    for column in range(len(target)):
        target[column] = source[column]


@inlined
def _before(a: Ints, b: Ints) -> bool:
    if a[KEY] != b[KEY]:
        return bool(a[KEY] < b[KEY])
    if a[KEY + 1] != b[KEY + 1]:
        return bool(a[KEY + 1] < b[KEY + 1])
    return bool(a[KEY + 2] < b[KEY + 2])


@inlined
def _sort_entries(sheet: Sheet, spare: Ints) -> None:
    """Sort the entries of a step; of two that compare equal the first stays first. `spare` is a row to work with."""
    entries = sheet.entries
    for i in range(1, sheet.counts[N_ENTRIES]):
        if not _before(entries[i], entries[i - 1]):
            continue
        _copy(entries[i], spare)
        k = i
        while k > 0 and _before(spare, entries[k - 1]):
            _copy(entries[k - 1], entries[k])
            k -= 1
        _copy(spare, entries[k])


@inlined
def _ask(tables: Tables, cases: Cases, moment: Moment, sheet: Sheet) -> int:
    """Enter who may be asked of the posts in the slots, in order, each person once; return how many that are.

    A chief who is off duty or excluded hands over to his deputies, who then stand where he would.
    """
    count = sheet.counts
    count[N_ENTRIES] = 0
    for s in range(count[N_SLOTS]):
        slot = sheet.slots[s]
        post = slot[SLOT_POST]
        if count[N_ASKED] < len(sheet.asked):
            sheet.asked[count[N_ASKED]] = post
            count[N_ASKED] += 1
        else:
            count[IS_FULL] = 1
        rank, first = 0, tables.posts[post, DEPUTIES]
        for k in range(first - 1, tables.posts[post, DEPUTIES_END]):
            own, only = int(post), NONE
            if k >= first:
                deputy = int(tables.lists[k])
                own, only = (deputy, NONE) if deputy >= 0 else (_first_held(tables, moment, -2 - deputy), -2 - deputy)
            n = 0 if own == NONE else _enter_holders(tables, cases, moment, slot, Turn(own, only, rank), sheet)
            rank = rank + n if rank else 1 + (IS_DEPUTY if n else 0)
    n = count[N_ENTRIES]
    if n == 0:
        return 0
    if n == len(sheet.entries):
        count[IS_FULL] = 1
        return 0
    _sort_entries(sheet, sheet.entries[n])
    kept = 0
    for e in range(n):
        person = sheet.entries[e, PERSON]
        if _is_among(sheet.told, count[N_TOLD], person):
            continue
        if kept < e:
            _copy(sheet.entries[e], sheet.entries[kept])
        kept += 1
        if count[N_TOLD] == len(sheet.told):
            count[IS_FULL] = 1
            return 0
        sheet.told[count[N_TOLD]] = person
        count[N_TOLD] += 1
    count[N_ENTRIES] = kept
    return int(kept)


@bare
def _ask_aside(tables: Tables, cases: Cases, moment: Moment, sheet: Sheet) -> int:
    """`_ask`, compiled apart: for what is asked now and then."""
    return _ask(tables, cases, moment, sheet)


@inlined
def _has_told(tables: Tables, sheet: Sheet, due_ms: int) -> bool:
    """Whether somebody who holds one of the slots' posts then was given at an earlier step."""
    day = _day(tables, due_ms)
    for s in range(sheet.counts[N_SLOTS]):
        post = sheet.slots[s, SLOT_POST]
        for duty in range(tables.day_first[day, post], tables.day_first[day, post + 1]):
            if _holds(tables, duty, due_ms) and _is_among(sheet.told, sheet.counts[N_TOLD], tables.duties[duty, 0]):
                return True
    return False


@inlined
def _write(sheet: Sheet, chains: Chains, step: tuple[int, int, int, int], chiefs: bool, deputies: bool) -> None:
    """Write a step with the entries that are chiefs, then with those that stand behind one, as wanted."""
    count = sheet.counts
    if count[N_STEPS] == len(chains.steps) or count[N_CANDIDATES] + count[N_ENTRIES] > len(chains.candidates):
        count[IS_FULL] = 1
        return
    n = count[N_CANDIDATES]
    for are_deputies in (False, True):
        if not (deputies if are_deputies else chiefs):
            continue
        for e in range(count[N_ENTRIES]):
            if bool(sheet.entries[e, KEY] & IS_DEPUTY) == are_deputies:
                _copy(sheet.entries[e], chains.candidates[n])
                n += 1
    row = chains.steps[count[N_STEPS]]
    row[STEP_ROW], row[STEP_OFFSET_MS], row[STEP_AT_ONCE], row[STEP_REASONS] = step
    row[CANDIDATES_END] = n
    count[N_CANDIDATES] = n
    count[N_STEPS] += 1


@inlined
def _write_step(tables: Tables, sheet: Sheet, chains: Chains, priority: int, step: tuple[int, int, int, int]) -> None:
    """Write a step; if chiefs are told at once and it is not P1, their deputies follow after the first clock."""
    row, offset_ms, at_once, why = step
    has_chief, has_deputy = False, False
    for e in range(sheet.counts[N_ENTRIES]):
        if sheet.entries[e, KEY] & IS_DEPUTY:
            has_deputy = True
        else:
            has_chief = True
    clock_ms = tables.first_ack_ms[priority]
    if at_once and has_chief and has_deputy and clock_ms != NONE and priority != 0:
        _write(sheet, chains, step, True, False)
        _write(sheet, chains, (row, offset_ms + clock_ms, 0, why), False, True)
    else:
        _write(sheet, chains, step, True, True)


@inlined
def _add_slots(tables: Tables, sheet: Sheet, row: int, posts: tuple[int, int], why: int, distance_m: int) -> int:
    """Add the posts of a list whose roles a row asks for; return how many that are."""
    n = 0
    for i in range(posts[0], posts[1]):
        post = tables.lists[i]
        order = tables.order[row, tables.posts[post, ROLE]]
        if order == NONE:
            continue
        if sheet.counts[N_SLOTS] == len(sheet.slots):
            sheet.counts[IS_FULL] = 1
            return n
        slot = sheet.slots[sheet.counts[N_SLOTS]]
        slot[SLOT_ORDER], slot[SLOT_POST], slot[SLOT_WHY], slot[SLOT_DISTANCE_M] = order, post, why, distance_m
        sheet.counts[N_SLOTS] += 1
        n += 1
    return n


@inlined
def _place(tables: Tables, layer: int, index: int) -> int:
    """Return the row of a place in `Tables.places`, or `NONE`."""
    return NONE if index == NONE else int(tables.base[layer] + index)


@inlined
def _posts_of(tables: Tables, layer: int, index: int) -> tuple[int, int]:
    """Return the list of the posts that answer for a place; an empty one for `NONE`."""
    if index == NONE:
        return 0, 0
    place = tables.places[_place(tables, layer, index)]
    return int(place[POSTS]), int(place[POSTS_END])


@inlined
def _line_of(tables: Tables, cell: int) -> int:
    """Return the line that serves a cell, or `NONE`."""
    return NONE if cell == NONE else int(tables.places[tables.base[CELLS] + cell, LINE])


@inlined
def _chief_of_line(tables: Tables, cell: int) -> int:
    """Return the first chief of the line that serves a cell, or `NONE`."""
    posts = _posts_of(tables, LINES, _line_of(tables, cell))
    for i in range(posts[0], posts[1]):
        if (tables.roles[0] >> tables.posts[tables.lists[i], ROLE]) & 1:
            return int(tables.lists[i])
    return NONE


@inlined
def _first_slots(tables: Tables, owners: Owners, case: int, row: int, is_vague: bool, sheet: Sheet) -> None:
    """Fill the slots of step 0: of the exclusive cell, else the cell, else its line; then of micro cell and node.

    They stand in the order of their roles, then by id: so the first one's parents are those of the chain.
    """
    sheet.counts[N_SLOTS] = 0
    cell, distance_m = owners.cell[case], (owners.cell_mm[case] + 500) // 1000
    n = _add_slots(tables, sheet, row, _posts_of(tables, EXCLUSIVE, owners.exclusive[case]), INSIDE_EXCLUSIVE, 0)
    if not n:
        n = _add_slots(tables, sheet, row, _posts_of(tables, CELLS, cell), INSIDE_CELL, distance_m)
    if not n:
        _add_slots(tables, sheet, row, _posts_of(tables, LINES, _line_of(tables, cell)), LINE_OF_CELL, distance_m)
    if not is_vague:
        _add_slots(tables, sheet, row, _posts_of(tables, MICRO, owners.micro[case]), INSIDE_MICRO, 0)
        _add_slots(tables, sheet, row, _posts_of(tables, NODES, owners.node[case]), INSIDE_NODE, 0)
    for i in range(1, sheet.counts[N_SLOTS]):
        k = i
        while k > 0 and (
            sheet.slots[k - 1, SLOT_ORDER] > sheet.slots[k, SLOT_ORDER]
            or (
                sheet.slots[k - 1, SLOT_ORDER] == sheet.slots[k, SLOT_ORDER]
                and sheet.slots[k - 1, SLOT_POST] > sheet.slots[k, SLOT_POST]
            )
        ):
            for column in range(4):
                kept = sheet.slots[k, column]
                sheet.slots[k, column] = sheet.slots[k - 1, column]
                sheet.slots[k - 1, column] = kept
            k -= 1


@inlined
def _station(tables: Tables, owners: Owners, case: int, row: int) -> tuple[int, int]:
    """Return the list of the seats, or of the office, of the area around a point."""
    area, cell = tables.stations.shape[1] - 1, owners.cell[case]
    if cell != NONE:
        area = int(tables.places[tables.base[CELLS] + cell, AREA])
    return int(tables.stations[row, area, 0]), int(tables.stations[row, area, 1])


@inlined
def _slots_above(tables: Tables, owners: Owners, case: int, rule: Ints, post: int, sheet: Sheet) -> None:
    """Fill the slot of a step above 0: of a post and those over it the nearest with such a role, else an office."""
    sheet.counts[N_SLOTS] = 0
    row = rule[ROW]
    for _ in range(len(tables.posts)):
        if post == NONE:
            break
        if tables.order[row, tables.posts[post, ROLE]] != NONE:
            slot = sheet.slots[0]
            slot[SLOT_ORDER], slot[SLOT_POST] = tables.order[row, tables.posts[post, ROLE]], post
            slot[SLOT_WHY], slot[SLOT_DISTANCE_M] = ABOVE_LEAD, 0
            sheet.counts[N_SLOTS] = 1
            return
        post = tables.posts[post, PARENT]
    if rule[STEP] >= OFFICE_STEP:
        _add_slots(tables, sheet, row, _station(tables, owners, case, row), OFFICE, 0)


@inlined
def _note_leads(sheet: Sheet) -> None:
    """Count who of the entries may lead. The first of all leads."""
    for e in range(sheet.counts[N_ENTRIES]):
        if sheet.entries[e, MAY_LEAD]:
            if sheet.counts[N_LEADS] == 0:
                sheet.counts[LEADER] = sheet.entries[e, POST]
            sheet.counts[N_LEADS] += 1


@inlined
def _fill_slots(tables: Tables, owners: Owners, cases: Cases, case: int, rule: Ints, over: int, sheet: Sheet) -> int:
    """Fill the slots of a row; return the post at which the steps above 0 begin to look for theirs, `over` so far."""
    counts, row = sheet.counts, rule[ROW]
    if rule[IS_SEAT]:
        counts[N_SLOTS] = 0
        _add_slots(tables, sheet, row, _station(tables, owners, case, row), SEAT, 0)
    elif rule[STEP] == 0:
        _first_slots(tables, owners, case, row, cases.rows[case, RADIUS_MM] > MAX_RADIUS_MM, sheet)
        if counts[N_SLOTS]:
            return int(tables.posts[sheet.slots[0, SLOT_POST], PARENT])
        return _chief_of_line(tables, owners.cell[case])
    else:
        if counts[N_LEADS]:
            over = int(tables.posts[counts[LEADER], PARENT])
        _slots_above(tables, owners, case, rule, over, sheet)
    return over


@bare
def _write_chain(tables: Tables, owners: Owners, cases: Cases, case: int, sheet: Sheet, chains: Chains) -> None:
    """Write the steps of a question in the order of the catalogue."""
    count = sheet.counts
    category, priority, at_ms = cases.rows[case, CATEGORY], cases.rows[case, PRIORITY], cases.rows[case, AT_MS]
    over, skipped_ms = NONE, np.int64(NONE)
    for r in range(tables.rules.shape[1]):
        rule = tables.rules[priority, r]
        row, offset_ms = rule[ROW], rule[OFFSET_MS]
        if row == NONE:
            break
        step = OFFICE_STEP if rule[IS_SEAT] else rule[STEP]
        over = _fill_slots(tables, owners, cases, case, rule, over, sheet)
        if skipped_ms != NONE and not rule[IS_SEAT]:
            offset_ms = min(offset_ms, skipped_ms)
        due_ms = max(at_ms, cases.rows[case, SINCE_MS] + offset_ms)
        n = _ask(tables, cases, Moment(case, category, priority, step, due_ms, _day(tables, due_ms)), sheet)
        if rule[IS_SEAT]:
            _write(sheet, chains, (row, offset_ms, rule[AT_ONCE], 0), True, True)
        elif n:
            why = 0 if skipped_ms == NONE else NO_POST
            _write_step(tables, sheet, chains, priority, (row, offset_ms, rule[AT_ONCE], why))
            skipped_ms = np.int64(NONE)
            if step < OFFICE_STEP:
                _note_leads(sheet)
        elif not _has_told(tables, sheet, due_ms):
            count[WHY_SO] |= NOBODY if count[N_SLOTS] else NO_POST
            skipped_ms = offset_ms


@inlined
def _enter_off_duty(tables: Tables, sheet: Sheet, at_ms: int) -> None:
    """Enter everybody who ever holds a post of the slots: better called from bed than nobody."""
    count = sheet.counts
    for s in range(count[N_SLOTS]):
        post = sheet.slots[s, SLOT_POST]
        for i in range(tables.posts[post, HOLDERS], tables.posts[post, HOLDERS_END]):
            person = tables.lists[i]
            if _is_among(sheet.told, count[N_TOLD], person):
                continue
            if count[N_ENTRIES] == len(sheet.entries) or count[N_TOLD] == len(sheet.told):
                count[IS_FULL] = 1
                return
            entry = sheet.entries[count[N_ENTRIES]]
            entry[PERSON], entry[POST], entry[OWN], entry[WHY] = person, post, post, LAST_RESORT | OFF_DUTY
            entry[FROM_MS], entry[UNTIL_MS], entry[KEY] = at_ms, at_ms + LAST_RESORT_MS, 0
            sheet.told[count[N_TOLD]] = person
            count[N_ENTRIES] += 1
            count[N_TOLD] += 1


@bare
def _write_last_resort(tables: Tables, owners: Owners, cases: Cases, case: int, sheet: Sheet, chains: Chains) -> None:
    """Write the office as lead and the seat, both at once, on duty or not: nobody in the field may be asked."""
    count = sheet.counts
    count[N_TOLD] = 0
    priority, at_ms = cases.rows[case, PRIORITY], cases.rows[case, AT_MS]
    moment = Moment(case, cases.rows[case, CATEGORY], priority, OFFICE_STEP, at_ms, _day(tables, at_ms))
    for is_seat in (0, 1):
        for r in range(tables.last_resort.shape[0]):
            if tables.last_resort[r, IS_SEAT] != is_seat:
                continue
            row = tables.last_resort[r, ROW]
            count[N_SLOTS] = 0
            _add_slots(tables, sheet, row, _station(tables, owners, case, row), LAST_RESORT, 0)
            if count[N_SLOTS] and count[N_LEADS] == 0:
                count[LEADER] = sheet.slots[0, SLOT_POST]
                count[N_LEADS] = 1
            if _ask_aside(tables, cases, moment, sheet) == 0:
                _enter_off_duty(tables, sheet, at_ms)
            _write(sheet, chains, (row, 0, 1, LAST_RESORT), True, True)


@inlined
def _tell_too(tables: Tables, cases: Cases, moment: Moment, beside: Beside, sheet: Sheet, chains: Chains) -> None:
    """Write beside the steps who holds those of the posts that were not asked before."""
    for i in range(beside.first, beside.end):
        post = tables.lists[i]
        is_meant = (beside.roles >> tables.posts[post, ROLE]) & 1
        if not is_meant or _is_among(sheet.asked, sheet.counts[N_ASKED], post):
            continue
        slot = sheet.slots[0]
        slot[SLOT_ORDER], slot[SLOT_POST], slot[SLOT_WHY], slot[SLOT_DISTANCE_M] = 0, post, beside.why, 0
        sheet.counts[N_SLOTS] = 1
        if _ask_aside(tables, cases, moment, sheet):
            _write(sheet, chains, (CO_TELLING, 0, 1, 0), True, True)


@bare
def _write_co_tellings(tables: Tables, owners: Owners, cases: Cases, case: int, sheet: Sheet, chains: Chains) -> None:
    """Write the chief of a line that is hit and stands in another chain, and the officers of the cells around."""
    category, priority, at_ms = cases.rows[case, CATEGORY], cases.rows[case, PRIORITY], cases.rows[case, AT_MS]
    moment = Moment(case, category, priority, 0, at_ms, _day(tables, at_ms))
    line = _posts_of(tables, LINES, owners.line[case])
    _tell_too(tables, cases, moment, Beside(line[0], line[1], tables.roles[0], LINE_HIT), sheet, chains)
    for k in range(owners.near.shape[1]):
        near = _posts_of(tables, CELLS, owners.near[case, k])
        _tell_too(tables, cases, moment, Beside(near[0], near[1], tables.roles[1], BORDER_RADIUS), sheet, chains)


@inlined
def _why_here(owners: Owners, case: int, radius_mm: int) -> int:
    why = 0
    if owners.exclusive[case] != NONE:
        why |= INSIDE_EXCLUSIVE
    if owners.cell[case] == NONE:
        why |= OUTSIDE
    elif owners.cell_mm[case] > 0:
        why |= NEAREST_CELL
    if radius_mm > MAX_RADIUS_MM:
        why |= POSITION_VAGUE
    return why


@inlined
def _aim(ahead: Ints, n: int, number: int, day: int, kind: int) -> int:
    """Note what is to be fetched, behind the `n` that are noted; return how many there are then."""
    if number != NONE and n < len(ahead):
        ahead[n, NUMBER], ahead[n, DAY], ahead[n, KIND] = number, day, kind
        n += 1
    return n


@inlined
def _fetch_places(tables: Tables, owners: Owners, cases: Cases, some: tuple[int, int], ahead: Ints) -> tuple[int, int]:
    """Fetch the rows of the places of some questions; note their posts, and return where these begin and end."""
    n = 0
    for case in range(some[0], some[1]):
        day = _day(tables, cases.rows[case, AT_MS])
        n = _aim(ahead, n, _place(tables, EXCLUSIVE, owners.exclusive[case]), day, BELOW)
        n = _aim(ahead, n, _place(tables, CELLS, owners.cell[case]), day, BELOW)
        n = _aim(ahead, n, _place(tables, MICRO, owners.micro[case]), day, BESIDE)
        n = _aim(ahead, n, _place(tables, NODES, owners.node[case]), day, BESIDE)
        n = _aim(ahead, n, _place(tables, LINES, owners.line[case]), day, BESIDE)
        for k in range(owners.near.shape[1]):
            n = _aim(ahead, n, _place(tables, CELLS, owners.near[case, k]), day, BESIDE)
    for k in range(n):
        place = tables.places[ahead[k, NUMBER]]
        ahead[k, LIST], ahead[k, LIST_END] = place[POSTS], place[POSTS_END]
    end = n
    for k in range(n):
        for i in range(ahead[k, LIST], ahead[k, LIST_END]):
            end = _aim(ahead, end, tables.lists[i], ahead[k, DAY], ahead[k, KIND])
    return n, end


@inlined
def _fetch_posts(tables: Tables, first: int, last: int, ahead: Ints) -> int:
    """Fetch the rows of posts and persons; note their deputies and who is above them, and return where these end."""
    end = last
    for k in range(first, last):
        if ahead[k, KIND] == DEPUTY_PERSON:
            person = tables.persons[ahead[k, NUMBER]]
            ahead[k, LIST], ahead[k, LIST_END] = person[HELD], person[HELD_END]
            continue
        post = tables.posts[ahead[k, NUMBER]]
        ahead[k, LIST], ahead[k, LIST_END] = post[DEPUTIES], post[DEPUTIES_END]
        ahead[k, DUTY] = tables.day_first[ahead[k, DAY], ahead[k, NUMBER]]
        if ahead[k, KIND] == BELOW:
            end = _aim(ahead, end, post[PARENT], ahead[k, DAY], BELOW)
    for k in range(first, last):
        if ahead[k, KIND] != DEPUTY_PERSON and ahead[k, DUTY] < len(tables.duties):
            ahead[k, DUTY] = tables.duties[ahead[k, DUTY], 0]
        if ahead[k, KIND] == DEPUTY_POST:
            continue
        for i in range(ahead[k, LIST], ahead[k, LIST_END]):
            deputy = tables.lists[i]
            number, kind = (deputy, DEPUTY_POST) if deputy >= 0 else (-2 - deputy, DEPUTY_PERSON)
            end = _aim(ahead, end, number, ahead[k, DAY], kind)
    return end


@bare
def _fetch(tables: Tables, owners: Owners, cases: Cases, some: tuple[int, int], ahead: Ints) -> None:
    """Read what some questions will read, for the cache alone: of rows side by side it asks for many at a time."""
    first, last = _fetch_places(tables, owners, cases, some, ahead)
    for _ in range(AHEAD_LEVELS):
        end = _fetch_posts(tables, first, last, ahead)
        first, last = last, end


@bare
def rank(tables: Tables, owners: Owners, cases: Cases, sheet: Sheet, chains: Chains) -> int:
    """Write the chain of each question; return how many were written.

    If that is fewer than were asked, something did not fit: ask again with more room, in `chains` or on the sheet.

    Args:
        tables: what decides.
        owners: where the questions are.
        cases: the questions.
        sheet: scratch.
        chains: the answers.
    """
    count = sheet.counts
    count[:] = 0
    for case in range(len(cases.rows)):
        if case % TOGETHER == 0:
            _fetch(tables, owners, cases, (case, min(case + TOGETHER, len(cases.rows))), sheet.ahead)
        steps, candidates = count[N_STEPS], count[N_CANDIDATES]
        count[:] = 0
        count[N_STEPS], count[N_CANDIDATES], count[LEADER] = steps, candidates, NONE
        count[WHY_SO] = _why_here(owners, case, cases.rows[case, RADIUS_MM])
        _write_chain(tables, owners, cases, case, sheet, chains)
        if count[N_LEADS] == 0:
            count[WHY_SO] = (count[WHY_SO] & ~LOAD_UNKNOWN) | LAST_RESORT
            count[N_STEPS], count[N_CANDIDATES] = steps, candidates
            _write_last_resort(tables, owners, cases, case, sheet, chains)
        _write_co_tellings(tables, owners, cases, case, sheet, chains)
        if count[IS_FULL]:
            return case
        head = chains.heads[case]
        head[LEAD], head[REASONS], head[STEPS_END] = count[LEADER], count[WHY_SO], count[N_STEPS]
    return len(cases.rows)
