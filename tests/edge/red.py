"""A real ONNX network, written by hand, that sees red: a picture of 320 x 320 is cut into 10 x 10 squares, and each
square is as much `fire` as it is red rather than blue and green. So the tests of the edge run on the real runtime and
need no trained weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

FLOAT, UINT8, INT64 = 1, 2, 7
GRID, SQUARE_PX = 10, 32
MANIFEST = """\
name = "red"
version = "1.0.0"
file = "red.onnx"
sha256 = "{sha256}"
family = "anchors"
labels = ["fire"]
licence = "Apache-2.0"
thresholds.fire = {{ hint = 0.3, alarm = 0.6 }}
"""


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _pb(number: int, value: int | str | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _ints(name: str, *values: int) -> bytes:
    return _pb(5, _pb(1, name) + b"".join(_pb(8, value) for value in values) + _pb(20, 7))


def _node(op: str, inputs: str, output: str, attributes: bytes = b"") -> bytes:
    return _pb(1, b"".join(_pb(1, name) for name in inputs.split()) + _pb(2, output) + _pb(4, op) + attributes)


def _tensor(name: str, array: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    kind = FLOAT if array.dtype == np.float32 else INT64
    dims = b"".join(_pb(1, size) for size in array.shape)
    return _pb(5, dims + _pb(2, kind) + _pb(8, name) + _pb(9, array.tobytes()))


def _value(number: int, name: str, kind: int, *shape: int) -> bytes:
    dims = b"".join(_pb(1, _pb(1, size)) for size in shape)
    return _pb(number, _pb(1, name) + _pb(2, _pb(1, _pb(1, kind) + _pb(2, dims))))


def network() -> bytes:
    """Return the model as bytes."""
    weights = np.empty((1, 3, SQUARE_PX, SQUARE_PX), np.float32)
    weights[0, :] = np.array([-0.5, -0.5, 1.0], np.float32)[:, None, None] / (255.0 * SQUARE_PX**2)
    left, top = np.meshgrid(np.arange(GRID) * SQUARE_PX, np.arange(GRID) * SQUARE_PX)
    boxes = np.stack([left, top, left + SQUARE_PX, top + SQUARE_PX], -1).reshape(1, GRID**2, 4).astype(np.float32)
    graph = (
        _node("Cast", "picture", "pixels", _pb(5, _pb(1, "to") + _pb(3, FLOAT) + _pb(20, 2)))
        + _node("Transpose", "pixels", "planes", _ints("perm", 0, 3, 1, 2))
        + _node("Conv", "planes weights", "squares", _ints("strides", SQUARE_PX, SQUARE_PX))
        + _node("Reshape", "squares shape", "row")
        + _node("Transpose", "row", "scores", _ints("perm", 0, 2, 1))
        + _node("Identity", "grid", "boxes")
        + _pb(2, "red")
        + _tensor("weights", weights)
        + _tensor("shape", np.array([1, 1, GRID**2], np.int64))
        + _tensor("grid", boxes)
        + _value(11, "picture", UINT8, 1, 320, 320, 3)
        + _value(12, "boxes", FLOAT, 1, GRID**2, 4)
        + _value(12, "scores", FLOAT, 1, GRID**2, 1)
    )
    return _pb(1, 8) + _pb(7, graph) + _pb(8, _pb(1, "") + _pb(2, 13))


def write_detector(folder: Path) -> Path:
    """Write network and manifest into `folder` and return the manifest's path."""
    content = network()
    (folder / "red.onnx").write_bytes(content)
    manifest = folder / "red.toml"
    manifest.write_text(MANIFEST.format(sha256=hashlib.sha256(content).hexdigest()))
    return manifest


def street(redness: float = 0.0, *, seed: int = 0) -> NDArray[np.uint8]:
    """Return a grey, noisy picture of 320 x 320, with one square (row 4, column 6) red to `redness`."""
    image = np.random.default_rng(seed).integers(90, 130, (320, 320, 3)).astype(np.uint8)
    if redness > 0:
        image[128:160, 192:224] = (0, 0, round(255 * redness))
    return image


def write_clip(path: Path, *, seconds: float = 2.0, fps: float = 10.0, red_from_s: float = 0.5) -> Path:
    """Write a clip in which the red square lights up after `red_from_s`."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (320, 320))
    assert writer.isOpened()
    for index in range(round(seconds * fps)):
        writer.write(street(0.9 if index / fps >= red_from_s else 0.0, seed=index))
    writer.release()
    return path
