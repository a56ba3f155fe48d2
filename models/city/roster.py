"""The people of a sample city: every post is held around the clock, every chief has a deputy who is on duty with him.

The working pattern is made up and simple: a day officer for each cell on weekdays; for each lane a weekend officer and
two night officers who hold the cells of the lane; chiefs by day with a duty officer by night; offices and
seats in three shifts.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence

from models.city.ground import DISTRICT, SUBDISTRICT
from models.city.names import person_names
from models.people import (
    Authority,
    Edge,
    Employment,
    May,
    People,
    Person,
    Post,
    QuietHours,
    Role,
    Unit,
    UnitKind,
)
from models.people.duty import ShiftKind, Weekday, WeeklyShift
from models.places import Cell, Line, LineKind, Node, NodeKind, Places

ALL_WEEK = tuple(Weekday)
WORKDAYS, WEEKEND = ALL_WEEK[:5], ALL_WEEK[5:]
ODD_NIGHTS, EVEN_NIGHTS = ALL_WEEK[::2], ALL_WEEK[1::2]
DAY, NIGHT = (dt.time(8), dt.time(20)), (dt.time(20), dt.time(8))
THREE_SHIFTS = ((dt.time(0), dt.time(8)), (dt.time(8), dt.time(16)), (dt.time(16), dt.time(0)))
WAKING = (dt.time(7), dt.time(22))

CHIEFS = {
    LineKind.STREET: (Role.STREET_CHIEF, "街长", "Chief"),
    LineKind.ROAD: (Role.ROAD_CHIEF, "路长", "Chief"),
    LineKind.LANE: (Role.LANE_CHIEF, "巷长", "Chief"),
}

TIERS = {"ST": "street", "RD": "road", "LN": "lane"}

UNITS = (
    ("emergency", UnitKind.DEPARTMENT, "样例街道应急办", "Sample Emergency Office"),
    ("gas_company", UnitKind.CONTRACTOR, "样例燃气公司", "Sample Gas Company"),
    ("water_company", UnitKind.CONTRACTOR, "样例自来水公司", "Sample Water Company"),
    ("municipal", UnitKind.DEPARTMENT, "样例区市政处", "Sample Municipal Works"),
    ("urban_management", UnitKind.ENFORCEMENT_TEAM, "样例街道综合执法大队", "Sample Urban Management Team"),
    ("sanitation", UnitKind.DEPARTMENT, "样例街道环卫所", "Sample Sanitation Office"),
    ("traffic_police", UnitKind.ENFORCEMENT_TEAM, "样例交巡警大队", "Sample Traffic Police"),
    ("environment", UnitKind.DEPARTMENT, "样例区生态环境局", "Sample Environment Bureau"),
    ("grid_center", UnitKind.OFFICE, "样例街道网格化中心", "Sample Grid Center"),
    ("chiefs_office", UnitKind.OFFICE, "样例街道五长制办公室", "Sample Five Chiefs Office"),
    ("district_office", UnitKind.OFFICE, "样例区五长制办公室", "Sample District Office"),
    ("residents", UnitKind.SERVICE_GROUP, "样例居民代表", "Sample Residents"),
    ("traders", UnitKind.SERVICE_GROUP, "样例商户", "Sample Traders"),
)

AUTHORITY = (
    (Role.GRID_OFFICER, "*", May.ASSIST),
    (Role.GRID_OFFICER, "order.*", May.SETTLE),
    (Role.GRID_OFFICER, "waste.*", May.SETTLE),
    (Role.MICRO_GRID_OFFICER, "*", May.ASSIST),
    (Role.BUILDING_CHIEF, "*", May.ASSIST),
    (Role.SHOP_CHIEF, "*", May.ASSIST),
    (Role.SHOP_CHIEF, "order.*", May.SETTLE),
    (Role.LANE_CHIEF, "*", May.SETTLE),
    (Role.ROAD_CHIEF, "*", May.SETTLE),
    (Role.STREET_CHIEF, "*", May.SETTLE),
    (Role.STREET_OFFICE, "*", May.SETTLE),
    (Role.DISTRICT_OFFICE, "*", May.SETTLE),
    (Role.COMMANDER, "*", May.ASSIST),
    (Role.SEAT_OPERATOR, "*", May.ASSIST),
)


def build(places: Places, rng: random.Random) -> People:
    """Give valid people for the places of a sample city."""
    return _Roster(places, rng).build()


class _Roster:
    """Collects persons, posts and shifts while it walks through the tiers."""

    def __init__(self, places: Places, rng: random.Random) -> None:
        self.places = places
        # Two for each line and office shift, three more for each lane, one for each cell and node: never more.
        most = 5 * len(places.lines) + len(places.cells) + len(places.nodes) + 40
        self._names = iter(person_names(most, rng))
        self.persons: list[Person] = []
        self.posts: list[Post] = []
        self.shifts: list[WeeklyShift] = []

    def build(self) -> People:
        self._offices()
        for kind in LineKind:
            self._chiefs([line for line in self.places.lines if line.kind is kind])
        for lane in self.places.lines:
            if lane.kind is LineKind.LANE:
                self._grid_officers(lane, [cell for cell in self.places.cells if cell.line == lane.code])
        for node in self.places.nodes:
            self._node_chief(node)
        return People(
            time_zone="Asia/Shanghai",
            units=tuple(Unit(id=i, kind=kind, name=zh, name_en=en) for i, kind, zh, en in UNITS),
            persons=tuple(self.persons),
            posts=tuple(self.posts),
            weekly_shifts=tuple(self.shifts),
            authority=tuple(Authority(role=role, category=key, may=may) for role, key, may in AUTHORITY),
        )

    def _person(self, employment: Employment, *qualifications: str, quiet: QuietHours | None = None) -> str:
        name, name_en = next(self._names)
        person = Person(
            id=f"p-{len(self.persons) + 1:04}",
            display_name=name,
            name_en=name_en,
            employment=employment,
            qualifications=qualifications,
            quiet_hours=quiet,
        )
        self.persons.append(person)
        return person.id

    def _hold(
        self,
        post: str,
        person: str,
        days: Sequence[Weekday],
        times: tuple[dt.time, dt.time],
        kind: ShiftKind = ShiftKind.DAY,
    ) -> None:
        start, end = times
        self.shifts.append(WeeklyShift(post=post, person=person, days=tuple(days), start=start, end=end, kind=kind))

    def _offices(self) -> None:
        rows = (
            (
                "office-district",
                Role.DISTRICT_OFFICE,
                DISTRICT,
                "district_office",
                ("区五长制办公室", "District office"),
                2,
            ),
            (
                "office-01",
                Role.STREET_OFFICE,
                SUBDISTRICT,
                "chiefs_office",
                ("街道五长制办公室", "Sub-district office"),
                2,
            ),
            ("seat-01", Role.SEAT_OPERATOR, SUBDISTRICT, "grid_center", ("指挥席", "Command seat"), 2),
            ("commander-01", Role.COMMANDER, SUBDISTRICT, "grid_center", ("值班指挥长", "Commander on duty"), 1),
        )
        for post, role, scope, unit, (name, name_en), staff in rows:
            above = None if role is Role.DISTRICT_OFFICE else "office-district"
            self.posts.append(
                Post(
                    id=post, role=role, level=0, scope=(scope,), unit=unit, name=name, name_en=name_en, supervisor=above
                )
            )
            for times in THREE_SHIFTS:
                for _ in range(staff):
                    self._hold(post, self._person(Employment.OFFICIAL, "dispatch"), ALL_WEEK, times, ShiftKind.SEAT)

    def _chiefs(self, lines: list[Line]) -> None:
        """Chiefs of one tier; each one's deputies are the holders of the next line of the tier."""
        held = [(self._person(Employment.OFFICIAL), self._person(Employment.FULL_TIME)) for _ in lines]
        for index, (line, (by_day, by_night)) in enumerate(zip(lines, held, strict=True)):
            role, title, title_en = CHIEFS[line.kind]
            post = line_post(line.code)
            self.posts.append(
                Post(
                    id=post,
                    role=role,
                    level=line.kind.level,
                    scope=(line.code,),
                    unit="chiefs_office",
                    name=f"{line.name}{title}",
                    name_en=f"{line.name_en} {title_en}",
                    supervisor=line_post(line.parent) if line.parent else "office-01",
                    deputies=held[(index + 1) % len(held)] if len(held) > 1 else (),
                )
            )
            self._hold(post, by_day, ALL_WEEK, DAY)
            self._hold(post, by_night, ALL_WEEK, NIGHT, ShiftKind.NIGHT)

    def _grid_officers(self, lane: Line, cells: list[Cell]) -> None:
        by_day = [self._person(Employment.FULL_TIME, "first_aid") for _ in cells]
        weekend, odd, even = (self._person(Employment.FULL_TIME, "first_aid") for _ in range(3))
        for index, (cell, officer) in enumerate(zip(cells, by_day, strict=True)):
            post = f"grid-{cell.code}"
            neighbours = [by_day[(index + 1) % len(cells)]] if len(cells) > 1 else []
            self.posts.append(
                Post(
                    id=post,
                    role=Role.GRID_OFFICER,
                    level=4,
                    scope=(cell.code,),
                    unit="grid_center",
                    name=f"{cell.name}网格员",
                    name_en=f"{cell.name_en} Officer",
                    supervisor=line_post(lane.code),
                    deputies=(*neighbours, weekend),
                )
            )
            self._hold(post, officer, WORKDAYS, DAY)
            self._hold(post, weekend, WEEKEND, DAY)
            self._hold(post, odd, ODD_NIGHTS, NIGHT, ShiftKind.NIGHT)
            self._hold(post, even, EVEN_NIGHTS, NIGHT, ShiftKind.NIGHT)

    def _node_chief(self, node: Node) -> None:
        """Building and shop chiefs stand outside the vertical chain: they collaborate."""
        is_shop = node.kind is NodeKind.SHOP
        lane = self.places.cell_by_code[node.cell].line
        assert lane is not None
        post = f"{'shop' if is_shop else 'building'}-{node.code}"
        self.posts.append(
            Post(
                id=post,
                role=Role.SHOP_CHIEF if is_shop else Role.BUILDING_CHIEF,
                level=4,
                scope=(node.code,),
                unit="traders" if is_shop else "residents",
                name=f"{node.name}{'店长' if is_shop else '楼长'}",
                name_en=f"{node.name_en} {'Manager' if is_shop else 'Chief'}",
                supervisor=line_post(lane),
                edge=Edge.COLLABORATES,
            )
        )
        quiet = QuietHours(start=dt.time(21), end=dt.time(8))
        self._hold(post, self._person(Employment.RESIDENT, quiet=quiet), ALL_WEEK, WAKING)


def line_post(code: str) -> str:
    """Give the id of the post that answers for a line: ``LN-01-02-1`` is held by ``lane-01-02-1``."""
    prefix, _, rest = code.partition("-")
    return f"{TIERS[prefix]}-{rest}"
