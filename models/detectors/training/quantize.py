"""A network in 8-bit integers: static, per channel, QDQ with u8 activations and s8 weights. No test picture is read."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from models.detectors.onnx_file import SIZE_NOTE
from models.detectors.training.rounding import Moments, round_weights
from models.detectors.training.stem import feed_bytes, pack_stem

Method = Literal["minmax", "percentile"]
METHODS: Final[dict[Method, CalibrationMethod]] = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
}
"""How the range of an activation is told from what it was on the calibration pictures."""
MOVES: Final = ("Concat", "MaxPool", "Resize", "Split", "Slice", "Reshape", "Transpose")
AT_ONCE: Final = 8  # calibration pictures: all that is computed on them is held in memory, 150 MB for each
PLACES: Final = 200  # of a convolution on each calibration picture that its weights are rounded by
QUANTISED: Final = ("Conv", "Add", "Relu", "Clip", *MOVES)


class Pictures(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime's quantisation is untyped
    """Letterboxed pictures, one at a time."""

    def __init__(self, name: str, canvases: Sequence[NDArray[np.uint8]]) -> None:
        self.feeds = [{name: canvas[None]} for canvas in canvases]
        self.rows: Iterator[dict[str, NDArray[np.uint8]]] = iter(self.feeds)

    def __len__(self) -> int:
        return len(self.feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with these pictures."""
        self.rows = iter(self.feeds[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next feed, or None at the end."""
        return next(self.rows, None)


def prepare(model: onnx.ModelProto, canvases: Sequence[NDArray[np.uint8]]) -> onnx.ModelProto:
    """The same network, still in float, with a first layer that integers are fast in and weights that are rounded.

    Args:
        model: as exported; it stays.
        canvases: (h, w, 3) uint8, training pictures as the network sees them.
    """
    packed = copy.deepcopy(model)
    pack_stem(packed)
    with tempfile.TemporaryDirectory() as folder:
        plain, ready = (Path(folder) / f"{step}.onnx" for step in ("plain", "ready"))
        onnx.save(packed, plain)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        prepared = onnx.load(ready)
    round_weights(prepared, taken_in(prepared, canvases))
    return prepared


def quantize(prepared: onnx.ModelProto, canvases: Sequence[NDArray[np.uint8]], method: Method) -> onnx.ModelProto:
    """A prepared network in 8-bit integers, from the bytes of the picture to the last convolution of each head.

    Args:
        prepared: what `prepare` made; it stays.
        canvases: as there.
        method: how ranges are told.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready, small = (Path(folder) / f"{step}.onnx" for step in ("ready", "small"))
        onnx.save(prepared, ready)
        quantize_static(
            ready,
            small,
            Pictures(prepared.graph.input[0].name, canvases),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=after_convolutions(prepared),
            calibrate_method=METHODS[method],
            extra_options={"CalibStridedMinMax": math.gcd(len(canvases), AT_ONCE)},
        )
        quantised = onnx.load(small)
    feed_bytes(quantised)
    notes = {one.key: one.value for one in prepared.metadata_props}
    helper.set_model_props(quantised, {SIZE_NOTE: notes[SIZE_NOTE]} if SIZE_NOTE in notes else {})
    return quantised


def after_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that no convolution comes after: boxes in steps of a 256th of the picture would be coarse."""
    makers = {name: node for node in model.graph.node for name in node.output}
    left = [node for node in model.graph.node if node.op_type == "Conv"]
    before: set[str] = set()
    while left:
        node = left.pop()
        if node.name not in before:
            before.add(node.name)
            left += [makers[name] for name in node.input if name in makers]
    return [node.name for node in model.graph.node if node.name not in before]


def taken_in(model: onnx.ModelProto, canvases: Sequence[NDArray[np.uint8]]) -> dict[str, Moments]:
    """By name of a convolution, what it multiplies its weights with, at `PLACES` places of each picture."""
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    settings: dict[str, dict[str, Any]] = {
        node.name: {one.name: list(one.ints) or one.i for one in node.attribute} for node in convolutions
    }
    found = {name: Moments(is_depthwise=given.get("group", 1) > 1) for name, given in settings.items()}
    names = list(dict.fromkeys(node.input[0] for node in convolutions))
    seen = copy.deepcopy(model)
    seen.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(seen.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(5)
    for canvas in canvases:
        values = dict(zip(names, session.run(names, {model.graph.input[0].name: canvas[None]}), strict=True))
        for node in convolutions:
            given = settings[node.name]
            pads, strides = given.get("pads", [0] * 4), given.get("strides", [1, 1])
            views = under_kernel(values[node.input[0]][0], given["kernel_shape"], strides, pads)
            rows, columns = np.divmod(rng.permutation(views.shape[1] * views.shape[2])[:PLACES], views.shape[2])
            found[node.name].add(views[:, rows, columns].transpose(1, 0, 2, 3))
    return found


def under_kernel(
    features: NDArray[np.float32], kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]
) -> NDArray[np.float32]:
    """(c, h, w) as a view (c, rows, columns, *kernel) of what lies under a kernel; `pads` are in ONNX's order."""
    top, left, bottom, right = pads
    padded = np.pad(features, ((0, 0), (top, bottom), (left, right)))
    views = np.lib.stride_tricks.sliding_window_view(padded, tuple(kernel), axis=(1, 2))
    return views[:, :: strides[0], :: strides[1]]
