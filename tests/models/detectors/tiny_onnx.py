"""Networks of three nodes, written as protobuf by hand: the runtime must be tested where `onnx` is not installed.

Field numbers are those of onnx.proto (ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.detectors.manifest import Manifest, Threshold
from models.detectors.training.toml import to_toml

FLOAT, UINT8 = 1, 2


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def chunk(field: int, content: bytes | str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def tensor(name: str, value: NDArray[np.float32]) -> bytes:
    dims = b"".join(number(1, side) for side in value.shape)
    return dims + number(2, FLOAT) + chunk(8, name) + chunk(9, value.astype("<f4").tobytes())


def typed(name: str, element: int, shape: Sequence[int]) -> bytes:
    dims = b"".join(chunk(1, number(1, side)) for side in shape)
    return chunk(1, name) + chunk(2, chunk(1, number(1, element) + chunk(2, dims)))


def node(kind: str, source: str, target: str) -> bytes:
    return chunk(1, source) + chunk(2, target) + chunk(4, kind)


def network(boxes: NDArray[np.float32], scores: NDArray[np.float32], element: int = UINT8) -> bytes:
    """An ONNX file that answers every picture (1, 320, 320, 3) with the same boxes and scores."""
    graph = (
        chunk(1, node("Identity", "b", "boxes"))
        + chunk(1, node("Identity", "s", "scores"))
        + chunk(1, node("Shape", "picture", "unused"))
        + chunk(2, "tiny")
        + chunk(5, tensor("b", boxes))
        + chunk(5, tensor("s", scores))
        + chunk(11, typed("picture", element, (1, 320, 320, 3)))
        + chunk(12, typed("boxes", FLOAT, boxes.shape))
        + chunk(12, typed("scores", FLOAT, scores.shape))
    )
    return number(1, 8) + chunk(7, graph) + chunk(8, number(2, 17))


def write_detector(
    folder: Path, content: bytes, *, labels: Sequence[str] = ("fire", "smoke"), sha256: str = ""
) -> Path:
    """A network with a manifest beside it; returns the path of the manifest."""
    manifest = Manifest(
        name="tiny",
        version="1.0.0",
        file="tiny.onnx",
        family="anchors",
        labels=tuple(labels),
        licence="Apache-2.0",
        thresholds={label: Threshold(hint=0.3, alarm=0.6) for label in labels},
        sha256=sha256 or hashlib.sha256(content).hexdigest(),
    )
    (folder / "tiny.onnx").write_bytes(content)
    (folder / "tiny.toml").write_text(to_toml(manifest), encoding="utf-8")
    return folder / "tiny.toml"
