"""The one door to ONNX Runtime: a picture in, boxes out.

OpenCV is loaded when the first detector is opened, not when this module is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from models.detectors.decode import Candidates, decode_anchors
from models.detectors.manifest import Manifest, path_of, read_manifest
from models.errors import ConfigError, Problem, SourceError

LOAD_ERRORS = (
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NoSuchFile,
    onnx_errors.NotImplemented,
    onnx_errors.RuntimeException,
)


@dataclass(frozen=True, slots=True)
class Box:
    """A thing seen: corners as shares of the picture's width and height, 0..1, x1 <= x2 and y1 <= y2."""

    label: str
    confidence: float
    x1: float
    y1: float
    x2: float
    y2: float


class Detector:
    """One network, opened once and used for every picture. Not for two threads at once: the input buffer is reused."""

    def __init__(self, name_or_path: str | Path, *, threads: int = 1, floor: float = 0.05) -> None:
        """Open the network and run it once.

        Args:
            name_or_path: `fire_smoke`, or the path of a manifest.
            threads: of ONNX Runtime within one picture.
            floor: lowest confidence that `detect` reports.

        Raises:
            ConfigError: no such model, or its file is not the one that the manifest describes.
        """
        self.manifest: Manifest = read_manifest(name_or_path)
        self.floor = floor
        self._path = path_of(name_or_path).with_name(self.manifest.file)
        shape = (self.manifest.input.height_px, self.manifest.input.width_px, 3)
        self._canvas: NDArray[np.uint8] = np.full(shape, self.manifest.input.padding, np.uint8)
        self._covered = (0, 0)
        self._session = _open(self._path, self._read_network(), threads)
        self._check_network()

    @property
    def labels(self) -> tuple[str, ...]:
        """What it can see."""
        return self.manifest.labels

    def detect(self, image_bgr: NDArray[np.uint8]) -> list[Box]:
        """What is seen on a picture, best first.

        Args:
            image_bgr: (h, w, 3) uint8, any size from 1x1 on.

        Raises:
            SourceError: it is not such a picture.
        """
        check_picture(image_bgr)
        height, width = image_bgr.shape[:2]
        x_scale, y_scale = self._letterbox(image_bgr)
        found = self._run()
        corners = found.boxes_px / np.array([x_scale * width, y_scale * height] * 2, np.float32)
        corners = corners.clip(0.0, 1.0)
        order = np.argsort(-found.scores, kind="stable")
        return [
            Box(self.labels[found.classes[i]], float(found.scores[i]), *(float(value) for value in corners[i]))
            for i in order
        ]

    def _letterbox(self, image: NDArray[np.uint8]) -> tuple[float, float]:
        """Draw the picture into the canvas; returns the factors it was scaled by, which differ by rounding only."""
        import cv2

        height, width = image.shape[:2]
        most_rows, most_columns = self._canvas.shape[:2]
        scale = min(most_rows / height, most_columns / width)
        rows, columns = max(round(height * scale), 1), max(round(width * scale), 1)
        if (rows, columns) != self._covered:
            self._canvas[:] = self.manifest.input.padding
            self._covered = (rows, columns)
        # Area averaging where it shrinks much: skipped lines would make small flames flicker.
        how = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
        cv2.resize(image, (columns, rows), dst=self._canvas[:rows, :columns], interpolation=how)
        return columns / width, rows / height

    def _run(self) -> Candidates:
        boxes, scores = self._outputs()
        return decode_anchors(boxes[0], scores[0], floor=self.floor, overlap=self.manifest.overlap)

    def _outputs(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        shape = self.manifest.input
        tensor: NDArray[Any] = self._canvas[None]
        if shape.channels == "rgb":
            tensor = tensor[..., ::-1]
        if shape.layout == "nchw":
            tensor = tensor.transpose(0, 3, 1, 2)
        if shape.dtype == "float32":
            tensor = tensor.astype(np.float32) * np.float32(shape.scale)
        boxes, scores = self._session.run(["boxes", "scores"], {shape.name: np.ascontiguousarray(tensor)})
        return boxes, scores

    def _read_network(self) -> bytes:
        remedy = "restore the file, or train it with `gridwarden train`"
        try:
            content = self._path.read_bytes()
        except OSError as error:
            what = f"the network cannot be read: {error.strerror or error}"
            raise ConfigError([Problem(self._path, "$", what, remedy)]) from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.manifest.sha256:
            what = f"SHA-256 is {found}, the manifest says {self.manifest.sha256}"
            raise ConfigError([Problem(self._path, "sha256", what, remedy)])
        return content

    def _check_network(self) -> None:
        """Run it once on grey: a network that cannot answer must not look like a quiet street."""
        labels = len(self.labels)
        try:
            boxes, scores = self._outputs()
        except (*LOAD_ERRORS, ValueError) as error:
            raise self._unusable(f"it cannot be run: {error}", "correct `input` in the manifest") from error
        if boxes.ndim != 3 or boxes.shape[2] != 4 or scores.shape != (1, boxes.shape[1], labels):
            what = f"gives boxes {boxes.shape} and scores {scores.shape} where {labels} labels are named"
            raise self._unusable(what, "correct `labels` or `family` in the manifest")
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise self._unusable("gives numbers that are not finite", "its weights are damaged: restore the file")

    def _unusable(self, what: str, remedy: str) -> ConfigError:
        return ConfigError([Problem(self._path, "$", what, remedy)])


def check_picture(image: NDArray[np.uint8]) -> None:
    """Refuse what is not a (h, w, 3) uint8 picture.

    Raises:
        SourceError: says what it is, and what to do.
    """
    if not isinstance(image, np.ndarray):
        raise SourceError(f"a picture must be a NumPy array, this is {type(image).__name__}; was it read at all?")
    if image.ndim != 3 or image.shape[2] != 3:
        raise SourceError(f"a picture must be (height, width, 3) BGR, this is {image.shape}; use cv2.cvtColor")
    if image.dtype != np.uint8:
        raise SourceError(f"a picture must be uint8, this is {image.dtype}; scale it to 0..255 and convert it")
    if 0 in image.shape:
        raise SourceError(f"an empty picture, {image.shape}; the source gave no pixels")


def _open(path: Path, content: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # A spinning thread takes the core that the next process on a small machine waits for.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except LOAD_ERRORS as error:
        what = f"is no network that ONNX Runtime can open: {error}"
        raise ConfigError([Problem(path, "$", what, "export it again as ONNX")]) from error
