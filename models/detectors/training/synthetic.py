"""What the training pictures lack and a camera in a street sees: small and far flames with their glow and smoke, night,
and the things that are mistaken for them. NumPy and OpenCV on uint8, a few milliseconds a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.detectors.training.data import Picture

Image = NDArray[np.uint8]
Mask = NDArray[np.float32]
Random = np.random.Generator

LIGHTERS: Final = "hiep_unknown"  # lighters, candles and matches above all: no flame that a street camera sees
LAMPS: Final = ((255, 255, 255), (190, 235, 255), (90, 180, 255), (40, 120, 255), (40, 40, 255))
EMBER: Final = np.array((40, 130, 255), np.float32)  # light of a fire on what is around it, BGR


@dataclass(frozen=True, slots=True, eq=False)
class Flame:
    """A flame cut out of a training picture.

    Attributes:
        image: (h, w, 3) uint8 BGR.
        alpha: (h, w) float32 in 0..1.
    """

    image: Image
    alpha: Mask


def warmth(image: Image) -> Mask:
    """(h, w) float32 in 0..1: how much each pixel looks like flame, blown-out ones beside warm ones included."""
    blue, red = image[..., 0].astype(np.float32), image[..., 2].astype(np.float32)
    warm = ((red - blue - 25) / 70).clip(0, 1) * ((red - 100) / 70).clip(0, 1)
    hot = (image.min(2) > 210) & (cv2.GaussianBlur(warm, (0, 0), 4) > 0.15)
    soft: Mask = cv2.GaussianBlur(np.maximum(warm, hot.astype(np.float32)), (0, 0), 1.0)
    return soft


def cut_flames(pictures: Sequence[Picture], fire: int) -> list[Flame]:
    """Flames with a soft mask, fading out towards the box."""
    flames = []
    for picture in pictures:
        for label, *corners in picture.boxes:
            x1, y1, x2, y2 = np.round(corners).astype(int)
            if label != fire or picture.source == LIGHTERS or min(x2 - x1, y2 - y1) < 20:
                continue
            crop = picture.image[y1:y2, x1:x2]
            v, u = np.mgrid[-1 : 1 : crop.shape[0] * 1j, -1 : 1 : crop.shape[1] * 1j]
            alpha = warmth(crop) * ((1.25 - np.hypot(u, v)) / 0.35).clip(0, 1)
            if 0.12 < alpha.mean() < 0.75:
                flames.append(Flame(np.ascontiguousarray(crop), alpha.astype(np.float32)))
    return flames


def darken(image: Image, rng: Random) -> Image:
    """Night: less light, a little more blue."""
    gain = rng.uniform(0.1, 0.6) * np.array([rng.uniform(0.95, 1.25), 1.0, rng.uniform(0.85, 1.1)])
    ramp = 255 * np.linspace(0, 1, 256) ** rng.uniform(1.0, 1.5)
    return cv2.LUT(image, (ramp[:, None] * gain).clip(0, 255).astype(np.uint8)[None])  # type: ignore[return-value]


def disc(image: Image, centre: tuple[float, float], radius: tuple[float, float]) -> Mask:
    """(h, w) float32: squared distance from `centre` (x, y) in units of `radius` (x, y)."""
    v, u = np.ogrid[: image.shape[0], : image.shape[1]]
    return (((u - centre[0]) / radius[0]) ** 2 + ((v - centre[1]) / radius[1]) ** 2).astype(np.float32)


def around(image: Image, centre: tuple[float, float], reach: tuple[float, float]) -> tuple[Image, tuple[float, float]]:
    """The part of the picture within `reach` (x, y) of `centre` (x, y), as a view, and the centre in its pixels."""
    left, top = (max(int(c - r), 0) for c, r in zip(centre, reach, strict=True))
    right, bottom = (max(int(c + r) + 1, 0) for c, r in zip(centre, reach, strict=True))
    return image[top:bottom, left:right], (centre[0] - left, centre[1] - top)


def add_light(image: Image, mask: NDArray[np.floating[Any]], colour: NDArray[np.float32]) -> None:
    """Add light in place where the mask says so: half of it on its own, half as far as the scene reflects it."""
    light = mask[..., None] * (colour / 2)
    lit = image * (1 + light / 128) + light
    image[:] = lit.clip(0, 255).astype(np.uint8)


def add_lamps(image: Image, rng: Random) -> None:
    """Street lamps, head and tail lights, in place: what a flame in the distance is mistaken for."""
    height, width = image.shape[:2]
    for _ in range(rng.integers(1, 6)):
        radius = rng.uniform(1.2, 7.0)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        colour = np.array(LAMPS[rng.integers(len(LAMPS))], np.float32)
        for dx in (0.0, rng.uniform(3, 8) * radius) if rng.random() < 0.35 else (0.0,):
            patch, centre = around(image, (x + dx, y), (4 * radius, 4 * radius))
            away = disc(patch, centre, (radius, radius))
            core, glow = np.exp(-(away**2))[..., None], 0.5 * np.exp(-away / 4)[..., None]
            patch[:] = (patch + colour * glow + 255 * core).clip(0, 255).astype(np.uint8)


def add_sunset(image: Image, rng: Random) -> None:
    """A low sun in place: a warm sky, a blown-out disc."""
    height, width = image.shape[:2]
    sun = rng.uniform(0, width), rng.uniform(0, 0.5 * height)
    sky = np.linspace(1, 0, height, dtype=np.float32)[:, None] * rng.uniform(0.2, 0.7) * np.ones((1, width), np.float32)
    add_light(image, sky, np.array((rng.uniform(20, 90), rng.uniform(90, 170), 255), np.float32))
    radius = rng.uniform(3, 16)
    away = disc(image, sun, (radius, radius))
    add_light(image, 1.6 * np.exp(-away) + 0.4 * np.exp(-away / 12), np.array((150, 220, 255), np.float32))


def add_fog(image: Image, rng: Random) -> None:
    """Haze in place, thicker with distance, without the edge that smoke has."""
    height = image.shape[0]
    veil = np.linspace(rng.uniform(0.3, 0.8), rng.uniform(0, 0.4), height, dtype=np.float32)[:, None, None]
    image[:] = (image * (1 - veil) + rng.uniform(120, 230) * veil).astype(np.uint8)


def add_warm_things(image: Image, rng: Random) -> None:
    """Signs, awnings and clothes in place: plain patches of the colours of fire, without its light."""
    height, width = image.shape[:2]
    for _ in range(rng.integers(1, 5)):
        centre = np.array((rng.uniform(0, width), rng.uniform(0, height)))
        sides = np.exp(rng.uniform(np.log(4), np.log(0.2 * width), 2))
        corners = centre + sides * (np.array(((-1, -1), (1, -1), (1, 1), (-1, 1))) + rng.uniform(-0.4, 0.4, (4, 2))) / 2
        colour = (rng.uniform(0, 90), rng.uniform(0, 200), rng.uniform(150, 255))
        drawn = cv2.fillPoly(image.copy(), [np.round(corners).astype(np.int32)], colour)
        keep = rng.uniform(0, 0.4)
        image[:] = cv2.addWeighted(image, keep, drawn, 1 - keep, 0)


def plain(picture: Picture, rng: Random) -> Picture:
    """A picture of one colour or of two that run into each other, white and black above all, on which nothing is.

    So a camera sees that is dazzled, covered or waking up. Only the size is `picture`'s.
    """
    height, width = picture.image.shape[:2]
    tone = rng.choice((255.0, 0.0, rng.uniform(0, 255)), p=(0.4, 0.3, 0.3))
    ends = tone + rng.uniform(-12, 12, (2, 3)) + (rng.uniform(-80, 80, (2, 1)) if rng.random() < 0.3 else 0)
    down = np.linspace(0, 1, height)[:, None, None]
    image = (ends[0] * (1 - down) + ends[1] * down).clip(0, 255) * np.ones((1, width, 1))
    nothing = np.zeros((0, 5), np.float32)
    return replace(picture, image=image.astype(np.uint8), boxes=nothing, known=np.ones_like(picture.known), burns=False)


def with_distraction(picture: Picture, rng: Random) -> Picture:
    """A street, by day or by night, with something in it that is no fire and no smoke."""
    image = darken(picture.image, rng) if rng.random() < 0.5 else picture.image.copy()
    (add_lamps, add_lamps, add_sunset, add_fog, add_warm_things)[rng.integers(5)](image, rng)
    return replace(picture, image=image)


def by_night(picture: Picture, fire: int, rng: Random) -> Picture:
    """A real fire, with all that is not flame darkened."""
    flame = np.zeros(picture.image.shape[:2], np.float32)
    for label, *corners in picture.boxes:
        if label == fire:
            x1, y1, x2, y2 = np.round(corners).astype(int)
            flame[y1:y2, x1:x2] = 1
    keep = (cv2.GaussianBlur(flame, (0, 0), 3) * warmth(picture.image))[..., None]
    return replace(picture, image=(picture.image * keep + darken(picture.image, rng) * (1 - keep)).astype(np.uint8))


def clouds(height: int, width: int, rng: Random) -> Mask:
    """(h, w) float32 in 0..1: noise of four octaves."""
    field = np.zeros((height, width), np.float32)
    for octave in range(4):
        cells = rng.random((2 ** (octave + 1) + 1, 2 ** (octave + 1) + 1)).astype(np.float32)
        field += cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    spread: Mask = (field - field.min()) / (np.ptp(field) + 1e-6)
    return spread


def add_smoke(image: Image, foot: tuple[float, float], tall: float, rng: Random) -> NDArray[np.float32] | None:
    """A plume in place that rises and drifts from `foot` (x, y); returns x1 y1 x2 y2 of what can be seen of it."""
    height, width = image.shape[0] // 2, image.shape[1] // 2  # it has no detail that half the size would not show
    v, u = 2 * np.mgrid[:height, :width].astype(np.float32)
    risen = ((foot[1] - v) / tall).clip(0, 1.2)
    middle = foot[0] + rng.uniform(-0.8, 0.8) * tall * risen ** rng.uniform(0.8, 1.6)
    spread = tall * (rng.uniform(0.06, 0.15) + rng.uniform(0.15, 0.5) * risen)
    away = ((u - middle) / spread) ** 2
    shape = np.exp(-away) * (v < foot[1]) * (1.2 - risen).clip(0, 1)
    alpha = (shape * (0.35 + 1.1 * clouds(height, width, rng)) * rng.uniform(0.7, 1.4)).clip(0, rng.uniform(0.6, 0.97))
    rows, columns = np.nonzero(alpha > 0.22)
    if len(rows) < 8:
        return None
    box = 2 * np.array((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), np.float32)
    tone = rng.uniform(25, 225) * np.array((rng.uniform(0.95, 1.06), 1.0, rng.uniform(0.95, 1.06)))
    shade = (tone * (0.75 + 0.4 * clouds(height, width, rng)[..., None])).clip(0, 255) * alpha[..., None]
    shade, veil = (cv2.resize(part.astype(np.float32), image.shape[1::-1]) for part in (shade, 1 - alpha))
    image[:] = (image * veil[..., None] + shade).astype(np.uint8)
    return box


def add_flame(
    image: Image, flame: Flame, foot: tuple[float, float], tall: float, *, is_dark: bool, rng: Random
) -> NDArray[np.float32] | None:
    """A flame in place, standing on `foot` (x, y), its light around it; returns x1 y1 x2 y2 of it."""
    height, width = image.shape[:2]
    wide = tall * flame.image.shape[1] / flame.image.shape[0] * rng.uniform(0.7, 1.4)
    size = int(np.clip(wide, 4, 0.6 * width)), int(np.clip(tall, 5, 0.7 * height))
    left = int(np.clip(foot[0] - size[0] / 2, 0, width - size[0]))
    top = int(np.clip(foot[1] - size[1], 0, height - size[1]))
    alpha = cv2.resize(flame.alpha, size, interpolation=cv2.INTER_AREA)
    light = cv2.resize(flame.image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    if rng.random() < 0.5:
        alpha, light = alpha[:, ::-1], light[:, ::-1]
    rows, columns = np.nonzero(alpha > 0.3)
    if len(rows) < 8:
        return None
    centre = left + size[0] / 2, top + size[1] / 2
    reach = rng.uniform(0.9, 2.2)
    radius = reach * size[0] + 2, reach * size[1] + 2
    lit, middle = around(image, centre, (2 * radius[0], 2 * radius[1]))
    halo = np.exp(-disc(lit, middle, radius))
    add_light(lit, halo * (rng.uniform(0.2, 0.8) if is_dark else rng.uniform(0, 0.3)), EMBER)
    light *= rng.uniform(0.9, 1.7)
    if rng.random() < (0.6 if is_dark else 0.35):  # the sensor is saturated
        light += 255 * cv2.GaussianBlur(alpha, (0, 0), 1 + 0.05 * min(size))[..., None] ** 2 * rng.uniform(0.3, 1.0)
    opacity = (alpha * rng.uniform(0.8, 1.0))[..., None]
    patch = image[top : top + size[1], left : left + size[0]]
    patch[:] = (patch * (1 - opacity) + light.clip(0, 255) * opacity).astype(np.uint8)
    return np.array(
        (columns.min() + left, rows.min() + top, columns.max() + left + 1, rows.max() + top + 1), np.float32
    )


def composite(street: Picture, flames: Sequence[Flame], labels: Sequence[str], rng: Random) -> Picture:
    """A street with a fire in it: one to three flames close together, often with smoke, now and then smoke alone."""
    is_dark = rng.random() < 0.4
    image = darken(street.image, rng) if is_dark else street.image.copy()
    if rng.random() < 0.3:
        add_lamps(image, rng)
    height, width = image.shape[:2]
    tall = float(np.exp(rng.uniform(np.log(7), np.log(0.45 * height))))
    foot = rng.uniform(0.05, 0.95) * width, rng.uniform(0.3, 0.95) * height
    boxes = [street.boxes]
    has_smoke = rng.random() < 0.5
    if has_smoke and (smoke := add_smoke(image, foot, rng.uniform(1.2, 3.5) * tall + 20, rng)) is not None:
        boxes.append(np.array([[labels.index("smoke"), *smoke]], np.float32))
    for _ in range(0 if has_smoke and rng.random() < 0.25 else rng.integers(1, 4)):
        flame = flames[int(rng.integers(len(flames)))]
        if (box := add_flame(image, flame, foot, tall, is_dark=is_dark, rng=rng)) is not None:
            boxes.append(np.array([[labels.index("fire"), *box]], np.float32))
        foot = foot[0] + rng.uniform(-2, 2) * tall, foot[1] + rng.uniform(-0.3, 0.3) * tall
        tall *= rng.uniform(0.4, 1.0)
    return replace(street, source="composite", image=image, boxes=np.concatenate(boxes))
