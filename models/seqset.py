"""A set of sequence numbers as a contiguous floor and the ranges above it.

Duplicates are found by this set, never by a high-water mark: with several receivers, a lower seq may well come later.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from msgspec import Struct

Range = tuple[int, int]


def to_ranges(seqs: Iterable[int]) -> tuple[Range, ...]:
    """Return `seqs` as sorted, inclusive, maximal (first, last) ranges."""
    ranges: list[Range] = []
    for seq in sorted(set(seqs)):
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return tuple(ranges)


class SeqSet(Struct):
    """The seqs 1..`floor` and those of `ranges` (sorted, inclusive, not adjacent, all above `floor` + 1)."""

    floor: int = 0
    ranges: list[Range] = []  # msgspec copies a mutable default

    def __contains__(self, seq: int) -> bool:
        if seq <= self.floor:
            return True
        i = bisect_right(self.ranges, seq, key=lambda r: r[0]) - 1
        return i >= 0 and self.ranges[i][1] >= seq

    def add(self, seq: int) -> bool:
        """Put `seq` in; return False if it was there already."""
        if seq == self.floor + 1 and not self.ranges:  # nearly always
            self.floor = seq
            return True
        if seq in self:
            return False
        self.add_range(seq, seq)
        return True

    def add_next(self, seqs: list[int]) -> bool:
        """Put `seqs` in if they are the very next ones, in order; return False, having put in none, if not."""
        first = self.floor + 1
        if self.ranges or seqs != [*range(first, first + len(seqs))]:
            return False
        self.floor += len(seqs)
        return True

    def add_range(self, first: int, last: int) -> None:
        """Put `first`..`last` (inclusive) in."""
        keep: list[Range] = []
        for low, high in self.ranges:
            if high + 1 < first or low > last + 1:
                keep.append((low, high))
            else:
                first, last = min(first, low), max(last, high)
        if first <= self.floor + 1:
            self.floor = max(self.floor, last)
        else:
            keep.append((first, last))
            keep.sort()
        while keep and keep[0][0] <= self.floor + 1:
            self.floor = max(self.floor, keep.pop(0)[1])
        self.ranges = keep

    def gaps(self) -> list[Range]:
        """Return the missing ranges below the highest seq seen: what was lost, dropped, or is still on its way."""
        missing: list[Range] = []
        low = self.floor + 1
        for first, last in self.ranges:
            missing.append((low, first - 1))
            low = last + 1
        return missing
