"""Task-aligned assignment (TOOD, Feng et al. 2021), complete IoU (Zheng et al. 2020) and soft-target cross entropy.

Unlabelled classes are masked: where a picture's source did not draw smoke, no anchor is told that there is none. With
one exception: what a source did box is known to be that, and nothing else. Without it no picture would ever teach that
a bin is no three-wheeler, when one source draws the bins and another one the vehicles.
"""

# Where torch is not installed it is Any to the type checker.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.detectors.training.network import to_boxes

TOP_K = 10
SCORE_POWER, OVERLAP_POWER = 0.5, 6.0
SMALLEST_PX = 16.0  # a smaller box could fall between the anchors and would never be learnt
BOX_WEIGHT, SCORE_WEIGHT = 5.0, 1.0
# The target of the best anchor of a box is its IoU to this power: a small or fuzzy flame that no box fits well must
# still be told apart from none.
QUALITY_POWER = 0.5
# From here on a predicted box means the thing that is boxed there: by complete IoU, or by how much of it lies within.
SAME_OVERLAP, SAME_PART = 0.4, 0.7


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of two broadcastable sets of boxes (..., 4) as x1 y1 x2 y2."""
    eps = 1e-7
    ax1, ay1, ax2, ay2 = a.unbind(-1)
    bx1, by1, bx2, by2 = b.unbind(-1)
    aw, ah, bw, bh = ax2 - ax1, ay2 - ay1 + eps, bx2 - bx1, by2 - by1 + eps
    inter = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(0) * (
        torch.minimum(ay2, by2) - torch.maximum(ay1, by1)
    ).clamp(0)
    iou = inter / (aw * ah + bw * bh - inter + eps)
    hull_w = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    hull_h = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    apart = ((bx1 + bx2 - ax1 - ax2) ** 2 + (by1 + by2 - ay1 - ay2) ** 2) / 4
    shape = (4 / math.pi**2) * (torch.atan(bw / bh) - torch.atan(aw / ah)) ** 2
    with torch.no_grad():
        weight = shape / (shape - iou + (1 + eps))
    return iou - apart / (hull_w**2 + hull_h**2 + eps) - shape * weight


def part_within(boxes: Tensor, truth: Tensor) -> Tensor:
    """(b, m, n) in 0..1: how much of box n lies in true box m."""
    near, far = boxes[:, None, :, :2], boxes[:, None, :, 2:]
    common = torch.minimum(far, truth[:, :, None, 2:]) - torch.maximum(near, truth[:, :, None, :2])
    return common.clamp(0).prod(-1) / ((far - near).prod(-1) + 1e-7)


def is_inside(centres: Tensor, boxes: Tensor) -> Tensor:
    """(b, m, n) bool: anchor n lies in box m, grown to `SMALLEST_PX` where it is smaller."""
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = ((boxes[..., 2:] - boxes[..., :2]) / 2).clamp(min=SMALLEST_PX / 2)
    return ((centres - middle[:, :, None]).abs() < half[:, :, None]).all(-1)


class Assigned(NamedTuple):
    """What each anchor answers for.

    Attributes:
        scores: (b, n, classes) targets.
        boxes: (b, n, 4) target boxes in pixels.
        is_positive: (b, n) bool, whether the anchor answers for a box.
        meets: (b, n, m) bool, which boxes it answers for, or its own box means in all likelihood.
    """

    scores: Tensor
    boxes: Tensor
    is_positive: Tensor
    meets: Tensor


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, centres: Tensor, truth: Tensor, *, is_real: Tensor) -> Assigned:
    """Which anchor answers for which box.

    Args:
        scores: (b, n, classes) in 0..1.
        boxes: (b, n, 4) predicted, in pixels.
        centres: (n, 2) of the anchors.
        truth: (b, m, 5) class and box, padded.
        is_real: (b, m) bool, False for padding.
    """
    batch, _, classes = scores.shape
    labels, true_boxes = truth[..., 0].long(), truth[..., 1:]
    allowed = is_inside(centres, true_boxes) & is_real[..., None]
    score = scores.transpose(1, 2).gather(1, labels[..., None].expand(-1, -1, scores.shape[1]))
    overlap = complete_iou(true_boxes[:, :, None], boxes[:, None]).clamp(0) * allowed
    metric = score**SCORE_POWER * overlap**OVERLAP_POWER
    # Before it has learnt anything the metric is zero everywhere: the nearest anchors inside break the tie.
    middle = (true_boxes[..., :2] + true_boxes[..., 2:]) / 2
    nearness = 1e-9 / (1 + (centres - middle[:, :, None]).norm(dim=-1))
    ranked = torch.where(allowed, metric + nearness, 0.0)
    chosen = torch.zeros_like(ranked).scatter_(2, ranked.topk(TOP_K, dim=2).indices, 1.0).bool() & allowed
    owner = torch.where(chosen, overlap + 1e-9, 0.0).argmax(1)
    is_positive = chosen.any(1)
    chosen &= functional.one_hot(owner, truth.shape[1]).transpose(1, 2).bool()
    metric = metric * chosen
    peak = metric.amax(2, keepdim=True)
    scale = (overlap * chosen).amax(2, keepdim=True) ** QUALITY_POWER / (peak + 1e-9)
    soft = (metric * scale).amax(1)
    rows = torch.arange(batch, device=truth.device)[:, None]
    target_scores = functional.one_hot(labels[rows, owner], classes) * soft[..., None]
    target_scores = torch.where(is_positive[..., None], target_scores, 0.0)
    meets = (chosen | (overlap > SAME_OVERLAP) | (part_within(boxes, true_boxes) * allowed > SAME_PART)).transpose(1, 2)
    return Assigned(target_scores, true_boxes[rows, owner], is_positive, meets)


def loss(
    raw: tuple[Tensor, Tensor],
    grid: tuple[Tensor, Tensor],
    truth: Tensor,
    is_real: Tensor,
    is_labelled: Tensor,
    excludes: Tensor,
) -> tuple[Tensor, Tensor]:
    """Box and score loss, per unit of target score.

    Args:
        raw: distances and logits of the network, float32.
        grid: centres and strides of the anchors.
        truth: (b, m, 5) class and box in pixels, padded.
        is_real: (b, m) bool, False for padding.
        is_labelled: (b, n, classes) 1 where the absence of a class is known, 0 where its loss is masked.
        excludes: (classes, classes) 1 where a box of the first class is surely none of the second.
    """
    distances, logits = raw
    boxes = to_boxes(distances, *grid)
    target = assign(logits.detach().sigmoid(), boxes.detach(), grid[0], truth, is_real=is_real)
    total = target.scores.sum().clamp(1)
    entropy = functional.binary_cross_entropy_with_logits(logits, target.scores, reduction="none")
    ruled_out = target.meets.float() @ excludes[truth[..., 0].long()]
    counts = is_labelled.bool() | (ruled_out > 0) | (target.scores > 0)
    score_loss = (entropy * counts).sum() / total
    weight = target.scores.sum(-1)[target.is_positive]
    box_loss = ((1 - complete_iou(boxes[target.is_positive], target.boxes[target.is_positive])) * weight).sum() / total
    return BOX_WEIGHT * box_loss, SCORE_WEIGHT * score_loss
