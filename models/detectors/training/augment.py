"""Training pictures made to look like a camera in a street: small and far flames, night, blur, compression.

Everything here is NumPy and OpenCV on uint8, about 3 ms a picture, so that the network stays the bottleneck.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors.training.data import FIRE, Corpus, Picture

Image = NDArray[np.uint8]
Random = np.random.Generator
GREY = 114
CELL_PX = 8  # the finest stride: one flag says whether smoke is labelled there

# Share of the draws by source. The largest source is mostly lighters, candles and matches close up.
SHARES = {"contfire": 0.17, "hiep": 0.28, "hiep_unknown": 0.19, "smallfire": 0.01, "street": 0.35}
COMPOSITE_SHARE = 0.4  # of the street draws
MOSAIC_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Flame:
    """A flame cut out of a training picture.

    Attributes:
        image: (h, w, 3) uint8 BGR.
        alpha: (h, w) float32 in 0..1.
    """

    image: Image
    alpha: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """A training sample in the making.

    Attributes:
        image: (s, s, 3) uint8 BGR.
        boxes: rows of class, x1 y1 x2 y2 in pixels.
        knows_smoke: (s / 8, s / 8) float32, 0 where the smoke loss is masked.
    """

    image: Image
    boxes: list[NDArray[np.float32]]
    knows_smoke: NDArray[np.float32]


def cut_flames(pictures: list[Picture]) -> list[Flame]:
    """Flames with a soft mask: warm pixels, and blown-out ones beside them, fading out towards the box."""
    flames = []
    for picture in pictures:
        for label, *corners in picture.boxes:
            x1, y1, x2, y2 = np.round(corners).astype(int)
            if label != FIRE or min(x2 - x1, y2 - y1) < 20:
                continue
            crop = picture.image[y1:y2, x1:x2]
            blue, _, red = (crop[..., i].astype(np.float32) for i in range(3))
            warm = ((red - blue - 25) / 70).clip(0, 1) * ((red - 100) / 70).clip(0, 1)
            hot = (crop.min(2) > 210) * (cv2.GaussianBlur(warm, (0, 0), 4) > 0.15)
            v, u = np.mgrid[-1 : 1 : crop.shape[0] * 1j, -1 : 1 : crop.shape[1] * 1j]
            fade = ((1.25 - np.hypot(u, v)) / 0.35).clip(0, 1)
            alpha = cv2.GaussianBlur(np.maximum(warm, hot), (0, 0), 1.0) * fade
            if 0.12 < alpha.mean() < 0.75:
                flames.append(Flame(np.ascontiguousarray(crop), alpha.astype(np.float32)))
    return flames


def darken(image: Image, rng: Random) -> Image:
    """Night: less light, a little more blue."""
    gain = rng.uniform(0.12, 0.6) * np.array([rng.uniform(0.95, 1.25), 1.0, rng.uniform(0.85, 1.1)])
    ramp = 255 * np.linspace(0, 1, 256) ** rng.uniform(1.0, 1.5)
    return cv2.LUT(image, (ramp[:, None] * gain).clip(0, 255).astype(np.uint8)[None])  # type: ignore[return-value]


def add_lamps(image: Image, rng: Random) -> None:
    """Street lamps, head and tail lights, in place: what a flame in the distance is mistaken for."""
    height, width = image.shape[:2]
    colours = ((255, 255, 255), (190, 235, 255), (90, 180, 255), (40, 120, 255), (40, 40, 255))
    for _ in range(rng.integers(1, 6)):
        radius = rng.uniform(1.2, 7.0)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        colour = np.array(colours[rng.integers(len(colours))], np.float32)
        for dx in (0.0, rng.uniform(3, 8) * radius) if rng.random() < 0.35 else (0.0,):
            reach = int(4 * radius) + 1
            left, top = max(int(x + dx) - reach, 0), max(int(y) - reach, 0)
            patch = image[top : int(y) + reach, left : int(x + dx) + reach]
            if patch.size == 0:
                continue
            v, u = np.ogrid[top : top + patch.shape[0], left : left + patch.shape[1]]
            away = ((u - x - dx) ** 2 + (v - y) ** 2) / radius**2
            core, glow = np.exp(-(away**2))[..., None], 0.5 * np.exp(-away / 4)[..., None]
            lit = patch + colour * glow + 255 * core
            patch[:] = lit.clip(0, 255).astype(np.uint8)


def composite(street: Picture, flames: list[Flame], rng: Random) -> Picture:
    """A street picture with one to three flames in it, mostly small, some blown out."""
    image = darken(street.image, rng) if rng.random() < 0.4 else street.image.copy()
    if rng.random() < 0.3:
        add_lamps(image, rng)
    height, width = image.shape[:2]
    boxes = []
    for _ in range(rng.integers(1, 4)):
        flame = flames[rng.integers(len(flames))]
        tall = np.exp(rng.uniform(np.log(7), np.log(0.45 * height)))
        wide = tall * flame.image.shape[1] / flame.image.shape[0] * rng.uniform(0.7, 1.4)
        size = (int(np.clip(wide, 4, 0.6 * width)), int(max(tall, 5)))
        left, top = rng.integers(0, width - size[0]), rng.integers(0, height - size[1])
        alpha = cv2.resize(flame.alpha, size, interpolation=cv2.INTER_AREA)
        light = cv2.resize(flame.image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        if rng.random() < 0.5:
            alpha, light = alpha[:, ::-1], light[:, ::-1]
        light = (light * rng.uniform(0.9, 1.9)).clip(0, 255)
        rows, columns = np.nonzero(alpha > 0.3)
        if len(rows) < 8:
            continue
        patch = image[top : top + size[1], left : left + size[0]]
        opacity = alpha[..., None] * rng.uniform(0.8, 1.0)
        patch[:] = (patch * (1 - opacity) + light * opacity).astype(np.uint8)
        corners = columns.min() + left, rows.min() + top, columns.max() + left + 1, rows.max() + top + 1
        boxes.append(np.array([FIRE, *corners], np.float32))
    return Picture(street.name, "composite", street.sha256, image, np.array(boxes, np.float32).reshape(-1, 5), True)


def place(canvas: Canvas, area: tuple[int, int, int, int], picture: Picture, longest_px: float, rng: Random) -> None:
    """Draw a picture, scaled so that its longer side is `longest_px`, at a random place into an area of the canvas."""
    x1, y1, x2, y2 = area
    height, width = picture.image.shape[:2]
    scale = longest_px / max(height, width)
    size = max(int(width * scale), 8), max(int(height * scale), 8)
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
    canvas.knows_smoke[shown[1] // CELL_PX : -(-shown[3] // CELL_PX), shown[0] // CELL_PX : -(-shown[2] // CELL_PX)] = (
        float(picture.knows_smoke)
    )
    for box in boxes:
        box[1:] += np.array([left, top, left, top])
        visible = np.array([box[0], *np.maximum(box[1:3], shown[:2]), *np.minimum(box[3:], shown[2:])], np.float32)
        side = visible[3:] - visible[1:3]
        if side.min() > 2 and side.prod() > 0.25 * (box[3:] - box[1:3]).prod():
            canvas.boxes.append(visible)


def blank(size: int) -> Canvas:
    """An empty canvas: padding is known to hold no smoke."""
    cells = size // CELL_PX
    return Canvas(np.full((size, size, 3), GREY, np.uint8), [], np.ones((cells, cells), np.float32))


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


def mosaic(draw: Callable[[], Picture], size: int, rng: Random) -> Canvas:
    """Four pictures around a random centre."""
    canvas = blank(size)
    x, y = (int(size * rng.uniform(0.3, 0.7)) // CELL_PX * CELL_PX for _ in range(2))
    for area in ((0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)):
        longest = size * np.exp(rng.uniform(np.log(0.3), np.log(1.0)))
        place(canvas, area, draw(), longest, rng)
    return canvas


def single(draw: Callable[[], Picture], street: Callable[[], Picture], size: int, rng: Random) -> Canvas:
    """One picture, from a small part of the canvas to a crop of it; a small one may lie on a street picture."""
    canvas = blank(size)
    whole = (0, 0, size, size)
    picture = draw()
    longest = size * (1.0 if rng.random() < 0.4 else np.exp(rng.uniform(np.log(0.3), np.log(1.6))))
    if longest < 0.7 * size and rng.random() < 0.6:
        place(canvas, whole, street(), size * rng.uniform(1.0, 1.5), rng)
        side = int(longest)
        left, top = (int(rng.integers(0, size - side + 1)) for _ in range(2))
        whole = (left, top, left + side, top + side)
        cover(canvas, whole)
    place(canvas, whole, picture, longest, rng)
    return canvas


def degrade(image: Image, rng: Random) -> Image:
    """Exposure, colour, then what optics, sensor and codec of a cheap camera do."""
    gain = rng.uniform(0.65, 1.35) * rng.uniform(0.9, 1.1, 3)
    ramp = 255 * np.linspace(0, 1, 256) ** np.exp(rng.uniform(-0.35, 0.35))
    image = cv2.LUT(image, (ramp[:, None] * gain).clip(0, 255).astype(np.uint8)[None])  # type: ignore[assignment]
    if rng.random() < 0.4:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        keep = 0.0 if rng.random() < 0.08 else rng.uniform(0.3, 1.4)
        image = cv2.addWeighted(image, keep, grey, 1 - keep, 0)  # type: ignore[assignment]
    size = image.shape[0]
    if rng.random() < 0.35:
        side = int(size * rng.uniform(0.35, 0.85))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    if rng.random() < 0.12:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.6))  # type: ignore[assignment]
    if rng.random() < 0.06:
        image = cv2.blur(image, (int(rng.integers(2, 8)), 1))  # type: ignore[assignment]
    if rng.random() < 0.12:
        noise = rng.integers(-12, 13, (size, size, 1), np.int16)
        image = (image + noise).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, file = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 65))))
        image = cv2.imdecode(file, cv2.IMREAD_COLOR)  # type: ignore[assignment]
    return image


class Sampler:
    """Draws finished training samples from a corpus."""

    def __init__(self, corpus: Corpus) -> None:
        self.by_source = {
            source: [p for p in corpus.fires if p.source == source] for source in SHARES if source != "street"
        }
        self.by_source["street"] = corpus.streets
        self.flames = cut_flames(corpus.fires)
        self.sources = [source for source in SHARES if self.by_source[source]]
        shares = np.array([SHARES[source] for source in self.sources])
        self.shares = shares / shares.sum()

    def street(self, rng: Random) -> Picture:
        """A street without fire."""
        streets = self.by_source["street"]
        return streets[rng.integers(len(streets))]

    def draw(self, rng: Random) -> Picture:
        """A picture by the shares of the sources, composites and lit streets included."""
        source = self.sources[rng.choice(len(self.sources), p=self.shares)]
        picture = self.by_source[source][rng.integers(len(self.by_source[source]))]
        if source != "street":
            return picture
        if rng.random() < COMPOSITE_SHARE and self.flames:
            return composite(picture, self.flames, rng)
        if rng.random() < 0.4:
            image = darken(picture.image, rng) if rng.random() < 0.7 else picture.image.copy()
            add_lamps(image, rng)
            return Picture(picture.name, "lamps", picture.sha256, image, picture.boxes, True)
        return picture

    def sample(
        self, size: int, rng: Random, mosaic_share: float
    ) -> tuple[Image, NDArray[np.float32], NDArray[np.float32]]:
        """Image (size, size, 3) uint8 BGR, boxes (n, 5) in pixels, and (size / 8, size / 8) where smoke is labelled."""
        if rng.random() < mosaic_share:
            canvas = mosaic(lambda: self.draw(rng), size, rng)
        else:
            canvas = single(lambda: self.draw(rng), lambda: self.street(rng), size, rng)
        return degrade(canvas.image, rng), np.array(canvas.boxes, np.float32).reshape(-1, 5), canvas.knows_smoke
