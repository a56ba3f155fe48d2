"""Which pictures a detector is scored on, and what they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from models.detectors.training.data import Picture, fire_pictures, load_corpus, street_pictures
from models.detectors.training.recipes import FIRE_SMOKE, STREET, recipe_of
from models.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Split:
    """Pictures under one name.

    Attributes:
        meaning: in words, for the card.
        is_test: no threshold, gate or checkpoint may depend on it.
        has_ap: its boxes are drawn.
        has_runs: it holds runs of similar frames, so that its scores are fewer than they look.
    """

    name: str
    meaning: str
    pictures: list[Picture]
    is_test: bool = False
    has_ap: bool = True
    has_runs: bool = False


def splits(labels: tuple[str, ...], data: Path) -> Iterator[Split]:
    """The pictures on which labels can be scored, those that points may be chosen on first.

    Args:
        labels: of a detector, ours or not; a label that is drawn on no picture is scored on none.
        data: folder of the picture tars.

    Raises:
        ConfigError: none of the labels is drawn on any picture.
        SourceError: the pictures cannot be read.
    """
    if not {*FIRE_SMOKE, *STREET} & set(labels):
        what, remedy = f"none of {', '.join(labels)} is drawn there", f"label {', '.join((*FIRE_SMOKE, *STREET))}"
        raise ConfigError([Problem(data, "labels", what, remedy)])
    recipe = replace(recipe_of("fire_smoke" if {*FIRE_SMOKE} & {*labels} else "street_order"), labels=labels)
    corpus = load_corpus(data, recipe)
    meaning = "validation: no near twin of a training picture; checkpoint and points were chosen on it"
    yield Split("val", meaning, corpus.val)
    if recipe.name == "street_order":
        meaning = "test, in-domain: other pictures of the two sources of training; garbage is from one source alone"
        yield Split("test", meaning, street_pictures(data, "test", recipe.labels), is_test=True)
        return
    meaning = (
        "training sources without fire: held out by hash with near twins, and `street_val`; points were chosen on them"
    )
    yield Split("held_out", meaning, corpus.held_out, has_ap=False)
    meaning = "test: one source that training never saw, CCTV and news, 15 to 20 videos"
    yield Split("test_cctv", meaning, fire_pictures(data, "test_cctv", recipe.labels), is_test=True, has_runs=True)
    meaning = "test: daytime streets without fire; `pothole` alone is of a source of which training saw one picture"
    yield Split("test_neg", meaning, fire_pictures(data, "test_neg", recipe.labels), is_test=True, has_ap=False)
