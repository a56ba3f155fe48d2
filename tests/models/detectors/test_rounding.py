from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.detectors.training.quantize import mean_inputs
from models.detectors.training.rounding import rounded, settle_biases

SIDE = 16


def network(group: int) -> onnx.ModelProto:
    """Bytes in, one 3x3 convolution over all channels or over each of three alone, with weights that round badly."""
    weight = np.full((3, 3 // group, 3, 3), 0.003)  # less than half a step, and always the same way
    weight[:, 0, 1, 1] = 1
    values = {"w": weight, "b": np.array([0.5, -1, 2])}
    nodes = [
        helper.make_node("Transpose", ["picture"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["numbers", "w", "b"], ["out"], kernel_shape=[3, 3], group=group),
    ]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3, SIDE - 2, SIDE - 2])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def outputs(model: onnx.ModelProto, canvases: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """(3,) mean of each output channel."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    mean: NDArray[np.float32] = np.mean(
        [session.run(None, {"picture": one[None]})[0] for one in canvases], (0, 1, 3, 4)
    )
    return mean


def with_rounded_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    [weight] = [one for one in copied.graph.initializer if one.name == "w"]
    weight.CopyFrom(numpy_helper.from_array(rounded(numpy_helper.to_array(weight)), "w"))
    return copied


@pytest.mark.parametrize("group", [1, 3])
def test_on_average_rounded_weights_say_what_the_float_ones_did(group: int) -> None:
    rng = np.random.default_rng(6)
    canvases = [rng.integers(60, 200, (SIDE, SIDE, 3), np.uint8) for _ in range(4)]
    model = network(group)
    before = outputs(model, canvases)
    shifted = outputs(with_rounded_weights(model), canvases)
    settle_biases(model, mean_inputs(model, canvases))
    settled = outputs(with_rounded_weights(model), canvases)
    assert np.abs(shifted - before).max() > 2
    assert np.abs(settled - before).max() < 0.1


def test_means_are_those_of_the_channels() -> None:
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    canvas[..., 1], canvas[: SIDE // 2, :, 2] = 40, 100
    assert mean_inputs(network(1), [canvas, canvas])["numbers"].tolist() == [0, 40, 50]


def test_weights_are_rounded_in_255_steps_of_their_own_channel() -> None:
    weight = np.zeros((3, 1, 1, 2), np.float32)
    weight[0], weight[1] = [[127, 2.4]], [[-1.27, 0.012]]
    assert rounded(weight).ravel().tolist() == pytest.approx([127, 2, -1.27, 0.01, 0, 0], rel=1e-5)
