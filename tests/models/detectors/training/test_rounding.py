from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.detectors.training.quantize import taken_in, under_kernel
from models.detectors.training.rounding import LARGEST, Moments, round_weights, rounded

SIDE = 16
Array = NDArray[np.float32]


def network(weight: Array, group: int = 1, strides: tuple[int, int] = (1, 1)) -> onnx.ModelProto:
    """Bytes in, one 3x3 convolution over all channels or over each alone."""
    values = {"w": weight, "b": np.array([0.5, -1, 2])}
    given: dict[str, Any] = {"kernel_shape": [3, 3], "group": group, "strides": list(strides), "pads": [1, 0, 2, 1]}
    nodes = [
        helper.make_node("Transpose", ["picture"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["numbers", "w", "b"], ["out"], name="conv", **given),
    ]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def weights_of(model: onnx.ModelProto) -> Array:
    return numpy_helper.to_array(next(one for one in model.graph.initializer if one.name == "w"))


def outputs(model: onnx.ModelProto, canvases: list[NDArray[np.uint8]]) -> Array:
    """(3, n): what each output channel is, over places and pictures."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [session.run(None, {"picture": one[None]})[0][0].reshape(3, -1) for one in canvases]
    return np.concatenate(found, 1)


def streets(count: int, seed: int) -> list[NDArray[np.uint8]]:
    """Pictures of which neighbouring pixels and the three colours are much alike, as in any picture."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        grey = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), 2)[..., None]
        noise = rng.normal(0, 4, (SIDE, SIDE, 3))
        made.append((120 + 250 * grey + noise).clip(0, 255).astype(np.uint8))
    return made


def nearest(weight: Array) -> Array:
    step = np.abs(weight).max((1, 2, 3), keepdims=True) / LARGEST
    near: Array = np.round(weight / step) * step
    return near


@pytest.mark.parametrize("group", [1, 3])
def test_rounded_weights_sum_up_as_the_float_ones_did(group: int) -> None:
    rng = np.random.default_rng(6)
    weight = rng.normal(0, 0.01, (3, 3 // group, 3, 3)).astype(np.float32)
    weight[:, 0, 1, 1] = 1  # so that the others are a step or two
    plain, near, settled = network(weight, group), network(nearest(weight), group), network(weight, group)
    round_weights(settled, taken_in(settled, streets(8, 1)))
    unseen = streets(8, 2)
    before = outputs(plain, unseen)
    lost, left = (np.sqrt(np.square(outputs(one, unseen) - before).mean()) for one in (near, settled))
    assert lost > 0.3
    assert left < 0.7 * lost
    assert np.abs(outputs(settled, unseen).mean(1) - before.mean(1)).max() < 0.1


def test_weights_are_rounded_in_255_steps_of_their_own_channel() -> None:
    rng = np.random.default_rng(3)
    weight = (rng.normal(0, 1, (5, 12)) * [[1], [30], [0.01], [1], [0]]).astype(np.float32)
    noise = rng.normal(0, 1, (12, 40))
    step = np.abs(weight[:4]).max(1, keepdims=True) / LARGEST
    for covariance in ((noise @ noise.T)[None], np.stack([np.outer(row, row) for row in noise.T[:5]])):
        near = rounded(weight, covariance)
        assert near[:4] / step == pytest.approx(np.round(near[:4] / step), abs=1e-4)
        assert np.abs(np.round(near[:4] / step)).max(1).tolist() == [LARGEST] * 4
        assert not near[4].any()


def test_where_nothing_is_alike_the_nearest_step_is_the_best() -> None:
    weight = np.random.default_rng(3).normal(0, 1, (4, 9)).astype(np.float32)
    expected = nearest(weight[:, None, None]).reshape(4, 9)
    assert rounded(weight, np.eye(9)[None] * 7) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("is_depthwise", [False, True])
def test_moments_are_those_of_everything_counted_in(*, is_depthwise: bool) -> None:
    rng = np.random.default_rng(3)
    seen = [rng.normal(3, 2, (count, 4, 2, 1)).astype(np.float32) for count in (5, 11)]
    moments = Moments(is_depthwise=is_depthwise)
    for patches in seen:
        moments.add(patches)
    flat = np.concatenate(seen).reshape(16, 4, 2)
    groups = [flat[:, channel] for channel in range(4)] if is_depthwise else [flat.reshape(16, 8)]
    assert moments.mean == pytest.approx(np.stack([group.mean(0) for group in groups]), abs=1e-5)
    expected = np.stack([np.cov(group.T, bias=True) for group in groups])
    assert moments.covariance == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("strides", [(1, 1), (2, 1)])
def test_what_lies_under_the_kernel_is_what_a_convolution_sums_up(strides: tuple[int, int]) -> None:
    weight = np.random.default_rng(6).normal(0, 1, (3, 3, 3, 3)).astype(np.float32)
    [canvas] = streets(1, 4)
    planes = canvas.transpose(2, 0, 1).astype(np.float32)
    views = under_kernel(planes, [3, 3], strides, [1, 0, 2, 1])
    summed = np.einsum("chwij,ocij->ohw", views, weight) + np.array([0.5, -1, 2])[:, None, None]
    assert outputs(network(weight, strides=strides), [canvas]) == pytest.approx(summed.reshape(3, -1), abs=0.05)
