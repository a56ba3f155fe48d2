"""What each part of the method is worth: the same short run without it, more than one seed each, finished runs kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.detectors.card import table
from models.detectors.training.data import load_corpus
from models.detectors.training.recipes import PARTS, Part, Recipe
from models.detectors.training.train import Plan, train


@dataclass(frozen=True, slots=True)
class Study:
    """The conditions that all runs of an ablation share.

    Attributes:
        data: folder of the picture tars.
        out: where each run lies, under `<part>-<seed>`.
        size_px: of the input, in training and validation.
        epochs: how often each run is scored, and the best of which counts.
        epoch_pictures: of one epoch; 0: as many as the training set has.
    """

    recipe: Recipe
    data: Path
    out: Path
    size_px: int = 256
    epochs: int = 12
    threads: int = 2
    epoch_pictures: int = 0


def ablate(study: Study, seeds: Iterable[int]) -> str:
    """Train the whole method and each one with a part left out; returns the table. Finished runs are only read."""
    corpus = load_corpus(study.data, study.recipe)
    most = study.epoch_pictures or len(corpus.fires) + len(corpus.streets)
    epoch_pictures = most // Plan().batch * Plan().batch
    best: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:  # outermost, so that a study that is cut short has every part once before any twice
        for part in (None, *PARTS):
            best.setdefault(part or "everything", []).append(run(study, part, seed, epoch_pictures))
    return compare(best)


def run(study: Study, part: Part | None, seed: int, epoch_pictures: int) -> dict[str, float]:
    """The best epoch of one run, trained if it is not finished; its rate rises over a tenth of its steps at most."""
    out = study.out / f"{part or 'everything'}-{seed}"
    recipe = replace(study.recipe, size_px=study.size_px)
    plan = Plan(
        minutes=0,
        pictures=study.epochs * epoch_pictures,
        epoch_pictures=epoch_pictures,
        warmup_steps=min(Plan().warmup_steps, study.epochs * epoch_pictures // Plan().batch // 10),
        threads=study.threads,
        seed=seed,
        without=frozenset({part} if part else ()),
    )
    if (rows := read_history(out)) == [] or rows[-1]["pictures"] < plan.pictures:
        train(recipe, study.data, out, plan, resume=True)
    return max(read_history(out), key=lambda row: row["fitness"])


def read_history(out: Path) -> list[dict[str, float]]:
    """The figures of each epoch of a run, none where it has not begun."""
    path = out / "history.json"
    rows: list[dict[str, float]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return rows


def compare(best: Mapping[str, Sequence[dict[str, float]]]) -> str:
    """Mean and, in brackets, lowest to highest of each figure over the seeds, as a Markdown table."""
    first = next(iter(best.values()))[0]
    figures = [name for name in first if name.startswith(("ap50", "recall", "fitness"))]

    def cell(rows: Sequence[dict[str, float]], figure: str) -> str:
        values = [row[figure] for row in rows]
        return f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"

    lines = [
        (name if name == "everything" else f"without {name}", *(cell(rows, figure) for figure in figures))
        for name, rows in best.items()
    ]
    return table(("run", *figures), lines)
