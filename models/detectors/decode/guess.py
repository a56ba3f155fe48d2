"""Which family a network's outputs are of, where nobody has said so: from their shapes, and never silently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from models.detectors.decode.families import STRIDES, FormError, Outputs, pair, shapes, single, triple

FEWEST, CHOSEN = 50, 1000  # rows that an end-to-end network has; a dense one has more
ROWS: Final = {6: "box, score and class", 7: "picture, box, class and score"}


@dataclass(frozen=True, slots=True)
class Guess:
    """A family, and why.

    Attributes:
        labels: how many the outputs are for; None: they do not tell.
        because: what spoke for it, and what else it could be.
    """

    family: str
    labels: int | None
    because: str


def guess(outputs: Outputs, *, height_px: int, width_px: int, labels: int | None = None, inputs: int = 1) -> Guess:
    """The family that outputs of one picture are of.

    Args:
        outputs: of a run.
        height_px: of the input.
        width_px: of the input.
        labels: how many there are, where that is known.
        inputs: how many the graph has: the authors' RT-DETR has a second one, for the size.

    Raises:
        FormError: of none that can be decoded.
    """
    if len(outputs) == 1:
        return _guess_single(outputs, cells(height_px, width_px), labels)
    if len(outputs) == 2:
        return _guess_pair(outputs, cells(height_px, width_px), labels)
    if "detection_boxes" in outputs:
        return Guess("ssd", None, "outputs named as TensorFlow's detection models name them")
    if len(outputs) == 3:
        triple(outputs)
        if inputs == 2:
            return Guess("rtdetr", None, "labels, boxes and scores, and an input for the size of the picture")
        return Guess("ssd", None, "boxes, scores and labels, already suppressed")
    raise FormError(f"{shapes(outputs)}: no family that can be decoded looks like that")


def cells(height_px: int, width_px: int) -> int:
    """Cells of the three levels at strides 8, 16 and 32."""
    return sum((height_px // stride) * (width_px // stride) for stride in STRIDES)


def _guess_single(outputs: Outputs, dense: int, labels: int | None) -> Guess:
    [array] = outputs.values()
    if array.ndim == 2 and len(array) == 1 and (array.shape[1] not in ROWS or array.shape[1] == labels):
        return Guess("classes", array.shape[1], "one row: a class each")
    if array.ndim == 5:
        remedy = "export it with its last layer (YOLOv5: no `--train`; YOLOv7: `--grid`)"
        raise FormError(f"{shapes(outputs)} are heads that are not decoded; {remedy}")
    found = next(_fitting(single(outputs).shape, dense, labels), None)
    if found is None:
        raise FormError(f"{shapes(outputs)}: no family that can be decoded looks like that")
    return found


def _fitting(shape: tuple[int, ...], dense: int, labels: int | None) -> Iterator[Guess]:
    """What the only output of a network with `dense` cells may be, likeliest first."""
    rows, columns = shape
    if labels is not None and rows == 4 + labels and columns > CHOSEN:
        yield Guess("yolov8", labels, f"4 + {labels} rows for {columns:,} cells")
    if columns in ROWS and rows <= CHOSEN and rows != dense:
        other = f"a classifier of {columns}, `classes`," if rows == 1 else "an RT-DETR of two labels, `rtdetr`,"
        because = f"{rows} rows of {ROWS[columns]}"
        yield Guess("yolov10", None, f"{because}; {other} looks the same" if columns == 6 or rows == 1 else because)
    if columns > 5 and rows == 3 * dense:
        yield Guess("yolov5", columns - 5, f"three anchors in each of {dense:,} cells")
    if rows == dense and columns - 4 == labels:
        yield Guess("yolov8", labels, f"one row of 4 + {labels} for each of {dense:,} cells")
    if columns > 5 and rows == dense:
        other = "YOLOv6 and decoded YOLOX, `yolov5`, look the same"
        yield Guess("yolox", columns - 5, f"one row of 5 + {columns - 5} for each of {dense:,} cells; {other}")
    if columns > 5 and rows > CHOSEN:
        because = f"{rows:,} rows of 5 + {columns - 5}, though {dense:,} cells do not explain them"
        yield Guess("yolov5", columns - 5, because)
    if 4 < columns < CHOSEN and FEWEST <= rows <= CHOSEN:
        yield Guess("rtdetr", columns - 4, f"{rows} rows of 4 + {columns - 4}")
    if 4 < rows < columns:
        yield Guess("yolov8", rows - 4, f"4 + {rows - 4} rows for {columns:,} cells")


def _guess_pair(outputs: Outputs, dense: int, labels: int | None) -> Guess:
    boxes, scores = pair(outputs)
    columns = scores.shape[1]
    if len(boxes) == dense and labels in (None, columns):
        return Guess("anchors", columns, f"boxes and scores of {dense:,} cells, as ours")
    if len(boxes) <= CHOSEN:
        return Guess("rtdetr", columns, f"boxes and classes of {len(boxes)} rows; give `activation`, mostly sigmoid")
    return Guess("ssd", columns - 1, f"boxes and scores of {len(boxes):,} priors, the first of them the background")
