from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.detectors import commands, load, read_manifest
from models.detectors.inspection import Inspection, inspect, manifest_text, report
from models.detectors.manifest import ZOO
from models.detectors.session import Options
from models.errors import ConfigError
from tests.models.detectors.tiny_onnx import FLOAT, INT64, UINT8, YOLO, Value, fixed, write_detector


def ones(*shape: int, of: float = 0.1) -> np.ndarray:
    return np.full(shape, of, np.float32)


YOLOV8 = {"output0": ones(1, 6, 2100)}
NOTED = {"names": "{0: 'Fire', 1: 'traffic light'}", "stride": "32", "imgsz": "[320, 320]"}


def written(folder: Path, content: bytes, name: str = "own.onnx") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def look(folder: Path, content: bytes, **how: Any) -> Inspection:
    return inspect(written(folder, content), options=Options(), **how)


def command(path: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    commands.register(parser.add_subparsers())
    args = parser.parse_args(["model", "inspect", str(path), *words])
    return int(args.run(args))


def test_the_command_says_what_it_found_and_writes_a_manifest_that_opens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = fixed(YOLOV8, metadata=NOTED)
    path = written(tmp_path, content)
    assert command(path) == 0
    said = capsys.readouterr().out
    for part in (
        f"SHA-256 {hashlib.sha256(content).hexdigest()}",
        "made by  by hand, opset 17, 2 operators",
        "input    images float32 (1, 3, 320, 320)",
        "output   output0 float32 (1, 6, 2100)",
        "family   yolov8, guessed: 4 + 2 rows for 2,100 cells",
        "labels   2: fire, traffic_light",
        "ms p99 for the network alone",
        "`thresholds`: 0.25 and 0.5 are placeholders",
        "own.toml: written, to be edited",
    ):
        assert part in said
    manifest = read_manifest(path)
    assert (manifest.family, manifest.labels) == ("yolov8", ("fire", "traffic_light"))
    assert (manifest.input.name, manifest.input.layout, manifest.input.channels) == ("images", "nchw", "rgb")
    assert manifest.input.scale == pytest.approx(1 / 255)
    assert path.with_suffix(".toml").read_text().startswith("# Drawn up by `gridwarden model inspect`.")
    assert load(path).detect(np.zeros((100, 100, 3), np.uint8)) != []


def test_a_manifest_that_is_there_is_kept_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, fixed(YOLOV8))
    command(path, "--labels", "fire,smoke")
    mine = path.with_suffix(".toml").read_text().replace("hint = 0.25", "hint = 0.33")
    path.with_suffix(".toml").write_text(mine)
    assert command(path) == 0
    assert "was there already, and fits" in capsys.readouterr().out
    assert path.with_suffix(".toml").read_text() == mine
    assert command(path, "--force", "--labels", "fire,smoke") == 0
    assert "hint = 0.25" in path.with_suffix(".toml").read_text()


def test_a_manifest_that_does_not_fit_is_said(tmp_path: Path) -> None:
    path = write_detector(tmp_path, fixed(YOLOV8), sha256="0" * 64).with_suffix(".onnx")
    with pytest.raises(ConfigError, match=r"sha256: SHA-256 is .*, the manifest says 000"):
        command(path)


def test_the_shipped_network_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(ZOO / "fire_smoke.onnx") == 0
    said = capsys.readouterr().out
    assert "family   anchors, guessed: boxes and scores of 2,100 cells, as ours" in said
    assert "labels   2: fire, smoke" in said


def test_the_shipped_network_in_integers_has_its_manifest_already(capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(ZOO.iterdir())
    assert command(ZOO / "fire_smoke.int8.onnx") == 0
    said = capsys.readouterr().out
    assert "labels   2: fire, smoke" in said
    assert "fire_smoke.toml: was there already, and fits" in said
    assert sorted(ZOO.iterdir()) == before


@pytest.mark.parametrize(
    ("outputs", "picture", "family", "expected"),
    [
        ({"o": ones(1, 6300, 7)}, YOLO, "yolov5", {"channels": "rgb", "scale": pytest.approx(1 / 255)}),
        ({"o": ones(1, 2100, 7)}, YOLO, "yolox", {"channels": "bgr", "scale": 1.0}),
        ({"o": ones(1, 300, 84)}, YOLO, "rtdetr", {"fit": "stretch"}),
        ({"scores": ones(1, 3000, 3), "boxes": ones(1, 3000, 4)}, YOLO, "ssd", {"mean": (127.0,) * 3}),
        ({"o": ones(1, 5)}, ("x", UINT8, (1, 224, 224, 3)), "classes", {"layout": "nhwc", "dtype": "uint8"}),
    ],
)
def test_the_draft_follows_the_conventions_of_the_family(
    tmp_path: Path, outputs: dict[str, np.ndarray], picture: Value, family: str, expected: dict[str, object]
) -> None:
    found = look(tmp_path, fixed(outputs, picture))
    wanted = found.manifest.input
    assert found.manifest.family == family
    assert {key: getattr(wanted, key) for key in expected} == expected
    assert any(note.startswith("`input`") for note in found.notes)
    (tmp_path / "own.toml").write_text(manifest_text(found))
    load(tmp_path / "own.onnx").detect(np.zeros((50, 80, 3), np.uint8))


def test_scores_that_still_need_a_softmax_are_found_by_the_last_operator(tmp_path: Path) -> None:
    raw = look(tmp_path, fixed({"o": ones(1, 5, of=3.0)}))
    assert raw.manifest.activation == "softmax"
    assert "`activation`: softmax, as the graph itself ends without" in raw.notes
    done = look(tmp_path, fixed({"o": ones(1, 5, of=3.0)}, kind="Softmax"))
    assert done.manifest.activation == "none"


def test_an_open_side_is_taken_from_the_notes_or_the_command(tmp_path: Path) -> None:
    content = fixed(YOLOV8, ("images", FLOAT, (1, 3, "h", "w")), metadata=NOTED)
    assert look(tmp_path, content).manifest.input.width_px == 320
    content = fixed({"output0": ones(1, 6, 8400)}, ("images", FLOAT, ("n", 3, "h", "w")))
    assert look(tmp_path, content).manifest.input.height_px == 640
    found = look(tmp_path, content, side_px=416)
    assert found.manifest.input.height_px == 416
    assert any("multiple_px = 32" in note for note in found.notes)
    of_any_number = fixed(YOLOV8, ("images", FLOAT, ("n", 3, 320, 320)))
    assert not any("multiple_px" in note for note in look(tmp_path, of_any_number).notes)


def test_labels_that_do_not_match_are_noted_and_not_used(tmp_path: Path) -> None:
    found = look(tmp_path, fixed(YOLOV8), labels=("a", "b", "c"))
    assert found.manifest.labels == ("class_0", "class_1")
    assert "`labels`: 3 names were given or noted, the outputs are for 2" in found.notes


def test_names_become_labels_each_once(tmp_path: Path) -> None:
    found = look(tmp_path, fixed({"o": ones(1, 8, 2100)}), labels=("Fire!", "fire", "3 wheels", "车"))
    assert found.manifest.labels == ("fire", "fire_1", "class_3_wheels", "class_3")


@pytest.mark.parametrize("names", ["", "__import__('os').system('touch x')", "{0: 'fire'", "5"])
def test_notes_that_are_no_names_are_ignored_and_never_run(tmp_path: Path, names: str) -> None:
    found = look(tmp_path, fixed(YOLOV8, metadata={"names": names}))
    assert found.manifest.labels == ("class_0", "class_1")


def test_weights_beside_the_file_are_hashed_into_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(YOLOV8["output0"].tobytes())
    found = look(tmp_path, fixed(YOLOV8, external="w.bin"))
    assert list(found.manifest.external) == ["w.bin"]
    (tmp_path / "own.toml").write_text(manifest_text(found))
    assert read_manifest(tmp_path / "own.toml") == found.manifest
    load(tmp_path / "own.onnx")


def test_a_network_with_an_input_for_the_size_is_an_rtdetr(tmp_path: Path) -> None:
    outputs = {"labels": np.zeros((1, 300), np.int64), "boxes": ones(1, 300, 4), "scores": ones(1, 300)}
    found = look(tmp_path, fixed(outputs, second=("orig_target_sizes", INT64, (1, 2))))
    assert found.manifest.family == "rtdetr"
    assert "the outputs do not tell how many there are" in report(found)


@pytest.mark.parametrize(
    ("outputs", "picture", "second", "said"),
    [
        (YOLOV8, ("x", FLOAT, (1, 1, 320, 320)), None, "which is no colour picture"),
        (YOLOV8, ("x", FLOAT, (1, 10)), None, "which is no colour picture"),
        (YOLOV8, ("x", INT64, (1, 3, 320, 320)), None, "only uint8 and float32 can be given"),
        (YOLOV8, YOLO, ("prompt", FLOAT, (1, 7)), "wants a second input, prompt"),
        ({"o": ones(1, 3, 40, 40, 7)}, YOLO, None, "heads that are not decoded"),
        ({"o": ones(1, 21, 64, 64)}, YOLO, None, "not one output of one picture"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(
    tmp_path: Path, outputs: dict[str, np.ndarray], picture: Value, second: Value | None, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        look(tmp_path, fixed(outputs, picture, second=second))


def test_a_name_that_no_manifest_can_carry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rename it"):
        inspect(written(tmp_path, fixed(YOLOV8), "my net.onnx"), options=Options())


def test_a_pickle_is_refused_by_the_command_before_anything_is_written(tmp_path: Path) -> None:
    path = written(tmp_path, b"PK\x03\x04", "yolov8n.pt")
    with pytest.raises(ConfigError, match="is a pickle"):
        command(path)
    assert list(tmp_path.iterdir()) == [path]
