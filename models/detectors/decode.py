"""From a network's raw output to boxes, in NumPy alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
MOST_BOXES = 100  # per class; a street has fewer, and it bounds the time of `suppress`


class Candidates(NamedTuple):
    """What is left of a network's output, best first within a class.

    Attributes:
        boxes_px: (n, 4) float32, x1 y1 x2 y2 in pixels of the network's input.
        scores: (n,) float32 in 0..1.
        classes: (n,) int64.
    """

    boxes_px: Floats
    scores: Floats
    classes: NDArray[np.int64]


def suppress(boxes: Floats, scores: Floats, *, overlap: float, most: int = MOST_BOXES) -> NDArray[np.int64]:
    """Indices of the boxes that greedy non-maximum suppression keeps, best score first.

    Args:
        boxes: (n, 4) x1 y1 x2 y2; n may be 0.
        scores: (n,).
        overlap: IoU above which the lower score goes.
        most: stop after so many, so that 10,000 candidates cost at most `most` passes.
    """
    x1, y1, x2, y2 = boxes.T
    area = (x2 - x1) * (y2 - y1)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest])
        height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        order = rest[shared <= overlap * (area[best] + area[rest] - shared)]
    return np.array(kept, np.int64)


def decode_anchors(boxes_px: Floats, scores: Floats, *, floor: float, overlap: float = 0.6) -> Candidates:
    """Our own family: decoded boxes and class scores of every anchor.

    Args:
        boxes_px: (n, 4) x1 y1 x2 y2 in pixels of the input.
        scores: (n, classes) in 0..1. Not a number counts as nothing seen.
        floor: lowest score that is kept.
        overlap: IoU of the suppression within a class.
    """
    found: list[Candidates] = []
    is_sound = np.isfinite(boxes_px).all(1)
    for label in range(scores.shape[1]):
        rows = np.flatnonzero((scores[:, label] >= floor) & is_sound)
        rows = rows[suppress(boxes_px[rows], scores[rows, label], overlap=overlap)]
        found.append(Candidates(boxes_px[rows], scores[rows, label], np.full(len(rows), label, np.int64)))
    return Candidates(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
