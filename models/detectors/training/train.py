"""Training by one command: budgeted by pictures or by wall clock, resumable, best checkpoint by validation.

With a budget of pictures a run repeats itself on a machine; with one of minutes the schedule depends on its speed.
"""

# Where torch is not installed it is Any to the type checker, and so is what derives from it.
# mypy: disable-error-code="misc, untyped-decorator"

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from models.detectors.decode import Candidates, decode_anchors
from models.detectors.training import loss as losses
from models.detectors.training.augment import GREY, MOSAIC_SHARE, Sampler, composite, cut_flames, degrade
from models.detectors.training.data import FIRE, LABELS, SMOKE, Corpus, Picture, load_corpus
from models.detectors.training.network import STRIDES, Network, anchors, to_boxes
from models.detectors.training.points import best_scores
from models.detectors.training.scoring import average_precision

SIZE_PX, SMALL_PX = 320, 256
FLOOR = 0.001  # COCO needs the tail


@dataclass(frozen=True, slots=True)
class Plan:
    """A training run.

    Attributes:
        minutes: wall-clock budget, or 0 for none.
        pictures: budget in pictures, or 0 for none.
        small_share: share of the budget at 256 px before 320.
        calm_share: share of the budget at the end with few mosaics.
    """

    minutes: float = 75.0
    pictures: int = 0
    batch: int = 32
    epoch_pictures: int = 8_000
    rate: float = 2e-3
    decay: float = 0.03
    ema: float = 0.999
    warmup_steps: int = 400
    small_share: float = 0.62
    calm_share: float = 0.2
    threads: int = 2
    seed: int = 20

    def progress(self, elapsed_s: float, pictures: int) -> float:
        """How much of the budget is used, 0..1."""
        by_time = elapsed_s / (60 * self.minutes) if self.minutes else 0.0
        by_pictures = pictures / self.pictures if self.pictures else 0.0
        return min(max(by_time, by_pictures), 1.0)


class Stream(IterableDataset[Any]):
    """An epoch of augmented batches, the same for the same seed and epoch."""

    def __init__(self, sampler: Sampler, plan: Plan, *, size: int, mosaic_share: float, epoch: int) -> None:
        self.sampler, self.plan, self.size, self.mosaic_share, self.epoch = sampler, plan, size, mosaic_share, epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        rng = np.random.default_rng((self.plan.seed, self.epoch))
        for _ in range(self.plan.epoch_pictures // self.plan.batch):
            yield collate([self.sampler.sample(self.size, rng, self.mosaic_share) for _ in range(self.plan.batch)])


def collate(samples: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures (b, s, s, 3) uint8, boxes (b, m, 5) padded, which of them are real, and the smoke flags of the cells."""
    images, boxes, knows_smoke = zip(*samples, strict=True)
    most = max(1, *(len(rows) for rows in boxes))
    truth = np.zeros((len(boxes), most, 5), np.float32)
    for index, rows in enumerate(boxes):
        truth[index, : len(rows)] = rows
    is_real = np.arange(most) < np.array([len(rows) for rows in boxes])[:, None]
    return tuple(torch.from_numpy(part) for part in (np.stack(images), truth, is_real, np.stack(knows_smoke)))


def labelled_anchors(knows_smoke: Tensor) -> Tensor:
    """(b, n, classes): an anchor of a coarse level is masked as soon as one of the fine cells below it is."""
    levels = [
        -torch.nn.functional.max_pool2d(-knows_smoke[:, None], stride // STRIDES[0]).flatten(1) for stride in STRIDES
    ]
    smoke = torch.cat(levels, 1)
    return torch.stack([smoke if label == SMOKE else torch.ones_like(smoke) for label in range(len(LABELS))], -1)


def as_input(images: Tensor) -> Tensor:
    """(b, h, w, 3) uint8 to (b, 3, h, w) float in 0..1, laid out channels last."""
    return images.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)


def letterbox(picture: Picture, size: int) -> tuple[np.ndarray, float]:
    """The picture at the top left of a grey square, and the factor it was scaled by."""
    height, width = picture.image.shape[:2]
    scale = size / max(height, width)
    canvas = np.full((size, size, 3), GREY, np.uint8)
    small = cv2.resize(picture.image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas, scale


@torch.inference_mode()
def detect_all(network: nn.Module, pictures: Sequence[Picture], device: torch.device) -> list[Candidates]:
    """What an unexported network sees on each picture, in pixels of the picture."""
    network.eval()
    centres, strides = anchors(SIZE_PX, SIZE_PX)
    found = []
    for start in range(0, len(pictures), 32):
        boxed = [letterbox(picture, SIZE_PX) for picture in pictures[start : start + 32]]
        images = as_input(torch.from_numpy(np.stack([image for image, _ in boxed])).to(device))
        with torch.autocast(device.type, torch.bfloat16):
            distances, logits = network(images)
        boxes = to_boxes(distances.float().cpu(), centres, strides).numpy()
        scores = logits.float().sigmoid().cpu().numpy()
        for box, score, (_, scale) in zip(boxes, scores, boxed, strict=True):
            seen = decode_anchors(box, score, floor=FLOOR)
            found.append(seen._replace(boxes_px=seen.boxes_px / scale))
    return found


def street_validation(corpus: Corpus, count: int = 400) -> list[Picture]:
    """Flames of validation pictures over held-out streets: what validation lacks of a camera's view. Never a test."""
    rng = np.random.default_rng(7)
    flames = cut_flames(corpus.val)
    made = [composite(corpus.held_out[rng.integers(len(corpus.held_out))], flames, rng) for _ in range(count)]
    return [
        Picture(p.name, p.source, p.sha256, degrade(square(p.image), rng), p.boxes, True) for p in made if len(p.boxes)
    ]


def square(image: np.ndarray) -> np.ndarray:
    """Padded with grey to a square, as the letterbox would."""
    height, width = image.shape[:2]
    side = max(height, width)
    return cv2.copyMakeBorder(image, 0, side - height, 0, side - width, cv2.BORDER_CONSTANT, value=(GREY,) * 3)


def validate(network: nn.Module, corpus: Corpus, streets: list[Picture], device: torch.device) -> dict[str, float]:
    """Figures of one checkpoint; `fitness` weighs camera-like recall as much as AP."""
    seen = detect_all(network, corpus.val, device)
    quiet = detect_all(network, corpus.held_out, device)
    lit = detect_all(network, streets, device)
    figures: dict[str, float] = {}
    for label, name in enumerate(LABELS):
        figures[f"ap50_{name}"] = average_precision(corpus.val, seen, label, "val").ap50
        bound = float(np.quantile(best_scores(quiet, label), 0.99))
        has = np.array([bool((p.boxes[:, 0] == label).any()) for p in corpus.val])
        figures[f"recall_{name}"] = float((best_scores(seen, label)[has] > bound).mean())
        figures[f"bound_{name}"] = bound
    bound = figures["bound_fire"]
    figures["recall_street"] = float((best_scores(lit, FIRE) > bound).mean())
    parts = ("ap50_fire", "ap50_smoke", "recall_fire", "recall_smoke", "recall_street")
    figures["fitness"] = float(np.mean([figures[part] for part in parts]))
    return {key: round(value, 4) for key, value in figures.items()}


class Run:
    """Network, its moving average, optimiser and history, as they go into a checkpoint."""

    def __init__(self, plan: Plan, out: Path, device: torch.device) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.out, self.device = plan, out, device
        self.network = Network(len(LABELS)).to(device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).requires_grad_(requires_grad=False)
        plain = [p for p in self.network.parameters() if p.ndim < 2]
        dense = [p for p in self.network.parameters() if p.ndim >= 2]
        self.optimiser = torch.optim.AdamW(
            [{"params": dense, "weight_decay": plan.decay}, {"params": plain, "weight_decay": 0.0}], lr=plan.rate
        )
        self.epoch, self.steps, self.elapsed_s = 0, 0, 0.0
        self.history: list[dict[str, float]] = []

    def save(self) -> None:
        """Write the checkpoint whole or not at all, and the moving average of every epoch."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": (self.epoch, self.steps, self.elapsed_s),
            "history": self.history,
        }
        partial = self.out / "last.pt.partial"
        torch.save(state, partial)
        partial.replace(self.out / "last.pt")
        torch.save(self.average.state_dict(), self.out / f"epoch_{self.epoch:03}.pt")
        if self.history[-1]["fitness"] >= max(row["fitness"] for row in self.history):
            torch.save(self.average.state_dict(), self.out / "best.pt")
        (self.out / "history.json").write_text(json.dumps(self.history, indent=1), encoding="utf-8")

    def resume(self) -> None:
        """Go on where the last checkpoint ended."""
        state = torch.load(self.out / "last.pt", map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.steps, self.elapsed_s = state["progress"]
        self.history = state["history"]

    def progress(self, elapsed_s: float) -> float:
        """Used share of the budget."""
        return self.plan.progress(elapsed_s, self.steps * self.plan.batch)

    def step(self, batch: Sequence[Tensor], grid: tuple[Tensor, Tensor], progress: float) -> tuple[float, float]:
        """One update; returns box and score loss."""
        images, truth, is_real, knows_smoke = (part.to(self.device) for part in batch)
        warm = min(1.0, (self.steps + 1) / self.plan.warmup_steps)
        rate = self.plan.rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16):
            raw = self.network(as_input(images))
        box, score = losses.loss((raw[0].float(), raw[1].float()), grid, truth, is_real, labelled_anchors(knows_smoke))
        self.optimiser.zero_grad(set_to_none=True)
        (box + score).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        self.steps += 1
        keep = self.plan.ema * (1 - math.exp(-self.steps / 400))
        with torch.no_grad():
            for mean, now in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - keep)
        return float(box.detach()), float(score.detach())

    def train_epoch(self, sampler: Sampler) -> dict[str, float]:
        """One epoch, cut short when the budget is used up."""
        began_s, before_s = time.monotonic(), self.elapsed_s
        progress = self.progress(before_s)
        size = SMALL_PX if progress < self.plan.small_share else SIZE_PX
        mosaic_share = MOSAIC_SHARE if progress < 1 - self.plan.calm_share else 0.1
        stream = Stream(sampler, self.plan, size=size, mosaic_share=mosaic_share, epoch=self.epoch)
        grid = tuple(part.to(self.device) for part in anchors(size, size))
        self.network.train()
        lost = []
        bar = tqdm(total=self.plan.epoch_pictures, desc=f"epoch {self.epoch} {size}px", unit="pic", mininterval=10)
        for batch in DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=6):
            self.elapsed_s = before_s + time.monotonic() - began_s
            progress = self.progress(self.elapsed_s)
            if progress >= 1:
                break
            lost.append(self.step(batch, grid, progress))
            bar.update(self.plan.batch)
            bar.set_postfix(box=f"{lost[-1][0]:.2f}", score=f"{lost[-1][1]:.2f}", done=f"{progress:.0%}")
        bar.close()
        box, score = np.mean(lost, axis=0) if lost else (0.0, 0.0)
        return {"epoch": self.epoch, "size": size, "box": round(float(box), 4), "score": round(float(score), 4)}


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Losses and validation figures over the epochs, as a picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    shown = [key for key in history[-1] if key.startswith(("ap50", "recall", "fitness"))]
    for axes, keys in ((left, ["box", "score"]), (right, shown)):
        for key in keys:
            axes.plot([row["epoch"] for row in history], [row[key] for row in history], label=key)
        axes.set_xlabel("epoch")
        axes.legend()
    left.set_title("training loss")
    right.set_title("validation")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def train(data: Path, out: Path, plan: Plan, *, resume: bool = False) -> Path:
    """Train `fire_smoke`; returns the path of the best checkpoint by validation."""
    out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(0)  # the loader forks, and a pool of threads does not survive that
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(plan.threads)
    corpus = load_corpus(data)
    streets = street_validation(corpus)
    run = Run(plan, out, device)
    if resume and (out / "last.pt").exists():
        run.resume()
    sampler = Sampler(corpus)
    while run.progress(run.elapsed_s) < 1:
        row = run.train_epoch(sampler)
        began_s = time.monotonic()
        row |= validate(run.average, corpus, streets, device)
        run.elapsed_s += time.monotonic() - began_s
        row["elapsed_s"] = round(run.elapsed_s)
        run.history.append(row)
        run.epoch += 1
        run.save()
        draw_curves(run.history, out / "curves.png")
        tqdm.write(json.dumps(row))
    return out / "best.pt"
