"""`people.toml`: who answers for which place, and who is on duty when.

A post is a role in a place; a person holds it while on shift. Every post but the highest has one supervisor, by
`supervises` or `collaborates`, and deputies in order. There is no contact data
here: channels are addressed by person id.
"""

from __future__ import annotations

import datetime as dt
import enum
import zoneinfo
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from models.content import Content, Record, Text, convert, grouped, read_toml
from models.errors import ConfigError, Problem
from models.messages import Id
from models.people.duty import DatedShift, DutyPlan, Shift, Span, WeeklyShift, is_within_daily


class Role(enum.StrEnum):
    """What a post is. The five chiefs, the grid, and the offices above and beside them."""

    STREET_CHIEF = "street_chief"
    ROAD_CHIEF = "road_chief"
    LANE_CHIEF = "lane_chief"
    BUILDING_CHIEF = "building_chief"
    SHOP_CHIEF = "shop_chief"
    GRID_OFFICER = "grid_officer"
    MICRO_GRID_OFFICER = "micro_grid_officer"
    COMMANDER = "commander"
    SEAT_OPERATOR = "seat_operator"
    COLLECTOR = "collector"
    HANDLER = "handler"
    SUPERVISOR = "supervisor"
    STREET_OFFICE = "street_office"
    DISTRICT_OFFICE = "district_office"
    NETWORK_OFFICE = "network_office"
    AUDITOR = "auditor"


class Edge(enum.StrEnum):
    """How a post is bound to its supervisor: `collaborates` stands outside the vertical evaluation."""

    SUPERVISES = "supervises"
    COLLABORATES = "collaborates"


class Employment(enum.StrEnum):
    """How a person serves. Volunteers never lead and are never alerted for P1 and P2."""

    FULL_TIME = "full_time"
    PART_TIME = "part_time"
    OFFICIAL = "official"
    RESIDENT = "resident"
    VOLUNTEER = "volunteer"


class UnitKind(enum.StrEnum):
    """What an organisation is."""

    DEPARTMENT = "department"
    ENFORCEMENT_TEAM = "enforcement_team"
    OFFICE = "office"
    CONTRACTOR = "contractor"
    PROPERTY_COMPANY = "property_company"
    SERVICE_GROUP = "service_group"
    VOLUNTEER_GROUP = "volunteer_group"


class Status(enum.StrEnum):
    """Whether a person serves at present."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class May(enum.StrEnum):
    """What a role may do about a category; a later one includes the ones before."""

    REPORT = "report"
    ASSIST = "assist"
    SETTLE = "settle"

    @property
    def rank(self) -> int:
        """0 for report, 1 for assist, 2 for settle."""
        return list(May).index(self)


class Contract(Record, frozen=True, kw_only=True):
    """Valid from the start of one day to the end of the other, in the file's time zone."""

    first_day: dt.date
    last_day: dt.date


class Unit(Record, frozen=True, kw_only=True):
    """A department, team, office, firm or group."""

    id: Id
    kind: UnitKind
    name: Text
    name_en: Text
    contract: Contract | None = None


class QuietHours(Record, frozen=True, kw_only=True):
    """A daily time, local, in which P3 and P4 wait; `end` not after `start` means the next day."""

    start: dt.time
    end: dt.time


class Person(Record, frozen=True, kw_only=True):
    """Somebody who can be alerted.

    Attributes:
        display_name: as officers read it.
        name_en: the same in Latin letters.
        language: of alerts to this person.
        max_open: open cases above which others go first.
    """

    id: Id
    display_name: Text
    name_en: Text
    language: Annotated[str, Meta(pattern="^(zh|en)$")] = "zh"
    employment: Employment = Employment.FULL_TIME
    qualifications: tuple[str, ...] = ()
    max_open: Annotated[int, Meta(ge=1, le=1_000)] = 8
    quiet_hours: QuietHours | None = None
    status: Status = Status.ACTIVE


class Post(Record, frozen=True, kw_only=True):
    """A role in a place.

    Attributes:
        level: street 1, road 2, lane 3, building, shop and grid 4; offices and seats 0.
        scope: codes of the areas, cells, lines or nodes it answers for.
        unit: id of the organisation it belongs to.
        supervisor: the post above; None at level 0 only.
        edge: how the supervisor is bound.
        deputies: ids of posts or persons, in the order they are asked.
    """

    id: Id
    role: Role
    level: Annotated[int, Meta(ge=0, le=4)]
    scope: Annotated[tuple[str, ...], Meta(min_length=1)]
    unit: Id
    name: Text
    name_en: Text
    supervisor: Id | None = None
    edge: Edge = Edge.SUPERVISES
    deputies: tuple[Id, ...] = ()


class Authority(Record, frozen=True, kw_only=True):
    """What a role may do about a category: a key, a prefix such as ``fire.*``, or ``*``."""

    role: Role
    category: Annotated[str, Meta(pattern=r"^(\*|[a-z0-9_]+(\.[a-z0-9_]+)*(\.\*)?)$")]
    may: May


class Duty(Record, frozen=True, kw_only=True):
    """Who holds a post without a break from when to when, half-open; cut at 8 days each side of the moment asked."""

    post: Id
    person: Id
    from_ms: int
    until_ms: int


class People(Content, frozen=True, kw_only=True):
    """All posts, persons, shifts and rights of a tenant."""

    time_zone: Text
    units: tuple[Unit, ...] = ()
    persons: tuple[Person, ...] = ()
    posts: tuple[Post, ...] = ()
    weekly_shifts: tuple[WeeklyShift, ...] = ()
    dated_shifts: tuple[DatedShift, ...] = ()
    authority: tuple[Authority, ...] = ()

    @property
    def shifts(self) -> tuple[Shift, ...]:
        """All shifts, the weekly ones first."""
        return (*self.weekly_shifts, *self.dated_shifts)

    @cached_property
    def unit_by_id(self) -> Mapping[str, Unit]:
        """Units by id."""
        return {unit.id: unit for unit in self.units}

    @cached_property
    def person_by_id(self) -> Mapping[str, Person]:
        """Persons by id."""
        return {person.id: person for person in self.persons}

    @cached_property
    def post_by_id(self) -> Mapping[str, Post]:
        """Posts by id."""
        return {post.id: post for post in self.posts}

    @cached_property
    def posts_by_scope(self) -> Mapping[str, tuple[Post, ...]]:
        """Posts that answer for a code, in the order of the file."""
        return grouped((code, post) for post in self.posts for code in post.scope)

    @cached_property
    def posts_by_role(self) -> Mapping[Role, tuple[Post, ...]]:
        """Posts of each role, in the order of the file."""
        return grouped((post.role, post) for post in self.posts)

    @cached_property
    def children(self) -> Mapping[str, tuple[Post, ...]]:
        """Posts below each post, by either edge."""
        return grouped((post.supervisor, post) for post in self.posts if post.supervisor)

    def parents(self, post_id: str) -> tuple[Post, ...]:
        """Give the posts above, nearest first."""
        chain: list[Post] = []
        post = self.post_by_id.get(post_id)
        while post and post.supervisor and (post := self.post_by_id.get(post.supervisor)) and post not in chain:
            chain.append(post)
        return tuple(chain)

    @cached_property
    def posts_of(self) -> Mapping[str, tuple[Post, ...]]:
        """Posts that a person holds by any shift."""
        held = dict.fromkeys((shift.person, shift.post) for shift in self.shifts)
        return grouped((person, self.post_by_id[post]) for person, post in held if post in self.post_by_id)

    @cached_property
    def deputyships_of(self) -> Mapping[str, tuple[Post, ...]]:
        """Posts for which a person or a post stands as deputy, by his or its id."""
        return grouped((deputy, post) for post in self.posts for deputy in post.deputies)

    @cached_property
    def plan(self) -> DutyPlan:
        """The shifts, ready to be asked."""
        return DutyPlan(zoneinfo.ZoneInfo(self.time_zone), self.weekly_shifts, self.dated_shifts)

    def duties(self, post_id: str, at_ms: int) -> tuple[Duty, ...]:
        """Give who holds a post at a moment and until when, by person id; suspended persons are left out."""
        return tuple(
            Duty(post=post_id, person=span.person, from_ms=span.from_ms, until_ms=span.until_ms)
            for span in self.plan.at(post_id, at_ms)
            if self._serves(span)
        )

    def on_duty(self, post_id: str, at_ms: int) -> tuple[Person, ...]:
        """Give the persons who hold a post at a moment, by person id."""
        return tuple(self.person_by_id[duty.person] for duty in self.duties(post_id, at_ms))

    def deputy_duties(self, post_id: str, at_ms: int) -> tuple[Duty, ...]:
        """Give the deputies of a post who are on duty, in their order.

        A post as deputy stands for who holds it; a person as deputy is on duty while he holds any post of his.
        """
        found: list[Duty] = []
        for deputy in self.post_by_id[post_id].deputies:
            posts = (deputy,) if deputy in self.post_by_id else [post.id for post in self.posts_of.get(deputy, ())]
            duties = [duty for post in posts for duty in self.duties(post, at_ms)]
            found += duties if deputy in self.post_by_id else [duty for duty in duties if duty.person == deputy][:1]
        return tuple(found)

    def is_quiet(self, person_id: str, at_ms: int) -> bool:
        """Whether the person's quiet hours run."""
        quiet = self.person_by_id[person_id].quiet_hours
        return quiet is not None and is_within_daily(quiet.start, quiet.end, self.plan.local(at_ms).time())

    def has_contract(self, unit_id: str, at_ms: int) -> bool:
        """Whether a unit may be asked: it has no contract to run out, or one that runs."""
        contract = self.unit_by_id[unit_id].contract
        return contract is None or contract.first_day <= self.plan.local(at_ms).date() <= contract.last_day

    def may(self, role: Role, category: str) -> May | None:
        """Give what a role may do about a category, by the most specific row; None where no row matches."""
        table = self._authority.get(role, {})
        parts = category.split(".")
        patterns = [category, *(".".join([*parts[:n], "*"]) for n in range(len(parts) - 1, -1, -1))]
        return next((table[pattern] for pattern in patterns if pattern in table), None)

    @cached_property
    def _authority(self) -> Mapping[Role, Mapping[str, May]]:
        return {role: {row.category: row.may for row in self.authority if row.role is role} for role in Role}

    def _serves(self, span: Span) -> bool:
        person = self.person_by_id.get(span.person)
        return person is not None and person.status is Status.ACTIVE


def load(path: Path) -> People:
    """Read and validate `people.toml`.

    Raises:
        ConfigError: with all mistakes of the file.
    """
    from models.people.check import problems as check

    problems: list[Problem] = []
    people = convert(read_toml(path), People, file=path, path="", problems=problems)
    if people is not None:
        problems += check(people, path)
    if people is None or problems:
        raise ConfigError(problems)
    return people
