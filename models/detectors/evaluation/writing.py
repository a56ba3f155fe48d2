"""A report into the files beside a manifest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from models.detectors.card import figures, with_figures
from models.detectors.manifest import Manifest
from models.detectors.report import Report, report_path
from models.detectors.training.toml import to_toml

MOST_LOST: Final = 0.01  # AP50 of any label in integers, or they are not what opens


def write(manifest: Manifest, report: Report, path: Path) -> Manifest:
    """Put the report beside the manifest at `path`, its scores into that, its figures into the card if there is one.

    A network in integers that lost more than `MOST_LOST` anywhere is no longer what opens.
    """
    precision = manifest.precision if most_lost(report) <= MOST_LOST else "fp32"
    scored = replace(manifest, scores=report.scores, points_sha256=report.points_sha256, precision=precision)
    report_path(path).write_text(to_lines(report), encoding="utf-8")
    path.write_text(to_toml(scored), encoding="utf-8")
    card = path.with_suffix(".md")
    if card.exists():
        text = with_figures(card.read_text(encoding="utf-8"), figures(scored, report), card.name)
        card.write_text(text, encoding="utf-8")
    return scored


def most_lost(report: Report) -> float:
    """AP50 that the label that loses most of it, on any split, has less in integers; 0 where none loses."""
    ap50 = {(score.split, score.label, score.precision): score.ap50 for score in report.scores}
    return max(
        (
            round(ap50[split, label, "fp32"] - value, 4)
            for (split, label, kind), value in ap50.items()
            if kind == "int8"
        ),
        default=0.0,
    )


def to_lines(report: Report) -> str:
    """JSON with one figure a line, so that a difference can be read."""
    return "{\n" + ",\n".join(_parts(msgspec.to_builtins(report))) + "\n}\n"


def _parts(report: dict[str, object]) -> Iterator[str]:
    for key, value in report.items():
        if isinstance(value, dict) and value:
            rows = [f"{_json(name)}: {_json(inner)}" for name, inner in value.items()]
            yield f"{_json(key)}: {{\n " + ",\n ".join(rows) + "\n}"
        elif isinstance(value, list | tuple) and value:
            yield f"{_json(key)}: [\n " + ",\n ".join(map(_json, value)) + "\n]"
        else:
            yield f"{_json(key)}: {_json(value)}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
