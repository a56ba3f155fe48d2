from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.detectors import Box, Detector, load
from models.detectors.manifest import ZOO, Input
from models.errors import ConfigError, SourceError
from tests.models.detectors.tiny_onnx import FLOAT, INT64, UINT8, Value, fixed, network, write_detector

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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no ONNX file: it has no graph"),
        (b"no network", "is no ONNX file, or a part of one"),
        ((ZOO / "fire_smoke.onnx").read_bytes()[:100_000], "it ends 3,[0-9,]+ bytes too early"),
        (network(BOXES, SCORES)[:-4], "is no (ONNX file|network that ONNX Runtime can open)"),
    ],
)
def test_a_truncated_network_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(write_detector(tmp_path, content))


def test_labels_that_do_not_match_the_output_are_refused(tmp_path: Path) -> None:
    path = write_detector(tmp_path, network(BOXES, SCORES), labels=("fire", "smoke", "steam"))
    with pytest.raises(ConfigError, match=r"scores float32 \(1, 3, 2\) where 3 labels are named .*correct `labels`"):
        load(path)


def test_weights_that_are_not_numbers_do_not_pass_for_a_quiet_street(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"graph\.scores_value: holds weights that are not numbers"):
        load(write_detector(tmp_path, network(BOXES, SCORES * np.nan)))


def test_numbers_without_end_do_not_pass_either(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gives numbers that are not finite in scores; its weights are damaged"):
        load(write_detector(tmp_path, network(BOXES, np.full_like(SCORES, np.inf))))


def test_an_input_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"takes picture float32 \(1, 320, 320, 3\), the manifest says picture uint8"):
        load(write_detector(tmp_path, network(BOXES, SCORES, FLOAT)))


@pytest.mark.parametrize(
    "picture", [("image", UINT8, (1, 320, 320, 3)), ("picture", UINT8, (1, 3, 320, 320)), ("picture", UINT8, (320,))]
)
def test_an_input_that_the_manifest_does_not_describe_is_refused(tmp_path: Path, picture: Value) -> None:
    with pytest.raises(ConfigError, match="correct `input` in the manifest; `gridwarden model inspect` writes one"):
        load(write_detector(tmp_path, fixed({"boxes": BOXES, "scores": SCORES}, picture)))


def yolov8(rows: int = 6) -> np.ndarray:
    """A fire in the middle, in pixels of 320 x 320, as YOLOv8 writes it."""
    columns = np.zeros((1, rows, 2100), np.float32)
    columns[0, :5, 7] = (160, 160, 32, 64, 0.9)
    return columns


YOLO_INPUT: dict[str, Any] = {
    "name": "images",
    "layout": "nchw",
    "dtype": "float32",
    "channels": "rgb",
    "scale": 1 / 255,
}


def test_a_network_of_another_family_is_one_manifest_away(tmp_path: Path) -> None:
    path = write_detector(tmp_path, fixed({"output0": yolov8()}), family="yolov8", input=Input(**YOLO_INPUT))
    [box] = load(path).detect(picture(320, 640, 3))
    assert (box.label, round(box.confidence, 3)) == ("fire", 0.9)
    # 640 x 320 lies in the upper half of the input: its middle is at the picture's lower edge.
    assert [box.x1, box.y1, box.x2, box.y2] == pytest.approx([0.45, 0.8, 0.55, 1.0])


def test_a_family_that_the_manifest_does_not_name_is_guessed_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_detector(tmp_path, fixed({"output0": yolov8()}), family=None, input=Input(**YOLO_INPUT))
    assert load(path).family == "yolov8"
    assert "the manifest names no family; guessed yolov8: 4 + 2 rows" in caplog.text


def test_a_family_that_nobody_can_guess_is_asked_for(tmp_path: Path) -> None:
    odd = {"a": np.zeros((1, 10), np.float32), "b": np.zeros((1, 10), np.float32)}
    path = write_detector(tmp_path, fixed(odd), family=None, input=Input(**YOLO_INPUT))
    with pytest.raises(ConfigError, match="export it in one of the families of the manifest"):
        load(path)


def test_sides_that_the_graph_leaves_open_are_fixed_by_the_manifest(tmp_path: Path) -> None:
    content = fixed({"output0": yolov8()}, ("images", FLOAT, ("batch", 3, "height", "width")))
    detector = load(write_detector(tmp_path, content, family="yolov8", input=Input(**YOLO_INPUT)))
    assert detector._view.session.inputs[0].shape == (1, 3, 320, 320)
    assert len(detector.detect(picture(100, 100, 3))) == 1


OPEN = ("picture", UINT8, ("batch", "height", "width", 3))


@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((1080, 1920), (192, 320)),  # a picture of 16:9 covers 180 rows
        ((480, 640), (256, 320)),
        ((640, 480), (320, 256)),
        ((500, 500), (320, 320)),
        ((20, 20_000), (32, 320)),
        ((1, 1), (320, 320)),
    ],
)
def test_a_picture_gets_no_more_of_the_input_than_it_covers(
    shape: tuple[int, int], sides: tuple[int, int], tmp_path: Path
) -> None:
    content = fixed({"boxes": BOXES, "scores": SCORES}, OPEN)
    square, cut = (load(write_detector(tmp_path, content, input=Input(multiple_px=multiple))) for multiple in (0, 32))
    image = picture(*shape, 3)
    seen = cut.detect(image)
    assert cut._view.session.inputs[0].shape == (1, *sides, 3)
    assert cut._view.canvas.tensor.shape == (1, *sides, 3)
    assert seen == square.detect(image)
    assert square._view.session.inputs[0].shape == (1, 320, 320, 3)
    assert (cut._view.canvas.tensor == square._view.canvas.tensor[:, : sides[0], : sides[1]]).all()


def test_what_ships_reads_no_more_of_a_frame_than_it_covers() -> None:
    detector = load("fire_smoke")
    assert list(detector._views) == [(192, 320)], "what most cameras give is there before the first frame"
    detector.detect(picture(1080, 1920, 3))
    assert list(detector._views) == [(192, 320)]


def test_each_shape_is_opened_once_and_shared(tmp_path: Path) -> None:
    path = write_detector(tmp_path, fixed({"boxes": BOXES, "scores": SCORES}, OPEN), input=Input(multiple_px=32))
    one, other = load(path), load(path)
    for shape in ((90, 160), (100, 100), (180, 320), (90, 161), (100, 100)):
        one.detect(picture(*shape, 3))
        other.detect(picture(*shape, 3))
        assert one._view.session is other._view.session
        assert one._view.canvas is not other._view.canvas
    assert set(one._views) == {(192, 320), (320, 320)}


def test_a_graph_whose_sides_are_fixed_cannot_be_cut(tmp_path: Path) -> None:
    content = fixed({"boxes": BOXES, "scores": SCORES}, ("picture", UINT8, (1, 320, 320, 3)))
    with pytest.raises(ConfigError, match=r"takes picture uint8 \(1, 320, 320, 3\), the manifest says .*192, 320"):
        load(write_detector(tmp_path, content, input=Input(multiple_px=32)))


def test_the_size_is_given_to_a_network_that_asks_for_it(tmp_path: Path) -> None:
    found = {
        "labels": np.array([[1, 0]]),
        "boxes": np.array([[[0, 0, 160, 320], [0, 0, 1, 1]]], np.float32),
        "scores": np.array([[0.7, 0.01]], np.float32),
    }
    content = fixed(found, second=("orig_target_sizes", INT64, (1, 2)))
    detector = load(write_detector(tmp_path, content, family="rtdetr", input=Input(**YOLO_INPUT, fit="stretch")))
    assert detector._view.feeds["orig_target_sizes"].tolist() == [[320, 320]]
    [box] = detector.detect(picture(100, 100, 3))
    assert (box.label, round(box.confidence, 3), box.x2, box.y2) == ("smoke", 0.7, 0.5, 1.0)
    other = fixed(found, second=("prompt", FLOAT, (1, 2)))
    with pytest.raises(ConfigError, match=r"wants a second input, prompt float32 \(1, 2\); export it so"):
        load(write_detector(tmp_path, other, family="rtdetr", input=Input(**YOLO_INPUT)))


def test_cameras_of_one_network_share_its_session(tiny: Path) -> None:
    one, other, faster = load(tiny), load(tiny), load(tiny, threads=2)
    assert one._view.session is other._view.session
    assert one._view.session is not faster._view.session
    assert one._view.canvas is not other._view.canvas
    threads = [d._view.session._session.get_session_options().intra_op_num_threads for d in (one, faster)]
    assert threads == [1, 2]


def test_detectors_of_one_session_may_work_at_the_same_time(shipped: Detector) -> None:
    images = [picture(200 + 8 * n, 300, 3) for n in range(4)]
    detectors = [load("fire_smoke", floor=0.001) for _ in images]
    alone = [detector.detect(image) for detector, image in zip(detectors, images, strict=True)]

    def work(pair: tuple[Detector, np.ndarray]) -> list[list[Box]]:
        return [pair[0].detect(pair[1]) for _ in range(10)]

    with ThreadPoolExecutor(4) as pool:
        for seen, expected in zip(pool.map(work, zip(detectors, images, strict=True)), alone, strict=True):
            assert seen == [expected] * 10


def test_a_provider_that_is_not_there_is_named_with_those_that_are(tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot run on 'cuda'; use one of: .*cpu"):
        load(tiny, provider="cuda")
