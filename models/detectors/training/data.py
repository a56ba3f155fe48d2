"""The pictures: read from their tars, decoded once, with what is and is not labelled on each.

Test pictures are read by `evaluate` alone. Nothing here hands one to training, and `test_independence` proves it.
"""

from __future__ import annotations

import csv
import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import SourceError

LABELS = ("fire", "smoke")
FIRE, SMOKE = range(2)
TWIN_CORRELATION = 0.9  # of 24x24 grey thumbnails, the measure that separated validation from training
HELD_OUT_PERCENT = 30


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded picture.

    Attributes:
        name: file name, unique within its set only.
        source: short name of where it comes from.
        sha256: of the file as it lies in the tar.
        image: (h, w, 3) uint8 BGR.
        boxes: (n, 5) float32, class and x1 y1 x2 y2 in pixels.
        knows_smoke: whether a smoke box that is missing means that there is no smoke.
        group: run of similar pictures, as the manifest names it.
    """

    name: str
    source: str
    sha256: str
    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    knows_smoke: bool
    group: str = ""


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


def decode(content: bytes, name: str) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 BGR of a picture file."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"{name}: not a picture that can be decoded")
    return image  # type: ignore[return-value]  # IMREAD_COLOR always gives uint8


def manifest(data: Path, name: str) -> dict[str, dict[str, str]]:
    """Rows of a picture manifest by file name."""
    with (data / f"{name}_manifest.csv").open(encoding="utf-8", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def fire_pictures(data: Path, split: str) -> list[Picture]:
    """The pictures of `fire_smoke` of one split: train, val, test_cctv or test_neg."""
    rows = manifest(data, "fire_smoke")
    pictures = []
    for tar in sorted(data.glob(f"fire_smoke_{split}*.tar")):
        for name, content, text in members(tar):
            row, image = rows[name], decode(content, name)
            pictures.append(
                Picture(
                    name=name,
                    source=row["source"] + ("" if row["smoke_labelled"] != "unknown" else "_unknown"),
                    sha256=hashlib.sha256(content).hexdigest(),
                    image=image,
                    boxes=to_boxes(text, *image.shape[:2]),
                    knows_smoke=row["smoke_labelled"] in ("yes", "neg"),
                    group=row["group"],
                )
            )
    if not pictures:
        raise SourceError(f"{data}: no fire_smoke_{split}*.tar; give the folder of the tars with --data")
    return pictures


def street_pictures(data: Path, split: str) -> list[Picture]:
    """The pictures of `street` of one split as pictures without fire; their own boxes are not read."""
    rows = manifest(data, "street")
    nothing = np.zeros((0, 5), np.float32)
    return [
        Picture(name, rows[name]["source"], hashlib.sha256(content).hexdigest(), decode(content, name), nothing, True)
        for name, content, _ in members(data / f"street_{split}.tar")
    ]


def thumbnails(pictures: list[Picture]) -> NDArray[np.float32]:
    """(n, 576) float32: 24x24 grey, zero mean, unit length, so that a dot product is a correlation."""
    rows = [
        cv2.resize(cv2.cvtColor(p.image, cv2.COLOR_BGR2GRAY), (24, 24), interpolation=cv2.INTER_AREA) for p in pictures
    ]
    flat = np.array(rows, np.float32).reshape(len(rows), -1)
    flat -= flat.mean(1, keepdims=True)
    normal: NDArray[np.float32] = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6)
    return normal


def hold_out(pictures: list[Picture]) -> tuple[list[Picture], list[Picture]]:
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
    is_out = [int(keys[root(i)][:8], 16) % 100 < HELD_OUT_PERCENT for i in range(len(pictures))]
    return (
        [p for p, out in zip(pictures, is_out, strict=True) if not out],
        [p for p, out in zip(pictures, is_out, strict=True) if out],
    )


@dataclass(frozen=True, slots=True)
class Corpus:
    """What training may see, and what thresholds are chosen on.

    Attributes:
        fires: training pictures with boxes.
        streets: training pictures without fire or smoke, also the backgrounds of composites.
        held_out: pictures without fire from the training sources that training never sees, plus `street_val`.
        val: the validation pictures.
    """

    fires: list[Picture]
    streets: list[Picture]
    held_out: list[Picture]
    val: list[Picture]


def load_corpus(data: Path) -> Corpus:
    """Everything but the test sets."""
    train = fire_pictures(data, "train")
    val = fire_pictures(data, "val")
    fires = [p for p in train if len(p.boxes)]
    seen = {p.sha256 for p in val}
    empty: dict[str, Picture] = {}
    for picture in [p for p in train if not len(p.boxes) and p.knows_smoke] + street_pictures(data, "train"):
        if picture.sha256 not in seen:
            empty.setdefault(picture.sha256, picture)
    streets, held_out = hold_out(list(empty.values()))
    learnt = {p.sha256 for p in streets} | seen
    held_out += [p for p in street_pictures(data, "val") if p.sha256 not in learnt]
    return Corpus(fires, streets, held_out, val)
