"""The columns say the same as the people they are made of."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calendar import Weekday
from models.city import generate
from models.people import Authority, Employment, May, People, Person, Post, QuietHours, Role, Status, Unit, UnitKind
from models.people.columns import EMPLOYMENTS, NO_QUIET, NOBODY, ROLES, PeopleColumns
from models.people.duty import DAY_MS, DatedShift, Swap, WeeklyShift, window

NAMES: dict[str, Any] = {"name": "名", "name_en": "Name"}
T0 = 1_780_000_000_000
POSTS, PEOPLE = ("p1", "p2", "p3"), ("a", "b", "c")
ZONES = ["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]
STARTS = [dt.date(2026, 3, 6), dt.date(2026, 3, 27), dt.date(2026, 10, 23), dt.date(2026, 11, 20)]
HALF_HOUR = dt.timedelta(minutes=30)
CLOCKS = st.integers(0, 47).map(lambda half: dt.time(half // 2, 30 * (half % 2)))
DAYS = st.sets(st.sampled_from(Weekday), min_size=1).map(tuple)
TERMS = st.tuples(st.none() | st.integers(0, 9), st.none() | st.integers(5, 14))
"""First and last day from the start of the window; they may lie the wrong way round."""
POST, PERSON = st.sampled_from(POSTS), st.sampled_from(PEOPLE)
TIMES = st.tuples(st.integers(0, 960), st.integers(1, 60))
"""Half hours from the start, and half hours long."""


def spoken(columns: PeopleColumns, from_ms: int, until_ms: int) -> dict[str, list[tuple[str, int, int]]]:
    duty = columns.duty(from_ms, until_ms)
    rows = list(zip(duty.person.tolist(), duty.from_ms.tolist(), duty.until_ms.tolist(), strict=True))
    bounds = duty.start.tolist()
    return {
        post: [(columns.person_ids[person], a, b) for person, a, b in rows[bounds[i] : bounds[i + 1]]]
        for i, post in enumerate(columns.post_ids)
    }


def expected(people: People, from_ms: int, until_ms: int) -> dict[str, list[tuple[str, int, int]]]:
    return {
        post: [(span.person, span.from_ms, span.until_ms) for span in people.plan.spans(post, from_ms, until_ms)]
        for post in sorted(people.post_by_id)
    }


ROTAS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "statuses": st.tuples(*[st.sampled_from(Status)] * 3),
        "terms": st.tuples(*[TERMS] * 6),
        "weekly": st.lists(st.tuples(POST, PERSON, DAYS, CLOCKS, CLOCKS), max_size=5),
        "dated": st.lists(st.tuples(POST, PERSON, TIMES), max_size=4),
        "swaps": st.lists(st.tuples(POST, PERSON, PERSON, TIMES), max_size=3),
    }
)


def _people(zone: str, first: dt.date, rota: dict[str, Any]) -> People:
    def times(of: tuple[int, int]) -> dict[str, Any]:
        start = dt.datetime.combine(first, dt.time()) + of[0] * HALF_HOUR
        return {"start": start, "end": start + of[1] * HALF_HOUR}

    def term(n: int) -> dict[str, Any]:
        days = (None if day is None else first + dt.timedelta(days=day) for day in rota["terms"][n])
        return dict(zip(("first_day", "last_day"), days, strict=True))

    plain: dict[str, Any] = {"role": Role.COLLECTOR, "level": 0, "scope": ("x",), "unit": "u"} | NAMES
    persons = zip(PEOPLE, rota["statuses"], strict=True)
    return People(
        time_zone=zone,
        units=(Unit(id="u", kind=UnitKind.OFFICE, **NAMES),),
        persons=tuple(
            Person(id=name, display_name="名", name_en="N", status=status, **term(n))
            for n, (name, status) in enumerate(persons)
        ),
        posts=tuple(Post(id=name, **plain, **term(3 + n)) for n, name in enumerate(POSTS)),
        weekly_shifts=tuple(
            WeeklyShift(post=post, person=who, days=days, start=start, end=end)
            for post, who, days, start, end in rota["weekly"]
        ),
        dated_shifts=tuple(DatedShift(post=post, person=who, **times(of)) for post, who, of in rota["dated"]),
        swaps=tuple(
            Swap(post=post, person=who, substitute=other, **times(of)) for post, who, other, of in rota["swaps"]
        ),
    )


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from(STARTS), ROTAS, st.integers(1, 12 * DAY_MS))
def test_duty_as_columns_is_duty_as_the_plan_says(
    zone: str, first: dt.date, rota: dict[str, Any], length_ms: int
) -> None:
    people = _people(zone, first, rota)
    from_ms = people.plan.to_ms(dt.datetime.combine(first, dt.time(3, 17)))
    assert spoken(people.columns, from_ms, from_ms + length_ms) == expected(people, from_ms, from_ms + length_ms)


def test_the_duty_of_a_day_is_what_questions_of_that_day_see() -> None:
    people = generate(30).people
    assert spoken(people.columns, *window(T0)) == expected(people, *window(T0))
    assert people.columns.day(T0).window == window(T0)


def test_nobody_at_all_makes_empty_columns() -> None:
    columns = People(time_zone="Asia/Shanghai").columns
    assert (columns.post_ids, len(columns.day(T0).person), columns.day(T0).start.tolist()) == ((), 0, [0])


@pytest.fixture(scope="module")
def town() -> People:
    units = (
        Unit(id="vol", kind=UnitKind.VOLUNTEER_GROUP, **NAMES),
        Unit(id="firm", kind=UnitKind.CONTRACTOR, **NAMES),
    )
    persons = (
        Person(id="z", display_name="名", name_en="N", qualifications=("gas",), employment=Employment.VOLUNTEER),
        Person(id="a", display_name="名", name_en="N", qualifications=("aid", "gas"), max_open=3,
               quiet_hours=QuietHours(start=dt.time(22, 30), end=dt.time(7))),
    )  # fmt: skip
    posts = (
        Post(id="top", role=Role.STREET_OFFICE, level=0, scope=("area",), unit="firm", **NAMES),
        Post(id="chief", role=Role.SHOP_CHIEF, level=4, scope=("s", "area"), unit="vol",
             supervisor="top", deputies=("z", "top"), **NAMES),
    )  # fmt: skip
    shift = {"days": tuple(Weekday), "start": dt.time(0), "end": dt.time(0)}
    return People(
        time_zone="Europe/Berlin",
        units=units,
        persons=persons,
        posts=posts,
        weekly_shifts=tuple(WeeklyShift(post=p, person=who, **shift) for p, who in (("top", "a"), ("chief", "a"))),  # type: ignore[arg-type]
        authority=(
            Authority(role=Role.SHOP_CHIEF, category="*", may=May.REPORT),
            Authority(role=Role.SHOP_CHIEF, category="order.*", may=May.SETTLE),
        ),
    )


def test_numbers_compare_as_ids(town: People) -> None:
    columns = town.columns
    assert (columns.person_ids, columns.post_ids) == (("a", "z"), ("chief", "top"))
    assert columns.parent.tolist() == [1, NOBODY]
    assert columns.collaborates.tolist() == [True, False]
    assert [ROLES[role] for role in columns.role] == [Role.SHOP_CHIEF, Role.STREET_OFFICE]
    assert [columns.unit_ids[unit] for unit in columns.unit] == ["vol", "firm"]
    assert columns.is_volunteer_group.tolist() == [False, True]
    assert [EMPLOYMENTS[one] for one in columns.employment] == [Employment.FULL_TIME, Employment.VOLUNTEER]


def test_lists_are_in_the_order_that_counts(town: People) -> None:
    columns = town.columns
    assert columns.scope_codes == ("area", "s")
    assert (columns.scope_start.tolist(), columns.scope_post.tolist()) == ([0, 2, 3], [0, 1, 0])
    assert (columns.deputy_start.tolist(), columns.deputy_post.tolist()) == ([0, 2, 2], [NOBODY, 1])
    assert columns.deputy_person.tolist() == [1, NOBODY]
    assert (columns.held_start.tolist(), columns.held_post.tolist()) == ([0, 2, 2], [0, 1])


def test_rights_qualifications_and_quiet_hours_are_numbers(town: People) -> None:
    columns = town.columns
    assert columns.authority(["order.bike", "fire.heat"])[ROLES.index(Role.SHOP_CHIEF)].tolist() == [2, 0]
    assert columns.authority(["fire.heat"])[ROLES.index(Role.AUDITOR)].tolist() == [NOBODY]
    assert (columns.qualification_names, columns.qualification_bits.tolist()) == (("aid", "gas"), [3, 2])
    assert [columns.required(names) for names in ((), ("gas",), ("aid", "gas"), ("moon",))] == [0, 2, 3, None]
    assert (columns.quiet_from_min.tolist(), columns.quiet_until_min.tolist()) == ([1350, NO_QUIET], [420, NO_QUIET])
    assert columns.contract_from_ms.max() < 0 < 1 << 60 < columns.contract_until_ms.min()


def test_the_offset_of_local_time_is_given_from_each_change_on(town: People) -> None:
    at_ms = int(dt.datetime(2026, 10, 24, tzinfo=zoneinfo.ZoneInfo("UTC")).timestamp() * 1000)
    since, minutes = town.columns.utc_offsets(at_ms, at_ms + 3 * DAY_MS)
    assert (since - at_ms).tolist() == [0, DAY_MS + 3_600_000]
    assert minutes.tolist() == [120, 60]
    assert minutes.dtype == np.int16
