"""From frames to events, as the edge and the stream make them: NumPy alone, no clock.

`edge.confirm` publishes at most two observations a second of one track, and every new maximum; `stream.zones` makes a
pre-alarm of enough of them at or above the hint within a window, and lets it confirm an alarm where one of those
stands at or above the alarm point. Here one thing is followed, the best of each frame. `tests/chain/test_gate.py` holds
this against those two: of one thing in view `published` frames give exactly their events, and whatever is in view,
they never raise an event that counting every frame does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.detectors.manifest import Gate, Threshold

PERIOD_S: Final = 0.5
"""The edge publishes one track at most this often, but for new maxima."""
FORGET_S: Final = 3.0
"""What was not seen for longer is a new track to the edge."""
GROWTH_SPAN_S: Final = (1.0, 4.0)
"""Growth is told from boxes that reach back at least and at most so far."""

Floats = NDArray[np.float64]


class Sighting(NamedTuple):
    """The best of one label on each frame.

    Attributes:
        times_s: (n,) ascending.
        scores: (n,) 0 where nothing was seen.
        areas: (n,) share of the frame that the best box covers.
    """

    times_s: Floats
    scores: Floats
    areas: Floats


class Events(NamedTuple):
    """When the first event came at each point, in seconds; None: never."""

    hint: float | None
    alarm: float | None


def published(seen: Sighting, floor: float) -> Sighting:
    """Those frames of a single track that the edge would publish."""
    kept: list[int] = []
    best, said_s, seen_s = 0.0, -np.inf, -np.inf
    for index, (time_s, score) in enumerate(zip(seen.times_s, seen.scores, strict=True)):
        if score < floor:
            continue
        if time_s - seen_s > FORGET_S:
            best, said_s = 0.0, -np.inf
        seen_s = time_s
        if time_s - said_s >= PERIOD_S or score > best:
            kept.append(index)
            best, said_s = max(best, score), time_s
    return Sighting(*(part[kept] for part in seen))


def first_events(seen: Sighting, threshold: Threshold, gate: Gate) -> Events:
    """The first event at each point: enough hits at or above the hint, and one of them at or above the alarm."""
    is_hit = seen.scores >= threshold.hint
    times, scores = seen.times_s[is_hit], seen.scores[is_hit]
    spans = range(gate.min_hits - 1, len(times))
    enough = [last for last in spans if times[last] - times[last - gate.min_hits + 1] <= gate.window_s]
    strong = [last for last in enough if scores[last - gate.min_hits + 1 : last + 1].max() >= threshold.alarm]
    return Events(*(round(float(times[found[0]]), 2) if found else None for found in (enough, strong)))


def first_frame(seen: Sighting, threshold: float) -> float | None:
    """When a single frame first reaches a threshold."""
    hits = seen.times_s[seen.scores >= threshold]
    return round(float(hits[0]), 2) if len(hits) else None


def count_alarms(seen: Sighting, threshold: Threshold, gate: Gate, clear_s: float) -> int:
    """Separate events of one camera: each ends when nothing stood within the hysteresis of the hint for `clear_s`."""
    hits: list[float] = []
    alive_s: float | None = None
    count = 0
    for time_s, score in zip(seen.times_s.tolist(), seen.scores.tolist(), strict=True):
        if alive_s is not None and time_s - alive_s > clear_s:
            alive_s, hits = None, []
        if alive_s is not None and score >= threshold.hint * (1 - gate.hysteresis):
            alive_s = time_s
        if score < threshold.hint:
            continue
        hits = [hit for hit in hits if time_s - hit <= gate.window_s] + [time_s]
        if alive_s is None and len(hits) >= gate.min_hits:
            count, alive_s = count + 1, time_s
    return count


def growth(seen: Sighting) -> Floats:
    """(n,) slope of ln area per second over what was seen before each frame; not a number before it can be told."""
    told = np.full(len(seen.times_s), np.nan)
    least_s, most_s = GROWTH_SPAN_S
    for index, now_s in enumerate(seen.times_s):
        part = (seen.times_s <= now_s) & (now_s - seen.times_s <= most_s) & (seen.areas > 0)
        times = seen.times_s[part]
        if len(times) >= 3 and times[-1] - times[0] >= least_s:
            told[index] = np.polyfit(times, np.log(seen.areas[part]), 1)[0]
    return told


def favour_growth(seen: Sighting, *, per_s: float, factor: float) -> Sighting:
    """The same with the scores of what grows by `per_s` or more raised by `factor`: a variant that is measured."""
    grows = np.nan_to_num(growth(seen), nan=-np.inf) >= per_s
    return seen._replace(scores=np.where(grows, np.minimum(seen.scores * factor, 1.0), seen.scores))


def joined(parts: Sequence[Sighting]) -> Sighting:
    """One after the other, as one camera would see them that turned on and on."""
    starts = np.cumsum([0.0, *(part.times_s[-1] + PERIOD_S for part in parts[:-1])])
    times = [part.times_s + start for part, start in zip(parts, starts, strict=True)]
    return Sighting(
        np.concatenate(times), np.concatenate([p.scores for p in parts]), np.concatenate([p.areas for p in parts])
    )
