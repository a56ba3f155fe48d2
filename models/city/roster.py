"""The people of a sample city, as a template says: a post for each place of a row, and persons who hold it in turn."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

from models.calendar import Weekday
from models.city.names import person_names
from models.city.template import Hours, On, PostRow, Staff, Template
from models.content import grouped
from models.people import People, Person, Post, QuietHours, Unit
from models.people.duty import ShiftKind, WeeklyShift
from models.people.posts import NODE_ROLES
from models.places import Area, Cell, CellType, Line, Node, Places

ALL_WEEK: Final = tuple(Weekday)
WORKDAYS, WEEKEND = ALL_WEEK[:5], ALL_WEEK[5:]
ODD_NIGHTS, EVEN_NIGHTS = ALL_WEEK[::2], ALL_WEEK[1::2]
QUIET: Final = QuietHours(start=dt.time(21), end=dt.time(8))
LINE_PREFIXES: Final = frozenset({"ST-", "RD-", "LN-"})
HOUR: Final = tuple(dt.time(hour) for hour in range(24))
TENANT: Final = ""
"""Stands for the whole city where others stand for the code of a place."""


class Turn(NamedTuple):
    """When one of those who share a post is on duty, every week."""

    days: tuple[Weekday, ...]
    start: int
    end: int
    kind: ShiftKind = ShiftKind.DAY


TURNS: Final[Mapping[Hours, tuple[Turn, ...]]] = {
    Hours.WORKDAYS: (Turn(WORKDAYS, 8, 20),),
    Hours.DAYS: (Turn(ALL_WEEK, 8, 20),),
    Hours.NIGHTS: (Turn(ALL_WEEK, 20, 8, ShiftKind.NIGHT),),
    Hours.WAKING: (Turn(ALL_WEEK, 7, 22),),
    Hours.DAY_AND_NIGHT: (Turn(ALL_WEEK, 8, 20), Turn(ALL_WEEK, 20, 8, ShiftKind.NIGHT)),
    Hours.RELIEF: (
        Turn(WEEKEND, 8, 20),
        Turn(ODD_NIGHTS, 20, 8, ShiftKind.NIGHT),
        Turn(EVEN_NIGHTS, 20, 8, ShiftKind.NIGHT),
    ),
    Hours.THREE_SHIFTS: tuple(Turn(ALL_WEEK, hour, (hour + 8) % 24, ShiftKind.SEAT) for hour in (0, 8, 16)),
}
"""Hours in local time; each turn is another person's."""


class Site(NamedTuple):
    """A place that a post may stand at."""

    code: str
    name: str
    name_en: str


def build(places: Places, template: Template, rng: random.Random, *, officers: int | None = None) -> People:
    """Give valid people for the places of a sample city.

    Args:
        places: the city.
        template: who stands where.
        rng: draws the names.
        officers: so many persons exactly: as many buildings and shops go without a chief as it takes.

    Raises:
        ValueError: `officers` are too few for the posts that every place needs, or more than there are posts.
    """
    roster = _Roster(_Sites(places), template, person_names(rng))
    return roster.build(officers)


class _Sites:
    """The places of a city by kind, and which lies in which."""

    def __init__(self, places: Places) -> None:
        self.by_kind: dict[On, list[Site]] = {on: [] for on in On}
        self.by_kind[On.TENANT] = [Site(TENANT, "", "")]
        self._kind = {TENANT: On.TENANT}
        self._above = dict(_lies_in(places))
        for on, item in _located(places):
            self.by_kind[on].append(Site(item.code, item.name, item.name_en))
            self._kind[item.code] = on
        self.within = cache(self._within)

    def around(self, code: str, on: On) -> str | None:
        """Give the place of a kind that a place lies in or is; None where there is none."""
        while self._kind[code] is not on:
            if code == TENANT:
                return None
            code = self._above[code]
        return code

    def _within(self, wide: On, narrow: On) -> Mapping[str | None, tuple[str, ...]]:
        return grouped((self.around(site.code, wide), site.code) for site in self.by_kind[narrow])


def _located(places: Places) -> Iterator[tuple[On, Area | Cell | Node | Line]]:
    for area in places.areas:
        yield On(area.kind), area
    for line in places.lines:
        yield On(line.kind), line
    for cell in places.cells:
        yield On.CELL if cell.type is CellType.BASE else On(cell.type), cell
    for node in places.nodes:
        yield On(node.kind), node


def _lies_in(places: Places) -> Iterator[tuple[str, str]]:
    """Yield each place with the next wider one: node, cell, lane, road, street, community, and so on up."""
    for area in places.areas:
        yield area.code, area.parent or TENANT
    for cell in places.cells:
        yield cell.code, cell.line or cell.parent
        line = places.line_by_code.get(cell.line or "")
        while line:
            yield line.code, line.parent or cell.parent
            line = places.line_by_code.get(line.parent or "")
    for node in places.nodes:
        yield node.code, node.cell


class _Roster:
    """Collects persons, posts and shifts, row by row."""

    def __init__(self, sites: _Sites, template: Template, names: Iterator[tuple[str, str]]) -> None:
        self.sites, self.template, self._names = sites, template, names
        self.persons: list[Person] = []
        self.posts: list[Post] = []
        self.shifts: list[WeeklyShift] = []

    def build(self, officers: int | None) -> People:
        rows = self.template.posts
        chosen = {key: self.sites.by_kind[row.on] for key, row in rows.items()}
        for key, row in rows.items():
            if row.role not in NODE_ROLES:
                self._add(key, row, chosen[key])
        nodes = [(key, site) for key, row in rows.items() if row.role in NODE_ROLES for site in chosen[key]]
        for key, some in grouped(_thinned(nodes, officers, len(self.persons))).items():
            self._add(key, rows[key], some)
        return People(
            time_zone="Asia/Shanghai",
            profile=self.template.profile,
            node_chiefs_in_chain=self.template.node_chiefs_in_chain,
            team=self.template.team,
            units=(*self.template.units, *self._partners()),
            persons=tuple(self.persons),
            posts=tuple(self.posts),
            weekly_shifts=tuple(self.shifts),
            authority=self.template.authority,
        )

    def _partners(self) -> Iterator[Unit]:
        for key, row in self.template.partners.items():
            for site in self.sites.by_kind[row.on]:
                yield Unit(
                    id=self._id(key, site.code),
                    kind=row.kind,
                    name=f"{site.name}{row.title}",
                    name_en=f"{site.name_en} {row.title_en}",
                    scope=(site.code,),
                    categories=row.categories,
                )

    def _add(self, key: str, row: PostRow, sites: Sequence[Site]) -> None:
        """Add the posts of a row, all of its persons first: some stand in for their neighbours."""
        owners = [[self._owner(staff, sites, index) for index in range(len(sites))] for staff in row.staff]
        crews = [
            {owner: self._crew(staff) for owner in dict.fromkeys(mine)}
            for staff, mine in zip(row.staff, owners, strict=True)
        ]
        after = [_followers(list(crew)) for crew in crews]
        for index, site in enumerate(sites):
            mine = [each[index] for each in owners]
            post = self._id(key, site.code)
            beside = [p for crew, nxt, o in zip(crews, after, mine, strict=True) if nxt[o] != o for p in crew[nxt[o]]]
            self._post(post, row, site, tuple(beside) if row.neighbours else ())
            for staff, crew, owner in zip(row.staff, crews, mine, strict=True):
                self._shifts(post, staff, crew[owner])

    def _owner(self, staff: Staff, sites: Sequence[Site], index: int) -> str:
        """Give the place whose posts the same persons hold together with this one's."""
        if staff.per is None:
            return sites[index - index % staff.places].code
        return self.sites.around(sites[index].code, staff.per) or sites[index].code

    def _crew(self, staff: Staff) -> tuple[str, ...]:
        """Add those who are on duty in turn, as many at once as the template says."""
        return tuple(self._person(staff) for _ in range(len(TURNS[staff.hours]) * staff.persons))

    def _person(self, staff: Staff) -> str:
        name, name_en = next(self._names)
        person = Person(
            id=f"p-{len(self.persons) + 1:04}",
            display_name=name,
            name_en=name_en,
            employment=staff.employment,
            qualifications=staff.qualifications,
            quiet_hours=QUIET if staff.quiet else None,
        )
        self.persons.append(person)
        return person.id

    def _post(self, post: str, row: PostRow, site: Site, beside: tuple[str, ...]) -> None:
        code = site.code
        scope = self.sites.within(row.on, row.covers)[code] if row.covers else (code,)
        if code == TENANT and not row.covers:
            scope = tuple(area.code for area in self.sites.by_kind[On.DISTRICT])
        self.posts.append(
            Post(
                id=post,
                role=row.role,
                level=row.tier,
                scope=scope,
                unit=row.unit,
                name=f"{site.name}{row.title}",
                name_en=f"{site.name_en} {row.title_en}".lstrip(),
                duties=row.duties,
                supervisor=self._nearest(row.above, code),
                edge=row.edge,
                deputies=(*beside, *(found for key in row.deputies if (found := self._nearest(key, code)))),
                seat=row.seat,
                appointed_from=row.appointed_from,
            )
        )

    def _nearest(self, key: str | None, code: str) -> str | None:
        """Give the post of a row around a place; where its kind of place is missing, that of the row above it."""
        while key is not None:
            row = self.template.posts[key]
            place = self.sites.around(code, row.on)
            if place is not None:
                return self._id(key, place)
            key = row.above
        return None

    def _id(self, key: str, code: str) -> str:
        """Name a post: ``LN-01-02-1`` is held by ``lane-01-02-1``."""
        return f"{key}-{code.partition('-')[2] if code[:3] in LINE_PREFIXES else code or '01'}"

    def _shifts(self, post: str, staff: Staff, crew: Sequence[str]) -> None:
        for index, person in enumerate(crew):
            days, start, end, kind = TURNS[staff.hours][index // staff.persons]
            self.shifts.append(
                WeeklyShift(post=post, person=person, days=days, start=HOUR[start], end=HOUR[end], kind=kind)
            )


def _followers(owners: Sequence[str]) -> dict[str, str]:
    """Give the next one of each, the first after the last."""
    return dict(zip(owners, [*owners[1:], *owners[:1]], strict=True))


def _thinned(nodes: list[tuple[str, Site]], officers: int | None, there: int) -> list[tuple[str, Site]]:
    """Choose evenly as many nodes as there are chiefs to be had."""
    if officers is None:
        return nodes
    wanted = officers - there
    if not 0 <= wanted <= len(nodes):
        msg = f"{officers:,} officers do not fit: this city takes {there:,} to {there + len(nodes):,}"
        raise ValueError(msg)
    return [nodes[index * len(nodes) // wanted] for index in range(wanted)]
