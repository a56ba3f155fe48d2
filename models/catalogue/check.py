"""What may be wrong with a catalogue beyond its shape; against people and places see `models.people.fit`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from models.catalogue import Catalogue
from models.catalogue.items import Category, Lead, Signal
from models.content import duplicates
from models.errors import Problem
from models.messages import Priority

PROPOSAL: Final = "proposal"
"""The source of a value that no list gives."""


def label_problems(
    catalogue: Catalogue, labels: Mapping[str, str], *, file: Path | str = "catalogue.toml"
) -> list[Problem]:
    """Name the detector labels that the catalogue does not know.

    Args:
        catalogue: the catalogue.
        labels: label to the detector that has it.
        file: named in the problems.
    """
    known = catalogue.labels.keys() | set(catalogue.static_labels)
    return [
        Problem(
            file,
            f"labels.{label}",
            f"detector {detector} has a label without a category",
            "map it, or list it in static_labels",
        )
        for label, detector in labels.items()
        if label not in known
    ]


def problems(catalogue: Catalogue, file: Path | str) -> Iterator[Problem]:
    """Name every mistake that the file shows by itself."""
    for index, key in duplicates(category.key for category in catalogue.categories):
        yield Problem(file, f"categories[{index}].key", f"{key} stands twice", "keep one of them")
    yield from _code_problems(catalogue, file)
    known = {PROPOSAL, *catalogue.code_lists}
    tables: dict[str, Sequence[Category | Lead]] = {"categories": catalogue.categories, "leads": catalogue.leads}
    for table, rows in tables.items():
        for index, row in enumerate(rows):
            if row.source not in known:
                remedy = f"name the list, as in [code_lists], or {PROPOSAL!r}"
                yield Problem(file, f"{table}[{index}].source", f"there is no list {row.source!r}", remedy)
    for index, what in duplicates(f"{row.category} in {row.area}" for row in catalogue.leads):
        yield Problem(file, f"leads[{index}]", f"two leads for {what}", "keep one of them")
    for table in ("labels", "properties"):
        signals: dict[str, Signal] = getattr(catalogue, table)
        for name, signal in signals.items():
            for stage in ("pre_alarm", "alarm"):
                key = getattr(signal, stage)
                if key not in catalogue.category_by_key:
                    what = f"no category has the key {key}"
                    yield Problem(file, f"{table}.{name}.{stage}", what, "add the category, or correct the key")
    for index, name in duplicates(f"{step.step}{' (seat)' * step.seat}" for step in catalogue.steps):
        yield Problem(
            file, f"steps[{index}].step", f"step {name} stands twice", "keep one row a step, and one for the seat"
        )
    yield from _offset_problems(catalogue, file)


def _code_problems(catalogue: Catalogue, file: Path | str) -> Iterator[Problem]:
    owners: dict[tuple[str, str], str] = {}
    for index, category in enumerate(catalogue.categories):
        for name, code in category.codes.items():
            path = f"categories[{index}].codes.{name}"
            if name not in catalogue.code_lists:
                yield Problem(
                    file, path, f"there is no code list {name}", "add it to [code_lists], or correct the name"
                )
            first = owners.setdefault((name, code), category.key)
            if first != category.key:
                what = f"{name} {code} is used twice: {first} has it too"
                yield Problem(file, path, what, "a code names one item of its list")


def _offset_problems(catalogue: Catalogue, file: Path | str) -> Iterator[Problem]:
    """A later step may not come before an earlier one: nobody is passed over upwards."""
    for priority in Priority:
        latest_ms = 0
        for step, rule in catalogue.steps_for(priority):
            if step.seat:
                continue
            if rule.after.nominal_ms < latest_ms:
                index = catalogue.steps.index(step)
                what = f"{priority} reaches step {step.step} before the step below it"
                yield Problem(file, f"steps[{index}].rules.{priority}.after", what, "give it a later offset")
            latest_ms = max(latest_ms, rule.after.nominal_ms)
