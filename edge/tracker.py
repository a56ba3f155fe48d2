"""Which box of this frame is which of the last: greedy matching by overlap and distance of centres, per label.

Flames leap and smoke drifts, so a box need not overlap its former self: near enough is enough. Pure: no clock, no
pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from edge.moment import Moment

if TYPE_CHECKING:
    from models.detectors import Box

MIN_OVERLAP: Final = 0.1
MAX_CENTRE_DISTANCE: Final = 0.75
"""As a share of the larger diagonal."""
FORGET_AFTER_MS: Final = 3_000
HISTORY_MS: Final = 4_000
MIN_GROWTH_SPAN_MS: Final = 1_000
FLICKER_FPS: Final = 20.0
MIN_FLICKER_SPAN_MS: Final = 2_000

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Track:
    """One thing, followed through frames.

    Attributes:
        box: the latest x1 y1 x2 y2, in 0..1.
        confidence: the latest, in 0..1.
        hits: frames in which it was seen.
        first_seen_ms: wall time of the first of them.
        seen_mono_ms: boot clock of the latest.
        areas: (boot clock ms, share of the frame's area) of the last `HISTORY_MS`.
    """

    track_id: str
    label: str
    box: Corners
    confidence: float
    hits: int
    first_seen_ms: int
    seen_mono_ms: int
    areas: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Tracks:
    """What one camera follows. `made` counts its tracks, so that no id comes twice in a boot."""

    prefix: str
    made: int = 0
    live: tuple[Track, ...] = ()


def follow(tracks: Tracks, boxes: Sequence[Box], now: Moment) -> tuple[Tracks, tuple[Track, ...]]:
    """Return the tracks after a frame with `boxes`, and those of them that were seen in it, best first."""
    live = [track for track in tracks.live if now.mono_ms - track.seen_mono_ms <= FORGET_AFTER_MS]
    partner = _match(live, boxes)
    made = tracks.made
    seen: list[Track] = []
    for number, box in enumerate(boxes):
        if number in partner:
            seen.append(_seen_again(live[partner[number]], box, now))
        else:
            made += 1
            seen.append(_first_seen(f"{tracks.prefix}-{made}", box, now))
    unseen = [track for index, track in enumerate(live) if index not in partner.values()]
    seen.sort(key=lambda track: -track.confidence)
    return Tracks(tracks.prefix, made, (*unseen, *seen)), tuple(seen)


def _match(tracks: Sequence[Track], boxes: Sequence[Box]) -> dict[int, int]:
    """Return box index -> track index, each at most once, closest pairs first."""
    pairs = []
    for number, box in enumerate(boxes):
        corners = _corners(box)
        for index, track in enumerate(tracks):
            if track.label == box.label:
                score = closeness(track.box, corners)
                if score is not None:
                    pairs.append((-score, index, number))
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for _, index, number in sorted(pairs):
        if number not in partner and index not in taken:
            partner[number] = index
            taken.add(index)
    return partner


def closeness(a: Corners, b: Corners) -> float | None:
    """Return how well two boxes fit (0..2: overlap plus nearness of the centres), or None if they are two things."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = area(a) + area(b) - shared
    overlap = shared / union if union > 0 else 0.0
    diagonal = max(math.hypot(a[2] - a[0], a[3] - a[1]), math.hypot(b[2] - b[0], b[3] - b[1]))
    apart = math.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]) / 2
    distance = apart / diagonal if diagonal > 0 else math.inf
    if overlap < MIN_OVERLAP and distance > MAX_CENTRE_DISTANCE:
        return None
    return overlap + max(0.0, 1.0 - distance)


def area(box: Corners) -> float:
    """Return the share of the frame that `box` covers."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _corners(box: Box) -> Corners:
    x1, y1, x2, y2 = (min(max(float(value), 0.0), 1.0) for value in (box.x1, box.y1, box.x2, box.y2))
    return x1, y1, x2, y2


def _first_seen(track_id: str, box: Box, now: Moment) -> Track:
    corners = _corners(box)
    areas = ((now.mono_ms, area(corners)),)
    return Track(track_id, box.label, corners, float(box.confidence), 1, now.wall_ms, now.mono_ms, areas)


def _seen_again(track: Track, box: Box, now: Moment) -> Track:
    corners = _corners(box)
    recent = tuple(sample for sample in track.areas if now.mono_ms - sample[0] <= HISTORY_MS)
    return replace(
        track,
        box=corners,
        confidence=float(box.confidence),
        hits=track.hits + 1,
        seen_mono_ms=now.mono_ms,
        areas=(*recent, (now.mono_ms, area(corners))),
    )


def growth(track: Track) -> float | None:
    """Return the relative growth of the box per second (slope of ln area), or None before it can be told."""
    samples = [(ms / 1000.0, math.log(share)) for ms, share in track.areas if share > 0]
    if len(samples) < 3 or samples[-1][0] - samples[0][0] < MIN_GROWTH_SPAN_MS / 1000.0:
        return None
    mean_s = sum(s for s, _ in samples) / len(samples)
    mean = sum(value for _, value in samples) / len(samples)
    spread = sum((s - mean_s) ** 2 for s, _ in samples)
    return sum((s - mean_s) * (value - mean) for s, value in samples) / spread


def flicker(track: Track) -> float | None:
    """Return the energy of the box area in 1-12 Hz against 0-1 Hz, its mean taken off.

    None below 20 frames per second, where 12 Hz could not be told from slower motion, and before two seconds.
    """
    samples = track.areas
    span_ms = samples[-1][0] - samples[0][0]
    if span_ms < MIN_FLICKER_SPAN_MS or (len(samples) - 1) * 1000.0 / span_ms < FLICKER_FPS:
        return None
    times, shares = np.array(samples).T
    step_s = span_ms / 1000.0 / (len(samples) - 1)
    even = np.interp(np.linspace(times[0], times[-1], len(samples)), times, shares)
    energy = np.abs(np.fft.rfft(even - even.mean())) ** 2
    hertz = np.fft.rfftfreq(len(samples), step_s)
    slow = float(energy[hertz < 1.0].sum())
    fast = float(energy[(hertz >= 1.0) & (hertz <= 12.0)].sum())
    return fast / slow if slow > 0 else None
