"""Networks of a few nodes, written as protobuf by hand: the runtime must be tested where `onnx` is not installed.

Field numbers are those of onnx.proto (ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.detectors.manifest import Manifest, Threshold
from models.detectors.training.toml import to_toml

FLOAT, UINT8, INT64, STRING = 1, 2, 7, 8
TYPES = {"float32": FLOAT, "uint8": UINT8, "int64": INT64}
OURS = ("picture", UINT8, (1, 320, 320, 3))
YOLO = ("images", FLOAT, (1, 3, 320, 320))

Arrays = Mapping[str, NDArray[Any]]
Value = tuple[str, int, Sequence[int | str]]


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


def tensor(name: str, value: NDArray[Any], external: str = "") -> bytes:
    dims = b"".join(number(1, side) for side in value.shape)
    head = dims + number(2, TYPES[value.dtype.name]) + chunk(8, name)
    if external:
        return head + chunk(13, chunk(1, "location") + chunk(2, external)) + number(14, 1)
    return head + chunk(9, np.ascontiguousarray(value).tobytes())


def typed(name: str, element: int, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(chunk(1, number(1, side) if isinstance(side, int) else chunk(2, side)) for side in shape)
    return chunk(1, name) + chunk(2, chunk(1, number(1, element) + chunk(2, dims)))


def node(kind: str, source: str, target: str, *, domain: str = "", attribute: bytes = b"") -> bytes:
    return chunk(1, source) + chunk(2, target) + chunk(4, kind) + attribute + chunk(7, domain)


def fixed(
    outputs: Arrays,
    picture: Value = YOLO,
    *,
    second: Value | None = None,
    kind: str = "Identity",
    external: str = "",
    nodes: Sequence[bytes] = (),
    metadata: Mapping[str, str] | None = None,
    tail: bytes = b"",
) -> bytes:
    """An ONNX file that answers every picture with the same outputs.

    Args:
        outputs: by name; with `external` their values stand in that file.
        picture: name, type and shape of the input.
        second: of a second input.
        kind: operator that gives the outputs.
        external: where the values are, in the order of the outputs.
        nodes: that stand there too.
        metadata: what the exporter noted.
        tail: further fields of the model.
    """
    inputs = [picture] if second is None else [picture, second]
    graph = b"".join(
        [
            *(chunk(1, node(kind, f"{name}_value", name)) for name in outputs),
            *(chunk(1, node("Shape", name, f"{name}_unused")) for name, _, _ in inputs),
            *(chunk(1, one) for one in nodes),
            chunk(2, "tiny"),
            *(chunk(5, tensor(f"{name}_value", value, external)) for name, value in outputs.items()),
            *(chunk(11, typed(*value)) for value in inputs),
            *(chunk(12, typed(name, TYPES[value.dtype.name], value.shape)) for name, value in outputs.items()),
        ]
    )
    notes = b"".join(chunk(14, chunk(1, key) + chunk(2, value)) for key, value in (metadata or {}).items())
    return number(1, 8) + chunk(2, "by hand") + chunk(7, graph) + chunk(8, number(2, 17)) + notes + tail


def network(boxes: NDArray[np.float32], scores: NDArray[np.float32], element: int = UINT8) -> bytes:
    """One of our own family, (1, 320, 320, 3) in."""
    return fixed({"boxes": boxes, "scores": scores}, ("picture", element, (1, 320, 320, 3)))


def write_detector(
    folder: Path, content: bytes, *, labels: Sequence[str] = ("fire", "smoke"), sha256: str = "", **changes: object
) -> Path:
    """A network with a manifest beside it, with `changes`; returns the path of the manifest."""
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
    text = to_toml(msgspec.structs.replace(manifest, **changes))
    (folder / "tiny.toml").write_text(text, encoding="utf-8")
    return folder / "tiny.toml"
