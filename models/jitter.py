"""Waits before another try, a little different each: after an outage a city must not come back in the same second."""

from __future__ import annotations

import random

# Not the one that everybody shares: a wait on a thread must not change what a seed set elsewhere gives.
_random = random.Random()


def jitter() -> float:
    """Return a number from 0 to 1."""
    return _random.random()


def jittered(wait: float) -> float:
    """Return at least half of `wait`, and at most all of it."""
    return wait * (1.0 - jitter() / 2)
