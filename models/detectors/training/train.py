"""Training by one command: budgeted by pictures or by wall clock, resumable, best checkpoint by validation.

With a budget of pictures a run repeats itself on a machine; with one of minutes the schedule depends on its speed.
"""

# Where torch is not installed it is Any to the type checker, and so is what derives from it.
# mypy: disable-error-code="misc, untyped-decorator"

from __future__ import annotations

import copy
import ctypes
import json
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from models.detectors.training import loss as losses
from models.detectors.training.augment import MOSAIC_SHARE, Sampler
from models.detectors.training.backbone import take_over
from models.detectors.training.curves import draw_curves
from models.detectors.training.data import load_corpus
from models.detectors.training.network import STRIDES, Network, anchors
from models.detectors.training.recipes import Part, Recipe
from models.detectors.training.validate import Validation, as_input
from models.errors import SourceError

SMALL_PX: Final = 256
CALM_MOSAIC_SHARE: Final = 0.1
START_SHARE: Final = 0.3  # at the full rate a trained network first loses what 20,000 pictures taught it
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of mallopt(3), as malloc.h numbers them


@dataclass(frozen=True, slots=True)
class Plan:
    """A training run.

    Attributes:
        minutes: wall-clock budget, or 0 for none.
        pictures: budget in pictures, or 0 for none.
        backbone_share: of the rate, for what comes from ImageNet.
        hold_share: share of the budget at the full rate, before it falls along a cosine.
        small_share: share of the budget at 256 px before the size of the recipe; none with `start`.
        calm_share: share of the budget at the end with few mosaics.
        threads: cores to use; each has a replica of the network.
        start: checkpoint to go on from instead of ImageNet's weights; the rate falls at once, from `START_SHARE` of it.
        without: what an ablation leaves out.
    """

    minutes: float = 75.0
    pictures: int = 0
    batch: int = 32
    epoch_pictures: int = 8_000
    rate: float = 2e-3
    decay: float = 0.03
    ema: float = 0.999
    backbone_share: float = 0.15
    warmup_steps: int = 400
    hold_share: float = 0.3
    small_share: float = 0.5
    calm_share: float = 0.2
    threads: int = 2
    seed: int = 20
    start: Path | None = None
    without: frozenset[Part] = frozenset()

    def progress(self, elapsed_s: float, pictures: int) -> float:
        """How much of the budget is used, 0..1."""
        by_time = elapsed_s / (60 * self.minutes) if self.minutes else 0.0
        by_pictures = pictures / self.pictures if self.pictures else 0.0
        return min(max(by_time, by_pictures), 1.0)

    def rate_at(self, progress: float, step: int) -> float:
        """Learning rate: a short rise, then full, then down to a hundredth along a cosine."""
        hold, full = (0.0, START_SHARE * self.rate) if self.start else (self.hold_share, self.rate)
        falling = max(progress - hold, 0) / (1 - hold)
        return full * min(1.0, (step + 1) / self.warmup_steps) * (0.01 + 0.495 * (1 + math.cos(math.pi * falling)))

    def size_at(self, progress: float, size_px: int) -> int:
        """Side of the input, given that of the recipe."""
        return SMALL_PX if progress < self.small_share and not self.start else size_px


class Stream(IterableDataset[Any]):
    """An epoch of augmented batches, the same for the same seed and epoch."""

    def __init__(self, sampler: Sampler, plan: Plan, *, size: int, mosaic_share: float, epoch: int) -> None:
        self.sampler, self.plan, self.size, self.mosaic_share, self.epoch = sampler, plan, size, mosaic_share, epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        rng = np.random.default_rng((self.plan.seed, self.epoch))
        for _ in range(self.plan.epoch_pictures // self.plan.batch):
            yield collate([self.sampler.sample(self.size, rng, self.mosaic_share) for _ in range(self.plan.batch)])


def collate(samples: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures (b, s, s, 3) uint8, boxes (b, m, 5) padded, which of them are real, and what each cell knows."""
    images, boxes, known = zip(*samples, strict=True)
    most = max(1, *(len(rows) for rows in boxes))
    truth = np.zeros((len(boxes), most, 5), np.float32)
    for index, rows in enumerate(boxes):
        truth[index, : len(rows)] = rows
    is_real = np.arange(most) < np.array([len(rows) for rows in boxes])[:, None]
    return tuple(torch.from_numpy(part) for part in (np.stack(images), truth, is_real, np.stack(known)))


def labelled_anchors(known: Tensor) -> Tensor:
    """(b, n, classes) of (b, h, w, classes): a coarse anchor is masked as soon as one of the fine cells below it is."""
    unknown = 1 - known.permute(0, 3, 1, 2).float()
    levels = [nn.functional.max_pool2d(unknown, stride // STRIDES[0]).flatten(2) for stride in STRIDES]
    return 1 - torch.cat(levels, 2).transpose(1, 2)


def exclusions(recipe: Recipe) -> Tensor:
    """(classes, classes) 1 where a box of the first class is surely none of the second."""
    table = 1 - torch.eye(len(recipe.labels))
    for one, other in recipe.together:
        if one in recipe.labels and other in recipe.labels:
            i, j = recipe.labels.index(one), recipe.labels.index(other)
            table[i, j] = table[j, i] = 0
    return table


def trained(checkpoint: Path, labels: Sequence[str]) -> Network:
    """The network that `best.pt` or an epoch's file holds.

    Raises:
        SourceError: no such file, not one of ours, or its scores are of other labels.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        found = tuple(state["labels"])
        network = Network(len(found))
        network.load_state_dict(state["average"])
    except (OSError, KeyError, RuntimeError) as error:
        raise SourceError(f"{checkpoint}: not a checkpoint of `gridwarden train` ({error}); train again") from error
    if found != tuple(labels):
        raise SourceError(f"{checkpoint}: sees {', '.join(found)}, not {', '.join(labels)}; give the network's own")
    return network


def twin(network: Network) -> Network:
    """A second network on the same weights, with gradients and running means of its own."""
    copied = copy.deepcopy(network)
    for mine, shared in zip(copied.parameters(), network.parameters(), strict=True):
        mine.data = shared.data
    return copied


class Run:
    """Network, its moving average, optimiser and history, as they go into a checkpoint."""

    def __init__(self, recipe: Recipe, plan: Plan, out: Path, device: torch.device) -> None:
        torch.manual_seed(plan.seed)
        self.recipe, self.plan, self.out, self.device = recipe, plan, out, device
        self.network = Network(len(recipe.labels)).to(device, memory_format=torch.channels_last)
        if plan.start:
            self.network.load_state_dict(trained(plan.start, recipe.labels).state_dict())
        else:
            take_over(self.network.backbone)
        # One replica a core, each on its share of the batch: a thread pool within each convolution would wait for its
        # slowest thread hundreds of times a step, and on a busy machine that costs more than half of the time.
        cores = plan.threads if device.type == "cpu" else 1
        self.replicas = [self.network, *(twin(self.network) for _ in range(1, cores))]
        self.average = copy.deepcopy(self.network).requires_grad_(requires_grad=False)
        self.optimiser = torch.optim.AdamW(self.groups(), lr=plan.rate)
        self.excludes = exclusions(recipe).to(device)
        self.epoch, self.steps, self.elapsed_s = 0, 0, 0.0
        self.history: list[dict[str, float]] = []

    def groups(self) -> list[dict[str, Any]]:
        """What is learnt: weights decay, biases and factors do not; what comes from ImageNet moves slowly."""
        learnt: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, value in self.network.named_parameters():
            if value.requires_grad:
                share = self.plan.backbone_share if name.startswith("backbone.") else 1.0
                learnt.setdefault((share, self.plan.decay if value.ndim > 1 else 0.0), []).append(value)
        return [{"params": of, "share": share, "weight_decay": decay} for (share, decay), of in learnt.items()]

    def save(self) -> None:
        """Write the checkpoint whole or not at all, and the moving average of every epoch."""
        average = {"labels": self.recipe.labels, "average": self.average.state_dict()}
        state = average | {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": (self.epoch, self.steps, self.elapsed_s),
            "history": self.history,
        }
        partial = self.out / "last.pt.partial"
        torch.save(state, partial)
        partial.replace(self.out / "last.pt")
        torch.save(average, self.out / f"epoch_{self.epoch:03}.pt")
        if self.history[-1]["fitness"] >= max(row["fitness"] for row in self.history):
            torch.save(average, self.out / "best.pt")
        (self.out / "history.json").write_text(json.dumps(self.history, indent=1), encoding="utf-8")
        draw_curves(self.history, self.out / "curves.png")

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
        for group in self.optimiser.param_groups:
            group["lr"] = group["share"] * self.plan.rate_at(progress, self.steps)
        parts = list(zip(*(part.to(self.device).chunk(len(self.replicas)) for part in batch), strict=True))
        with ThreadPoolExecutor(len(parts)) as pool:
            lost = list(
                pool.map(lambda pair: self.gradients(pair[0], pair[1], grid), zip(self.replicas, parts, strict=False))
            )
        for others in zip(*(replica.parameters() for replica in self.replicas), strict=True):
            if others[0].requires_grad:
                others[0].grad = torch.stack([p.grad for p in others[: len(parts)]]).mean(0)
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        self.steps += 1
        keep = self.plan.ema * (1 - math.exp(-self.steps / 400))
        with torch.no_grad():
            for mean, now in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - keep)
        box, score = np.mean(lost, axis=0)
        return float(box), float(score)

    def gradients(self, network: nn.Module, part: Sequence[Tensor], grid: tuple[Tensor, Tensor]) -> tuple[float, float]:
        """Leave the gradients of a part of a batch in a replica; returns box and score loss."""
        images, truth, is_real, known = part
        network.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            raw = network(as_input(images))
        raw = raw[0].float(), raw[1].float()
        box, score = losses.loss(raw, grid, truth, is_real, labelled_anchors(known), self.excludes)
        (box + score).backward()
        return float(box.detach()), float(score.detach())

    def train_epoch(self, sampler: Sampler) -> dict[str, float]:
        """One epoch, cut short when the budget is used up."""
        began_s, before_s = time.monotonic(), self.elapsed_s
        progress = self.progress(before_s)
        size = self.plan.size_at(progress, self.recipe.size_px)
        mosaic_share = MOSAIC_SHARE if progress < 1 - self.plan.calm_share else CALM_MOSAIC_SHARE
        stream = Stream(sampler, self.plan, size=size, mosaic_share=mosaic_share, epoch=self.epoch)
        grid = tuple(part.to(self.device) for part in anchors(size, size))
        for replica in self.replicas:
            replica.train()
        lost = []
        bar = tqdm(total=self.plan.epoch_pictures, desc=f"epoch {self.epoch} {size}px", unit="pic", mininterval=10)
        for batch in DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=6):
            self.elapsed_s = before_s + time.monotonic() - began_s
            progress = self.progress(self.elapsed_s)
            if progress >= 1:
                break
            lost.append(self.step(batch, grid, progress))
            bar.update(self.plan.batch)
            bar.set_postfix(box=f"{lost[-1][0]:.2f}", score=f"{lost[-1][1]:.2f}", done=f"{progress:.0%}", refresh=False)
        bar.close()
        box, score = np.mean(lost, axis=0) if lost else (0.0, 0.0)
        return {"epoch": self.epoch, "size": size, "box": round(float(box), 4), "score": round(float(score), 4)}


def keep_memory() -> None:
    """Tell glibc to keep what is freed. It hands large blocks back at once and gets them as new pages, each of which
    the kernel has to clear: for the features of a batch that took as long as all arithmetic. Elsewhere nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1)):
            mallopt(parameter, value)


def train(recipe: Recipe, data: Path, out: Path, plan: Plan, *, resume: bool = False) -> Path:
    """Train a network; returns the path of the best checkpoint by validation."""
    keep_memory()
    out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(0)  # the loader forks, and a pool of threads does not survive that
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    corpus = load_corpus(data, recipe)
    validation = Validation(corpus, recipe, device)
    run = Run(recipe, plan, out, device)
    if resume and (out / "last.pt").exists():
        run.resume()
    sampler = Sampler(corpus, recipe, plan.without)
    while run.progress(run.elapsed_s) < 1:
        row = run.train_epoch(sampler)
        began_s = time.monotonic()
        row |= validation.figures(run.average)
        run.elapsed_s += time.monotonic() - began_s
        row |= {"elapsed_s": round(run.elapsed_s), "pictures": run.steps * plan.batch}
        run.history.append(row)
        run.epoch += 1
        run.save()
        tqdm.write(json.dumps(row))
    return out / "best.pt"
