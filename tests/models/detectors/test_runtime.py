from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.detectors import Box, Detector, load
from models.detectors.manifest import ZOO
from models.errors import ConfigError, SourceError
from tests.models.detectors.tiny_onnx import FLOAT, network, write_detector

BOXES = np.array([[[0, 0, 160, 90], [100, 100, 900, 900], [-50, 10, 20, 30]]], np.float32)
SCORES = np.array([[[0.9, 0.0], [0.0, 0.4], [0.2, 0.0]]], np.float32)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_detector(tmp_path, network(BOXES, SCORES))


@pytest.fixture(scope="module")
def shipped() -> Detector:
    return load("fire_smoke")


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def test_boxes_are_shares_of_the_picture_best_first(tiny: Path) -> None:
    first, second, third = load(tiny).detect(picture(360, 640, 3))
    # 640 x 360 lies in the top 320 x 180 of the input.
    assert first == Box("fire", first.confidence, 0.0, 0.0, 0.5, 0.5)
    assert first.confidence == pytest.approx(0.9)
    assert (second.label, second.x2, second.y2) == ("smoke", 1.0, 1.0)
    assert third.x1 == 0.0


def test_the_floor_hides_what_is_below_it(tiny: Path) -> None:
    assert [box.label for box in load(tiny, floor=0.3).detect(picture(360, 640, 3))] == ["fire", "smoke"]


def test_the_letterbox_is_the_scaled_picture_on_grey(tiny: Path) -> None:
    detector = load(tiny)
    image = picture(240, 640, 3)
    detector.detect(picture(640, 640, 3))  # what lay there before must be gone
    detector.detect(image)
    np.testing.assert_array_equal(detector._canvas[:120], cv2.resize(image, (320, 120)))
    assert (detector._canvas[120:] == 114).all()


def test_a_view_is_as_good_as_a_copy(tiny: Path) -> None:
    detector = load(tiny)
    image = picture(300, 300, 3)[::-2, ::-1]
    detector.detect(image)
    seen = detector._canvas.copy()
    detector.detect(image.copy())
    np.testing.assert_array_equal(seen, detector._canvas)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (picture(20, 20), r"\(20, 20\); use cv2\.cvtColor"),
        (picture(20, 20, 1), r"\(20, 20, 1\)"),
        (picture(20, 20, 4), r"\(20, 20, 4\)"),
        (picture(20, 20, 3).astype(np.uint16), "uint16"),
        (picture(20, 20, 3).astype(np.float32), "float32"),
        (picture(0, 20, 3), "empty picture"),
        (picture(20, 0, 3), "empty picture"),
        (None, "NoneType; was it read at all"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(shipped: Detector, image: np.ndarray, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        shipped.detect(image)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 3, 3), (20_000, 20, 3), (20, 20_000, 3), (1080, 1920, 3)])
def test_any_size_has_a_result_within_the_picture(shipped: Detector, shape: tuple[int, int, int]) -> None:
    for box in shipped.detect(picture(*shape)):
        assert box.label in shipped.labels
        assert 0.05 <= box.confidence <= 1
        assert 0 <= box.x1 <= box.x2 <= 1
        assert 0 <= box.y1 <= box.y2 <= 1


def test_the_same_picture_gives_the_same_boxes(shipped: Detector) -> None:
    image = picture(200, 300, 3)
    assert shipped.detect(image) == shipped.detect(image)


def test_black_white_and_grey_are_quiet(shipped: Detector) -> None:
    hints = {label: point.hint for label, point in shipped.manifest.thresholds.items()}
    for level in (0, 114, 255):
        seen = shipped.detect(np.full((360, 640, 3), level, np.uint8))
        assert not [box for box in seen if box.confidence >= hints[box.label]]


def test_a_missing_network_names_the_remedy(tiny: Path) -> None:
    tiny.with_suffix(".onnx").unlink()
    with pytest.raises(ConfigError, match=r"tiny\.onnx: \$: the network cannot be read.*gridwarden train"):
        load(tiny)


def test_a_network_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = write_detector(tmp_path, network(BOXES, SCORES), sha256="0" * 64)
    with pytest.raises(ConfigError, match=r"sha256: SHA-256 is .* the manifest says 0000"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"no network", (ZOO / "fire_smoke.onnx").read_bytes()[:100_000]])
def test_a_truncated_network_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError, match="no network that ONNX Runtime can open"):
        load(write_detector(tmp_path, content))


def test_labels_that_do_not_match_the_output_are_refused(tmp_path: Path) -> None:
    path = write_detector(tmp_path, network(BOXES, SCORES), labels=("fire", "smoke", "steam"))
    with pytest.raises(ConfigError, match=r"scores \(1, 3, 2\) where 3 labels are named"):
        load(path)


def test_weights_that_are_not_numbers_do_not_pass_for_a_quiet_street(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not finite"):
        load(write_detector(tmp_path, network(BOXES, SCORES * np.nan)))


def test_an_input_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it cannot be run"):
        load(write_detector(tmp_path, network(BOXES, SCORES, FLOAT)))
