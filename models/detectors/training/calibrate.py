"""Scores that mean something: of detections said to be right with .7, seven in ten are (Platt 1999).

Soft targets press the scores together. A straight line over the logits, fitted on validation for each label, undoes it.
It goes into the weights and biases of the last convolutions, so that it costs nothing and moves no order of scores.
"""

# Where torch is not installed it is Any to the type checker.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.detectors.evaluation.scoring import LEAST_SCORE, matches
from models.detectors.training.data import Picture
from models.detectors.training.network import Network
from models.detectors.training.validate import detect_all

LEAST_RIGHT: Final = 20  # and as many wrong
STEPS: Final = 50


class Line(NamedTuple):
    """logit of the probability = `slope` x logit of the score + `offset`."""

    slope: float = 1.0
    offset: float = 0.0


def fit(scores: NDArray[np.float64], is_right: NDArray[np.bool_]) -> Line:
    """The line under which `is_right` is likeliest; the identity where too little is right or wrong to tell.

    Args:
        scores: (n,) in 0..1.
        is_right: (n,).
    """
    counted = scores >= LEAST_SCORE
    scores, is_right = scores[counted].clip(1e-6, 1 - 1e-6), is_right[counted]
    right, wrong = int(is_right.sum()), int((~is_right).sum())
    if min(right, wrong) < LEAST_RIGHT:
        return Line()
    target = np.where(is_right, (right + 1) / (right + 2), 1 / (wrong + 2))  # as Platt did: no line is infinitely steep
    terms = np.stack((np.log(scores / (1 - scores)), np.ones_like(scores)), 1)
    line = np.array(Line())
    for _ in range(STEPS):  # Newton's: concave, two unknowns
        said = 1 / (1 + np.exp(-(terms @ line).clip(-30, 30)))
        curve = (terms * (said * (1 - said))[:, None]).T @ terms + 1e-3 * np.eye(2)
        line = line + np.linalg.solve(curve, terms.T @ (target - said)).clip(-1, 1)
    slope, offset = line.tolist()
    return Line(slope, offset) if slope > 0 else Line()


def calibrate(network: Network, val: Sequence[Picture], size_px: int) -> list[Line]:
    """Fit the line of each label on validation and put it into `network`; returns the lines."""
    seen = detect_all(network, val, torch.device("cpu"), size_px)
    lines = [fit(*matches(val, seen, label)) for label in range(len(val[0].known))]
    apply(network, lines)
    return lines


@torch.no_grad()
def apply(network: Network, lines: Sequence[Line]) -> None:
    """Put one line for each label into the weights and biases that give the logits."""
    slopes, offsets = (torch.tensor(column) for column in zip(*lines, strict=True))
    for head in network.heads:
        last = head.score[-1]
        last.weight.mul_(slopes[:, None, None, None])
        last.bias.mul_(slopes).add_(offsets)
