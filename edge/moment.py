"""One instant on both clocks, so that a wall clock that jumps can still be put right by the receiver."""

from __future__ import annotations

from typing import NamedTuple

from models import clock


class Moment(NamedTuple):
    """Wall clock (POSIX ms UTC) and boot clock (ms), read together."""

    wall_ms: int
    mono_ms: int

    def plus(self, ms: int) -> Moment:
        """Return the instant `ms` later, or earlier if negative."""
        return Moment(self.wall_ms + ms, self.mono_ms + ms)


def now() -> Moment:
    """Return this instant. Only shells call it."""
    return Moment(clock.now_ms(), clock.mono_ms())
