"""Scores of an exported detector, through the same runtime that a camera uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from models.detectors.card import CLIP_FPS
from models.detectors.decode import Candidates
from models.detectors.manifest import Clip, Manifest, Reading, Score
from models.detectors.runtime import Detector
from models.detectors.training.data import LABELS, Picture, fire_pictures, load_corpus
from models.detectors.training.points import POINTS, best_scores, readings, seconds_to
from models.detectors.training.scoring import average_precision
from models.errors import SourceError

FLOOR: Final = 0.001  # COCO needs the tail
SPLITS: Final = {
    "val": "validation: no near twin of a training picture; the checkpoint was chosen on it",
    "held_out": "training sources without fire, never trained on; thresholds were chosen on pans over them",
    "test_cctv": "test: a source that training never saw, CCTV and news; 380 of 453 are runs of similar frames",
    "test_neg": "test: daytime streets without fire; only the part `pothole` is of a source that training never saw",
}


def detect_pictures(detector: Detector, pictures: Sequence[Picture]) -> list[Candidates]:
    """What is seen on each picture, in pixels of the picture."""
    return [detect_image(detector, picture.image) for picture in pictures]


def detect_image(detector: Detector, image: NDArray[np.uint8]) -> Candidates:
    """What is seen on one picture, in its pixels."""
    boxes = detector.detect(image)
    height, width = image.shape[:2]
    corners = np.array([(b.x1, b.y1, b.x2, b.y2) for b in boxes], np.float32).reshape(-1, 4)
    return Candidates(
        corners * np.array([width, height] * 2, np.float32),
        np.array([b.confidence for b in boxes], np.float32),
        np.array([detector.labels.index(b.label) for b in boxes], np.int64),
    )


def frames(path: Path, fps: float) -> Iterator[tuple[float, NDArray[np.uint8]]]:
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


def watch(detector: Detector, path: Path) -> Iterator[Clip]:
    """Time to the third hit of each label at each point."""
    times_s, found = [], []
    for time_s, image in frames(path, CLIP_FPS):
        times_s.append(time_s)
        found.append(detect_image(detector, image))
    for label, name in enumerate(LABELS):
        best = best_scores(found, label).tolist()
        for point in POINTS:
            seconds = seconds_to(times_s, best, getattr(detector.manifest.thresholds[name], point))
            yield Clip(clip=path.stem, label=name, point=point, fps=CLIP_FPS, seconds=seconds)


def evaluate(detector: Detector, data: Path) -> Manifest:
    """The manifest of the detector with every score filled in; its thresholds stay as they are."""
    detector.floor = FLOOR
    corpus = load_corpus(data)
    splits = {"val": corpus.val, "held_out": corpus.held_out}
    splits |= {name: fire_pictures(data, name) for name in ("test_cctv", "test_neg")}
    scores: list[Score] = []
    rows: list[Reading] = []
    for name, pictures in splits.items():
        found = detect_pictures(detector, pictures)
        if name in {"val", "test_cctv"}:
            scores += [average_precision(pictures, found, label, name) for label in range(len(LABELS))]
        rows += readings(detector.manifest, name, pictures, found)
    clips = [row for path in sorted((data / "clips").glob("*.mp4")) for row in watch(detector, path)]
    return msgspec.structs.replace(
        detector.manifest, splits=SPLITS, scores=tuple(scores), readings=tuple(rows), clips=tuple(clips)
    )
