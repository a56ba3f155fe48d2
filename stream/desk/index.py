"""Where the open incidents are, and when the desk has to speak next: found without looking at each of them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import Final

from models.geo import UNITS_PER_DEGREE, PointE7, metres_per_degree, to_degrees

SQUARE: Final = 10_000
"""Side of a square of the index, in 1e-7 degree: 111 m of latitude."""


class PlaceIndex:
    """Keys by family and place, in squares: a question looks at the squares that its circle touches."""

    def __init__(self) -> None:
        self._squares: dict[tuple[str, int, int], set[str]] = {}

    def add(self, key: str, family: str, place: PointE7) -> None:
        """Put `key` in."""
        self._squares.setdefault(_square(family, place), set()).add(key)

    def remove(self, key: str, family: str, place: PointE7) -> None:
        """Take `key` out of where it was put."""
        square = _square(family, place)
        keys = self._squares[square]
        keys.remove(key)
        if not keys:
            del self._squares[square]

    def around(self, family: str, place: PointE7, within_m: float) -> Iterator[str]:
        """Yield every key of a family that may lie within so many metres; some that lie a little farther too."""
        lon_m, lat_m = metres_per_degree(to_degrees(place[1]))
        x_squares, y_squares = (
            # 1 %: the metres of a degree change with latitude within the circle.
            math.ceil(1.01 * within_m / (metres / UNITS_PER_DEGREE * SQUARE)) if metres else 0
            for metres in (lon_m, lat_m)
        )
        _, x0, y0 = _square(family, place)
        if (2 * x_squares + 1) * (2 * y_squares + 1) > len(self._squares):  # a wide circle, or few incidents
            for (of, x, y), keys in self._squares.items():
                if of == family and abs(x - x0) <= x_squares and abs(y - y0) <= y_squares:
                    yield from keys
            return
        for y in range(y0 - y_squares, y0 + y_squares + 1):
            for x in range(x0 - x_squares, x0 + x_squares + 1):
                yield from self._squares.get((family, x, y), ())


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
