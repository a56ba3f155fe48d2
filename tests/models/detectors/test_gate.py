from __future__ import annotations

import numpy as np
import pytest

from models.detectors.evaluation.gate import (
    Events,
    Sighting,
    count_alarms,
    favour_growth,
    first_events,
    first_frame,
    growth,
    joined,
    published,
)
from models.detectors.manifest import Gate, Threshold

POINTS = Threshold(hint=0.5, alarm=0.8)


def seen(*scores: float, step_s: float = 1.0) -> Sighting:
    times = np.arange(len(scores), dtype=np.float64) * step_s
    return Sighting(times, np.array(scores, np.float64), np.full(len(scores), 0.1))


@pytest.mark.parametrize(
    ("scores", "hint_s"),
    [
        ([0.9, 0.9, 0.9], 2.0),
        ([0.9, 0.1, 0.9, 0.1, 0.9], 4.0),
        ([0.9, 0.9], None),
        ([], None),
        ([0.9] + [0.0] * 9 + [0.9] + [0.0] + [0.9], None),
        ([0.9] + [0.0] * 8 + [0.9, 0.9], 10.0),
    ],
)
def test_three_hits_must_fall_within_ten_seconds(scores: list[float], hint_s: float | None) -> None:
    assert first_events(seen(*scores), POINTS, Gate()).hint == hint_s


def test_an_alarm_needs_one_of_the_hits_to_stand_that_high() -> None:
    assert first_events(seen(0.6, 0.6, 0.6, 0.6), POINTS, Gate()) == Events(2.0, None)
    assert first_events(seen(0.6, 0.6, 0.6, 0.9), POINTS, Gate()) == Events(2.0, 3.0)
    assert first_events(seen(0.9, 0.6, 0.6), POINTS, Gate()) == Events(2.0, 2.0)
    # By the fourth hit the strong one is no longer among the last three.
    assert first_events(seen(0.9, *[0.0] * 9, 0.6, 0.6, 0.6), POINTS, Gate()) == Events(12.0, None)


def test_a_track_is_published_twice_a_second_and_at_every_maximum() -> None:
    frames = seen(0.3, 0.2, 0.4, 0.4, 0.1, 0.3, 0.3, 0.3, step_s=0.2)
    assert published(frames, floor=0.15).times_s == pytest.approx([0.0, 0.4, 1.0])


def test_a_single_frame_is_as_early_as_it_gets() -> None:
    assert first_frame(seen(0.1, 0.7, 0.9), 0.5) == 1.0
    assert first_frame(seen(0.1), 0.5) is None


def test_an_alarm_lasts_until_nothing_stood_near_the_hint_for_long() -> None:
    hits, near, quiet = [0.6] * 3, [0.46] * 30, [0.0] * 30
    assert count_alarms(seen(*hits, *quiet, *hits), POINTS, Gate(), clear_s=20) == 2
    assert count_alarms(seen(*hits, *quiet, *hits), POINTS, Gate(), clear_s=60) == 1
    assert count_alarms(seen(*hits, *near, *hits), POINTS, Gate(), clear_s=20) == 1
    assert count_alarms(seen(*hits, *near, *hits), POINTS, Gate(hysteresis=0.0), clear_s=20) == 2


def test_growth_is_the_slope_of_the_logarithm_of_the_area() -> None:
    times = np.arange(0, 5, 0.5)
    grown = growth(Sighting(times, np.ones(10), 0.01 * np.exp(0.2 * times)))
    assert np.isnan(grown[:2]).all()
    assert grown[2:] == pytest.approx(0.2)
    still = Sighting(times, np.full(10, 0.45), np.full(10, 0.1))
    assert favour_growth(still, per_s=0.1, factor=1.25).scores.max() == pytest.approx(0.45)
    growing = still._replace(areas=0.01 * np.exp(0.2 * times))
    assert favour_growth(growing, per_s=0.1, factor=1.25).scores[2:] == pytest.approx(0.45 * 1.25)


def test_pans_are_joined_into_one_turn_of_the_camera() -> None:
    both = joined([seen(0.1, 0.2), seen(0.3)])
    assert both.times_s.tolist() == [0.0, 1.0, 1.5]
    assert both.scores.tolist() == [0.1, 0.2, 0.3]
