"""The same first layer in a shape that INT8 kernels are fast in, and bytes that go in as they are.

ONNX Runtime's INT8 convolution gathers its input tap by tap: with three channels it copies three bytes at a time, and
is slow. Four neighbouring pixels of a row lie together in memory, so the picture is looked at as a quarter as wide with
twelve channels, and one place makes two columns at once. Taps that a column does not have are zero: every sum stays
what it was. FP32 has a fast path for three channels and needs none of this.

The bytes are read around the middle that the network subtracts. Folded into the bias it would be cheaper by nothing,
and each rounded weight would shift its sums by 127 times its error: that cost 1.5 points of AP50.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

BEGINNING: Final = ("Transpose", "Cast", "Mul", "Sub", "Conv", "Clip")
NAMES: Final = ("view", "planes", "numbers", "centre", "conv", "clip", "rows", "unpack", "back")
FED: Final = ("DequantizeLinear", "QuantizeLinear", "Sub", "Cast")  # what feeds it, backwards
TOGETHER: Final = 4  # pixels of a row that become one place
COLUMNS: Final = 2  # that one place makes, at stride 2


class _Stem(NamedTuple):
    picture: str
    target: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    middle: float
    bounds: tuple[str, ...]


def pack_stem(model: onnx.ModelProto) -> None:
    """Rewrite the beginning of an exported network in place; what it computes stays, to rounding.

    Args:
        model: takes (n, h, w, 3) uint8, h even and w a multiple of 4, and begins with Transpose, Cast, Mul, Sub, Conv,
            Clip; the convolution is 3x3 with stride 2 and padding 1.

    Raises:
        ValueError: it begins in another way.
    """
    graph = model.graph
    stem = _read_stem(graph)
    weight, bias = packed_weight(stem.weight), np.tile(stem.bias, COLUMNS)
    # 0 is the side that the input has: pictures and rows are as many as before.
    shapes = {"packed_in": [0, 0, -1, TOGETHER * 3], "packed_out": [0, 0, -1, len(stem.bias)]}
    made = [
        helper.make_node("Reshape", [stem.picture, "packed_in"], ["packed"]),
        helper.make_node("Transpose", ["packed"], ["packed_planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["packed_planes"], ["packed_numbers"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["packed_numbers", "packed_middle"], ["packed_centred"]),
        helper.make_node(
            "Conv",
            ["packed_centred", "packed_weight", "packed_bias"],
            ["packed_sums"],
            kernel_shape=[3, 2],
            strides=[2, 1],
            pads=[1, 1, 0, 0],
        ),
        helper.make_node("Clip", ["packed_sums", *stem.bounds], ["packed_features"]),
        helper.make_node("Transpose", ["packed_features"], ["packed_rows"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["packed_rows", "packed_out"], ["unpacked_rows"]),
        helper.make_node("Transpose", ["unpacked_rows"], [stem.target], perm=[0, 3, 1, 2]),
    ]
    for node, name in zip(made, NAMES, strict=True):
        node.name = f"stem_{name}"
    rest = list(graph.node[len(BEGINNING) :])
    del graph.node[:]
    graph.node.extend([*made, *rest])
    middle = np.array(stem.middle, np.float32)
    values: dict[str, NDArray[Any]] = {"packed_weight": weight, "packed_bias": bias, "packed_middle": middle}
    values |= {name: np.array(shape, np.int64) for name, shape in shapes.items()}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    _forget_unused(graph)


def packed_weight(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """(2 * out, 12, 3, 2) that does at stride (2, 1) what (out, 3, 3, 3) does at stride (2, 2), padding before only.

    Column c of the output sees pixels 2c - 1 to 2c + 1; place j makes columns 2j and 2j + 1 from places j - 1 and j.
    """
    channels = len(weight)
    packed = np.zeros((COLUMNS, channels, TOGETHER, 3, 3, 2), np.float32)
    for column in range(COLUMNS):
        for tap in range(3):
            place, pixel = divmod(TOGETHER + 2 * column + tap - 1, TOGETHER)
            packed[column, :, pixel, :, :, place] = weight[:, :, :, tap]
    return packed.reshape(COLUMNS * channels, TOGETHER * 3, 3, 2)


def feed_bytes(model: onnx.ModelProto) -> None:
    """Let a quantised network read bytes as they are: Cast, Sub and QuantizeLinear at its input go, in place.

    The bytes of a picture are their own quantisation, at scale 1 around what is subtracted.

    Raises:
        ValueError: it has no such beginning.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    for dequantize in graph.node:
        above = [dequantize]
        while len(above) < len(FED) and above[-1].input[0] in makers:
            above.append(makers[above[-1].input[0]])
        if tuple(node.op_type for node in above) != FED:
            continue
        _, quantize, centre, cast = above
        [middle] = [numpy_helper.to_array(one) for one in graph.initializer if one.name == centre.input[1]]
        del dequantize.input[:]
        dequantize.input.extend([cast.input[0], "byte_scale", "byte_zero"])
        for node in (quantize, centre, cast):
            graph.node.remove(node)
        own: dict[str, NDArray[Any]] = {"byte_scale": np.array(1, np.float32), "byte_zero": middle.astype(np.uint8)}
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in own.items())
        _forget_unused(graph)
        return
    raise ValueError("the network does not quantise the bytes of a picture")


def _read_stem(graph: onnx.GraphProto) -> _Stem:
    nodes = dict(zip(BEGINNING, graph.node, strict=False))
    if tuple(node.op_type for node in nodes.values()) != BEGINNING:
        raise ValueError(f"the network begins with {[node.op_type for node in nodes.values()]}")
    settings = {one.name: list(one.ints) for one in nodes["Conv"].attribute if one.ints}
    wanted = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    if not wanted.items() <= settings.items():
        raise ValueError(f"the first convolution has {settings}")
    values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    [scale] = [values[name] for name in nodes["Mul"].input if name in values]
    weight, bias = (values[name] for name in nodes["Conv"].input[1:3])
    height, width = (side.dim_value for side in graph.input[0].type.tensor_type.shape.dim[1:3])
    if height % 2 or width % TOGETHER:  # 0 is open: whoever opens it answers for it
        raise ValueError(f"an input of {height} x {width} cannot be packed")
    [offset] = [values[name] for name in nodes["Sub"].input if name in values]
    middle, clip = round(float(offset / scale), 3), nodes["Clip"]
    bounds = tuple(clip.input[1:])
    return _Stem(graph.input[0].name, clip.output[0], weight * scale, bias, middle, bounds)


def _forget_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    made = {name for node in graph.node for name in node.output}
    for field, names in ((graph.initializer, used), (graph.value_info, made)):
        kept = [one for one in field if one.name in names]
        del field[:]
        field.extend(kept)
