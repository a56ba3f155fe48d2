from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from models.detectors.training import loss as losses  # noqa: E402
from models.detectors.training.network import Exported, Network, anchors, to_boxes  # noqa: E402
from models.detectors.training.train import Plan, collate, labelled_anchors  # noqa: E402


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


def test_a_box_smaller_than_the_grid_still_has_anchors() -> None:
    centres, _ = anchors(64, 64)
    tiny = torch.tensor([[[0.0, 8, 8, 10, 10]]])
    scores, boxes = torch.full((1, len(centres), 2), 0.01), torch.zeros(1, len(centres), 4)
    target, _, is_positive = losses.assign(scores, boxes, centres, tiny, is_real=torch.ones(1, 1, dtype=torch.bool))
    assert is_positive.any()
    assert target.shape == scores.shape


def test_padding_answers_for_nothing() -> None:
    centres, _ = anchors(64, 64)
    truth = torch.tensor([[[0.0, 0, 0, 64, 64]]])
    scores, boxes = torch.full((1, len(centres), 2), 0.5), truth[:, :, 1:].expand(1, len(centres), 4)
    *_, is_positive = losses.assign(scores, boxes, centres, truth, is_real=torch.zeros(1, 1, dtype=torch.bool))
    assert not is_positive.any()


def gradient_of_smoke(knows_smoke: float) -> float:
    grid = anchors(64, 64)
    logits = torch.zeros(1, len(grid[0]), 2, requires_grad=True)
    known = labelled_anchors(torch.full((1, 8, 8), knows_smoke))
    nothing = torch.zeros(1, 1, 5), torch.zeros(1, 1, dtype=torch.bool)
    box, score = losses.loss((torch.zeros(1, len(grid[0]), 4), logits), grid, *nothing, known)
    (box + score).backward()
    assert logits.grad[..., 0].abs().min() > 0, "fire is labelled everywhere"
    return float(logits.grad[..., 1].abs().sum())


def test_smoke_is_not_learnt_to_be_background_where_nobody_labelled_it() -> None:
    assert gradient_of_smoke(0.0) == 0
    assert gradient_of_smoke(1.0) > 0


def test_one_unlabelled_cell_masks_the_coarse_anchors_above_it() -> None:
    flags = torch.ones(1, 8, 8)
    flags[0, 0, 0] = 0
    known = labelled_anchors(flags)[0, :, 1]
    assert (known == 0).nonzero().flatten().tolist() == [0, 64, 80]


def test_a_batch_is_padded_and_says_so() -> None:
    image, cells = np.zeros((64, 64, 3), np.uint8), np.ones((8, 8), np.float32)
    two = np.ones((2, 5), np.float32)
    images, truth, is_real, _ = collate([(image, two, cells), (image, two[:0], cells)])
    assert images.shape == (2, 64, 64, 3)
    assert truth.shape == (2, 2, 5)
    assert is_real.tolist() == [[True, True], [False, False]]


def test_a_budget_is_used_by_time_or_by_pictures_whichever_is_first() -> None:
    assert Plan(minutes=10, pictures=0).progress(300, 10**9) == 0.5
    assert Plan(minutes=10, pictures=100).progress(60, 90) == 0.9
    assert Plan(minutes=0, pictures=100).progress(10**9, 10) == 0.1


def test_an_exported_file_answers_as_the_network_does(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="export needs the extra `train`")
    import onnxruntime

    from models.detectors.training.export import export
    from models.detectors.training.train import SIZE_PX

    torch.manual_seed(0)
    network = Network(2).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    export(tmp_path / "weights.pt", tmp_path / "net.onnx")
    picture = np.random.default_rng(0).integers(0, 256, (1, SIZE_PX, SIZE_PX, 3), np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    boxes, scores = session.run(["boxes", "scores"], {"picture": picture})
    with torch.inference_mode():
        expected = Exported(network, SIZE_PX, SIZE_PX).eval()(torch.from_numpy(picture))
    np.testing.assert_allclose(boxes, expected[0].numpy(), atol=1e-2)
    np.testing.assert_allclose(scores, expected[1].numpy(), atol=1e-5)
