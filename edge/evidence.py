"""The evidence picture: small, redacted, a JPEG. Nothing else of a frame ever leaves the device."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.tracker import Corners
from models.errors import SourceError
from models.messages import MAX_EVIDENCE_BYTES

Image = NDArray[np.uint8]
LONGEST_SIDE_PX: Final = 960
BLOCKS: Final = 48
"""Mosaic blocks along the longest side. A face or plate a quarter of the picture wide is then 12 blocks: no feature of
a face and no character of a plate is left, while street, car, smoke and people as such can be told."""
QUALITIES: Final = (85, 70, 50, 30)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of what is in `box`, to be kept until somebody has acknowledged it by id and SHA-256."""

    evidence_id: str
    device_id: str
    sha256: str
    captured_at_ms: int
    redaction: str
    box: Corners
    jpeg: bytes


def shrink(image: Image) -> Image:
    """Return `image` with its longest side at most 960 px."""
    height, width = image.shape[:2]
    scale = LONGEST_SIDE_PX / max(height, width)
    if scale >= 1.0:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def redact(image: Image, box: Corners, *, margin: float) -> Image:
    """Return `image` with a mosaic over all but `box` and `margin` (a share of the box's sides) around it.

    Args:
        image: (h, w, 3) uint8.
        box: x1 y1 x2 y2 in 0..1.
        margin: 0.25 keeps a quarter of the box's width sharp on its left and right.
    """
    height, width = image.shape[:2]
    block_px = max(1.0, max(height, width) / BLOCKS)
    grid = (max(1, round(width / block_px)), max(1, round(height / block_px)))
    coarse = cv2.resize(image, grid, interpolation=cv2.INTER_AREA)
    mosaic = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    x1, y1, x2, y2 = box
    beside, above = (x2 - x1) * margin, (y2 - y1) * margin
    left, right = (round(min(max(x, 0.0), 1.0) * width) for x in (x1 - beside, x2 + beside))
    top, bottom = (round(min(max(y, 0.0), 1.0) * height) for y in (y1 - above, y2 + above))
    mosaic[top:bottom, left:right] = image[top:bottom, left:right]
    return mosaic


def encode(image: Image) -> bytes:
    """Return `image` as a JPEG of at most 512 KiB.

    Raises:
        SourceError: it cannot be made that small.
    """
    for quality in QUALITIES:
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done and data.size <= MAX_EVIDENCE_BYTES:
            return data.tobytes()
    raise SourceError(f"a picture of {image.shape[1]} x {image.shape[0]} px does not fit {MAX_EVIDENCE_BYTES:,} bytes")


def take(
    image: Image, box: Corners, *, device_id: str, name: str, captured_at_ms: int, redaction: str, margin: float
) -> Picture:
    """Return the evidence picture of `box` in a frame; its id is derived from device and `name`."""
    small = shrink(image)
    jpeg = encode(small if redaction == "none" else redact(small, box, margin=margin))
    x1, y1, x2, y2 = (round(value, 4) for value in box)
    digest = hashlib.sha256(f"{device_id}\n{name}".encode()).hexdigest()
    return Picture(
        evidence_id=f"ev-{digest[:24]}",
        device_id=device_id,
        sha256=hashlib.sha256(jpeg).hexdigest(),
        captured_at_ms=captured_at_ms,
        redaction=redaction,
        box=(x1, y1, x2, y2),
        jpeg=jpeg,
    )
