"""Rows that some questions will read, fetched before the first of them is answered: for the cache alone."""

from __future__ import annotations

from stream.chain.lookups import day_of
from stream.chain.slots import place_of
from stream.kernels import NONE, Indices, Owners, bare, inlined
from stream.layout import (
    AHEAD_LEVELS,
    AT_MS,
    BELOW,
    BESIDE,
    CELLS,
    DAY,
    DEPUTIES,
    DEPUTIES_END,
    DUTY,
    DUTY_END,
    DUTY_PERSON,
    EXCLUSIVE,
    KIND,
    LINES,
    LIST,
    LIST_END,
    MICRO,
    NODES,
    NUMBER,
    OF_DEPUTY,
    PARENT,
    POSTS,
    POSTS_END,
    Cases,
    Tables,
)


@inlined
def _aim(ahead: Indices, n: int, number: int, day: int, kind: int) -> int:
    """Note what is to be fetched, behind the `n` that are noted; return how many there are then."""
    if n < len(ahead):
        ahead[n, NUMBER], ahead[n, DAY], ahead[n, KIND] = number, day, kind
        n += number != NONE  # no branch: the processor would guess before the number is there, and be wrong
    return n


@inlined
def _fetch_places(
    tables: Tables, owners: Owners, cases: Cases, some: tuple[int, int], ahead: Indices
) -> tuple[int, int]:
    """Fetch the rows of the places of some questions; note their posts, and return where these begin and end."""
    n = 0
    for case in range(some[0], some[1]):
        day = day_of(tables, cases.rows[case, AT_MS])
        n = _aim(ahead, n, place_of(tables, EXCLUSIVE, owners.exclusive[case]), day, BELOW)
        n = _aim(ahead, n, place_of(tables, CELLS, owners.cell[case]), day, BELOW)
        n = _aim(ahead, n, place_of(tables, MICRO, owners.micro[case]), day, BESIDE)
        n = _aim(ahead, n, place_of(tables, NODES, owners.node[case]), day, BESIDE)
        n = _aim(ahead, n, place_of(tables, LINES, owners.line[case]), day, BESIDE)
        for k in range(owners.near.shape[1]):
            n = _aim(ahead, n, place_of(tables, CELLS, owners.near[case, k]), day, BESIDE)
    for k in range(n):
        place = tables.places[ahead[k, NUMBER]]
        ahead[k, LIST], ahead[k, LIST_END] = place[POSTS], place[POSTS_END]
    end = n
    for k in range(n):
        for i in range(ahead[k, LIST], ahead[k, LIST_END]):
            end = _aim(ahead, end, tables.lists[i], ahead[k, DAY], ahead[k, KIND])
    return n, end


@inlined
def _fetch_posts(tables: Tables, first: int, last: int, ahead: Indices) -> int:
    """Fetch the rows and duties of posts; note who is above and beside them, and return where these end."""
    end = last
    for k in range(first, last):
        number, day = ahead[k, NUMBER], ahead[k, DAY]
        post = tables.posts[number]
        ahead[k, LIST], ahead[k, LIST_END] = post[DEPUTIES], post[DEPUTIES_END]
        ahead[k, DUTY], ahead[k, DUTY_END] = tables.day_first[day, number], tables.day_first[day, number + 1]
        if ahead[k, KIND] == BELOW:
            end = _aim(ahead, end, post[PARENT], day, BELOW)
    for k in range(first, last):
        if ahead[k, DUTY] < ahead[k, DUTY_END]:
            ahead[k, NUMBER] = tables.duties[ahead[k, DUTY], DUTY_PERSON]
        if ahead[k, KIND] != OF_DEPUTY:
            for i in range(ahead[k, LIST], ahead[k, LIST_END], 2):
                end = _aim(ahead, end, tables.lists[i + 1], ahead[k, DAY], OF_DEPUTY)
    return end


@bare
def fetch(tables: Tables, owners: Owners, cases: Cases, some: tuple[int, int], ahead: Indices) -> None:
    """Read what some questions will read, for the cache alone: of rows side by side it asks for many at a time."""
    first, last = _fetch_places(tables, owners, cases, some, ahead)
    for _ in range(AHEAD_LEVELS):
        end = _fetch_posts(tables, first, last, ahead)
        first, last = last, end
