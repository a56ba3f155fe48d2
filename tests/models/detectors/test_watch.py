from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.detectors import load
from models.detectors.evaluation.watch import PAN_S, Eye, best_of, frames, pan, see
from models.detectors.manifest import Input
from models.detectors.runtime import Detector
from models.detectors.training.data import Picture
from models.errors import SourceError
from tests.models.detectors.tiny_onnx import network, write_detector

BOXES = np.array([[[0, 0, 160, 160], [10, 20, 30, 40], [200, 200, 320, 320]]], np.float32)
SCORES = np.array([[[0.9, 0.0], [0.2, 0.0], [0.0, 0.01]]], np.float32)


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    return load(write_detector(tmp_path, network(BOXES, SCORES)))


def picture(height: int = 320, width: int = 320) -> Picture:
    image = np.full((height, width, 3), 7, np.uint8)
    return Picture("p.jpg", "s", "0" * 64, image, np.zeros((0, 5), np.float32), np.array([True, True]))


def test_boxes_come_in_pixels_of_the_picture_down_to_the_tail(detector: Detector) -> None:
    found = see(detector, np.zeros((640, 640, 3), np.uint8))
    assert found.classes.tolist() == [0, 0, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.2, 0.01])
    assert found.boxes_px[0].tolist() == pytest.approx([0, 0, 320, 320])


def test_of_each_label_the_best_counts(detector: Detector) -> None:
    assert best_of(detector, np.zeros((320, 320, 3), np.uint8)) == pytest.approx(np.array([[0.9, 0.25], [0.0, 0.0]]))


def test_a_pan_goes_from_one_edge_to_the_other() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :, 0] = np.arange(80)
    seen = list(pan(image, 16))
    assert {frame.shape for frame in seen} == {(30, 60, 3)}
    assert seen[0][0, 0, 0] == 0
    assert seen[-1][0, -1, 0] == 79
    assert len(list(pan(image[:1, :1], 16))) == 16


def write_clip(path: Path, fps: float = 25.0, count: int = 50) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (64, 48))
    for index in range(count):
        writer.write(np.full((48, 64, 3), index, np.uint8))
    writer.release()
    return path


def test_a_clip_is_thinned_to_the_rate_of_a_camera(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    assert [time_s for time_s, _ in frames(path, 5.0)] == pytest.approx(np.arange(10) / 5)
    assert len(list(frames(path, 100.0))) == 50
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    with pytest.raises(SourceError, match=r"broken\.mp4: not a clip"):
        list(frames(tmp_path / "broken.mp4", 5.0))


def test_what_was_seen_is_kept_for_the_same_network_and_pictures(detector: Detector, tmp_path: Path) -> None:
    eye = Eye(detector, tmp_path / "cache")
    pictures = [picture(), picture(64, 64)]
    found = eye.pictures(pictures, "val")
    [first, second] = eye.pans(pictures, "val", fps=2.0)
    clip = eye.clip(write_clip(tmp_path / "clip.mp4"))
    kept = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert len(kept) == 3
    assert all(name.startswith(detector.manifest.sha256[:16]) for name in kept)
    for before, again in zip(found, eye.pictures(pictures, "val"), strict=True):
        assert [part.tolist() for part in before] == [part.tolist() for part in again]
    assert [len(one.times_s) for one in (*first, *second)] == [round(PAN_S * 2)] * 4
    assert [one.scores.max() for one in first] == pytest.approx([0.9, 0.0])
    assert clip[0].scores.tolist() == pytest.approx([0.9] * 10)
    assert len(list((tmp_path / "cache").iterdir())) == 3
    eye.pictures(pictures[:1], "val")
    assert len(list((tmp_path / "cache").iterdir())) == 4
    stretched = load(write_detector(tmp_path, network(BOXES, SCORES), input=Input(fit="stretch")))
    Eye(stretched, tmp_path / "cache").pictures(pictures, "val")
    eye.clip(write_clip(tmp_path / "clip.mp4", count=40))
    assert len(list((tmp_path / "cache").iterdir())) == 6
