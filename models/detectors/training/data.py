"""The pictures: read from their tars, decoded once, with what is and is not labelled on each.

Test pictures are read by `evaluate` alone. Nothing here hands one to training, and `TestIndependence` proves it.
"""

from __future__ import annotations

import csv
import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors.training.recipes import FIRE_SMOKE, STREET_FILE, Recipe
from models.errors import SourceError

FLAMES: Final = Path(__file__).with_name("flames.csv")
TWIN_CORRELATION: Final = 0.9  # of 24x24 grey thumbnails, the measure that separated validation from training


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded picture.

    Attributes:
        name: file name, unique within its set only.
        source: short name of where it comes from.
        sha256: of the file as it lies in the tar.
        image: (h, w, 3) uint8 BGR.
        boxes: (n, 5) float32, class and x1 y1 x2 y2 in pixels.
        known: (classes,) bool, whether a box of that class that is missing means that there is none.
        group: run of similar pictures, as the manifest names it.
        burns: whether there is fire or smoke on it, whatever the network looks for.
    """

    name: str
    source: str
    sha256: str
    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    known: NDArray[np.bool_]
    group: str = ""
    burns: bool = False

    def has(self, label: int) -> bool:
        """Whether a box of the class is drawn on it."""
        return bool((self.boxes[:, 0] == label).any())


def members(tar: Path) -> Iterator[tuple[str, bytes, str]]:
    """Name, file and label text of every picture in a tar."""
    try:
        with tarfile.open(tar) as archive:
            files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
            contents = {name: file.read() for name, file in files.items() if file}
    except OSError as error:
        raise SourceError(f"{tar}: cannot be read ({error}); give the folder of the tars with --data") from error
    for name, content in sorted(contents.items()):
        if name.startswith("images/"):
            stem = Path(name).stem
            yield Path(name).name, content, contents.get(f"labels/{stem}.txt", b"").decode()


def to_boxes(text: str, height: int, width: int) -> NDArray[np.float32]:
    """YOLO lines (class cx cy w h in 0..1) as (n, 5) class and x1 y1 x2 y2 in pixels."""
    rows = np.array([line.split()[:5] for line in text.splitlines() if line.strip()], np.float32).reshape(-1, 5)
    half = rows[:, 3:5] / 2
    corners = np.concatenate((rows[:, 1:3] - half, rows[:, 1:3] + half), 1).clip(0, 1)
    return np.concatenate((rows[:, :1], corners * np.array([width, height] * 2, np.float32)), 1).astype(np.float32)


def relabel(boxes: NDArray[np.float32], own: Sequence[str], labels: Sequence[str]) -> NDArray[np.float32]:
    """Boxes numbered by `labels` instead of the set's `own`; those of a label that is not wanted are dropped."""
    numbers = np.array([labels.index(name) if name in labels else -1 for name in own], np.float32)
    renamed = boxes.copy()
    renamed[:, 0] = numbers[boxes[:, 0].astype(int)]
    return renamed[renamed[:, 0] >= 0]


def decode(content: bytes, name: str) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 BGR of a picture file."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"{name}: not a picture that can be decoded")
    return image  # type: ignore[return-value]  # IMREAD_COLOR always gives uint8


def manifest(data: Path, name: str) -> dict[str, dict[str, str]]:
    """Rows of a picture manifest by file name."""
    path = data / f"{name}_manifest.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row["file"]: row for row in csv.DictReader(file)}
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error}); give the folder of the tars with --data") from error


def unboxed_flames() -> dict[str, list[tuple[float, ...]]]:
    """Corners (0..1) of flames that the training labels left out, by SHA-256 of the picture; none: somewhere on it.

    Of the training pictures on which smoke is all that is boxed, a network saw fire on 169. Looked at one by one,
    flames stood on 113 of them, above all in burning houses and fields behind their smoke: a street camera's fire.
    """
    flames: dict[str, list[tuple[float, ...]]] = {}
    with FLAMES.open(encoding="utf-8", newline="") as file:
        for sha256, *corners in list(csv.reader(file))[1:]:
            flames.setdefault(sha256, []).extend([tuple(map(float, corners))] if corners[0] else [])
    return flames


def fire_pictures(data: Path, split: str, labels: Sequence[str] = FIRE_SMOKE) -> list[Picture]:
    """The pictures of `fire_smoke` of one split: train, val, test_cctv or test_neg. No street object is boxed there."""
    pictures = []
    flames = unboxed_flames() if split == "train" else {}
    for name, content, text, row in _rows(data, "fire_smoke", split):
        labelled = {"fire"} | ({"smoke"} if row["smoke_labelled"] in ("yes", "neg") else set())
        source = row["source"] + ("_unknown" if row["smoke_labelled"] == "unknown" else "")
        drawn = text
        if (found := flames.get(hashlib.sha256(content).hexdigest())) is not None:
            labelled.remove("fire")  # there may be more of them
            drawn += "".join(f"\n0 {(a + c) / 2} {(b + d) / 2} {c - a} {d - b}" for a, b, c, d in found)
        pictures.append(_picture(name, source, content, (drawn, FIRE_SMOKE), labels, labelled, row["group"]))
    return pictures


def street_pictures(data: Path, split: str, labels: Sequence[str] = FIRE_SMOKE) -> list[Picture]:
    """The pictures of `street` of one split: train, val or test. Nothing burns on them."""
    return [
        _picture(
            name,
            row["source"],
            content,
            (text, STREET_FILE),
            labels,
            {*FIRE_SMOKE, *row["labelled_classes"].split("|")},
            row.get("group", ""),
        )
        for name, content, text, row in _rows(data, "street", split)
    ]


def _rows(data: Path, name: str, split: str) -> Iterator[tuple[str, bytes, str, dict[str, str]]]:
    rows = manifest(data, name)
    tars = sorted(data.glob(f"{name}_{split}*.tar"))
    if not tars:
        raise SourceError(f"{data}: no {name}_{split}*.tar; give the folder of the tars with --data")
    for tar in tars:
        for file, content, text in members(tar):
            yield file, content, text, rows[file]


def _picture(
    name: str,
    source: str,
    content: bytes,
    drawn: tuple[str, Sequence[str]],
    labels: Sequence[str],
    labelled: set[str],
    group: str,
) -> Picture:
    image = decode(content, name)
    return Picture(
        name=name,
        source=source,
        sha256=hashlib.sha256(content).hexdigest(),
        image=image,
        boxes=relabel(to_boxes(drawn[0], *image.shape[:2]), drawn[1], labels),
        known=np.array([label in labelled for label in labels]),
        group=group,
        burns=drawn[1] is FIRE_SMOKE and bool(drawn[0].strip()),
    )


def thumbnails(pictures: list[Picture]) -> NDArray[np.float32]:
    """(n, 576) float32: 24x24 grey, zero mean, unit length, so that a dot product is a correlation."""
    rows = [
        cv2.resize(cv2.cvtColor(p.image, cv2.COLOR_BGR2GRAY), (24, 24), interpolation=cv2.INTER_AREA) for p in pictures
    ]
    flat = np.array(rows, np.float32).reshape(len(rows), -1)
    flat -= flat.mean(1, keepdims=True)
    normal: NDArray[np.float32] = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6)
    return normal


def hold_out(pictures: list[Picture], percent: int) -> tuple[list[Picture], list[Picture]]:
    """Split into (to train on, held out) by hash, near twins always on the same side.

    A hash of the single file would put frames of one scene on both sides, and the false positives counted on the held
    out side would then be those of pictures that were learnt by heart.
    """
    looks = thumbnails(pictures)
    parent = list(range(len(pictures)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    for first, second in zip(*np.nonzero(np.triu(looks @ looks.T > TWIN_CORRELATION, 1)), strict=True):
        parent[root(int(second))] = root(int(first))
    keys: dict[int, str] = {}
    for index, picture in enumerate(pictures):
        keys[root(index)] = min(keys.get(root(index), "g"), picture.sha256)
    is_out = [int(keys[root(i)][:8], 16) % 100 < percent for i in range(len(pictures))]
    return (
        [p for p, out in zip(pictures, is_out, strict=True) if not out],
        [p for p, out in zip(pictures, is_out, strict=True) if out],
    )


@dataclass(frozen=True, slots=True)
class Corpus:
    """What training may see, and what thresholds are chosen on.

    Attributes:
        fires: training pictures with fire or smoke; none where the network does not look for them.
        streets: training pictures without fire or smoke, also the backgrounds of composites.
        held_out: pictures without fire from the training sources that training never sees, plus `street_val`.
        val: the validation pictures.
    """

    fires: list[Picture]
    streets: list[Picture]
    held_out: list[Picture]
    val: list[Picture]


def load_corpus(data: Path, recipe: Recipe) -> Corpus:
    """Everything that a network may learn from or be chosen by: never a picture of a test set."""
    labels = recipe.labels
    street_val = street_pictures(data, "val", labels)
    if not recipe.sees_fire:
        streets, held_out = hold_out(street_pictures(data, "train", labels), recipe.held_out_percent)
        return Corpus([], streets, held_out, street_val)
    train, val = fire_pictures(data, "train", labels), fire_pictures(data, "val", labels)
    seen = {p.sha256 for p in val}
    quiet = [p for p in train if not p.burns and p.known[: len(FIRE_SMOKE)].all()]
    empty: dict[str, Picture] = {}
    for picture in street_pictures(data, "train", labels) + quiet:  # of a picture that both sets have, the boxed one
        if picture.sha256 not in seen:
            empty.setdefault(picture.sha256, picture)
    streets, held_out = hold_out(list(empty.values()), recipe.held_out_percent)
    learnt = {p.sha256 for p in streets} | seen
    held_out += [p for p in street_val if p.sha256 not in learnt]
    return Corpus([p for p in train if p.burns], streets, held_out, val)
