"""The 400 complex fences that tile38's users report (its issue 245): which of them does each point lie in?

    python -m benchmarks.bench_fences [--quick]

Fences of 2,000 vertices that overlap one another, points one at a time, as they come from devices. They reported 5,000
points a minute; tile38 itself is not run here. The peer is shapely's tree, which is given all points at once. Every
answer to the first points is compared with it.
"""

from __future__ import annotations

import argparse
import json
from statistics import median
from typing import Final

import numpy as np
from msgspec.structs import replace

from benchmarks.bench_locate import ROUNDS, seconds
from benchmarks.locating import Points, Shapely, shapes_of
from models.outlines import Polygons
from models.places import Cell, CellKind, CellType, Places
from stream.locate import Locator, warm

FENCES: Final = 400
VERTICES: Final = 2_000
CENTRE: Final = np.array([1_065_080_000, 295_080_000])
SPREAD_E7: Final = 900_000
CHECKED: Final = 2_000
REPORTED_PER_S: Final = 5_000 / 60


def line(metric: str, value: float, unit: str, **more: object) -> None:
    """Print one figure as one JSON line."""
    case = {"fences": FENCES, "vertices": VERTICES}
    row = {"bench": "fences", "case": case, "metric": metric, "value": float(f"{value:.4g}"), "unit": unit, **more}
    print(json.dumps(row), flush=True)


def fence(rng: np.random.Generator) -> Polygons:
    """Draw a ring that wavers, 5 to 40 km across."""
    angle = np.sort(rng.random(VERTICES)) * 2 * np.pi
    wave = sum(rng.random() / k * np.sin(k * angle + rng.random() * 7) for k in range(2, 12))
    radius = 1e5 * rng.uniform(0.5, 3) * (1 + 0.25 * wave + 0.02 * rng.random(VERTICES))
    centre = CENTRE + rng.integers(-SPREAD_E7, SPREAD_E7, 2)
    ring = centre + np.rint(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])).astype(np.int64)
    return Polygons.of([(np.vstack([ring, ring[:1]]),)])


def index_of(outlines: list[Polygons]) -> Locator:
    """Take each fence for an exclusive cell: of these a point may lie in many."""
    whatever = Cell(
        code="0", kind=CellKind.MIXED, name="f", name_en="f", parent="p", polygons=Polygons(), type=CellType.EXCLUSIVE
    )
    return Locator(Places(cells=tuple(replace(whatever, code=f"{i:03}", polygons=p) for i, p in enumerate(outlines))))


def measure(points: int) -> None:
    """Compare answers and rates."""
    rng = np.random.default_rng(245)
    outlines = [fence(rng) for _ in range(FENCES)]
    locator, shapes = index_of(outlines), Shapely.of(shapes_of(outlines))
    lon, lat = (rng.integers(centre - 1_000_000, centre + 1_000_000, points) for centre in CENTRE)
    some = Points.of(lon, lat)
    asked = list(zip(lon.tolist(), lat.tolist(), strict=True))
    found = [len(set(locator.exclusive(*point))) for point in asked[:CHECKED]]
    wrong = sum(
        len(set(locator.exclusive(*point)) ^ set(shapes.tree.query(shape, predicate="intersects").tolist()))
        for point, shape in zip(asked, some.shapes[:CHECKED], strict=False)
    )
    line("fences_of_a_point", float(np.mean(found)), "1")
    line("fences_unlike_oracle", wrong, "1")
    taken: dict[str, list[float]] = {"ours": [], "shapely": []}
    for _ in range(ROUNDS):
        taken["ours"].append(seconds(lambda: [locator.exclusive(*point) for point in asked]))
        taken["shapely"].append(seconds(lambda: shapes.tree.query(some.shapes, predicate="intersects")))
    ours, peer = (points / median(taken[name]) for name in ("ours", "shapely"))
    line(
        "points_per_s_one_at_a_time", ours, "1/s", peer="shapely_query_batch",
        peer_value=float(f"{peer:.4g}"), ratio=round(ours / peer, 1),
    )  # fmt: skip
    line("points_per_s_reported_of_tile38", REPORTED_PER_S, "1/s", source="issue 245, not run here")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer points")
    args = parser.parse_args()
    warm()
    measure(5_000 if args.quick else 50_000)


if __name__ == "__main__":
    main()
