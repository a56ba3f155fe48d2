from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.detectors.decode import Candidates
from models.detectors.manifest import Manifest, Threshold
from models.detectors.training.data import Picture
from models.detectors.training.points import bound_false, choose_thresholds, pan, readings, seconds_to


def seen(*scores: tuple[int, float]) -> Candidates:
    return Candidates(
        np.zeros((len(scores), 4), np.float32),
        np.array([score for _, score in scores], np.float32),
        np.array([label for label, _ in scores], np.int64),
    )


def picture(*labels: int, knows_smoke: bool = True, source: str = "s") -> Picture:
    boxes = np.array([(label, 0, 0, 5, 5) for label in labels], np.float32).reshape(-1, 5)
    return Picture("p.jpg", source, "", np.zeros((9, 9, 3), np.uint8), boxes, knows_smoke)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0, 1))
def test_a_point_bounds_the_false_pictures_and_is_the_lowest_that_does(scores: list[float], share: float) -> None:
    threshold = bound_false(np.array(scores), share)
    assert sum(score >= threshold for score in scores) <= share * len(scores)
    lower = threshold - 0.002
    assert lower < 0 or sum(score >= lower for score in scores) > share * len(scores)


def test_points_follow_the_third_best_frame_of_each_pan() -> None:
    rng = np.random.default_rng(3)
    # Two frames of each pan are certain; only a third makes an event.
    pans = [
        [seen((0, 0.99)), seen((0, 0.99)), *(seen((0, s), (1, s / 2)) for s in 0.9 * rng.random(3))]
        for _ in range(2_000)
    ]
    thirds = np.sort([max(float(frame.scores[0]) for frame in frames[2:]) for frames in pans])[::-1]
    chosen = choose_thresholds(pans)
    assert chosen["fire"].hint == pytest.approx(thirds[100], abs=0.0011)
    assert chosen["fire"].alarm == pytest.approx(thirds[20], abs=0.0011)
    assert chosen["smoke"].hint <= chosen["smoke"].alarm < 0.5


def test_a_pan_goes_from_one_edge_to_the_other() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :, 0] = np.arange(80)
    frames = list(pan(image))
    assert {frame.shape for frame in frames} == {(30, 60, 3)}
    assert frames[0][0, 0, 0] == 0
    assert frames[-1][0, -1, 0] == 79
    assert len(list(pan(image[:1, :1]))) == len(frames)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, 0.9, 0.9], 2.0),
        ([0.9, 0.1, 0.9, 0.1, 0.9], 4.0),
        ([0.9, 0.9], None),
        ([], None),
        ([0.9] + [0.0] * 9 + [0.9] + [0.0] + [0.9], None),
        ([0.9] + [0.0] * 8 + [0.9, 0.9], 10.0),
    ],
)
def test_three_hits_must_fall_within_ten_seconds(scores: list[float], expected: float | None) -> None:
    assert seconds_to([float(second) for second in range(len(scores))], scores, 0.5) == expected


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
        (row.label, row.source, row.truth, row.point): (row.seen, row.pictures)
        for row in readings(manifest, "test_neg", pictures, found)
    }
    assert rows["fire", "all", "present", "hint"] == (1, 1)
    assert rows["fire", "all", "present", "alarm"] == (0, 1)
    assert rows["fire", "all", "absent", "hint"] == (1, 2)
    assert rows["smoke", "all", "present", "alarm"] == (1, 1)
    assert rows["smoke", "all", "absent", "hint"] == (0, 1)
    assert rows["fire", "t", "absent", "hint"] == (0, 1)
