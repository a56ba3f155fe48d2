"""The detectors on this machine: decode, letterbox, inference and suppression, pictures per second, memory.

    python -m benchmarks.bench_detect [--quick] [--network NAME_OR_PATH ...]

Beside them, in the same run and taken in turn, networks of YOLOv8n's shape at 320 and 640 px, FP32 and INT8, with
random weights: they only serve to time the network. A picture is a JPEG of 1920 x 1080: `decode` makes pixels of it,
`nms` is all that comes after the network. `network_ms` is the network alone, beside a peer for pictures of the same
sides: of 320 x 192, which is all that ours reads of such a picture at 320 px, and (case with `height`) of 320 x 320.
`end_to_end_ms` is letterbox, inference and NMS, against the network time alone of the peer at 320 x 320, as it is
exported where nobody says otherwise; `end_to_end_same_sides_ms` is the same against that of 320 x 192.
`mixed_end_to_end_ms` sets it against a peer of another size and precision, and is no comparison of like with like.
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
from functools import partial
from pathlib import Path
from typing import Final

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
Sides = tuple[int, int]  # height and width
SQUARE: Final[Sides] = (320, 320)
LARGE: Final[Sides] = (640, 640)
PEERS: Final[tuple[Sides, ...]] = (SQUARE, LARGE, (192, 320))
BATCHES: Final = (1, 2, 4, 8)
CROWD: Final = 8  # cameras on one device
CROWD_SLICE_S: Final = 0.5
WARM: Final = 5
STAGES: Final = ("decode", "letterbox", "inference", "nms")
Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that is timed: one step takes a picture through it and notes the milliseconds of each stage.

    Attributes:
        sides: of what the network reads.
    """

    case: Mapping[str, object]
    step: Callable[[Samples], None]
    sides: Sides
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
    height, width = peer.sides
    named = f"yolov8n-{width}{f'x{height}' * (height != width)}-{peer.case['precision']}"
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

    wanted = detector.manifest.input.cut_to(HEIGHT, WIDTH)
    height, width = wanted.height_px, wanted.width_px
    case = {"network": detector.manifest.name, "precision": precision, "size": width, "threads": threads}
    return Contender(case, step, (height, width))


def square(name: str, precision: Precision, threads: int) -> Contender:
    """The network of a detector alone, on a square picture."""
    detector = load(name, precision=precision, threads=threads)
    detector.draw(np.zeros((WIDTH, WIDTH, 3), np.uint8))
    wanted = detector.manifest.input.cut_to(WIDTH, WIDTH)
    height, width = wanted.height_px, wanted.width_px
    named = detector.manifest.name
    case = {"network": named, "precision": precision, "size": width, "threads": threads, "height": height}
    return alone(detector.infer, case, (height, width))


def theirs(path: Path, sides: Sides, precision: str, threads: int) -> Contender:
    """A peer: the network alone, on a picture that is ready."""
    session = open_session(path, None, Options(threads=threads))
    feeds = {"images": np.random.default_rng(0).random((1, 3, *sides), np.float32)}
    return alone(lambda: session.run(feeds), peer_case(sides, precision, threads), sides)


def peer_case(sides: Sides, precision: str, threads: int) -> dict[str, object]:
    """What is said of a peer; its height where it is not square."""
    height, width = sides
    case: dict[str, object] = {"network": "yolov8n", "precision": precision, "size": width, "threads": threads}
    return case if height == width else case | {"height": height}


def alone(run: Callable[[], object], case: Mapping[str, object], sides: Sides) -> Contender:
    """A network without what comes before and after."""

    def step(samples: Samples) -> None:
        begun = now_ms()
        run()
        wall_ms, cpu_ms = np.subtract(now_ms(), begun).tolist()
        samples["inference"].append(wall_ms)
        samples["inference_cpu"].append(cpu_ms)

    return Contender(case, step, sides)


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


def peers(folder: Path) -> dict[tuple[Sides, str], Path]:
    """Build and quantise them: by sides and precision."""
    paths = {}
    for height, width in PEERS:
        for precision in ("fp32", "int8"):
            paths[(height, width), precision] = folder / f"yolov8n-{width}x{height}-{precision}.onnx"
        plain, small = (paths[(height, width), precision] for precision in ("fp32", "int8"))
        plain.write_bytes(build(height, width).SerializeToString())
        quantise(plain, small)
    return paths


def networks(names: Sequence[str]) -> list[tuple[str, Precision]]:
    """(name, precision) of every network asked for, or of the zoo."""
    named = names or sorted(path.stem for path in ZOO.glob("*.toml"))
    return [(name, precision) for name in named for precision in read_manifest(name).precisions]


def report(own: Sequence[Contender], others: Mapping[tuple[Sides, str], Contender]) -> None:
    """Print the figures of one number of threads."""
    for peer in others.values():
        line(peer.case, "network_ms", peer.median("inference"), "ms")
        if peer.case["threads"] == 1:
            line(peer.case, "network_cpu_ms", peer.median("inference_cpu"), "ms")
    for contender in own:
        case, precision = contender.case, str(contender.case["precision"])
        same = others.get((contender.sides, precision))
        beside: list[tuple[str, str, Contender | None]] = [("network", "inference", same)]
        if contender.samples["end_to_end"]:
            stages(contender)
            beside += [
                ("end_to_end", "end_to_end", others[SQUARE if contender.sides[1] <= SQUARE[1] else LARGE, precision]),
                ("end_to_end_same_sides", "end_to_end", same),
                ("mixed_end_to_end", "end_to_end", others[LARGE, "fp32"]),
            ]
        for clock in ("", "_cpu") if case["threads"] == 1 else ("",):
            for metric, stage, peer_of_it in beside:
                if peer_of_it is not None:
                    against(contender, metric, stage, peer_of_it, clock)


def stages(contender: Contender) -> None:
    """Print what each stage takes, and how many pictures that makes."""
    for stage in STAGES:
        for percent in (50, 99):
            value = float(np.percentile(contender.samples[stage], percent))
            line(contender.case, f"{stage}_p{percent}_ms", value, "ms")
    line(contender.case, "end_to_end_p99_ms", float(np.percentile(contender.samples["end_to_end"], 99)), "ms")
    line(contender.case, "pictures_per_s", 1000 / contender.median("end_to_end"), "1/s")


def batching(seconds: float) -> None:
    """Print what a picture costs alone and in a batch of ours."""
    contenders = []
    for name, precision in networks(()):
        session, wanted = opened(name, precision, MOST)
        height, width = wanted.height_px, wanted.width_px
        for batch in BATCHES:
            pictures = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)
            case = {"network": name, "precision": precision, "size": width, "threads": 1, "batch": batch}
            contenders.append(alone(partial(session.run, {wanted.name: pictures}), case, (height, width)))
    take_turns(contenders, seconds)
    for contender in contenders:
        value = contender.median("inference_cpu") / int(str(contender.case["batch"]))
        line(contender.case, "picture_in_batch_cpu_ms", value, "ms")


def crowd(seconds: float) -> None:
    """Print pictures per second of more cameras than cores, those that wait together against one at a time."""
    for name, precision in networks(()):
        rates = defaultdict(list)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for together in (1, MOST):
                rates[together].append(rate(*opened(name, precision, together), CROWD_SLICE_S))
        value, alone_per_s = float(np.median(rates[MOST])), float(np.median(rates[1]))
        case = {"network": name, "precision": precision, "threads": 1, "cameras": CROWD}
        figures = {"peer": "one at a time", "peer_value": round(alone_per_s, 2), "ratio": round(value / alone_per_s, 3)}
        line(case, "crowd_pictures_per_s", value, "1/s", **figures)


def opened(name: str, precision: Precision, together: int) -> tuple[Session, Input]:
    """A network of the zoo for pictures of 16:9."""
    manifest = read_manifest(name)
    wanted = manifest.input.cut_to(HEIGHT, WIDTH)
    sides = {"height": wanted.height_px, "width": wanted.width_px}
    path = ZOO / manifest.network(precision).file
    return open_session(path, None, Options(together=together), sides=sides), wanted


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
            own += [square(network, precision, threads) for network, precision in named]
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
