"""A picture becomes a network's input, in memory that is laid out once. The one user of OpenCV here."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors.manifest import Input
from models.errors import SourceError

Picture = NDArray[np.uint8]


class Covered(NamedTuple):
    """How far the picture reaches in the input, from the top left: what turns pixels of the input into shares of it."""

    width_px: float
    height_px: float


class Canvas:
    """The input of a network, drawn anew for each picture. Not for two threads at once.

    Attributes:
        tensor: what the network reads, always the same memory. Where the input is bytes in BGR, channels last, pictures
            are drawn right into it.
    """

    def __init__(self, wanted: Input) -> None:
        self._wanted = wanted
        shape = (wanted.height_px, wanted.width_px, 3)
        self._pixels: Picture = np.full(shape, wanted.padding, np.uint8)
        self._drawn = (0, 0)
        self._halves: list[Picture] = []
        self._planes: Picture | None = np.empty((3, *shape[:2]), np.uint8) if wanted.layout == "nchw" else None
        is_drawn_upon = wanted.dtype == "uint8" and wanted.layout == "nhwc" and wanted.channels == "bgr"
        sides = shape if wanted.layout == "nhwc" else (3, *shape[:2])
        self.tensor: NDArray[Any] = self._pixels[None] if is_drawn_upon else np.empty((1, *sides), wanted.dtype)
        self._gain, self._shift = _affine(wanted)

    def draw(self, picture: Picture) -> Covered:
        """Draw the picture into `tensor`.

        Args:
            picture: (h, w, 3) uint8 BGR, any size from 1x1 on.

        Raises:
            SourceError: it is not such a picture.
        """
        check_picture(picture)
        height, width = picture.shape[:2]
        rows, columns = self._pixels.shape[:2]
        if self._wanted.fit == "letterbox":
            scale = min(rows / height, columns / width)
            rows, columns = max(round(height * scale), 1), max(round(width * scale), 1)
        if (rows, columns) != self._drawn:
            self._pixels[:] = self._wanted.padding
            self._drawn = (rows, columns)
        small, factor = self._halved(picture, rows, columns)
        cv2.resize(small, (columns, rows), dst=self._pixels[:rows, :columns], interpolation=cv2.INTER_LINEAR)
        self._fill_tensor()
        # Halving leaves an odd last row or column out, together less than a pixel of the input: all of the picture
        # would reach that much farther.
        return Covered(columns * width / (small.shape[1] * factor), rows * height / (small.shape[0] * factor))

    def _halved(self, picture: Picture, rows: int, columns: int) -> tuple[Picture, int]:
        """The picture, halved until it is less than twice what is wanted, and by what it was divided.

        Every pixel counts, so that small flames do not flicker, and a mean of 2x2 is what OpenCV does fast: 2 to 8
        times faster than area averaging in one step.
        """
        step = 0
        while (height := picture.shape[0] // 2) >= rows and (width := picture.shape[1] // 2) >= columns:
            half = self._half(step, height, width)
            even = picture[: height * 2, : width * 2]
            cv2.resize(even, (width, height), dst=half, interpolation=cv2.INTER_AREA)
            picture, step = half, step + 1
        return picture, 2**step

    def _half(self, step: int, height: int, width: int) -> Picture:
        """Memory for a halved picture, kept as long as pictures of that size come."""
        if step == len(self._halves):
            self._halves.append(np.empty((height, width, 3), np.uint8))
        elif self._halves[step].shape != (height, width, 3):
            self._halves[step:] = [np.empty((height, width, 3), np.uint8)]
        return self._halves[step]

    def _fill_tensor(self) -> None:
        """Bring the pixels into the order and type that the network wants."""
        target = self.tensor[0]
        if self.tensor.base is self._pixels:
            return
        is_rgb = self._wanted.channels == "rgb"
        source: Picture = self._pixels
        if self._planes is not None:
            cv2.split(self._pixels, list(self._planes[::-1] if is_rgb else self._planes))
            source = self._planes
        elif is_rgb:
            source = self._pixels[..., ::-1]
        if self._wanted.dtype == "uint8":
            np.copyto(target, source)
        else:
            np.multiply(source, self._gain, out=target)
            if self._shift is not None:
                target += self._shift


def _affine(wanted: Input) -> tuple[NDArray[np.float32] | np.float32, NDArray[np.float32] | None]:
    """Factor and summand that make (value * scale - mean) / deviation, a channel each, or one factor for all."""
    gain = wanted.scale / np.array(wanted.deviation)
    shift = -np.array(wanted.mean) / np.array(wanted.deviation)
    if len(set(wanted.deviation)) == 1 and not shift.any():
        return np.float32(gain[0]), None
    along = (3, 1, 1) if wanted.layout == "nchw" else (3,)
    return gain.astype(np.float32).reshape(along), shift.astype(np.float32).reshape(along)


def check_picture(picture: Picture) -> None:
    """Refuse what is not a (h, w, 3) uint8 picture.

    Raises:
        SourceError: says what it is, and what to do.
    """
    if not isinstance(picture, np.ndarray):
        raise SourceError(f"a picture must be a NumPy array, this is {type(picture).__name__}; was it read at all?")
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise SourceError(f"a picture must be (height, width, 3) BGR, this is {picture.shape}; use cv2.cvtColor")
    if picture.dtype != np.uint8:
        raise SourceError(f"a picture must be uint8, this is {picture.dtype}; scale it to 0..255 and convert it")
    if 0 in picture.shape:
        raise SourceError(f"an empty picture, {picture.shape}; the source gave no pixels")
