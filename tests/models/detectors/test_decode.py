from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.detectors.decode import MOST_BOXES, decode_anchors, suppress


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """IoU, from the definition."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union else 0.0


def boxes_of(rows: list[tuple[float, float, float, float]]) -> np.ndarray:
    return np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32).reshape(-1, 4)


def test_no_candidate_leaves_nothing() -> None:
    assert len(suppress(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), overlap=0.5)) == 0
    seen = decode_anchors(np.zeros((7, 4), np.float32), np.zeros((7, 2), np.float32), floor=0.1)
    assert [len(part) for part in seen] == [0, 0, 0]


def test_one_candidate_stays() -> None:
    assert suppress(boxes_of([(1, 2, 3, 4)]), np.array([0.5], np.float32), overlap=0.5).tolist() == [0]


def test_ten_thousand_candidates_are_bounded() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (10_000, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(1, 20, (10_000, 2))), 1).astype(np.float32)
    kept = suppress(boxes, rng.random(10_000).astype(np.float32), overlap=0.6)
    assert len(kept) == MOST_BOXES


def test_ten_thousand_equal_boxes_are_one() -> None:
    boxes = np.tile(np.array([[10, 10, 50, 50]], np.float32), (10_000, 1))
    assert suppress(boxes, np.linspace(0, 1, 10_000, dtype=np.float32), overlap=0.6).tolist() == [9_999]


def test_boxes_of_no_area_do_not_divide_by_zero() -> None:
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 9, 9]], np.float32)
    assert 2 in suppress(boxes, np.array([0.3, 0.2, 0.1], np.float32), overlap=0.6)


Row = tuple[int, int, int, int]
side = st.integers(0, 40)
box = st.tuples(side, side, st.integers(1, 40), st.integers(1, 40))


@given(st.lists(st.tuples(box, st.floats(0, 1, width=32)), max_size=25))
def test_what_stays_overlaps_little_and_what_goes_is_covered_by_better(rows: list[tuple[Row, float]]) -> None:
    boxes = boxes_of([corners for corners, _ in rows])
    scores = np.array([score for _, score in rows], np.float32)
    kept = suppress(boxes, scores, overlap=0.5).tolist()
    assert [scores[i] for i in kept] == sorted((scores[i] for i in kept), reverse=True)
    for position, i in enumerate(kept):
        assert all(overlap(boxes[i], boxes[j]) <= 0.5 + 1e-6 for j in kept[:position])
    for i in set(range(len(rows))) - set(kept):
        assert any(overlap(boxes[i], boxes[j]) > 0.5 - 1e-6 and scores[j] >= scores[i] for j in kept)


def test_labels_do_not_suppress_each_other() -> None:
    boxes = boxes_of([(0, 0, 10, 10), (0, 0, 10, 10)])
    seen = decode_anchors(boxes, np.array([[0.9, 0.0], [0.0, 0.8]], np.float32), floor=0.1)
    assert seen.classes.tolist() == [0, 1]
    np.testing.assert_allclose(seen.scores, [0.9, 0.8])


def test_what_is_not_a_number_is_not_seen() -> None:
    boxes = boxes_of([(0, 0, 10, 10), (20, 20, 5, 5), (40, 40, 5, 5)])
    boxes[0, 0] = np.nan
    scores = np.array([[0.9], [np.nan], [0.5]], np.float32)
    assert decode_anchors(boxes, scores, floor=0.1).boxes_px.tolist() == [[40, 40, 45, 45]]
