from __future__ import annotations

import math

import pytest

from models.detectors.evaluation.bounds import clopper_pearson, poisson


@pytest.mark.parametrize(
    ("seen", "of", "low", "high"),
    # Tables of exact binomial bounds; 3 of n without a success are the rule of three.
    [(0, 76, 0.0, 0.0474), (3, 431, 0.0014, 0.0202), (5, 10, 0.1871, 0.8129), (149, 149, 0.9755, 1.0)],
)
def test_exact_bounds_of_a_share(seen: int, of: int, low: float, high: float) -> None:
    assert clopper_pearson(seen, of) == pytest.approx((low, high), abs=2e-4)


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.025, 5.572), (10, 4.795, 18.39)])
def test_exact_bounds_of_a_count(count: int, low: float, high: float) -> None:
    assert poisson(count) == pytest.approx((low, high), abs=2e-3)


def test_at_the_bounds_the_tails_hold_two_and_a_half_per_cent() -> None:
    low, high = clopper_pearson(7, 143)
    tail = sum(math.comb(143, k) * high**k * (1 - high) ** (143 - k) for k in range(8))
    assert tail == pytest.approx(0.025, abs=5e-4)
    tail = 1 - sum(math.comb(143, k) * low**k * (1 - low) ** (143 - k) for k in range(7))
    assert tail == pytest.approx(0.025, abs=5e-4)
