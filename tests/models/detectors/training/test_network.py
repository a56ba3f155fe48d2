from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from models.detectors.training import loss as losses  # noqa: E402
from models.detectors.training.network import Exported, Network, anchors, to_boxes  # noqa: E402
from models.detectors.training.recipes import FIRE_SMOKE, RECIPES, STREET  # noqa: E402
from models.detectors.training.train import (  # noqa: E402
    Plan,
    Run,
    collate,
    exclusions,
    labelled_anchors,
    trained,
)
from models.errors import SourceError  # noqa: E402


def test_the_network_is_as_small_as_it_should_be() -> None:
    assert 250_000 < sum(p.numel() for p in Network(2).parameters()) < 800_000


def test_every_cell_of_every_level_answers_and_lies_where_its_anchor_says() -> None:
    distances, logits = Network(2).eval()(torch.zeros(1, 3, 64, 96))
    centres, strides = anchors(64, 96)
    assert distances.shape == (1, 8 * 12 + 4 * 6 + 2 * 3, 4)
    assert logits.shape == (1, len(centres), 2)
    assert centres[1].tolist() == [12, 4]
    assert centres[-1].tolist() == [80, 48]
    boxes = to_boxes(torch.full((1, len(centres), 4), 30.0), centres, strides)
    assert boxes[0, 0].tolist() == pytest.approx([4 - 240, 4 - 240, 4 + 240, 4 + 240])


def test_the_exported_network_takes_bytes_and_gives_scores_between_nought_and_one() -> None:
    boxes, scores = Exported(Network(2), 64, 96).eval()(torch.zeros(1, 64, 96, 3, dtype=torch.uint8))
    assert boxes.shape[2] == 4
    assert ((scores > 0) & (scores < 1)).all()


def test_complete_iou_of_equal_boxes_is_one_and_of_far_ones_below_nought() -> None:
    a = torch.tensor([[0.0, 0, 10, 10]])
    assert losses.complete_iou(a, a).item() == pytest.approx(1, abs=1e-5)
    assert losses.complete_iou(a, a + 100).item() < -0.5


def test_a_part_of_a_thing_lies_within_it_and_the_whole_scene_does_not() -> None:
    boxes = torch.tensor([[[0.0, 0, 4, 4], [2, 2, 6, 6], [0, 0, 80, 80]]])
    assert losses.part_within(boxes, torch.tensor([[[0.0, 0, 4, 8]]]))[0, 0].tolist() == pytest.approx([1, 0.5, 0.005])


def test_a_box_smaller_than_the_grid_still_has_anchors() -> None:
    centres, _ = anchors(64, 64)
    tiny = torch.tensor([[[0.0, 8, 8, 10, 10]]])
    scores, boxes = torch.full((1, len(centres), 2), 0.01), torch.zeros(1, len(centres), 4)
    target = losses.assign(scores, boxes, centres, tiny, is_real=torch.ones(1, 1, dtype=torch.bool))
    assert target.is_positive.any()
    assert target.scores.shape == scores.shape


def test_padding_answers_for_nothing() -> None:
    centres, _ = anchors(64, 64)
    truth = torch.tensor([[[0.0, 0, 0, 64, 64]]])
    scores, boxes = torch.full((1, len(centres), 2), 0.5), truth[:, :, 1:].expand(1, len(centres), 4)
    target = losses.assign(scores, boxes, centres, truth, is_real=torch.zeros(1, 1, dtype=torch.bool))
    assert not target.is_positive.any()


def gradient_of_smoke(knows_smoke: float) -> float:
    grid = anchors(64, 64)
    logits = torch.zeros(1, len(grid[0]), 2, requires_grad=True)
    known = labelled_anchors(torch.tensor([1.0, knows_smoke]).expand(1, 8, 8, 2))
    nothing = torch.zeros(1, 1, 5), torch.zeros(1, 1, dtype=torch.bool)
    excludes = exclusions(RECIPES["fire_smoke"])
    box, score = losses.loss((torch.zeros(1, len(grid[0]), 4), logits), grid, *nothing, known, excludes)
    (box + score).backward()
    assert logits.grad[..., 0].abs().min() > 0, "fire is labelled everywhere"
    return float(logits.grad[..., 1].abs().sum())


def test_smoke_is_not_learnt_to_be_background_where_nobody_labelled_it() -> None:
    assert gradient_of_smoke(0.0) == 0
    assert gradient_of_smoke(1.0) > 0


def test_a_bin_is_known_to_be_no_vehicle_where_nobody_labelled_vehicles() -> None:
    recipe = RECIPES["street_order"]
    bin_, vehicle = recipe.labels.index("garbage_bin"), recipe.labels.index("motor_vehicle")
    grid = anchors(64, 64)
    logits = torch.zeros(1, len(grid[0]), len(recipe.labels), requires_grad=True)
    nothing_is_labelled = torch.zeros(1, len(grid[0]), len(recipe.labels))
    truth = torch.tensor([[[float(bin_), 8, 8, 24, 24]]])
    box, score = losses.loss(
        (torch.zeros(1, len(grid[0]), 4), logits),
        grid,
        truth,
        torch.ones(1, 1, dtype=torch.bool),
        nothing_is_labelled,
        exclusions(recipe),
    )
    (box + score).backward()
    pushed = logits.grad[0, :, vehicle] > 0
    assert pushed.any(), "at the bin"
    far = (grid[0] > 40).all(1)
    assert not pushed[far].any(), "elsewhere a vehicle may stand"


def test_fire_and_smoke_may_be_in_one_box_and_nothing_else_may() -> None:
    recipe = replace(RECIPES["fire_smoke"], labels=FIRE_SMOKE + STREET)
    table = exclusions(recipe)
    fire, smoke = recipe.labels.index("fire"), recipe.labels.index("smoke")
    assert table[fire, smoke] == table[smoke, fire] == 0
    assert table.sum() == len(recipe.labels) * (len(recipe.labels) - 1) - 2


def test_one_unlabelled_cell_masks_the_coarse_anchors_above_it() -> None:
    flags = torch.ones(1, 8, 8, 2)
    flags[0, 0, 0, 1] = 0
    known = labelled_anchors(flags)[0, :, 1]
    assert (known == 0).nonzero().flatten().tolist() == [0, 64, 80]


def test_a_batch_is_padded_and_says_so() -> None:
    image, cells = np.zeros((64, 64, 3), np.uint8), np.ones((8, 8, 2), np.bool_)
    two = np.ones((2, 5), np.float32)
    images, truth, is_real, _ = collate([(image, two, cells), (image, two[:0], cells)])
    assert images.shape == (2, 64, 64, 3)
    assert truth.shape == (2, 2, 5)
    assert is_real.tolist() == [[True, True], [False, False]]


def test_a_budget_is_used_by_time_or_by_pictures_whichever_is_first() -> None:
    assert Plan(minutes=10, pictures=0).progress(300, 10**9) == 0.5
    assert Plan(minutes=10, pictures=100).progress(60, 90) == 0.9
    assert Plan(minutes=0, pictures=100).progress(10**9, 10) == 0.1


def test_the_rate_rises_holds_and_falls() -> None:
    plan = Plan(rate=1.0, warmup_steps=10, hold_share=0.5)
    assert plan.rate_at(0.0, 0) == pytest.approx(0.1)
    assert plan.rate_at(0.5, 100) == pytest.approx(1.0)
    assert plan.rate_at(0.75, 100) == pytest.approx(0.505)
    assert plan.rate_at(1.0, 100) == pytest.approx(0.01)


def test_the_rate_of_what_goes_on_from_a_checkpoint_falls_at_once(tmp_path: Path) -> None:
    assert Plan().rate_at(0.2, 10**6) == Plan().rate
    further = Plan(start=tmp_path)
    assert further.rate_at(0.2, 10**6) < 0.95 * further.rate_at(0.0, 10**6) < 0.5 * Plan().rate


def test_a_run_begins_with_small_pictures_and_one_that_goes_on_does_not(tmp_path: Path) -> None:
    assert [Plan().size_at(progress, 320) for progress in (0.0, 0.4, 0.6)] == [256, 256, 320]
    assert Plan(start=tmp_path).size_at(0.0, 320) == 320


def test_a_run_goes_on_where_it_ended_and_another_run_can_start_from_it(tmp_path: Path) -> None:
    recipe = RECIPES["fire_smoke"]
    run = Run(recipe, Plan(), tmp_path, torch.device("cpu"))
    run.history, run.epoch, run.steps = [{"epoch": 0, "box": 1.0, "score": 1.0, "fitness": 0.1}], 1, 250
    run.save()
    again = Run(recipe, Plan(seed=1), tmp_path, torch.device("cpu"))
    again.resume()
    assert (again.epoch, again.steps, again.history) == (1, 250, run.history)
    further = Run(recipe, Plan(start=tmp_path / "best.pt", seed=2), tmp_path, torch.device("cpu"))
    for name, value in trained(tmp_path / "best.pt", recipe.labels).state_dict().items():
        assert torch.equal(further.network.state_dict()[name], value), name
    assert (tmp_path / "curves.png").stat().st_size > 1000
    with pytest.raises(SourceError, match="sees fire, smoke, not garbage"):
        Run(RECIPES["street_order"], Plan(start=tmp_path / "best.pt"), tmp_path, torch.device("cpu"))


def test_the_best_epoch_by_validation_is_kept_and_not_the_last(tmp_path: Path) -> None:
    run = Run(RECIPES["fire_smoke"], Plan(), tmp_path, torch.device("cpu"))
    bias = run.average.heads[0].score[-1].bias
    for epoch, fitness in enumerate((0.1, 0.4, 0.3)):
        bias.fill_(float(epoch))
        run.epoch = epoch
        run.history.append({"epoch": epoch, "box": 1.0, "score": 1.0, "fitness": fitness})
        run.save()
    assert trained(tmp_path / "best.pt", FIRE_SMOKE).heads[0].score[-1].bias.tolist() == [1.0, 1.0]
    assert torch.load(tmp_path / "last.pt", weights_only=True)["progress"][0] == 2


def test_the_moving_average_follows_behind_what_is_trained(tmp_path: Path) -> None:
    run = Run(RECIPES["fire_smoke"], Plan(warmup_steps=1, threads=1), tmp_path, torch.device("cpu"))
    before = run.network.heads[0].score[-1].bias.detach().clone()
    nothing = np.zeros((64, 64, 3), np.uint8), np.zeros((0, 5), np.float32), np.ones((8, 8, 2), np.bool_)
    for _ in range(3):
        run.step(collate([nothing]), anchors(64, 64), progress=0.5)
    trained = (run.network.heads[0].score[-1].bias - before).abs()
    averaged = (run.average.heads[0].score[-1].bias - before).abs()
    assert (averaged > 0).all()
    assert (averaged < trained).all()


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    torch.save({"weights": 1}, tmp_path / "other.pt")
    for name in ("other.pt", "missing.pt"):
        with pytest.raises(SourceError, match=name):
            trained(tmp_path / name, FIRE_SMOKE)
