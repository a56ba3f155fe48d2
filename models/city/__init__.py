"""`gridwarden city`: a sample city that loads, validates and runs.

Nothing in it is real; the same seed gives the same city.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from models import cases, thresholds
from models.city import ground, roster, template
from models.city.template import MAX_CELLS, MIN_CELLS, Template, load
from models.city.trial import cases as cases_of
from models.city.writing import cases_toml, catalogue_toml, people_files, settings_toml
from models.errors import ConfigError, Problem
from models.people import People
from models.places import DeviceKind, Places
from models.places.geojson import dump

MIN_UNITS, MAX_UNITS = MIN_CELLS, MAX_CELLS


@dataclass(frozen=True, slots=True)
class City:
    """The generated part of a config folder."""

    places: Places
    people: People
    template: Template


def generate(
    units: int | None = None, seed: int = 0, *, template: str = template.DEFAULT, officers: int | None = None
) -> City:
    """Give a city.

    Args:
        units: base cells; None: as many as the template says.
        seed: another seed, another city.
        template: the name of one that ships, or a file of your own.
        officers: so many persons exactly; None: every building and shop has a chief.

    Raises:
        ConfigError: `units` is not in `MIN_UNITS` to `MAX_UNITS`, `officers` do not fit, or there is no such template.
    """
    model = load(template)
    units = model.ground.cells if units is None else units
    if not MIN_UNITS <= units <= MAX_UNITS:
        what, remedy = f"{units} units make no city", f"ask for {MIN_UNITS} to {MAX_UNITS:,}"
        raise ConfigError([Problem("command line", "--units", what, remedy)])
    rng = random.Random(seed)
    places = ground.build(units, model.ground, rng)
    try:
        return City(places, roster.build(places, model, rng, officers=officers), model)
    except ValueError as exc:
        raise ConfigError([Problem("command line", "--officers", str(exc), "choose a number in between")]) from exc


def files(city: City) -> dict[str, bytes]:
    """Give the files of a config folder by name. The files of readings are empty: whoever measures appends to them."""
    sensors = [device.id for device in city.places.devices if device.kind not in {DeviceKind.CAMERA, DeviceKind.AGENT}]
    return {
        "gridwarden.toml": settings_toml(city.places),
        "places.geojson": dump(city.places),
        **people_files(city.people, city.template),
        "catalogue.toml": catalogue_toml(city.template, city.places),
        "thresholds.toml": thresholds.DEFAULT.read_bytes(),
        cases.FILE: cases_toml(cases_of(city.places)),
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
