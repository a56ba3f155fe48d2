"""How much one sender may say: a flood of one must not keep the others waiting, nor fill the log with its noise."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

KEYS: Final = 10_000
"""Senders remembered; of more, those that spoke last."""


class Limiter:
    """A bucket of tokens for each key. Pure: time is an argument.

    Args:
        per_s: tokens that come back each second.
        burst: tokens at most.
    """

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_ms = per_s / 1000
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, key: str, now_ms: int, cost: int = 1) -> bool:
        """Return whether `key` may say one more thing now, which costs so many tokens, and count it."""
        tokens, since_ms = self._buckets.pop(key, (self._burst, now_ms))
        tokens = min(self._burst, tokens + max(0, now_ms - since_ms) * self._per_ms)
        may = tokens >= cost
        self._buckets[key] = (tokens - cost if may else tokens, now_ms)
        if len(self._buckets) > KEYS:
            self._buckets.popitem(last=False)
        return may
