"""Draw points a second against cells from the lines of `bench_locate`.

    python -m benchmarks.bench_locate > locate.jsonl
    python -m benchmarks.plot_locate locate.jsonl docs/locate.svg

One panel for each batch, one line for each contender; points inside the city. Needs the extra `train` (matplotlib).
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "gridwarden"  # the same lines give the same file

import matplotlib.pyplot as plt  # noqa: E402  # the back end is chosen before

NAMES: Final = {
    "ours": "Gridwarden",
    "shapely_query": "shapely: query with predicate",
    "shapely_contains_xy": "shapely: query, contains_xy",
    "shapely_turned": "shapely: the join turned round",
    "numba_linear_scan": "linear scan (Numba)",
    "h3_python_loop": "H3 with exact refinement (Python loop)",
}
PANELS: Final = {1: "one point at a time", 512: "512 at a time", 200_000: "200,000 at a time"}
FEW: Final = 2_000
"""The batch of the slow peers; they are drawn in the last panel."""


def series(rows: Iterable[Mapping[str, Any]]) -> dict[int, dict[str, dict[int, float]]]:
    """Give points a second by batch, contender and cells."""
    found: dict[int, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        case = row["case"]
        if row["metric"] != "points_per_s" or case.get("points") != "inside":
            continue
        if case["batch"] == FEW:
            found[max(PANELS)][row["peer"]][case["cells"]] = row["peer_value"]
        else:
            found[case["batch"]][row.get("of", "ours")][case["cells"]] = row["value"]
    return found


def draw(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Draw the figure into `path`."""
    found = series(rows)
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12, 4.2), sharey=True, layout="constrained")
    for axis, (batch, title) in zip(axes, PANELS.items(), strict=True):
        for number, (key, name) in enumerate(NAMES.items()):
            points = sorted(found[batch].get(key, {}).items())
            if points:
                axis.plot(
                    *zip(*points, strict=True),
                    marker="o",
                    label=name,
                    color=f"C{number}",
                    lw=2.5 if not number else 1.3,
                )
        axis.set(xscale="log", yscale="log", title=title, xlabel="cells")
        axis.grid(visible=True, which="major", alpha=0.3)
    axes[0].set_ylabel("points a second, one core")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Read the lines and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=Path)
    parser.add_argument("figure", type=Path)
    args = parser.parse_args()
    draw([json.loads(row) for row in args.lines.read_text().splitlines()], args.figure)


if __name__ == "__main__":
    main()
