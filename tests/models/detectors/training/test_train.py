from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from models.detectors import commands  # noqa: E402
from models.detectors.decode import Candidates  # noqa: E402
from models.detectors.training.ablate import Study, compare, run  # noqa: E402
from models.detectors.training.data import Picture, load_corpus  # noqa: E402
from models.detectors.training.recipes import RECIPES  # noqa: E402
from models.detectors.training.train import Plan, train, trained  # noqa: E402
from models.detectors.training.validate import burning_streets, foreign_share, letterbox  # noqa: E402
from models.errors import ConfigError, SourceError  # noqa: E402
from tests.models.detectors.test_commands import parse  # noqa: E402
from tests.models.detectors.tiny_data import write_tiny_data  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data folder."""
    return write_tiny_data(tmp_path_factory.mktemp("tiny"))


def test_a_run_trains_validates_and_goes_on_with_the_same_command(folder: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPES["fire_smoke"], size_px=64)
    plan = Plan(minutes=0, pictures=8, batch=4, epoch_pictures=8, warmup_steps=1, small_share=0)
    best = train(recipe, folder, tmp_path, plan)
    first = json.loads((tmp_path / "history.json").read_text())
    assert [row["pictures"] for row in first] == [8]
    assert {"ap50_fire", "recall_street_fire", "fitness"} <= first[0].keys()
    train(recipe, folder, tmp_path, replace(plan, pictures=16), resume=True)
    second = json.loads((tmp_path / "history.json").read_text())
    assert second[0] == first[0]
    assert [row["pictures"] for row in second] == [8, 16]
    trained(best, ("fire", "smoke"))
    assert {path.name for path in tmp_path.iterdir()} >= {"best.pt", "last.pt", "epoch_001.pt", "curves.png"}


def test_two_cores_learn_what_one_does(folder: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPES["street_order"], size_px=64)
    plan = Plan(minutes=0, pictures=8, batch=4, epoch_pictures=8, small_share=0)
    weights: list[dict[str, Any]] = []
    for threads in (2, 2, 1):
        out = tmp_path / str(len(weights))
        weights.append(trained(train(recipe, folder, out, replace(plan, threads=threads)), recipe.labels).state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), f"{name} differs from one run to the next"
    lateral = "lateral.0.0.weight"
    assert torch.allclose(weights[0][lateral], weights[2][lateral], atol=5e-3)


def test_validation_lights_flames_on_streets_that_were_held_out(folder: Path) -> None:
    recipe = RECIPES["fire_smoke"]
    corpus = load_corpus(folder, recipe)
    lit = burning_streets(corpus, recipe, count=20)
    assert lit
    assert {picture.sha256 for picture in lit} <= {picture.sha256 for picture in corpus.held_out}
    assert all(picture.has(0) for picture in lit)


def test_what_a_source_does_not_draw_counts_as_foreign_from_one_half_on() -> None:
    image, nothing = np.zeros((9, 9, 3), np.uint8), np.zeros((0, 5), np.float32)
    picture = Picture("p", "garbage111", "", image, nothing, np.array([True, False]))

    def seen(label: int, score: float) -> Candidates:
        return Candidates(np.zeros((1, 4), np.float32), np.array([score], np.float32), np.array([label]))

    assert foreign_share([picture] * 4, [seen(0, 0.9), seen(1, 0.9), seen(1, 0.4), seen(1, 0.5)]) == 0.5


def test_a_picture_lies_at_the_top_left_of_a_grey_square() -> None:
    square, scale = letterbox(np.zeros((90, 160, 3), np.uint8), 64)
    assert scale == pytest.approx(0.4)
    assert (square[:36] == 0).all()
    assert (square[36:] == 114).all()


def test_an_ablation_shows_the_mean_and_the_spread_of_the_seeds() -> None:
    rows = {
        "everything": [{"ap50_fire": 0.6, "epoch": 3}, {"ap50_fire": 0.7, "epoch": 4}],
        "mosaic": [{"ap50_fire": 0.5}],
    }
    text = compare(rows)
    assert "| everything | 0.650 (0.600-0.700) |" in text
    assert "| without mosaic | 0.500 (0.500-0.500) |" in text
    assert "epoch" not in text


def test_a_finished_run_of_an_ablation_is_only_read(tmp_path: Path) -> None:
    study = Study(RECIPES["fire_smoke"], tmp_path / "no pictures here", tmp_path, epochs=1)
    (tmp_path / "mosaic-1").mkdir()
    rows = [{"fitness": 0.4, "pictures": 32}, {"fitness": 0.3, "pictures": 64}]
    (tmp_path / "mosaic-1" / "history.json").write_text(json.dumps(rows))
    assert run(study, "mosaic", 1, epoch_pictures=64) == rows[0]
    with pytest.raises(SourceError, match=r"no pictures here.*--data"):
        run(study, "mosaic", 1, epoch_pictures=128)


def test_training_without_a_budget_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commands.NEEDED, "train", ())
    args = parse("train", "fire_smoke", "--data", str(tmp_path), "--minutes", "0")
    with pytest.raises(ConfigError, match="there is no budget"):
        args.run(args)


def test_a_share_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commands.NEEDED, "train", ())
    args = parse("train", "fire_smoke", "--data", str(tmp_path), "--calm", "20")
    with pytest.raises(ConfigError, match=r"--calm: 20\.0 is no share; give 0 to 1"):
        args.run(args)
