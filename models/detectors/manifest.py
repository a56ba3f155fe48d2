"""`<name>.toml` beside `<name>.onnx`: what a network is, what goes in, what comes out, and what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from models.content import Content, Record, convert, read_toml
from models.errors import ConfigError, Problem

ZOO: Final = Path(__file__).parent / "zoo"

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Label = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Side = Annotated[int, Meta(ge=32, le=4096, multiple_of=32)]
Point = Literal["hint", "alarm"]


class Input(Record, frozen=True, kw_only=True):
    """How a picture goes in: scaled to fit, at the top left, the rest filled with grey.

    Attributes:
        name: of the graph's input.
        layout: `nhwc` takes (1, h, w, 3), `nchw` (1, 3, h, w).
        scale: what a channel's 0..255 is multiplied by where `dtype` is `float32`.
        padding: grey level of what the picture does not cover.
    """

    name: str = "picture"
    height_px: Side = 320
    width_px: Side = 320
    layout: Literal["nhwc", "nchw"] = "nhwc"
    dtype: Literal["uint8", "float32"] = "uint8"
    channels: Literal["bgr", "rgb"] = "bgr"
    scale: float = 1.0
    padding: Annotated[int, Meta(ge=0, le=255)] = 114


class Threshold(Record, frozen=True, kw_only=True):
    """Operating points of one label, chosen on validation and held-out training sources before any test was read.

    Attributes:
        hint: from here on a candidate counts as a hit.
        alarm: from here on it can confirm an alarm.
    """

    hint: Share
    alarm: Share


class Source(Record, frozen=True, kw_only=True):
    """Where training pictures come from, and under which licence their publisher gave them."""

    name: str
    repository: str
    licence: str
    pictures: Count


class Score(Record, frozen=True, kw_only=True):
    """Average precision of one label on one split, on the pictures where it is labelled, by pycocotools.

    Attributes:
        with_it: pictures that hold the label, of `pictures`.
        boxes: true boxes.
        hit_ap: IoU replaced by intersection over predicted area, threshold .5: for truth drawn larger than the thing.
    """

    split: str
    label: Label
    pictures: Count
    with_it: Count
    boxes: Count
    ap50_95: Share
    ap50: Share
    ap30: Share
    hit_ap: Share


class Reading(Record, frozen=True, kw_only=True):
    """Pictures on which a label was seen at an operating point.

    Attributes:
        truth: whether those pictures hold the label: `present` makes `seen` the recall, `absent` false pictures.
    """

    split: str
    source: str = "all"
    label: Label
    point: Point
    truth: Literal["present", "absent"]
    seen: Count
    pictures: Count


class Clip(Record, frozen=True, kw_only=True):
    """Seconds until three hits of a label within ten seconds, frames at `fps`; no number: never."""

    clip: str
    label: Label
    point: Point
    fps: float
    seconds: Annotated[float, Meta(ge=0)] | None = None


class Manifest(Content, frozen=True, kw_only=True):
    """A detector as it is shipped.

    Attributes:
        file: of the network, beside the manifest.
        sha256: of that file.
        family: how outputs are decoded; `anchors`, ours: `boxes` (1, n, 4) in input pixels and `scores` (1, n, labels).
        labels: in the order of the scores.
        overlap: IoU above which the lower of two boxes of a label goes.
        parameters: trained numbers in the network.
        splits: what the splits of `scores` and `readings` are, in words.
    """

    name: Label
    version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+$")]
    file: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+\.onnx$")]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    family: Literal["anchors"]
    labels: Annotated[tuple[Label, ...], Meta(min_length=1)]
    licence: str
    thresholds: dict[Label, Threshold]
    input: Input = Input()
    overlap: Share = 0.6
    parameters: Count = 0
    sources: tuple[Source, ...] = ()
    splits: dict[str, str] = msgspec.field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    readings: tuple[Reading, ...] = ()
    clips: tuple[Clip, ...] = ()


def path_of(name_or_path: str | Path) -> Path:
    """Where the manifest of a shipped detector, or of one's own, lies.

    Args:
        name_or_path: `fire_smoke`, or the path of a manifest or of a network beside its manifest.
    """
    path = Path(name_or_path)
    if path.suffix in {".toml", ".onnx"}:
        return path.with_suffix(".toml")
    return ZOO / f"{name_or_path}.toml"


def read_manifest(name_or_path: str | Path) -> Manifest:
    """Read a manifest; the network is not opened.

    Raises:
        ConfigError: no such manifest, or every mistake in it.
    """
    path = path_of(name_or_path)
    if not path.is_file():
        shipped = ", ".join(sorted(found.stem for found in ZOO.glob("*.toml"))) or "none"
        remedy = f"use a shipped detector ({shipped}) or the path of a manifest (.toml)"
        raise ConfigError([Problem(path, "$", f"there is no detector {name_or_path}", remedy)])
    problems: list[Problem] = []
    manifest = convert(read_toml(path), Manifest, file=path, path="", problems=problems)
    if manifest is not None:
        problems += _threshold_problems(manifest, path)
    if manifest is None or problems:
        raise ConfigError(problems)
    return manifest


def _threshold_problems(manifest: Manifest, path: Path) -> list[Problem]:
    remedy = "give each label one threshold table"
    problems = [
        Problem(path, f"thresholds.{label}", "labels and thresholds differ", remedy)
        for label in sorted(manifest.thresholds.keys() ^ set(manifest.labels))
    ]
    for label, threshold in manifest.thresholds.items():
        if threshold.hint > threshold.alarm:
            what = f"hint {threshold.hint} is above alarm {threshold.alarm}"
            problems.append(Problem(path, f"thresholds.{label}.hint", what, "lower hint or raise alarm"))
    return problems


def thresholds_of(name_or_path: str | Path) -> dict[str, tuple[float, float]]:
    """(hint, alarm) of each label of a detector.

    Raises:
        ConfigError: no such manifest, or every mistake in it.
    """
    return {label: (point.hint, point.alarm) for label, point in read_manifest(name_or_path).thresholds.items()}
