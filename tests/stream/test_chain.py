"""The compiled chain against its plain twin, in towns where all that may differ does; and what always holds."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections import Counter
from functools import cache

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.catalogue import Category
from models.city import generate
from models.messages import VERSION, Load, Priority
from models.people import Contract, Employment, People, QuietHours, Role, Status
from stream import layout
from stream.days import PRIORITIES
from stream.matcher import cases_of
from stream.rank import Question, match, match_many
from stream.world import World
from tests.stream import builders as b
from tests.stream.builders import T0
from tests.stream.reference_chain import Twin
from tests.stream.test_kernels import EXAMPLES

TOWNS = 6
DAY_MS = 86_400_000
SKILLS = ("gas", "climbing")


def _muddled(people: People, seed: int) -> People:
    """Give the people with volunteers, contracts that end, skills, quiet hours, absences and deputies of all sorts."""
    rng = random.Random(seed)
    night = QuietHours(start=dt.time(21), end=dt.time(6, 30))
    ended = Contract(first_day=dt.date(2026, 1, 1), last_day=dt.date(2026, 6, rng.randint(1, 10)))
    persons = tuple(
        msgspec.structs.replace(
            person,
            employment=rng.choice([person.employment, person.employment, Employment.VOLUNTEER]),
            qualifications=tuple(skill for skill in SKILLS if rng.random() < 0.5),
            quiet_hours=rng.choice([None, night, QuietHours(start=dt.time(12), end=dt.time(14))]),
            max_open=rng.randint(1, 4),
            status=rng.choice([Status.ACTIVE] * 9 + [Status.SUSPENDED]),
        )
        for person in people.persons
    )
    names = [person.id for person in persons] + [post.id for post in people.posts]
    posts = tuple(
        msgspec.structs.replace(post, deputies=tuple(rng.sample(names, rng.randint(0, 3))))
        if rng.random() < 0.6
        else post
        for post in people.posts
    )
    units = tuple(
        msgspec.structs.replace(
            unit, contract=rng.choice([None, None, ended]) if unit.contract is None else unit.contract
        )
        for unit in people.units
    )
    shifts = tuple(shift for shift in people.weekly_shifts if rng.random() < 0.8)
    authority = tuple(row for row in people.authority if rng.random() < 0.85)
    return msgspec.structs.replace(
        people, persons=persons, posts=posts, units=units, weekly_shifts=shifts, authority=authority
    )


@cache
def town(seed: int) -> World:
    """Give a small town; that of seed 0 is as it was generated."""
    city = generate(12, seed)
    categories = tuple(
        msgspec.structs.replace(category, qualifications=SKILLS[: n % 3] if seed else ())
        for n, category in enumerate(b.CATALOGUE.categories)
    )
    people = _muddled(city.people, seed) if seed else city.people
    return World("town", city.places, people, msgspec.structs.replace(b.CATALOGUE, categories=categories))


@st.composite
def questions(draw: st.DrawFn) -> tuple[Question, int]:
    seed = draw(st.integers(0, TOWNS - 1))
    world = town(seed)
    category: Category = draw(st.sampled_from(world.catalogue.categories))
    persons = [person.id for person in world.people.persons]
    at_ms = T0 + draw(st.integers(0, 8 * DAY_MS))
    centre = world.places.devices[0].point
    loads = draw(
        st.dictionaries(st.sampled_from(persons), st.tuples(st.integers(0, 6), st.integers(0, 600_000)), max_size=40)
    )
    question = Question(
        point=(centre[0] + draw(st.integers(-60_000, 60_000)), centre[1] + draw(st.integers(-60_000, 60_000))),
        radius_m=draw(st.sampled_from([1.0, 15.0, 120.0, 400.0])),
        category=category,
        priority=draw(st.sampled_from(list(Priority))),
        at_ms=at_ms,
        reporters=frozenset(
            draw(st.lists(st.sampled_from([*persons, *(p.id for p in world.people.posts)]), max_size=4))
        ),
        loads={
            person: Load(v=VERSION, person=person, open={Priority.P3: n}, at_ms=at_ms - age_ms)
            for person, (n, age_ms) in loads.items()
        },
        since_ms=draw(st.sampled_from([None, at_ms, at_ms - 5 * 60_000, at_ms - DAY_MS])),
        is_late=draw(st.integers(0, 9)) == 0,
    )
    return question, seed


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(questions())
def test_the_compiled_chain_is_the_twins(asked: tuple[Question, int]) -> None:
    question, world = asked[0], town(asked[1])
    found, twin = match(question, world), Twin(question, world).chain()
    assert found.lead_post == twin.lead_post
    assert set(found.reasons) - {"PARTNER"} == twin.reasons
    for step, expected in zip(found.steps, twin.steps, strict=True):
        ordered = tuple(msgspec.structs.replace(c, reasons=tuple(sorted(c.reasons))) for c in step.candidates)
        wanted = tuple(msgspec.structs.replace(c, reasons=tuple(sorted(c.reasons))) for c in expected.candidates)
        assert msgspec.structs.replace(step, candidates=ordered) == msgspec.structs.replace(expected, candidates=wanted)
    assert [(c.person, c.post, sorted(c.reasons)) for c in found.co_tellings] == [
        (c.person, c.post, sorted(c.reasons)) for c in twin.co_tellings
    ]


@settings(max_examples=EXAMPLES, deadline=None)
@given(questions())
def test_there_is_one_lead_and_a_chain_and_nobody_is_asked_twice(asked: tuple[Question, int]) -> None:
    question, world = asked[0], town(asked[1])
    found = match(question, world)
    assert found.lead_post in world.people.post_by_id
    assert found.lead_unit
    assert found.steps
    assert any(step.candidates for step in found.steps)
    persons = [c.person for step in found.steps for c in step.candidates] + [c.person for c in found.co_tellings]
    assert max(Counter(persons).values()) == 1, "whoever has declined is not asked again, in this step or another"
    for step in found.steps:
        for candidate in step.candidates:
            since_ms = question.at_ms if question.since_ms is None else question.since_ms
            due_ms = max(question.at_ms, since_ms + step.offset_ms)
            is_second = step.step == 0 and step.offset_ms > 0  # deputies wait; their duty is that of the chiefs' moment
            assert candidate.duty_from_ms <= due_ms < candidate.duty_until_ms or is_second
    assert match(question, world) == found


@settings(max_examples=10, deadline=None)
@given(st.lists(questions(), min_size=1, max_size=40))
def test_a_batch_says_what_single_questions_say(asked: list[tuple[Question, int]]) -> None:
    world = town(1)
    rows = [
        (*question.point, world.matcher.category_index[question.category.key], PRIORITIES.index(question.priority),
         question.at_ms, round(question.radius_m * 1000))
        for question, _ in asked
    ]  # fmt: skip
    lon, lat, *columns = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    many = world.matcher.match(lon, lat, cases_of(*columns))
    step, candidate = 0, 0
    for i in range(len(rows)):
        one = world.matcher.match(lon[i : i + 1], lat[i : i + 1], cases_of(*(column[i : i + 1] for column in columns)))
        n_steps = int(one.chains.heads[0, layout.STEPS_END])
        n_candidates = int(one.chains.steps[n_steps - 1, layout.CANDIDATES_END])
        assert many.chains.heads[i].tolist()[:2] == one.chains.heads[0].tolist()[:2]
        assert many.chains.heads[i, layout.STEPS_END] == step + n_steps
        assert np.array_equal(many.chains.steps[step : step + n_steps, :4], one.chains.steps[:n_steps, :4])
        assert np.array_equal(
            many.chains.candidates[candidate : candidate + n_candidates], one.chains.candidates[:n_candidates]
        )
        step, candidate = step + n_steps, candidate + n_candidates


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(questions(), max_size=12))
def test_questions_of_one_time_are_answered_together_as_each_by_itself(asked: list[tuple[Question, int]]) -> None:
    world = town(1)
    together = [
        dataclasses.replace(question, at_ms=asked[0][0].at_ms, loads=asked[0][0].loads) for question, _ in asked
    ]
    assert match_many(together, world) == [match(question, world) for question in together]


def test_a_seat_with_more_operators_than_expected_is_told_whole() -> None:
    posts = [post for post in b.POSTS if post.role is not Role.SEAT_OPERATOR]
    seats = [b.post(f"seat-{i:04}", Role.SEAT_OPERATOR, 0, "area", "district") for i in range(900)]
    world = b.world(people=b.people([*posts, *seats]))
    found = match(Question(b.at(20, 20), 15.0, b.CATALOGUE.categories[0], Priority.P1, T0), world)
    assert len(next(step for step in found.steps if step.seat).candidates) == 900


def test_duty_is_kept_for_some_days_and_made_again_after_many() -> None:
    world = b.world()
    category = b.CATALOGUE.categories[0]
    first = match(Question(b.at(20, 20), 15.0, category, Priority.P1, T0), world)
    for day in range(80):
        match(Question(b.at(20, 20), 15.0, category, Priority.P1, T0 + day * DAY_MS), world)
    assert match(Question(b.at(20, 20), 15.0, category, Priority.P1, T0), world) == first


def test_a_row_of_eight_numbers_never_lies_in_two_lines_of_the_cache() -> None:
    world = town(0)
    world.warm(T0)
    tables = world.matcher.roll.tables
    for rows in (tables.posts, tables.duties, *(layout.rows_of(n, 8) for n in (1, 7, 1_000))):
        assert rows.shape[1] == 8
        assert rows.flags.c_contiguous
        assert rows.ctypes.data % 64 == 0
