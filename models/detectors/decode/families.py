"""One decoder for each family of outputs in use: raw arrays in, `Candidates` out, in NumPy alone.

A batch of one is expected. Where exporters of one family differ, the forms are told apart by shape, type and name;
each decoder says which forms it knows and whose they are. A form that it does not know raises `FormError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.decode.candidates import Candidates, Floats, are_boxes, best_of_each_class

Outputs = Mapping[str, NDArray[Any]]
STRIDES: Final = (8, 16, 32)


class FormError(ValueError):
    """Outputs that are not of the family that was named; says what they are."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a decoder must know beside the numbers.

    Attributes:
        labels: how many the manifest names.
        height_px: of the network's input.
        width_px: of the network's input.
        floor: lowest score that is kept.
        overlap: IoU of the suppression within a class, where the network has none of its own.
        activation: what turns the scores into 0..1 where the graph does not.
    """

    labels: int
    height_px: int
    width_px: int
    floor: float = 0.05
    overlap: float = 0.6
    activation: str = "none"

    @property
    def size(self) -> Floats:
        """Width, height, width, height of the input: what turns shares into pixels."""
        return np.array([self.width_px, self.height_px] * 2, np.float32)


Decoder = Callable[[Outputs, Form], Candidates]


def anchors(outputs: Outputs, form: Form) -> Candidates:
    """Ours: `boxes` (1, n, 4) x1 y1 x2 y2 in pixels and `scores` (1, n, labels); a box may carry several labels."""
    boxes, scores = pair(outputs)
    _expect(scores.shape[1] == form.labels, outputs, form)
    return decode_anchors(boxes, activated(scores, form.activation), floor=form.floor, overlap=form.overlap)


def decode_anchors(boxes_px: Floats, scores: Floats, *, floor: float, overlap: float = 0.6) -> Candidates:
    """What `anchors` does with one picture, for who trains.

    Args:
        boxes_px: (n, 4) x1 y1 x2 y2 in pixels of the input.
        scores: (n, labels) in 0..1. Not a number counts as nothing seen.
        floor: lowest score that is kept.
        overlap: IoU of the suppression within a class.
    """
    rows, found = np.nonzero(scores >= floor)
    return best_of_each_class(boxes_px[rows], scores[rows, found], found, overlap=overlap)


def yolov5(outputs: Outputs, form: Form) -> Candidates:
    """YOLOv5, YOLOv6, YOLOv7: (1, n, 5 + labels) cx cy w h in pixels, objectness, classes; decoded by the graph."""
    rows = single(outputs)
    _expect(rows.shape[1] == 5 + form.labels, outputs, form)
    # Most rows go by their objectness alone, before their classes are looked at: no product is above its factor.
    rows = rows[rows[:, 4] >= form.floor]
    return _best_label(from_centres(rows[:, :4]), rows[:, 5:] * rows[:, 4:5], form)


def yolov8(outputs: Outputs, form: Form) -> Candidates:
    """YOLOv8, v9, v11, v12: (1, 4 + labels, n) cx cy w h in pixels, then classes; also turned to (1, n, 4 + labels)."""
    columns = single(outputs)
    if columns.shape[0] != 4 + form.labels and columns.shape[1] == 4 + form.labels:
        columns = columns.T
    _expect(columns.shape[0] == 4 + form.labels, outputs, form)
    return _best_label(from_centres(columns[:4].T), columns[4:].T, form)


def yolov10(outputs: Outputs, form: Form) -> Candidates:
    """End to end: (1, n, 6) x1 y1 x2 y2 in pixels, score, class (YOLOv10, YOLO26, `nms=True` exports).

    YOLOv7's `--end2end --max-wh` gives (n, 7): picture, x1 y1 x2 y2, class, score.
    """
    rows = single(outputs)
    if rows.shape[1] == 7:
        rows = rows[:, [1, 2, 3, 4, 6, 5]]
    _expect(rows.shape[1] == 6, outputs, form)
    return _chosen(rows[:, :4], rows[:, 4], rows[:, 5], form)


def yolox(outputs: Outputs, form: Form) -> Candidates:
    """YOLOX: (1, n, 5 + labels) as the heads give it: offsets in cells, log sizes in strides, objectness, classes.

    As `tools/export_onnx.py` writes it without `--decode_in_inference`; with it the family is `yolov5`.
    """
    rows = single(outputs)
    centres, strides = grid(form.height_px, form.width_px)
    _expect(rows.shape == (len(strides), 5 + form.labels), outputs, form)
    seen = rows[:, 4] >= form.floor
    rows, strides = rows[seen], strides[seen]
    with np.errstate(over="ignore"):  # an infinite side is no number, and is not seen
        boxes = np.concatenate(((rows[:, :2] * strides + centres[seen]), np.exp(rows[:, 2:4]) * strides), 1)
    return _best_label(from_centres(boxes), rows[:, 5:] * rows[:, 4:5], form)


def rtdetr(outputs: Outputs, form: Form) -> Candidates:
    """RT-DETR and D-FINE, end to end, in one of three forms.

    - three outputs, `labels`, `boxes` x1 y1 x2 y2 in pixels, `scores` (its authors; the second input is the size)
    - two outputs, classes (1, n, labels) and boxes (1, n, 4) cx cy w h as shares (transformers; activation: sigmoid)
    - one output (1, n, 4 + labels) cx cy w h as shares, then classes (Ultralytics)
    """
    if len(outputs) == 3:
        boxes, scores, classes = triple(outputs)
        return _chosen(boxes, scores, classes, form)
    if len(outputs) == 2:
        boxes, scores = pair(outputs)
    else:
        rows = single(outputs)
        boxes, scores = rows[:, :4], rows[:, 4:]
    _expect(scores.shape[1] == form.labels, outputs, form)
    scores = activated(scores, form.activation)
    best = scores.argmax(1)
    return _chosen(from_centres(boxes) * form.size, scores[np.arange(len(best)), best], best, form)


def ssd(outputs: Outputs, form: Form) -> Candidates:
    """SSD, in one of four forms; the background is class 0 and no label.

    - `detection_boxes` y1 x1 y2 x2 as shares, `detection_classes`, `detection_scores`, a number (TensorFlow)
    - boxes (n, 4) x1 y1 x2 y2 in pixels, scores (n,), labels (n,) (torchvision)
    - boxes (1, n, 4) x1 y1 x2 y2 as shares, labels (1, n), scores (1, n) (ONNX model zoo)
    - scores (1, n, 1 + labels) and boxes (1, n, 4) x1 y1 x2 y2 as shares, before suppression (MobileNet-SSD, UltraFace)
    """
    if len(outputs) == 2:
        boxes, scores = pair(outputs)
        _expect(scores.shape[1] == 1 + form.labels, outputs, form)
        return _best_label(boxes * form.size, activated(scores, form.activation)[:, 1:], form)
    if "detection_boxes" in outputs:
        named = [outputs[f"detection_{part}"][0] for part in ("boxes", "scores", "classes")]
        boxes, scores, classes = named[0][:, [1, 0, 3, 2]] * form.size, named[1], named[2]
    else:
        boxes, scores, classes = triple(outputs)
        if all(array.ndim > 1 for array in outputs.values()):
            boxes = boxes * form.size
    return _chosen(boxes, scores, classes - 1, form)


def classes(outputs: Outputs, form: Form) -> Candidates:
    """Classification, (1, labels): each label that reaches the floor, for the whole picture."""
    [scores] = outputs.values()
    _expect(scores.shape == (1, form.labels), outputs, form)
    scores = activated(scores.astype(np.float32), form.activation)[0]
    found = np.flatnonzero(scores >= form.floor)
    whole = np.array([[0, 0, form.width_px, form.height_px]], np.float32)
    return Candidates(whole.repeat(len(found), 0), scores[found], found)


DECODERS: Final[Mapping[str, Decoder]] = {
    "anchors": anchors,
    "yolov5": yolov5,
    "yolov8": yolov8,
    "yolov10": yolov10,
    "yolox": yolox,
    "rtdetr": rtdetr,
    "ssd": ssd,
    "classes": classes,
}


def decode(family: str, outputs: Outputs, form: Form) -> Candidates:
    """Boxes, scores and classes in the outputs of a network.

    Raises:
        FormError: they are not of that family, or not for as many labels.
    """
    return DECODERS[family](outputs, form)


def from_centres(boxes: Floats) -> Floats:
    """Cx cy w h to x1 y1 x2 y2, (n, 4)."""
    half = boxes[:, 2:] / 2
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), 1)


def grid(height_px: int, width_px: int) -> tuple[Floats, Floats]:
    """Upper left corners (n, 2) as x, y in pixels and strides (n, 1) of every cell, finest level first, row by row."""
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.indices((height_px // stride, width_px // stride), np.float32)
        corner = np.stack((columns, rows), -1).reshape(-1, 2) * stride
        corners.append(corner)
        strides.append(np.full((len(corner), 1), stride, np.float32))
    return np.concatenate(corners), np.concatenate(strides)


def activated(scores: Floats, activation: str) -> Floats:
    """Scores in 0..1 by `sigmoid` or `softmax` over the last axis, or as they are."""
    if activation == "sigmoid":
        with np.errstate(over="ignore"):
            return (1 / (1 + np.exp(-scores))).astype(np.float32, copy=False)
    if activation == "softmax":
        powers: Floats = np.exp(scores - scores.max(-1, keepdims=True))
        powers /= powers.sum(-1, keepdims=True)
        return powers
    return scores


def single(outputs: Outputs) -> Floats:
    """The rows of the only output, without the axis of the batch."""
    arrays = list(outputs.values())
    if len(arrays) != 1 or arrays[0].ndim not in (2, 3) or (arrays[0].ndim == 3 and len(arrays[0]) != 1):
        raise FormError(f"{shapes(outputs)}, and not one output of one picture")
    return arrays[0].reshape(arrays[0].shape[-2:])


def pair(outputs: Outputs) -> tuple[Floats, Floats]:
    """Boxes (n, 4) and scores (n, k) of two outputs: boxes by name, else what has four columns."""
    arrays = sorted(outputs.items(), key=lambda item: ("box" not in item[0].lower(), item[1].shape[-1:] != (4,)))
    if len(arrays) == 2:
        (_, boxes), (_, scores) = arrays
        if boxes.ndim == scores.ndim == 3 and boxes.shape == (1, scores.shape[1], 4) and len(scores) == 1:
            return boxes[0], scores[0]
    raise FormError(f"{shapes(outputs)}, and not boxes (1, n, 4) with scores (1, n, labels)")


def triple(outputs: Outputs) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Boxes (n, 4), scores (n,) and whole-numbered classes (n,) of three outputs."""
    arrays = [array[0] if array.ndim == (3 if array.shape[-1] == 4 else 2) else array for array in outputs.values()]
    boxes = [array for array in arrays if array.ndim == 2 and array.shape[1] == 4]
    whole = [array for array in arrays if array.ndim == 1 and array.dtype.kind in "iu"]
    scores = [array for array in arrays if array.ndim == 1 and array.dtype.kind == "f"]
    if [len(boxes), len(whole), len(scores)] != [1, 1, 1] or not len(boxes[0]) == len(whole[0]) == len(scores[0]):
        raise FormError(f"{shapes(outputs)}, and not boxes, scores and whole-numbered classes")
    return boxes[0], scores[0], whole[0].astype(np.int64)


def shapes(outputs: Outputs) -> str:
    """What the outputs are, for a person."""
    return ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in outputs.items())


def _expect(is_so: bool, outputs: Outputs, form: Form) -> None:
    if not is_so:
        raise FormError(f"{shapes(outputs)} where {form.labels} labels are named")


def _best_label(boxes_px: Floats, scores: Floats, form: Form) -> Candidates:
    """One label a box, and suppression: what all YOLO families do."""
    rows = np.flatnonzero(scores.max(1, initial=0.0) >= form.floor)
    best = scores[rows].argmax(1) if len(rows) else rows
    return best_of_each_class(boxes_px[rows], scores[rows, best], best, overlap=form.overlap)


def _chosen(boxes_px: Floats, scores: Floats, found: NDArray[Any], form: Form) -> Candidates:
    """What a network chose itself, best first: nothing is suppressed."""
    rows = np.flatnonzero(are_boxes(boxes_px) & (scores >= form.floor) & (found >= 0))
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    named = found[rows].astype(np.int64)
    if (named >= form.labels).any():
        raise FormError(f"class {named.max()} was seen where {form.labels} labels are named")
    return Candidates(boxes_px[rows].astype(np.float32), scores[rows].astype(np.float32), named)
