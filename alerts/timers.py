"""The clocks of a case stand still while somebody has it and while it is closed; then they go on where they stood.

So an accept stops what would come next, no arrival in time starts it again, and no outage of a person makes a storm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from alerts.casebook import Case, Interval, Telling
from models.messages import ReceiptKind

NEVER: Final = 1 << 62


class Timers:
    """The clocks of a case at one moment."""

    def __init__(self, case: Case, now_ms: int, arrive_ms: int | None) -> None:
        self.now_ms = now_ms
        still: list[Interval] = [*case.shut]
        for telling in case.tellings.values():
            still.extend(_holds(telling, arrive_ms))
        self._still = _union(still)

    def elapsed(self, since_ms: int) -> int:
        """Return how long a clock that was started at `since_ms` has run."""
        run = self.now_ms - since_ms
        for start, end in self._still:
            stop = self.now_ms if end is None else min(end, self.now_ms)
            run -= max(0, stop - max(start, since_ms))
        return run

    @property
    def held_until_ms(self) -> int | None:
        """When the clocks run again; None: they run now."""
        for start, end in self._still:
            if start <= self.now_ms and (end is None or self.now_ms < end):
                return NEVER if end is None else end
        return None

    def runs_out_ms(self, since_ms: int, limit_ms: int) -> int:
        """Return when a clock of `limit_ms` that runs now will run out."""
        return self.now_ms + limit_ms - self.elapsed(since_ms)


def _holds(telling: Telling, arrive_ms: int | None) -> Iterator[Interval]:
    """Yield when this person had the case: from accepting until the arrival limit, or on if he came."""
    start: int | None = None
    end: int | None = None
    for mark in telling.marks:
        if mark.kind is ReceiptKind.ACCEPTED:
            start, end = mark.at_ms, None if arrive_ms is None else mark.at_ms + arrive_ms
        elif mark.kind in (ReceiptKind.ARRIVED, ReceiptKind.DONE) and start is not None:
            if end is not None and mark.at_ms > end:
                yield start, end
                start = mark.at_ms
            end = None
        elif mark.kind is ReceiptKind.DECLINED and start is not None:
            yield start, mark.at_ms if end is None else min(end, mark.at_ms)
            start = None
    if start is not None:
        yield start, end


def _union(intervals: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(intervals, key=lambda interval: interval[0]):
        if merged and (merged[-1][1] is None or start <= merged[-1][1]):
            last = merged[-1][1]
            merged[-1] = (merged[-1][0], None if last is None or end is None else max(last, end))
        else:
            merged.append((start, end))
    return merged
