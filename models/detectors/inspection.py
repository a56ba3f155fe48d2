"""What a network of somebody else's is: inputs, family, labels, speed on this machine, and a manifest to edit."""

from __future__ import annotations

import ast
import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.detectors.decode import FormError, Outputs
from models.detectors.decode.guess import Guess, guess
from models.detectors.manifest import Input, Manifest, Threshold
from models.detectors.onnx_file import SIZE_NOTE
from models.detectors.session import Options, Session, Tensor, open_session
from models.errors import ConfigError, Problem

DEFAULT_SIDE_PX: Final = 640  # where neither graph nor metadata say
SPEED_RUNS, SPEED_S = 30, 3.0
WARM_RUNS: Final = 3
HINT, ALARM = 0.25, 0.5
NAMED: Final = 12  # labels that a report lists
HALVED: Final = {"channels": "rgb", "scale": 1.0, "fit": "stretch", "mean": (127.0,) * 3, "deviation": (128.0,) * 3}
IMAGENET: Final = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}
CONVENTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "anchors": {"channels": "bgr"},
    "yolov5": {"channels": "rgb", "scale": 1 / 255},
    "yolov8": {"channels": "rgb", "scale": 1 / 255},
    "yolov10": {"channels": "rgb", "scale": 1 / 255},
    "yolox": {"channels": "bgr"},
    "rtdetr": {"channels": "rgb", "scale": 1 / 255, "fit": "stretch"},
    "ssd": {"channels": "rgb", "scale": 1 / 255, "fit": "stretch"},
    "classes": {"channels": "rgb", "scale": 1 / 255, "fit": "stretch"} | IMAGENET,
}
"""How pictures go in where the published code of a family is followed. No file says so: it is for a person to check."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found.

    Attributes:
        manifest: a draft that fits the network.
        session: the open network.
        family: what its outputs were taken for, and why.
        outputs: of one run.
        notes: what a person must decide or check.
        network_ms: of each timed run.
    """

    path: Path
    manifest: Manifest
    session: Session
    family: Guess
    outputs: Outputs
    notes: tuple[str, ...]
    network_ms: tuple[float, ...]


def inspect(path: Path, *, labels: Sequence[str] = (), side_px: int | None = None, options: Options) -> Inspection:
    """Open a network, run it, and draw up a manifest.

    Args:
        path: of the ONNX file.
        labels: in the order of the network's classes, where the file does not name them.
        side_px: of the input, where the graph leaves it open.
        options: how to run it.

    Raises:
        ConfigError: it is refused, takes no picture, or gives what cannot be decoded.
    """
    session = open_session(path, None, options)
    layout, height, width = _picture(session, side_px)
    sides = (1, height, width, 3) if layout == "nhwc" else (1, 3, height, width)
    left_open = {name: side for name, side in zip(session.inputs[0].shape, sides, strict=True) if isinstance(name, str)}
    if left_open:
        session = open_session(path, None, options, sides=left_open)
    feeds = _noise(session, sides, (width, height))
    outputs = session.run(feeds)
    named = _labels(labels or _noted_names(session))
    try:
        family = guess(outputs, height_px=height, width_px=width, labels=len(named) or None, inputs=len(session.inputs))
    except FormError as error:
        raise ConfigError([Problem(path, "$", f"gives {error}", "export it in a family that is known")]) from error
    draft = _draft(session, family, named, outputs, Input(height_px=height, width_px=width, layout=layout))
    return Inspection(
        path=path,
        manifest=draft,
        session=session,
        family=family,
        outputs=outputs,
        notes=tuple(_notes(session, draft, family, named, has_open_sides=any(side > 1 for side in left_open.values()))),
        network_ms=_time(session, feeds),
    )


def report(found: Inspection) -> str:
    """What was found, line by line, for a person."""
    file, manifest = found.session.file, found.manifest
    low, high = np.percentile(found.network_ms, [50, 99])
    wanted = manifest.input
    count = len(manifest.labels)
    size_mb = found.path.stat().st_size / 1e6
    rows = [
        ("file", f"{found.path.name}, {size_mb:.1f} MB, SHA-256 {manifest.sha256}"),
        ("made by", f"{file.producer or 'nobody says'}, opset {file.opset}, {len(file.operators)} operators"),
        *(("input", str(tensor)) for tensor in found.session.inputs),
        ("", f"{wanted.layout}, {wanted.width_px} wide, {wanted.height_px} high, {wanted.channels}, {wanted.fit}"),
        *(("output", f"{name} {array.dtype} {array.shape}") for name, array in found.outputs.items()),
        ("family", f"{found.family.family}, guessed: {found.family.because}"),
        ("labels", f"{count}: {', '.join(manifest.labels[:NAMED])}{', ...' * (count > NAMED)}"),
        ("speed", f"{low:.1f} ms p50, {high:.1f} ms p99 for the network alone, {len(found.network_ms)} runs here"),
        *(("check", note) for note in found.notes),
    ]
    return "\n".join(f"{head:8} {text}" for head, text in rows)


def manifest_text(found: Inspection) -> str:
    """The draft as a file to edit, with what there is to check in front."""
    from models.detectors.training.toml import to_toml

    notes = "".join(f"# - {note}\n" for note in found.notes)
    return f"# Drawn up by `gridwarden model inspect`. Before you use it:\n{notes}\n{to_toml(found.manifest)}"


def _picture(session: Session, side_px: int | None) -> tuple[Any, int, int]:
    """Layout, height and width of the first input."""
    first = session.inputs[0]
    shape, path = first.shape, session.path
    if first.element not in {"uint8", "float32"}:
        what = f"takes {first}, and only uint8 and float32 can be given"
        raise ConfigError([Problem(path, "input", what, "export it with such an input")])
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        what = f"takes {first}, which is no colour picture"
        raise ConfigError([Problem(path, "input", what, "export it for (1, 3, h, w) or (1, h, w, 3)")])
    layout = "nchw" if shape[1] == 3 else "nhwc"
    noted = re.findall(r"\d+", session.file.metadata.get(SIZE_NOTE, ""))
    known = [int(side) for side in noted] if len(noted) == 2 else [DEFAULT_SIDE_PX] * 2
    height, width = (
        side if isinstance(side, int) else side_px or own
        for side, own in zip(shape[2:] if layout == "nchw" else shape[1:3], known, strict=True)
    )
    return layout, height, width


def _noise(session: Session, sides: tuple[int, ...], size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """A picture of noise, and its width and height for a network that asks."""
    first, *others = session.inputs
    numbers = np.random.default_rng(0).integers(0, 256, sides, np.uint8)
    picture = numbers if first.element == "uint8" else numbers.astype(np.float32) / 255
    feeds: dict[str, NDArray[Any]] = {first.name: picture}
    for other in others:
        if not _asks_for_size(other):
            what = f"wants a second input, {other}"
            raise ConfigError([Problem(session.path, "input", what, "export it so that it takes a picture alone")])
        feeds[other.name] = np.array([size], np.int64)
    return feeds


def _asks_for_size(tensor: Tensor) -> bool:
    return tensor.element == "int64" and tensor.shape[-1:] == (2,)


def _noted_names(session: Session) -> Sequence[str]:
    """Names of the classes, as Ultralytics notes them: a dictionary, or a list, in Python's words."""
    try:
        noted = ast.literal_eval(session.file.metadata.get("names", "()"))
    except (SyntaxError, ValueError):
        return ()
    names = noted.values() if isinstance(noted, dict) else noted
    return [str(name) for name in names] if isinstance(noted, dict | list | tuple) else ()


def _labels(names: Sequence[str]) -> tuple[str, ...]:
    """Names as labels: small letters, digits and underscores, each once."""
    labels: list[str] = []
    for name in names:
        plain = re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")[:56]
        plain = plain if plain[:1].isalpha() else f"class_{plain or len(labels)}"
        labels.append(plain if plain not in labels else f"{plain}_{len(labels)}")
    return tuple(labels)


def _draft(session: Session, family: Guess, named: tuple[str, ...], outputs: Outputs, picture: Input) -> Manifest:
    first, path = session.inputs[0], session.path
    if not re.fullmatch(r"[A-Za-z0-9_.-]+\.onnx", path.name):
        what = "the name of the file has other signs than letters, digits, dots and dashes, or no .onnx"
        raise ConfigError([Problem(path, "$", what, "rename it")])
    count = family.labels or len(named) or 1
    labels = named if len(named) == count else tuple(f"class_{number}" for number in range(count))
    # An SSD that leaves the suppression to us leaves the scaling to us as well (MobileNet-SSD, UltraFace).
    convention = HALVED if family.family == "ssd" and len(outputs) == 2 else CONVENTIONS[family.family]
    external = {name: _sha256(path.parent / name) for name in sorted(session.file.external)}
    draft = {
        "name": _labels([path.stem])[0],
        "version": "0.1.0",
        "file": path.name,
        "sha256": _sha256(path),
        "family": family.family,
        "labels": labels,
        "licence": "unknown",
        "activation": _activation(session, family, outputs),
        "external": external,
        "overlap": 0.45 if family.family.startswith("yolo") else 0.6,
        "input": msgspec.structs.asdict(picture) | {"name": first.name, "dtype": first.element} | dict(convention),
        "thresholds": {label: Threshold(hint=HINT, alarm=ALARM) for label in labels},
    }
    return msgspec.convert(msgspec.to_builtins(draft), Manifest)


def _activation(session: Session, family: Guess, outputs: Outputs) -> str:
    """What the scores still need: where a family is published with and without, by the graph's last operator."""
    usual = {"classes": "softmax", "rtdetr": "sigmoid", "ssd": "softmax"}.get(family.family, "none")
    if usual == "none" or len(outputs) > 2 or (family.family == "rtdetr" and len(outputs) == 1):
        return "none"
    done = {"Softmax", "Sigmoid", "QLinearSigmoid", "QLinearSoftmax"}
    return "none" if any(session.file.makers.get(name) in done for name in outputs) else usual


def _notes(
    session: Session, draft: Manifest, family: Guess, named: tuple[str, ...], *, has_open_sides: bool
) -> Iterator[str]:
    wanted = draft.input
    yield f"`thresholds`: {HINT} and {ALARM} are placeholders, choose them on pictures of your own"
    yield (
        f"`input`: {wanted.channels}, scale {wanted.scale:.6g}, mean {wanted.mean}, deviation {wanted.deviation}, "
        f"{wanted.fit} are how {family.family} is usually trained, the file does not say"
    )
    if has_open_sides and wanted.fit == "letterbox":
        yield "`input`: its sides are open; with multiple_px = 32 (the largest stride) one of 16:9 takes less time"
    if named and draft.labels != named:
        yield f"`labels`: {len(named)} names were given or noted, the outputs are for {family.labels}"
    elif not named:
        count = "the outputs do not tell how many there are" if family.labels is None else "the file does not name them"
        yield f"`labels`: {count}; give --labels a,b,c"
    if draft.activation != "none":
        yield f"`activation`: {draft.activation}, as the graph itself ends without"
    if session.file.external:
        yield "`external`: weights lie in files beside it, keep them together"
    yield "`licence`: whose network it is, and on what terms"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _time(session: Session, feeds: Mapping[str, NDArray[Any]]) -> tuple[float, ...]:
    """Milliseconds of some runs, after some that do not count."""
    for _ in range(WARM_RUNS):
        session.run(feeds)
    took: list[float] = []
    begun = time.perf_counter()
    while len(took) < SPEED_RUNS and (not took or time.perf_counter() - begun < SPEED_S):
        start = time.perf_counter()
        session.run(feeds)
        took.append((time.perf_counter() - start) * 1000)
    return tuple(took)
