"""Does a detector leak? Run it many times on pictures of changing sizes and watch the memory of the process.

    python -m benchmarks.soak_detect [--inferences 200000] [--network NAME_OR_PATH] [--precision int8]

Prints one JSON line with the growth after the first 500, and one for each tenth of the way; exit code 1 if it is more
than 5 MB.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import psutil
from numpy.typing import NDArray

from models.detectors import Detector, load

SETTLED: Final = 500  # until then caches and arenas fill
MOST_MB: Final = 5.0
SIZES: Final = ((360, 640), (240, 320), (481, 641), (320, 180), (64, 1000))
TENTHS: Final = 10


def soak(detector: Detector, pictures: Sequence[NDArray[np.uint8]], inferences: int) -> Iterator[tuple[int, float]]:
    """Run it; yield the number of inferences and the resident memory in MB, from `SETTLED` on."""
    process = psutil.Process()
    marks = {SETTLED} | {SETTLED + (inferences - SETTLED) * n // TENTHS for n in range(1, TENTHS + 1)}
    for count in range(1, inferences + 1):
        detector.detect(pictures[count % len(pictures)])
        if count in marks:
            gc.collect()
            yield count, process.memory_info().rss / 1e6


def line(case: Mapping[str, object], metric: str, megabytes: float) -> None:
    """Print one figure as one JSON line."""
    row = {"bench": "soak_detect", "case": case, "metric": metric, "value": round(megabytes, 3), "unit": "MB"}
    print(json.dumps(row), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inferences", type=int, default=200_000, help="how many (default 200,000; at least 1,000)")
    parser.add_argument("--network", default="fire_smoke", help="name or manifest (default fire_smoke)")
    parser.add_argument("--precision", choices=["fp32", "int8"], help="default: what the manifest names")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
    # A low floor: thousands of candidates go through decoding and suppression, not only the network.
    detector = load(args.network, precision=args.precision, floor=0.0005)
    inferences = max(args.inferences, 2 * SETTLED)
    case = {"network": detector.manifest.name, "precision": detector.precision, "inferences": inferences}
    resident = []
    for count, megabytes in soak(detector, pictures, inferences):
        resident.append(megabytes)
        line({**case, "after": count}, "resident_mb", megabytes)
    growth = resident[-1] - resident[0]
    line(case, "growth_mb", growth)
    return 1 if growth > MOST_MB else 0


if __name__ == "__main__":
    sys.exit(main())
