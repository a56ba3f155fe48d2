"""Rows that some questions will read, fetched before the first of them is answered: for the cache alone."""

from __future__ import annotations

from stream.chain.lookups import day_of, holds
from stream.chain.slots import place_of
from stream.kernels import NONE, Ints, Owners, bare, inlined
from stream.layout import (
    AHEAD_LEVELS,
    ASKED_MS,
    AT_MS,
    BELOW,
    BESIDE,
    CELLS,
    DEPUTIES,
    DEPUTIES_END,
    DEPUTY_PERSON,
    DEPUTY_POST,
    DUTY,
    DUTY_END,
    EXCLUSIVE,
    HELD,
    HELD_END,
    KIND,
    LINES,
    LIST,
    LIST_END,
    MICRO,
    NODES,
    NUMBER,
    PARENT,
    POSTS,
    POSTS_END,
    QUIET_FROM,
    Cases,
    Tables,
)


@inlined
def _aim(ahead: Ints, n: int, number: int, at_ms: int, kind: int) -> int:
    """Note what is to be fetched, behind the `n` that are noted; return how many there are then."""
    if number != NONE and n < len(ahead):
        ahead[n, NUMBER], ahead[n, ASKED_MS], ahead[n, KIND] = number, at_ms, kind
        n += 1
    return n


@inlined
def _fetch_places(tables: Tables, owners: Owners, cases: Cases, some: tuple[int, int], ahead: Ints) -> tuple[int, int]:
    """Fetch the rows of the places of some questions; note their posts, and return where these begin and end."""
    n = 0
    for case in range(some[0], some[1]):
        at_ms = cases.rows[case, AT_MS]
        n = _aim(ahead, n, place_of(tables, EXCLUSIVE, owners.exclusive[case]), at_ms, BELOW)
        n = _aim(ahead, n, place_of(tables, CELLS, owners.cell[case]), at_ms, BELOW)
        n = _aim(ahead, n, place_of(tables, MICRO, owners.micro[case]), at_ms, BESIDE)
        n = _aim(ahead, n, place_of(tables, NODES, owners.node[case]), at_ms, BESIDE)
        n = _aim(ahead, n, place_of(tables, LINES, owners.line[case]), at_ms, BESIDE)
        for k in range(owners.near.shape[1]):
            n = _aim(ahead, n, place_of(tables, CELLS, owners.near[case, k]), at_ms, BESIDE)
    for k in range(n):
        place = tables.places[ahead[k, NUMBER]]
        ahead[k, LIST], ahead[k, LIST_END] = place[POSTS], place[POSTS_END]
    end = n
    for k in range(n):
        for i in range(ahead[k, LIST], ahead[k, LIST_END]):
            end = _aim(ahead, end, tables.lists[i], ahead[k, ASKED_MS], ahead[k, KIND])
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
        post, day = tables.posts[ahead[k, NUMBER]], day_of(tables, ahead[k, ASKED_MS])
        ahead[k, LIST], ahead[k, LIST_END] = post[DEPUTIES], post[DEPUTIES_END]
        ahead[k, DUTY] = tables.day_first[day, ahead[k, NUMBER]]
        ahead[k, DUTY_END] = tables.day_first[day, ahead[k, NUMBER] + 1]
        if ahead[k, KIND] == BELOW:
            end = _aim(ahead, end, post[PARENT], ahead[k, ASKED_MS], BELOW)
    for k in range(first, last):
        if ahead[k, KIND] != DEPUTY_PERSON:
            ahead[k, NUMBER] = _holder(tables, ahead[k, DUTY], ahead[k, DUTY_END], ahead[k, ASKED_MS])
        if ahead[k, KIND] == DEPUTY_POST:
            continue
        for i in range(ahead[k, LIST], ahead[k, LIST_END]):
            deputy = tables.lists[i]
            number, kind = (deputy, DEPUTY_POST) if deputy >= 0 else (-2 - deputy, DEPUTY_PERSON)
            end = _aim(ahead, end, number, ahead[k, ASKED_MS], kind)
    for k in range(first, last):
        if ahead[k, KIND] != DEPUTY_PERSON and ahead[k, NUMBER] != NONE:
            ahead[k, NUMBER] = tables.persons[ahead[k, NUMBER], QUIET_FROM]
    return end


@inlined
def _holder(tables: Tables, duty: int, end: int, at_ms: int) -> int:
    """Return the person who has the first of some duties that is held then, or `NONE`."""
    for k in range(duty, end):
        if holds(tables, k, at_ms):
            return int(tables.duties[k, 0])
    return NONE


@bare
def fetch(tables: Tables, owners: Owners, cases: Cases, some: tuple[int, int], ahead: Ints) -> None:
    """Read what some questions will read, for the cache alone: of rows side by side it asks for many at a time."""
    first, last = _fetch_places(tables, owners, cases, some, ahead)
    for _ in range(AHEAD_LEVELS):
        end = _fetch_posts(tables, first, last, ahead)
        first, last = last, end
