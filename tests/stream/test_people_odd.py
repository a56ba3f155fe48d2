"""Odd rosters: whatever the people are, an incident is led by somebody, and the order says why."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

from models.calendar import Weekday
from models.messages import Load, Priority
from models.people import Authority, May, Role, Unit, UnitKind
from models.people.duty import Swap, WeeklyShift
from stream.rank import Match, Question, match
from tests.stream import builders as b
from tests.stream.builders import AUTHORITY, POSTS, T0, at

SUNDAY = dt.datetime(2026, 11, 29, 3, 30, tzinfo=ZoneInfo("Asia/Shanghai"))
HELD = [(post.id, f"p-{post.id}") for post in POSTS]


def ask(people: Any, *, at_ms: int = T0, key: str = "fire.flame.confirmed", x_m: float = 20.0) -> Match:
    category = b.CATALOGUE.category_by_key[key]
    world = b.world(people=people)
    return match(Question(at(x_m, 20), 5.0, category, Priority.P1, at_ms), world)


def asked(found: Match, step: int = 0) -> list[str]:
    return [one.person for row in found.steps if row.step == step and not row.seat for one in row.candidates]


def shift(post: str, person: str, start: int, end: int) -> WeeklyShift:
    return WeeklyShift(post=post, person=person, days=tuple(Weekday), start=dt.time(start), end=dt.time(end))


def roster(*shifts: WeeklyShift, **fields: Any) -> Any:
    """Give the usual people, with other shifts for the posts that `shifts` names."""
    named = {one.post for one in shifts}
    usual = tuple(b.always(post, person) for post, person in HELD if post not in named)
    held = [*HELD, *((one.post, one.person) for one in shifts)]
    return b.people(shifts=held, weekly_shifts=(*usual, *shifts), **fields)


def test_in_a_gap_at_three_on_sunday_the_chief_above_leads_at_once() -> None:
    people = roster(shift("grid-1", "p-grid-1", 4, 3))
    found = ask(people, at_ms=int(SUNDAY.timestamp() * 1000))
    assert (found.lead_post, "NOBODY" in found.reasons, asked(found)) == ("lane", True, [])
    lane = next(step for step in found.steps if step.step == 1)
    assert (lane.offset_ms, lane.reasons) == (0, ("NO_POST",))
    hour_later = ask(people, at_ms=int(SUNDAY.timestamp() * 1000) + 3_600_000)
    assert hour_later.lead_post == "grid-1"


def test_overlapping_shifts_of_one_person_are_one_candidate_until_the_end_of_the_last() -> None:
    people = roster(shift("grid-1", "p-grid-1", 8, 18), shift("grid-1", "p-grid-1", 12, 20))
    found = ask(people, at_ms=int(SUNDAY.replace(hour=13).timestamp() * 1000))
    (candidate,) = found.steps[0].candidates
    local = dt.datetime.fromtimestamp(candidate.duty_until_ms / 1000, ZoneInfo("Asia/Shanghai"))
    assert (candidate.person, local.hour) == ("p-grid-1", 20)


def test_at_the_change_of_shifts_the_alert_goes_to_who_comes() -> None:
    people = roster(
        shift("grid-1", "p-early", 0, 8), shift("grid-1", "p-late", 8, 16), shift("grid-1", "p-night", 16, 0)
    )
    change_ms = int(SUNDAY.replace(hour=8, minute=0).timestamp() * 1000)
    assert [asked(ask(people, at_ms=at_ms)) for at_ms in (change_ms - 1, change_ms)] == [["p-early"], ["p-late"]]


def test_an_officer_of_two_sub_districts_gets_the_alerts_of_both() -> None:
    people = roster(shift("grid-1", "p-both", 0, 0), shift("grid-2", "p-both", 0, 0))
    assert [asked(ask(people, x_m=x_m)) for x_m in (20, 180)] == [["p-both"], ["p-both"]]


def test_a_category_that_nobody_may_handle_goes_to_the_last_resort() -> None:
    nobody = tuple(Authority(role=row.role, category="noise.*", may=May.REPORT) for row in AUTHORITY)
    found = ask(roster(authority=(*AUTHORITY, *nobody)), key="noise.trade")
    assert ("LAST_RESORT" in found.reasons, found.lead_post) == (True, "office")
    assert found.steps
    assert ask(roster(authority=(*AUTHORITY, *nobody))).lead_post == "grid-1", "other categories go their way"


def test_who_took_over_a_shift_is_asked_in_the_others_stead() -> None:
    start, end = dt.datetime(2026, 5, 28), dt.datetime(2026, 5, 31)  # noqa: DTZ001  # the roster's own time
    swap = Swap(post="grid-1", person="p-grid-1", substitute="p-seat", start=start, end=end)
    assert asked(ask(roster(swaps=(swap,)))) == ["p-seat"]


def test_the_cases_of_a_shift_fall_evenly_on_the_officers_of_a_post() -> None:
    officers = ("p-1", "p-2", "p-3")
    usual = [(post, person) for post, person in HELD if post != "grid-1"]
    world = b.world(people=b.people(shifts=[*usual, *(("grid-1", one) for one in officers)]))
    category = b.CATALOGUE.category_by_key["order.vendor"]
    taken: Counter[str] = Counter()
    for minute in range(30):
        at_ms = T0 + 60_000 * minute
        loads = {one: Load(v=1, person=one, open={Priority.P3: taken[one]}, at_ms=at_ms) for one in officers}
        found = match(Question(at(20, 20), 5.0, category, Priority.P3, at_ms, loads=loads), world)
        taken[asked(found)[0]] += 1
    assert taken == dict.fromkeys(officers, 10)


def test_a_partner_is_told_beside_the_lead_and_never_in_his_stead() -> None:
    names: dict[str, Any] = {"name": "名", "name_en": "Name"}
    units = (
        Unit(id="unit-1", kind=UnitKind.DEPARTMENT, **names),
        Unit(id="friends", kind=UnitKind.PROPERTY_COMPANY, scope=("c1",), categories=("fire.*",), **names),
        Unit(id="helpers", kind=UnitKind.VOLUNTEER_GROUP, scope=("c1",), **names),
    )
    found = ask(roster(units=units))
    assert (found.lead_unit, found.co_units) == ("emergency", (("friends", "informed"),))
    assert ask(roster(units=units), x_m=180).co_units == ()


def test_a_post_without_anybody_above_it_still_ends_at_an_office() -> None:
    posts = tuple(b.post("grid-1", Role.GRID_OFFICER, 4, "c1") if post.id == "grid-1" else post for post in POSTS)
    found = ask(b.people(posts))
    assert [step.step for step in found.steps if not step.seat] == [0, 4, 5]
