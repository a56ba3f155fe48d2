"""`cases.toml`: questions to try a config folder with, for `gridwarden route --all`: what happens where and when."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from models.content import Record, Text, convert, duplicates, read_toml
from models.errors import ConfigError, Problem
from models.messages import Id

FILE = "cases.toml"


class Case(Record, frozen=True, kw_only=True):
    """A question.

    Attributes:
        at: local time of the roster, unless it carries an offset.
    """

    id: Id
    name: Text
    name_en: Text
    lon_deg: Annotated[float, Meta(ge=-180.0, le=180.0)]
    lat_deg: Annotated[float, Meta(ge=-90.0, le=90.0)]
    category: Text
    at: dt.datetime
    radius_m: Annotated[float, Meta(ge=0, le=100_000)] = 15.0


class Cases(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    cases: tuple[Case, ...]


def load(path: Path) -> tuple[Case, ...]:
    """Read and validate `cases.toml`.

    Raises:
        ConfigError: with all mistakes of the file.
    """
    problems: list[Problem] = []
    found = convert(read_toml(path), Cases, file=path, path="", problems=problems)
    for index, key in duplicates(case.id for case in found.cases) if found else ():
        problems.append(Problem(path, f"cases[{index}].id", f"id {key} is used twice", "give it an id of its own"))
    if found is None or problems:
        raise ConfigError(problems)
    return found.cases
