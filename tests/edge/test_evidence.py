from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.evidence import BLOCKS, encode, redact, shrink, take
from models.messages import MAX_EVIDENCE_BYTES

BOX = (0.25, 0.25, 0.5, 0.5)


def lettered(height: int = 720, width: int = 1280) -> NDArray[np.uint8]:
    """A scene full of text 40 px high: number plates, as it were."""
    image = np.full((height, width, 3), 200, np.uint8)
    for row in range(40, height, 50):
        cv2.putText(image, "PLATE B12345 " * 6, (0, row), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (20, 20, 20), 3)
    return image


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def test_outside_the_box_only_flat_blocks_are_left() -> None:
    image = shrink(lettered())
    height, width = image.shape[:2]
    redacted = redact(image, BOX, margin=0.0)
    outside = np.ones((height, width), bool)
    outside[height // 4 : height // 2, width // 4 : width // 2] = False
    # A mosaic of b blocks holds at most b colours, however many pixels there were.
    colours = np.unique(redacted[outside], axis=0)
    blocks = BLOCKS * round(BLOCKS * height / width)
    assert len(colours) <= blocks < height * width / 300
    inside = (slice(height // 4, height // 2), slice(width // 4, width // 2))
    assert np.array_equal(redacted[inside], image[inside])


def test_no_stroke_of_a_letter_survives_outside_the_box() -> None:
    image = shrink(lettered())
    jpeg = take(image, BOX, device_id="d", name="n", captured_at_ms=0, redaction="outside_box", margin=0.0).jpeg
    redacted = decoded(jpeg)
    right = redacted[:, image.shape[1] * 3 // 4 :]
    # Letters are dark strokes on a light ground; what is left has lost nearly all of their contrast.
    assert float(np.std(image[:, image.shape[1] * 3 // 4 :])) > 60
    assert float(np.std(right)) < 30
    # And two different texts give nearly the same mosaic.
    mirrored = redact(np.ascontiguousarray(image[:, ::-1]), BOX, margin=0.0)
    assert float(np.mean(cv2.absdiff(mirrored[:, image.shape[1] * 3 // 4 :], right))) < 30


def test_the_margin_stays_sharp_and_the_edges_of_the_frame_are_kept() -> None:
    image = shrink(lettered())
    height, width = image.shape[:2]
    redacted = redact(image, (0.0, 0.0, 0.4, 0.4), margin=0.5)
    assert np.array_equal(
        redacted[: round(height * 0.6), : round(width * 0.6)], image[: round(height * 0.6), : round(width * 0.6)]
    )
    assert np.array_equal(redact(image, (0.0, 0.0, 1.0, 1.0), margin=2.0), image)


def test_a_picture_is_small_and_named_by_what_it_shows() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2160, 3840, 3)).astype(np.uint8)
    picture = take(noise, (0.0, 0.0, 1.0, 1.0), device_id="d", name="n", captured_at_ms=7, redaction="none", margin=0.0)
    assert len(picture.jpeg) <= MAX_EVIDENCE_BYTES
    assert max(decoded(picture.jpeg).shape) == 960
    assert picture.sha256 == hashlib.sha256(picture.jpeg).hexdigest()
    again = take(noise, BOX, device_id="d", name="n2", captured_at_ms=7, redaction="none", margin=0.0)
    assert picture.evidence_id != again.evidence_id


@pytest.mark.parametrize("shape", [(1, 1), (5, 2000), (2000, 5), (47, 48)])
def test_pictures_of_odd_shapes_are_taken(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    picture = take(image, BOX, device_id="d", name="n", captured_at_ms=0, redaction="outside_box", margin=0.25)
    assert decoded(picture.jpeg).shape[:2] == shrink(image).shape[:2]


def test_a_small_picture_is_not_enlarged() -> None:
    image = np.zeros((90, 160, 3), np.uint8)
    assert shrink(image) is image
    assert encode(image)
