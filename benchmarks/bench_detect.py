"""The detectors on this machine: decode, letterbox, inference and suppression, pictures per second, memory.

    python -m benchmarks.bench_detect [--quick] [--network NAME_OR_PATH ...]

Beside them, in the same run and taken in turn, networks of YOLOv8n's shape at 320 and 640 px, FP32 and INT8, with
random weights: they only serve to time the network. A picture is a JPEG of 1920 x 1080: `decode` makes pixels of it,
`nms` is all that comes after the network. `network_ms` is the network alone; `end_to_end_ms` is letterbox, inference
and NMS, against the network time alone of a peer. `mixed_end_to_end_ms` sets it against a peer of another size and
precision, and is no comparison of like with like.
`picture_in_batch_cpu_ms` is what one of n costs, `crowd_pictures_per_s` what eight cameras get that run when they can.
The three with `_cpu_` are the same in processor time, at one thread: others who use the machine hardly move them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.yolov8n import build, quantise
from models.detectors import load
from models.detectors.batching import MOST
from models.detectors.manifest import ZOO, Input, Precision, read_manifest
from models.detectors.session import Options, Session, open_session

BENCH: Final = "detect"
CLIP: Final = Path(__file__).parents[1] / "edge" / "demo" / "street_fire.mp4"
WIDTH, HEIGHT = 1920, 1080
PEER_SIZES: Final = (320, 640)
BATCHES: Final = (1, 2, 4, 8)
CROWD: Final = 8  # cameras on one device
CROWD_SLICE_S: Final = 0.5
WARM: Final = 5
STAGES: Final = ("decode", "letterbox", "inference", "nms")
Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that is timed: one step takes a picture through it and notes the milliseconds of each stage."""

    case: Mapping[str, object]
    step: Callable[[Samples], None]
    samples: Samples = field(default_factory=lambda: defaultdict(list))

    def median(self, stage: str) -> float:
        """Of a stage, in milliseconds."""
        return float(np.median(self.samples[stage]))


def now_ms() -> tuple[float, float]:
    """The time on the wall, and that which this thread had of a processor."""
    return time.perf_counter() * 1000, time.thread_time() * 1000


def line(case: Mapping[str, object], metric: str, value: float, unit: str, **peer: object) -> None:
    """Print one figure as one JSON line."""
    row = {"bench": BENCH, "case": case, "metric": metric, "value": round(value, 4), "unit": unit, **peer}
    print(json.dumps(row), flush=True)


def against(own: Contender, metric: str, stage: str, peer: Contender, clock: str = "") -> None:
    """Print the time of a stage beside that of a peer's network, by the clock on the wall or by `_cpu`."""
    named = "yolov8n-{size}-{precision}".format(**peer.case)
    value, theirs = own.median(stage + clock), peer.median("inference" + clock)
    figures = {"peer": named, "peer_value": round(theirs, 4), "ratio": round(theirs / value, 3)}
    line(own.case, f"{metric}{clock}_ms", value, "ms", **figures)


def street() -> NDArray[np.uint8]:
    """A JPEG of 1080p with something to be seen: a frame of the demo clip in which it burns."""
    clip = cv2.VideoCapture(str(CLIP))
    clip.set(cv2.CAP_PROP_POS_FRAMES, clip.get(cv2.CAP_PROP_FRAME_COUNT) * 3 // 4)
    is_read, frame = clip.read()
    clip.release()
    if not is_read:
        raise SystemExit(f"{CLIP} cannot be read")
    large = cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], np.uint8)


def ours(name: str, precision: Precision, threads: int, jpeg: NDArray[np.uint8]) -> Contender:
    """A detector of the zoo, stage by stage."""
    detector = load(name, precision=precision, threads=threads)

    def step(samples: Samples) -> None:
        marks = [now_ms()]
        picture = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
        marks.append(now_ms())
        covered = detector.draw(picture)
        marks.append(now_ms())
        outputs = detector.infer()
        marks.append(now_ms())
        detector.boxes(detector.decode(outputs), covered)
        marks.append(now_ms())
        took_ms = np.diff(marks, axis=0)
        for stage, (wall_ms, cpu_ms) in zip((*STAGES, "end_to_end"), (*took_ms, took_ms[1:].sum(0)), strict=True):
            samples[stage].append(float(wall_ms))
            samples[f"{stage}_cpu"].append(float(cpu_ms))

    size = detector.manifest.input.width_px
    case = {"network": detector.manifest.name, "precision": precision, "size": size, "threads": threads}
    return Contender(case, step)


def theirs(path: Path, size: int, precision: str, threads: int) -> Contender:
    """A peer: the network alone, on a picture that is ready."""
    session = open_session(path, None, Options(threads=threads))
    feeds = {"images": np.random.default_rng(0).random((1, 3, size, size), np.float32)}
    return alone(session, feeds, {"network": "yolov8n", "precision": precision, "size": size, "threads": threads})


def alone(session: Session, feeds: Mapping[str, NDArray[Any]], case: Mapping[str, object]) -> Contender:
    """A network without what comes before and after."""

    def step(samples: Samples) -> None:
        begun = now_ms()
        session.run(feeds)
        wall_ms, cpu_ms = np.subtract(now_ms(), begun).tolist()
        samples["inference"].append(wall_ms)
        samples["inference_cpu"].append(cpu_ms)

    return Contender(case, step)


def take_turns(contenders: Sequence[Contender], seconds: float) -> None:
    """Let each take one step after the other, for so long; the order turns, so that nobody always follows the same."""
    for contender in contenders:
        for _ in range(WARM):
            contender.step(defaultdict(list))
    end = time.perf_counter() + seconds
    turn = 0
    while time.perf_counter() < end or turn < len(contenders):
        for place in range(len(contenders)):
            contender = contenders[(turn + place) % len(contenders)]
            contender.step(contender.samples)
        turn += 1


def peers(folder: Path) -> dict[tuple[int, str], Path]:
    """Build and quantise them: by size and precision."""
    paths = {}
    for size in PEER_SIZES:
        for precision in ("fp32", "int8"):
            paths[size, precision] = folder / f"yolov8n-{size}-{precision}.onnx"
        paths[size, "fp32"].write_bytes(build(size).SerializeToString())
        quantise(paths[size, "fp32"], paths[size, "int8"])
    return paths


def networks(names: Sequence[str]) -> list[tuple[str, Precision]]:
    """(name, precision) of every network asked for, or of the zoo."""
    named = names or sorted(path.stem for path in ZOO.glob("*.toml"))
    return [(name, precision) for name in named for precision in read_manifest(name).precisions]


def report(own: Sequence[Contender], others: Mapping[tuple[int, str], Contender]) -> None:
    """Print the figures of one number of threads."""
    for peer in others.values():
        line(peer.case, "network_ms", peer.median("inference"), "ms")
        if peer.case["threads"] == 1:
            line(peer.case, "network_cpu_ms", peer.median("inference_cpu"), "ms")
    for contender in own:
        case = contender.case
        for stage in STAGES:
            for percent in (50, 99):
                value = float(np.percentile(contender.samples[stage], percent))
                line(case, f"{stage}_p{percent}_ms", value, "ms")
        size, precision = int(str(case["size"])), str(case["precision"])
        for clock in ("", "_cpu") if case["threads"] == 1 else ("",):
            against(contender, "network", "inference", others[min(size, 640), precision], clock)
            against(contender, "end_to_end", "end_to_end", others[min(size, 640), precision], clock)
            against(contender, "mixed_end_to_end", "end_to_end", others[640, "fp32"], clock)
        line(case, "end_to_end_p99_ms", float(np.percentile(contender.samples["end_to_end"], 99)), "ms")
        line(case, "pictures_per_s", 1000 / contender.median("end_to_end"), "1/s")


def batching(seconds: float) -> None:
    """Print what a picture costs alone and in a batch of ours."""
    contenders = []
    for name, precision in networks(()):
        manifest = read_manifest(name)
        size = manifest.input.width_px
        for batch in BATCHES:
            session = open_session(ZOO / manifest.network(precision).file, None)
            pictures = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
            case = {"network": name, "precision": precision, "size": size, "threads": 1, "batch": batch}
            contenders.append(alone(session, {manifest.input.name: pictures}, case))
    take_turns(contenders, seconds)
    for contender in contenders:
        value = contender.median("inference_cpu") / int(str(contender.case["batch"]))
        line(contender.case, "picture_in_batch_cpu_ms", value, "ms")


def crowd(seconds: float) -> None:
    """Print pictures per second of more cameras than cores, those that wait together against one at a time."""
    for name, precision in networks(()):
        manifest = read_manifest(name)
        path, rates = ZOO / manifest.network(precision).file, defaultdict(list)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for together in (1, MOST):
                session = open_session(path, None, Options(together=together))
                rates[together].append(rate(session, manifest.input, CROWD_SLICE_S))
        value, alone_per_s = float(np.median(rates[MOST])), float(np.median(rates[1]))
        case = {"network": name, "precision": precision, "threads": 1, "cameras": CROWD}
        figures = {"peer": "one at a time", "peer_value": round(alone_per_s, 2), "ratio": round(value / alone_per_s, 3)}
        line(case, "crowd_pictures_per_s", value, "1/s", **figures)


def rate(session: Session, wanted: Input, seconds: float) -> float:
    """Pictures per second of `CROWD` cameras that have always one ready."""
    begun_s = time.perf_counter()

    def watch(seed: int) -> int:
        shape = (1, wanted.height_px, wanted.width_px, 3)
        feeds = {wanted.name: np.random.default_rng(seed).integers(0, 256, shape, np.uint8)}
        count = 0
        while time.perf_counter() < begun_s + seconds:
            session.run(feeds)
            count += 1
        return count

    with ThreadPoolExecutor(CROWD) as pool:
        seen = sum(pool.map(watch, range(CROWD)))
    return seen / (time.perf_counter() - begun_s)


WATCH: Final = """
import sys, numpy, psutil
process = psutil.Process()
from models.detectors import canvas, runtime
before = process.memory_info().rss
detectors = [runtime.Detector(sys.argv[1], precision=sys.argv[2]) for _ in range(int(sys.argv[3]))]
picture = numpy.zeros((1080, 1920, 3), numpy.uint8)
for _ in range(20):
    for detector in detectors:
        detector.detect(picture)
after = process.memory_info().rss
print(before, after)
"""


def memory(name: str, precision: Precision, cameras: int) -> None:
    """Print the memory of a process that runs the network for so many cameras, and what of it is not the libraries'."""
    command = [sys.executable, "-c", WATCH, name, precision, str(cameras)]
    before, after = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    case = {"network": read_manifest(name).name, "precision": precision, "cameras": cameras}
    line(case, "resident_mib", after / 2**20, "MiB")
    line(case, "own_mib", (after - before) / 2**20, "MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no batches: ends within 40 s")
    parser.add_argument("--network", action="append", default=[], help="name or manifest; repeat; default: all shipped")
    args = parser.parse_args()
    named = networks(args.network)
    jpeg = street()
    with tempfile.TemporaryDirectory() as name:
        paths = peers(Path(name))
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            own = [ours(network, precision, threads, jpeg) for network, precision in named]
            others = {key: theirs(path, *key, threads) for key, path in paths.items()}
            take_turns([*own, *others.values()], 3 if args.quick else 60)
            report(own, others)
        if not args.quick:
            cv2.setNumThreads(1)
            batching(60)
            crowd(10)
    for network, precision in named:
        for cameras in (1, 4):
            memory(network, precision, cameras)


if __name__ == "__main__":
    main()
