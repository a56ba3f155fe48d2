"""The proof that somebody answers: what it must find, what it must not, and a minute-by-minute oracle."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import catalogue as catalogues
from models.calendar import Weekday
from models.catalogue import Catalogue
from models.cli import main
from models.outlines import Polygons
from models.people import Authority, Contract, Employment, May, People, Person, Post, Role, Status, Unit, UnitKind
from models.people.duty import DAY_MS, Swap, WeeklyShift
from models.places import Area, AreaKind, Cell, CellKind, CellType, Places
from models.proof import Finding, Kind, Proof, prove, text

NAMES: dict[str, Any] = {"name": "名", "name_en": "Name"}
WEEK = tuple(Weekday)
SHIPPED = catalogues.load()
ALL = tuple(category.key for category in SHIPPED.categories)
START = "2026-11-23T00:00"
"""A Monday."""
LINE = {Role.LANE_CHIEF: 3, Role.ROAD_CHIEF: 2, Role.STREET_CHIEF: 1}
CHAIN = tuple(LINE)


def cells(n: int, **fields: Any) -> Places:
    area = Area(code="area", kind=AreaKind.SUBDISTRICT, **NAMES)
    plain: dict[str, Any] = {"kind": CellKind.MIXED, "parent": "area", "polygons": Polygons()} | NAMES
    made = tuple(Cell(code=f"c{i:02}", **plain) for i in range(n))
    return Places(areas=(area,), cells=(*made, *fields.get("more", ())))


class _Town:
    """Posts and shifts as they are added; the chain above the cells serves by day, the office always, with two."""

    def __init__(self, n: int, time_zone: str = "Asia/Shanghai") -> None:
        self.time_zone = time_zone
        self.persons: dict[str, Person] = {}
        self.posts: dict[str, Post] = {}
        self.shifts: list[WeeklyShift] = []
        self.swaps: list[Swap] = []
        self.units = {"unit": Unit(id="unit", kind=UnitKind.DEPARTMENT, **NAMES)}
        self.authority = {(role, "*"): May.ASSIST for role in (*CHAIN, Role.GRID_OFFICER)}
        self.post("office", Role.STREET_OFFICE, 0, "area")
        self.hold("office", "clerk-1")
        self.hold("office", "clerk-2")
        above = "office"
        for role, level in reversed(LINE.items()):
            above = self.post(role.value, role, level, f"line-{level}", above)
            self.hold(above, f"{role}-1", "08:00", "20:00")
            self.hold(above, f"{role}-2", "08:00", "20:00")
        for i in range(n):
            self.post(f"g{i:02}", Role.GRID_OFFICER, 4, f"c{i:02}", "lane_chief")
            self.hold(f"g{i:02}", f"p{i:02}")
            self.hold(f"g{i:02}", f"q{i:02}")

    def post(self, name: str, role: Role, level: int, scope: str, above: str | None = None, **fields: Any) -> str:
        fields = {"unit": "unit", "scope": (scope,), "supervisor": above} | fields
        self.posts[name] = Post(id=name, role=role, level=level, **NAMES, **fields)
        return name

    def hold(self, post: str, person: str, start: str = "00:00", end: str = "00:00", **fields: Any) -> None:
        self.persons.setdefault(person, Person(id=person, display_name="名", name_en="Name", **fields))
        since, until = (dt.time.fromisoformat(clock) for clock in (start, end))
        self.shifts.append(WeeklyShift(post=post, person=person, days=WEEK, start=since, end=until))

    def change(self, table: dict[str, Any], key: str, **fields: Any) -> None:
        table[key] = msgspec.structs.replace(table[key], **fields)

    def people(self) -> People:
        return People(
            time_zone=self.time_zone,
            units=tuple(self.units.values()),
            persons=tuple(self.persons.values()),
            posts=tuple(self.posts.values()),
            weekly_shifts=tuple(self.shifts),
            swaps=tuple(self.swaps),
            authority=tuple(Authority(role=role, category=key, may=may) for (role, key), may in self.authority.items()),
        )


def proof_of(town: _Town, places: Places, start: str = START, catalogue: Catalogue = SHIPPED, days: int = 8) -> Proof:
    people = town.people()
    return prove(places, people, catalogue, from_ms=text.moment(start, people), days=days)


def spoken(findings: Iterable[Finding], town: _Town) -> set[tuple[str, str, str, str, tuple[str, ...]]]:
    """Give findings as (kind, cell, from, until, categories), one for each cell."""
    people = town.people()
    return {
        (one.kind.value, cell, _wall(one.from_ms, people), _wall(one.until_ms, people), one.categories)
        for one in findings
        for cell in one.cells
    }


def _wall(at_ms: int, people: People) -> str:
    return f"{people.plan.local(at_ms):%m-%dT%H:%M}"


def test_a_sound_roster_has_no_holes_and_no_warnings() -> None:
    proof = proof_of(_Town(5), cells(5))
    assert (proof.findings, proof.cells, proof.categories) == ((), 5, len(ALL))


def _planted() -> tuple[_Town, set[tuple[str, str, str, str, tuple[str, ...]]]]:
    """Plant 20 holes of the kinds that a roster can have; by night each cell has one officer, and nobody above him."""
    town = _Town(12)
    town.shifts = [shift for shift in town.shifts if not shift.person.startswith("q")]
    town.persons = {key: person for key, person in town.persons.items() if not key.startswith("q")}
    town.persons["vol"] = Person(id="vol", display_name="名", name_en="V", employment=Employment.VOLUNTEER)
    wanted = set()
    nights = [("25T20:00", "25T20:01"), ("26T00:00", "26T08:00"), ("26T23:30", "27T00:30"), ("29T03:00", "29T04:00")]
    for i, (start, end) in enumerate([*nights, ("29T07:59", "29T08:00")]):
        since, until = (dt.datetime.fromisoformat(f"2026-11-{moment}") for moment in (start, end))
        town.swaps.append(Swap(post=f"g{i:02}", person=f"p{i:02}", substitute="vol", start=since, end=until))
        wanted.add(("nobody", f"c{i:02}", f"11-{start}", f"11-{end}", ALL))
    # A person's, a post's and a contract's time end before the last day.
    last_day = dt.date(2026, 11, 29)
    town.change(town.persons, "p05", last_day=last_day)
    town.change(town.posts, "g06", last_day=last_day)
    contract = Contract(first_day=dt.date(2026, 1, 1), last_day=last_day)
    town.units["firm"] = Unit(id="firm", kind=UnitKind.CONTRACTOR, contract=contract, **NAMES)
    town.change(town.posts, "g07", unit="firm")
    last = ("11-30T00:00", "11-30T08:00"), ("11-30T20:00", "12-01T00:00")
    wanted |= {("nobody", f"c{i:02}", *span, ALL) for i in (5, 6, 7) for span in last}
    # A role that may do everything but one thing.
    town.change(town.posts, "g08", role=Role.MICRO_GRID_OFFICER)
    town.authority[Role.MICRO_GRID_OFFICER, "*"] = May.SETTLE
    town.authority[Role.MICRO_GRID_OFFICER, "gas.*"] = May.REPORT
    gas = tuple(key for key in ALL if key.startswith("gas."))
    edges = [f"11-{day}T{hour}" for day in range(23, 31) for hour in ("08:00", "20:00")]
    pairs = zip(["11-23T00:00", *edges[1::2]], [*edges[::2], "12-01T00:00"], strict=True)
    return town, wanted | {("nobody", "c08", start, end, gas) for start, end in pairs}


def test_twenty_planted_holes_are_found_and_nothing_else() -> None:
    town, wanted = _planted()
    assert len(wanted) == 20
    assert spoken(proof_of(town, cells(12)).holes, town) == wanted


def test_a_gap_at_three_on_sunday_is_a_hole_and_says_what_to_do() -> None:
    town = _Town(2)
    town.shifts = [shift for shift in town.shifts if shift.post != "g01"]
    town.hold("g01", "p01", "04:00", "03:00")
    (hole,) = [one for one in proof_of(town, cells(2)).holes if _wall(one.from_ms, town.people()) == "11-29T03:00"]
    assert (hole.kind, hole.cells, hole.posts[0]) == (Kind.NOBODY, ("c01",), "g01")
    assert (hole.until_ms - hole.from_ms) == 3_600_000
    assert text.remedy(hole, town.people(), SHIPPED) == "add a shift for g01, or a deputy who is on duty then"


@pytest.mark.parametrize(("start", "hours"), [("2026-03-24T00:00", 11), ("2026-10-20T00:00", 13)])
def test_the_night_the_clocks_change_is_as_long_as_it_is(start: str, hours: int) -> None:
    town = _Town(1, "Europe/Berlin")
    town.shifts = [shift for shift in town.shifts if shift.post != "g00"]
    town.hold("g00", "p00", "08:00", "20:00")
    lengths = [(hole.until_ms - hole.from_ms) // 3_600_000 for hole in proof_of(town, cells(1), start).holes]
    assert sorted(set(lengths[1:-1])) == sorted({12, hours})


def test_one_person_under_two_hats_is_one_person() -> None:
    town = _Town(1)
    town.shifts = [shift for shift in town.shifts if shift.person not in {"q00", "lane_chief-1", "lane_chief-2"}]
    town.shifts = [shift for shift in town.shifts if not shift.post.startswith(("road", "street"))]
    town.hold("lane_chief", "p00")
    proof = proof_of(town, cells(1))
    assert [(one.kind, one.cells, one.is_hole) for one in proof.findings] == [(Kind.SECOND, ("c00",), False)]
    town.change(town.posts, "g00", deputies=("q00", "road_chief"))
    town.hold("road_chief", "q00", "06:00", "18:00")
    assert len(proof_of(town, cells(1)).warnings) == 9, "by day his deputy is there, by night nobody else"


def test_an_office_with_one_or_without_a_post_is_a_hole() -> None:
    town = _Town(2)
    town.shifts = [shift for shift in town.shifts if shift.person != "clerk-2"]
    town.hold("office", "clerk-2", "00:00", "16:00")
    holes = proof_of(town, cells(2)).holes
    assert {(one.kind, one.cells) for one in holes} == {(Kind.OFFICE, ("c00", "c01"))}
    assert len(holes) == 8
    del town.posts["office"]
    town.change(town.posts, "street_chief", supervisor=None)
    (hole,) = proof_of(town, cells(2)).holes
    assert (hole.kind, hole.posts, hole.until_ms - hole.from_ms) == (Kind.OFFICE, (), 8 * DAY_MS)


def test_a_cell_without_any_post_is_a_hole_all_the_time() -> None:
    (hole,) = proof_of(_Town(1), cells(2)).holes
    assert (hole.kind, hole.cells, len(hole.categories)) == (Kind.NO_POST, ("c01",), len(ALL))


def test_without_a_grid_officer_the_chief_of_the_cells_line_answers() -> None:
    rows = [row if row.step else msgspec.structs.replace(row, roles=(Role.LANE_CHIEF,)) for row in SHIPPED.steps]
    catalogue = msgspec.structs.replace(SHIPPED, steps=tuple(rows))
    town, places = _Town(0), cells(1)
    places = msgspec.structs.replace(places, cells=(msgspec.structs.replace(places.cells[0], line="line-3"),))
    holes = proof_of(town, places, catalogue=catalogue).holes
    assert {one.kind for one in holes} == {Kind.NOBODY}
    assert len(holes) == 9, "by night no chief serves"


def test_a_category_that_nobody_may_handle_is_a_hole_for_it_alone() -> None:
    town = _Town(1)
    town.authority |= {(role, "noise.trade"): May.REPORT for role in (*CHAIN, Role.GRID_OFFICER)}
    (hole,) = proof_of(town, cells(1)).holes
    assert hole.categories == ("noise.trade",)
    assert "give grid_officer the right to assist in noise.trade" in text.remedy(hole, town.people(), SHIPPED)


def test_a_qualification_that_nobody_on_duty_has_is_a_hole() -> None:
    items = [
        msgspec.structs.replace(one, qualifications=("gas",)) if one.key == "gas.leak" else one
        for one in SHIPPED.categories
    ]
    catalogue = msgspec.structs.replace(SHIPPED, categories=tuple(items))
    town = _Town(1)
    (hole,) = proof_of(town, cells(1), catalogue=catalogue).holes
    assert (hole.categories, text.remedy(hole, town.people(), catalogue)) == (
        ("gas.leak",),
        "have somebody on duty who is qualified for: gas",
    )
    town.change(town.persons, "p00", qualifications=("gas", "first_aid"))
    assert proof_of(town, cells(1), catalogue=catalogue).holes == ()


def test_an_exclusive_cell_is_proven_for_its_own_categories() -> None:
    fields = {"type": CellType.EXCLUSIVE, "categories": ("gas.*", "co.alarm"), "lead_unit": "unit"}
    special = msgspec.structs.replace(cells(1).cells[0], code="x1", **fields)
    town = _Town(1)
    assert proof_of(town, cells(1, more=(special,))).findings == (), "without posts of its own the base cell answers"
    town.post("gx", Role.GRID_OFFICER, 4, "x1", "lane_chief")
    town.hold("gx", "px", "08:00", "20:00")
    holes = proof_of(town, cells(1, more=(special,))).holes
    assert {(one.cells, one.categories) for one in holes} == {(("x1",), ("gas.leak", "co.alarm"))}


def test_who_is_suspended_or_a_volunteer_proves_nothing() -> None:
    town = _Town(2)
    for hold in "pq":
        town.change(town.persons, f"{hold}00", status=Status.SUSPENDED)
        town.change(town.persons, f"{hold}01", employment=Employment.VOLUNTEER)
    assert {one.cells for one in proof_of(town, cells(2)).holes} == {("c00", "c01")}


# --- the oracle -----------------------------------------------------------------------------------------------------


def _leaders(people: People, catalogue: Catalogue, cell: Cell, key: str, at_ms: int) -> set[str]:
    """Give who may lead at a moment, straight from the definition."""
    first = [role for step in catalogue.steps if step.step == 0 and not step.seat for role in step.roles]
    slots = [post for post in people.posts_by_scope.get(cell.code, ()) if post.role in first]
    slots.sort(key=lambda post: (first.index(post.role), post.id))
    above = [post for post in people.parents(slots[0].id) if post.role in CHAIN] if slots else []
    found = set()
    for post in (*slots, *above):
        may = people.may(post.role, key)
        if may is None or may is May.REPORT:
            continue
        for duty in (*people.duties(post.id, at_ms), *people.deputy_duties(post.id, at_ms)):
            unit = people.unit_by_id[people.post_by_id[duty.post].unit]
            is_volunteer = people.person_by_id[duty.person].employment is Employment.VOLUNTEER
            if not is_volunteer and people.has_contract(unit.id, at_ms):
                found.add(duty.person)
    return found


HOURS = st.integers(0, 23)
POSTS, PEOPLE = st.sampled_from(["g00", "g01", *CHAIN]), st.sampled_from("abcd")
SHIFTS = st.tuples(POSTS, PEOPLE, HOURS, HOURS)
TOWNS: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    shifts=st.lists(SHIFTS, max_size=8),
    swaps=st.lists(st.tuples(SHIFTS, PEOPLE, st.integers(0, 47), st.integers(1, 9)), max_size=3),
    deputies=st.lists(st.tuples(POSTS, st.sampled_from(["a", "b", "road_chief"])), max_size=3),
    volunteer=st.booleans(),
    report_only=st.sampled_from([None, Role.LANE_CHIEF, Role.GRID_OFFICER]),
    last_day=st.dates(dt.date(2026, 3, 8), dt.date(2026, 11, 25)),
    zone=st.sampled_from(["Asia/Shanghai", "America/New_York"]),
)


def _town_of(plan: dict[str, Any], start: str) -> _Town:
    town = _Town(2, plan["zone"])
    town.shifts = [shift for shift in town.shifts if shift.post == "office"]
    for person in "abcd":
        town.persons[person] = Person(id=person, display_name="名", name_en="N")
    for post, person, since, until in plan["shifts"]:
        town.hold(post, person, f"{since:02}:00", f"{until:02}:00")
    for (post, person, *_), substitute, hour, length in plan["swaps"]:
        begin = dt.datetime.fromisoformat(start) + dt.timedelta(hours=hour)
        end = begin + dt.timedelta(hours=length)
        town.swaps.append(Swap(post=post, person=person, substitute=substitute, start=begin, end=end))
    for post, deputy in plan["deputies"]:
        town.change(town.posts, post, deputies=(*town.posts[post].deputies, deputy))
    if plan["volunteer"]:
        town.change(town.persons, "a", employment=Employment.VOLUNTEER)
    if plan["report_only"]:
        town.authority[plan["report_only"], "fire.*"] = May.REPORT
    contract = Contract(first_day=dt.date(2026, 1, 1), last_day=plan["last_day"])
    town.units["firm"] = Unit(id="firm", kind=UnitKind.CONTRACTOR, contract=contract, **NAMES)
    town.change(town.posts, "g01", unit="firm")
    return town


@settings(max_examples=40, deadline=None)
@given(TOWNS, st.sampled_from(["2026-11-23T00:00", "2026-10-31T12:00", "2026-03-07T20:00"]))
def test_the_proof_agrees_with_the_definition_at_every_quarter_of_an_hour(plan: dict[str, Any], start: str) -> None:
    town, places = _town_of(plan, start), cells(2)
    people, proof = town.people(), proof_of(town, places, start, days=2)
    for key, cell in itertools.product(("fire.heat", "order.bike"), places.cells):
        mine = [one for one in proof.findings if cell.code in one.cells and key in one.categories]
        for at_ms in range(proof.from_ms, proof.until_ms, 15 * 60_000):
            kinds = [one.kind for one in mine if one.from_ms <= at_ms < one.until_ms]
            n = len(_leaders(people, SHIPPED, cell, key, at_ms))
            assert kinds == ([Kind.NOBODY] if n == 0 else [Kind.SECOND] if n == 1 else []), (key, cell.code, at_ms)


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_proves_a_sample_city_and_names_a_hole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "city"
    assert main(["city", "--units", "12", "--out", str(folder)]) == 0
    capsys.readouterr()
    command = ["check", str(folder), "--proof", "--from", "2026-11-22T08:00"]
    assert main(command) == 0
    assert "0 hole(s), 0 warning(s)" in capsys.readouterr().out
    people_toml = folder / "people.toml"
    lines = people_toml.read_text(encoding="utf-8").splitlines(keepends=True)
    people_toml.write_text("".join(line for line in lines if 'role = "street_chief"' not in line), encoding="utf-8")
    assert main(["check", str(folder), "--proof"]) == 2, "what is wrong with the folder is said first"
    nobody_may = "".join(lines).replace('may = "assist"', 'may = "report"').replace('may = "settle"', 'may = "report"')
    people_toml.write_text(nobody_may, encoding="utf-8")
    capsys.readouterr()
    assert main([*command, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["holes"] == len(report["findings"]) - report["warnings"] > 0
    assert main([*command, "--from", "soon"]) == 2
