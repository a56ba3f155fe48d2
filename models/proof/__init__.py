"""``gridwarden check --proof``: whether somebody answers for every cell, category and minute of the next days.

Proven is, for every moment, cell and category: somebody who may lead is on duty in steps 0 to 3 (else a hole), and a
second one (else a warning); two are on duty at the office of step 4, which leads when nobody below does (else a hole).
Who may lead is on duty, under contract, has the right to assist, the qualifications, and is no volunteer.

Time is cut wherever anybody's duty begins or ends: at shifts, swaps, terms, contracts, and with the clocks. Each person
is looked at as of the moment itself; a step that falls due minutes later is proven at its own minute. Buildings and
micro cells only add to who is asked, and are left out; so are reporters, whom nobody knows beforehand.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from models.catalogue import Catalogue, Category
from models.content import grouped
from models.people import May, People
from models.people.columns import NOBODY, PeopleColumns, Spans
from models.people.duty import DAY_MS
from models.places import Places
from models.proof.asked import Group, groups_of
from models.proof.staff import Level, Staff, rows_of, thin

DAYS: Final = 8
CHUNK: Final = 8_192
"""Groups that are proven together: what fits the caches and keeps the memory small."""


class Kind(enum.StrEnum):
    """What is wrong in an interval; a `SECOND` is a warning, the others are holes."""

    NO_POST = "no_post"
    NOBODY = "nobody"
    OFFICE = "office"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Finding:
    """Cells in which somebody is missing, for some categories, from when to when.

    Attributes:
        cells: codes, sorted.
        categories: keys, in the order of the catalogue.
        posts: who would be asked in the first of the cells, in the order of the chain.
    """

    kind: Kind
    cells: tuple[str, ...]
    categories: tuple[str, ...]
    from_ms: int
    until_ms: int
    posts: tuple[str, ...]

    @property
    def is_hole(self) -> bool:
        """Whether nobody answers; else it is a warning."""
        return self.kind is not Kind.SECOND


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found, and how much was looked at."""

    findings: tuple[Finding, ...]
    cells: int
    groups: int
    categories: int
    from_ms: int
    until_ms: int

    @property
    def holes(self) -> tuple[Finding, ...]:
        """Where nobody answers."""
        return tuple(finding for finding in self.findings if finding.is_hole)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Where only one does."""
        return tuple(finding for finding in self.findings if not finding.is_hole)


def prove(places: Places, people: People, catalogue: Catalogue, *, from_ms: int, days: int = DAYS) -> Proof:
    """Look at every cell, category and moment from `from_ms` on for so many times 24 hours."""
    window = (from_ms, from_ms + days * DAY_MS)
    groups = groups_of(places, people, catalogue)
    staff = Staff(people, window)
    found = [*_field_findings(groups, staff, catalogue), *_office_findings(groups, staff, catalogue)]
    return Proof(
        findings=tuple(_gathered(found, catalogue)),
        cells=len({code for group in groups for code in group.cells}),
        groups=len(groups),
        categories=len(catalogue.categories),
        from_ms=window[0],
        until_ms=window[1],
    )


class _Demand(NamedTuple):
    """What categories ask of whoever leads: which roles may, and what he must be qualified for."""

    roles: tuple[bool, ...]
    qualifications: tuple[str, ...]


def _demands(catalogue: Catalogue, people: PeopleColumns) -> Mapping[_Demand, tuple[Category, ...]]:
    """Gather the categories that ask for the same."""
    keys = [category.key for category in catalogue.categories]
    may = people.authority(keys) >= May.ASSIST.rank
    return grouped(
        (_Demand(tuple(may[:, index].tolist()), tuple(sorted(set(category.qualifications)))), category)
        for index, category in enumerate(catalogue.categories)
    )


def _field_findings(groups: Sequence[Group], staff: Staff, catalogue: Catalogue) -> Iterator[Finding]:
    for demand, categories in _demands(catalogue, staff.columns).items():
        keys = tuple(category.key for category in categories)
        wanting = [group for group in groups if group.asked.categories is None or {*group.asked.categories} & {*keys}]
        leaders = staff.leaders(demand.qualifications)
        for first in range(0, len(wanting), CHUNK):
            yield from _chunk_findings(wanting[first : first + CHUNK], staff, leaders, demand, keys)


def _chunk_findings(
    groups: Sequence[Group], staff: Staff, leaders: Spans, demand: _Demand, keys: tuple[str, ...]
) -> Iterator[Finding]:
    may = np.array(demand.roles)
    pairs = [(index, post) for index, group in enumerate(groups) for post in group.asked.field]
    owner, post = np.array(pairs, np.int64).reshape(-1, 2).T
    has_right = may[staff.columns.role[post]]
    posts, place = np.unique(post[has_right], return_inverse=True)
    asked = staff.of(posts, leaders)
    by_slot = np.argsort(asked.post, kind="stable")
    start = np.searchsorted(asked.post[by_slot], np.arange(len(posts) + 1))
    pair, row = rows_of(start, place)
    rows = by_slot[row]
    spans = Spans(owner[has_right][pair], asked.person[rows], asked.from_ms[rows], asked.until_ms[rows])
    for level in thin(spans, len(groups), staff.window):
        group = groups[level.group]
        own = group.asked.categories
        categories = keys if own is None else tuple(key for key in keys if key in own)
        yield _finding(
            Kind.SECOND if level.staffed else Kind.NOBODY, group, categories, level, staff, group.asked.field
        )


def _office_findings(groups: Sequence[Group], staff: Staff, catalogue: Catalogue) -> Iterator[Finding]:
    """Two at the office: the field's filters do not hold there, but volunteers lead nowhere."""
    keys = tuple(category.key for category in catalogue.categories)
    served = grouped((group.asked.office, group) for group in groups)
    offices = np.array(sorted(served), np.int64)
    known = offices[offices != NOBODY]
    asked = staff.of(known, staff.duty.where(staff.may_lead))
    levels = grouped((int(known[level.group]), level) for level in thin(asked, len(known), staff.window))
    whole = Level(0, *staff.window, 0)
    for office in offices.tolist():
        for level in levels.get(office, ()) if office != NOBODY else (whole,):
            for group in served[office]:
                posts = (office,) if office != NOBODY else ()
                yield _finding(Kind.OFFICE, group, group.asked.categories or keys, level, staff, posts)


def _finding(
    kind: Kind, group: Group, categories: tuple[str, ...], level: Level, staff: Staff, posts: Sequence[int]
) -> Finding:
    ids = tuple(staff.columns.post_ids[post] for post in posts)
    if not ids and kind is Kind.NOBODY:
        kind = Kind.NO_POST
    return Finding(kind, group.cells, categories, level.from_ms, level.until_ms, ids)


def _gathered(found: Sequence[Finding], catalogue: Catalogue) -> Iterator[Finding]:
    """Yield the findings of one interval as one: of equal cells over all categories, then of equal categories."""
    order = {category.key: index for index, category in enumerate(catalogue.categories)}
    by_cells = grouped(((one.kind, one.from_ms, one.until_ms, one.cells, one.posts), one.categories) for one in found)
    by_keys: dict[tuple[Kind, int, int, tuple[str, ...]], list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
    for (kind, from_ms, until_ms, cells, posts), some in by_cells.items():
        keys = tuple(sorted({key for categories in some for key in categories}, key=order.__getitem__))
        by_keys.setdefault((kind, from_ms, until_ms, keys), []).append((cells, posts))
    findings = [
        Finding(
            kind=kind,
            cells=tuple(sorted(code for cells, _ in some for code in cells)),
            categories=keys,
            from_ms=from_ms,
            until_ms=until_ms,
            posts=min(some)[1],
        )
        for (kind, from_ms, until_ms, keys), some in by_keys.items()
    ]
    yield from sorted(findings, key=lambda one: (not one.is_hole, one.from_ms, one.until_ms, one.cells))
