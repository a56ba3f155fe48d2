"""The console commands of the detectors: `gridwarden train` and `gridwarden eval`."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import msgspec

from models.detectors.card import figures, with_figures
from models.detectors.manifest import Manifest, path_of
from models.errors import ConfigError, Problem

NEEDED = {
    "train": ("torch", "onnx", "onnxscript", "pycocotools", "tqdm", "matplotlib", "cv2", "onnxruntime"),
    "eval": ("pycocotools", "cv2", "onnxruntime"),
}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this package."""
    train = subparsers.add_parser("train", help="train a detector from scratch")
    train.add_argument("name", choices=["fire_smoke"])
    train.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the picture tars")
    train.add_argument("--out", type=Path, default=Path("runs/fire_smoke"), metavar="DIR", help="where to write")
    train.add_argument("--minutes", type=float, default=75.0, help="wall-clock budget (default 75; 0: none)")
    train.add_argument("--pictures", type=int, default=0, help="budget in pictures, repeats exactly (default 0: none)")
    train.add_argument("--threads", type=int, default=2, help="of the processor (default 2)")
    train.add_argument("--seed", type=int, default=20)
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    train.set_defaults(run=run_train)

    score = subparsers.add_parser("eval", help="score a detector; its thresholds stay as they are")
    score.add_argument("name", help="a shipped detector, or the path of a manifest")
    score.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the picture tars and clips")
    score.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    score.add_argument("--write", action="store_true", help="put the scores into the manifest and the model card")
    score.set_defaults(run=run_eval)


def run_train(args: argparse.Namespace) -> int:
    """Train, export the best checkpoint by validation, and fix its thresholds.

    Raises:
        ConfigError: the extra `train` is not installed, or there is no budget.
        SourceError: the pictures cannot be read.
    """
    require("train")
    from models.detectors.training.publish import publish
    from models.detectors.training.train import Plan, train

    if args.minutes <= 0 and args.pictures <= 0:
        remedy = "give --minutes or --pictures"
        raise ConfigError([Problem("gridwarden train", "--minutes", "there is no budget", remedy)])
    plan = Plan(minutes=args.minutes, pictures=args.pictures, threads=args.threads, seed=args.seed)
    best = train(args.data, args.out, plan, resume=args.resume)
    print(publish(best, args.data, args.out))
    return 0


def run_eval(args: argparse.Namespace) -> int:
    """Print the scores of a detector.

    Raises:
        ConfigError: pycocotools or OpenCV is not installed, or the detector cannot be opened.
        SourceError: the pictures cannot be read.
    """
    require("eval")
    from models.detectors import load
    from models.detectors.training.evaluate import evaluate

    manifest = evaluate(load(args.name), args.data)
    if args.write:
        write(manifest, path_of(args.name))
    print(msgspec.json.encode(manifest).decode() if args.json else figures(manifest))
    return 0


def write(manifest: Manifest, path: Path) -> None:
    """Put the manifest at `path`, and its figures into the model card beside it, where there is one."""
    from models.detectors.training.toml import to_toml

    path.write_text(to_toml(manifest), encoding="utf-8")
    card = path.with_suffix(".md")
    if card.exists():
        card.write_text(with_figures(card.read_text(encoding="utf-8"), manifest), encoding="utf-8")


def require(command: str) -> None:
    """Check that what a command needs is installed.

    Raises:
        ConfigError: it is not; says what brings it.
    """
    missing = [name for name in NEEDED[command] if importlib.util.find_spec(name) is None]
    if missing:
        what = f"{', '.join(missing)} not installed"
        raise ConfigError([Problem(f"gridwarden {command}", "$", what, "pip install 'gridwarden[edge,train]'")])
