"""Scores by pycocotools, each class only on pictures where it is labelled."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.detectors.decode import Candidates
from models.detectors.manifest import Score
from models.detectors.training.data import LABELS, Picture
from models.detectors.training.points import is_labelled

Annotation = dict[str, Any]  # as COCO writes it


class HitEval(COCOeval):  # type: ignore[misc]  # pycocotools is untyped
    """COCOeval with intersection over predicted area in the place of IoU."""

    def computeIoU(self, imgId: int, catId: int) -> object:  # noqa: N802, N803  # overrides
        """The matrix (detections, truths), best detection first."""
        truths, found = self._gts[imgId, catId], self._dts[imgId, catId]
        if not truths or not found:
            return []
        found = sorted(found, key=lambda d: -d["score"])[: self.params.maxDets[-1]]
        return coco_mask.iou([d["bbox"] for d in found], [t["bbox"] for t in truths], [1] * len(truths))


def _precision(evaluator: COCOeval, overlaps: Sequence[float]) -> float:
    evaluator.params.iouThrs = np.array(overlaps)
    evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluator.params.maxDets = [100]
    evaluator.evaluate()
    evaluator.accumulate()
    precision = evaluator.eval["precision"]
    return round(float(precision[precision > -1].mean()), 4) if (precision > -1).any() else 0.0


def average_precision(pictures: Sequence[Picture], found: Sequence[Candidates], label: int, split: str) -> Score:
    """AP of one class.

    Args:
        pictures: with their true boxes, in pixels of the picture.
        found: for each picture what was detected, in the same pixels.
        label: the class; pictures where it is not labelled are left out.
        split: what to call them.
    """
    pairs = [(p, f) for p, f in zip(pictures, found, strict=True) if is_labelled(p, label)]
    truths = [
        _annotation(index, box) | {"iscrowd": 0}
        for index, (picture, _) in enumerate(pairs)
        for box in picture.boxes[picture.boxes[:, 0] == label, 1:]
    ]
    for number, truth in enumerate(truths, start=1):
        truth["id"] = number
    detections = [
        _annotation(index, box) | {"score": float(score)}
        for index, (_, seen) in enumerate(pairs)
        for box, score, of in zip(*seen, strict=True)
        if of == label
    ]
    ap50_95, ap50, ap30, hit_ap = _precisions(len(pairs), truths, detections)
    return Score(
        split=split,
        label=LABELS[label],
        pictures=len(pairs),
        with_it=len({truth["image_id"] for truth in truths}),
        boxes=len(truths),
        ap50_95=ap50_95,
        ap50=ap50,
        ap30=ap30,
        hit_ap=hit_ap,
    )


def _precisions(pictures: int, truths: list[Annotation], detections: list[Annotation]) -> list[float]:
    """AP at IoU .5 to .95, at .5, at .3, and hit-AP."""
    if not truths or not detections:
        return [0.0] * 4
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": index} for index in range(pictures)],
            "categories": [{"id": 0}],
            "annotations": truths,
        }
        truth.createIndex()
        result = truth.loadRes(detections)
        return [
            _precision(COCOeval(truth, result, "bbox"), np.linspace(0.5, 0.95, 10).tolist()),
            _precision(COCOeval(truth, result, "bbox"), [0.5]),
            _precision(COCOeval(truth, result, "bbox"), [0.3]),
            _precision(HitEval(truth, result, "bbox"), [0.5]),
        ]


def _annotation(picture: int, box: NDArray[np.float32]) -> Annotation:
    x1, y1, x2, y2 = (float(value) for value in box)
    return {"image_id": picture, "category_id": 0, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
