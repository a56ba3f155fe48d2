"""``gridwarden check``: every mistake of a config folder at once, each with its file, path and remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from models import catalogue, people, places, thresholds
from models.catalogue.check import label_problems
from models.config import FILE, UNIT_GRID_M2, Config, Edge
from models.config import load as load_config
from models.content import MAX_FILE_BYTES, Content, read_bytes
from models.detectors import read_manifest
from models.errors import ConfigError, Problem
from models.people.files import parse as parse_people
from models.people.files import tables_of
from models.people.fit import cells_without_duty, cross_problems
from models.remembered import Remembered, key_of

PLACES: Final = "places.geojson"
PEOPLE: Final = "people.toml"
CATALOGUE: Final = "catalogue.toml"
THRESHOLDS: Final = "thresholds.toml"

C = TypeVar("C", bound=Content)


@dataclass
class Folder:
    """A config folder as far as it could be read, and what is wrong with it.

    Attributes:
        problems: with one of them nothing of the folder may be used.
        remarks: what was repaired, or looks doubtful and is taken all the same.
    """

    config: Config | None = None
    places: places.Places | None = None
    people: people.People | None = None
    catalogue: catalogue.Catalogue | None = None
    thresholds: thresholds.Thresholds | None = None
    problems: list[Problem] = field(default_factory=list)
    remarks: list[Problem] = field(default_factory=list)


def check(folder: Path, *, trust: bool = False) -> Folder:
    """Return all of `folder`, read and validated, with every problem found; never raises for its content.

    Args:
        folder: the config folder.
        trust: leave out what takes long and was done before with the same content: a process that starts does.
    """
    found = Folder()
    try:
        found.config = load_config(folder)
    except ConfigError as exc:
        found.problems += exc.problems
    if folder.is_file():
        folder = Path(found.config.folder) if found.config else folder.parent
    found.places = _read_places(found, folder / PLACES, trust=trust)
    found.people = _read_people(found, folder / PEOPLE)
    found.catalogue = _read(found, catalogue.load, folder / CATALOGUE)
    found.thresholds = _read(found, thresholds.load, folder / THRESHOLDS)
    if found.people and found.places and found.catalogue:
        tables = tables_of(folder / PEOPLE)
        found.problems += cross_problems(
            found.people,
            found.places,
            found.catalogue,
            file=folder / PEOPLE,
            places_file=folder / PLACES,
            catalogue_file=folder / CATALOGUE,
            tables=tables,
        )
        found.remarks += cells_without_duty(
            found.people, found.places, found.catalogue, file=folder / PEOPLE, tables=tables
        )
    if found.thresholds and found.places:
        found.problems += thresholds.place_problems(found.thresholds, found.places, file=folder / THRESHOLDS)
    if found.config and found.places:
        found.problems += _edge_problems(found.config, found.places, folder / FILE)
    if found.config and found.catalogue:
        found.problems += _detector_problems(found.config.edge, found.catalogue, folder / CATALOGUE)
    return found


def _read_places(found: Folder, path: Path, *, trust: bool) -> places.Places | None:
    limit = found.config.max_file_bytes if found.config else MAX_FILE_BYTES
    unit_grid_m2 = found.config.unit_grid_m2 if found.config else UNIT_GRID_M2
    remembered = Remembered(found.config.state if found.config else None)
    try:
        raw = read_bytes(path, max_bytes=limit)
        key = key_of("geometry", raw)
        is_known = trust and remembered.has(key)
        read = places.read(raw, file=path, geometry=not is_known, unit_grid_m2=unit_grid_m2)
    except ConfigError as exc:
        found.problems += exc.problems
        return None
    found.problems += read.problems
    found.remarks += read.remarks
    if not is_known and not read.problems:
        remembered.put(key)
    # Mistakes in a shape do not keep those of the other files from being found in the same run.
    return read.places if read.is_whole else None


def _read_people(found: Folder, path: Path) -> people.People | None:
    try:
        read, problems = parse_people(path)
    except ConfigError as exc:
        found.problems += exc.problems
        return None
    # Likewise: a post that nobody holds does not hide a cell without a post.
    found.problems += problems
    return read


def _read(found: Folder, load: Callable[[Path], C], path: Path) -> C | None:
    try:
        return load(path)
    except ConfigError as exc:
        found.problems += exc.problems
        return None


def _edge_problems(config: Config, city: places.Places, path: Path) -> list[Problem]:
    """Return the devices that the edge agent shall serve and the city does not know, or knows as another's."""
    problems = []
    served = [(f"edge.cameras[{i}].device", camera.device) for i, camera in enumerate(config.edge.cameras)]
    served += [(f"edge.sensors[{i}].device", sensor.device) for i, sensor in enumerate(config.edge.sensors)]
    for where, device_id in served:
        device = city.device_by_id.get(device_id)
        if device is None:
            problems.append(Problem(path, where, f"no device {device_id!r} in {PLACES}", "add the device there"))
        elif device.agent != config.edge.agent:
            what = f"{device_id!r} belongs to agent {device.agent!r}, not {config.edge.agent!r}"
            problems.append(Problem(path, where, what, f"mend edge.agent, or the device's agent in {PLACES}"))
    return problems


def _detector_problems(edge: Edge, known: catalogue.Catalogue, path: Path) -> list[Problem]:
    """Return what is wrong with the manifest of the detector, or the labels of it that mean nothing here."""
    try:
        manifest = read_manifest(edge.detector)
        manifest.network(edge.precision)
    except ConfigError as exc:
        return list(exc.problems)
    return label_problems(known, dict.fromkeys(manifest.labels, edge.detector), file=path)
