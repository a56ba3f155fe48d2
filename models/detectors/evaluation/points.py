"""Operating points, fixed before any test set or clip is read, and what they do picture by picture.

A camera looks at a quiet street nearly all of the time, and what an operator can stand is a number of false alarms. So
for fire and smoke the points bound the share of quiet pictures on which anything is seen, at least `LEAST_QUIET` of
them: pictures of the training sources that training never saw (held out by hash with their near twins,
`training.data.hold_out`, and `street_val`), and validation pictures on which nothing is boxed. For things that stand in
every street, the points bound how many detections on validation pictures are wrong.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.decode import Candidates
from models.detectors.evaluation.bounds import clopper_pearson
from models.detectors.evaluation.gate import Sighting, first_events
from models.detectors.manifest import Gate, Manifest, Precision, Threshold
from models.detectors.report import Reading
from models.detectors.training.data import Picture
from models.errors import SourceError

LEAST_QUIET: Final = 1_000
FALSE_SHARE: Final = {"hint": 0.015, "alarm": 0.003}
"""Aimed at are 22 and 4 of 431 pictures of streets never seen. The sources of the quiet pictures are those of training,
so the bounds are taken at a third of that."""
LEAST_POINT: Final = 0.18  # the edge publishes from .15 on, and hysteresis looks a tenth below the hint
RIGHT_SHARE: Final = {"hint": 0.6, "alarm": 0.9}
GATES: Final = tuple(Gate(min_hits=hits) for hits in (3, 2, 4, 6))
"""Candidates; the first stays unless another is clearly better."""


def best_scores(found: Sequence[Candidates], label: int) -> NDArray[np.float64]:
    """The highest score of a class on each picture, 0 where there is none."""
    return np.array([f.scores[f.classes == label].max(initial=0.0) for f in found], np.float64)


def bound_false(scores: NDArray[np.float64], share: float) -> float:
    """The lowest threshold, to a thousandth, that at most `share` of `scores` reach."""
    allowed = int(share * len(scores))
    first_refused = float(np.sort(scores)[::-1][allowed]) if allowed < len(scores) else 0.0
    return round(math.floor(first_refused * 1000) / 1000 + 0.001, 3)


def quiet_threshold(scores: NDArray[np.float64]) -> Threshold:
    """Both points of a label that burns or smokes, from its best score on each quiet picture.

    Raises:
        SourceError: there are too few pictures to bound a share of a few in a thousand.
    """
    if len(scores) < LEAST_QUIET:
        raise SourceError(f"{len(scores)} quiet pictures; {LEAST_QUIET} are needed to fix points, give all the tars")
    return Threshold(**{point: max(bound_false(scores, share), LEAST_POINT) for point, share in FALSE_SHARE.items()})


def right_threshold(scores: NDArray[np.float64], is_right: NDArray[np.bool_]) -> Threshold:
    """Both points of a thing of the street: the lowest scores from which on the shares of `RIGHT_SHARE` are right.

    Args:
        scores: (n,) of the detections.
        is_right: (n,) whether each is matched by a true box.
    """
    order = np.argsort(-scores, kind="stable")
    share = np.cumsum(is_right[order]) / np.arange(1, len(order) + 1)
    points = {}
    for point, least in RIGHT_SHARE.items():
        enough = np.flatnonzero(share >= least)
        lowest = float(scores[order[enough[-1]]]) if len(enough) else 1.0
        points[point] = max(math.floor(lowest * 1000) / 1000, LEAST_POINT)
    return Threshold(hint=points["hint"], alarm=max(points.values()))


def choose_gate(
    quiet: Sequence[Sequence[Sighting]], lit: Sequence[Sequence[Sighting]], thresholds: Sequence[Threshold]
) -> Gate:
    """The first of `GATES`, unless another halves the false events and comes at most a second later.

    Args:
        quiet: by label, pans over which nothing is.
        lit: by label, pans over streets where something burns.
        thresholds: by label.
    """
    false, seconds = _cost(quiet, lit, thresholds, GATES[0])
    for gate in GATES[1:]:
        fewer, later = _cost(quiet, lit, thresholds, gate)
        if false and fewer <= false / 2 and later <= seconds + 1:
            return gate
    return GATES[0]


def _cost(
    quiet: Sequence[Sequence[Sighting]],
    lit: Sequence[Sequence[Sighting]],
    thresholds: Sequence[Threshold],
    gate: Gate,
) -> tuple[int, float]:
    """False events, and the mean seconds to a right one; a pan without one counts as its whole length."""
    false, waited = 0, []
    for over_nothing, over_fire, threshold in zip(quiet, lit, thresholds, strict=True):
        false += sum(first_events(pan, threshold, gate).hint is not None for pan in over_nothing)
        for pan in over_fire:
            found_s = first_events(pan, threshold, gate).hint
            waited.append(float(pan.times_s[-1]) if found_s is None else found_s)
    return false, float(np.mean(waited)) if waited else 0.0


def readings(
    manifest: Manifest, precision: Precision, split: str, pictures: Sequence[Picture], found: Sequence[Candidates]
) -> Iterator[Reading]:
    """At both points, on how many pictures with a label it was seen, and on how many without, by source."""
    for label, name in enumerate(manifest.labels):
        threshold = manifest.thresholds[name]
        groups: dict[tuple[str, str], list[float]] = defaultdict(list)
        for picture, score in zip(pictures, best_scores(found, label).tolist(), strict=True):
            if not picture.known[label]:
                continue
            truth = "present" if picture.has(label) else "absent"
            for source in ("all", picture.source) if split.startswith("test") else ("all",):
                groups[source, truth].append(score)
        sources = {source for source, _ in groups} - {"all"}
        for (source, truth), scores in sorted(groups.items()):
            if source != "all" and len(sources) == 1:
                continue
            hint, alarm = (sum(score >= point for score in scores) for point in (threshold.hint, threshold.alarm))
            yield Reading(
                precision=precision,
                split=split,
                source=source,
                label=name,
                truth="present" if truth == "present" else "absent",
                pictures=len(scores),
                hint=hint,
                alarm=alarm,
                hint_bounds=clopper_pearson(hint, len(scores)),
                alarm_bounds=clopper_pearson(alarm, len(scores)),
            )
