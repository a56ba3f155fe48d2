"""Everything that is measured of a shipped detector, at points that were fixed before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.detectors import load
from models.detectors.decode import Candidates
from models.detectors.evaluation import events
from models.detectors.evaluation.foreign import foreign, verdicts
from models.detectors.evaluation.integers import operators
from models.detectors.evaluation.points import readings
from models.detectors.evaluation.scoring import average_precision, calibration_error, matches, runs_of
from models.detectors.evaluation.splits import Split, splits
from models.detectors.evaluation.watch import LEAST, Eye
from models.detectors.manifest import Manifest, Precision, Score, path_of, read_manifest
from models.detectors.report import Reading, Report, SeenBox, check_points, read_report, report_path
from models.detectors.runtime import Detector
from models.detectors.training.data import thumbnails

KEPT_PICTURES: Final = 50


@dataclass(frozen=True, slots=True)
class Seen:
    """One split through one network."""

    split: Split
    precision: Precision
    found: list[Candidates]


def evaluate(name_or_path: str | Path, data: Path, cache: Path | None = None) -> Report:
    """Score a detector in every precision that it ships.

    Args:
        name_or_path: a shipped detector, or the path of a manifest, of one's own too.
        data: folder of the picture tars and clips.
        cache: folder that keeps what was seen, or None.

    Raises:
        ConfigError: the points were edited after scoring, or the detector cannot be opened.
        SourceError: the pictures cannot be read.
    """
    path = path_of(name_or_path)
    manifest, before = read_manifest(path), read_report(report_path(path))
    check_points(manifest, path, before)
    detectors = {precision: load(path, precision=precision) for precision in manifest.precisions}
    eyes = {precision: Eye(detector, cache) for precision, detector in detectors.items()}
    parts = list(splits(manifest.labels, data))
    seen = [Seen(part, key, eye.pictures(part.pictures, part.name)) for part in parts for key, eye in eyes.items()]
    watched = events.watch(eyes[manifest.precision], parts, data) if "fire" in manifest.labels else events.Watched()
    networks = {precision: manifest.network(precision).sha256 for precision in manifest.precisions}
    known = verdicts(before, networks)
    strange = [
        foreign(manifest.labels, one.precision, one.split.pictures, one.found, known)
        for one in seen
        if one.split.is_test
    ]
    return Report(
        name=manifest.name,
        version=manifest.version,
        networks=networks,
        points_sha256=manifest.seal,
        splits={part.name: part.meaning for part in parts},
        scores=tuple(score for one in seen if one.split.has_ap for score in _scores(manifest, one)),
        readings=tuple(row for one in seen for row in _readings(manifest, one)),
        exact=tuple(_exact(path, manifest, parts, cache)),
        int8_operators=operators(path.with_name(manifest.int8.file)) if manifest.int8 else {},
        clips=watched.clips,
        alarms=watched.alarms,
        foreign_counts=tuple(row for counts, _ in strange for row in counts),
        foreign=tuple(row for _, rows in strange for row in rows),
        pictures=kept_pictures(detectors["fp32"], parts),
    )


def _scores(manifest: Manifest, seen: Seen) -> Iterator[Score]:
    pictures = seen.split.pictures
    runs = runs_of(thumbnails(pictures)) if seen.split.has_runs else None
    for label, name in enumerate(manifest.labels):
        found = average_precision(pictures, seen.found, label, runs)
        error = round(calibration_error(*matches(pictures, seen.found, label)), 4)
        yield Score(
            precision=seen.precision, split=seen.split.name, label=name, calibration_error=error, **found._asdict()
        )


def _readings(manifest: Manifest, seen: Seen) -> Iterator[Reading]:
    return readings(manifest, seen.precision, seen.split.name, seen.split.pictures, seen.found)


def _exact(path: Path, manifest: Manifest, parts: Sequence[Split], cache: Path | None) -> Iterator[Score]:
    """The INT8 network once more, with sums that cannot saturate."""
    if manifest.int8 is None:
        return
    eye = Eye(Detector(path, precision="int8", is_exact=True), cache)
    for part in parts:
        if part.has_ap:
            yield from _scores(manifest, Seen(part, "int8", eye.pictures(part.pictures, f"{part.name}-exact")))


def kept_pictures(detector: Detector, parts: Sequence[Split]) -> dict[str, tuple[SeenBox, ...]]:
    """What is seen on the fifty pictures of the lowest hashes, so that whoever has them can check the network."""
    detector.floor = LEAST
    # Of validation and test tars alone: nobody should have to read the training pictures for a check.
    chosen = {p.sha256: p for part in parts if part.has_ap or part.is_test for p in part.pictures}
    return {
        sha256: tuple(
            SeenBox(box.label, *(round(v, 5) for v in (box.confidence, box.x1, box.y1, box.x2, box.y2)))
            for box in detector.detect(chosen[sha256].image)
        )
        for sha256 in sorted(chosen)[:KEPT_PICTURES]
    }
