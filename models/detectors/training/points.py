"""Operating points and what they do, picture by picture and in clips. NumPy alone.

The points are fixed before any test set or clip is read. They bound false events, not recall: a camera looks at a quiet
street nearly all of the time, and what an operator can stand is a number of false alarms. An event is what the stream
counts, `HITS` within `WINDOW_S`, so the bound is counted on slow pans over pictures of the training sources that
training never saw, near twins included (`data.hold_out`), and of `street_val`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.detectors.decode import Candidates
from models.detectors.manifest import Manifest, Point, Reading, Threshold
from models.detectors.training.data import LABELS, SMOKE, Picture

FALSE_SHARE: Final = {"hint": 0.05, "alarm": 0.01}
"""Share of pans over held-out pictures without fire or smoke in which a point may be reached by enough frames."""
PAN_FRAMES: Final = 16  # 8 s at the two observations per second that an edge publishes of one track
PAN_WINDOW: Final = 0.75
POINTS: Final[tuple[Point, ...]] = ("hint", "alarm")
HITS: Final = 3  # within a window of
WINDOW_S: Final = 10.0  # as `thresholds.toml` ships them


def is_labelled(picture: Picture, label: int) -> bool:
    """Whether a missing box of a class means that the picture has none."""
    return label != SMOKE or picture.knows_smoke


def best_scores(found: Sequence[Candidates], label: int) -> NDArray[np.float64]:
    """The highest score of a class on each picture, 0 where there is none."""
    return np.array([f.scores[f.classes == label].max(initial=0.0) for f in found], np.float64)


def pan(image: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """What a camera would see that turns slowly from the left of a picture to its right."""
    height, width = image.shape[:2]
    rows, columns = max(int(height * PAN_WINDOW), 1), max(int(width * PAN_WINDOW), 1)
    top = (height - rows) // 2
    for step in range(PAN_FRAMES):
        left = (width - columns) * step // (PAN_FRAMES - 1)
        yield image[top : top + rows, left : left + columns]


def choose_thresholds(pans: Sequence[Sequence[Candidates]]) -> dict[str, Threshold]:
    """Both points of each label, from what was detected in the frames of each pan over which nothing burns."""
    chosen = {}
    for label, name in enumerate(LABELS):
        # A pan is shorter than the window: it is an event up to the score that its third best frame reaches.
        scores = np.array([np.sort(best_scores(frames, label))[-HITS] for frames in pans])
        chosen[name] = Threshold(**{point: bound_false(scores, share) for point, share in FALSE_SHARE.items()})
    return chosen


def bound_false(scores: NDArray[np.float64], share: float) -> float:
    """The lowest threshold, to a thousandth, that at most `share` of `scores` reach."""
    allowed = int(share * len(scores))
    first_refused = float(np.sort(scores)[::-1][allowed]) if allowed < len(scores) else 0.0
    return round(math.floor(first_refused * 1000) / 1000 + 0.001, 3)


def readings(
    manifest: Manifest, split: str, pictures: Sequence[Picture], found: Sequence[Candidates]
) -> Iterator[Reading]:
    """At each point: on how many pictures with a label it was seen, and on how many without; `test_neg` by source."""
    for label, name in enumerate(LABELS):
        groups: dict[tuple[str, str], list[float]] = defaultdict(list)
        for picture, score in zip(pictures, best_scores(found, label).tolist(), strict=True):
            if not is_labelled(picture, label):
                continue
            truth = "present" if (picture.boxes[:, 0] == label).any() else "absent"
            for source in ("all", picture.source) if split == "test_neg" else ("all",):
                groups[source, truth].append(score)
        for (source, truth), scores in sorted(groups.items()):
            for point in POINTS:
                seen = sum(score >= getattr(manifest.thresholds[name], point) for score in scores)
                fields = {"split": split, "source": source, "label": name, "point": point, "truth": truth}
                yield msgspec.convert(fields | {"seen": seen, "pictures": len(scores)}, Reading)


def seconds_to(times_s: Sequence[float], scores: Sequence[float], threshold: float) -> float | None:
    """When the `HITS`-th hit within `WINDOW_S` falls, or None."""
    hits = [time for time, score in zip(times_s, scores, strict=True) if score >= threshold]
    for first, last in zip(hits, hits[HITS - 1 :], strict=False):
        if last - first <= WINDOW_S:
            return round(last, 2)
    return None
