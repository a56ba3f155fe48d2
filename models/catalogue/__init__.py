"""`catalogue.toml`: what can happen, how urgent it is, and the tables of clocks and of the chain, all as data.

Keys, priorities and CAP tuples follow the city-management event lists; codes differ between cities, so a code never
stands without the list it comes from. A value that no list gives carries ``source = "proposal"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta

from models.catalogue.items import (
    Cap,
    Category,
    Clocks,
    CodeList,
    CodeOrder,
    Key,
    Lead,
    Phase,
    Signal,
    Step,
    StepRule,
)
from models.catalogue.limits import CONTINUOUS_MS, NOMINAL_MS, LimitUnit, TimeLimit
from models.content import Content, Text, breadth, convert, read_toml
from models.errors import ConfigError, Problem
from models.messages import Priority

__all__ = [
    "CONTINUOUS_MS",
    "DEFAULT",
    "NOMINAL_MS",
    "Cap",
    "Catalogue",
    "Category",
    "Clocks",
    "CodeList",
    "CodeOrder",
    "Key",
    "Lead",
    "LimitUnit",
    "Phase",
    "Responsible",
    "Signal",
    "Step",
    "StepRule",
    "TimeLimit",
    "load",
]

DEFAULT = Path(__file__).parent.parent / "data" / "catalogue.toml"
"""The catalogue that ships, and that `gridwarden city` copies."""


class Responsible(NamedTuple):
    """Who leads, and by what rule."""

    unit: str
    basis: str


class Catalogue(Content, frozen=True, kw_only=True):
    """The event list with its tables.

    Attributes:
        merge_m: incidents of a family closer than this, in metres, and
        merge_s: within this many seconds are one.
        code_lists: the lists that `Category.codes` names.
        leads: exceptions from the lead units of the categories, by area.
        labels: detector label to category keys.
        properties: sensor property to category keys.
        static_labels: detector labels that only mean something as a static object in a drawn polygon.
    """

    name: Text
    code_lists: dict[Text, CodeList]
    clocks: Clocks
    categories: Annotated[tuple[Category, ...], Meta(min_length=1)]
    steps: Annotated[tuple[Step, ...], Meta(min_length=1)]
    labels: dict[str, Signal]
    properties: dict[str, Signal]
    leads: tuple[Lead, ...] = ()
    static_labels: tuple[str, ...] = ()
    merge_m: Annotated[float, Meta(ge=0, le=1_000)] = 50.0
    merge_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0

    @cached_property
    def category_by_key(self) -> Mapping[str, Category]:
        """Categories by key."""
        return {category.key: category for category in self.categories}

    def lead(self, key: str, codes: Iterable[str]) -> Responsible:
        """Give which unit leads for a category at a place, and by what rule.

        Args:
            key: the category.
            codes: of the cell and of the areas above it, the narrowest first.

        Raises:
            KeyError: no such category.
        """
        category = self.category_by_key[key]
        patterns = breadth(key)
        there = (self._leads[code] for code in codes if code in self._leads)
        row = next((rows[pattern] for rows in there for pattern in patterns if pattern in rows), None)
        return Responsible(row.unit, row.basis) if row else Responsible(category.lead_unit, category.basis)

    @cached_property
    def _leads(self) -> Mapping[str, Mapping[str, Lead]]:
        leads: dict[str, dict[str, Lead]] = {}
        for row in self.leads:
            leads.setdefault(row.area, {})[row.category] = row
        return leads

    def handling_limit(self, key: str) -> TimeLimit | None:
        """Give the handling limit of a category: its list's, else its priority's clock.

        Raises:
            KeyError: no such category.
        """
        category = self.category_by_key[key]
        return category.limit or self.clocks.handling.get(category.priority)

    def steps_for(self, priority: Priority) -> tuple[tuple[Step, StepRule], ...]:
        """Give the rows that tell somebody at this priority, in order of step, the seat's row after step 0."""
        rows = sorted(self.steps, key=lambda step: (step.step, step.seat))
        return tuple((step, step.rules[priority]) for step in rows if priority in step.rules)


def load(path: Path = DEFAULT) -> Catalogue:
    """Read and validate `catalogue.toml`.

    Raises:
        ConfigError: with all mistakes of the file.
    """
    from models.catalogue.check import problems as check

    problems: list[Problem] = []
    catalogue = convert(read_toml(path), Catalogue, file=path, path="", problems=problems)
    if catalogue is not None:
        problems += check(catalogue, path)
    if catalogue is None or problems:
        raise ConfigError(problems)
    return catalogue
