"""Networks of YOLOv8n's shape, built from its published layer table, with random weights: only to time them.

The rows of `TABLE` are those of `yolov8.yaml` (Ultralytics), read at scale n: depth 0.33, width 0.25, at most 1,024
channels; 80 classes as published. What the modules are made of is written here anew, from their published structure,
and checked by the published number of parameters: 3,151,904 with batch normalisation folded into the convolutions.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PARAMETERS: Final = 3_151_904
CLASSES: Final = 80
DEPTH, WIDTH, MOST_CHANNELS = 0.33, 0.25, 1024
STRIDES: Final = (8, 16, 32)
BINS: Final = 16  # of the distribution that a side is read from
OPSET, IR = 17, 8

Attribute = int | str | Sequence[int]
NONE: Final[Mapping[str, Attribute]] = MappingProxyType({})
Row = tuple[int | tuple[int, ...], int, str, tuple[Any, ...]]
TABLE: Final[tuple[Row, ...]] = (
    (-1, 1, "Conv", (64, 3, 2)),
    (-1, 1, "Conv", (128, 3, 2)),
    (-1, 3, "C2f", (128, True)),
    (-1, 1, "Conv", (256, 3, 2)),
    (-1, 6, "C2f", (256, True)),
    (-1, 1, "Conv", (512, 3, 2)),
    (-1, 6, "C2f", (512, True)),
    (-1, 1, "Conv", (1024, 3, 2)),
    (-1, 3, "C2f", (1024, True)),
    (-1, 1, "SPPF", (1024, 5)),
    (-1, 1, "Upsample", ()),
    ((-1, 6), 1, "Concat", ()),
    (-1, 3, "C2f", (512, False)),
    (-1, 1, "Upsample", ()),
    ((-1, 4), 1, "Concat", ()),
    (-1, 3, "C2f", (256, False)),
    (-1, 1, "Conv", (256, 3, 2)),
    ((-1, 12), 1, "Concat", ()),
    (-1, 3, "C2f", (512, False)),
    (-1, 1, "Conv", (512, 3, 2)),
    ((-1, 9), 1, "Concat", ()),
    (-1, 3, "C2f", (1024, False)),
    ((15, 18, 21), 1, "Detect", ()),
)


class _Layer(NamedTuple):
    """A tensor of the graph under construction: name, and channels."""

    name: str
    channels: int


class _Graph:
    """Nodes and weights as they are added."""

    def __init__(self, height: int, width: int) -> None:
        self.sides = (height, width)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._rng = np.random.default_rng(8)

    def add(
        self, kind: str, inputs: Sequence[str], attributes: Mapping[str, Attribute] = NONE, *, outputs: int = 1
    ) -> list[str]:
        """Add a node; returns the names of its outputs."""
        number = len(self.nodes)
        names = [f"{kind.lower()}_{number}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, f"{kind}_{number}", None, None, None, **attributes))
        return names

    def constant(self, value: NDArray[Any]) -> str:
        """Add a constant; returns its name."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = value
        return name

    def conv(self, source: _Layer, channels: int, size: int = 1, stride: int = 1, *, activate: bool = True) -> _Layer:
        """Convolution with a bias, and SiLU."""
        spread = math.sqrt(2 / (source.channels * size * size))
        weight = self._rng.normal(0, spread, (channels, source.channels, size, size)).astype(np.float32)
        inputs = [source.name, self.constant(weight), self.constant(np.zeros(channels, np.float32))]
        shape: Mapping[str, Attribute] = {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [size // 2] * 4}
        [name] = self.add("Conv", inputs, shape)
        if activate:
            [gate] = self.add("Sigmoid", [name])
            [name] = self.add("Mul", [name, gate])
        return _Layer(name, channels)

    def concat(self, parts: Sequence[_Layer]) -> _Layer:
        """Channels one after the other."""
        [name] = self.add("Concat", [part.name for part in parts], {"axis": 1})
        return _Layer(name, sum(part.channels for part in parts))

    def c2f(self, source: _Layer, channels: int, depth: int, *, is_residual: bool) -> _Layer:
        """Half of the channels pass `depth` pairs of 3x3 convolutions; every intermediate result is kept."""
        half = channels // 2
        names = self.add("Split", [self.conv(source, 2 * half).name], {"axis": 1}, outputs=2)
        parts = [_Layer(name, half) for name in names]
        for _ in range(depth):
            found = self.conv(self.conv(parts[-1], half, 3), half, 3)
            if is_residual:
                [name] = self.add("Add", [parts[-1].name, found.name])
                found = _Layer(name, half)
            parts.append(found)
        return self.conv(self.concat(parts), channels)

    def sppf(self, source: _Layer, channels: int, size: int) -> _Layer:
        """Three pooled views beside the plain one."""
        views = [self.conv(source, source.channels // 2)]
        for _ in range(3):
            shape: Mapping[str, Attribute] = {"kernel_shape": [size] * 2, "strides": [1, 1], "pads": [size // 2] * 4}
            [name] = self.add("MaxPool", [views[-1].name], shape)
            views.append(_Layer(name, views[-1].channels))
        return self.conv(self.concat(views), channels)

    def upsample(self, source: _Layer) -> _Layer:
        """Twice as large, nearest neighbour."""
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        [name] = self.add("Resize", [source.name, "", scales], {"mode": "nearest"})
        return _Layer(name, source.channels)

    def detect(self, levels: Sequence[_Layer]) -> str:
        """Decoupled heads, distribution over sides, boxes and scores: (1, 4 + classes, n)."""
        boxed = max(16, levels[0].channels // 4, BINS * 4)
        scored = max(levels[0].channels, min(CLASSES, 100))
        flat = []
        for level in levels:
            heads = [
                self.conv(self.conv(self.conv(level, hidden, 3), hidden, 3), found, activate=False)
                for hidden, found in ((boxed, 4 * BINS), (scored, CLASSES))
            ]
            flat.append(self.reshape(self.concat(heads).name, 1, 4 * BINS + CLASSES, -1))
        [joined] = self.add("Concat", flat, {"axis": 2})
        parts = self.constant(np.array([4 * BINS, CLASSES], np.int64))
        box, score = self.add("Split", [joined, parts], {"axis": 1}, outputs=2)
        [sure] = self.add("Sigmoid", [score])
        [found] = self.add("Concat", [self.boxes(box), sure], {"axis": 1})
        return found

    def boxes(self, distributions: str) -> str:
        """Expected distance to each side, and from it centre and size in pixels."""
        spread = self.reshape(distributions, 1, 4, BINS, -1)
        [turned] = self.add("Transpose", [spread], {"perm": [0, 2, 1, 3]})
        [shares] = self.add("Softmax", [turned], {"axis": 1})
        bins = np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1)
        [sides] = self.add("Conv", [shares, self.constant(bins)], {"kernel_shape": [1, 1]})
        sides = self.reshape(sides, 1, 4, -1)
        near, far = self.add("Split", [sides], {"axis": 1}, outputs=2)
        centres, strides = _anchors(*self.sides)
        place = self.constant(centres)
        [low], [high] = self.add("Sub", [place, near]), self.add("Add", [far, place])
        [total], [size] = self.add("Add", [low, high]), self.add("Sub", [high, low])
        [middle] = self.add("Div", [total, self.constant(np.array(2, np.float32))])
        [boxes] = self.add("Concat", [middle, size], {"axis": 1})
        [pixels] = self.add("Mul", [boxes, self.constant(strides)])
        return pixels

    def reshape(self, source: str, *shape: int) -> str:
        """Another shape for the same numbers."""
        [name] = self.add("Reshape", [source, self.constant(np.array(shape, np.int64))])
        return name


def build(height: int, width: int) -> onnx.ModelProto:
    """The network for pictures of one size: `images` (1, 3, height, width) to `output0` (1, 84, n)."""
    graph = _Graph(height, width)
    layers: list[_Layer] = []
    found = ""
    for origin, repeats, kind, args in TABLE:
        picture = _Layer("images", 3)
        sources = [layers[one] if layers else picture for one in ([origin] if isinstance(origin, int) else origin)]
        if kind == "Detect":
            found = graph.detect(sources)
            break
        layers.append(_layer(graph, kind, sources, repeats, args))
    shape = (1, 3, height, width)
    places = sum((height // stride) * (width // stride) for stride in STRIDES)
    model = helper.make_model(
        helper.make_graph(
            [*graph.nodes, helper.make_node("Identity", [found], ["output0"])],
            "yolov8n",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("output0", TensorProto.FLOAT, (1, 4 + CLASSES, places))],
            [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _layer(graph: _Graph, kind: str, sources: Sequence[_Layer], repeats: int, args: tuple[Any, ...]) -> _Layer:
    [source] = sources[:1]
    if kind == "Upsample":
        return graph.upsample(source)
    if kind == "Concat":
        return graph.concat(sources)
    channels = math.ceil(min(args[0], MOST_CHANNELS) * WIDTH / 8) * 8
    if kind == "Conv":
        return graph.conv(source, channels, args[1], args[2])
    if kind == "SPPF":
        return graph.sppf(source, channels, args[1])
    return graph.c2f(source, channels, max(round(repeats * DEPTH), 1), is_residual=args[1])


def _anchors(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centres (1, 2, n) in cells, and strides (1, n)."""
    centres, strides = [], []
    for stride in STRIDES:
        rows, columns = np.indices((height // stride, width // stride), np.float32) + np.float32(0.5)
        centres.append(np.stack((columns, rows)).reshape(2, -1))
        strides.append(np.full(centres[-1].shape[1], stride, np.float32))
    return np.concatenate(centres, 1)[None], np.concatenate(strides)[None]


def count_parameters(model: onnx.ModelProto) -> int:
    """Weights and biases of the convolutions, the fixed one of the distribution included, as it is published."""
    values = {one.name: int(np.prod(one.dims)) for one in model.graph.initializer}
    return sum(values[name] for node in model.graph.node if node.op_type == "Conv" for name in node.input[1:])


def quantise(source: Path, target: Path, *, pictures: int = 1) -> None:
    """Write an INT8 network: static, per channel, QDQ, u8 activations, s8 weights; calibrated on noise.

    All operators that ONNX Runtime can quantise are: with convolutions alone the peer was 10 % slower.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Noise(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
        """A few pictures of noise."""

        def __init__(self, feeds: Iterator[dict[str, NDArray[Any]]]) -> None:
            self._feeds = feeds

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self._feeds, None)

    picture = onnx.load(str(source)).graph.input[0]
    shape = [side.dim_value for side in picture.type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    feeds = ({picture.name: rng.random(shape, np.float32)} for _ in range(pictures))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        quant_pre_process(source, plain, skip_symbolic_shape=True)
        quantize_static(
            plain,
            target,
            Noise(feeds),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
