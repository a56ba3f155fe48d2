"""A network in 8-bit integers: static, per channel, QDQ with u8 activations and s8 weights. No test picture is read."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from models.detectors.training.rounding import settle_biases
from models.detectors.training.stem import feed_bytes, pack_stem

Method = Literal["minmax", "percentile"]
METHODS: Final[dict[Method, CalibrationMethod]] = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
}
"""How the range of an activation is told from what it was on the calibration pictures."""
MOVES: Final = ("Concat", "MaxPool", "Resize", "Split", "Slice", "Reshape", "Transpose")
AT_ONCE: Final = 8  # calibration pictures: all that is computed on them is held in memory, 150 MB for each
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


def quantize(model: onnx.ModelProto, canvases: Sequence[NDArray[np.uint8]], method: Method) -> onnx.ModelProto:
    """The same network in 8-bit integers, from the bytes of the picture to the last convolution of each head.

    Args:
        model: as exported; it stays.
        canvases: (h, w, 3) uint8, training pictures as the network sees them.
        method: how ranges are told.
    """
    packed = copy.deepcopy(model)
    pack_stem(packed)
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, small = (Path(folder) / f"{step}.onnx" for step in ("plain", "ready", "small"))
        onnx.save(packed, plain)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        settled = onnx.load(ready)
        settle_biases(settled, mean_inputs(settled, canvases))
        onnx.save(settled, ready)
        quantize_static(
            ready,
            small,
            Pictures(packed.graph.input[0].name, canvases),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=after_convolutions(settled),
            calibrate_method=METHODS[method],
            extra_options={"CalibStridedMinMax": math.gcd(len(canvases), AT_ONCE)},
        )
        quantised = onnx.load(small)
    feed_bytes(quantised)
    del quantised.metadata_props[:]
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


def mean_inputs(model: onnx.ModelProto, canvases: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float64]]:
    """By name of what a convolution takes in, the mean of each of its channels."""
    taken = dict.fromkeys(node.input[0] for node in model.graph.node if node.op_type == "Conv")
    seen = copy.deepcopy(model)
    seen.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in taken)
    session = onnxruntime.InferenceSession(seen.SerializeToString(), providers=["CPUExecutionProvider"])
    sums: dict[str, NDArray[np.float64]] = {}
    for canvas in canvases:
        found = session.run(list(taken), {model.graph.input[0].name: canvas[None]})
        for name, value in zip(taken, found, strict=True):
            sums[name] = sums.get(name, 0) + value.mean((0, 2, 3), dtype=np.float64)
    return {name: total / len(canvases) for name, total in sums.items()}
