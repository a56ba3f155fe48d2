"""People, places and catalogue as the numbers that `stream.chain` reads.

Persons and posts are numbered by id, places by layer and precedence (`stream.locate.Codes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain as chained
from typing import Final

import numpy as np
import numpy.typing as npt

from models.catalogue import Catalogue, Category, Step
from models.people import May, People, Role
from models.people.columns import ROLES, PeopleColumns
from models.places import Places
from stream import layout
from stream.days import PRIORITIES, Days
from stream.kernels import NONE, Indices, Ints
from stream.layout import OFFICE_STEP, Tables
from stream.locate import Codes

LINE_CHIEFS: Final = (Role.LANE_CHIEF, Role.ROAD_CHIEF, Role.STREET_CHIEF)


class Roll:
    """Everything that decides who is asked, for one version of places, people and catalogue.

    Attributes:
        tables: what the kernels read; duty is in it for the days that were asked for.
    """

    def __init__(self, places: Places, people: People, catalogue: Catalogue, codes: Codes, days: Days) -> None:
        columns, lists = people.columns, _Lists()
        self._days, self._covered = days, days.tables
        areas, area_of_cell = _areas(places, codes)
        posts, persons = _posts(columns, lists), _persons(columns, lists)
        place_rows, base = _places(places, codes, area_of_cell, columns, lists)
        stations = _stations(catalogue, people, columns, areas, lists)
        self.tables = Tables(
            posts=posts,
            persons=persons,
            qualifications=columns.qualification_bits.view(np.int64),
            units=_units(columns),
            places=place_rows,
            base=base,
            stations=stations,
            lists=lists.array,
            rules=_rules(catalogue),
            order=_order(catalogue.steps),
            roles=np.array([_mask(LINE_CHIEFS), _mask([Role.GRID_OFFICER])], dtype=np.int64),
            categories=_categories(catalogue.categories, columns),
            last_resort=_last_resort(catalogue.steps),
            first_ack_ms=_first_ack(catalogue),
            **days.tables._asdict(),
        )

    def at(self, rows: Ints) -> Tables:
        """Return the tables with the duty of every day on which the chains of these cases may ask (`Cases.rows`)."""
        covered = self._days.cover(rows)
        if covered is not self._covered:
            self._covered, self.tables = covered, self.tables._replace(**covered._asdict())
        return self.tables


class _Lists:
    """Lists of posts and persons, one after the other."""

    def __init__(self) -> None:
        self._parts: list[Indices] = []
        self._n = 0

    def add(self, values: Sequence[int]) -> tuple[int, int]:
        """Add one list and return where it begins and ends."""
        return self._append(np.asarray(values, dtype=np.int32))

    def add_all(self, start: Ints, values: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Add lists in CSR form and return where each begins and ends, (lists, 2)."""
        first, _ = self._append(values.astype(np.int32))
        return np.column_stack([start[:-1], start[1:]]) + first

    @property
    def array(self) -> Indices:
        """All of them."""
        return np.concatenate([*self._parts, np.empty(0, dtype=np.int32)])

    def _append(self, values: Indices) -> tuple[int, int]:
        first = self._n
        self._parts.append(values)
        self._n += len(values)
        return first, self._n


def _mask(roles: Iterable[Role]) -> int:
    return sum(1 << ROLES.index(role) for role in set(roles))


def _posts(columns: PeopleColumns, lists: _Lists) -> Indices:
    rows = layout.rows_of(len(columns.post_ids), 8)
    rows[:, layout.ROLE], rows[:, layout.UNIT], rows[:, layout.PARENT] = columns.role, columns.unit, columns.parent
    is_post = columns.deputy_post != NONE
    deputy = np.where(is_post, columns.deputy_post, -2 - columns.deputy_person)
    own = np.where(is_post, columns.deputy_post, np.append(_only_held(columns), NONE)[columns.deputy_person])
    rows[:, [layout.DEPUTIES, layout.DEPUTIES_END]] = lists.add_all(
        2 * columns.deputy_start, np.column_stack([deputy, own]).reshape(-1)
    )
    rows[:, [layout.HOLDERS, layout.HOLDERS_END]] = lists.add_all(*_holders(columns))
    return rows


def _only_held(columns: PeopleColumns) -> Indices:
    """Give by person the only post that he holds by any shift, `NONE` where there are several or none."""
    first, end = columns.held_start[:-1], columns.held_start[1:]
    return np.where(end - first == 1, np.append(columns.held_post, NONE)[first], NONE).astype(np.int32)


def _holders(columns: PeopleColumns) -> tuple[Ints, Indices]:
    """Give by post the persons who hold it by any shift and serve at present."""
    person = np.repeat(np.arange(len(columns.person_ids), dtype=np.int32), np.diff(columns.held_start))
    absent = columns.people.rota.absent
    serves = np.fromiter((key not in absent for key in columns.person_ids), np.bool_)
    post, person = columns.held_post[serves[person]], person[serves[person]]
    order = np.lexsort((person, post))
    return np.searchsorted(post[order], np.arange(len(columns.post_ids) + 1)), person[order]


def _persons(columns: PeopleColumns, lists: _Lists) -> Indices:
    return lists.add_all(columns.held_start, columns.held_post).astype(np.int32)


def _units(columns: PeopleColumns) -> Ints:
    return np.column_stack([columns.is_volunteer_group, columns.contract_from_ms, columns.contract_until_ms])


def _places(
    places: Places, codes: Codes, area_of_cell: Sequence[int], columns: PeopleColumns, lists: _Lists
) -> tuple[Indices, Ints]:
    """Give the rows of all places, in the order of `layout.CELLS` and the following, and where each layer begins."""
    layers = (codes.cell, codes.micro, codes.node, codes.line, codes.exclusive)
    base = np.cumsum([0, *(len(layer) for layer in layers)], dtype=np.int64)
    scope = {code: number for number, code in enumerate(columns.scope_codes)}
    rows = layout.rows_of(int(base[-1]), 4)
    rows[:] = NONE
    posts = np.vstack([lists.add_all(columns.scope_start, columns.scope_post), [[0, 0]]])
    numbers = [scope.get(code, NONE) for code in chained.from_iterable(layers)]
    rows[:, [layout.POSTS, layout.POSTS_END]] = posts[numbers]
    lines = {code: number for number, code in enumerate(codes.line)}
    cells = slice(0, len(codes.cell))
    by_code = places.cell_by_code
    rows[cells, layout.LINE] = [lines.get(by_code[code].line or "", NONE) for code in codes.cell]
    rows[cells, layout.AREA] = area_of_cell
    return rows, base[:-1]


def _areas(places: Places, codes: Codes) -> tuple[list[tuple[str, ...]], list[int]]:
    """Give the areas that cells lie in, each with those above it, nearest first; and which it is of each cell."""
    parents = [places.cell_by_code[code].parent for code in codes.cell]
    number = {code: n for n, code in enumerate(dict.fromkeys(parents))}
    return [_upwards(places, code) for code in number], [number[code] for code in parents]


def _upwards(places: Places, code: str) -> tuple[str, ...]:
    found: list[str] = []
    at: str | None = code
    while at and at not in found:
        found.append(at)
        area = places.area_by_code.get(at)
        at = area.parent if area else None
    return tuple(found)


def _stations(
    catalogue: Catalogue, people: People, columns: PeopleColumns, areas: Sequence[tuple[str, ...]], lists: _Lists
) -> Indices:
    """Give for each row and area the seats, or the office: those of the nearest area with any, else all, or one."""
    number = {key: n for n, key in enumerate(columns.post_ids)}
    rows: list[tuple[int, int]] = []
    for step in catalogue.steps:
        known = [post for role in step.roles for post in sorted(people.posts_by_role.get(role, ()), key=lambda p: p.id)]
        is_station = step.seat or step.step >= OFFICE_STEP
        every = [number[post.id] for post in known] if is_station else []
        at: dict[str, list[int]] = {}
        for post in known if is_station else ():
            for code in post.scope:
                at.setdefault(code, []).append(number[post.id])
        kept: dict[tuple[int, ...], tuple[int, int]] = {}
        for codes in (*areas, ()):
            found = next((at[code] for code in codes if code in at), every)
            wanted = tuple(found if step.seat else found[:1])
            if wanted not in kept:
                kept[wanted] = lists.add(wanted)
            rows.append(kept[wanted])
    return np.array(rows, dtype=np.int32).reshape(len(catalogue.steps), -1, 2)


def _order(steps: Sequence[Step]) -> Ints:
    return np.array(
        [[step.roles.index(role) if role in step.roles else NONE for role in ROLES] for step in steps], dtype=np.int64
    ).reshape(-1, len(ROLES))


def _rules(catalogue: Catalogue) -> Ints:
    rules = np.full((len(PRIORITIES), len(catalogue.steps) + 1, 5), NONE, dtype=np.int64)
    for p, priority in enumerate(PRIORITIES):
        for r, (step, rule) in enumerate(catalogue.steps_for(priority)):
            row = catalogue.steps.index(step)
            rules[p, r] = row, step.step, step.seat, rule.after.nominal_ms, rule.to == "all"
    return rules


def _last_resort(steps: Sequence[Step]) -> Ints:
    rows = [(row, step.step, step.seat) for row, step in enumerate(steps) if step.seat or step.step == OFFICE_STEP]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _first_ack(catalogue: Catalogue) -> Ints:
    clocks = [catalogue.clocks.first_ack.get(priority) for priority in PRIORITIES]
    return np.array([clock.nominal_ms if clock else NONE for clock in clocks], dtype=np.int64)


def _categories(categories: Sequence[Category], columns: PeopleColumns) -> Ints:
    may = columns.authority([category.key for category in categories]) >= May.ASSIST.rank
    rows = np.zeros((len(categories), 3), dtype=np.int64)
    rows[:, layout.MAY_ASSIST] = (may.astype(np.int64) << np.arange(len(ROLES))[:, None]).sum(axis=0)
    for row, category in zip(rows, categories, strict=True):
        required = columns.required(category.qualifications)
        row[layout.REQUIRED] = np.array(required or 0, dtype=np.uint64).view(np.int64)
        row[layout.IS_FILLED] = required is not None
    return rows
