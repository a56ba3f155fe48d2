"""The packed first layer computes what the plain one does; ONNX Runtime is the judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.detectors.manifest import ZOO
from models.detectors.session import open_session
from models.detectors.training.stem import feed_bytes, pack_stem

HEIGHT, WIDTH = 32, 48


def network(*, strides: int = 2) -> onnx.ModelProto:
    """The first layer of ours, with random weights, and a second one."""
    rng = np.random.default_rng(3)
    values: dict[str, np.ndarray] = {
        "scale": np.array(1 / 255, np.float32),
        "w": rng.normal(size=(8, 3, 3, 3)).astype(np.float32),
        "b": rng.normal(size=8).astype(np.float32),
        "middle": np.array(127 / 255, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "w2": rng.normal(size=(4, 8, 3, 3)).astype(np.float32),
        "b2": np.zeros(4, np.float32),
    }
    conv = {"kernel_shape": [3, 3], "strides": [strides] * 2, "pads": [1] * 4}
    nodes = [
        helper.make_node("Transpose", ["picture"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "scale"], ["shares"]),
        helper.make_node("Sub", ["shares", "middle"], ["centred"]),
        helper.make_node("Conv", ["centred", "w", "b"], ["sums"], None, None, None, None, **conv),
        helper.make_node("Clip", ["sums", "low", "high"], ["features"]),
        helper.make_node("Conv", ["features", "w2", "b2"], ["out"], None, None, None, None, **conv),
    ]
    picture = helper.make_tensor_value_info("picture", TensorProto.UINT8, [1, HEIGHT, WIDTH, 3])
    sides = [HEIGHT // strides**2, WIDTH // strides**2]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, *sides])
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "stem", [picture], [out], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, folder: Path, picture: np.ndarray) -> dict[str, np.ndarray]:
    path = folder / f"{len(list(folder.iterdir()))}.onnx"
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return open_session(path, None).run({"picture": picture})


def test_the_packed_first_layer_computes_what_the_plain_one_does(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, HEIGHT, WIDTH, 3), np.uint8)
    model = network()
    before = run(model, tmp_path, picture)
    pack_stem(model)
    after = run(model, tmp_path, picture)
    np.testing.assert_allclose(after["out"], before["out"], atol=1e-4)
    assert {one.name for one in model.graph.initializer}.isdisjoint({"scale", "w", "b"})


@pytest.mark.parametrize("height", [192, 320])
def test_the_shipped_network_says_the_same_when_packed(height: int, tmp_path: Path) -> None:
    content = (ZOO / "fire_smoke.onnx").read_bytes()
    picture = np.random.default_rng(1).integers(0, 256, (1, height, 320, 3), np.uint8)
    model = onnx.load_from_string(content)
    before = run(model, tmp_path, picture)
    pack_stem(model)
    after = run(model, tmp_path, picture)
    np.testing.assert_allclose(after["boxes"], before["boxes"], atol=0.01)
    np.testing.assert_allclose(after["scores"], before["scores"], atol=1e-4)


def test_a_network_that_begins_otherwise_is_left_alone() -> None:
    model = network(strides=1)
    before = model.SerializeToString()
    with pytest.raises(ValueError, match=r"the first convolution has .*'strides': \[1, 1\]"):
        pack_stem(model)
    assert model.SerializeToString() == before
    packed = network()
    pack_stem(packed)
    with pytest.raises(ValueError, match="begins with"):
        pack_stem(packed)


def quantised(scale: float) -> onnx.ModelProto:
    """Cast, subtract, quantise, dequantise, multiply: what a quantiser leaves at the input."""
    nodes = [
        helper.make_node("Cast", ["picture"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["numbers", "middle"], ["centred"]),
        helper.make_node("QuantizeLinear", ["centred", "scale", "zero"], ["bytes"]),
        helper.make_node("DequantizeLinear", ["bytes", "scale", "zero"], ["again"]),
        helper.make_node("Mul", ["again", "two"], ["out"]),
    ]
    values: dict[str, np.ndarray] = {
        "scale": np.array(scale, np.float32),
        "zero": np.array(126, np.uint8),
        "middle": np.array(127, np.float32),
        "two": np.array(2, np.float32),
    }
    picture = helper.make_tensor_value_info("picture", TensorProto.UINT8, [1, 4, 4, 3])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, 4, 3])
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "quantised", [picture], [out], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_bytes_go_in_as_they_are(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), np.uint8)
    model = quantised(0.99)  # as a calibration leaves it that saw nothing brighter than 252
    feed_bytes(model)
    assert [node.op_type for node in model.graph.node] == ["DequantizeLinear", "Mul"]
    np.testing.assert_array_equal(run(model, tmp_path, picture)["out"], (picture - np.float32(127)) * 2)
    with pytest.raises(ValueError, match="does not quantise the bytes"):
        feed_bytes(model)
