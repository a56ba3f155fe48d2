"""What of the seen goes out: confirm adds, never withholds.

Every candidate above the floor is published, at most twice per second and track, and every new maximum of a track at
once. The stream alone decides what alarms. Pure: no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from edge.tracker import Track

PERIOD_MS: Final = 500
NOTABLE: Final = 0.25
"""A candidate below this confidence gets no picture: at the floor most are false, and a picture costs a thousand times
the bytes of an observation."""
PICTURE_PERIOD_MS: Final = 10_000
CAMERA_PICTURE_PERIOD_MS: Final = 2_000
"""Whatever the number of tracks: a swarm of short tracks must not fill the uplink."""
FORGET_AFTER_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Said:
    """What was published of one track. `pictured` is the confidence of its latest picture, 0 before the first."""

    at_mono_ms: int
    best: float
    pictured: float = 0.0
    pictured_mono_ms: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """What was published of one camera: per track, and when its latest picture was."""

    said: Mapping[str, Said] = field(default_factory=dict)
    pictured_mono_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A track to publish, with or without a picture."""

    track: Track
    with_picture: bool


def choose(memory: Memory, seen: Sequence[Track], *, now_mono_ms: int) -> tuple[Memory, tuple[Choice, ...]]:
    """Return what to publish of the tracks seen in one frame, and the memory after it."""
    said = {key: value for key, value in memory.said.items() if now_mono_ms - value.at_mono_ms < FORGET_AFTER_MS}
    last_picture = memory.pictured_mono_ms
    choices: list[Choice] = []
    for track in seen:
        before = said.get(track.track_id)
        if before and now_mono_ms - before.at_mono_ms < PERIOD_MS and track.confidence <= before.best:
            continue
        is_free = last_picture is None or now_mono_ms - last_picture >= CAMERA_PICTURE_PERIOD_MS
        with_picture = is_free and _wants_picture(before, track, now_mono_ms)
        pictured = before.pictured if before else 0.0
        pictured_mono_ms = before.pictured_mono_ms if before else 0
        if with_picture:
            last_picture = pictured_mono_ms = now_mono_ms
            pictured = track.confidence
        best = max(track.confidence, before.best if before else 0.0)
        said[track.track_id] = Said(now_mono_ms, best, pictured, pictured_mono_ms)
        choices.append(Choice(track, with_picture))
    return Memory(said, last_picture), tuple(choices)


def _wants_picture(before: Said | None, track: Track, now_mono_ms: int) -> bool:
    if track.confidence < NOTABLE:
        return False
    if before is None or before.pictured == 0.0:
        return True
    return track.confidence > before.pictured and now_mono_ms - before.pictured_mono_ms >= PICTURE_PERIOD_MS
