"""What happens where people may need help is one step more urgent: a flag on a place, never on a person."""

from __future__ import annotations

from typing import Final

from models.geo import PointE7
from models.messages import Priority
from models.places import Places
from stream.days import PRIORITIES
from stream.locate import Locator

REASON: Final = "ASSISTANCE"
"""Stands among the reasons of the order that the flag has made more urgent."""


class Assistance:
    """Finds flagged places: an index of those alone, so that a city without any pays nothing."""

    def __init__(self, places: Places) -> None:
        cells = tuple(cell for cell in places.cells if cell.assistance)
        nodes = tuple(node for node in places.nodes if node.assistance)
        self._flagged = Locator(Places(cells=cells, nodes=nodes)) if cells or nodes else None

    def at(self, point: PointE7) -> str | None:
        """Give the code of the flagged place that covers a point: a building, else a cell."""
        if self._flagged is None:
            return None
        there = self._flagged.locate(*point)
        cell = there.cell if there.cell_m == 0 else None
        return next((code for code in (there.node, there.micro, *there.exclusive, cell) if code), None)


def urgency(priority: Priority, place: str | None) -> Priority:
    """Return a priority, one step up if it is for a flagged place. Above P1 there is nothing."""
    return PRIORITIES[max(PRIORITIES.index(priority) - 1, 0)] if place else priority
