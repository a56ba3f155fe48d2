"""Who may be asked at a step: the hard filters, deputies behind their chief, and the order among all of them."""

from __future__ import annotations

from typing import NamedTuple

from stream.chain.lookups import Moment, first_held, holds, is_among, is_qualified, is_quiet, open_cases
from stream.kernels import NONE, Ints, bare, inlined
from stream.layout import (
    CHIEF_ABSENT,
    CONTRACT_FROM,
    CONTRACT_UNTIL,
    DEPUTIES,
    DEPUTIES_END,
    DEPUTY,
    DUTY_FROM,
    DUTY_PERSON,
    DUTY_UNTIL,
    FROM_MS,
    IS_DEPUTY,
    IS_FULL,
    IS_GROUP,
    IS_VOLUNTEER,
    KEY,
    LOAD_UNKNOWN,
    MAX_OPEN,
    MAY_ASSIST,
    MAY_LEAD,
    N_ASKED,
    N_ENTRIES,
    N_SLOTS,
    N_TOLD,
    NO_AUTHORITY,
    NO_CONTRACT,
    OFFICE_STEP,
    OVER_LOAD,
    OWN,
    PERSON,
    POST,
    QUIET_HOURS,
    REPORTER,
    REPORTERS,
    REPORTERS_END,
    ROLE,
    SLOT_DISTANCE_M,
    SLOT_ORDER,
    SLOT_POST,
    SLOT_WHY,
    UNIT,
    UNQUALIFIED,
    UNTIL_MS,
    URGENT,
    VOLUNTEER,
    WHY,
    WHY_SO,
    Cases,
    Sheet,
    Tables,
)


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


@inlined
def _refusal(tables: Tables, cases: Cases, moment: Moment, post: int, own: int, duty: int) -> int:
    """Return why who has a duty of post `own` is not asked for `post`, 0 if he is: the hard filters."""
    person, unit = tables.duties[duty, DUTY_PERSON], tables.posts[own, UNIT]
    if moment.priority < URGENT and (tables.duties[duty, IS_VOLUNTEER] or tables.units[unit, IS_GROUP]):
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
def _enter(tables: Tables, cases: Cases, moment: Moment, slot: Ints, duty: int, turn: Turn, sheet: Sheet) -> bool:
    """Enter the person of a duty for a slot (row of `Sheet.slots`) if he passes the filters and was not told before."""
    own, rank = turn.own, turn.rank
    person, count = tables.duties[duty, DUTY_PERSON], sheet.counts
    if is_among(sheet.told, 0, count[N_TOLD], person):
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
    is_unqualified = 0 if is_qualified(tables, moment.category, person) else 1
    if moment.step < OFFICE_STEP:
        why |= UNQUALIFIED * is_unqualified
    if moment.priority >= URGENT:
        n_open = open_cases(cases.loads, person)
        if n_open == NONE:
            count[WHY_SO] |= LOAD_UNKNOWN
            why |= LOAD_UNKNOWN
            n_open = 0
        is_over = 1 if n_open > tables.duties[duty, MAX_OPEN] else 0
        why |= OVER_LOAD * is_over
        if is_quiet(tables, duty, moment.minute):
            why |= QUIET_HOURS
    entry = sheet.entries[count[N_ENTRIES]]
    entry[PERSON], entry[POST], entry[OWN], entry[WHY] = person, slot[SLOT_POST], own, why
    day_ms = moment.due_ms - moment.of_day_ms
    entry[FROM_MS] = day_ms + int(tables.duties[duty, DUTY_FROM])
    entry[UNTIL_MS] = day_ms + int(tables.duties[duty, DUTY_UNTIL])
    place = max((rank & (IS_DEPUTY - 1)) - 1, 0)
    entry[KEY] = slot[SLOT_ORDER] << 39 | (rank & IS_DEPUTY) | place << 22 | is_unqualified << 21 | is_over << 20
    entry[KEY] |= min(n_open, 0xFFFFF)
    entry[KEY + 1] = slot[SLOT_DISTANCE_M] << 32 | person
    entry[KEY + 2] = slot[SLOT_POST]
    is_group = tables.units[tables.posts[own, UNIT], IS_GROUP]
    entry[MAY_LEAD] = 0 if is_unqualified or tables.duties[duty, IS_VOLUNTEER] or is_group else 1
    count[N_ENTRIES] += 1
    return True


@inlined
def _enter_holders(tables: Tables, cases: Cases, moment: Moment, slot: Ints, turn: Turn, sheet: Sheet) -> int:
    """Enter whoever holds the post whose turn it is; return how many that are. Of deputies each takes a place."""
    n = 0
    for duty in range(tables.day_first[moment.day, turn.own], tables.day_first[moment.day, turn.own + 1]):
        is_meant = turn.only == NONE or turn.only == tables.duties[duty, DUTY_PERSON]
        if holds(tables, duty, moment.of_day_ms) and is_meant:
            place = turn.rank + n if turn.rank else 0
            entered = _enter(tables, cases, moment, slot, duty, Turn(turn.own, turn.only, place), sheet)
            n += 1 if entered else 0
    return n


@inlined
def _before(a: Ints, b: Ints) -> bool:
    if a[KEY] != b[KEY]:
        return bool(a[KEY] < b[KEY])
    if a[KEY + 1] != b[KEY + 1]:
        return bool(a[KEY + 1] < b[KEY + 1])
    return bool(a[KEY + 2] < b[KEY + 2])


@inlined
def _rank_entries(sheet: Sheet) -> None:
    """Put the entries of a step into their order; of two that compare equal the first stays first."""
    entries, ranked = sheet.entries, sheet.ranked
    for i in range(sheet.counts[N_ENTRIES]):
        k = i
        while k > 0 and _before(entries[i], entries[ranked[k - 1]]):
            ranked[k] = ranked[k - 1]
            k -= 1
        ranked[k] = i


@inlined
def _enter_slots(tables: Tables, cases: Cases, moment: Moment, sheet: Sheet) -> None:
    """Enter who holds the posts in the slots, and their deputies, who stand behind a chief who is there himself."""
    count = sheet.counts
    for s in range(count[N_SLOTS]):
        slot = sheet.slots[s]
        post = slot[SLOT_POST]
        if count[N_ASKED] < len(sheet.asked):
            sheet.asked[count[N_ASKED]] = post
            count[N_ASKED] += 1
        else:
            count[IS_FULL] = 1
        rank, first = 0, tables.posts[post, DEPUTIES]
        for k in range(first - 2, tables.posts[post, DEPUTIES_END], 2):
            own, only = int(post), NONE
            if k >= first:
                deputy, own = int(tables.lists[k]), int(tables.lists[k + 1])
                only = NONE if deputy >= 0 else -2 - deputy
                if own == NONE:
                    own = first_held(tables, moment, only)
            n = 0 if own == NONE else _enter_holders(tables, cases, moment, slot, Turn(own, only, rank), sheet)
            rank = rank + n if rank else 1 + (IS_DEPUTY if n else 0)


@inlined
def _tell(sheet: Sheet) -> int:
    """Keep the first entry of each person and note him as told; return how many that are."""
    count = sheet.counts
    kept, before = 0, count[N_TOLD]
    for e in range(count[N_ENTRIES]):
        person = sheet.entries[sheet.ranked[e], PERSON]
        if is_among(sheet.told, before, count[N_TOLD], person):  # whoever was told at an earlier step is not entered
            continue
        if count[N_TOLD] == len(sheet.told):
            count[IS_FULL] = 1
            return 0
        sheet.ranked[kept] = sheet.ranked[e]
        kept += 1
        sheet.told[count[N_TOLD]] = person
        count[N_TOLD] += 1
    count[N_ENTRIES] = kept
    return int(kept)


@inlined
def ask(tables: Tables, cases: Cases, moment: Moment, sheet: Sheet) -> int:
    """Enter who may be asked of the posts in the slots, in order, each person once; return how many that are.

    A chief who is off duty or excluded hands over to his deputies, who then stand where he would.
    """
    sheet.counts[N_ENTRIES] = 0
    _enter_slots(tables, cases, moment, sheet)
    if sheet.counts[N_ENTRIES] == 0:
        return 0
    _rank_entries(sheet)
    return _tell(sheet)


@bare
def ask_aside(tables: Tables, cases: Cases, moment: Moment, sheet: Sheet) -> int:
    """`ask`, compiled apart: for what is asked now and then."""
    return ask(tables, cases, moment, sheet)


@inlined
def has_told(tables: Tables, sheet: Sheet, moment: Moment) -> bool:
    """Whether somebody who holds one of the slots' posts then was given at an earlier step."""
    told, n_told = sheet.told, sheet.counts[N_TOLD]
    for s in range(sheet.counts[N_SLOTS]):
        post = sheet.slots[s, SLOT_POST]
        for duty in range(tables.day_first[moment.day, post], tables.day_first[moment.day, post + 1]):
            if holds(tables, duty, moment.of_day_ms) and is_among(told, 0, n_told, tables.duties[duty, DUTY_PERSON]):
                return True
    return False
