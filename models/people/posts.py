"""Who there is: posts, persons, organisations and rights, as plain records.

There is no contact data here: channels are addressed by person id.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta

from models.content import Pattern, Record, Text
from models.messages import Id


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


NODE_ROLES: Final = frozenset({Role.BUILDING_CHIEF, Role.SHOP_CHIEF})
"""Chiefs of a node: outside the vertical chain unless a file says otherwise."""


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


class AppointedFrom(enum.StrEnum):
    """Where the holder of a post was appointed from."""

    DISTRICT_LEADERS = "district_leaders"
    SUBDISTRICT_TEAM = "subdistrict_team"
    COMMUNITY_WORKERS = "community_workers"
    RESIDENT_REPRESENTATIVES = "resident_representatives"
    SHOP_HEADS = "shop_heads"
    INSTITUTION_HEADS = "institution_heads"


APPOINTED: Final[Mapping[Role, frozenset[AppointedFrom]]] = {
    Role.STREET_CHIEF: frozenset({AppointedFrom.DISTRICT_LEADERS}),
    Role.ROAD_CHIEF: frozenset({AppointedFrom.SUBDISTRICT_TEAM}),
    Role.LANE_CHIEF: frozenset({AppointedFrom.COMMUNITY_WORKERS}),
    Role.BUILDING_CHIEF: frozenset({AppointedFrom.RESIDENT_REPRESENTATIVES, AppointedFrom.INSTITUTION_HEADS}),
    Role.SHOP_CHIEF: frozenset({AppointedFrom.SHOP_HEADS, AppointedFrom.INSTITUTION_HEADS}),
}
"""The appointment lines of the five chiefs."""


class Profile(enum.StrEnum):
    """Which tiers a city has: the street-chief system, the five chiefs, or the five chiefs and the grid."""

    STREET_CHIEF = "street_chief"
    FIVE_CHIEFS = "five_chiefs"
    FIVE_CHIEFS_GRID = "five_chiefs_grid"


class UnitKind(enum.StrEnum):
    """What an organisation is."""

    DEPARTMENT = "department"
    ENFORCEMENT_TEAM = "enforcement_team"
    OFFICE = "office"
    LEADERSHIP_GROUP = "leadership_group"
    OPERATION_CENTRE = "operation_centre"
    INSTITUTION = "institution"
    CONTRACTOR = "contractor"
    PROPERTY_COMPANY = "property_company"
    SERVICE_GROUP = "service_group"
    VOLUNTEER_GROUP = "volunteer_group"


class Status(enum.StrEnum):
    """Whether a person serves at present."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class DutyDomain(enum.StrEnum):
    """What a post looks after, and what an event of the catalogue falls under: the chiefs' four, and safety."""

    SANITATION = "sanitation"
    ORDER = "order"
    FACILITIES = "facilities"
    LANDSCAPE = "landscape"
    SAFETY = "safety"


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
    """Valid from the start of one day to the end of the other, in the file's time zone.

    Attributes:
        kpi: what the party has promised, as its report measures it.
    """

    first_day: dt.date
    last_day: dt.date
    kpi: Text | None = None


class Unit(Record, frozen=True, kw_only=True):
    """A department, team, office, firm or group.

    Attributes:
        contract: None: there is none that could run out.
        scope: codes of places in which it is a partner: told beside the lead, never in his stead.
        categories: what it is a partner for; empty: everything.
    """

    id: Id
    kind: UnitKind
    name: Text
    name_en: Text
    contract: Contract | None = None
    scope: tuple[str, ...] = ()
    categories: tuple[Pattern, ...] = ()


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
        max_open: with more open cases than these he goes last.
        first_day: serves from this day on; None: since ever.
        last_day: and to the end of this one; None: without end.
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
    first_day: dt.date | None = None
    last_day: dt.date | None = None


class Post(Record, frozen=True, kw_only=True):
    """A role in a place.

    Attributes:
        level: street 1, road 2, lane 3, building, shop and grid 4; offices and seats 0.
        scope: codes of the areas, cells, lines or nodes it answers for.
        duties: what it looks after there. Every post must have some (`models.people.check`); only what an earlier
            release has put into a log has none.
        unit: id of the organisation it belongs to.
        supervisor: the post above; None at level 0 only.
        edge: how the supervisor is bound; None: as `People.edge_of` says.
        deputies: ids of posts or persons, in the order they are asked.
        seat: which seat of `People.team` it fills.
        first_day: exists from this day on; None: since ever.
        last_day: and to the end of this one; None: without end.
    """

    id: Id
    role: Role
    level: Annotated[int, Meta(ge=0, le=4)]
    scope: Annotated[tuple[str, ...], Meta(min_length=1)]
    unit: Id
    name: Text
    name_en: Text
    duties: tuple[DutyDomain, ...] = ()
    supervisor: Id | None = None
    edge: Edge | None = None
    deputies: tuple[Id, ...] = ()
    seat: Text | None = None
    appointed_from: AppointedFrom | None = None
    first_day: dt.date | None = None
    last_day: dt.date | None = None

    def looks_after(self, domain: DutyDomain) -> bool:
        """Whether a domain is among its duties; where none were written down, any may be. No filter of the matcher."""
        return not self.duties or domain in self.duties


class Authority(Record, frozen=True, kw_only=True):
    """What a role may do about a category: a key, a prefix such as ``fire.*``, or ``*``."""

    role: Role
    category: Pattern
    may: May


class Duty(Record, frozen=True, kw_only=True):
    """Who holds a post without a break from when to when, half-open; cut to `duty.window`."""

    post: Id
    person: Id
    from_ms: int
    until_ms: int
