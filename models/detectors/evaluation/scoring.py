"""Average precision by pycocotools, each class only on pictures where it is labelled."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.detectors.decode import Candidates
from models.detectors.training.data import Picture

Annotation = dict[str, Any]  # as COCO writes it
Interval = tuple[float, float]
MOST_BOXES: Final = 100  # per class and picture, as COCO counts
DRAWS: Final = 400
LEAST_SCORE: Final = 0.05
"""Of what calibration is about: below it nearly all is wrong, and there is so much that it alone would count."""


class HitEval(COCOeval):  # type: ignore[misc]  # pycocotools is untyped
    """COCOeval with intersection over predicted area in the place of IoU: matching stays one to one."""

    def computeIoU(self, imgId: int, catId: int) -> object:  # noqa: N802, N803  # overrides
        """The matrix (detections, truths), best detection first."""
        truths, found = self._gts[imgId, catId], self._dts[imgId, catId]
        if not truths or not found:
            return []
        found = sorted(found, key=lambda d: -d["score"])[: self.params.maxDets[-1]]
        return coco_mask.iou([d["bbox"] for d in found], [t["bbox"] for t in truths], [1] * len(truths))


class Precision(NamedTuple):
    """Average precisions of one label; all 0 where nothing is there or nothing was found."""

    pictures: int = 0
    with_it: int = 0
    boxes: int = 0
    ap50_95: float = 0.0
    ap50: float = 0.0
    ap30: float = 0.0
    hit_ap: float = 0.0
    area_ratio: float = 0.0
    ap50_interval: Interval | None = None
    hit_ap_interval: Interval | None = None


def average_precision(
    pictures: Sequence[Picture], found: Sequence[Candidates], label: int, runs: NDArray[np.int64] | None = None
) -> Precision:
    """AP of one class on the pictures where it is labelled.

    Args:
        pictures: with their true boxes, in pixels of the picture.
        found: for each picture what was detected, in the same pixels.
        label: the class.
        runs: (pictures,) the run of similar frames that each belongs to; with it come the intervals.
    """
    truths, detections, kept = _annotations(pictures, found, label)
    counted = Precision(len(kept), len({truth["image_id"] for truth in truths}), len(truths))
    if not truths or not detections:
        return counted
    with contextlib.redirect_stdout(io.StringIO()):
        return _scored(counted, truths, detections, None if runs is None else runs[kept])


def matches(
    pictures: Sequence[Picture], found: Sequence[Candidates], label: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(n,) score of each detection of a class, and whether a true box matches it at IoU .5, one to one."""
    truths, detections, _ = _annotations(pictures, found, label)
    if not truths or not detections:
        return np.zeros(0), np.zeros(0, np.bool_)
    with contextlib.redirect_stdout(io.StringIO()):
        images = _matched(COCOeval, *_coco(len(pictures), truths, detections), [0.5]).evalImgs
    kept = [image for image in images if image is not None]
    scores = np.concatenate([image["dtScores"] for image in kept])
    return scores, np.concatenate([image["dtMatches"][0] for image in kept]) > 0


def calibration_error(scores: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """How far scores are from the share that is right, over ten bins of equal width, weighted by their detections.

    Args:
        scores: (n,) in 0..1; those below `LEAST_SCORE` do not count.
        is_right: (n,).
    """
    counted = scores >= LEAST_SCORE
    scores, right = scores[counted], is_right[counted].astype(np.float64)
    if not len(scores):
        return 0.0
    bins = np.minimum((scores * 10).astype(np.int64), 9)
    apart = np.bincount(bins, scores, 10) - np.bincount(bins, right, 10)
    return float(np.abs(apart).sum() / len(scores))


def ap50(pictures: Sequence[Picture], found: Sequence[Candidates], label: int) -> float:
    """AP of one class at IoU .5."""
    return average_precision(pictures, found, label).ap50


def _annotations(
    pictures: Sequence[Picture], found: Sequence[Candidates], label: int
) -> tuple[list[Annotation], list[Annotation], list[int]]:
    """Truths and detections of one class where it is labelled, and the indices of those pictures."""
    kept = [index for index, picture in enumerate(pictures) if picture.known[label]]
    truths = [
        _annotation(image, box) | {"iscrowd": 0}
        for image, index in enumerate(kept)
        for box in pictures[index].boxes[pictures[index].boxes[:, 0] == label, 1:]
    ]
    for number, truth in enumerate(truths, start=1):
        truth["id"] = number
    detections = [
        _annotation(image, box) | {"score": float(score)}
        for image, index in enumerate(kept)
        for box, score, of in zip(*found[index], strict=True)
        if of == label
    ]
    return truths, detections, kept


def _coco(pictures: int, truths: list[Annotation], detections: list[Annotation]) -> tuple[COCO, COCO]:
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": index} for index in range(pictures)],
        "categories": [{"id": 0}],
        "annotations": truths,
    }
    truth.createIndex()
    return truth, truth.loadRes(detections)


def _scored(
    counted: Precision, truths: list[Annotation], detections: list[Annotation], runs: NDArray[np.int64] | None
) -> Precision:
    truth, result = _coco(counted.pictures, truths, detections)
    strict = _matched(COCOeval, truth, result, np.linspace(0.5, 0.95, 10).tolist())
    half, loose, hits = (
        _matched(kind, truth, result, [overlap]) for kind, overlap in ((COCOeval, 0.5), (COCOeval, 0.3), (HitEval, 0.5))
    )
    return counted._replace(
        ap50_95=_mean(strict),
        ap50=_mean(half),
        ap30=_mean(loose),
        hit_ap=_mean(hits),
        area_ratio=_area_ratio(hits, truth, result),
        ap50_interval=None if runs is None else _interval(half, runs),
        hit_ap_interval=None if runs is None else _interval(hits, runs),
    )


def _matched(kind: type[COCOeval], truth: COCO, result: COCO, overlaps: Sequence[float]) -> COCOeval:
    evaluator = kind(truth, result, "bbox")
    evaluator.params.iouThrs = np.array(overlaps)
    evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluator.params.maxDets = [MOST_BOXES]
    evaluator.evaluate()
    return evaluator


def _mean(evaluator: COCOeval) -> float:
    evaluator.accumulate()
    precision = evaluator.eval["precision"]
    return round(float(precision[precision > -1].mean()), 4) if (precision > -1).any() else 0.0


def _area_ratio(hits: COCOeval, truth: COCO, result: COCO) -> float:
    """Mean of predicted to true area over the pairs that `hits` matched."""
    ratios = [
        result.anns[found]["area"] / truth.anns[int(matched)]["area"]
        for image in hits.evalImgs
        if image is not None
        for found, matched in zip(image["dtIds"], image["dtMatches"][0], strict=True)
        if matched > 0
    ]
    return round(float(np.mean(ratios)), 3) if ratios else 0.0


def _interval(evaluator: COCOeval, runs: NDArray[np.int64]) -> Interval:
    """95 % of the values that draws of whole runs, with replacement, give; the matching stays, pycocotools sums up."""
    rng = np.random.default_rng(11)
    members = [np.flatnonzero(runs == run) for run in np.unique(runs)]
    drawn = copy.copy(evaluator)
    values = []
    for _ in range(DRAWS):
        images = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        drawn.evalImgs = [evaluator.evalImgs[i] for i in images]
        drawn.params = copy.copy(evaluator.params)
        drawn.params.imgIds = list(range(len(images)))
        drawn._paramsEval = drawn.params  # noqa: SLF001  # what `accumulate` measures the list by
        values.append(_mean(drawn))
    low, high = np.quantile(values, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


def runs_of(looks: NDArray[np.float32], correlation: float = 0.7) -> NDArray[np.int64]:
    """(n,) the run of similar frames that each picture belongs to, named after its first picture.

    Args:
        looks: (n, d) of unit length, so that a dot product is a correlation.
        correlation: above it two pictures are of one run, and so is whoever is linked to either.
    """
    is_near = looks @ looks.T > correlation
    runs = np.arange(len(looks))
    while True:
        linked = np.where(is_near | np.eye(len(looks), dtype=bool), runs[None, :], len(looks)).min(1)
        if (linked == runs).all():
            return runs
        runs = linked


def _annotation(picture: int, box: NDArray[np.float32]) -> Annotation:
    x1, y1, x2, y2 = (float(value) for value in box)
    return {"image_id": picture, "category_id": 0, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
