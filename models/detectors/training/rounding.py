"""What rounded weights shift, taken back from the biases (Nagel et al. 2019, "Data-free quantization through weight
equalization and bias correction").

A rounded kernel is off by little, but always by the same, and what it is multiplied with is mostly above nought: on
average its sums move. The small kernels of a depthwise convolution have nothing that evens it out. Over all layers that
was two thirds of what eight bits changed in the scores.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

LARGEST = 127  # of signed weights that lie symmetrically around 0


def settle_biases(model: onnx.ModelProto, means: Mapping[str, NDArray[np.float64]]) -> None:
    """Change the bias of each convolution, in place, by what rounding its weights adds to its outputs on average.

    Args:
        model: in float; its weights are about to be rounded per output channel.
        means: by name of what a convolution takes in, the mean of each of its channels over training pictures.
    """
    constants = {one.name: one for one in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    for node in convolutions:
        weight, bias = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
        error = rounded(weight) - weight
        own = next((one.i for one in node.attribute if one.name == "group"), 1) > 1
        taps, mean = error.sum((2, 3)), means[node.input[0]]
        shift = taps[:, 0] * mean if own else taps @ mean
        constants[node.input[2]].CopyFrom(numpy_helper.from_array((bias - shift).astype(np.float32), node.input[2]))


def rounded(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """(out, in, h, w) in 255 steps of each output channel's own size, as ONNX Runtime rounds it."""
    step = np.abs(weight).max((1, 2, 3), keepdims=True) / LARGEST
    step[step == 0] = 1
    near: NDArray[np.float32] = np.round(weight / step) * step
    return near
