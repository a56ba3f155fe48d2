"""Where the open incidents are, and when the desk has to speak next: found without looking at each of them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from typing import Final

from models.geo import UNITS_PER_DEGREE, PointE7, metres_per_degree, to_degrees

SQUARE: Final = 10_000
"""Side of a square of the index, in 1e-7 degree: 111 m of latitude."""


class PlaceIndex:
    """Keys by family and place, in squares: a question looks at the squares that its circle touches."""

    def __init__(self) -> None:
        self._squares: dict[tuple[str, int, int], dict[str, PointE7]] = {}

    def add(self, key: str, family: str, place: PointE7) -> None:
        """Put `key` in."""
        self._squares.setdefault(_square(family, place), {})[key] = place

    def remove(self, key: str, family: str, place: PointE7) -> None:
        """Take `key` out of where it was put."""
        square = _square(family, place)
        keys = self._squares[square]
        del keys[key]
        if not keys:
            del self._squares[square]

    def around(self, family: str, place: PointE7, within_m: float) -> Iterator[str]:
        """Yield every key of a family that may lie within so many metres; some that lie a little farther too."""
        x_reach, y_reach = (
            # 1 %: the metres of a degree change with latitude within the circle.
            math.ceil(1.01 * within_m / metres * UNITS_PER_DEGREE) if metres else 360 * UNITS_PER_DEGREE
            for metres in metres_per_degree(to_degrees(place[1]))
        )
        west, east, south, north = place[0] - x_reach, place[0] + x_reach, place[1] - y_reach, place[1] + y_reach
        for keys in self._touched(family, (west, south), (east, north)):
            for key, (x, y) in keys.items():
                if west <= x <= east and south <= y <= north:
                    yield key

    def _touched(self, family: str, least: PointE7, most: PointE7) -> Iterator[Mapping[str, PointE7]]:
        _, x0, y0 = _square(family, least)
        _, x1, y1 = _square(family, most)
        if (x1 - x0 + 1) * (y1 - y0 + 1) > len(self._squares):  # a wide circle, or few incidents
            yield from (keys for (of, _, _), keys in self._squares.items() if of == family)
            return
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                if keys := self._squares.get((family, x, y)):
                    yield keys


def _square(family: str, place: PointE7) -> tuple[str, int, int]:
    return family, place[0] // SQUARE, place[1] // SQUARE


class Deadlines:
    """The next due time of each key."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def put(self, key: str, due_ms: int | None) -> None:
        """Set the due time of `key`; None: it has none."""
        if due_ms is None:
            self._due.pop(key, None)
        elif self._due.get(key) != due_ms:
            self._due[key] = due_ms
            heapq.heappush(self._heap, (due_ms, key))

    def next_ms(self) -> int | None:
        """Return the earliest due time."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # moved or removed since
        return self._heap[0][0] if self._heap else None

    def due(self, now_ms: int) -> list[str]:
        """Return the keys that are due, in byte order. They stay due until they are put anew."""
        found = []
        while (due_ms := self.next_ms()) is not None and due_ms <= now_ms:
            found.append(heapq.heappop(self._heap))
        for entry in found:
            heapq.heappush(self._heap, entry)
        return sorted({key for _, key in found})
