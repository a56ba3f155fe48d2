"""What is left of a network's output, and the suppression of what is seen twice."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
MOST_BOXES: Final = 100  # per class; a street has fewer, and it bounds the time of `suppress`
BLOCK: Final = 64  # boxes compared with each other at once: more is wasted work, fewer are more calls
CHUNK: Final = 1024  # boxes compared with a block at once: what is needed for it stays in a small cache


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

    Works block by block, best scores first: a block is settled within itself, then what it covers goes. So 10,000
    candidates cost at most 10,000 x `most` comparisons, in few NumPy calls, and mostly far fewer.

    Args:
        boxes: (n, 4) x1 y1 x2 y2; n may be 0.
        scores: (n,).
        overlap: IoU above which the lower score goes.
        most: stop after so many.
    """
    order = np.argsort(-scores, kind="stable")
    kept = order[:0]
    for start in range(0, len(order), CHUNK):
        chunk = _uncovered(order[start : start + CHUNK], kept, boxes, overlap)
        while len(chunk) and len(kept) < most:
            block, chunk = chunk[:BLOCK], chunk[BLOCK:]
            fresh = block[_settle(_clashes(boxes[block], boxes[block], overlap))][: most - len(kept)]
            kept = np.concatenate((kept, fresh))
            chunk = _uncovered(chunk, fresh, boxes, overlap)
        if len(kept) == most:
            break
    return kept


def _uncovered(rows: NDArray[np.intp], kept: NDArray[np.intp], boxes: Floats, overlap: float) -> NDArray[np.intp]:
    """Those of `rows` that clash with none of `kept`."""
    if not (len(rows) and len(kept)):
        return rows
    return rows[~_clashes(boxes[kept], boxes[rows], overlap).any(0)]


def _clashes(some: Floats, others: Floats, overlap: float) -> NDArray[np.bool_]:
    """Whether the IoU of each of `some` (n, 4) with each of `others` (m, 4) is above `overlap`: (n, m)."""
    left, top, right, bottom = some.T[:, :, None]
    x1, y1, x2, y2 = np.ascontiguousarray(others.T)
    shared = np.minimum(right, x2)
    shared -= np.maximum(left, x1)
    height = np.minimum(bottom, y2)
    height -= np.maximum(top, y1)
    shared = shared.clip(min=0, out=shared) * height.clip(min=0, out=height)
    areas = (right - left) * (bottom - top) + (x2 - x1) * (y2 - y1)
    # Not divided, so that two boxes without an area do not clash, and nothing divides by zero.
    clashes: NDArray[np.bool_] = shared * (1 + overlap) > overlap * areas
    return clashes


def _settle(clashes: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Which of a block stay: in order, each that clashes with none that stays."""
    is_open = np.ones(len(clashes), np.bool_)
    stay: list[int] = []
    for row in range(len(clashes)):
        if is_open[row]:
            stay.append(row)
            is_open &= ~clashes[row]
    return np.array(stay, np.intp)


def are_boxes(boxes: Floats) -> NDArray[np.bool_]:
    """Which of (n, 4) are boxes: four numbers, right not left of left, and bottom not above top."""
    is_upright = boxes[:, 2:] >= boxes[:, :2]
    return np.asarray(np.isfinite(boxes).all(1) & is_upright.all(1))


def best_of_each_class(boxes_px: Floats, scores: Floats, classes: NDArray[np.int64], *, overlap: float) -> Candidates:
    """Suppress within each class; what is no box is not seen.

    Args:
        boxes_px: (n, 4).
        scores: (n,).
        classes: (n,).
        overlap: IoU above which the lower of two boxes of a class goes.
    """
    rows = np.flatnonzero(are_boxes(boxes_px))
    kept = [rows[:0]]
    for label in np.unique(classes[rows]):
        mine = rows[classes[rows] == label]
        kept.append(mine[suppress(boxes_px[mine], scores[mine], overlap=overlap)])
    chosen = np.concatenate(kept)
    return Candidates(boxes_px[chosen], scores[chosen], classes[chosen])
