"""`<name>.scores.json`: what `gridwarden eval` measured of a detector, and what it saw on fifty pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from models.content import Record, read_bytes
from models.detectors.manifest import Count, Hash, Label, Manifest, Point, Precision, Score, Share
from models.errors import ConfigError, Problem

Seconds = Annotated[float, Meta(ge=0)]
NOT_MEASURABLE = "not measurable"


class Reading(Record, frozen=True, kw_only=True):
    """Pictures on which a label was seen at the operating points.

    Attributes:
        truth: whether those pictures hold the label: `present` makes the counts recall, `absent` false pictures.
        hint_bounds: exact 95 % bounds of the share (Clopper and Pearson), likewise `alarm_bounds`.
    """

    precision: Precision
    split: str
    source: str
    label: Label
    truth: Literal["present", "absent"]
    pictures: Count
    hint: Count
    alarm: Count
    hint_bounds: tuple[Share, Share]
    alarm_bounds: tuple[Share, Share]


class Clip(Record, frozen=True, kw_only=True):
    """Seconds from the start of a clip to the first event at each point; None: never.

    Attributes:
        frame: to the first single frame at the hint: what the gate costs is the difference.
    """

    precision: Precision
    clip: str
    label: Label
    length: Seconds
    frame: Seconds | None
    hint: Seconds | None
    alarm: Seconds | None


class Alarms(Record, frozen=True, kw_only=True):
    """False alarms while the camera pans over streets where nothing is.

    Attributes:
        gate: what makes an event of frames.
        false_frames: single frames at or above the point.
        events: false alarms; None: not measurable.
        per_hour: the count by the hour.
        per_hour_bounds: exact 95 % bounds of that (Poisson).
        found: of the `clips` in which the label is to be seen, those with an event.
        lost_s: mean seconds by which those events come after the first single frame.
    """

    precision: Precision
    gate: str
    label: Label
    point: Point
    minutes: float
    frames: Count
    false_frames: Count = 0
    events: Count | None = None
    per_hour: float | None = None
    per_hour_bounds: tuple[float, float] | None = None
    clips: Count = 0
    found: Count = 0
    lost_s: float | None = None


class Foreign(Record, frozen=True, kw_only=True):
    """A picture of one source on which something only the other source draws was seen at score .5.

    Attributes:
        verdict: what a person found there: `wrong`, or `real`: it is there and nobody drew it.
    """

    precision: Precision
    source: str
    sha256: Hash
    seen: tuple[Label, ...]
    verdict: Literal["wrong", "real", "not looked at"]


class ForeignCount(Record, frozen=True, kw_only=True):
    """Of all pictures of one source, those with such a detection."""

    precision: Precision
    source: str
    pictures: Count
    seen: Count


class SeenBox(msgspec.Struct, frozen=True, array_like=True):
    """One box: corners as shares of the picture."""

    label: Label
    confidence: float
    x1: float
    y1: float
    x2: float
    y2: float


class Report(Record, frozen=True, kw_only=True):
    """All figures of one detector.

    Attributes:
        networks: SHA-256 of each network that was scored.
        points_sha256: seal of the points at which the tests were read.
        splits: what the splits are, in words.
        exact: scores of the INT8 network with `session.x64quantprecision`, as a core without saturation sums.
        int8_operators: what is run of the INT8 network, once ONNX Runtime has rewritten it.
        pictures: SHA-256 of a picture, and what the FP32 network sees there from confidence .05 on.
    """

    name: Label
    version: str
    networks: dict[Precision, Hash]
    points_sha256: Hash
    splits: dict[str, str]
    scores: tuple[Score, ...]
    readings: tuple[Reading, ...]
    exact: tuple[Score, ...] = ()
    int8_operators: dict[str, int] = msgspec.field(default_factory=dict)
    clips: tuple[Clip, ...] = ()
    alarms: tuple[Alarms, ...] = ()
    foreign_counts: tuple[ForeignCount, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    pictures: dict[Hash, tuple[SeenBox, ...]] = msgspec.field(default_factory=dict)


def report_path(manifest_path: Path) -> Path:
    """Where the scores of a manifest lie: beside it."""
    return manifest_path.with_suffix(".scores.json")


def read_report(path: Path) -> Report | None:
    """The scores of a detector, or None where it was never scored.

    Raises:
        ConfigError: the file is no such report.
    """
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(read_bytes(path), type=Report)
    except msgspec.DecodeError as error:
        remedy = "score the detector again with `gridwarden eval --write`"
        raise ConfigError([Problem(path, "$", f"is no report: {error}", remedy)]) from error


def check_points(manifest: Manifest, path: Path, report: Report | None) -> None:
    """Refuse operating points that were not fixed before the tests were read.

    Raises:
        ConfigError: the points were edited since they were sealed, or since this very network was scored, or nobody can
            tell any more.
    """
    is_sealed = manifest.points_sha256 is not None or manifest.scores
    if is_sealed and manifest.points_sha256 != manifest.seal:
        what = "the operating points, the gate, the networks or their decoding were edited after the points were sealed"
        remedy = (
            "restore the file, or choose points anew with `gridwarden publish`; an operator's go into thresholds.toml"
        )
        raise ConfigError([Problem(path, "points_sha256", what, remedy)])
    if manifest.scores and report is None:
        what = "it was scored, and what the tests were read with is not beside it"
        raise ConfigError([Problem(path, "scores", what, f"restore {report_path(path).name}")])
    is_same = report is not None and report.networks.get("fp32") == manifest.sha256
    if report is not None and is_same and report.points_sha256 != manifest.seal:
        what = "the tests were read with other points for this very network"
        remedy = f"restore the points that {report_path(path).name} names, or train again"
        raise ConfigError([Problem(path, "points_sha256", what, remedy)])
