"""Whose is this point: points per second beside shapely's three idioms, a compiled linear scan and H3.

    python -m benchmarks.bench_locate [--quick] [--cells N ...]

Cities of `models.city`, points inside, within 2 m of a border and outside, asked one at a time, 512 and 200,000 at a
time. The fastest idiom of shapely counts as the peer `shapely`; points are made beforehand and that is reported apart.
Rounds are taken in turn, medians count. A turn lasts 20 ms or more, over the same points: so that a short one does not
measure the caches as the contender before it left them. Seconds are those that the thread ran on its core.
Every answer of ours is compared with the oracle: the smallest code of the polygons that shapely says cover the point.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Final

import numpy as np
import shapely

from benchmarks.locating import TURN_FROM, Hexagons, Linear, Points, Search, Shapely, shapes_of
from models.city import generate
from models.places import Cell, CellType, Places
from stream.kernels import Indices
from stream.locate import Locator, warm

CELLS: Final = (135, 1_000, 10_000, 62_000)
QUICK_CELLS: Final = (135, 10_000)
BATCHES: Final = (1, 512, 200_000)
ONE_BY_ONE: Final = 3_000
NEAR_BORDER_E7: Final = 200
"""About 2 m."""
ROUNDS: Final = 3
TURN_S: Final = 0.02


def line(case: Mapping[str, object], metric: str, value: float, unit: str, **more: object) -> None:
    """Print one figure as one JSON line."""
    row = {"bench": "locate", "case": case, "metric": metric, "value": _round(value), "unit": unit, **more}
    print(json.dumps(row), flush=True)


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def seconds(run: Callable[[], object]) -> float:
    """Give the seconds that this thread ran."""
    start = time.thread_time()
    run()
    return max(time.thread_time() - start, 1e-9)


def rates(searches: Mapping[str, Search], points: Points, batch: int) -> dict[str, float]:
    """Give points per second of each, the median of rounds taken in turn."""
    parts = [points.part(low, low + batch) for low in range(0, len(points), batch)] if batch > 1 else [points]
    taken: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(ROUNDS):
        for name, search in searches.items():
            taken[name].append(_turn(search, parts))
    return {name: len(points) / median(times) for name, times in taken.items()}


def _turn(search: Search, parts: Sequence[Points]) -> float:
    """Give the seconds that one search of all parts takes."""
    times, start = 0, time.thread_time()
    while not times or time.thread_time() - start < TURN_S:
        for part in parts:
            search(part)
        times += 1
    return (time.thread_time() - start) / times


def one_by_one(locator: Locator) -> Search:
    """Ask for one point at a time."""

    def search(points: Points) -> Indices:
        cell = locator.cell
        found = [cell(lon, lat) for lon, lat in zip(points.lon.tolist(), points.lat.tolist(), strict=True)]
        return np.array(found, dtype=np.int32)

    return search


def idioms(shapes: Shapely, batch: int) -> dict[str, Search]:
    """Give the idioms of shapely that suit a batch."""
    if batch == 1:
        return {"shapely_query": shapes.query_one, "shapely_contains_xy": shapes.contains_xy_one}
    turned = {"shapely_turned": shapes.turned} if batch >= TURN_FROM else {}
    return {"shapely_query": shapes.query, "shapely_contains_xy": shapes.contains_xy, **turned}


def drawn(cells: Sequence[Cell], shapes: Shapely, n: int, rng: np.random.Generator) -> Iterator[tuple[str, Points]]:
    """Give points inside, near borders, and outside."""
    west, south, east, north = (int(value) for value in shapely.total_bounds(shapes.shapes))
    grow = (east - west) // 2

    def uniform(margin: int, keep: Callable[[Indices], np.ndarray[tuple[int], np.dtype[np.bool_]]]) -> Points:
        found: list[tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]] = []
        while sum(len(lon) for lon, _ in found) < n:
            lon = rng.integers(west - margin, east + margin, n)
            lat = rng.integers(south - margin, north + margin, n)
            kept = keep(shapes.query(Points.of(lon, lat)))
            found.append((lon[kept], lat[kept]))
        return Points.of(*(np.concatenate(column)[:n] for column in zip(*found, strict=True)))

    yield "inside", uniform(0, lambda cell: cell >= 0)
    vertices = np.concatenate([cell.polygons.array for cell in cells]).astype(np.int64)
    at = rng.integers(0, len(vertices) - 1, n)
    share = rng.random((n, 1))
    close = np.abs(vertices[at + 1] - vertices[at]).max(axis=1, keepdims=True) < 20_000  # not from one ring to the next
    on = np.where(close, np.rint(vertices[at] + share * (vertices[at + 1] - vertices[at])), vertices[at]).astype(
        np.int64
    )
    yield "border", Points.of(*(on + rng.integers(-NEAR_BORDER_E7, NEAR_BORDER_E7 + 1, (n, 2))).T)
    yield "outside", uniform(grow, lambda cell: cell < 0)


def measure(cells: int, points: int) -> None:
    """Measure one city."""
    places = generate(cells, seed=0).places
    base = sorted((cell for cell in places.cells if cell.type is CellType.BASE), key=lambda cell: cell.code.encode())
    outlines = [cell.polygons for cell in base]
    shapes = Shapely.of(shapes_of(outlines))
    only = Places(cells=tuple(base))
    built: list[Locator] = []
    case: dict[str, object] = {"cells": len(base)}
    line(case, "index_s", seconds(lambda: built.append(Locator(only))), "s")
    (locator,) = built
    line(case, "index_bytes", locator.layers.cells.nbytes, "B")
    linear = Linear.of(outlines)
    hexagons = Hexagons.of(outlines)
    rng = np.random.default_rng(cells)
    for where, some in drawn(base, shapes, points, rng):
        case = {"cells": len(base), "points": where}
        line(
            case,
            "shapely_points_made",
            len(some) / seconds(partial(shapely.points, some.lon, some.lat)),
            "1/s",
        )
        check(case, locator, shapes, some)
        for batch in BATCHES:
            compare({**case, "batch": batch}, locator, shapes, some if batch > 1 else some.part(0, ONE_BY_ONE), batch)
        beside(case, locator, linear, hexagons, some)


def check(case: Mapping[str, object], locator: Locator, shapes: Shapely, points: Points) -> None:
    """Compare every point with the oracle, asked together and (some) one at a time."""
    oracle = shapes.query(points)
    wrong = int((locator.cell_many(points.lon, points.lat) != oracle).sum())
    some = points.part(0, ONE_BY_ONE)
    wrong += int((one_by_one(locator)(some) != oracle[:ONE_BY_ONE]).sum())
    line(case, "points_unlike_oracle", wrong, "1")


def compare(case: Mapping[str, object], locator: Locator, shapes: Shapely, points: Points, batch: int) -> None:
    """Print our rate beside that of the fastest idiom of shapely."""
    ours: Search = one_by_one(locator) if batch == 1 else lambda some: locator.cell_many(some.lon, some.lat)
    found = rates({"ours": ours, **idioms(shapes, min(batch, len(points)))}, points, batch)
    mine = found.pop("ours")
    idiom = max(found, key=lambda name: found[name])
    line(
        case, "points_per_s", mine, "1/s", peer="shapely", peer_value=_round(found[idiom]),
        ratio=round(mine / found[idiom], 1), idiom=idiom,
    )  # fmt: skip
    for name, rate in found.items():
        line(case, "points_per_s", rate, "1/s", of=name)


def beside(case: Mapping[str, object], locator: Locator, linear: Linear, hexagons: Hexagons, points: Points) -> None:
    """Print the linear scan and H3 beside ours, on fewer points: they are slow."""
    few = points.part(0, 2_000)
    contenders: dict[str, Search] = {"numba_linear_scan": linear.search, "h3_python_loop": hexagons.search}
    ours = rates({"ours": lambda some: locator.cell_many(some.lon, some.lat)}, few, len(few))["ours"]
    answer = locator.cell_many(few.lon, few.lat)
    for name, search in contenders.items():
        rate = rates({name: search}, few, len(few))[name]
        wrong = int((search(few) != answer).sum())
        line(
            {**case, "batch": len(few)}, "points_per_s", ours, "1/s", peer=name, peer_value=_round(rate),
            ratio=round(ours / rate, 1), peer_wrong=wrong,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two cities, within 40 s")
    parser.add_argument("--cells", type=int, nargs="*", help=f"which cities (default: {CELLS})")
    args = parser.parse_args()
    line({}, "warm_s", seconds(warm), "s")
    for cells in args.cells or (QUICK_CELLS if args.quick else CELLS):
        measure(cells, 20_000 if args.quick else max(BATCHES))


if __name__ == "__main__":
    main()
