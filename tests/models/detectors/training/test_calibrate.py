from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="calibration needs the extra `train`")

import torch

from models.detectors.training.calibrate import Line, apply, fit
from models.detectors.training.network import Network


def test_the_line_that_pressed_scores_together_is_found_and_undone() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(0.0, 2.0, 20_000)
    is_right = rng.random(len(true)) < 1 / (1 + np.exp(-true))
    pressed = 1 / (1 + np.exp(-(true - 0.8) / 1.6))
    slope, offset = fit(pressed, is_right)
    assert slope == pytest.approx(1.6, abs=0.1)
    assert offset == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("right", [0, 5, 1_000])
def test_too_little_to_tell_by_leaves_scores_as_they_are(right: int) -> None:
    is_right = np.arange(1_000) < right
    assert fit(np.linspace(0.06, 0.9, 1_000), is_right) == Line()


def test_scores_that_say_the_opposite_are_not_turned_round() -> None:
    scores = np.linspace(0.06, 0.9, 1_000)
    assert fit(scores, scores < 0.4) == Line()


def test_lines_move_the_logits_of_their_label_and_nothing_else() -> None:
    torch.manual_seed(1)
    network = Network(2).eval()
    picture = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        distances, logits = network(picture)
        apply(network, [Line(1.5, 0.4), Line()])
        same, moved = network(picture)
    torch.testing.assert_close(same, distances)
    torch.testing.assert_close(moved[..., 0], logits[..., 0] * 1.5 + 0.4)
    torch.testing.assert_close(moved[..., 1], logits[..., 1])
