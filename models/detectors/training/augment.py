"""Training samples: pictures drawn by share, placed on a square, and made to look like a cheap camera took them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors.training.data import Corpus, Picture
from models.detectors.training.recipes import Part, Recipe
from models.detectors.training.synthetic import Image, Random, by_night, composite, cut_flames, plain, with_distraction

Sample = tuple[Image, NDArray[np.float32], NDArray[np.bool_]]

GREY: Final = 114
CELL_PX: Final = 8  # the finest stride: flags say which classes are labelled there
MOSAIC_SHARE: Final = 0.45
COMPOSITE_SHARE: Final = 0.35  # of the streets without fire
DISTRACTION_SHARE: Final = 0.3  # of the rest of them
PLAIN_SHARE: Final = 0.03  # of all draws: without it a white frame is fire, and a black one a bin
NIGHT_SHARE: Final = 0.15  # of the real fires
CLOSE_SHARE: Final = 0.15  # of pictures with nothing on them: asphalt, walls and leaves as near as some cameras hang
CLOSEST: Final = 4.0  # times as large


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """A training sample in the making.

    Attributes:
        image: (s, s, 3) uint8 BGR.
        boxes: rows of class, x1 y1 x2 y2 in pixels.
        known: (s / 8, s / 8, classes) bool, False where the loss of a class is masked.
    """

    image: Image
    boxes: list[NDArray[np.float32]]
    known: NDArray[np.bool_]


def place(canvas: Canvas, area: tuple[int, int, int, int], picture: Picture, longest_px: float, rng: Random) -> None:
    """Draw a picture, scaled so that its longer side is `longest_px`, at a random place into an area of the canvas."""
    x1, y1, x2, y2 = area
    height, width = picture.image.shape[:2]
    scale = longest_px / max(height, width)
    # Half of the sources were stretched to squares by whoever published them, a camera's picture is not.
    stretch = np.exp(rng.uniform(-0.3, 0.3)) ** 0.5 if rng.random() < 0.5 else 1.0
    size = max(int(width * scale * stretch), 8), max(int(height * scale / stretch), 8)
    image = cv2.resize(picture.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    boxes = picture.boxes * np.array([1, *[size[0] / width, size[1] / height] * 2], np.float32)
    if rng.random() < 0.5:
        image = image[:, ::-1]
        boxes[:, [1, 3]] = size[0] - boxes[:, [3, 1]]
    # A larger picture is cropped, a smaller one moves inside the area.
    slack = (x2 - x1) - size[0], (y2 - y1) - size[1]
    left = x1 + int(rng.uniform(min(slack[0], 0), max(slack[0], 0)))
    top = y1 + int(rng.uniform(min(slack[1], 0), max(slack[1], 0)))
    shown = max(left, x1), max(top, y1), min(left + size[0], x2), min(top + size[1], y2)
    canvas.image[shown[1] : shown[3], shown[0] : shown[2]] = image[
        shown[1] - top : shown[3] - top, shown[0] - left : shown[2] - left
    ]
    cells = (slice(shown[i] // CELL_PX, -(-shown[i + 2] // CELL_PX)) for i in (1, 0))
    canvas.known[tuple(cells)] = picture.known
    for box in boxes:
        box[1:] += np.array([left, top, left, top])
        visible = np.array([box[0], *np.maximum(box[1:3], shown[:2]), *np.minimum(box[3:], shown[2:])], np.float32)
        was, now = ((b[3:] - b[1:3]).clip(0) for b in (box, visible))
        if now.min() >= 2.5 and now.prod() > 0.15 * was.prod():
            canvas.boxes.append(visible)


def cover(canvas: Canvas, area: tuple[int, int, int, int]) -> None:
    """Forget the boxes that something drawn over `area` will hide for the most part."""
    x1, y1, x2, y2 = area
    left = []
    for box in canvas.boxes:
        width = min(box[3], x2) - max(box[1], x1)
        height = min(box[4], y2) - max(box[2], y1)
        if max(width, 0) * max(height, 0) < 0.5 * (box[3] - box[1]) * (box[4] - box[2]):
            left.append(box)
    canvas.boxes[:] = left


def blank(size: int, classes: int) -> Canvas:
    """An empty grey canvas, on which nothing is there to be found."""
    cells = size // CELL_PX
    return Canvas(np.full((size, size, 3), GREY, np.uint8), [], np.ones((cells, cells, classes), np.bool_))


def degrade(image: Image, rng: Random) -> Image:
    """Exposure, colour, then what optics, sensor and codec of a cheap camera do."""
    gain = rng.uniform(0.65, 1.35) * rng.uniform(0.9, 1.1, 3)
    ramp = 255 * np.linspace(0, 1, 256) ** np.exp(rng.uniform(-0.35, 0.35))
    image = cv2.LUT(image, (ramp[:, None] * gain).clip(0, 255).astype(np.uint8)[None])  # type: ignore[assignment]
    if rng.random() < 0.4:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        keep = 0.0 if rng.random() < 0.05 else rng.uniform(0.3, 1.4)
        image = cv2.addWeighted(image, keep, grey, 1 - keep, 0)  # type: ignore[assignment]
    if rng.random() < 0.12:
        write_over(image, rng)
    size = image.shape[0]
    if rng.random() < 0.25:
        side = int(size * rng.uniform(0.4, 0.85))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    if rng.random() < 0.1:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.5))  # type: ignore[assignment]
    if rng.random() < 0.05:
        image = cv2.blur(image, (int(rng.integers(2, 8)), 1))  # type: ignore[assignment]
    if rng.random() < 0.1:
        noise = rng.integers(-12, 13, (size, size, 1), np.int16)
        image = (image + noise).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        _, file = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 65))))
        image = cv2.imdecode(file, cv2.IMREAD_COLOR)  # type: ignore[assignment]
    return image


def write_over(image: Image, rng: Random) -> None:
    """The time stamp of a recorder, or the banner of a news channel, in place."""
    size = image.shape[0]
    if rng.random() < 0.4:
        top, colour = int(size * rng.uniform(0.78, 0.92)), rng.integers(0, 256, 3).tolist()
        cv2.rectangle(image, (0, top), (size, top + int(size * rng.uniform(0.05, 0.12))), colour, -1)
    text = "".join(rng.choice(list("0123456789-:/ CAMNEWSLIVE"), rng.integers(4, 20)))
    at = int(rng.uniform(0, 0.6) * size), int((0.06 if rng.random() < 0.5 else 0.95) * size)
    tone = (255, 255, 255) if rng.random() < 0.8 else rng.integers(0, 256, 3).tolist()
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size / 640 * rng.uniform(0.6, 1.4), tone, 1, cv2.LINE_AA)


class Sampler:
    """Draws finished training samples from a corpus."""

    def __init__(self, corpus: Corpus, recipe: Recipe, without: frozenset[Part] = frozenset()) -> None:
        self.labels, self.without = recipe.labels, without
        self.streets = corpus.streets
        by_source: dict[str, list[Picture]] = {}
        for picture in corpus.fires + corpus.streets:
            by_source.setdefault(picture.source if picture.source in recipe.shares else "others", []).append(picture)
        shares = {**recipe.shares, "others": recipe.others}
        self.pools = [by_source[name] for name in shares if name in by_source]
        weights = np.array([shares[name] for name in shares if name in by_source])
        self.weights = weights / weights.sum()
        self.fire = recipe.labels.index("fire") if recipe.sees_fire else None
        self.flames = cut_flames(corpus.fires, self.fire) if self.fire is not None else []

    def street(self, rng: Random) -> Picture:
        """A street without fire."""
        return self.streets[rng.integers(len(self.streets))]

    def draw(self, rng: Random) -> Picture:
        """A picture by the shares of the sources, composites and distractions included."""
        pool = self.pools[rng.choice(len(self.pools), p=self.weights)]
        picture = pool[rng.integers(len(pool))]
        if "hard_negatives" not in self.without and rng.random() < PLAIN_SHARE:
            return plain(picture, rng)
        return picture if self.fire is None else self.changed(picture, self.fire, rng)

    def changed(self, picture: Picture, fire: int, rng: Random) -> Picture:
        """A fire by night, or a street with something in it that burns or looks so; most stay as they are."""
        if picture.has(fire) and rng.random() < NIGHT_SHARE:
            return by_night(picture, fire, rng)
        if picture.burns:
            return picture
        if "composites" not in self.without and self.flames and rng.random() < COMPOSITE_SHARE:
            return composite(picture, self.flames, self.labels, rng)
        if "hard_negatives" not in self.without and rng.random() < DISTRACTION_SHARE:
            return with_distraction(picture, rng)
        return picture

    def sample(self, size: int, rng: Random, mosaic_share: float) -> Sample:
        """A finished sample.

        Returns:
            Image (size, size, 3) uint8 BGR, boxes (n, 5) in pixels, and (size / 8, size / 8, classes) bool of what is
            labelled where.
        """
        if "mosaic" not in self.without and rng.random() < mosaic_share:
            canvas = self.mosaic(size, rng)
        else:
            canvas = self.single(size, rng)
        known = canvas.known if "masking" not in self.without else np.ones_like(canvas.known)
        return degrade(canvas.image, rng), np.array(canvas.boxes, np.float32).reshape(-1, 5), known

    def mosaic(self, size: int, rng: Random) -> Canvas:
        """Four pictures around a random centre."""
        canvas = blank(size, len(self.labels))
        x, y = (int(size * rng.uniform(0.3, 0.7)) // CELL_PX * CELL_PX for _ in range(2))
        for area in ((0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)):
            place(canvas, area, self.draw(rng), size * np.exp(rng.uniform(np.log(0.35), np.log(1.1))), rng)
        return canvas

    def single(self, size: int, rng: Random) -> Canvas:
        """One picture, from a part of the canvas to a crop of it; a small one may lie on a street picture."""
        canvas = blank(size, len(self.labels))
        whole = (0, 0, size, size)
        longest = size * (1.0 if rng.random() < 0.5 else np.exp(rng.uniform(np.log(0.35), np.log(1.6))))
        if longest < 0.7 * size and rng.random() < 0.6:
            place(canvas, whole, self.street(rng), size * rng.uniform(1.0, 1.5), rng)
            side = int(longest)
            left, top = (int(rng.integers(0, size - side + 1)) for _ in range(2))
            whole = (left, top, left + side, top + side)
            cover(canvas, whole)
        picture = self.draw(rng)
        is_empty = not (picture.burns or len(picture.boxes))
        if is_empty and "hard_negatives" not in self.without and rng.random() < CLOSE_SHARE:
            longest = size * np.exp(rng.uniform(0, np.log(CLOSEST)))
        place(canvas, whole, picture, longest, rng)
        return canvas
