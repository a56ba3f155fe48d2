"""A roster on its way into the machine: read from CSV, made into columns, proven for 8 days.

    python -m benchmarks.bench_people [--quick] [--cells N ...]

Cities of `models.city`, written to CSV and read back with every check of the file itself. Seconds are those that the
process ran on its core: others may be at work. Twenty shifts are cut first, so that the proof has something to find.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from models import catalogue
from models.calendar import Weekday
from models.city import City, generate
from models.people import People, Role, load
from models.people.files import to_csv, write
from models.proof import prove

CELLS: Final = (135, 1_000, 10_000, 62_000)
QUICK_CELLS: Final = (135, 10_000)
OFFICERS: Final = 100_000
"""In the largest city; the others have as many as it takes."""
FEWER: Final = 20
FROM_MS: Final = 1_780_000_020_000

T = TypeVar("T")


def line(case: Mapping[str, object], metric: str, value: float, unit: str) -> None:
    """Print one figure as one JSON line."""
    row = {"bench": "people", "case": case, "metric": metric, "value": float(f"{value:.4g}"), "unit": unit}
    print(json.dumps(row), flush=True)


def timed(case: Mapping[str, object], metric: str, run: Callable[[], T]) -> T:
    """Run something, print its seconds, and give what it returns."""
    start = time.process_time()
    result = run()
    line(case, metric, time.process_time() - start, "s")
    return result


def thinned(city: City) -> People:
    """Let twenty officers serve on Mondays alone: the chain above them is left, so that this makes warnings."""
    officers = {post.id for post in city.people.posts if post.role is Role.GRID_OFFICER}
    shifts = list(city.people.weekly_shifts)
    held = [index for index, shift in enumerate(shifts) if shift.post in officers]
    for index in random.Random(0).sample(held, FEWER):
        shifts[index] = msgspec.structs.replace(shifts[index], days=(Weekday.MON,))
    return msgspec.structs.replace(city.people, weekly_shifts=tuple(shifts))


def measure(cells: int) -> None:
    """Print the figures of one city."""
    city = generate(cells, officers=OFFICERS if cells == max(CELLS) else None)
    case = {"cells": cells, "officers": len(city.people.persons), "shifts": len(city.people.weekly_shifts)}
    with tempfile.TemporaryDirectory() as folder:
        write(to_csv(thinned(city)), Path(folder))
        people = timed(case, "load_csv", lambda: load(Path(folder) / "people.toml"))
    timed(case, "columns", lambda: people.columns)
    timed(case, "duty_of_a_day", lambda: people.columns.day(FROM_MS))
    proof = timed(case, "proof_8_days", lambda: prove(city.places, people, catalogue.load(), from_ms=FROM_MS))
    line(case, "proof_holes", len(proof.holes), "findings")
    line(case, "proof_warnings", len(proof.warnings), "findings")
    line(case, "peak_rss", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two cities instead of four")
    parser.add_argument("--cells", type=int, nargs="+", metavar="N")
    args = parser.parse_args()
    for cells in args.cells or (QUICK_CELLS if args.quick else CELLS):
        measure(cells)


if __name__ == "__main__":
    main()
