"""The two clocks of a process. Only shells call them; everything else takes the time as an argument."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the wall clock, POSIX ms UTC. It may jump."""
    return time.time_ns() // 1_000_000


def mono_ms() -> int:
    """Return the boot clock in ms. It never jumps, and goes on during suspend."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
