"""`gridwarden city`: a sample city that loads, validates and runs.

Nothing in it is real; the same seed gives the same city.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from models import catalogue, thresholds
from models.city import ground, roster
from models.city.writing import people_toml, settings_toml
from models.errors import ConfigError, Problem
from models.people import People
from models.places import DeviceKind, Places
from models.places.geojson import dump

MIN_UNITS, MAX_UNITS = 4, 100_000


@dataclass(frozen=True, slots=True)
class City:
    """The generated part of a config folder."""

    places: Places
    people: People


def generate(units: int, seed: int = 0) -> City:
    """Give a city of `units` base cells.

    Raises:
        ConfigError: `units` is not in `MIN_UNITS` to `MAX_UNITS`.
    """
    if not MIN_UNITS <= units <= MAX_UNITS:
        what, remedy = f"{units} units make no city", f"ask for {MIN_UNITS} to {MAX_UNITS:,}"
        raise ConfigError([Problem("command line", "--units", what, remedy)])
    rng = random.Random(seed)
    places = ground.build(units, rng)
    return City(places, roster.build(places, rng))


def files(city: City) -> dict[str, bytes]:
    """Give the files of a config folder by name. The files of readings are empty: whoever measures appends to them."""
    sensors = [device.id for device in city.places.devices if device.kind not in {DeviceKind.CAMERA, DeviceKind.AGENT}]
    return {
        "gridwarden.toml": settings_toml(city.places),
        "places.geojson": dump(city.places),
        "people.toml": people_toml(city.people),
        "catalogue.toml": catalogue.DEFAULT.read_bytes(),
        "thresholds.toml": thresholds.DEFAULT.read_bytes(),
        **{f"readings/{sensor}.jsonl": b"" for sensor in sensors},
    }


def write(city: City, folder: Path, *, force: bool = False) -> list[Path]:
    """Write the config folder and give the paths.

    Raises:
        ConfigError: one of the files is there already and `force` is not set, or the folder cannot be written.
    """
    contents = {folder / name: content for name, content in files(city).items()}
    there = [path for path in contents if path.exists()]
    if there and not force:
        raise ConfigError([Problem(path, "$", "is there already", "use another folder, or --force") for path in there])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in contents.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    except OSError as exc:
        problem = Problem(folder, "$", f"cannot be written: {exc.strerror or exc}", "choose a folder of your own")
        raise ConfigError([problem]) from exc
    return list(contents)
