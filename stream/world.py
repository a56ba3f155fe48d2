"""One version each of places, people and catalogue, and what can be asked of them together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec

from models.catalogue import Catalogue, Category
from models.messages import OrderStep, Versions
from models.people import People
from models.places import Places
from stream.assistance import Assistance
from stream.days import Days
from stream.locate import Locator
from stream.matcher import Matcher


@dataclass(frozen=True)
class World:
    """What is in force at one place of the `incidents` log.

    Attributes:
        thresholds_version: named in orders, so that an order tells by what it was decided.
    """

    tenant: str
    places: Places
    people: People
    catalogue: Catalogue
    thresholds_version: str = ""

    @cached_property
    def matcher(self) -> Matcher:
        """The indexes over places, people and catalogue."""
        return Matcher(self.places, self.people, self.catalogue, self._days)

    @cached_property
    def _days(self) -> Days:
        return Days(self.people.columns, self.catalogue)

    @cached_property
    def assistance(self) -> Assistance:
        """The index over the places that are flagged as needing assistance."""
        return Assistance(self.places)

    @property
    def locator(self) -> Locator:
        """The index over the places."""
        return self.matcher.locator

    def warm(self, at_ms: int) -> None:
        """Build every index, and the duty that questions at this time need, before anybody waits for an answer."""
        # Duty first: what making it takes for a moment does not stand beside the index then.
        self._days.cover_moment(at_ms)
        _ = self.matcher, self.assistance

    @cached_property
    def steps_made(self) -> dict[tuple[object, ...], OrderStep]:
        """Steps of chains that `stream.rank` has made, by the numbers that they are made of; it lets go of them."""
        return {}

    @cached_property
    def person_number(self) -> Mapping[str, int]:
        """Numbers of persons in the columns."""
        return {key: number for number, key in enumerate(self.people.columns.person_ids)}

    def areas_above(self, areas: Mapping[str, str]) -> tuple[str, ...]:
        """Give the codes of the places of a point, and of the areas above its cell, the narrowest first."""
        cell = self.places.cell_by_code.get(areas.get("cell", ""))
        above: list[str] = []
        code = cell.parent if cell else None
        while code and code not in above:
            above.append(code)
            area = self.places.area_by_code.get(code)
            code = area.parent if area else None
        return (*areas.values(), *above)

    @cached_property
    def versions(self) -> Versions:
        """The hashes that stand in every order."""
        return Versions(
            places=self.places.version,
            people=self.people.version,
            catalogue=self.catalogue.version,
            thresholds=self.thresholds_version,
            roster=self._roster_version,
        )

    @property
    def _roster_version(self) -> str:
        people = self.people
        shifts = (people.time_zone, people.weekly_shifts, people.dated_shifts, people.swaps)
        return hashlib.sha256(msgspec.json.encode(shifts, order="deterministic")).hexdigest()

    def category(self, key: str, family: str) -> Category:
        """Give a category; of one that this catalogue does not know, the most urgent of its family, or of all.

        A zone may be a catalogue ahead of or behind the desk, and an alarm is never refused for its name.
        """
        known = self.catalogue.category_by_key.get(key)
        if known:
            return known
        same = [category for category in self.catalogue.categories if category.family == family]
        return min(same or self.catalogue.categories, key=lambda category: (category.priority, category.key))
