"""People on disk: `people.toml`, with any table of it as CSV beside it, in the folder `people`.

``people/persons.csv`` stands for ``persons = [...]``, and so for `units`, `posts`, `weekly_shifts`, `dated_shifts`,
`swaps` and `authority`. A table stands in one place only. CSV is the form for large rosters: it reads some thirty times
faster than TOML (`models.people.sheets`).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from models.content import Record, convert, read_toml, uncollected
from models.errors import ConfigError, Problem
from models.people import People
from models.people.check import problems as check
from models.people.duty import DatedShift, Swap, WeeklyShift
from models.people.posts import Authority, Person, Post, Unit
from models.people.sheets import read_csv, write_csv

TABLES: Final[Mapping[str, type[Record]]] = {
    "units": Unit,
    "persons": Person,
    "posts": Post,
    "weekly_shifts": WeeklyShift,
    "dated_shifts": DatedShift,
    "swaps": Swap,
    "authority": Authority,
}
FOLDER: Final = "people"


def read(path: Path) -> People:
    """Read and validate `people.toml` and the CSV tables beside it.

    Raises:
        ConfigError: with all mistakes of the files.
    """
    people, problems = parse(path)
    if people is None or problems:
        raise ConfigError(problems)
    return people


def parse(path: Path) -> tuple[People | None, list[Problem]]:
    """Return what stands in `people.toml` and the CSV tables beside it, None where a value has no shape; and mistakes.

    Raises:
        ConfigError: `people.toml` cannot be read at all.
    """
    with uncollected():
        return _parse(path)


def tables_of(path: Path) -> dict[str, Path]:
    """Return the tables that stand in CSV beside a `people.toml`, and where."""
    return {name: file for name in TABLES if (file := path.parent / FOLDER / f"{name}.csv").is_file()}


def _parse(path: Path) -> tuple[People | None, list[Problem]]:
    problems: list[Problem] = []
    values = read_toml(path)
    tables = tables_of(path)
    for name in tables.keys() & values.keys():
        remedy = "keep one of them"
        problems.append(Problem(path, name, f"the table stands here and in {FOLDER}/{name}.csv", remedy))
        del values[name]
    people = convert(values, People, file=path, path="", problems=problems)
    loaded = {name: read_csv(file, TABLES[name], problems) for name, file in tables.items()}
    if people is None or problems:
        return None, problems
    people = msgspec.structs.replace(people, **loaded)
    return people, check(people, path, tables)


# --- out -------------------------------------------------------------------------------------------------------------


def to_toml(people: People) -> bytes:
    """Write people as TOML that `read` reads back to an equal value: one record a line, defaults left out."""
    settings, tables = [], []
    for field in msgspec.structs.fields(People):
        value = getattr(people, field.name)
        if field.name in TABLES:
            if value:
                tables.append("\n".join([f"\n{field.name} = [", *(f"  {_inline(record)}," for record in value), "]\n"]))
        elif field.required or value != field.default:
            settings.append(f"{field.name} = {_value(value)}\n")
    return "".join([*settings, *tables]).encode()


def to_csv(people: People) -> dict[str, bytes]:
    """Write people as a small `people.toml` and CSV tables that `read` reads back to an equal value, by file name.

    Raises:
        ConfigError: an item of a list holds a semicolon, which would make two of it.
    """
    files = {
        f"{FOLDER}/{name}.csv": write_csv(name, TABLES[name], records)
        for name in TABLES
        if (records := getattr(people, name))
    }
    bare = msgspec.structs.replace(people, **dict.fromkeys(TABLES, ()))
    return {"people.toml": to_toml(bare)} | files


def write(files: Mapping[str, bytes], folder: Path, *, force: bool = False) -> list[Path]:
    """Write files into `folder` and return their paths.

    Raises:
        ConfigError: one is there already and `force` is not set, or the folder cannot be written.
    """
    paths = [folder / name for name in files]
    there = [path for path in paths if path.exists() and not force]
    if there:
        raise ConfigError([Problem(path, "$", "is there already", "use another folder, or --force") for path in there])
    try:
        for path, content in zip(paths, files.values(), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as exc:
        what = f"cannot be written: {exc.strerror or exc}"
        raise ConfigError([Problem(folder, "$", what, "choose a folder of your own")]) from exc
    return paths


def _inline(record: Record) -> str:
    pairs = [
        f"{field.name} = {_value(value)}"
        for field in msgspec.structs.fields(record)
        if (value := getattr(record, field.name)) is not None and (field.required or value != field.default)
    ]
    return "{ " + ", ".join(pairs) + " }"


def _value(value: object) -> str:
    if isinstance(value, Record):
        return _inline(value)
    if isinstance(value, str):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, int | float):
        return repr(value)
    assert isinstance(value, Sequence)
    return "[" + ", ".join(_value(item) for item in value) + "]"
