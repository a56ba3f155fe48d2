"""The figures of a model card, rendered from the manifest, so that both always say the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from models.detectors.manifest import Clip, Manifest, Reading
from models.errors import ConfigError, Problem

CLIP_FPS = 4.0
BEGIN, END = "<!-- figures: written by `gridwarden eval --write` -->", "<!-- end of figures -->"


def with_figures(card: str, manifest: Manifest) -> str:
    """The card with the part between its two marks rendered anew.

    Raises:
        ConfigError: the card has no such part.
    """
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        what = f"has no part between `{BEGIN}` and `{END}`"
        raise ConfigError([Problem(f"{manifest.name}.md", "$", what, "put the two lines where the figures belong")])
    return f"{before}{BEGIN}\n\n{figures(manifest)}\n{END}{after}"


def figures(manifest: Manifest) -> str:
    """All tables of a card, as Markdown."""
    return "\n".join(
        (
            f"Version {manifest.version}, {manifest.parameters:,} parameters, SHA-256 `{manifest.sha256}`.\n",
            table(("label", "hint", "alarm"), ((k, v.hint, v.alarm) for k, v in manifest.thresholds.items())),
            "".join(f"- `{name}`: {meaning}\n" for name, meaning in manifest.splits.items()),
            "Average precision (pycocotools, 100 boxes per label and picture, labelled pictures only):\n",
            table(
                ("split", "label", "pictures (with it)", "boxes", "AP50-95", "AP50", "AP30", "hit-AP"),
                (
                    (s.split, s.label, f"{s.pictures} ({s.with_it})", s.boxes, s.ap50_95, s.ap50, s.ap30, s.hit_ap)
                    for s in manifest.scores
                ),
            ),
            "Pictures on which a label is seen at the points: right where it is present, false where it is absent.\n",
            table(("split", "source", "label", "truth", "pictures", "hint", "alarm"), _reading_rows(manifest.readings)),
            f"Clips: seconds to the third hit within 10 s, at {CLIP_FPS:g} frames per second:\n",
            table(("clip", "label", "hint", "alarm"), _clip_rows(manifest.clips)),
            "Training data:\n",
            table(
                ("source", "repository", "licence", "pictures"),
                ((s.name, s.repository, s.licence, s.pictures) for s in manifest.sources),
            ),
        )
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def _reading_rows(readings: Sequence[Reading]) -> Iterator[tuple[object, ...]]:
    for key, group in groupby(readings, lambda r: (r.split, r.source, r.label, r.truth, r.pictures)):
        seen = {reading.point: reading.seen for reading in group}
        yield (*key, seen.get("hint", "-"), seen.get("alarm", "-"))


def _clip_rows(clips: Sequence[Clip]) -> Iterator[tuple[object, ...]]:
    for key, group in groupby(clips, lambda c: (c.clip, c.label)):
        seconds = {clip.point: "never" if clip.seconds is None else f"{clip.seconds:g}" for clip in group}
        yield (*key, seconds.get("hint", "-"), seconds.get("alarm", "-"))
