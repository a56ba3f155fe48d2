"""The benchmark's peers are of YOLOv8n's shape, and its lines carry what they should."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench_detect import Contender, Samples, networks, peer_case, report, take_turns
from benchmarks.yolov8n import PARAMETERS, build, count_parameters, quantise
from models.detectors.decode.guess import guess
from models.detectors.session import Options, open_session


def test_the_peer_has_the_published_number_of_parameters() -> None:
    assert count_parameters(build(64, 64)) == PARAMETERS


def test_the_peer_answers_as_a_yolov8_does(tmp_path: Path) -> None:
    path = tmp_path / "peer.onnx"
    path.write_bytes(build(64, 64).SerializeToString())
    outputs = open_session(path, None).run({"images": np.random.default_rng(0).random((1, 3, 64, 64), np.float32)})
    found = guess(outputs, height_px=64, width_px=64, labels=80)
    assert (found.family, found.labels) == ("yolov8", 80)
    boxes, scores = outputs["output0"][0, :4], outputs["output0"][0, 4:]
    assert np.isfinite(boxes).all()
    assert (scores >= 0).all()
    assert (scores <= 1).all()


@pytest.mark.slow
def test_no_convolution_of_the_quantised_peer_is_left_in_float(tmp_path: Path) -> None:
    plain, small, rewritten = (tmp_path / f"{name}.onnx" for name in ("plain", "small", "rewritten"))
    plain.write_bytes(build(64, 64).SerializeToString())
    quantise(plain, small, pictures=1)
    session = open_session(small, None, Options(optimised_to=rewritten))
    assert session.run({"images": np.zeros((1, 3, 64, 64), np.float32)})["output0"].shape == (1, 84, 84)
    operators = [name for _, name in open_session(rewritten, None).file.operators]
    assert operators.count("QLinearConv") >= 63
    assert operators.count("Conv") <= 1  # the fixed sum over the distribution


def fixed(case: Mapping[str, object], sides: tuple[int, int], **stages: float) -> Contender:
    def step(samples: Samples) -> None:
        for stage, value in stages.items():
            samples[stage].append(value)
            samples[f"{stage}_cpu"].append(value / 2)

    return Contender(case, step, sides)


def test_every_line_names_case_peer_and_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    case = {"network": "fire_smoke", "precision": "int8", "size": 320, "threads": 1}
    own = fixed(case, (192, 320), decode=8.0, letterbox=0.5, inference=3.0, nms=0.5, end_to_end=4.0)
    square = fixed(case | {"height": 320}, (320, 320), inference=4.0)
    others = {
        (sides, precision): fixed(peer_case(sides, precision, 1), sides, inference=value)
        for sides, precision, value in (
            ((192, 320), "int8", 4.5),
            ((320, 320), "int8", 6.0),
            ((640, 640), "fp32", 60.0),
        )
    }
    take_turns([own, square, *others.values()], seconds=0)
    report([own, square], others)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    of = {row["metric"]: row for row in rows if row["case"] == case}
    assert of["end_to_end_ms"] == {
        "bench": "detect",
        "case": case,
        "metric": "end_to_end_ms",
        "value": 4.0,
        "unit": "ms",
        "peer": "yolov8n-320-int8",
        "peer_value": 6.0,
        "ratio": 1.5,
    }
    assert (of["network_ms"]["peer"], of["network_ms"]["ratio"]) == ("yolov8n-320x192-int8", 1.5)
    assert (of["end_to_end_same_sides_ms"]["peer"], of["end_to_end_same_sides_ms"]["peer_value"]) == (
        "yolov8n-320x192-int8",
        4.5,
    )
    [alone] = [row for row in rows if row["case"] == case | {"height": 320} and row["metric"] == "network_ms"]
    assert (alone["peer"], alone["ratio"]) == ("yolov8n-320-int8", 1.5)
    assert (of["mixed_end_to_end_ms"]["peer"], of["mixed_end_to_end_ms"]["ratio"]) == ("yolov8n-640-fp32", 15.0)
    assert (of["end_to_end_cpu_ms"]["value"], of["end_to_end_cpu_ms"]["peer_value"]) == (2.0, 3.0)
    assert of["pictures_per_s"]["value"] == 250
    assert {"decode_p50_ms", "letterbox_p50_ms", "inference_p99_ms", "nms_p50_ms", "end_to_end_p99_ms"} <= of.keys()


def test_contenders_take_turns() -> None:
    order: list[str] = []
    contenders = [Contender({}, lambda _, name=name: order.append(name), (1, 1)) for name in "ab"]  # type: ignore[misc]
    take_turns(contenders, seconds=0)
    assert "".join(order[-4:]) == "abba"
    assert all(contender.samples == defaultdict(list) for contender in contenders)


def test_every_shipped_network_is_timed_in_every_precision() -> None:
    assert ("fire_smoke", "fp32") in networks(())
