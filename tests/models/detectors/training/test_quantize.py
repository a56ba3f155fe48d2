from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.detectors.evaluation.integers import float_convolutions, operators
from models.detectors.session import Options, open_session
from models.detectors.training.quantize import METHODS, Method, after_convolutions, prepare, quantize

SIDE = 32


def small() -> onnx.ModelProto:
    """A network that begins and ends as an exported one: bytes in, two convolutions, a sigmoid."""
    rng = np.random.default_rng(4)
    weights = {
        "w0": rng.normal(0, 0.2, (8, 3, 3, 3)),
        "b0": rng.normal(0, 0.1, 8),
        "w1": rng.normal(0, 0.2, (2, 8, 3, 3)),
        "b1": rng.normal(0, 0.1, 2),
        "scale": np.array(1 / 255),
        "middle": np.array(127 / 255),
        "low": np.array(0),
        "high": np.array(6),
    }
    nodes = [
        helper.make_node("Transpose", ["picture"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "middle"], ["centred"]),
        helper.make_node(
            "Conv", ["centred", "w0", "b0"], ["first"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Clip", ["first", "low", "high"], ["features"]),
        helper.make_node("Conv", ["features", "w1", "b1"], ["logits"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    for index, node in enumerate(nodes):
        node.name = f"n{index}"
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, (1, SIDE, SIDE, 3))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, 2, SIDE // 2, SIDE // 2))],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def canvases(count: int, seed: int) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(count)]


@pytest.fixture(params=list(METHODS))
def integers(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    method: Method = request.param
    path = tmp_path / "small.int8.onnx"
    seen = canvases(8, 1)
    path.write_bytes(quantize(prepare(small(), seen), seen, method).SerializeToString())
    capsys.readouterr()
    return path


def test_integers_answer_nearly_as_floats_do(integers: Path) -> None:
    plain = integers.with_name("small.onnx")
    plain.write_bytes(small().SerializeToString())
    for canvas in canvases(4, 2):
        one, other = (open_session(path, None).run({"picture": canvas[None]})["scores"] for path in (plain, integers))
        assert np.abs(one - other).mean() < 0.01
        assert np.abs(one - other).max() < 0.08


def test_no_convolution_is_left_in_float_and_the_last_step_is_not_quantised(integers: Path) -> None:
    found = operators(integers)
    assert float_convolutions(found) == 0
    assert found["QLinearConv"] == 2
    assert found["Sigmoid"] == 1
    assert "QLinearSigmoid" not in found


def test_weights_are_signed_by_channel_and_activations_unsigned(integers: Path) -> None:
    model = onnx.load(integers)
    made = {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}
    weights = [value for value in made.values() if value.ndim == 4]
    assert {value.dtype for value in weights} == {np.dtype(np.int8)}
    scales = [
        made[node.input[1]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and made.get(node.input[0], np.zeros(0)).ndim == 4
    ]
    assert sorted(scale.shape for scale in scales) == [(2,), (16,)]  # the first layer makes two columns at once
    quantised = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {made[node.input[2]].dtype for node in quantised} == {np.dtype(np.uint8)}


def test_sums_that_cannot_saturate_answer_the_same(integers: Path) -> None:
    [canvas] = canvases(1, 3)
    usual, exact = (
        open_session(integers, None, Options(is_exact=is_exact)).run({"picture": canvas[None]})["scores"]
        for is_exact in (False, True)
    )
    assert np.abs(usual - exact).max() < 0.08
    settings = open_session(integers, None, Options(is_exact=True))._session.get_session_options()
    assert settings.get_session_config_entry("session.x64quantprecision") == "1"


def test_what_comes_after_the_last_convolution_is_named() -> None:
    assert after_convolutions(small()) == ["n7"]
