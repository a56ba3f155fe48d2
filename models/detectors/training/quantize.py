"""A network in 8-bit integers: static, per channel, QDQ with u8 activations and s8 weights. No test picture is read."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from models.detectors.training.stem import feed_bytes, pack_stem

Method = Literal["entropy", "percentile"]
METHODS: Final[dict[Method, CalibrationMethod]] = {
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
"""How the range of an activation is told from what it was on the calibration pictures. The whole range is no candidate:
a few outliers make every step of it coarser."""
QUANTISED: Final = ("Conv", "Concat", "Add", "MaxPool", "Resize", "Split", "Slice", "Relu", "Reshape", "Transpose")


class Pictures(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime's quantisation is untyped
    """Letterboxed pictures, one at a time."""

    def __init__(self, name: str, canvases: Sequence[NDArray[np.uint8]]) -> None:
        self.rows: Iterator[dict[str, NDArray[np.uint8]]] = iter([{name: canvas[None]} for canvas in canvases])

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
        quantize_static(
            ready,
            small,
            Pictures(packed.graph.input[0].name, canvases),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=after_convolutions(onnx.load(ready)),
            calibrate_method=METHODS[method],
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
