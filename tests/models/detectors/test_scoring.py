from __future__ import annotations

import numpy as np
import pytest

from models.detectors.decode import Candidates
from models.detectors.training.data import Picture

pytest.importorskip("pycocotools", reason="scores need the extra `train`")

from models.detectors.training.scoring import average_precision


def picture(*boxes: tuple[float, ...], knows_smoke: bool = True) -> Picture:
    rows = np.array(boxes, np.float32).reshape(-1, 5)
    return Picture("p.jpg", "s", "", np.zeros((100, 100, 3), np.uint8), rows, knows_smoke)


def seen(*rows: tuple[float, ...]) -> Candidates:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Candidates(table[:, 2:], table[:, 1], table[:, 0].astype(np.int64))


def test_finding_everything_and_nothing_else_is_one() -> None:
    score = average_precision([picture((0, 10, 10, 30, 30))], [seen((0, 0.9, 10, 10, 30, 30))], 0, "val")
    assert (score.ap50_95, score.ap50, score.ap30, score.hit_ap) == pytest.approx((1, 1, 1, 1))
    assert (score.pictures, score.with_it, score.boxes) == (1, 1, 1)


def test_nothing_found_is_zero() -> None:
    assert average_precision([picture((0, 10, 10, 30, 30))], [seen()], 0, "val").ap50 == 0


def test_a_better_false_one_halves_it() -> None:
    pictures = [picture((0, 10, 10, 30, 30)), picture()]
    found = [seen((0, 0.5, 10, 10, 30, 30)), seen((0, 0.9, 10, 10, 30, 30))]
    assert average_precision(pictures, found, 0, "val").ap50 == pytest.approx(0.5, abs=1e-4)


def test_a_flame_within_a_box_drawn_too_large_is_a_hit_though_its_iou_is_low() -> None:
    score = average_precision([picture((0, 0, 0, 40, 40))], [seen((0, 0.9, 10, 10, 30, 30))], 0, "test")
    assert (score.ap50, score.ap30, score.hit_ap) == pytest.approx((0, 0, 1), abs=1e-4)
    loose = average_precision([picture((0, 10, 10, 30, 30))], [seen((0, 0.9, 0, 0, 40, 40))], 0, "test")
    assert loose.hit_ap == 0


def test_smoke_is_not_scored_where_nobody_labelled_it() -> None:
    pictures = [picture((1, 10, 10, 30, 30)), picture(knows_smoke=False)]
    found = [seen((1, 0.5, 10, 10, 30, 30)), seen((1, 0.9, 10, 10, 30, 30))]
    score = average_precision(pictures, found, 1, "val")
    assert score.pictures == 1
    assert score.ap50 == pytest.approx(1)
