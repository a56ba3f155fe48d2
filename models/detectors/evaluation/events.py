"""What becomes of frames in time: alarms in clips, false alarms on pans, and what each part of the gate is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from msgspec.structs import replace

from models import thresholds
from models.detectors.evaluation.bounds import poisson
from models.detectors.evaluation.gate import (
    Sighting,
    count_alarms,
    favour_growth,
    first_events,
    first_frame,
    joined,
    published,
)
from models.detectors.evaluation.splits import Split
from models.detectors.evaluation.watch import PAN_S, Eye
from models.detectors.manifest import Gate, Manifest, Point, Threshold
from models.detectors.report import NOT_MEASURABLE, Alarms, Clip
from models.errors import SourceError

EDGE_FLOOR: Final = 0.15  # what the edge publishes from on where its config is silent
SHOWN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "fire": ("house_fire", "cctv_car_fire"),
        "smoke": ("house_fire", "cctv_smoke", "news_smoke", "wildfire"),
    }
)
"""The clips on which a label is there to be seen from the beginning, or nearly so."""
GROWS_PER_S: Final = 0.1
GROWTH_FACTOR: Final = 1.25
POINTS: Final[tuple[Point, ...]] = ("hint", "alarm")
Change = Callable[[Sighting], Sighting]


class Watched(NamedTuple):
    """What clips and pans gave."""

    clips: tuple[Clip, ...] = ()
    alarms: tuple[Alarms, ...] = ()


class Variant(NamedTuple):
    """A gate that is measured, and what it does to the scores before."""

    name: str
    gate: Gate
    change: Change


def watch(eye: Eye, parts: Sequence[Split], data: Path) -> Watched:
    """Watch all clips, and a pan over each test picture without fire.

    Raises:
        SourceError: a clip is missing.
    """
    manifest = eye.detector.manifest
    paths = {path.stem: path for path in sorted((data / "clips").glob("*.mp4"))}
    missing = {name for names in SHOWN.values() for name in names} - paths.keys()
    if missing:
        raise SourceError(f"{data / 'clips'}: {', '.join(sorted(missing))} missing; give the folder with --data")
    clips = {name: eye.clip(path) for name, path in paths.items()}
    quiet = next(part for part in parts if part.name == "test_neg")
    pans = eye.pans(quiet.pictures, quiet.name)
    alarms: list[Alarms] = []
    for label, name in enumerate(manifest.labels):
        shown = [clips[clip][label] for clip in SHOWN.get(name, ())]
        alarms += _alarm_rows(eye, name, [pan[label] for pan in pans], shown)
    return Watched(tuple(row for name, seen in clips.items() for row in _clip_rows(eye, name, seen)), tuple(alarms))


def _clip_rows(eye: Eye, clip: str, seen: Sequence[Sighting]) -> Iterator[Clip]:
    manifest = eye.detector.manifest
    for label, one in zip(manifest.labels, seen, strict=True):
        threshold = manifest.thresholds[label]
        found = first_events(published(one, EDGE_FLOOR), threshold, manifest.gate)
        yield Clip(
            precision=eye.detector.precision,
            clip=clip,
            label=label,
            length=round(float(one.times_s[-1]), 2),
            frame=first_frame(one, threshold.hint),
            hint=found.hint,
            alarm=found.alarm,
        )


def variants(manifest: Manifest) -> tuple[Variant, ...]:
    """A single frame, the gate that ships, and the same with growth in favour."""
    gate = manifest.gate
    single = Gate(min_hits=1, window_s=gate.window_s, hysteresis=gate.hysteresis)

    def grown(seen: Sighting) -> Sighting:
        return favour_growth(seen, per_s=GROWS_PER_S, factor=GROWTH_FACTOR)

    def same(seen: Sighting) -> Sighting:
        return seen

    shipped = f"{gate.min_hits} in {gate.window_s:g} s"
    return (
        Variant("single frame", single, same),
        Variant(shipped, gate, same),
        Variant(f"{shipped}, growth counts", gate, grown),
    )


def _alarm_rows(eye: Eye, label: str, pans: Sequence[Sighting], clips: Sequence[Sighting]) -> Iterator[Alarms]:
    manifest = eye.detector.manifest
    threshold = manifest.thresholds[label]
    minutes = len(pans) * PAN_S / 60
    for point in POINTS:
        blank = Alarms(
            precision=eye.detector.precision,
            gate=f"flicker: {NOT_MEASURABLE}, no clip without fire has 25 fps",
            label=label,
            point=point,
            minutes=round(minutes, 1),
            frames=sum(len(pan.times_s) for pan in pans),
        )
        for variant in variants(manifest):
            seen = [variant.change(pan) for pan in pans]
            row = replace(blank, gate=variant.name, false_frames=_frames(seen, getattr(threshold, point)))
            count = sum(getattr(first_events(pan, threshold, variant.gate), point) is not None for pan in seen)
            yield _with_cost(_counted(row, count), [variant.change(clip) for clip in clips], threshold, variant.gate)
        if point == "hint":
            for name, hysteresis in (("without hysteresis", 0.0), ("with hysteresis", manifest.gate.hysteresis)):
                gate = replace(manifest.gate, hysteresis=hysteresis)
                row = replace(blank, gate=f"one camera over all pans, {name}")
                row = replace(row, false_frames=_frames(pans, threshold.hint))
                yield _counted(row, count_alarms(joined(pans), threshold, gate, clear_s=thresholds.load().clear_s))
        yield blank


def _frames(seen: Sequence[Sighting], level: float) -> int:
    return sum(int((one.scores >= level).sum()) for one in seen)


def _counted(row: Alarms, count: int) -> Alarms:
    hours = row.minutes / 60
    low, high = poisson(count)
    return replace(
        row,
        events=count,
        per_hour=round(count / hours, 2),
        per_hour_bounds=(round(low / hours, 2), round(high / hours, 2)),
    )


def _with_cost(row: Alarms, clips: Sequence[Sighting], threshold: Threshold, gate: Gate) -> Alarms:
    """Add in how many clips the label is found, and how much later than by the first single frame."""
    lost = []
    for clip in clips:
        at_s = getattr(first_events(published(clip, EDGE_FLOOR), threshold, gate), row.point)
        frame_s = first_frame(clip, getattr(threshold, row.point))
        if at_s is not None and frame_s is not None:
            lost.append(max(at_s - frame_s, 0.0))
    return replace(row, clips=len(clips), found=len(lost), lost_s=round(float(np.mean(lost)), 2) if lost else None)
