"""How far a count can be believed: exact 95 % bounds, in the standard library alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

TAIL: Final = 0.025  # on either side


def clopper_pearson(seen: int, of: int) -> tuple[float, float]:
    """Lowest and highest share under which `seen` or more, or fewer, of `of` still come with 2.5 %.

    Source: Clopper and Pearson 1934, by the binomial distribution itself.
    """
    low = 0.0 if seen == 0 else _root(lambda share: 1 - _binomial(seen - 1, of, share) - TAIL, 0.0, 1.0)
    high = 1.0 if seen == of else _root(lambda share: TAIL - _binomial(seen, of, share), 0.0, 1.0)
    return round(low, 4), round(high, 4)


def poisson(count: int) -> tuple[float, float]:
    """Lowest and highest mean under which `count` or more, or fewer, events still come with 2.5 %.

    Source: Garwood 1936, by the Poisson distribution itself.
    """
    most = count + 10 * math.sqrt(count + 1) + 10
    low = 0.0 if count == 0 else _root(lambda mean: 1 - _poisson(count - 1, mean) - TAIL, 0.0, most)
    return round(low, 3), round(_root(lambda mean: TAIL - _poisson(count, mean), 0.0, most), 3)


def _binomial(most: int, of: int, share: float) -> float:
    """Probability of `most` or fewer."""
    if share in (0.0, 1.0):
        return float(share == 0.0 or most >= of)
    logs = (
        math.lgamma(of + 1)
        - math.lgamma(k + 1)
        - math.lgamma(of - k + 1)
        + k * math.log(share)
        + (of - k) * math.log1p(-share)
        for k in range(most + 1)
    )
    return math.fsum(math.exp(log) for log in logs)


def _poisson(most: int, mean: float) -> float:
    """Probability of `most` or fewer."""
    if mean == 0.0:
        return 1.0
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(most + 1))


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is 0, to 1e-9 of the span, by halving."""
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
