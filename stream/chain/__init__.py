"""The compiled loops that find who is asked, in which order, and why: the chain of steps 0 to 5.

Places, posts, persons and units are numbers; `stream.layout` says how they lie, `stream.tables` makes them. Comparing
the numbers of two posts or persons compares their ids.
"""

from __future__ import annotations

from stream.chain.ahead import fetch
from stream.chain.aside import write_co_tellings, write_last_resort
from stream.chain.steps import write_chain
from stream.kernels import MAX_RADIUS_MM, NONE, Owners, bare, inlined
from stream.layout import (
    INSIDE_EXCLUSIVE,
    IS_FULL,
    LAST_RESORT,
    LEAD,
    LEADER,
    LOAD_UNKNOWN,
    N_CANDIDATES,
    N_LEADS,
    N_STEPS,
    NEAREST_CELL,
    OUTSIDE,
    POSITION_VAGUE,
    RADIUS_MM,
    REASONS,
    STEPS_END,
    TOGETHER,
    WHY_SO,
    Cases,
    Chains,
    Sheet,
    Tables,
)


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
            fetch(tables, owners, cases, (case, min(case + TOGETHER, len(cases.rows))), sheet.ahead)
        steps, candidates = count[N_STEPS], count[N_CANDIDATES]
        count[:] = 0
        count[N_STEPS], count[N_CANDIDATES], count[LEADER] = steps, candidates, NONE
        count[WHY_SO] = _why_here(owners, case, cases.rows[case, RADIUS_MM])
        write_chain(tables, owners, cases, case, sheet, chains)
        if count[N_LEADS] == 0:
            count[WHY_SO] = (count[WHY_SO] & ~LOAD_UNKNOWN) | LAST_RESORT
            count[N_STEPS], count[N_CANDIDATES] = steps, candidates
            write_last_resort(tables, owners, cases, case, sheet, chains)
        write_co_tellings(tables, owners, cases, case, sheet, chains)
        if count[IS_FULL]:
            return case
        head = chains.heads[case]
        head[LEAD], head[REASONS], head[STEPS_END] = count[LEADER], count[WHY_SO], count[N_STEPS]
    return len(cases.rows)
