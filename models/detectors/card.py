"""The figures of a model card and of the README, rendered from the report, so that all of them say the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, TypeVar

from models.detectors.manifest import Manifest, Score
from models.detectors.report import Alarms, Reading, Report
from models.errors import ConfigError, Problem

BEGIN, END = "<!-- figures: written by `gridwarden eval --write` -->", "<!-- end of figures -->"
ABOUT_SCORES: Final = """\
Average precision (pycocotools, 100 boxes per label and picture, labelled pictures only). hit-AP: IoU replaced by
intersection over predicted area; beside it the mean ratio of predicted to true area. Scores are off by so much from the
share of detections that is right at IoU .5 (ten bins, scores of .05 and more).
"""
ABOUT_READINGS: Final = """\
Pictures on which a label is seen at the points: right where it is present, false where it is absent. In brackets the
exact 95 % bounds, in per cent (Clopper-Pearson, of the default precision).
"""
ABOUT_ALARMS: Final = """\
The gate with and without its parts: slow pans of 8 s over every `test_neg` picture at 5 frames per second. Single
frames against events, by the hour with exact 95 % bounds (Poisson); beside them what it costs where something is to be
seen.
"""
Row = TypeVar("Row")


def with_figures(text: str, rendered: str, where: str) -> str:
    """The text with the part between its two marks rendered anew.

    Raises:
        ConfigError: the text has no such part.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        what = f"has no part between `{BEGIN}` and `{END}`"
        raise ConfigError([Problem(where, "$", what, "put the two lines where the figures belong")])
    return f"{before}{BEGIN}\n\n{rendered}\n{END}{after}"


def figures(manifest: Manifest, report: Report) -> str:
    """All tables of a card, as Markdown; two figures in one cell are FP32 / INT8."""
    parts = [
        _identity(manifest),
        table(("label", "hint", "alarm"), ((k, v.hint, v.alarm) for k, v in manifest.thresholds.items())),
        "".join(f"- `{name}`: {meaning}\n" for name, meaning in report.splits.items()),
        ABOUT_SCORES,
        scores_table(report.scores),
        *_intervals(report.scores),
        ABOUT_READINGS,
        _readings_table(manifest, report.readings),
    ]
    if report.int8_operators:
        parts.append(_integers(report))
    if report.clips:
        parts += _in_time(report)
    if report.foreign_counts:
        parts += [
            "Pictures of one source on which a label that only the other source draws is seen at score .5 or more:\n",
            foreign_table(report),
        ]
    parts += [
        "Training data (pictures; for `fire_smoke` what was held out is counted too):\n",
        table(
            ("source", "repository", "licence", "pictures"),
            ((s.name, s.repository, s.licence, s.pictures) for s in manifest.sources),
        ),
    ]
    return "\n".join(parts)


def summary(reports: Iterable[Report]) -> str:
    """What the README says of all detectors: AP50 with counts, and what is seen at the points on test pictures."""
    reports = tuple(reports)
    scores = [(report.name, score) for report in reports for score in report.scores]
    tests = [(report, row) for report in reports for row in report.readings if row.split.startswith("test_")]
    return "\n".join(
        (
            table(
                ("detector", "split", "label", "pictures (with it) / boxes", "AP50", "AP50-95", "AP30", "hit-AP"),
                (
                    (name, *cells)
                    for name, group in groupby(scores, lambda pair: pair[0])
                    for cells in _score_rows([score for _, score in group], with_ratio=False)
                ),
            ),
            table(
                ("split", "source", "label", "truth", "pictures", "at the hint", "at the alarm"),
                (
                    cells
                    for _, group in groupby(tests, lambda pair: pair[0].name)
                    for cells in _reading_rows([row for _, row in group])
                ),
            ),
        )
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def scores_table(scores: Sequence[Score]) -> str:
    """AP of every label and split."""
    heads = (
        "split",
        "label",
        "pictures (with it) / boxes",
        "AP50",
        "AP50-95",
        "AP30",
        "hit-AP",
        "area ratio",
        "off by",
    )
    return table(heads, _score_rows(scores, with_ratio=True))


def foreign_table(report: Report) -> str:
    """By source: pictures, those with such a detection, and what a person found there."""
    rows = [
        (
            count.source,
            count.precision,
            count.pictures,
            count.seen,
            *(
                sum((f.source, f.precision, f.verdict) == (count.source, count.precision, v) for f in report.foreign)
                for v in ("wrong", "real", "not looked at")
            ),
        )
        for count in report.foreign_counts
    ]
    return table(("source", "precision", "pictures", "seen", "wrong", "real", "not looked at"), rows)


def _identity(manifest: Manifest) -> str:
    lines = [f"Version {manifest.version}, {manifest.parameters:,} parameters, opened as {manifest.precision}."]
    for precision in manifest.precisions:
        network = manifest.network(precision)
        lines.append(f"`{network.file}` ({precision}): SHA-256 `{network.sha256}`.")
    lines.append(f"Seal of the points: `{manifest.points_sha256}`.")
    gate = manifest.gate
    lines.append(f"An event: {gate.min_hits} frames at the hint within {gate.window_s:g} s.")
    return "  \n".join(lines) + "\n"


def _integers(report: Report) -> str:
    found, exact = report.int8_operators, {(s.split, s.label): s.ap50 for s in report.exact}
    apart = [abs(s.ap50 - exact[s.split, s.label]) for s in report.scores if s.precision == "int8"]
    return (
        f"INT8: after ONNX Runtime's optimisation {found.get('QLinearConv', 0)} convolutions are computed in integers, "
        f"{found.get('Conv', 0) + found.get('FusedConv', 0)} in float. With `session.x64quantprecision` AP50 moves by "
        f"at most {100 * max(apart, default=0.0):.2f} points.\n"
    )


def _pairs(rows: Sequence[Row], key: Callable[[Row], object], value: Callable[[Row], object]) -> dict[object, str]:
    """The values of all rows of one key, joined: they differ by precision alone."""
    joined: dict[object, list[str]] = {}
    for row in rows:
        joined.setdefault(key(row), []).append(str(value(row)))
    return {name: " / ".join(values) for name, values in joined.items()}


def _score_rows(scores: Sequence[Score], *, with_ratio: bool) -> Iterator[tuple[object, ...]]:
    def key(score: Score) -> tuple[object, ...]:
        return score.split, score.label, f"{score.pictures} ({score.with_it}) / {score.boxes}"

    fields: list[Callable[[Score], str]] = [
        lambda s: f"{s.ap50:.3f}",
        lambda s: f"{s.ap50_95:.3f}",
        lambda s: f"{s.ap30:.3f}",
        lambda s: f"{s.hit_ap:.3f}",
    ]
    if with_ratio:
        fields += [lambda s: f"{s.area_ratio:.2f}", lambda s: f"{s.calibration_error:.2f}"]
    columns = [_pairs(scores, key, field) for field in fields]
    for name in columns[0]:
        assert isinstance(name, tuple)
        yield (*name, *(column[name] for column in columns))


def _intervals(scores: Sequence[Score]) -> list[str]:
    rows = [
        (s.split, s.label, s.precision, *(f"{low:.3f} to {high:.3f}" for low, high in both))
        for s in scores
        if (both := [one for one in (s.ap50_interval, s.hit_ap_interval) if one])
    ]
    said = "95 % of what draws of whole runs of similar frames give:\n"
    return [said, table(("split", "label", "precision", "AP50", "hit-AP"), rows)] if rows else []


def _reading_rows(readings: Sequence[Reading]) -> Iterator[tuple[object, ...]]:
    def key(row: Reading) -> tuple[object, ...]:
        return row.split, row.source, row.label, row.truth, row.pictures

    hints, alarms = _pairs(readings, key, lambda r: r.hint), _pairs(readings, key, lambda r: r.alarm)
    for name in hints:
        assert isinstance(name, tuple)
        yield (*name, hints[name], alarms[name])


def _readings_table(manifest: Manifest, readings: Sequence[Reading]) -> str:
    shipped = {(r.split, r.source, r.label, r.truth): r for r in readings if r.precision == manifest.precision}
    rows = []
    for *name, pictures, hint, alarm in _reading_rows(readings):
        row = shipped[tuple(name)]  # type: ignore[index]  # the four of the key
        bounds = (f" ({100 * low:.1f}-{100 * high:.1f})" for low, high in (row.hint_bounds, row.alarm_bounds))
        rows.append((*name, pictures, *(f"{count}{bound}" for count, bound in zip((hint, alarm), bounds, strict=True))))
    return table(("split", "source", "label", "truth", "pictures", "hint", "alarm"), rows)


def _in_time(report: Report) -> list[str]:
    return [
        "Clips, in seconds: the first single frame at the hint, then the first event at each point:\n",
        table(
            ("clip", "seconds", "label", "frame", "hint", "alarm"),
            (
                (c.clip, f"{c.length:g}", c.label, *(_seconds(s) for s in (c.frame, c.hint, c.alarm)))
                for c in report.clips
            ),
        ),
        ABOUT_ALARMS,
        table(
            ("label", "point", "gate", "false frames", "false events", "by the hour", "clips found", "seconds lost"),
            (_alarm_cells(row) for row in report.alarms),
        ),
    ]


def _alarm_cells(row: Alarms) -> tuple[object, ...]:
    if row.events is None or row.per_hour_bounds is None:
        return row.label, row.point, row.gate, *["-"] * 5
    low, high = row.per_hour_bounds
    cost = (
        (f"{row.found} of {row.clips}", "-" if row.lost_s is None else f"{row.lost_s:g}") if row.clips else ("-", "-")
    )
    by_hour = f"{row.per_hour:g} ({low:g}-{high:g})"
    return row.label, row.point, row.gate, f"{row.false_frames} of {row.frames}", row.events, by_hour, *cost


def _seconds(at_s: float | None) -> str:
    return "never" if at_s is None else f"{at_s:g}"
