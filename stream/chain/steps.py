"""The steps of the catalogue, one after the other: who is asked at each goes into the answer."""

from __future__ import annotations

import numpy as np

from stream.chain.candidates import ask, has_told
from stream.chain.lookups import moment_of
from stream.chain.slots import fill_slots
from stream.kernels import NONE, Owners, bare, inlined
from stream.layout import (
    AT_MS,
    AT_ONCE,
    CANDIDATES_END,
    CATEGORY,
    IS_DEPUTY,
    IS_FULL,
    IS_SEAT,
    KEY,
    LEADER,
    MAY_LEAD,
    N_CANDIDATES,
    N_ENTRIES,
    N_LEADS,
    N_SLOTS,
    N_STEPS,
    NO_POST,
    NOBODY,
    OFFICE_STEP,
    OFFSET_MS,
    POST,
    PRIORITY,
    ROW,
    SINCE_MS,
    STEP,
    STEP_AT_ONCE,
    STEP_OFFSET_MS,
    STEP_REASONS,
    STEP_ROW,
    WHY_SO,
    Cases,
    Chains,
    Sheet,
    Tables,
)


@inlined
def write(sheet: Sheet, chains: Chains, step: tuple[int, int, int, int], chiefs: bool, deputies: bool) -> None:
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
            entry = sheet.entries[sheet.ranked[e]]
            if bool(entry[KEY] & IS_DEPUTY) == are_deputies:
                for column in range(chains.candidates.shape[1]):
                    chains.candidates[n, column] = entry[column]
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
        if sheet.entries[sheet.ranked[e], KEY] & IS_DEPUTY:
            has_deputy = True
        else:
            has_chief = True
    clock_ms = tables.first_ack_ms[priority]
    if at_once and has_chief and has_deputy and clock_ms != NONE and priority != 0:
        write(sheet, chains, step, True, False)
        write(sheet, chains, (row, offset_ms + clock_ms, 0, why), False, True)
    else:
        write(sheet, chains, step, True, True)


@inlined
def _note_leads(sheet: Sheet) -> None:
    """Count who of the entries may lead. The first of all leads."""
    for e in range(sheet.counts[N_ENTRIES]):
        entry = sheet.entries[sheet.ranked[e]]
        if entry[MAY_LEAD]:
            if sheet.counts[N_LEADS] == 0:
                sheet.counts[LEADER] = entry[POST]
            sheet.counts[N_LEADS] += 1


@bare
def write_chain(tables: Tables, owners: Owners, cases: Cases, case: int, sheet: Sheet, chains: Chains) -> None:
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
        over = fill_slots(tables, owners, cases, case, rule, over, sheet)
        if skipped_ms != NONE and not rule[IS_SEAT]:
            offset_ms = min(offset_ms, skipped_ms)
        due_ms = max(at_ms, cases.rows[case, SINCE_MS] + offset_ms)
        moment = moment_of(tables, case, category, priority, step, due_ms)
        n = ask(tables, cases, moment, sheet)
        if rule[IS_SEAT]:
            write(sheet, chains, (row, offset_ms, rule[AT_ONCE], 0), True, True)
        elif n:
            why = 0 if skipped_ms == NONE else NO_POST
            _write_step(tables, sheet, chains, priority, (row, offset_ms, rule[AT_ONCE], why))
            skipped_ms = np.int64(NONE)
            if step < OFFICE_STEP:
                _note_leads(sheet)
        elif not has_told(tables, sheet, moment):
            count[WHY_SO] |= NOBODY if count[N_SLOTS] else NO_POST
            skipped_ms = offset_ms
