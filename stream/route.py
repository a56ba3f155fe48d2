"""Who would get this, and why: a match without an incident, for operators."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from models import cases
from models.cases import Case
from models.errors import ConfigError, Problem
from models.geo import point_e7
from models.messages import Stage
from stream.assistance import REASON, urgency
from stream.quiet import with_quiet_hours
from stream.rank import Match, Question, match
from stream.route_text import FLAGGED, legend, lines
from stream.settle import with_settlers
from stream.world import World

MAX_RADIUS_M = 100_000


@dataclass(frozen=True, slots=True)
class Asked:
    """The question of the command line: degrees of WGS-84, metres, POSIX ms."""

    lon_deg: float
    lat_deg: float
    category: str
    at_ms: int
    radius_m: float = 15.0


def route(asked: Asked, world: World) -> Match:
    """Return the chain that an alarm of this category would get there and then.

    Raises:
        ConfigError: the position is none on Earth, the radius no length, or the catalogue has no such category.
    """
    if not 0 <= asked.radius_m <= MAX_RADIUS_M:
        what = f"{asked.radius_m} m is no radius"
        raise ConfigError([Problem("gridwarden route", "--radius", what, f"give 0 to {MAX_RADIUS_M:,} metres")])
    if not (-180 <= asked.lon_deg <= 180 and -90 <= asked.lat_deg <= 90):
        what = f"{asked.lon_deg} {asked.lat_deg} is no longitude and latitude"
        raise ConfigError([Problem("gridwarden route", "LON LAT", what, "give the longitude first, in degrees")])
    category = world.catalogue.category_by_key.get(asked.category)
    if category is None:
        near = difflib.get_close_matches(asked.category, world.catalogue.category_by_key, n=3, cutoff=0.4)
        remedy = f"did you mean {', '.join(near)}?" if near else "see the keys in catalogue.toml"
        raise ConfigError([Problem("gridwarden route", "CATEGORY", f"no category {asked.category!r}", remedy)])
    point = point_e7(asked.lon_deg, asked.lat_deg)
    flagged = world.assistance.at(point)
    question = Question(
        point=point,
        radius_m=asked.radius_m,
        category=category,
        priority=urgency(category.priority_at(Stage.ALARM), flagged),
        at_ms=asked.at_ms,
    )
    found = with_quiet_hours(with_settlers(match(question, world), category, world.people), question, world.people)
    if flagged is None:
        return found
    return replace(found, areas=found.areas | {FLAGGED: flagged}, reasons=(REASON, *found.reasons))


def moment(text: str | None, world: World, *, now_ms: int) -> int:
    """Return the POSIX ms of ``2026-11-22T08:00``, local time of the roster unless it carries an offset; None: now.

    Raises:
        ConfigError: it is no such moment.
    """
    if text is None:
        return now_ms
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError as exc:
        remedy = "write it like 2026-11-22T08:00"
        raise ConfigError([Problem("gridwarden route", "--at", f"{text!r} is no time", remedy)]) from exc
    return _local_ms(at, world)


def route_all(path: Path, world: World) -> list[tuple[Case, Match]]:
    """Return the chain of every case of a table (see `models.cases`).

    Raises:
        ConfigError: with all mistakes of the table.
    """
    answers: list[tuple[Case, Match]] = []
    problems: list[Problem] = []
    for index, case in enumerate(cases.load(path)):
        at_ms = _local_ms(case.at, world)
        try:
            answers.append((case, route(Asked(case.lon_deg, case.lat_deg, case.category, at_ms, case.radius_m), world)))
        except ConfigError as exc:
            problems += [Problem(path, f"cases[{index}].{p.path.lower()}", p.what, p.remedy) for p in exc.problems]
    if problems:
        raise ConfigError(problems)
    return answers


def to_json(found: Match, world: World) -> str:
    """Return `found` as one JSON object, with the versions that decided."""
    return msgspec.json.format(msgspec.json.encode(_plain(found, world)), indent=2).decode()


def all_to_json(answers: list[tuple[Case, Match]], world: World) -> str:
    """Return the answers of a table as one JSON array."""
    rows = [{"id": case.id, "case": msgspec.to_builtins(case)} | _plain(found, world) for case, found in answers]
    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode()


def all_lines(answers: list[tuple[Case, Match]], world: World) -> Iterator[str]:
    """Yield the answers of a table as a person reads them."""
    for case, found in answers:
        yield f"== {case.id}  {case.name} {case.name_en}"
        yield from lines(found, case.category, _local_ms(case.at, world), world)
    yield from legend([found for _, found in answers], world)


def _plain(found: Match, world: World) -> dict[str, Any]:
    return asdict(found) | {"versions": world.versions}


def _local_ms(at: dt.datetime, world: World) -> int:
    aware = at if at.tzinfo else at.replace(tzinfo=ZoneInfo(world.people.time_zone))
    return int(aware.timestamp() * 1000)
