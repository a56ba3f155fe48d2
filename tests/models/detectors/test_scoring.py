from __future__ import annotations

import numpy as np
import pytest

from models.detectors.decode import Candidates
from models.detectors.evaluation.scoring import average_precision, calibration_error, matches, runs_of
from models.detectors.training.data import Picture


def picture(*boxes: tuple[float, ...], knows_smoke: bool = True) -> Picture:
    rows = np.array(boxes, np.float32).reshape(-1, 5)
    return Picture("p.jpg", "s", "", np.zeros((100, 100, 3), np.uint8), rows, np.array([True, knows_smoke]))


def seen(*rows: tuple[float, ...]) -> Candidates:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Candidates(table[:, 2:], table[:, 1], table[:, 0].astype(np.int64))


def test_finding_everything_and_nothing_else_is_one() -> None:
    score = average_precision([picture((0, 10, 10, 30, 30))], [seen((0, 0.9, 10, 10, 30, 30))], 0)
    assert (score.ap50_95, score.ap50, score.ap30, score.hit_ap) == pytest.approx((1, 1, 1, 1))
    assert (score.pictures, score.with_it, score.boxes, score.area_ratio) == (1, 1, 1, 1)


def test_nothing_found_is_zero() -> None:
    score = average_precision([picture((0, 10, 10, 30, 30))], [seen()], 0)
    assert (score.ap50, score.boxes, score.area_ratio) == (0, 1, 0)


def test_a_better_false_one_halves_it() -> None:
    pictures = [picture((0, 10, 10, 30, 30)), picture()]
    found = [seen((0, 0.5, 10, 10, 30, 30)), seen((0, 0.9, 10, 10, 30, 30))]
    assert average_precision(pictures, found, 0).ap50 == pytest.approx(0.5, abs=1e-4)


def test_a_flame_within_a_box_drawn_too_large_is_a_hit_though_its_iou_is_low() -> None:
    score = average_precision([picture((0, 0, 0, 40, 40))], [seen((0, 0.9, 10, 10, 30, 30))], 0)
    assert (score.ap50, score.ap30, score.hit_ap) == pytest.approx((0, 0, 1), abs=1e-4)
    assert score.area_ratio == pytest.approx(0.25)
    loose = average_precision([picture((0, 10, 10, 30, 30))], [seen((0, 0.9, 0, 0, 40, 40))], 0)
    assert loose.hit_ap == 0


def test_a_second_hit_in_the_same_box_is_false() -> None:
    pictures = [picture((0, 0, 0, 40, 40)), picture((0, 0, 0, 40, 40))]
    twice = [seen((0, 0.9, 0, 0, 20, 20), (0, 0.8, 20, 20, 40, 40)), seen((0, 0.7, 0, 0, 20, 20))]
    # Sorted: right, false, right. Interpolated: 1 up to half of the recall, 2/3 from there.
    assert average_precision(pictures, twice, 0).hit_ap == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-3)


def test_smoke_is_not_scored_where_nobody_labelled_it() -> None:
    pictures = [picture((1, 10, 10, 30, 30)), picture(knows_smoke=False)]
    found = [seen((1, 0.5, 10, 10, 30, 30)), seen((1, 0.9, 10, 10, 30, 30))]
    score = average_precision(pictures, found, 1)
    assert score.pictures == 1
    assert score.ap50 == pytest.approx(1)


def test_detections_are_told_right_from_wrong_one_to_one() -> None:
    pictures = [picture((0, 10, 10, 30, 30)), picture(knows_smoke=False), picture()]
    found = [seen((0, 0.9, 10, 10, 30, 30), (0, 0.8, 11, 10, 30, 30)), seen(), seen((0, 0.3, 1, 1, 9, 9))]
    scores, is_right = matches(pictures, found, 0)
    assert dict(zip(np.round(scores, 2).tolist(), is_right.tolist(), strict=True)) == {
        0.9: True,
        0.8: False,
        0.3: False,
    }
    assert [len(part) for part in matches([picture()], [seen()], 0)] == [0, 0]


def test_the_interval_is_as_wide_as_runs_are_few() -> None:
    rng = np.random.default_rng(0)
    pictures = [picture((0, 10, 10, 30, 30)) for _ in range(60)]
    # Within a run of ten frames the thing is found on all of them, or on none.
    found = [seen((0, 0.9, 10, 10, 30, 30)) if run % 2 else seen() for run in np.repeat(np.arange(6), 10)]
    by_run = average_precision(pictures, found, 0, np.repeat(np.arange(6), 10)).ap50_interval
    by_picture = average_precision(pictures, found, 0, rng.permutation(60)).ap50_interval
    assert by_run is not None
    assert by_picture is not None
    assert by_run[0] < by_picture[0] < 0.5 < by_picture[1] < by_run[1]


def test_runs_are_what_is_linked_by_likeness() -> None:
    angles = np.radians([0, 20, 40, 120, 135, 250])
    looks = np.stack((np.cos(angles), np.sin(angles)), 1).astype(np.float32)
    assert runs_of(looks, correlation=0.9).tolist() == [0, 0, 0, 3, 3, 5]


def test_scores_are_off_by_how_far_they_are_from_the_share_that_is_right() -> None:
    scores = np.array([0.75] * 4 + [0.25] * 4 + [0.01] * 90)
    assert calibration_error(scores, np.array([True] * 3 + [False] * 4 + [True] + [True] * 90)) == 0
    assert calibration_error(scores, np.array([False] * 98)) == pytest.approx(0.5)
    assert calibration_error(np.zeros(0), np.zeros(0, np.bool_)) == 0
