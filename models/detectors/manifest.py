"""`<name>.toml` beside `<name>.onnx`: what a network is, what goes in, what comes out, and what was measured."""

from __future__ import annotations

import hashlib
import math
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
Side = Annotated[int, Meta(ge=16, le=4096)]
Triple = tuple[float, float, float]
Positive = Annotated[float, Meta(gt=0)]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Family = Literal["anchors", "yolov5", "yolov8", "yolov10", "yolox", "rtdetr", "ssd", "classes"]
File = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+\.onnx$")]
Point = Literal["hint", "alarm"]
Precision = Literal["fp32", "int8"]


class Input(Record, frozen=True, kw_only=True):
    """How a picture goes in.

    Attributes:
        name: of the graph's input.
        layout: `nhwc` takes (1, h, w, 3), `nchw` (1, 3, h, w).
        fit: `letterbox` scales it to the top left and fills the rest with grey; `stretch` fills all of the input.
        scale: what a channel's 0..255 is multiplied by where `dtype` is `float32`,
        mean: what is taken off then, in the order of `channels`,
        deviation: and what the rest is divided by.
        padding: grey level of what the picture does not cover.
        multiple_px: where above 0, the graph leaves its sides open, and a picture is drawn into no more of the input
            than it covers, in multiples of this: one of 16:9 costs 320 x 192 and not 320 x 320. With `letterbox` only.
    """

    name: str = "picture"
    height_px: Side = 320
    width_px: Side = 320
    layout: Literal["nhwc", "nchw"] = "nhwc"
    dtype: Literal["uint8", "float32"] = "uint8"
    channels: Literal["bgr", "rgb"] = "bgr"
    fit: Literal["letterbox", "stretch"] = "letterbox"
    scale: float = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    deviation: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    padding: Annotated[int, Meta(ge=0, le=255)] = 114
    multiple_px: Annotated[int, Meta(ge=0, le=256)] = 0

    def cut_to(self, height: int, width: int) -> Input:
        """The input that a picture of so many pixels is drawn into."""
        if not self.multiple_px:
            return self
        scale = min(self.height_px / height, self.width_px / width)
        rows, columns = (
            max(math.ceil(round(side * scale) / self.multiple_px), 1) * self.multiple_px for side in (height, width)
        )
        return msgspec.structs.replace(self, height_px=rows, width_px=columns)


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


class Gate(Record, frozen=True, kw_only=True):
    """What makes an event of single frames; the stream does the same by `thresholds.toml`.

    Attributes:
        min_hits: frames at or above the hint, within
        window_s: make an event.
        hysteresis: an event goes on while something stands at most this share below the hint.
    """

    min_hits: Annotated[int, Meta(ge=1)] = 3
    window_s: Annotated[float, Meta(gt=0)] = 10.0
    hysteresis: Annotated[float, Meta(ge=0, lt=1)] = 0.1


class Variant(Record, frozen=True, kw_only=True):
    """A network in one precision."""

    file: File
    sha256: Hash


class Score(Record, frozen=True, kw_only=True):
    """Average precision of one label on one split, on the pictures where it is labelled, by pycocotools.

    Attributes:
        with_it: pictures that hold the label, of `pictures`.
        boxes: true boxes.
        hit_ap: IoU replaced by intersection over predicted area, threshold .5: for truth drawn larger than the thing.
        area_ratio: mean ratio of predicted to true area of those hits; 0 where there is none.
        calibration_error: how far scores are from the share of detections that is right, at IoU .5.
        ap50_interval: 95 % interval of `ap50`, by drawing runs of similar frames with replacement.
        hit_ap_interval: likewise of `hit_ap`.
    """

    precision: Precision
    split: str
    label: Label
    pictures: Count
    with_it: Count
    boxes: Count
    ap50_95: Share
    ap50: Share
    ap30: Share
    hit_ap: Share
    area_ratio: Annotated[float, Meta(ge=0)] = 0.0
    calibration_error: Share = 0.0
    ap50_interval: tuple[Share, Share] | None = None
    hit_ap_interval: tuple[Share, Share] | None = None


class Manifest(Content, frozen=True, kw_only=True):
    """A detector as it is shipped.

    Attributes:
        file: of the network, beside the manifest.
        sha256: of that file.
        int8: the same network in 8-bit integers, where there is one.
        precision: which of the two is opened where nobody says.
        family: how outputs are decoded (`models.detectors.decode`); None: it is guessed from their shapes and said.
        activation: what turns the scores into 0..1 where the graph does not.
        external: SHA-256 of each file, in the folder of the network, that holds weights of it.
        labels: in the order of the scores.
        overlap: IoU above which the lower of two boxes of a label goes.
        thresholds: operating points of each label; what an operator's `thresholds.toml` says goes before them.
        points_sha256: `seal` as it was when the points were written, before any test was read.
        parameters: trained numbers in the network.
        scores: as `gridwarden eval --write` put them here; all figures are in `<name>.scores.json` (`report.py`).
    """

    name: Label
    version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+$")]
    file: File
    sha256: Hash
    int8: Variant | None = None
    precision: Precision = "fp32"
    labels: Annotated[tuple[Label, ...], Meta(min_length=1)]
    licence: str
    thresholds: dict[Label, Threshold]
    gate: Gate = Gate()
    points_sha256: Hash | None = None
    family: Family | None = None
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    external: dict[str, Hash] = msgspec.field(default_factory=dict)
    input: Input = Input()
    overlap: Share = 0.6
    parameters: Count = 0
    sources: tuple[Source, ...] = ()
    scores: tuple[Score, ...] = ()

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those that are shipped."""
        return ("fp32", "int8") if self.int8 else ("fp32",)

    def network(self, precision: Precision | None = None) -> Variant:
        """File and hash of one precision; of the default one where none is named.

        Raises:
            ConfigError: it is not shipped.
        """
        wanted = precision or self.precision
        if wanted == "fp32":
            return Variant(file=self.file, sha256=self.sha256)
        if self.int8 is None:
            what, remedy = f"{self.name} has no {wanted} network", 'use precision = "fp32"'
            raise ConfigError([Problem(f"{self.name}.toml", "int8", what, remedy)])
        return self.int8

    @property
    def seal(self) -> str:
        """SHA-256 over the operating points, the gate, and the networks and decoding that they were chosen for."""
        networks = [self.network(precision).sha256 for precision in self.precisions]
        sealed: list[object] = [self.labels, self.thresholds, self.gate, self.overlap, networks]
        # What goes in and what becomes of the scores moves the points as well. Left out where it is as ours, so that
        # the seals of our detectors stay those that were made before a test was read.
        if (self.activation, self.input) != ("none", Input()):
            sealed += [self.activation, self.input]
        return hashlib.sha256(msgspec.json.encode(sealed, order="deterministic")).hexdigest()


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
        if manifest.precision == "int8" and manifest.int8 is None:
            problems.append(Problem(path, "precision", "there is no int8 network", "name it under [int8]"))
        problems += _side_problems(manifest.input, path)
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


def _side_problems(wanted: Input, path: Path) -> list[Problem]:
    multiple = wanted.multiple_px
    if not multiple:
        return []
    problems = [
        Problem(path, f"input.{name}", f"{side} is no multiple of {multiple}", "correct it, or set multiple_px = 0")
        for name, side in (("height_px", wanted.height_px), ("width_px", wanted.width_px))
        if side % multiple
    ]
    if wanted.fit == "stretch":
        what = "a picture that is stretched fills all of the input"
        problems.append(Problem(path, "input.multiple_px", what, 'use fit = "letterbox", or multiple_px = 0'))
    return problems


def thresholds_of(name_or_path: str | Path) -> dict[str, tuple[float, float]]:
    """(hint, alarm) of each label of a detector.

    Raises:
        ConfigError: no such manifest, or every mistake in it.
    """
    return {label: (point.hint, point.alarm) for label, point in read_manifest(name_or_path).thresholds.items()}
