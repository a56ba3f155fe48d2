"""Outlines as columns: a city has millions of positions, and a Python object for each would not fit beside the rest.

`Polygons` and `Points` keep their positions as packed integers of 1e-7 degree, little-endian int32, longitude first;
that is also what stands in the canonical form of the places. NumPy sees them without a copy; `stack` a whole layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from models.geo import PointE7, Polygon, Ring

Positions = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]

PACKED: Final = np.dtype("<i4")
POINT_BYTES: Final = 2 * PACKED.itemsize


class Points(Struct, frozen=True, gc=False):
    """A line of positions. Iterating gives them as pairs of int: for a few, not for a city."""

    raw: bytes = b""

    @classmethod
    def of(cls, points: npt.ArrayLike | Sequence[PointE7]) -> Self:
        """Pack positions, (n, 2) of 1e-7 degree."""
        return cls(_packed(points).tobytes())

    @property
    def array(self) -> Positions:
        """The positions, (n, 2) int32: a view that cannot be written to."""
        return np.frombuffer(self.raw, PACKED).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.raw) // POINT_BYTES

    def __iter__(self) -> Iterator[PointE7]:
        return iter(_pairs(self.array))


class Polygons(Struct, frozen=True, gc=False):
    """Polygons with holes. Iterating gives them as tuples of rings: for a few, not for a city.

    Attributes:
        raw: the positions of all rings, one ring after the other.
        rings: positions of each ring, closed: its last is its first.
        parts: rings of each polygon; the first of them is the outer one.
    """

    raw: bytes = b""
    rings: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()

    @classmethod
    def of(cls, polygons: Iterable[Sequence[npt.ArrayLike | Ring]]) -> Self:
        """Pack polygons: each a sequence of rings, each of those (n, 2) positions of 1e-7 degree."""
        parts = [[_packed(ring) for ring in polygon] for polygon in polygons]
        rings = [ring for part in parts for ring in part]
        return cls(b"".join(ring.tobytes() for ring in rings), tuple(map(len, rings)), tuple(map(len, parts)))

    @property
    def array(self) -> Positions:
        """The positions of all rings, (n, 2) int32: a view that cannot be written to."""
        return np.frombuffer(self.raw, PACKED).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Polygon]:
        points = _pairs(self.array)
        ends = np.cumsum(self.rings).tolist()
        rings = iter([points[end - length : end] for end, length in zip(ends, self.rings, strict=True)])
        return iter([tuple(tuple(next(rings)) for _ in range(count)) for count in self.parts])

    def __getitem__(self, index: int) -> Polygon:
        return list(self)[index]


class Columns(NamedTuple):
    """The polygons of a whole layer.

    Attributes:
        points: (n, 2) int32, of all rings.
        ring_start: (rings + 1,) int64: where each ring begins in `points`, and the end.
        part_start: (parts + 1,) int64: which ring is the outer one of each polygon, and the end.
        owner: (parts,) int32: the item that each polygon belongs to.
    """

    points: Positions
    ring_start: Ints
    part_start: Ints
    owner: npt.NDArray[np.int32]


def stack(outlines: Sequence[Polygons]) -> Columns:
    """Lay the outlines of a layer behind one another."""
    return Columns(
        points=np.frombuffer(b"".join([outline.raw for outline in outlines]), PACKED).reshape(-1, 2),
        ring_start=_starts([length for outline in outlines for length in outline.rings]),
        part_start=_starts([count for outline in outlines for count in outline.parts]),
        owner=np.repeat(np.arange(len(outlines), dtype=np.int32), [len(outline.parts) for outline in outlines]),
    )


def stack_lines(lines: Sequence[Points]) -> tuple[Positions, Ints]:
    """Lay lines behind one another: positions (n, 2) int32, and (lines + 1,) int64 where each begins, and the end."""
    points = np.frombuffer(b"".join([line.raw for line in lines]), PACKED).reshape(-1, 2)
    return points, _starts([len(line) for line in lines])


def unstack(points: npt.ArrayLike, outlines: Sequence[Polygons]) -> list[Polygons]:
    """Give `outlines` with other positions: (n, 2), as many as `stack` has laid."""
    packed = np.ascontiguousarray(points, dtype=PACKED).tobytes()
    found, at = [], 0
    for outline in outlines:
        found.append(Polygons(packed[at : at + len(outline.raw)], outline.rings, outline.parts))
        at += len(outline.raw)
    return found


def ring_areas(columns: Columns) -> npt.NDArray[np.float64]:
    """Give twice the signed area of each ring in square units, (rings,): above zero where it is counter-clockwise."""
    if not len(columns.points):
        return np.zeros(len(columns.ring_start) - 1)
    first = columns.ring_start[:-1]
    origin = np.repeat(columns.points[first], np.diff(columns.ring_start), axis=0)
    x, y = (columns.points.astype(np.int64) - origin).astype(np.float64).T
    cross = np.zeros(len(x))
    cross[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    cross[columns.ring_start[1:] - 1] = 0  # from the end of one ring to the start of the next
    sums: npt.NDArray[np.float64] = np.add.reduceat(cross, first)
    return sums


def _starts(lengths: Sequence[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _packed(points: npt.ArrayLike) -> npt.NDArray[np.int32]:
    return np.asarray(points, dtype=np.int64).reshape(-1, 2).astype(PACKED)


def _pairs(array: Positions) -> list[PointE7]:
    return list(map(tuple, array.tolist()))
