"""Every family and form, from tensors written by hand to boxes worked out on paper. The input is 64 wide, 32 high."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from models.detectors.decode import DECODERS, Candidates, Form, FormError, decode
from models.detectors.decode.families import activated, grid
from models.detectors.decode.guess import cells, guess
from models.detectors.manifest import Family

HEIGHT, WIDTH = 32, 64
CELLS = 8 * 4 + 4 * 2 + 2 * 1  # at strides 8, 16 and 32
FIRE, SMOKE = 0, 1
Seen = list[tuple[int, float, list[float]]]


def form(labels: int = 2, **changes: Any) -> Form:
    return Form(**{"labels": labels, "height_px": HEIGHT, "width_px": WIDTH, "floor": 0.25, **changes})


def seen(found: Candidates) -> Seen:
    """Class, score and box of each, best first."""
    order = np.argsort(-found.scores, kind="stable")
    rows = zip(found.classes[order], found.scores[order], found.boxes_px[order], strict=True)
    return [(int(label), round(float(score), 4), [round(float(v), 3) for v in box]) for label, score, box in rows]


def floats(*rows: Sequence[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def batch(*rows: Sequence[float], of: int = 0) -> np.ndarray:
    """(1, n, k) with empty rows up to `of`."""
    filled = np.zeros((max(of, len(rows)), len(rows[0])), np.float32)
    filled[: len(rows)] = rows
    return filled[None]


EXPECTED: Seen = [(SMOKE, 0.8, [10, 4, 30, 24]), (FIRE, 0.5, [40, 8, 48, 16])]
"""A smoke and a fire; each family below writes these two, with something in between that must go."""

V5 = batch(
    (20, 14, 20, 20, 1.0, 0.3, 0.8),
    (20.5, 14, 20, 20, 0.9, 0.1, 0.8),  # the same smoke again: suppressed
    (44, 12, 8, 8, 0.625, 0.8, 0.1),
    (12, 12, 8, 8, 0.2, 1.0, 1.0),  # hardly a thing
    (12, 12, 8, 8, 0.9, 0.2, 0.2),  # a thing, but neither
    of=3 * CELLS,
)
V8 = batch(
    (20, 14, 20, 20, 0.3, 0.8),
    (20.5, 14, 20, 20, 0.1, 0.72),
    (44, 12, 8, 8, 0.5, 0.1),
    (12, 12, 8, 8, 0.2, 0.2),
    of=CELLS,
).transpose(0, 2, 1)
V10 = batch((10, 4, 30, 24, 0.8, 1), (40, 8, 48, 16, 0.5, 0), (0, 0, 9, 9, 0.1, 1), of=300)
V7_END = floats((0, 40, 8, 48, 16, 0, 0.5), (0, 10, 4, 30, 24, 1, 0.8), (0, 0, 0, 9, 9, 0, 0.1))
CENTRES = batch((20 / 64, 14 / 32, 20 / 64, 20 / 32), (44 / 64, 12 / 32, 8 / 64, 8 / 32), (0.5, 0.5, 1, 1))
CLASSES = batch((0.3, 0.8), (0.5, 0.1), (0.1, 0.1))
CORNERS = batch((10, 4, 30, 24), (40, 8, 48, 16), (0, 0, 64, 32))
SHARES = CORNERS / np.array([WIDTH, HEIGHT] * 2, np.float32)
SCORES = floats((0.8, 0.5, 0.1))


def yolox() -> np.ndarray:
    """The smoke in the second cell of the second row at stride 16, the fire in the coarsest cell, decoded by nobody."""
    rows = np.zeros((1, CELLS, 7), np.float32)
    rows[0, :, 4:] = 0.1
    rows[0, 8 * 4 + 4 + 1] = (4 / 16, -2 / 16, np.log(20 / 16), np.log(20 / 16), 1.0, 0.3, 0.8)
    rows[0, -1] = (12 / 32, 12 / 32, np.log(8 / 32), np.log(8 / 32), 0.625, 0.8, 0.1)
    return rows


def logits(shares: np.ndarray) -> np.ndarray:
    turned: np.ndarray = np.log(shares / (1 - shares))
    return turned.astype(np.float32)


PRIORS = 2000
"""More than an end-to-end network has."""


def background(rows: np.ndarray) -> np.ndarray:
    """Scores with a background in front, a third row of it, and filled up."""
    filled = np.zeros((1, PRIORS, 3), np.float32)
    filled[..., 0] = 1
    filled[0, : len(rows[0])] = np.concatenate((1 - rows[0].sum(1, keepdims=True), rows[0]), 1)
    return filled


CASES: list[tuple[str, Family, Mapping[str, np.ndarray], dict[str, Any]]] = [
    ("ours", "anchors", {"boxes": CORNERS, "scores": batch((0.1, 0.8), (0.5, 0.1), (0, 0))}, {}),
    ("YOLOv5", "yolov5", {"output0": V5}, {}),
    ("YOLOv8", "yolov8", {"output0": V8}, {}),
    ("YOLOv8 turned", "yolov8", {"output0": V8.transpose(0, 2, 1)}, {}),
    ("YOLOv10", "yolov10", {"output0": V10}, {}),
    ("YOLOv7 end to end", "yolov10", {"output": V7_END}, {}),
    ("YOLOX", "yolox", {"output": yolox()}, {}),
    ("RT-DETR, Ultralytics", "rtdetr", {"output0": np.concatenate((CENTRES, CLASSES), 2)}, {}),
    (
        "RT-DETR, transformers",
        "rtdetr",
        {"logits": logits(CLASSES), "pred_boxes": CENTRES},
        {"activation": "sigmoid"},
    ),
    ("RT-DETR, its authors", "rtdetr", {"labels": np.array([[1, 0, 0]]), "boxes": CORNERS, "scores": SCORES}, {}),
    (
        "SSD, TensorFlow",
        "ssd",
        {
            "detection_boxes": SHARES[..., [1, 0, 3, 2]],
            "detection_classes": floats((2, 1, 1)),
            "detection_scores": SCORES,
            "num_detections": floats((3,)),
        },
        {},
    ),
    ("SSD, torchvision", "ssd", {"boxes": CORNERS[0], "scores": SCORES[0], "labels": np.array([2, 1, 1])}, {}),
    ("SSD, model zoo", "ssd", {"bboxes": SHARES, "labels": np.array([[2, 1, 1]]), "scores": SCORES}, {}),
    (
        "SSD before suppression",
        "ssd",
        {
            "scores": background(np.array([[(0.1, 0.8), (0.5, 0.1), (0.1, 0.72)]])),
            "boxes": np.concatenate((SHARES[:, :2], SHARES[:, :1], np.zeros((1, PRIORS - 3, 4), np.float32)), 1),
        },
        {},
    ),
]
IDS = [name for name, *_ in CASES]


@pytest.mark.parametrize(("family", "outputs", "changes"), [case[1:] for case in CASES], ids=IDS)
def test_a_form_gives_the_boxes_worked_out_on_paper(
    family: Family, outputs: Mapping[str, np.ndarray], changes: dict[str, Any]
) -> None:
    found = decode(family, outputs, form(**changes))
    assert seen(found) == EXPECTED
    assert [part.dtype.name for part in found] == ["float32", "float32", "int64"]


@pytest.mark.parametrize(("family", "outputs", "changes"), [case[1:] for case in CASES], ids=IDS)
@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_numbers_are_boxes_come_out_or_a_reason(
    family: Family, outputs: Mapping[str, np.ndarray], changes: dict[str, Any], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    wild = {
        name: rng.choice([-1e30, -3.0, 0.0, 0.3, 0.9, 7.0, 1e30, np.nan, np.inf, -np.inf], array.shape).astype(
            np.float32
        )
        if array.dtype.kind == "f"
        else array
        for name, array in outputs.items()
    }
    with contextlib.suppress(FormError), np.errstate(all="ignore"):
        found = decode(family, wild, form(**changes))
        assert np.isfinite(found.boxes_px).all()
        assert (found.boxes_px[:, 2:] >= found.boxes_px[:, :2]).all()
        assert (found.classes < 2).all()


def test_every_family_is_tested_and_every_name_of_the_manifest_has_a_decoder() -> None:
    assert set(DECODERS) == {family for _, family, *_ in CASES} | {"classes"}
    assert set(DECODERS) == set(Family.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("family", "outputs", "changes"), [case[1:] for case in CASES], ids=IDS)
def test_a_quiet_picture_gives_nothing(
    family: Family, outputs: Mapping[str, np.ndarray], changes: dict[str, Any]
) -> None:
    quiet = form(**changes, floor=0.95)
    assert [len(part) for part in decode(family, outputs, quiet)] == [0, 0, 0]


@pytest.mark.parametrize(("family", "outputs", "changes"), [case[1:] for case in CASES], ids=IDS)
def test_what_is_not_a_number_is_not_seen(
    family: Family, outputs: Mapping[str, np.ndarray], changes: dict[str, Any]
) -> None:
    broken = {
        name: np.full_like(array, np.nan) if array.dtype.kind == "f" else array for name, array in outputs.items()
    }
    assert [len(part) for part in decode(family, broken, form(**changes))] == [0, 0, 0]


@pytest.mark.parametrize("family", [family for family in DECODERS if family not in {"yolov10", "classes"}])
def test_labels_that_do_not_match_are_named(family: Family) -> None:
    outputs = next(outputs for _, of, outputs, _ in CASES if of == family)
    if "detection_boxes" in outputs:
        with pytest.raises(FormError, match="class 1 was seen where 1 labels are named"):
            decode(family, outputs, form(labels=1))
        return
    with pytest.raises(FormError, match="where 3 labels are named"):
        decode(family, outputs, form(labels=3))


def test_a_class_beyond_the_labels_is_named() -> None:
    with pytest.raises(FormError, match="class 1 was seen where 1 labels are named"):
        decode("yolov10", {"output0": V10}, form(labels=1))


def test_classification_is_the_whole_picture_a_label_each() -> None:
    whole = [0, 0, WIDTH, HEIGHT]
    scores = {"probabilities": floats((0.1, 0.6, 0.3))}
    assert seen(decode("classes", scores, form(3))) == [(1, 0.6, whole), (2, 0.3, whole)]
    raw = {"logits": np.log(scores["probabilities"]) + 7}
    assert seen(decode("classes", raw, form(3, activation="softmax"))) == [(1, 0.6, whole), (2, 0.3, whole)]
    assert seen(decode("classes", {"x": floats((9, -9, 0))}, form(3, activation="sigmoid", floor=0.4))) == [
        (0, 0.9999, whole),
        (2, 0.5, whole),
    ]
    with pytest.raises(FormError, match=r"x float32 \(1, 3\) where 2 labels are named"):
        decode("classes", {"x": floats((9, -9, 0))}, form(2))


def test_a_softmax_survives_large_numbers() -> None:
    np.testing.assert_allclose(activated(floats((1e4, 1e4, -1e4)), "softmax"), [[0.5, 0.5, 0]])
    np.testing.assert_allclose(activated(floats((-1e4, 0, 1e4)), "sigmoid"), [[0, 0.5, 1]])


def test_ours_may_carry_two_labels_in_one_box() -> None:
    found = decode("anchors", {"boxes": CORNERS, "scores": batch((0.6, 0.8), (0, 0), (0, 0))}, form())
    assert seen(found) == [(SMOKE, 0.8, [10, 4, 30, 24]), (FIRE, 0.6, [10, 4, 30, 24])]


def test_a_side_that_explodes_is_not_seen() -> None:
    rows = yolox()
    rows[0, -1, 2] = 1e6
    assert seen(decode("yolox", {"output": rows}, form())) == EXPECTED[:1]


def test_the_grid_lists_cells_row_by_row_finest_first() -> None:
    corners, strides = grid(HEIGHT, WIDTH)
    assert len(corners) == len(strides) == CELLS == cells(HEIGHT, WIDTH)
    assert corners[:2].tolist() == [[0, 0], [8, 0]]
    assert corners[8].tolist() == [0, 8]
    assert (corners[-1].tolist(), strides[-1].item()) == ([32, 0], 32)


@pytest.mark.parametrize("family", ["yolov5", "yolov8", "yolox", "yolov10"])
def test_outputs_of_a_batch_or_of_several_heads_are_refused(family: Family) -> None:
    for outputs in ({"a": np.zeros((2, 9, 7), np.float32)}, {"a": V5, "b": V5}, {"a": np.zeros((1, 3, 4, 8, 7))}):
        with pytest.raises(FormError, match="and not one output of one picture"):
            decode(family, outputs, form())


# What stands at the input decides how many cells there are; real sizes tell the families apart.
SIDE = 640
DENSE = 8400
GUESSES = [
    ("anchors", 2, {"boxes": (1, DENSE, 4), "scores": (1, DENSE, 2)}, None),
    ("yolov5", 80, {"output0": (1, 3 * DENSE, 85)}, None),
    ("yolov5", 80, {"output0": (1, 3 * DENSE + 300, 85)}, None),
    ("yolov8", 80, {"output0": (1, 84, DENSE)}, None),
    ("yolov8", 1, {"output0": (1, 5, DENSE)}, None),
    ("yolov8", 2, {"output0": (1, 6, DENSE)}, None),
    ("yolov8", 3, {"output0": (1, DENSE, 7)}, 3),
    ("yolov10", None, {"output0": (1, 300, 6)}, None),
    ("yolov10", None, {"output": (37, 7)}, None),
    ("yolox", 80, {"output": (1, DENSE, 85)}, None),
    ("rtdetr", 80, {"output0": (1, 300, 84)}, None),
    ("rtdetr", 80, {"logits": (1, 300, 80), "pred_boxes": (1, 300, 4)}, None),
    ("rtdetr", 4, {"logits": (1, 300, 4), "pred_boxes": (1, 300, 4)}, None),
    ("ssd", 20, {"scores": (1, 3000, 21), "boxes": (1, 3000, 4)}, None),
    ("classes", 1000, {"output": (1, 1000)}, None),
    ("classes", 2, {"output": (1, 2)}, None),
    ("classes", 6, {"output": (1, 6)}, 6),
    ("yolov10", None, {"output": (1, 6)}, None),
]


@pytest.mark.parametrize(("family", "labels", "shapes", "known"), GUESSES)
def test_a_family_is_guessed_from_shapes(
    family: str, labels: int | None, shapes: dict[str, tuple[int, ...]], known: int | None
) -> None:
    outputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    found = guess(outputs, height_px=SIDE, width_px=SIDE, labels=known)
    assert (found.family, found.labels) == (family, labels)
    assert found.because


def test_what_looks_alike_is_said() -> None:
    two = guess({"o": np.zeros((1, 300, 6))}, height_px=SIDE, width_px=SIDE)
    assert "an RT-DETR of two labels, `rtdetr`, looks the same" in two.because
    one = guess({"o": np.zeros((1, 7))}, height_px=SIDE, width_px=SIDE)
    assert "a classifier of 7, `classes`, looks the same" in one.because
    dense = guess({"o": np.zeros((1, DENSE, 85))}, height_px=SIDE, width_px=SIDE)
    assert "YOLOv6 and decoded YOLOX, `yolov5`, look the same" in dense.because


def test_three_outputs_are_a_detr_with_a_size_and_an_ssd_without() -> None:
    outputs = {"labels": np.zeros((1, 300), np.int64), "boxes": np.zeros((1, 300, 4)), "scores": np.zeros((1, 300))}
    assert guess(outputs, height_px=SIDE, width_px=SIDE, inputs=2).family == "rtdetr"
    assert guess(outputs, height_px=SIDE, width_px=SIDE).family == "ssd"
    named = {f"detection_{name}": np.zeros(1) for name in ("boxes", "classes", "scores")} | {"n": np.zeros(1)}
    assert guess(named, height_px=SIDE, width_px=SIDE).family == "ssd"


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"a": (1, 3, 80, 80, 85)}, "heads that are not decoded; export it with its last layer"),
        ({"a": (1, 21, 520, 520)}, "not one output of one picture"),
        ({"a": (1, 85, 3)}, "no family that can be decoded"),
        ({"a": (1, 10), "b": (1, 10)}, "and not boxes"),
        (dict.fromkeys("abcd", (1, 10)), "no family that can be decoded"),
    ],
)
def test_what_is_of_no_family_is_named(shapes: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(FormError, match=said):
        guess({name: np.zeros(shape) for name, shape in shapes.items()}, height_px=SIDE, width_px=SIDE)
