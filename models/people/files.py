"""People on disk: `people.toml`, with any table of it as CSV beside it, in the folder `people`.

``people/persons.csv`` stands for ``persons = [...]``, and so for `units`, `posts`, `weekly_shifts`, `dated_shifts`,
`swaps` and `authority`. A table stands in one place only. CSV is the form for large rosters: it reads some thirty times
faster than TOML.

A CSV file is UTF-8, with or without a byte order mark; the first line names the columns. A column has the name of the
field; that of a nested field has its parent's name and a dot (``quiet_hours.start``, ``contract.first_day``). Items of
a list stand between semicolons (``mon;tue``), times are ``08:00``, days ``2026-11-22``, moments ``2026-11-22T08:00``.
An empty cell is the default.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from models.content import Record, convert, read_bytes, read_toml, uncollected
from models.errors import ConfigError, Problem
from models.people import People
from models.people.check import problems as check
from models.people.duty import DatedShift, Swap, WeeklyShift
from models.people.posts import Authority, Person, Post, Unit

TABLES: Final[Mapping[str, type[Record]]] = {
    "units": Unit,
    "persons": Person,
    "posts": Post,
    "weekly_shifts": WeeklyShift,
    "dated_shifts": DatedShift,
    "swaps": Swap,
    "authority": Authority,
}
R = TypeVar("R", bound=Record)
FOLDER: Final = "people"
BETWEEN: Final = ";"
MAX_NAMED: Final = 20
"""Cells of a column that are named as wrong; a wrong column in a file of 100,000 lines is one mistake."""


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


def read_csv(file: Path, kind: type[R], problems: list[Problem]) -> tuple[R, ...]:
    """Return the records of a CSV file; where one cannot be read, add why to `problems` and give none."""
    try:
        text = read_bytes(file).decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), strict=True))
    except (ValueError, csv.Error, ConfigError) as exc:
        remedy = "write it again, as UTF-8 with commas"
        problems += exc.problems if isinstance(exc, ConfigError) else [Problem(file, "$", f"is no CSV: {exc}", remedy)]
        return ()
    head, *rows = lines or [[]]
    fields = {name: field for name, field in _fields(kind).items() if any(column in head for column in field.columns)}
    found = [*_head_problems(file, kind, head), *_row_problems(file, head, rows)]
    if not found and rows:
        columns = dict(zip(head, zip(*rows, strict=True), strict=True))
        values = {name: _values(file, field, columns, found) for name, field in fields.items()}
    problems += found
    return () if found or not rows else _records(kind, values)


def _head_problems(file: Path, kind: type[Record], head: Sequence[str]) -> Iterator[Problem]:
    fields = _fields(kind)
    known = {column for field in fields.values() for column in field.columns}
    for name in head:
        if name not in known:
            remedy = f"remove it or correct its spelling (known columns: {', '.join(sorted(known))})"
            yield Problem(file, name, "unknown column", remedy)
    for name, field in fields.items():
        if field.is_required and name not in head:
            yield Problem(file, name, "the column is missing", "name it in the first line, and fill it")
    if len(set(head)) < len(head):
        yield Problem(file, "line 1", "a column is named twice", "keep one of them")


def _row_problems(file: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Problem]:
    ragged = [number for number, row in enumerate(rows, 2) if len(row) != len(head)]
    what = f"the line has not the {len(head)} cells of the first one"
    return [Problem(file, f"line {number}", what, "correct it") for number in ragged[:MAX_NAMED]]


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a record: one column, or one for each field of a nested record."""

    name: str
    type: Any
    columns: tuple[str, ...]
    is_required: bool
    is_list: bool
    default: object

    @property
    def is_nested(self) -> bool:
        return self.columns != (self.name,)


def _fields(kind: type[msgspec.Struct]) -> dict[str, _Field]:
    fields = {}
    for field in msgspec.structs.fields(kind):
        name, inner = field.encode_name, _plain(field.type)
        columns: tuple[str, ...] = (name,)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            columns = tuple(f"{name}.{column}" for column in inner.__struct_encode_fields__)
        fields[name] = _Field(
            name, field.type, columns, field.required, typing.get_origin(inner) is tuple, field.default
        )
    return fields


def _plain(shape: object) -> object:
    """Give the type inside `Annotated` and `| None`."""
    if typing.get_origin(shape) is typing.Annotated:
        return _plain(typing.get_args(shape)[0])
    if typing.get_origin(shape) in (typing.Union, types.UnionType):
        return _plain(next(member for member in typing.get_args(shape) if member is not type(None)))
    return shape


def _values(file: Path, field: _Field, columns: Mapping[str, Sequence[str]], problems: list[Problem]) -> list[object]:
    """Give the values of a field. Equal cells become one value if they are many: a roster has few days and times."""
    names = [name.rpartition(".")[2] for name in field.columns if name in columns]
    found = [columns[name] for name in field.columns if name in columns]
    cells: Sequence[Any] = list(zip(*found, strict=True)) if field.is_nested else found[0]
    different: Sequence[Any] = list(dict.fromkeys(cells))
    if 2 * len(different) > len(cells):
        different = cells
    given: Sequence[object] = different
    if field.is_nested:
        given = [{name: cell for name, cell in zip(names, row, strict=True) if cell} for row in different]
    elif field.is_list:
        given = [[item for item in map(str.strip, cell.split(BETWEEN)) if item] for cell in different]
    values, wrong = _converted(given, field)
    for at in wrong:
        lines = [at + 2]
        if different is not cells:
            lines = [number for number, cell in enumerate(cells, 2) if cell == different[at]]
        for number in lines[:MAX_NAMED]:
            what = f"{different[at]!r}: {wrong[at][:1].lower()}{wrong[at][1:]}"
            problems.append(Problem(file, f"line {number}, {field.name}", what, "correct the cell"))
    if different is cells:
        return values
    value_of = dict(zip(different, values, strict=True))
    return [value_of[cell] for cell in cells]


def _converted(given: Sequence[object], field: _Field) -> tuple[list[object], dict[int, str]]:
    """Return the values of cells, and what is wrong with the first of those that have none, by place."""
    filled = given if field.is_required else [value for value in given if value]
    wrong: dict[int, str] = {}
    try:
        values: list[object] = msgspec.convert(filled, list[field.type], strict=False)  # type: ignore[name-defined]
    except msgspec.ValidationError:
        for at, value in enumerate(given):
            try:
                msgspec.convert(value, field.type, strict=False)
            except msgspec.ValidationError as exc:
                if value or field.is_required:
                    wrong[at] = str(exc)
            if len(wrong) == MAX_NAMED:
                break
        return [None] * len(given), wrong
    if len(values) == len(given):
        return values, wrong
    rest = iter(values)
    return [next(rest) if value else field.default for value in given], wrong


def _records(kind: type[R], columns: Mapping[str, Sequence[object]]) -> tuple[R, ...]:
    """Build the records of columns whose values are valid; nothing is checked again."""
    names = tuple(columns)
    return tuple([kind(**dict(zip(names, row))) for row in zip(*columns.values())])  # noqa: B905  # half a million


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
    files = {f"{FOLDER}/{name}.csv": _csv(name, getattr(people, name)) for name in TABLES if getattr(people, name)}
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


def _csv(name: str, records: Sequence[Record]) -> bytes:
    fields = _fields(TABLES[name])
    used = [
        field
        for field in fields.values()
        if field.is_required or any(getattr(record, field.name) != field.default for record in records)
    ]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column for field in used for column in field.columns])
    for index, record in enumerate(records):
        path = f"{name}[{index}]"
        writer.writerow([cell for field in used for cell in _cells(field, getattr(record, field.name), path)])
    return out.getvalue().encode()


def _cells(field: _Field, value: object, path: str) -> list[str]:
    if field.is_nested:
        columns = [column.rpartition(".")[2] for column in field.columns]
        return [_cell(getattr(value, column, None), path) for column in columns]
    return [_cell(value, path)]


def _cell(value: object, path: str) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        items = [_cell(item, path) for item in value]
        for item in items:
            if BETWEEN in item or item != item.strip():
                remedy = "keep this table in TOML, or rename it"
                raise ConfigError([Problem(FOLDER, path, f"{item!r} cannot be an item of a CSV list", remedy)])
        return BETWEEN.join(items)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)


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
