"""Figures of a checkpoint on validation pictures: what chooses the best one. No test picture is read."""

# Where torch is not installed it is Any to the type checker, and so is what derives from it.
# mypy: disable-error-code="misc, untyped-decorator"

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.detectors.decode import Candidates, decode_anchors
from models.detectors.evaluation.points import best_scores
from models.detectors.evaluation.scoring import average_precision
from models.detectors.training.augment import GREY, degrade
from models.detectors.training.data import Corpus, Picture
from models.detectors.training.network import anchors, to_boxes
from models.detectors.training.recipes import Recipe
from models.detectors.training.synthetic import composite, cut_flames

FLOOR: Final = 0.001  # COCO needs the tail
BATCH: Final = 32
QUIET_SHARE: Final = 0.01  # of the held-out streets may be false where recall is read
FOREIGN_SCORE: Final = 0.5  # a detection of a class that the picture's source does not draw counts from here on


def as_input(images: Tensor) -> Tensor:
    """(b, h, w, 3) uint8 to (b, 3, h, w) float in 0..1, laid out channels last."""
    return images.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)


def letterbox(image: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], float]:
    """The picture at the top left of a grey square, and the factor it was scaled by."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    canvas = np.full((size, size, 3), GREY, np.uint8)
    small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas, scale


def detect_all(
    network: nn.Module, pictures: Sequence[Picture], device: torch.device, size_px: int = 320, *, threads: int = 2
) -> list[Candidates]:
    """What an unexported network sees on each picture, in pixels of the picture."""
    network.eval()
    batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    with ThreadPoolExecutor(threads) as pool:
        return [seen for batch in pool.map(lambda b: _detect(network, b, device, size_px), batches) for seen in batch]


@torch.inference_mode()
def _detect(network: nn.Module, batch: Sequence[Picture], device: torch.device, size_px: int) -> list[Candidates]:
    boxed = [letterbox(picture.image, size_px) for picture in batch]
    images = as_input(torch.from_numpy(np.stack([image for image, _ in boxed])).to(device))
    with torch.autocast(device.type, torch.bfloat16):
        distances, logits = network(images)
    boxes = to_boxes(distances.float().cpu(), *anchors(size_px, size_px)).numpy()
    scores = logits.float().sigmoid().cpu().numpy()
    found = []
    for box, score, (_, scale) in zip(boxes, scores, boxed, strict=True):
        seen = decode_anchors(box, score, floor=FLOOR)
        found.append(seen._replace(boxes_px=seen.boxes_px / scale))
    return found


def burning_streets(corpus: Corpus, recipe: Recipe, count: int = 400) -> list[Picture]:
    """Flames of validation pictures over held-out streets: what validation lacks of a camera's view. Never a test."""
    rng = np.random.default_rng(7)
    flames = cut_flames([p for p in corpus.val if p.burns], recipe.labels.index("fire"))
    made = []
    for _ in range(count):
        street = corpus.held_out[rng.integers(len(corpus.held_out))]
        lit = composite(street, flames, recipe.labels, rng)
        made.append(replace(lit, image=degrade(letterbox(lit.image, max(lit.image.shape[:2]))[0], rng)))
    return [picture for picture in made if picture.has(recipe.labels.index("fire"))]


class Validation:
    """The pictures that a run is judged on, put together once."""

    def __init__(self, corpus: Corpus, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.val, self.quiet = corpus.val, corpus.held_out
        self.burning = burning_streets(corpus, recipe) if recipe.sees_fire else []

    def figures(self, network: nn.Module) -> dict[str, float]:
        """AP50 of each class, recall of fire and smoke where streets are quiet, and `fitness`, which is maximised."""
        seen = detect_all(network, self.val, self.device, self.recipe.size_px)
        figures = {
            f"ap50_{name}": average_precision(self.val, seen, label).ap50
            for label, name in enumerate(self.recipe.labels)
        }
        if self.recipe.sees_fire:
            figures |= self.quiet_recall(network, seen)
        fitness = float(np.mean([value for key, value in figures.items() if not key.startswith("bound")]))
        if self.recipe.sees_streets:
            figures["foreign"] = foreign_share(self.val, seen)
            fitness -= figures["foreign"] / len(self.recipe.labels)
        return {key: round(value, 4) for key, value in (figures | {"fitness": fitness}).items()}

    def quiet_recall(self, network: nn.Module, seen: Sequence[Candidates]) -> dict[str, float]:
        """Recall of fire and smoke where `QUIET_SHARE` of the held-out streets are false, on composites as well."""
        quiet = detect_all(network, self.quiet, self.device, self.recipe.size_px)
        burning = detect_all(network, self.burning, self.device, self.recipe.size_px)
        figures = {}
        for name in ("fire", "smoke"):
            label = self.recipe.labels.index(name)
            bound = float(np.quantile(best_scores(quiet, label), 1 - QUIET_SHARE))
            for key, pictures, found in (("", self.val, seen), ("street_", self.burning, burning)):
                has = np.array([picture.has(label) for picture in pictures])
                above = (best_scores(found, label) > bound) & has
                figures[f"recall_{key}{name}"] = float(above.sum() / max(has.sum(), 1))
            figures[f"bound_{name}"] = bound
        return figures


def foreign_share(pictures: Sequence[Picture], seen: Sequence[Candidates]) -> float:
    """Share of the pictures on which something is seen that their source does not draw; most of it is wrong."""
    strange = [
        any(not picture.known[label] for label in found.classes[found.scores >= FOREIGN_SCORE])
        for picture, found in zip(pictures, seen, strict=True)
        if picture.known[-1] or not picture.burns
    ]
    return float(np.mean(strange))
