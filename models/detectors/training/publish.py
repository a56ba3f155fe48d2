"""From a checkpoint to a detector: the network, its thresholds, and where its pictures came from. No test is read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import msgspec
import torch

from models.detectors.manifest import Manifest, Source, Threshold
from models.detectors.runtime import Detector
from models.detectors.training.data import LABELS, load_corpus, manifest
from models.detectors.training.evaluate import FLOOR, detect_image
from models.detectors.training.export import export
from models.detectors.training.points import choose_thresholds, pan
from models.detectors.training.toml import to_toml

NAME: Final = "fire_smoke"
VERSION: Final = "0.1.0"


def publish(checkpoint: Path, data: Path, out: Path) -> Path:
    """Write `fire_smoke.onnx` and its manifest, without scores, into `out`; returns the path of the manifest."""
    sha256 = export(checkpoint, out / f"{NAME}.onnx")
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)
    described = Manifest(
        name=NAME,
        version=VERSION,
        file=f"{NAME}.onnx",
        sha256=sha256,
        family="anchors",
        labels=LABELS,
        licence="Apache-2.0",
        thresholds={label: Threshold(hint=0.5, alarm=0.5) for label in LABELS},
        parameters=sum(value.numel() for name, value in weights.items() if is_trained(name)),
        sources=sources(data),
    )
    path = out / f"{NAME}.toml"
    path.write_text(to_toml(described), encoding="utf-8")
    detector = Detector(path, floor=FLOOR)
    pans = [[detect_image(detector, frame) for frame in pan(p.image)] for p in load_corpus(data).held_out]
    described = msgspec.structs.replace(described, thresholds=choose_thresholds(pans))
    path.write_text(to_toml(described), encoding="utf-8")
    return path


def is_trained(name: str) -> bool:
    """Whether an entry of a checkpoint is a parameter, not a running mean of a batch normalisation."""
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def sources(data: Path) -> tuple[Source, ...]:
    """Origin, licence and number of the pictures of both training splits."""
    counts = Counter(
        (row["source"], row["source_repo"], row["license"])
        for name in ("fire_smoke", "street")
        for row in manifest(data, name).values()
        if row["split"] == "train"
    )
    return tuple(
        Source(name=name, repository=repository, licence=licence, pictures=pictures)
        for (name, repository, licence), pictures in sorted(counts.items())
    )
