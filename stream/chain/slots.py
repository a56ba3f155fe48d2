"""Which posts are asked at a step: those of the places around a point, of those above, and of offices and seats."""

from __future__ import annotations

from stream.kernels import MAX_RADIUS_MM, NONE, Ints, Owners, inlined
from stream.layout import (
    ABOVE_LEAD,
    AREA,
    CELLS,
    EXCLUSIVE,
    INSIDE_CELL,
    INSIDE_EXCLUSIVE,
    INSIDE_MICRO,
    INSIDE_NODE,
    IS_FULL,
    IS_SEAT,
    LEADER,
    LINE,
    LINE_OF_CELL,
    LINES,
    MICRO,
    N_LEADS,
    N_SLOTS,
    NODES,
    OFFICE,
    OFFICE_STEP,
    PARENT,
    POSTS,
    POSTS_END,
    RADIUS_MM,
    ROLE,
    ROW,
    SEAT,
    SLOT_DISTANCE_M,
    SLOT_ORDER,
    SLOT_POST,
    SLOT_WHY,
    STEP,
    Cases,
    Sheet,
    Tables,
)


@inlined
def add_slots(tables: Tables, sheet: Sheet, row: int, posts: tuple[int, int], why: int, distance_m: int) -> int:
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
def place_of(tables: Tables, layer: int, index: int) -> int:
    """Return the row of a place in `Tables.places`, or `NONE`."""
    return NONE if index == NONE else int(tables.base[layer] + index)


@inlined
def posts_of(tables: Tables, layer: int, index: int) -> tuple[int, int]:
    """Return the list of the posts that answer for a place; an empty one for `NONE`."""
    if index == NONE:
        return 0, 0
    place = tables.places[place_of(tables, layer, index)]
    return int(place[POSTS]), int(place[POSTS_END])


@inlined
def _line_of(tables: Tables, cell: int) -> int:
    """Return the line that serves a cell, or `NONE`."""
    return NONE if cell == NONE else int(tables.places[tables.base[CELLS] + cell, LINE])


@inlined
def _chief_of_line(tables: Tables, cell: int) -> int:
    """Return the first chief of the line that serves a cell, or `NONE`."""
    posts = posts_of(tables, LINES, _line_of(tables, cell))
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
    n = add_slots(tables, sheet, row, posts_of(tables, EXCLUSIVE, owners.exclusive[case]), INSIDE_EXCLUSIVE, 0)
    if not n:
        n = add_slots(tables, sheet, row, posts_of(tables, CELLS, cell), INSIDE_CELL, distance_m)
    if not n:
        add_slots(tables, sheet, row, posts_of(tables, LINES, _line_of(tables, cell)), LINE_OF_CELL, distance_m)
    if not is_vague:
        add_slots(tables, sheet, row, posts_of(tables, MICRO, owners.micro[case]), INSIDE_MICRO, 0)
        add_slots(tables, sheet, row, posts_of(tables, NODES, owners.node[case]), INSIDE_NODE, 0)
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
def station(tables: Tables, owners: Owners, case: int, row: int) -> tuple[int, int]:
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
        add_slots(tables, sheet, row, station(tables, owners, case, row), OFFICE, 0)


@inlined
def fill_slots(tables: Tables, owners: Owners, cases: Cases, case: int, rule: Ints, over: int, sheet: Sheet) -> int:
    """Fill the slots of a row; return the post at which the steps above 0 begin to look for theirs, `over` so far."""
    counts, row = sheet.counts, rule[ROW]
    if rule[IS_SEAT]:
        counts[N_SLOTS] = 0
        add_slots(tables, sheet, row, station(tables, owners, case, row), SEAT, 0)
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
