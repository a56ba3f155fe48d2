"""Records as the lines of a CSV file, in and out.

A CSV file is UTF-8, with or without a byte order mark; the first line names the columns. A column has the name of the
field; that of a nested field has its parent's name and a dot (``quiet_hours.start``, ``contract.first_day``). Items of
a list stand between semicolons (``mon;tue``), times are ``08:00``, days ``2026-11-22``, moments ``2026-11-22T08:00``;
what spreadsheets make of these is read too (``8:00``, ``2026/11/22``). An empty cell is the default.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from models.content import Record, read_bytes
from models.errors import ConfigError, Problem

R = TypeVar("R", bound=Record)
BETWEEN: Final = ";"
FORMS: Final[Mapping[object, tuple[str, str]]] = {
    dt.time: ("time", "08:00"),
    dt.date: ("day", "2026-11-22"),
    dt.datetime: ("moment", "2026-11-22T08:00"),
}
"""What is called how, and written how."""
_DAY: Final = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")
_CLOCK: Final = re.compile(r"(?<!\d)(\d{1,2}):(\d\d)(:\d\d)?")
MAX_NAMED: Final = 20
"""Cells of a column that are named as wrong; a wrong column in a file of 100,000 lines is one mistake."""


def read_csv(file: Path, kind: type[R], problems: list[Problem]) -> tuple[R, ...]:
    """Return the records of a CSV file; where one cannot be read, add why to `problems` and give none."""
    try:
        text = read_bytes(file).decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), strict=True))
    except (ValueError, csv.Error, ConfigError) as exc:
        remedy = "write it again, as UTF-8 with commas (of Excel: CSV UTF-8)"
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
    """A field of a record: one column, or one for each field of a nested record.

    Attributes:
        plain: what stands in a cell of each column; of a list, one of its items.
    """

    name: str
    type: Any
    columns: tuple[str, ...]
    plain: tuple[object, ...]
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
        is_list = typing.get_origin(inner) is tuple
        columns: tuple[str, ...] = (name,)
        plain: tuple[object, ...] = (_plain(typing.get_args(inner)[0]) if is_list else inner,)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            columns = tuple(f"{name}.{column}" for column in inner.__struct_encode_fields__)
            plain = tuple(_plain(one.type) for one in msgspec.structs.fields(inner))
        fields[name] = _Field(name, field.type, columns, plain, field.required, is_list, field.default)
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
    found = [
        _spelled(columns[name], plain)
        for name, plain in zip(field.columns, field.plain, strict=True)
        if name in columns
    ]
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
            problems.append(Problem(file, f"line {number}, {field.name}", what, _remedy(field)))
    if different is cells:
        return values
    value_of = dict(zip(different, values, strict=True))
    return [value_of[cell] for cell in cells]


def _spelled(cells: Sequence[str], plain: object) -> Sequence[str]:
    """Give days, times and moments as they are read, whatever a spreadsheet has made of them."""
    if plain not in FORMS:
        return cells
    spelled = {}
    for cell in dict.fromkeys(cells):
        text = _DAY.sub(lambda at: f"{at[1]}-{at[2]:0>2}-{at[3]:0>2}", cell.strip())
        text = _CLOCK.sub(lambda at: f"{at[1]:0>2}:{at[2]}{at[3] or ':00'}", text, count=1)
        spelled[cell] = text.replace(" ", "T", 1) if plain is dt.datetime else text
    return [spelled[cell] for cell in cells]


def _remedy(field: _Field) -> str:
    forms = [f"a {name} like {form}" for name, form in (FORMS[plain] for plain in field.plain if plain in FORMS)]
    values = [str(value.value) for value in getattr(field.plain[0], "__members__", {}).values()]
    if forms:
        return f"write {' and '.join(dict.fromkeys(forms))}"
    return f"use {'some' if field.is_list else 'one'} of: {', '.join(values)}" if values else "correct the cell"


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
                    wrong[at] = str(exc).partition(" - at `")[0]
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


# --- out ---


def write_csv(name: str, kind: type[R], records: Sequence[R]) -> bytes:
    """Return the records of the table `name` as a CSV file; columns that only hold defaults are left out.

    Raises:
        ConfigError: an item of a list holds a semicolon, which would make two of it.
    """
    fields = _fields(kind)
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
                raise ConfigError([Problem("people", path, f"{item!r} cannot be an item of a CSV list", remedy)])
        return BETWEEN.join(items)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)
