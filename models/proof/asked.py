"""Which posts a cell asks, as the matcher does, and which cells ask the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from models.catalogue import Catalogue
from models.content import covers, grouped
from models.people import People, Post, Role
from models.people.columns import NOBODY
from models.places import Cell, CellType, Places

OFFICE_STEP: Final = 4
LINE_ROLES: Final = frozenset({Role.LANE_CHIEF, Role.ROAD_CHIEF, Role.STREET_CHIEF})


class Asked(NamedTuple):
    """Who is asked in a cell; equal ones are proven once.

    Attributes:
        field: posts of step 0 in their order, and those of steps 1 to 3 above the first.
        office: of step 4.
        categories: keys, where not all.
    """

    field: tuple[int, ...]
    office: int
    categories: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Group:
    """Cells that ask the same."""

    asked: Asked
    cells: tuple[str, ...]


def groups_of(places: Places, people: People, catalogue: Catalogue) -> list[Group]:
    """Gather the cells that ask the same posts for the same categories."""
    asking = _Asking(places, people, catalogue)
    cells = sorted(places.cells, key=lambda cell: cell.code)
    pairs = ((asked, cell.code) for cell in cells if (asked := asking.of(cell)))
    return [Group(asked, codes) for asked, codes in grouped(pairs).items()]


class _Asking:
    """Finds the posts that a cell asks, as the matcher does."""

    def __init__(self, places: Places, people: People, catalogue: Catalogue) -> None:
        self.places, self.people, self.catalogue = places, people, catalogue
        self.number = {key: number for number, key in enumerate(people.columns.post_ids)}
        self.first = [role for step in catalogue.steps if step.step == 0 and not step.seat for role in step.roles]
        above = [step for step in catalogue.steps if 0 < step.step <= OFFICE_STEP]
        self.above = [
            frozenset(step.roles) for step in sorted(above, key=lambda step: step.step) if step.step < OFFICE_STEP
        ]
        self.offices = [role for step in above if step.step == OFFICE_STEP for role in step.roles]

    def of(self, cell: Cell) -> Asked | None:
        """Return None for a cell that never decides: a micro cell, or an exclusive one without posts of its own."""
        if cell.type is CellType.MICRO:
            return None
        slots = self._slots(cell.code)
        if cell.type is CellType.EXCLUSIVE and not slots:
            return None
        slots = slots or self._slots(cell.line or "")
        above = self._above(slots, cell)
        chain = [post for roles in self.above if (post := _first_of(above, roles))]
        field = tuple(dict.fromkeys(self.number[post.id] for post in (*slots, *chain)))
        office = _first_of(above, frozenset(self.offices)) or self._station(cell)
        categories = tuple(self._own(cell)) if cell.type is CellType.EXCLUSIVE else None
        return Asked(field, self.number[office.id] if office else NOBODY, categories)

    def _above(self, slots: Sequence[Post], cell: Cell) -> Sequence[Post]:
        """Return the posts above the first slot; without one, the first chief of the cell's line and those above."""
        if slots:
            return self.people.parents(slots[0].id)
        chiefs = sorted(self.people.posts_by_scope.get(cell.line or "", ()), key=lambda post: post.id)
        chief = next((post for post in chiefs if post.role in LINE_ROLES), None)
        return (chief, *self.people.parents(chief.id)) if chief else ()

    def _slots(self, code: str) -> list[Post]:
        posts = [post for post in self.people.posts_by_scope.get(code, ()) if post.role in self.first]
        return sorted(posts, key=lambda post: (self.first.index(post.role), post.id))

    def _own(self, cell: Cell) -> Iterator[str]:
        for category in self.catalogue.categories:
            if any(covers(pattern, category.key) for pattern in cell.categories):
                yield category.key

    def _station(self, cell: Cell) -> Post | None:
        """Return the office of the nearest area around a cell that has one, else the first by id."""
        posts = [post for role in self.offices for post in self.people.posts_by_role.get(role, ())]
        posts.sort(key=lambda post: (self.offices.index(post.role), post.id))
        code: str | None = cell.parent
        seen: set[str] = set()
        while code and code not in seen:
            seen.add(code)
            near = next((post for post in posts if code in post.scope), None)
            if near:
                return near
            area = self.places.area_by_code.get(code)
            code = area.parent if area else None
        return next(iter(posts), None)


def _first_of(posts: Sequence[Post], roles: frozenset[Role]) -> Post | None:
    return next((post for post in posts if post.role in roles), None)
