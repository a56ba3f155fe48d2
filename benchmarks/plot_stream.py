"""The points of `bench_stream` as a picture: decided and delayed, over offered.

    python -m benchmarks.plot_stream points.jsonl > stream.svg

Points that do not count (not every observation was decided) are hollow. Both axes of both panels are logarithmic.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

WIDTH, HEIGHT, LEFT, TOP, ROOM = 360, 260, 62, 40, 90
COLOURS: Final = ("#1b6ca8", "#c23b22", "#2e8b57", "#8e5ea2", "#b8860b")
Row = Mapping[str, Any]
Series = dict[str, list[Row]]


def read(lines: Iterable[str]) -> Series:
    """Return the points of load by what they are of."""
    series: defaultdict[str, list[Row]] = defaultdict(list)
    for text in lines:
        row = json.loads(text)
        case = row["case"]
        if row["bench"] == "stream" and row["metric"] == "observations_per_s" and "offered_per_s" in case:
            workers = "" if case["workers"] == 1 else f", {case['workers']} workers"
            per_message = "" if case["per_message"] == 20 else f", {case['per_message']} per message"
            share = f", {case['worker_cores']} of a core each" if "worker_cores" in case else ""
            series[f"{case['log']}{workers}{per_message}{share}"].append(row)
    return dict(series)


def panel(series: Series, left: float, title: str, unit: str, value: Callable[[Row], float | None]) -> list[str]:
    """Return one panel: `value` over what was offered."""
    found = {
        name: [(row["case"]["offered_per_s"], y, row["counts"]) for row in rows if (y := value(row))]
        for name, rows in series.items()
    }
    every = [point for points in found.values() for point in points]
    if not every:
        return []
    to_x, x_ticks = _axis([x for x, _, _ in every], left, left + WIDTH)
    to_y, y_ticks = _axis([y for _, y, _ in every], TOP + HEIGHT, TOP)
    drawn = [
        f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{title}</text>',
        f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>',
        f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 32}" text-anchor="middle">offered, observations/s</text>',
    ]
    drawn += [
        f'<text x="{to_x(tick):.1f}" y="{TOP + HEIGHT + 15}" text-anchor="middle">{tick:,.0f}</text>'
        for tick in x_ticks
    ]
    for tick in y_ticks:
        y = to_y(tick)
        drawn.append(f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="#ddd"/>')
        drawn.append(f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:,.0f}{unit}</text>')
    for colour, points in zip(COLOURS, found.values(), strict=False):
        path = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y, _ in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for x, y, counts in points:
            fill = colour if counts else "white"
            drawn.append(f'<circle cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r="4" fill="{fill}" stroke="{colour}"/>')
    return drawn


def render(series: Series) -> str:
    """Return the picture as SVG."""
    second = LEFT + WIDTH + ROOM
    drawn = panel(series, LEFT, "Decided, observations/s", "", lambda row: float(row["value"]))
    drawn += panel(series, second, "MQTT to order, p99", " ms", lambda row: row["latency_p99_ms"])
    for n, (colour, name) in enumerate(zip(COLOURS, series, strict=False)):
        x, y = LEFT + n % 3 * 230, TOP + HEIGHT + 62 + n // 3 * 20
        drawn.append(f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{colour}"/><text x="{x + 11}" y="{y}">{name}</text>')
    width, height = second + WIDTH + 20, TOP + HEIGHT + 100
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"'
    background = f'<rect width="{width}" height="{height}" fill="white"/>'
    return "\n".join([f'{head} font-size="12">', background, *drawn, "</svg>", ""])


def _axis(values: Sequence[float], start: float, end: float) -> tuple[Callable[[float], float], list[float]]:
    """Return what places a value between `start` and `end`, and the values that are written there."""
    low, high = math.log10(min(values)) - 0.1, math.log10(max(values)) + 0.1
    steps = [digit * 10.0**power for power in range(math.floor(low), math.ceil(high)) for digit in (1, 2, 5)]
    ticks = [step for step in steps if low <= math.log10(step) <= high]
    return lambda value: start + (end - start) * (math.log10(value) - low) / (high - low), ticks


if __name__ == "__main__":
    sys.stdout.write(render(read(Path(sys.argv[1]).read_text().splitlines())))
