"""What a detector sees on pictures, on pans over pictures and in clips, with a bar for whoever waits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models.detectors.decode import Candidates
from models.detectors.evaluation.gate import Sighting
from models.detectors.runtime import Detector
from models.detectors.training.data import Picture
from models.errors import SourceError

FLOOR: Final = 0.001  # COCO needs the tail
LEAST: Final = 0.05  # no operating point is as low
FPS: Final = 5.0
"""What the edge gives its detector of a camera where its config is silent."""
PAN_S: Final = 8.0
PAN_WINDOW: Final = 0.75

Image = NDArray[np.uint8]
Table = NDArray[np.float64]
T = TypeVar("T")


def see(detector: Detector, image: Image) -> Candidates:
    """What is seen on one picture, in its pixels, down to the tail that COCO needs."""
    detector.floor = FLOOR
    boxes = detector.detect(image)
    height, width = image.shape[:2]
    corners = np.array([(b.x1, b.y1, b.x2, b.y2) for b in boxes], np.float32).reshape(-1, 4)
    return Candidates(
        corners * np.array([width, height] * 2, np.float32),
        np.array([b.confidence for b in boxes], np.float32),
        np.array([detector.labels.index(b.label) for b in boxes], np.int64),
    )


def best_of(detector: Detector, image: Image) -> Table:
    """(labels, 2) score of the best box of each label, and the share of the frame it covers; 0 where there is none."""
    detector.floor = LEAST
    best = np.zeros((len(detector.labels), 2))
    for box in reversed(detector.detect(image)):  # the best comes first
        best[detector.labels.index(box.label)] = box.confidence, (box.x2 - box.x1) * (box.y2 - box.y1)
    return best


def pan(image: Image, count: int) -> Iterator[Image]:
    """What a camera would see in `count` frames that turns slowly from the left of a picture to its right."""
    height, width = image.shape[:2]
    rows, columns = max(int(height * PAN_WINDOW), 1), max(int(width * PAN_WINDOW), 1)
    top = (height - rows) // 2
    for step in range(count):
        left = (width - columns) * step // max(count - 1, 1)
        yield image[top : top + rows, left : left + columns]


def frames(path: Path, fps: float) -> Iterator[tuple[float, Image]]:
    """Seconds and picture of a clip, thinned to about `fps`."""
    clip = cv2.VideoCapture(str(path))
    own_fps = clip.get(cv2.CAP_PROP_FPS)
    if not clip.isOpened() or own_fps <= 0:
        raise SourceError(f"{path}: not a clip that can be opened")
    every, index = max(round(own_fps / fps), 1), 0
    try:
        while clip.grab():
            if index % every == 0:
                ok, image = clip.retrieve()
                if ok:
                    yield index / own_fps, image  # type: ignore[misc]  # uint8, as every 8-bit codec gives
            index += 1
    finally:
        clip.release()


@dataclass(frozen=True, slots=True)
class Eye:
    """A detector that remembers what it saw.

    Attributes:
        cache: folder that keeps what was seen, under the hash of the network and of what goes in and out of it; None:
            nothing is kept.
    """

    detector: Detector
    cache: Path | None = None

    def pictures(self, pictures: Sequence[Picture], name: str) -> list[Candidates]:
        """What is seen on each picture, in its pixels."""

        def look() -> Table:
            rows: list[Table] = []
            for index, picture in enumerate(self._bar(pictures, name)):
                seen = see(self.detector, picture.image)
                of = np.full(len(seen.scores), index)
                rows.append(np.column_stack((of, seen.boxes_px, seen.scores, seen.classes)))
            return np.concatenate(rows)

        table = self._kept(f"{name}-{_told(pictures)}", look)
        parts = np.split(table, np.searchsorted(table[:, 0], np.arange(1, len(pictures))))
        return [
            Candidates(part[:, 1:5].astype(np.float32), part[:, 5].astype(np.float32), part[:, 6].astype(np.int64))
            for part in parts
        ]

    def pans(self, pictures: Sequence[Picture], name: str, fps: float = FPS) -> list[list[Sighting]]:
        """For each picture and label, the best of each frame of a slow pan over it."""
        count = round(PAN_S * fps)

        def look() -> Table:
            bar = self._bar(pictures, f"{name} pans")
            return np.array([[best_of(self.detector, frame) for frame in pan(p.image, count)] for p in bar])

        table = self._kept(f"{name}-pans-{count}-{_told(pictures)}", look)
        return [_sightings(np.arange(count) / fps, part) for part in table]

    def clip(self, path: Path) -> list[Sighting]:
        """For each label, the best of each frame of a clip."""

        def look() -> Table:
            seen = [
                (time_s, best_of(self.detector, image)) for time_s, image in self._bar(frames(path, FPS), path.stem)
            ]
            return np.array([np.concatenate(([time_s], best.ravel())) for time_s, best in seen])

        table = self._kept(f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}", look)
        return _sightings(table[:, 0], table[:, 1:].reshape(len(table), -1, 2))

    def _bar(self, things: Iterable[T], name: str) -> Iterable[T]:
        title = f"{self.detector.manifest.name} {self.detector.precision} {name}"
        bar: Iterable[T] = tqdm(things, desc=title, mininterval=1, leave=False)
        return bar

    def _kept(self, name: str, look: Callable[[], Table]) -> Table:
        if self.cache is None:
            return look()
        manifest = self.detector.manifest
        around = [manifest.input, manifest.family, manifest.activation, manifest.overlap]
        told = hashlib.sha256(msgspec.json.encode(around, order="deterministic")).hexdigest()
        path = self.cache / f"{manifest.network(self.detector.precision).sha256[:16]}-{told[:8]}-{name}.npy"
        if not path.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            np.save(path, look())
        table: Table = np.load(path)
        return table


def _told(pictures: Sequence[Picture]) -> str:
    told = hashlib.sha256()
    for picture in pictures:
        told.update(picture.image.tobytes())
    return told.hexdigest()[:8]


def _sightings(times_s: Table, best: Table) -> list[Sighting]:
    """One for each label of (frames, labels, 2)."""
    return [Sighting(times_s, best[:, label, 0], best[:, label, 1]) for label in range(best.shape[1])]
