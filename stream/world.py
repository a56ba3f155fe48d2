"""One version each of places, people and catalogue, and what can be asked of them together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from models.catalogue import Catalogue, Category
from models.messages import Versions
from models.people import People
from models.places import Cell, Places
from stream.locate import Locator


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
    def locator(self) -> Locator:
        """The index over the places."""
        return Locator(self.places)

    @cached_property
    def versions(self) -> Versions:
        """The hashes that stand in every order."""
        return Versions(
            places=self.places.version,
            people=self.people.version,
            catalogue=self.catalogue.version,
            thresholds=self.thresholds_version,
        )

    def category(self, key: str, family: str) -> Category:
        """Give a category; of one that this catalogue does not know, the most urgent of its family, or of all.

        A zone may be a catalogue ahead of or behind the desk, and an alarm is never refused for its name.
        """
        known = self.catalogue.category_by_key.get(key)
        if known:
            return known
        same = [category for category in self.catalogue.categories if category.family == family]
        return min(same or self.catalogue.categories, key=lambda category: (category.priority, category.key))

    def exclusive(self, codes: tuple[str, ...], category: str) -> Cell | None:
        """Give the exclusive cell that answers for a category, of those at a point; of two the smaller code."""
        cells = [self.places.cell_by_code[code] for code in codes]
        return next((cell for cell in cells if any(_matches(pattern, category) for pattern in cell.categories)), None)


def _matches(pattern: str, category: str) -> bool:
    if pattern.endswith("*"):
        return category.startswith(pattern[:-1]) or category == pattern[:-2]
    return category == pattern
