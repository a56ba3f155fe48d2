"""Detections of what only another source draws: masked losses leave them, and average precision does not see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from models.detectors.decode import Candidates
from models.detectors.manifest import Precision
from models.detectors.report import Foreign, ForeignCount, Report
from models.detectors.training.data import Picture

FROM: Final = 0.5
Verdict = Literal["wrong", "real", "not looked at"]


def verdicts(before: Report | None, networks: dict[Precision, str]) -> dict[tuple[str, tuple[str, ...]], Verdict]:
    """What a person found, by picture and labels; of other networks nothing, they may see something else there."""
    if before is None or before.networks != networks:
        return {}
    return {(row.sha256, row.seen): row.verdict for row in before.foreign}


def foreign(
    labels: tuple[str, ...],
    precision: Precision,
    pictures: Sequence[Picture],
    found: Sequence[Candidates],
    known: dict[tuple[str, tuple[str, ...]], Verdict],
) -> tuple[list[ForeignCount], list[Foreign]]:
    """By source, how many pictures have a label at score .5 that only another source draws; and which."""
    is_drawn = np.any([picture.known for picture in pictures], 0)
    rows: list[Foreign] = []
    sizes: Counter[str] = Counter()
    for picture, seen in zip(pictures, found, strict=True):
        strange = is_drawn & ~picture.known
        if not strange.any() or not picture.known.any():
            continue
        sizes[picture.source] += 1
        numbers = sorted({int(label) for label in seen.classes[seen.scores >= FROM] if strange[label]})
        names = tuple(labels[number] for number in numbers)
        if names:
            verdict = known.get((picture.sha256, names), "not looked at")
            rows.append(
                Foreign(precision=precision, source=picture.source, sha256=picture.sha256, seen=names, verdict=verdict)
            )
    hits = Counter(row.source for row in rows)
    counts = [
        ForeignCount(precision=precision, source=source, pictures=size, seen=hits[source])
        for source, size in sorted(sizes.items())
    ]
    return counts, rows
