from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.detectors.training import augment, data
from models.detectors.training.augment import Canvas, Sampler
from models.detectors.training.data import Picture, hold_out, load_corpus, members, relabel, to_boxes
from models.detectors.training.recipes import RECIPES, STREET, STREET_FILE, Part, Recipe, recipe_of
from models.detectors.training.synthetic import (
    LIGHTERS,
    add_fog,
    add_lamps,
    add_sunset,
    add_warm_things,
    composite,
    cut_flames,
    plain,
)
from models.errors import ConfigError, SourceError
from tests.models.detectors.tiny_data import street, write_tiny_data

DATA = Path(__file__).parents[5] / "shared" / "data"
needs_data = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no pictures in {DATA}; lay them beside the checkout"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny data folder."""
    return write_tiny_data(tmp_path)


@pytest.fixture(params=list(RECIPES))
def recipe(request: pytest.FixtureRequest) -> Recipe:
    """Each of the networks."""
    return RECIPES[request.param]


def test_yolo_lines_become_corners_within_the_picture() -> None:
    boxes = to_boxes("0 .5 .5 .5 .5\n1 0 0 .5 1\n\n", 100, 200)
    np.testing.assert_allclose(boxes, [[0, 50, 25, 150, 75], [1, 0, 0, 50, 50]])
    assert to_boxes("", 100, 200).shape == (0, 5)


def test_a_missing_tar_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--data"):
        list(members(tmp_path / "nothing.tar"))


def test_training_opens_no_test_set_and_holds_streets_out(folder: Path) -> None:
    corpus = load_corpus(folder, RECIPES["fire_smoke"])
    learnt = {p.sha256 for p in corpus.fires + corpus.streets}
    unseen = {p.sha256 for p in corpus.held_out + corpus.val}
    assert not learnt & unseen
    assert len(corpus.fires) == 4
    assert len(corpus.streets) + len(corpus.held_out) == 40 + 1 + 1  # the picture that both sets have counts once
    assert len(corpus.held_out) > 1
    assert [p.known.tolist() for p in sorted(corpus.fires, key=lambda p: p.name)] == [[True, False], [True, True]] * 2


def test_flames_that_nobody_boxed_are_learnt_and_their_picture_is_silent_about_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smoking, burning = sorted(load_corpus(folder, RECIPES["fire_smoke"]).fires, key=lambda p: p.name)[:2]
    table = folder / "flames.csv"
    rows = [f"{smoking.sha256},,,,", f"{burning.sha256},0.1,0.2,0.3,0.6"]
    table.write_text("\n".join(["sha256,x1,y1,x2,y2", *rows]), encoding="utf-8")
    monkeypatch.setattr(data, "FLAMES", table)
    after = {p.name: p for p in load_corpus(folder, RECIPES["fire_smoke"]).fires}
    assert not after[smoking.name].known[0]
    assert len(after[smoking.name].boxes) == len(smoking.boxes)
    assert not after[burning.name].known[0]
    height, width = burning.image.shape[:2]
    np.testing.assert_allclose(
        after[burning.name].boxes[-1], [0, 0.1 * width, 0.2 * height, 0.3 * width, 0.6 * height], rtol=1e-5
    )


def test_each_network_gets_the_boxes_and_the_silence_that_its_labels_mean(folder: Path) -> None:
    streets = load_corpus(folder, RECIPES["street_order"])
    assert not streets.fires
    boxed = next(p for p in streets.streets if p.name == "s0.jpg")
    assert boxed.boxes[:, 0].tolist() == [STREET.index("motor_vehicle")]
    assert [name for name, known in zip(STREET, boxed.known, strict=True) if known] == ["motor_vehicle", "two_wheeler"]
    fires = load_corpus(folder, RECIPES["fire_smoke"])
    fire = next(p for p in fires.fires if p.name == "f1.jpg")
    assert fire.burns
    assert fire.known.tolist() == [True, True]


def test_labels_that_a_network_does_not_know_are_dropped() -> None:
    boxes = np.array([[6, 0, 0, 9, 9], [3, 1, 1, 5, 5]], np.float32)
    np.testing.assert_array_equal(relabel(boxes, STREET_FILE, ("fire", "motor_vehicle")), [[1, 1, 1, 5, 5]])


def test_a_network_that_nobody_described_is_named() -> None:
    with pytest.raises(ConfigError, match="use one of fire_smoke, street_order"):
        recipe_of("smoke_fire")


def test_near_twins_are_never_torn_apart() -> None:
    nothing = np.zeros((0, 5), np.float32)
    pictures = []
    for seed in range(60):
        for gain in (1.0, 0.8):
            image = (street(seed) * gain).astype(np.uint8)
            pictures.append(
                Picture(
                    f"{seed}", "s", hashlib.sha256(image.tobytes()).hexdigest(), image, nothing, np.ones(2, np.bool_)
                )
            )
    kept, out = hold_out(pictures, 30)
    assert not {p.name for p in kept} & {p.name for p in out}
    assert 10 < len(out) < 60


def test_samples_keep_boxes_inside_and_mask_smoke_where_it_is_not_labelled(folder: Path, recipe: Recipe) -> None:
    sampler = Sampler(load_corpus(folder, recipe), recipe)
    masked = 0
    for seed in range(60):
        image, boxes, known = sampler.sample(128, np.random.default_rng(seed), 0.5)
        assert image.shape == (128, 128, 3)
        assert image.dtype == np.uint8
        assert known.shape == (16, 16, len(recipe.labels))
        assert (boxes[:, 1:] >= 0).all()
        assert (boxes[:, 1:] <= 128).all()
        assert (boxes[:, 3:] > boxes[:, 1:3]).all()
        masked += not known.all()
    assert masked > 10
    unmasked = Sampler(load_corpus(folder, recipe), recipe, frozenset({"masking"}))
    assert unmasked.sample(64, np.random.default_rng(0), 0)[2].all()


@pytest.mark.parametrize(("without", "pictures"), [(frozenset(), 4), (frozenset({"mosaic"}), 1)])
def test_a_mosaic_is_of_four_pictures(
    folder: Path, without: frozenset[Part], pictures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler(load_corpus(folder, RECIPES["fire_smoke"]), RECIPES["fire_smoke"], without)
    drawn: list[Picture] = []
    draw = sampler.draw

    def noted(rng: np.random.Generator) -> Picture:
        drawn.append(draw(rng))
        return drawn[-1]

    monkeypatch.setattr(sampler, "draw", noted)
    sampler.sample(128, np.random.default_rng(0), mosaic_share=1.0)
    assert len(drawn) == pictures


@pytest.mark.parametrize("without", [frozenset(), frozenset({"hard_negatives"})])
def test_only_pictures_with_nothing_on_them_are_seen_from_close_by(
    without: frozenset[Part], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES["fire_smoke"]
    sampler = Sampler(load_corpus(folder, recipe), recipe, without)
    near = {True: 0, False: 0}

    def noted(canvas: Canvas, area: tuple[int, ...], picture: Picture, longest_px: float, rng: object) -> None:
        near[bool(picture.burns or len(picture.boxes))] += longest_px > 2 * 128

    monkeypatch.setattr(augment, "place", noted)
    rng = np.random.default_rng(3)
    for _ in range(400):
        sampler.single(128, rng)
    assert near[True] == 0
    assert (near[False] > 0) == (not without)


def test_a_sample_is_the_same_for_the_same_seed(folder: Path) -> None:
    recipe = RECIPES["fire_smoke"]
    sampler = Sampler(load_corpus(folder, recipe), recipe)
    first, second = (sampler.sample(128, np.random.default_rng(9), 0.5) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_however_many_lighters_and_candles_there_are_most_fires_that_are_drawn_are_others(folder: Path) -> None:
    recipe = RECIPES["fire_smoke"]
    corpus = load_corpus(folder, recipe)
    lighters = [p for p in corpus.fires if p.source == LIGHTERS]
    others = [p for p in corpus.fires if p.source != LIGHTERS]
    sampler = Sampler(replace(corpus, fires=50 * lighters + others), recipe)
    rng = np.random.default_rng(2)
    drawn = [p.source for p in (sampler.draw(rng) for _ in range(600)) if p.name.startswith("f")]
    assert 0 < drawn.count(LIGHTERS) < len(drawn) / 2


def test_a_composite_boxes_what_it_changed_and_leaves_the_street_alone(folder: Path) -> None:
    recipe = RECIPES["fire_smoke"]
    corpus = load_corpus(folder, recipe)
    flames = cut_flames(corpus.fires, 0)
    assert len(flames) == 2, "none of lighters and candles"
    street = corpus.streets[0]
    before = street.image.copy()
    seen = set()
    for seed in range(40):
        made = composite(street, flames, recipe.labels, np.random.default_rng(seed))
        seen |= set(made.boxes[:, 0].tolist())
        changed = np.abs(made.image.astype(int) - before).sum(2) > 0
        for _, *corners in made.boxes:
            x1, y1, x2, y2 = (int(v) for v in corners)
            assert 0 <= x1 < x2 <= 96
            assert 0 <= y1 < y2 <= 72
            assert changed[y1:y2, x1:x2].any()
        assert made.known.all()
    np.testing.assert_array_equal(street.image, before)
    assert seen == {0.0, 1.0}, "flames and smoke"


@pytest.mark.parametrize("add", [add_fog, add_lamps, add_sunset, add_warm_things])
def test_what_is_mistaken_for_fire_changes_a_picture_wherever_it_lands(add: Callable[..., None]) -> None:
    for seed in range(20):
        image = street(3)
        add(image, np.random.default_rng(seed))
        assert (image != street(3)).any()


def test_a_plain_picture_holds_nothing_and_says_so() -> None:
    bins = Picture("p", "garbage111", "", street(3), np.ones((1, 5), np.float32), np.array([True, False]))
    rng = np.random.default_rng(5)
    made = [plain(bins, rng) for _ in range(60)]
    assert all(len(one.boxes) == 0 and one.known.all() and one.image.shape == bins.image.shape for one in made)
    assert max(np.ptp(one.image, axis=1).max() for one in made) == 0, "each row is of one colour"
    levels = [one.image.mean() for one in made]
    assert min(levels) < 10
    assert max(levels) > 245


LEARNT = ["fire_smoke_train_0", "fire_smoke_train_1", "street_train"]


@pytest.fixture(scope="module")
def tested() -> set[str]:
    return hashes("fire_smoke_test_cctv") | hashes("fire_smoke_test_neg") | hashes("street_test")


@pytest.mark.parametrize("train", LEARNT)
class TestIndependence:
    pytestmark = needs_data

    def test_no_picture_that_is_learnt_is_a_test_picture(self, train: str, tested: set[str]) -> None:
        assert not hashes(train) & tested

    def test_no_picture_that_is_learnt_is_a_validation_picture(self, train: str) -> None:
        assert not hashes(train) & hashes("fire_smoke_val")


@pytest.mark.parametrize("val", ["fire_smoke_val", "street_val"])
class TestPoints:
    pytestmark = needs_data

    def test_no_picture_that_points_are_chosen_on_is_a_test_picture(self, val: str, tested: set[str]) -> None:
        assert not hashes(val) & tested


def hashes(name: str) -> set[str]:
    return {hashlib.sha256(content).hexdigest() for _, content, _ in members(DATA / f"{name}.tar")}
