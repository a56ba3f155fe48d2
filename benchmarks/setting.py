"""What the benchmarks share: a city with as many devices as wanted, the chain under it, and its figures."""

from __future__ import annotations

import json
import math
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from shapely import Point, STRtree
from shapely.geometry import shape

from models.supervise import gridwarden

SPACING_DEG = 0.00065
"""Devices stand about 65 m apart: farther than `merge_m`, so that each fire is an incident of its own."""


def line(bench: str, case: Mapping[str, object], metric: str, value: float, unit: str) -> None:
    """Print one figure as one JSON line."""
    print(
        json.dumps({"bench": bench, "case": case, "metric": metric, "value": round(value, 3), "unit": unit}), flush=True
    )


def write_city(folder: Path, *, devices: int, streets: int, units: int = 135) -> list[str]:
    """Write a sample city with `devices` cameras, each its own zone, over `streets` streets; return their ids.

    135 units have room for 210 devices, 1,000 for 2,000, 5,000 for 10,000.
    """
    command = gridwarden("city", "--units", str(units), "--out", str(folder))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    path = folder / "places.geojson"
    city = json.loads(path.read_text())
    features = [item for item in city["features"] if item["properties"]["layer"] not in {"device", "zone"}]
    first = next(item for item in features if item["properties"].get("kind") == "street")
    names = [item["properties"]["code"] for item in features if item["properties"].get("kind") == "street"]
    for n in range(len(names), streets):
        names.append(f"ST-B{n:03}")
        away = [[lon, lat + 0.00002 * n] for lon, lat in first["geometry"]["coordinates"]]
        properties = first["properties"] | {"code": names[-1]}
        features.append(
            {"type": "Feature", "properties": properties, "geometry": {"type": "LineString", "coordinates": away}}
        )
    ids = []
    spots = _spots([item for item in features if item["properties"]["layer"] == "cell"])
    features.append(_device("edge-01", next(spots), {"kind": "agent"}))
    for n in range(devices):
        spot = next(spots)
        zone, device = f"zone-{n:04}", f"cam-{n:04}"
        ids.append(device)
        properties = {
            "layer": "zone",
            "id": zone,
            "name": zone,
            "name_en": zone,
            "cell": spot[2],
            "street": names[n % streets],
        }
        features.append({"type": "Feature", "properties": properties, "geometry": None})
        features.append(_device(device, spot, {"kind": "camera", "zone": zone, "agent": "edge-01"}))
    city["features"] = features
    path.write_text(json.dumps(city))
    (folder / "gridwarden.toml").write_text('tenant = "bench"\n[mqtt]\nport = 0\n[alerts]\nport = 0\n')
    return ids


def _device(name: str, spot: tuple[float, float, str], properties: dict[str, str]) -> dict[str, Any]:
    properties |= {"layer": "device", "id": name, "name": name, "name_en": name, "cell": spot[2]}
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Point", "coordinates": spot[:2]}}


def _spots(cells: list[dict[str, Any]]) -> Iterator[tuple[float, float, str]]:
    """Yield (lon, lat, cell code) on a lattice inside the cells, well away from their borders."""
    shapes = [shape(item["geometry"]) for item in cells]
    inner = [polygon.buffer(-0.00004) for polygon in shapes]
    tree = STRtree(inner)
    west, south = min(p.bounds[0] for p in shapes), min(p.bounds[1] for p in shapes)
    east, north = max(p.bounds[2] for p in shapes), max(p.bounds[3] for p in shapes)
    for row in range(math.ceil((north - south) / SPACING_DEG)):
        for column in range(math.ceil((east - west) / SPACING_DEG)):
            point = Point(round(west + column * SPACING_DEG, 7), round(south + row * SPACING_DEG, 7))
            hits = tree.query(point, predicate="within")
            if len(hits):
                yield point.x, point.y, cells[hits[0]]["properties"]["code"]
    raise ValueError("the city is too small for so many devices")


@dataclass(frozen=True, slots=True)
class Chain:
    """A running chain: ``gridwarden up`` without an edge, so that the load comes from outside."""

    config: Path
    state: Path
    process: subprocess.Popen[bytes]

    @property
    def effective(self) -> Path:
        """The config that its processes got."""
        return self.state / "gridwarden.toml"

    def history_rows(self) -> int:
        """Return how many decisions stand in the history."""
        with closing(sqlite3.connect(f"file:{self.state / 'history.db'}?mode=ro", uri=True, timeout=30)) as db:
            [(rows,)] = db.execute("SELECT count(*) FROM history")
            return int(rows)

    def resident_mib(self) -> dict[str, float]:
        """Return the resident memory of each process, its children included, in MiB."""
        state = json.loads((self.state / "up.json").read_text())
        found = {}
        for name, child in state.items():
            process = psutil.Process(child["pid"])
            family = [process, *process.children(recursive=True)]
            found[name] = sum(member.memory_info().rss for member in family) / 2**20
        return found


@contextmanager
def running_chain(*, devices: int, streets: int) -> Iterator[tuple[Chain, list[str]]]:
    """Start the chain on a city of `devices`; yield it and the device ids once everybody is ready; stop it after."""
    with tempfile.TemporaryDirectory(prefix="gridwarden-bench-") as name:
        config, state = Path(name) / "city", Path(name) / "state"
        ids = write_city(config, devices=devices, streets=streets)
        log = (Path(name) / "up.log").open("wb")
        command = gridwarden("--log-level", "WARNING", "up", str(config), "--state", str(state))
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: _is_ready(state, process), 180, "the chain did not start")
            yield Chain(config, state, process), ids
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            log.close()
            sys.stderr.write((Path(name) / "up.log").read_text())


def _is_ready(state: Path, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise RuntimeError("the chain ended while starting")
    return (state / "stream.json").exists() and (state / "alerts.json").exists()


def until(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    """Wait until `condition` holds.

    Raises:
        TimeoutError: `what`, after `limit_s` seconds.
    """
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(what)
        time.sleep(0.05)
