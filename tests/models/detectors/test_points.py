from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.detectors.decode import Candidates
from models.detectors.evaluation.bounds import clopper_pearson
from models.detectors.evaluation.gate import Sighting
from models.detectors.evaluation.points import (
    FALSE_SHARE,
    LEAST_QUIET,
    bound_false,
    choose_gate,
    quiet_threshold,
    readings,
    right_threshold,
)
from models.detectors.manifest import Gate, Manifest, Threshold
from models.detectors.training.data import Picture
from models.errors import SourceError


def seen(*scores: tuple[int, float]) -> Candidates:
    return Candidates(
        np.zeros((len(scores), 4), np.float32),
        np.array([score for _, score in scores], np.float32),
        np.array([label for label, _ in scores], np.int64),
    )


def picture(*labels: int, knows_smoke: bool = True, source: str = "s") -> Picture:
    boxes = np.array([(label, 0, 0, 5, 5) for label in labels], np.float32).reshape(-1, 5)
    return Picture("p.jpg", source, "", np.zeros((9, 9, 3), np.uint8), boxes, np.array([True, knows_smoke]))


def pan(*scores: float) -> Sighting:
    return Sighting(np.arange(len(scores)) / 2, np.array(scores), np.full(len(scores), 0.1))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0, 1))
def test_a_point_bounds_the_false_pictures_and_is_the_lowest_that_does(scores: list[float], share: float) -> None:
    threshold = bound_false(np.array(scores), share)
    assert sum(score >= threshold for score in scores) <= share * len(scores)
    lower = threshold - 0.002
    assert lower < 0 or sum(score >= lower for score in scores) > share * len(scores)


def test_points_bound_the_share_of_quiet_pictures() -> None:
    scores = np.random.default_rng(3).random(2 * LEAST_QUIET)
    threshold = quiet_threshold(scores)
    for point, share in FALSE_SHARE.items():
        assert (scores >= getattr(threshold, point)).mean() == pytest.approx(share, abs=1e-3)


def test_points_of_too_few_quiet_pictures_are_refused() -> None:
    with pytest.raises(SourceError, match=r"999 quiet pictures; 1000 are needed"):
        quiet_threshold(np.zeros(LEAST_QUIET - 1))


def test_points_of_street_things_bound_the_wrong_detections() -> None:
    scores = np.linspace(1, 0.01, 100)
    is_right = scores > 0.5
    threshold = right_threshold(scores, is_right)
    assert is_right[scores >= threshold.alarm].mean() >= 0.9
    assert is_right[scores >= threshold.hint].mean() >= 0.6
    assert is_right[scores >= threshold.hint - 0.03].mean() < 0.6


def test_points_of_a_label_that_was_never_right_are_out_of_reach() -> None:
    assert right_threshold(np.array([0.9, 0.5]), np.array([False, False])) == Threshold(hint=1.0, alarm=1.0)
    assert right_threshold(np.zeros(0), np.zeros(0, np.bool_)) == Threshold(hint=1.0, alarm=1.0)


def test_the_first_gate_stays_unless_another_halves_the_false_events() -> None:
    threshold = Threshold(hint=0.5, alarm=0.9)
    lit = [pan(*[0.9] * 16)] * 4
    assert choose_gate([[pan(*[0.1] * 16)] * 4], [lit], [threshold]) == Gate()
    flashes = [pan(0.9, 0.9, 0.9, *[0.0] * 13)] * 4
    assert choose_gate([flashes], [lit], [threshold]) == Gate(min_hits=4)
    # Whatever four hits spare, they are no gain where fires are found seconds later for it.
    slow = [pan(*[0.9, 0.0, 0.0, 0.0] * 4)] * 4
    assert choose_gate([flashes], [slow], [threshold]) == Gate()


def test_a_class_is_read_only_where_it_is_labelled() -> None:
    manifest = Manifest(
        name="own",
        version="1.0.0",
        file="own.onnx",
        sha256="0" * 64,
        family="anchors",
        labels=("fire", "smoke"),
        licence="Apache-2.0",
        thresholds={label: Threshold(hint=0.3, alarm=0.6) for label in ("fire", "smoke")},
    )
    pictures = [picture(0, knows_smoke=False), picture(1), picture(source="t")]
    found = [seen((0, 0.5), (1, 0.9)), seen((0, 0.4), (1, 0.7)), seen((1, 0.2))]
    rows = {
        (row.label, row.source, row.truth): (row.pictures, row.hint, row.alarm)
        for row in readings(manifest, "fp32", "test_neg", pictures, found)
    }
    assert rows["fire", "all", "present"] == (1, 1, 0)
    assert rows["fire", "all", "absent"] == (2, 1, 0)
    assert rows["smoke", "all", "present"] == (1, 1, 1)
    assert rows["smoke", "all", "absent"] == (1, 0, 0)
    assert rows["fire", "t", "absent"] == (1, 0, 0)
    one_source = list(readings(manifest, "fp32", "val", pictures, found))
    assert {row.source for row in one_source} == {"all"}
    assert all(row.hint_bounds == clopper_pearson(row.hint, row.pictures) for row in one_source)
    assert all(row.alarm_bounds == clopper_pearson(row.alarm, row.pictures) for row in one_source)
