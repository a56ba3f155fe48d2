"""Render ``street_fire.mp4``: a drawn street on which a drawn car begins to burn.

Nothing in it is a photograph. It shows the chain at work; it says nothing about how well the detector sees real fires.

    python -m edge.demo.render [--out PATH]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Field = NDArray[np.float32]

PATH: Final = Path(__file__).parent / "street_fire.mp4"
WIDTH: Final = 640
HEIGHT: Final = 360
FPS: Final = 12
SECONDS: Final = 24
FIRE_FROM_S: Final = 4.0
SEED: Final = 20
CAR_AT: Final = (372, 262)
"""Where the burning car stands: the middle of its bonnet, pixels."""

_PALETTE_BGR: Final = np.stack(
    [
        np.interp(np.linspace(0, 1, 256), (0.0, 0.18, 0.35, 0.55, 0.75, 1.0), levels)
        for levels in ((0, 6, 8, 20, 70, 205), (0, 12, 60, 130, 205, 248), (0, 90, 215, 250, 255, 255))
    ],
    axis=-1,
).astype(np.float32)
"""Black, dark red, orange, yellow, nearly white: (256, 3) by heat."""


def value_noise(rng: np.random.Generator, height: int, width: int, cell: int) -> Field:
    """Return smooth noise in 0..1: (height, width) float32, features about `cell` pixels wide."""
    coarse = rng.random((height // cell + 3, width // cell + 3), np.float32)
    big = cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
    return np.clip(big[cell : cell + height, cell : cell + width], 0.0, 1.0)


def street(rng: np.random.Generator) -> Image:
    """Return the empty street at dusk: (HEIGHT, WIDTH, 3) uint8 BGR."""
    y = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None, None]
    picture = np.broadcast_to((1 - y) * (150, 128, 112) + y * (95, 98, 104), (HEIGHT, WIDTH, 3)).astype(np.uint8).copy()
    left = 0
    while left < WIDTH:
        width = int(rng.integers(60, 120))
        top = int(rng.integers(30, 110))
        shade = int(rng.integers(70, 120))
        cv2.rectangle(picture, (left, top), (left + width, 215), (shade, shade + 4, shade + 10), -1)
        for wx in range(left + 8, left + width - 14, 20):
            for wy in range(top + 10, 190, 26):
                glass = (int(rng.integers(60, 95)),) * 3
                cv2.rectangle(picture, (wx, wy), (wx + 11, wy + 15), glass, -1)
        left += width
    cv2.rectangle(picture, (0, 205), (WIDTH, 232), (118, 122, 124), -1)
    cv2.rectangle(picture, (0, 232), (WIDTH, HEIGHT), (72, 74, 76), -1)
    for x in range(-40, WIDTH, 110):
        cv2.fillPoly(picture, [np.array([[x, 318], [x + 50, 318], [x + 42, 323], [x - 8, 323]])], (165, 170, 172))
    for x in (70, 520):
        cv2.line(picture, (x, 230), (x, 70), (50, 52, 52), 4)
        cv2.line(picture, (x, 70), (x + 26, 64), (50, 52, 52), 4)
    grain = (value_noise(rng, HEIGHT, WIDTH, 4) - 0.5) * 18
    return np.clip(picture + grain[..., None], 0, 255).astype(np.uint8)


def draw_car(picture: Image, x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Draw a car whose bonnet is at `x`, `y`, side on, into `picture`."""
    body = np.array(
        [[x - 96, y + 26], [x - 94, y], [x - 62, y - 4], [x - 44, y - 24], [x - 4, y - 24], [x + 14, y - 3]]
    )
    cv2.fillPoly(picture, [np.vstack([body, [[x + 42, y + 4], [x + 44, y + 26]]])], colour, cv2.LINE_AA)
    cv2.fillPoly(
        picture, [np.array([[x - 54, y - 4], [x - 40, y - 20], [x - 8, y - 20], [x + 4, y - 4]])], (58, 54, 50)
    )
    for wheel in (x - 68, x + 20):
        cv2.circle(picture, (wheel, y + 26), 12, (26, 26, 28), -1, cv2.LINE_AA)
        cv2.circle(picture, (wheel, y + 26), 5, (110, 112, 114), -1, cv2.LINE_AA)


class Fire:
    """Flames and smoke over one point: two noise fields that rise, thinned out towards the edges."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._fine = value_noise(rng, 1600, 240, 9)
        self._coarse = value_noise(rng, 1600, 240, 26)
        self._smoke = value_noise(rng, 1600, 420, 34)
        self._wisps = value_noise(rng, 1600, 420, 13)

    def flames(self, at_s: float, size: float) -> Field:
        """Return the heat, 0..1, on a (240, 240) field whose foot is its lower middle; `size` 0..1."""
        rise = int(at_s * 95) % 1300
        noise = (
            0.55 * np.roll(self._coarse, -rise, 0)[:240] + 0.45 * np.roll(self._fine, -int(rise * 1.5) % 1300, 0)[:240]
        )
        up = np.linspace(1, 0, 240, dtype=np.float32)[:, None]
        sway = 0.10 * np.sin(at_s * 5.1 + up * 5)
        across = np.abs(np.linspace(-1, 1, 240, dtype=np.float32)[None, :] + sway)
        height = 0.22 + 0.62 * size
        half = (0.24 + 0.30 * size) * np.clip(1.15 - up / height, 0, 1) ** 0.6
        inside = np.clip(1 - across / np.maximum(half, 1e-3), 0, 1) * np.clip(1 - up / height, 0, 1) ** 0.35
        heat: Field = np.clip(inside * 1.9 * (0.30 + 0.95 * noise) - 0.12, 0, 1).astype(np.float32)
        return heat

    def smoke(self, at_s: float, size: float) -> Field:
        """Return the smoke's opacity, 0..1, on a (260, 420) field whose foot is its lower middle."""
        rise = int(at_s * 42) % 1300
        noise = (
            0.6 * np.roll(self._smoke, -rise, 0)[:260] + 0.4 * np.roll(self._wisps, -int(rise * 1.3) % 1300, 0)[:260]
        )
        up = np.linspace(1, 0, 260, dtype=np.float32)[:, None]
        across = np.abs(np.linspace(-1, 1, 420, dtype=np.float32)[None, :] - 0.30 * up)
        half = 0.12 + 0.45 * up
        plume = np.clip(1 - across / half, 0, 1) * np.clip(1.1 - up, 0, 1) ** 0.5 * np.clip(up * 5, 0, 1)
        opacity: Field = np.clip(plume * (0.35 + 1.1 * noise) * (0.35 + 0.65 * size), 0, 0.92).astype(np.float32)
        return opacity


def blend(picture: Field, layer: Field, opacity: Field, foot: tuple[int, int]) -> None:
    """Lay `layer` (h, w, 3) over `picture` with `opacity` (h, w), its lower middle at `foot`; clipped to the frame."""
    height, width = opacity.shape
    x, y = foot[0] - width // 2, foot[1] - height
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, WIDTH), min(y + height, HEIGHT)
    inner = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
    alpha = opacity[inner][..., None]
    picture[y0:y1, x0:x1] = picture[y0:y1, x0:x1] * (1 - alpha) + layer[inner] * alpha


def frames(seconds: int, fire_from_s: float) -> Iterator[Image]:
    """Yield the frames: each (HEIGHT, WIDTH, 3) uint8 BGR."""
    rng = np.random.default_rng(SEED)
    empty, fire = street(rng), Fire(rng)
    grain = rng.normal(0, 0.8, (4, HEIGHT, WIDTH, 3)).astype(np.float32)
    for n in range(FPS * seconds):
        at_s = n / FPS
        picture = empty.copy()
        draw_car(picture, CAR_AT[0], CAR_AT[1], (96, 88, 84))
        if at_s > fire_from_s:
            picture = burn(picture, fire, at_s - fire_from_s)
        draw_car(picture, int(-60 + at_s * 92) % (WIDTH + 260) - 60, 312, (150, 140, 120))
        yield np.clip(cv2.GaussianBlur(picture, (3, 3), 0) + grain[n % 4], 0, 255).astype(np.uint8)


def burn(picture: Image, fire: Fire, since_s: float) -> Image:
    """Return `picture` with the fire as it is `since_s` seconds after it began."""
    size = min(1.0, since_s / 9.0)
    canvas = picture.astype(np.float32)
    smoke = fire.smoke(since_s, size)
    grey = np.full((*smoke.shape, 3), (74, 72, 70), np.float32) + 60 * (1 - smoke[..., None])
    blend(canvas, grey, smoke, (CAR_AT[0] + 10, CAR_AT[1] - 30))
    heat = fire.flames(since_s, size)
    colour = _PALETTE_BGR[(heat * 255).astype(np.uint8)]
    blend(canvas, colour, np.clip(heat * 3.2, 0, 1), (CAR_AT[0] - 14, CAR_AT[1] + 12))
    glow = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.circle(glow, (CAR_AT[0] - 14, CAR_AT[1] - 30), int(50 + 60 * size), 1.0, -1)
    glow = cv2.GaussianBlur(glow, (0, 0), 38) * (0.20 + 0.06 * float(np.sin(since_s * 21)))
    return np.clip(canvas + glow[..., None] * (30, 120, 230), 0, 255).astype(np.uint8)


def render(path: Path, seconds: int = SECONDS, *, fire_from_s: float = FIRE_FROM_S) -> None:
    """Write the clip to `path`; the fire burns on to its end."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for frame in frames(seconds, fire_from_s):
        writer.write(frame)
    writer.release()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PATH)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    args = parser.parse_args()
    render(args.out, args.seconds)
