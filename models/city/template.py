"""A model of grid governance on one page: which posts stand at which places, who holds them when, who is asked when.

`models/city/templates` holds a folder for each model, with `template.toml` and `expected.toml`: the chains that its
source asks for, by hand. `gridwarden city --template` makes a config folder of it. What all models share, such as
departments and the rights of roles, is in `common.toml`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from models import catalogue
from models.content import Pattern, Record, Text, convert, read_toml
from models.errors import ConfigError, Problem
from models.messages import Id
from models.people import AppointedFrom, Authority, DutyDomain, Edge, Employment, Profile, Role, Unit, UnitKind
from models.people.check import LEVELS
from models.places import CellKind

FOLDER = Path(__file__).parent / "templates"
FILE = "template.toml"
COMMON = FOLDER / "common.toml"
DEFAULT = "five_chiefs_grid"

MIN_CELLS, MAX_CELLS = 4, 100_000


class On(enum.StrEnum):
    """The kinds of places that posts stand at, the widest first."""

    TENANT = "tenant"
    DISTRICT = "district"
    SUBDISTRICT = "subdistrict"
    COMMUNITY = "community"
    STREET = "street"
    ROAD = "road"
    LANE = "lane"
    CELL = "cell"
    EXCLUSIVE = "exclusive"
    MICRO = "micro"
    BUILDING = "building"
    SHOP = "shop"


class Hours(enum.StrEnum):
    """When somebody is on duty; the longer ones take several persons in turn (`models.city.roster.TURNS`)."""

    WORKDAYS = "workdays"
    DAYS = "days"
    NIGHTS = "nights"
    WAKING = "waking"
    DAY_AND_NIGHT = "day_and_night"
    RELIEF = "relief"
    THREE_SHIFTS = "three_shifts"


class Staff(Record, frozen=True, kw_only=True):
    """Who holds a post.

    Attributes:
        persons: on duty at once.
        per: the wider place whose posts the same persons hold together; None: each post has its own.
        places: so many neighbouring posts are held by the same persons.
        quiet: they have quiet hours.
    """

    hours: Hours
    employment: Employment
    persons: Annotated[int, Meta(ge=1, le=20)] = 1
    per: On | None = None
    places: Annotated[int, Meta(ge=1, le=20)] = 1
    qualifications: tuple[str, ...] = ()
    quiet: bool = False


class PostRow(Record, frozen=True, kw_only=True):
    """One post for each place of a kind.

    Attributes:
        on: where it stands.
        duties: what it looks after, as the source says; where that names none, what the chain asks it about.
        covers: its scope is all places of this kind there, and not the place itself.
        title: behind the name of the place.
        above: the row of its supervisor.
        deputies: rows whose posts stand in for it.
        neighbours: those who hold the next post of the row at the same hours stand in for it too, and first.
    """

    on: On
    role: Role
    title: Text
    title_en: Text
    unit: Id
    duties: Annotated[tuple[DutyDomain, ...], Meta(min_length=1)]
    staff: Annotated[tuple[Staff, ...], Meta(min_length=1)]
    covers: On | None = None
    level: Annotated[int, Meta(ge=0, le=4)] | None = None
    above: str | None = None
    edge: Edge | None = None
    deputies: tuple[str, ...] = ()
    neighbours: bool = False
    seat: Text | None = None
    appointed_from: AppointedFrom | None = None

    @property
    def tier(self) -> int:
        """The level, which most roles fix."""
        return LEVELS.get(self.role, 0) if self.level is None else self.level


class Exclusive(Record, frozen=True, kw_only=True):
    """An exclusive cell in each sub-district."""

    kind: CellKind
    name: Text
    name_en: Text
    categories: Annotated[tuple[Pattern, ...], Meta(min_length=1)]
    lead_unit: Id
    radius_m: Annotated[float, Meta(gt=0, le=200)]


class Ground(Record, frozen=True, kw_only=True):
    """What is on the map.

    Attributes:
        cells: base cells, unless the command line says otherwise.
        community: base cells of a community, about.
        micro: some cells have a micro cell.
    """

    cells: Annotated[int, Meta(ge=MIN_CELLS, le=MAX_CELLS)] = 135
    community: Annotated[int, Meta(ge=1, le=200)] = 39
    micro: bool = True
    exclusive: tuple[Exclusive, ...] = ()


class Rung(Record, frozen=True, kw_only=True):
    """A step of the chain; what is left out is as in the default catalogue's step of the same number.

    Attributes:
        to: `all` at once, or `one` after the other, at every priority.
    """

    step: Annotated[int, Meta(ge=0, le=5)]
    seat: bool = False
    name: Text | None = None
    name_en: Text | None = None
    roles: Annotated[tuple[Role, ...], Meta(min_length=1)] | None = None
    to: Literal["all", "one"] | None = None


class LeadRow(Record, frozen=True, kw_only=True):
    """A unit that leads, all over the city, in the place of the default catalogue's."""

    category: Pattern
    unit: Id
    basis: Text


class PartnerRow(Record, frozen=True, kw_only=True):
    """One organisation for each place of a kind: it is told of what happens there, beside the lead.

    Attributes:
        categories: empty: of everything.
    """

    on: On
    kind: UnitKind
    title: Text
    title_en: Text
    categories: tuple[Pattern, ...] = ()


class Template(Record, frozen=True, kw_only=True):
    """A model.

    Attributes:
        source: where its structure is described.
        about: what sets it apart, in a sentence.
        posts: rows by name, the highest first.
        steps: the chain; empty: the default catalogue's.
        leads: lead units that differ from the default catalogue's.
        partners: organisations by name.
        team: the seats that each base cell's team should have.
    """

    name: Text
    name_en: Text
    source: Annotated[str, Meta(pattern=r"^[^\n]+$")]
    about: Text
    about_en: Text
    posts: dict[str, PostRow]
    units: tuple[Unit, ...]
    authority: tuple[Authority, ...]
    steps: tuple[Rung, ...] = ()
    ground: Ground = Ground()
    leads: tuple[LeadRow, ...] = ()
    partners: dict[str, PartnerRow] = msgspec.field(default_factory=dict)
    profile: Profile = Profile.FIVE_CHIEFS_GRID
    team: tuple[Text, ...] = ()
    node_chiefs_in_chain: bool = False


def names() -> list[str]:
    """Give the names of the templates that ship."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{FILE}"))


def load(name: str = DEFAULT) -> Template:
    """Read a template that ships, or a file of your own if `name` ends in ``.toml``.

    Raises:
        ConfigError: there is none of this name, or it has mistakes.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / name / FILE
    if not name.endswith(".toml") and name not in names():
        problem = Problem(
            "command line", "--template", f"there is no template {name}", f"use one of {', '.join(names())}"
        )
        raise ConfigError([problem])
    own, common = read_toml(path), read_toml(COMMON)
    problems: list[Problem] = []
    template = convert(_merged(common, own), Template, file=path, path="", problems=problems)
    if template is not None:
        problems += _problems(template, path)
    if template is None or problems:
        raise ConfigError(problems)
    return template


def _problems(template: Template, file: Path) -> Iterator[Problem]:
    for key, row in template.posts.items():
        for other in (*row.deputies, *([row.above] if row.above else [])):
            if other not in template.posts:
                yield Problem(file, f"posts.{key}", f"there is no row {other}", "correct the name, or add the row")
    known = {(step.step, step.seat) for step in catalogue.load().steps}
    for index, rung in enumerate(template.steps):
        if (rung.step, rung.seat) not in known:
            remedy = "use the numbers of the default catalogue; only step 0 has a row for the seat"
            yield Problem(file, f"steps[{index}]", "the default catalogue has no such step", remedy)


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Add the units, rights and posts that all share; where a template has one of the same name, that counts."""
    ids = {unit.get("id") for unit in own.get("units", [])}
    rights = {(row.get("role"), row.get("category")) for row in own.get("authority", [])}
    shared = {
        "units": [unit for unit in common["units"] if unit["id"] not in ids],
        "authority": [row for row in common["authority"] if (row["role"], row["category"]) not in rights],
    }
    posts = common["posts"] | own.get("posts", {})
    return own | {name: [*own.get(name, []), *rows] for name, rows in shared.items()} | {"posts": posts}
