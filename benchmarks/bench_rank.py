"""Who gets it, and why: whole matches and chains of a city, its load and index, its memory.

    python -m benchmarks.bench_rank [--quick] [--cells N] [--officers N]

A whole match is point, radius 15 m, category and time in; owners of all layers, the chain of steps 0 to 5 and the codes
of its reasons out. `as_order` is the same as the objects of an order. The city is read in a process of its own: from
the form in which the log of the stream holds it, and from the files of its folder. `cpu` is what the thread ran on its
core, `wall` what a caller waited: others may be at work on this machine. The peer is the plain twin of the tests: ids,
dicts and sorts in Python over the same index of places.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models import catalogue
from models.city import generate, write
from models.people import People
from models.people import load as load_people
from models.places import CellType, Places
from models.places import load as load_places
from stream import layout
from stream.days import PRIORITIES
from stream.kernels import Ints
from stream.layout import Cases
from stream.matcher import Matcher, cases_of, chains_of, warm
from stream.rank import Question, match
from stream.world import World
from tests.stream.reference_chain import Twin

AT_MS: Final = 1_780_000_000_000
"""A Friday afternoon in Shanghai."""
RADIUS_M: Final = 15.0
BATCH: Final = 1_000
BATCHES: Final = 20
SINGLES: Final = 10_000
ROUNDS: Final = 9
NEIGHBOURHOOD_E7: Final = 50_000


def line(case: Mapping[str, object], metric: str, value: float, unit: str, **more: object) -> None:
    """Print one figure as one JSON line."""
    row = {"bench": "rank", "case": case, "metric": metric, "value": float(f"{value:.4g}"), "unit": unit, **more}
    print(json.dumps(row), flush=True)


def peak_mib() -> float:
    """Give the most memory that this process has held; `ru_maxrss` would be its parent's, who made the city."""
    fields = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


def read(folder: Path, case: Mapping[str, object]) -> World:
    """Load and index the city as the stream does when it starts, and tell what that took."""
    warm()
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    places = Places.from_bytes((folder / "places.bin").read_bytes())
    people = People.from_bytes((folder / "people.bin").read_bytes())
    world = World("bench", places, people, catalogue.load())
    world.warm(AT_MS)
    line(case, "load_and_index_cpu_s", time.process_time() - start_cpu_s, "s")
    line(case, "load_and_index_wall_s", time.monotonic() - start_s, "s")
    line(case, "peak_memory", peak_mib(), "MiB")
    line(case, "index_bytes", sum(layer.nbytes for layer in (*world.locator.layers, *world.matcher.roll.tables)), "B")
    return world


def read_files(folder: Path, case: Mapping[str, object]) -> None:
    """Load and index the city from the files of its folder, checked but for the geometry, and tell what that took."""
    warm()
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    places = load_places(folder / "city" / "places.geojson", geometry=False)
    people = load_people(folder / "city" / "people.toml")
    World("bench", places, people, catalogue.load()).warm(AT_MS)
    line(case, "files_load_and_index_cpu_s", time.process_time() - start_cpu_s, "s")
    line(case, "files_load_and_index_wall_s", time.monotonic() - start_s, "s")
    line(case, "files_peak_memory", peak_mib(), "MiB")


def drawn(world: World, n: int, *, around_e7: int | None = None) -> tuple[Ints, Ints, Cases]:
    """Give questions: places evenly over the cells, or around the middle; every category, some hour of the day."""
    rng = np.random.default_rng(6)
    layer = world.locator.layers.cells
    spans = [(int(layer[axis]), int(layer[axis]) + (int(layer[4 + axis]) << int(layer[2 + axis]))) for axis in (0, 1)]
    if around_e7:
        spans = [((low + high) // 2 - around_e7, (low + high) // 2 + around_e7) for low, high in spans]
    lon, lat = (rng.integers(low, high, 4 * n) for low, high in spans)
    inside = np.flatnonzero(world.locator.cell_many(lon, lat) >= 0)[:n]
    category = rng.integers(0, len(world.catalogue.categories), len(inside))
    urgency = np.array([PRIORITIES.index(one.priority) for one in world.catalogue.categories])
    at_ms = AT_MS + rng.integers(0, 3_600_000, len(inside))
    cases = cases_of(category, urgency[category], at_ms, np.full(len(inside), int(RADIUS_M * 1000)))
    return lon[inside], lat[inside], cases


def batches(matcher: Matcher, lon: Ints, lat: Ints, cases: Cases, case: Mapping[str, object]) -> None:
    """Measure chains and whole matches a second in batches."""
    room = chains_of(BATCH)
    parts = [slice(low, low + BATCH) for low in range(0, len(lon), BATCH)]
    asked = [(lon[part], lat[part], cases._replace(rows=cases.rows[part])) for part in parts]
    owners, counts = [], []
    for part in asked:
        answers = matcher.match(*part, room)
        ends = answers.chains.steps[answers.chains.heads[:, layout.STEPS_END] - 1, layout.CANDIDATES_END]
        counts.append(np.diff(np.concatenate([[0], ends])))
        owners.append(answers.owners)
    for name, percent in (("p10", 10), ("median", 50), ("p99", 99)):
        line(case, f"candidates_{name}", float(np.percentile(np.concatenate(counts), percent)), "1")
    runs: dict[str, Callable[[], object]] = {
        "chains_per_s": lambda: [matcher.rank(at, part[2], room) for at, part in zip(owners, asked, strict=True)],
        "whole_matches_per_s": lambda: [matcher.match(*part, room) for part in asked],
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.thread_time()
            run()
            taken[name].append(time.thread_time() - start)
    for name, times in taken.items():
        rate = len(lon) / float(np.median(times))
        line({**case, "batch": BATCH}, name, rate, "1/s", best=round(len(lon) / min(times)))


def each(ask: Callable[[int], object], n: int, case: Mapping[str, object], what: str, limit_us: float | None) -> float:
    """Measure single calls one after the other; return the median in microseconds."""
    for i in range(min(n, 500)):
        ask(i)
    cpu, wall = np.empty(n), np.empty(n)
    for i in range(n):
        start = time.perf_counter_ns()
        ask(i)
        wall[i] = time.perf_counter_ns() - start
    for i in range(n):
        start = time.thread_time_ns()
        ask(i)
        cpu[i] = time.thread_time_ns() - start
    for name, times in (("wall", wall), ("cpu", cpu)):
        for percent in (50, 99):
            more: dict[str, Any] = {"limit": limit_us} if limit_us and percent == 99 else {}
            line(case, f"{what}_{name}_p{percent}_us", float(np.percentile(times, percent)) / 1000, "us", **more)
    return float(np.median(cpu)) / 1000


def singles(world: World, lon: Ints, lat: Ints, cases: Cases, case: Mapping[str, object], n: int) -> None:
    """Measure one question at a time: as numbers, as an order's objects, and the plain twin."""
    matcher, rows = world.matcher, cases.rows
    asked = [(lon[i : i + 1], lat[i : i + 1], cases._replace(rows=rows[i : i + 1])) for i in range(n)]
    each(lambda i: matcher.match(*asked[i]), n, case, "whole_match", 50.0)
    categories = world.catalogue.categories
    questions = [
        Question(
            point=(int(lon[i]), int(lat[i])),
            radius_m=RADIUS_M,
            category=categories[rows[i, layout.CATEGORY]],
            priority=PRIORITIES[rows[i, layout.PRIORITY]],
            at_ms=int(rows[i, layout.AT_MS]),
        )
        for i in range(n)
    ]
    ours = each(lambda i: match(questions[i], world), n, case, "as_order", None)
    few = min(n, 500)
    for i in range(few):
        Twin(questions[i], world).chain()
    times: npt.NDArray[np.float64] = np.empty(few)
    for i in range(few):
        start = time.thread_time_ns()
        Twin(questions[i], world).chain()
        times[i] = time.thread_time_ns() - start
    peer = float(np.median(times)) / 1000
    line(
        case,
        "as_order_median_us",
        ours,
        "us",
        peer="plain_python_twin",
        peer_value=round(peer, 1),
        ratio=round(peer / ours, 1),
    )


def measure(folder: Path, *, is_quick: bool) -> None:
    """Measure the city of a folder; this process has done nothing else."""
    case = json.loads((folder / "case.json").read_text())
    world = read(folder, case)
    lon, lat, cases = drawn(world, BATCH * BATCHES)
    batches(world.matcher, lon, lat, cases, {**case, "places": "anywhere"})
    # Where the same few posts are asked again, they are in the cache: the difference is what fetching them costs.
    batches(
        world.matcher, *drawn(world, BATCH * BATCHES, around_e7=NEIGHBOURHOOD_E7), {**case, "places": "one square km"}
    )
    singles(world, lon, lat, cases, case, SINGLES // 10 if is_quick else SINGLES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10,000 cells, within 40 s")
    parser.add_argument("--cells", type=int)
    parser.add_argument("--officers", type=int)
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--files", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.of and args.files:
        read_files(args.of, json.loads((args.of / "case.json").read_text()))
        return
    if args.of:
        measure(args.of, is_quick=args.quick)
        return
    cells, officers = (args.cells or (10_000 if args.quick else 62_000)), args.officers
    city = generate(cells, seed=0, officers=officers or (None if args.quick else 100_000))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "places.bin").write_bytes(city.places.to_bytes())
        (folder / "people.bin").write_bytes(city.people.to_bytes())
        base = sum(cell.type is CellType.BASE for cell in city.places.cells)
        (folder / "case.json").write_text(json.dumps({"cells": base, "officers": len(city.people.persons)}))
        if not args.quick:
            write(city, folder / "city")
        del city
        command = [sys.executable, "-m", "benchmarks.bench_rank", "--of", name, *(["--quick"] if args.quick else [])]
        subprocess.run(command, check=True)
        if not args.quick:
            subprocess.run([*command, "--files"], check=True)


if __name__ == "__main__":
    main()
