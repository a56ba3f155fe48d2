"""What stands beside the ordinary steps: the last resort, the chief of a line that is hit, the officers around."""

from __future__ import annotations

from typing import NamedTuple

from stream.chain.candidates import ask_aside
from stream.chain.lookups import Moment, is_among, moment_of
from stream.chain.slots import add_slots, posts_of, station
from stream.chain.steps import write
from stream.kernels import Owners, bare, inlined
from stream.layout import (
    AT_MS,
    BORDER_RADIUS,
    CATEGORY,
    CELLS,
    CO_TELLING,
    FROM_MS,
    HOLDERS,
    HOLDERS_END,
    IS_FULL,
    IS_SEAT,
    KEY,
    LAST_RESORT,
    LAST_RESORT_MS,
    LEADER,
    LINE_HIT,
    LINES,
    N_ASKED,
    N_ENTRIES,
    N_LEADS,
    N_SLOTS,
    N_TOLD,
    OFF_DUTY,
    OFFICE_STEP,
    OWN,
    PERSON,
    POST,
    PRIORITY,
    ROLE,
    ROW,
    SLOT_DISTANCE_M,
    SLOT_ORDER,
    SLOT_POST,
    SLOT_WHY,
    UNTIL_MS,
    WHY,
    Cases,
    Chains,
    Sheet,
    Tables,
)


class Beside(NamedTuple):
    """Who is told beside the steps: those of a list of posts who have one of some roles (a mask), and why."""

    first: int
    end: int
    roles: int
    why: int


@inlined
def _enter_off_duty(tables: Tables, sheet: Sheet, at_ms: int) -> None:
    """Enter everybody who ever holds a post of the slots: better called from bed than nobody."""
    count = sheet.counts
    for s in range(count[N_SLOTS]):
        post = sheet.slots[s, SLOT_POST]
        for i in range(tables.posts[post, HOLDERS], tables.posts[post, HOLDERS_END]):
            person = tables.lists[i]
            if is_among(sheet.told, 0, count[N_TOLD], person):
                continue
            if count[N_ENTRIES] == len(sheet.entries) or count[N_TOLD] == len(sheet.told):
                count[IS_FULL] = 1
                return
            sheet.ranked[count[N_ENTRIES]] = count[N_ENTRIES]
            entry = sheet.entries[count[N_ENTRIES]]
            entry[PERSON], entry[POST], entry[OWN], entry[WHY] = person, post, post, LAST_RESORT | OFF_DUTY
            entry[FROM_MS], entry[UNTIL_MS], entry[KEY] = at_ms, at_ms + LAST_RESORT_MS, 0
            sheet.told[count[N_TOLD]] = person
            count[N_ENTRIES] += 1
            count[N_TOLD] += 1


@bare
def write_last_resort(tables: Tables, owners: Owners, cases: Cases, case: int, sheet: Sheet, chains: Chains) -> None:
    """Write the office as lead and the seat, both at once, on duty or not: nobody in the field may be asked."""
    count = sheet.counts
    count[N_TOLD] = 0
    priority, at_ms = cases.rows[case, PRIORITY], cases.rows[case, AT_MS]
    moment = moment_of(tables, case, cases.rows[case, CATEGORY], priority, OFFICE_STEP, at_ms)
    for is_seat in (0, 1):
        for r in range(tables.last_resort.shape[0]):
            if tables.last_resort[r, IS_SEAT] != is_seat:
                continue
            row = tables.last_resort[r, ROW]
            count[N_SLOTS] = 0
            add_slots(tables, sheet, row, station(tables, owners, case, row), LAST_RESORT, 0)
            if count[N_SLOTS] and count[N_LEADS] == 0:
                count[LEADER] = sheet.slots[0, SLOT_POST]
                count[N_LEADS] = 1
            if ask_aside(tables, cases, moment, sheet) == 0:
                _enter_off_duty(tables, sheet, at_ms)
            write(sheet, chains, (row, 0, 1, LAST_RESORT), True, True)


@inlined
def _tell_too(tables: Tables, cases: Cases, moment: Moment, beside: Beside, sheet: Sheet, chains: Chains) -> None:
    """Write beside the steps who holds those of the posts that were not asked before."""
    for i in range(beside.first, beside.end):
        post = tables.lists[i]
        is_meant = (beside.roles >> tables.posts[post, ROLE]) & 1
        if not is_meant or is_among(sheet.asked, 0, sheet.counts[N_ASKED], post):
            continue
        slot = sheet.slots[0]
        slot[SLOT_ORDER], slot[SLOT_POST], slot[SLOT_WHY], slot[SLOT_DISTANCE_M] = 0, post, beside.why, 0
        sheet.counts[N_SLOTS] = 1
        if ask_aside(tables, cases, moment, sheet):
            write(sheet, chains, (CO_TELLING, 0, 1, 0), True, True)


@bare
def write_co_tellings(tables: Tables, owners: Owners, cases: Cases, case: int, sheet: Sheet, chains: Chains) -> None:
    """Write the chief of a line that is hit and stands in another chain, and the officers of the cells around."""
    category, priority, at_ms = cases.rows[case, CATEGORY], cases.rows[case, PRIORITY], cases.rows[case, AT_MS]
    moment = moment_of(tables, case, category, priority, 0, at_ms)
    line = posts_of(tables, LINES, owners.line[case])
    _tell_too(tables, cases, moment, Beside(line[0], line[1], tables.roles[0], LINE_HIT), sheet, chains)
    for k in range(owners.near.shape[1]):
        near = posts_of(tables, CELLS, owners.near[case, k])
        _tell_too(tables, cases, moment, Beside(near[0], near[1], tables.roles[1], BORDER_RADIUS), sheet, chains)
