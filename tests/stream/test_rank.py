"""Who leads, who is told, in which order, and why: rule by rule of the design's matcher."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calendar import Weekday
from models.city import generate
from models.geo import PointE7
from models.messages import VERSION, Load, OrderStep, Priority
from models.people import Authority, Contract, Employment, May, Person, Role, Unit, UnitKind
from models.people.duty import DatedShift, WeeklyShift
from models.places import Area, AreaKind, CellType
from stream.rank import Match, Question, match
from stream.world import World
from tests.stream import builders as b
from tests.stream.builders import POSTS, T0, at, box

P1, P2, P3, P4 = Priority
HERE = at(20, 20)
MINUTE_MS = 60_000


def ask(world: World, point: PointE7 = HERE, priority: Priority = P2, **fields: Any) -> Match:
    """Ask who would get a fire here."""
    defaults: dict[str, Any] = {
        "radius_m": 15.0,
        "category": b.CATALOGUE.category_by_key["fire.flame.single"],
        "at_ms": T0,
    }
    return match(Question(point=point, priority=priority, **(defaults | fields)), world)


def told(found: Match) -> dict[tuple[int, bool], list[str]]:
    """Give the persons by step and whether it is the seat's."""
    steps: dict[tuple[int, bool], list[str]] = {}
    for step in found.steps:
        steps.setdefault((step.step, step.seat), []).extend(candidate.person for candidate in step.candidates)
    return steps


def step_of(found: Match, number: int) -> OrderStep:
    return next(step for step in found.steps if step.step == number and not step.seat)


def person(name: str, **fields: Any) -> Person:
    return Person(id=name, display_name="名", name_en="Name", **fields)


def people_with(*extra: tuple[str, str], without: str = "", deputies: tuple[str, ...] = (), **fields: Any) -> Any:
    """Give the roster with more shifts, without some post's holder, or with deputies of the grid officer."""
    posts = tuple(msgspec.structs.replace(p, deputies=deputies) if p.id == "grid-1" else p for p in POSTS)
    shifts = [(p.id, f"p-{p.id}") for p in POSTS if p.id != without]
    return b.people(posts, [*shifts, *extra], **fields)


# --- the chain -------------------------------------------------------------------------------------------------------


def test_the_cells_officer_leads_and_the_chain_follows_his_parents() -> None:
    found = ask(b.world())
    assert (found.lead_post, found.lead_unit) == ("grid-1", "emergency")
    assert told(found) == {
        (0, False): ["p-grid-1"],
        (0, True): ["p-seat"],
        (1, False): ["p-lane"],
        (2, False): ["p-road"],
        (3, False): ["p-street"],
        (4, False): ["p-office"],
        (5, False): ["p-district"],
    }


@pytest.mark.parametrize(("priority", "minutes"), [(P1, [0, 0, 1, 2, 3, 5]), (P2, [0, 3, 6, 15, 20, 60])])
def test_steps_come_at_the_catalogues_times(priority: Priority, minutes: list[int]) -> None:
    found = ask(b.world(), priority=priority)
    assert [step.offset_ms for step in found.steps if not step.seat] == [m * MINUTE_MS for m in minutes]


def test_candidates_carry_their_duty() -> None:
    (candidate,) = step_of(ask(b.world()), 0).candidates
    assert candidate.duty_from_ms <= T0 < candidate.duty_until_ms
    assert candidate.reasons == ("INSIDE_CELL",)


def test_late_evidence_with_nobody_at_the_seat_goes_the_usual_way() -> None:
    found = ask(b.world(people=people_with(without="seat")), is_late=True)
    assert told(found)[0, False] == ["p-grid-1"]


def test_in_a_building_its_chief_is_told_after_the_grid_officer() -> None:
    found = ask(b.world(), at(50, 50))
    assert told(found)[0, False] == ["p-grid-1", "p-chief-n1"]
    assert found.areas == {"cell": "c1", "node": "n1"}


def test_a_missing_level_is_skipped_and_the_next_takes_its_time() -> None:
    posts = [p for p in POSTS if p.id != "lane"]
    posts = [msgspec.structs.replace(p, supervisor="road") if p.supervisor == "lane" else p for p in posts]
    found = ask(b.world(people=b.people(posts)))
    assert [(s.step, s.offset_ms // MINUTE_MS, s.reasons) for s in found.steps if not s.seat][:3] == [
        (0, 0, ()),
        (2, 3, ("NO_POST",)),
        (3, 15, ()),
    ]
    assert "NO_POST" in found.reasons


def test_one_person_appears_once_at_the_earliest_step() -> None:
    found = ask(b.world(people=people_with(("lane", "p-grid-1"), ("seat", "p-grid-1"), without="lane")))
    assert step_of(found, 2).offset_ms == 6 * MINUTE_MS, "he is told already: nobody above him is hurried"
    everybody = [name for names in told(found).values() for name in names]
    assert everybody.count("p-grid-1") == 1
    assert told(found)[0, False] == ["p-grid-1"]


def test_late_evidence_is_for_the_command_seat_alone() -> None:
    found = ask(b.world(), is_late=True)
    assert (told(found), found.lead_post) == ({(0, True): ["p-seat"]}, "grid-1")


# --- exclusive cells, borders, outside -------------------------------------------------------------------------------


def exclusive_world() -> World:
    gas = b.cell("x1", box(10, 10, 30, 30), type=CellType.EXCLUSIVE, categories=("gas.*",), lead_unit="gas_company")
    posts = (
        *POSTS,
        b.post("lane-x", Role.LANE_CHIEF, 3, "lx", "road"),
        b.post("grid-x", Role.GRID_OFFICER, 4, "x1", "lane-x"),
    )
    return b.world(places=b.places(cells=(*b.places().cells, gas)), people=b.people(posts))


def test_an_exclusive_cell_leads_for_its_categories_only() -> None:
    gas = ask(exclusive_world(), category=b.CATALOGUE.category_by_key["gas.leak"])
    assert (gas.lead_unit, gas.lead_post, gas.areas["exclusive"]) == ("gas_company", "grid-x", "x1")
    assert told(gas)[1, False] == ["p-lane-x"]
    assert "INSIDE_EXCLUSIVE" in gas.reasons
    fire = ask(exclusive_world())
    assert (fire.lead_unit, fire.lead_post) == ("emergency", "grid-1")
    assert "exclusive" not in fire.areas


def test_officers_of_other_cells_within_the_radius_are_told_too() -> None:
    found = ask(b.world(), at(90, 20))
    assert [(c.person, c.reasons) for c in found.co_tellings] == [("p-grid-2", ("BORDER_RADIUS",))]
    assert ask(b.world(), at(80, 20)).co_tellings == ()


def test_a_vague_position_concerns_the_cells_officer_and_the_seat_alone() -> None:
    found = ask(b.world(), at(90, 20), radius_m=151.0)
    assert (found.co_tellings, "POSITION_VAGUE" in found.reasons) == ((), True)
    assert told(ask(b.world(), at(50, 50), radius_m=151.0))[0, False] == ["p-grid-1"]


def test_at_most_four_neighbours_are_told_the_nearest_ones() -> None:
    cells = tuple(b.cell(f"c{i}", box(10 * i, 0, 10 * i + 10, 10)) for i in range(9))
    grid = tuple(b.post(f"grid-{i}", Role.GRID_OFFICER, 4, f"c{i}", "lane") for i in range(9))
    world = b.world(places=b.places(cells=cells), people=b.people((*POSTS[:6], *grid)))
    found = ask(world, at(44, 5), radius_m=100.0)
    assert found.lead_post == "grid-4"
    assert [c.person for c in found.co_tellings] == ["p-grid-3", "p-grid-5", "p-grid-2", "p-grid-6"]


def test_the_chief_of_a_line_that_is_hit_is_told_if_he_stands_in_another_chain() -> None:
    posts = (*POSTS, b.post("lane-2", Role.LANE_CHIEF, 3, "l2", "road"))
    places = b.places(lines=(b.line("l2", (0, 20), (50, 20)),))
    found = ask(b.world(places=places, people=b.people(posts)))
    assert [(c.person, c.reasons) for c in found.co_tellings] == [("p-lane-2", ("LINE_HIT",))]
    own = b.places(lines=(b.line("l1", (0, 20), (50, 20)),))
    assert ask(b.world(places=own)).co_tellings == ()


def test_a_point_a_little_outside_goes_to_the_nearest_cell_with_a_reason() -> None:
    found = ask(b.world(), at(-20, 20))
    assert (found.lead_post, "NEAREST_CELL" in found.reasons) == ("grid-1", True)


def test_a_point_far_outside_goes_to_the_office_and_alarms_the_seat() -> None:
    found = ask(b.world(), at(-500, 20), priority=P3)
    assert (found.lead_post, {"OUTSIDE", "LAST_RESORT"} <= set(found.reasons)) == ("office", True)
    office, seat = found.steps
    assert (seat.seat, seat.mode, seat.at_once) == (True, "alert", True)
    assert (office.step, office.mode, office.offset_ms) == (4, "alert", 0)


# --- hard filters ----------------------------------------------------------------------------------------------------


def only_mondays(post_id: str, name: str) -> WeeklyShift:
    return WeeklyShift(post=post_id, person=name, days=(Weekday.MON,), start=dt.time(8), end=dt.time(20))


def test_who_is_off_duty_is_not_asked() -> None:
    world = b.world(people=people_with(without="grid-1"))
    found = ask(world, at(50, 50))
    assert (told(found)[0, False], found.lead_post) == (["p-chief-n1"], "chief-n1")


def test_duty_counts_at_the_time_of_the_step() -> None:
    roster = b.people()
    plan = tuple(shift for shift in roster.weekly_shifts if shift.post != "lane")
    local = roster.plan.local(T0)
    day = tuple(Weekday)[local.weekday()]
    soon = WeeklyShift(
        post="lane",
        person="p-lane",
        days=(day,),
        start=(local + dt.timedelta(minutes=2)).time(),
        end=(local + dt.timedelta(hours=1)).time(),
    )
    world = b.world(people=msgspec.structs.replace(roster, weekly_shifts=(*plan, soon)))
    assert told(ask(world, priority=P2))[1, False] == ["p-lane"]
    assert (1, False) not in told(ask(world, priority=P1))


def test_without_authority_nobody_is_asked() -> None:
    authority = tuple(row for row in b.AUTHORITY if row.role is not Role.GRID_OFFICER)
    report = (Authority(role=Role.GRID_OFFICER, category="*", may=May.REPORT),)
    found = ask(b.world(people=b.people(authority=(*authority, *report))), at(50, 50))
    assert (found.lead_post, "NO_AUTHORITY" in found.reasons) == ("chief-n1", True)


def test_an_expired_contract_stops_dispatch() -> None:
    expired = Contract(first_day=dt.date(2020, 1, 1), last_day=dt.date(2020, 12, 31))
    units = (
        Unit(id="unit-1", kind=UnitKind.DEPARTMENT, **b.NAMES),
        Unit(id="firm", kind=UnitKind.CONTRACTOR, contract=expired, **b.NAMES),
    )
    posts = tuple(msgspec.structs.replace(p, unit="firm") if p.id == "grid-1" else p for p in POSTS)
    found = ask(b.world(people=b.people(posts, units=units)), at(50, 50))
    assert (found.lead_post, "NO_CONTRACT" in found.reasons) == ("chief-n1", True)


@pytest.mark.parametrize("reporter", ["p-grid-1", "grid-1"])
def test_the_reporter_does_not_handle_it(reporter: str) -> None:
    found = ask(b.world(), at(50, 50), reporters=frozenset({reporter}))
    assert (found.lead_post, "REPORTER" in found.reasons) == ("chief-n1", True)


@pytest.mark.parametrize(("priority", "step_0"), [(P1, []), (P2, []), (P3, ["p-grid-1"])])
def test_volunteers_are_never_alerted_for_p1_and_p2(priority: Priority, step_0: list[str]) -> None:
    roster = b.people()
    persons = tuple(
        msgspec.structs.replace(p, employment=Employment.VOLUNTEER) if p.id == "p-grid-1" else p for p in roster.persons
    )
    found = ask(b.world(people=msgspec.structs.replace(roster, persons=persons)), priority=priority)
    assert told(found).get((0, False), []) == step_0
    assert found.lead_post == "lane", "a volunteer never leads"


def test_without_any_office_the_seat_leads() -> None:
    seat = tuple(post for post in POSTS if post.role is Role.SEAT_OPERATOR)
    found = ask(b.world(people=b.people([msgspec.structs.replace(seat[0], supervisor=None)])))
    assert (found.lead_post, told(found)[0, True]) == ("seat", ["p-seat"])


def test_nobody_in_the_field_leaves_the_office_off_duty_or_not() -> None:
    roster = b.people()
    mondays = tuple(only_mondays(shift.post, shift.person) for shift in roster.weekly_shifts)
    found = ask(b.world(people=msgspec.structs.replace(roster, weekly_shifts=mondays)))
    assert (found.lead_post, told(found)[4, False]) == ("office", ["p-office"])
    (candidate,) = step_of(found, 4).candidates
    assert candidate.reasons == ("LAST_RESORT", "OFF_DUTY")
    assert candidate.duty_from_ms <= T0 < candidate.duty_until_ms


# --- deputies --------------------------------------------------------------------------------------------------------


def test_a_deputy_stands_in_for_a_chief_who_is_off_duty() -> None:
    roster = people_with(("road", "p-vice"), without="grid-1", deputies=("p-vice",))
    (candidate,) = step_of(ask(b.world(people=roster)), 0).candidates
    assert (candidate.person, candidate.reasons) == ("p-vice", ("INSIDE_CELL", "DEPUTY", "CHIEF_ABSENT"))
    assert ask(b.world(people=roster)).lead_post == "grid-1"


def test_for_p1_deputies_are_told_at_once_after_their_chiefs() -> None:
    roster = people_with(("road", "p-vice"), deputies=("p-vice",))
    step = step_of(ask(b.world(people=roster), at(50, 50), P1), 0)
    assert [c.person for c in step.candidates] == ["p-grid-1", "p-chief-n1", "p-vice"]
    assert step.at_once


def test_for_p2_deputies_follow_after_the_first_acknowledgement_clock() -> None:
    roster = people_with(("road", "p-vice"), deputies=("p-vice",))
    first, second = (step for step in ask(b.world(people=roster)).steps if step.step == 0 and not step.seat)
    assert [c.person for c in first.candidates] == ["p-grid-1"]
    assert [c.person for c in second.candidates] == ["p-vice"]
    assert (second.offset_ms, second.at_once) == (3 * MINUTE_MS, False)


def test_deputies_are_asked_in_their_own_order() -> None:
    roster = people_with(
        ("road", "p-vice-a"), ("road", "p-vice-b"), without="grid-1", deputies=("p-vice-b", "p-vice-a")
    )
    assert told(ask(b.world(people=roster)))[0, False] == ["p-vice-b", "p-vice-a"]


def test_a_deputys_deputy_is_nobody() -> None:
    posts = tuple(
        msgspec.structs.replace(p, deputies={"grid-1": ("grid-2",), "grid-2": ("chief-n1",)}.get(p.id, ()))
        for p in POSTS
    )
    shifts = [(p.id, f"p-{p.id}") for p in POSTS if p.id not in {"grid-1", "grid-2"}]
    found = ask(b.world(people=b.people(posts, shifts)))
    assert (0, False) not in told(found)


# --- P3 and P4 -------------------------------------------------------------------------------------------------------


def test_p3_asks_one_after_the_other_and_lists_it_at_the_seat() -> None:
    found = ask(b.world(), at(50, 50), P3)
    assert not step_of(found, 0).at_once
    assert [step.mode for step in found.steps if step.seat] == ["list"]


def load(person_id: str, n_open: int, age_ms: int = 0) -> dict[str, Load]:
    return {person_id: Load(v=VERSION, person=person_id, open={P2: n_open}, at_ms=T0 - age_ms)}


TWO_OFFICERS = ("grid-1", "p-grid-0")


@pytest.mark.parametrize(
    ("loads", "priority", "first", "reasons"),
    [
        ({}, P3, "p-grid-0", ()),
        (load("p-grid-0", 9), P3, "p-grid-1", ()),  # more than the 8 he may have: he goes last
        (load("p-grid-0", 8), P3, "p-grid-1", ()),  # neither has too many: the one with fewer goes first
        (load("p-grid-0", 9), P2, "p-grid-0", ()),  # what is urgent does not wait
        (load("p-grid-0", 8, age_ms=300_000), P3, "p-grid-1", ()),
        (load("p-grid-0", 8, age_ms=300_001), P3, "p-grid-0", ("LOAD_UNKNOWN",)),
    ],
)
def test_who_has_much_on_his_hands_goes_last_but_is_asked(
    loads: dict[str, Load], priority: Priority, first: str, reasons: tuple[str, ...]
) -> None:
    found = ask(b.world(people=people_with(TWO_OFFICERS)), priority=priority, loads=loads)
    assert told(found)[0, False] == [first, "p-grid-1" if first == "p-grid-0" else "p-grid-0"]
    assert tuple(reason for reason in found.reasons if reason == "LOAD_UNKNOWN") == reasons


def test_over_load_is_said() -> None:
    found = ask(b.world(people=people_with(TWO_OFFICERS)), priority=P3, loads=load("p-grid-0", 9))
    assert step_of(found, 0).candidates[1].reasons == ("INSIDE_CELL", "OVER_LOAD")


def qualified(*names: str) -> World:
    """Give the world in which these persons may handle gas, and a leak needs one of them to lead."""
    roster = b.people()
    persons = tuple(msgspec.structs.replace(p, qualifications=("gas",)) if p.id in names else p for p in roster.persons)
    leaks = tuple(
        msgspec.structs.replace(c, qualifications=("gas",)) if c.key == "gas.leak" else c
        for c in b.CATALOGUE.categories
    )
    return b.world(
        people=msgspec.structs.replace(roster, persons=persons),
        catalogue=msgspec.structs.replace(b.CATALOGUE, categories=leaks),
    )


def test_the_lead_must_be_qualified_and_the_others_may_help() -> None:
    world = qualified("p-lane", "p-office")
    found = ask(world, category=world.catalogue.category_by_key["gas.leak"])
    assert found.lead_post == "lane"
    assert step_of(found, 0).candidates[0].reasons == ("INSIDE_CELL", "UNQUALIFIED")


def test_with_nobody_qualified_in_the_field_the_office_leads() -> None:
    for world in (qualified("p-office"), qualified()):
        found = ask(world, category=world.catalogue.category_by_key["gas.leak"])
        assert (found.lead_post, "LAST_RESORT" in found.reasons) == ("office", True)


def without_grid(*step_0: Role) -> World:
    """Give the world without grid officers: the first cell is served by the second of two lanes."""
    steps = tuple(
        msgspec.structs.replace(step, roles=step_0) if step.step == 0 and not step.seat else step
        for step in b.CATALOGUE.steps
    )
    posts = [post for post in POSTS if post.role not in {Role.GRID_OFFICER, Role.BUILDING_CHIEF}]
    posts += [b.post("lane-2", Role.LANE_CHIEF, 3, "l2", "road")]
    cells = (b.cell("c1", box(0, 0, 100, 100), line="l2"), b.cell("c2", box(100, 0, 200, 100)))
    return b.world(
        places=b.places(cells=cells, lines=(b.line("l1", (100, 0), (100, 100)), b.line("l2", (0, 0), (0, 100)))),
        people=b.people(posts),
        catalogue=msgspec.structs.replace(b.CATALOGUE, steps=steps),
    )


def test_without_a_grid_officer_the_chief_of_the_line_that_serves_the_cell_is_first() -> None:
    found = ask(without_grid(Role.LANE_CHIEF), at(50, 20))
    assert (found.lead_post, step_of(found, 0).candidates[0].reasons) == ("lane-2", ("LINE_OF_CELL",))


def test_with_nobody_to_ask_at_step_0_the_chain_begins_at_the_chief_of_that_line() -> None:
    found = ask(without_grid(Role.GRID_OFFICER), at(50, 20), P1)
    assert found.lead_post == "lane-2"
    assert [(step.step, step.candidates[0].person) for step in found.steps if not step.seat] == [
        (1, "p-lane-2"),
        (2, "p-road"),
        (3, "p-street"),
        (4, "p-office"),
        (5, "p-district"),
    ]


def test_a_chain_that_is_made_again_keeps_its_clocks() -> None:
    minute_5 = T0 + 5 * MINUTE_MS
    soon = DatedShift(post="lane", person="p-lane", start=moment(6), end=moment(30))
    roster = b.people(shifts=[(p.id, f"p-{p.id}") for p in POSTS if p.id != "lane"])
    persons = (*roster.persons, person("p-lane"))
    world = b.world(people=msgspec.structs.replace(roster, dated_shifts=(soon,), persons=persons))
    assert (1, False) not in told(ask(world, at_ms=minute_5, since_ms=T0)), "the lane chief's step, +3 min, is due now"
    assert told(ask(world, at_ms=minute_5))[1, False] == ["p-lane"], "a new chain asks him at minute 8"


def moment(minutes: int) -> dt.datetime:
    return dt.datetime.fromtimestamp((T0 + minutes * MINUTE_MS) / 1000, dt.UTC)


def test_the_office_of_the_area_around_the_cell_answers_for_it() -> None:
    areas = tuple(
        Area(code=code, kind=AreaKind.SUBDISTRICT, parent=parent, **b.NAMES)
        for code, parent in (("area", "south"), ("south", "town"), ("north", "town"))
    )
    posts = [post for post in POSTS if post.id not in {"office", "street", "road", "lane"}]
    posts = [msgspec.structs.replace(p, supervisor=None) if p.supervisor in {"lane", "office"} else p for p in posts]
    posts += [b.post("a-office", Role.STREET_OFFICE, 0, "north", "district")]
    posts += [b.post("z-office", Role.STREET_OFFICE, 0, "south", "district")]
    world = b.world(places=b.places(areas=areas), people=b.people(posts))
    (candidate,) = step_of(ask(world), 4).candidates
    assert (candidate.person, candidate.reasons) == ("p-z-office", ("OFFICE",))
    assert step_of(ask(world, at(-5_000, 0)), 4).candidates[0].person == "p-a-office", "outside any will do"


@pytest.mark.parametrize(("priority", "is_marked"), [(P2, False), (P3, True)])
def test_quiet_hours_bind_p3_and_p4_only(priority: Priority, is_marked: bool) -> None:
    from models.people import QuietHours

    roster = b.people()
    quiet = QuietHours(start=dt.time(0), end=dt.time(23, 59, 59))
    persons = tuple(msgspec.structs.replace(p, quiet_hours=quiet) for p in roster.persons)
    found = ask(b.world(people=msgspec.structs.replace(roster, persons=persons)), priority=priority)
    assert ("QUIET_HOURS" in step_of(found, 0).candidates[0].reasons) is is_marked


# --- invariants ------------------------------------------------------------------------------------------------------

CITY = generate(12, seed=1)
CITY_WORLD = World("demo", CITY.places, CITY.people, b.CATALOGUE)
CENTRE = CITY.places.devices[0].point


@settings(max_examples=150, deadline=None)
@given(
    st.integers(-60_000, 60_000),
    st.integers(-60_000, 60_000),
    st.sampled_from([1.0, 15.0, 120.0, 400.0]),
    st.sampled_from(b.CATALOGUE.categories),
    st.sampled_from(list(Priority)),
    st.integers(0, 8 * 86_400_000),
)
def test_wherever_and_whenever_there_is_one_lead_and_a_chain_of_distinct_persons(
    lon: int, lat: int, radius_m: float, category: Any, priority: Priority, after_ms: int
) -> None:
    question = Question((CENTRE[0] + lon, CENTRE[1] + lat), radius_m, category, priority, T0 + after_ms)
    found = match(question, CITY_WORLD)
    assert found.lead_post in CITY.people.post_by_id
    assert found.lead_unit
    assert any(step.candidates for step in found.steps)
    persons = [c.person for step in found.steps for c in step.candidates] + [c.person for c in found.co_tellings]
    assert max(Counter(persons).values()) == 1
    assert len(found.co_tellings) <= 5 + 4
    for step in found.steps:
        for candidate in step.candidates:
            assert candidate.duty_from_ms <= question.at_ms + step.offset_ms < candidate.duty_until_ms
    assert match(question, CITY_WORLD) == found
