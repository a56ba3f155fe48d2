from __future__ import annotations

import datetime as dt
import zoneinfo
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import catalogue, people
from models.city import generate
from models.errors import ConfigError, Problem
from models.people import May, People, Role
from models.people.check import cross_problems
from models.people.duty import DAY_MS, DutyPlan, Weekday, WeeklyShift

TOWN = """
time_zone = "Europe/Berlin"
persons = [
  { id = "anna", display_name = "安娜", name_en = "Anna", quiet_hours = { start = 22:00:00, end = 07:00:00 } },
  { id = "ben", display_name = "本", name_en = "Ben" },
  { id = "eve", display_name = "伊娃", name_en = "Eve", status = "suspended" },
  { id = "boss", display_name = "主任", name_en = "Boss" },
]
weekly_shifts = [
  { post = "grid", person = "anna", days = ["mon", "tue", "wed", "thu", "fri"], start = 08:00:00, end = 20:00:00 },
  { post = "grid", person = "ben", days = ["sun"], start = 20:00:00, end = 08:00:00 },
  { post = "lane", person = "ben", days = ["mon", "tue"], start = 00:00:00, end = 00:00:00 },
  { post = "lane", person = "eve", days = ["mon"], start = 00:00:00, end = 00:00:00 },
  { post = "office", person = "boss", days = ["mon", "tue", "wed", "thu"], start = 00:00:00, end = 00:00:00 },
  { post = "office", person = "boss", days = ["fri", "sat", "sun"], start = 00:00:00, end = 00:00:00 },
]
dated_shifts = [
  { post = "grid", person = "ben", start = 2026-11-28T10:00:00, end = 2026-11-29T10:00:00 },
]
authority = [
  { role = "grid_officer", category = "*", may = "report" },
  { role = "grid_officer", category = "fire.*", may = "assist" },
  { role = "grid_officer", category = "fire.smoke.single", may = "settle" },
]

[[units]]
id = "center"
kind = "office"
name = "中心"
name_en = "Center"

[[units]]
id = "firm"
kind = "contractor"
name = "公司"
name_en = "Firm"
contract = { first_day = 2026-01-01, last_day = 2026-06-30 }

[[posts]]
id = "office"
role = "street_office"
level = 0
scope = ["500199001"]
unit = "center"
name = "办公室"
name_en = "Office"

[[posts]]
id = "lane"
role = "lane_chief"
level = 3
scope = ["LN"]
unit = "center"
name = "巷长"
name_en = "Lane chief"
supervisor = "office"
deputies = ["grid", "ben"]

[[posts]]
id = "grid"
role = "grid_officer"
level = 4
scope = ["A", "B"]
unit = "center"
name = "网格员"
name_en = "Grid officer"
supervisor = "lane"
deputies = ["boss"]
"""
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def load(tmp_path: Path, text: str) -> People:
    path = tmp_path / "people.toml"
    path.write_text(text, encoding="utf-8")
    return people.load(path)


@pytest.fixture
def town(tmp_path: Path) -> People:
    return load(tmp_path, TOWN)


def at_ms(text: str, zone: zoneinfo.ZoneInfo = BERLIN) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def names(town: People, post: str, text: str) -> list[str]:
    return [person.id for person in town.on_duty(post, at_ms(text))]


def test_shifts_are_half_open_and_cross_the_week(town: People) -> None:
    assert names(town, "grid", "2026-11-23T07:59:59") == ["ben"]  # Sunday night's shift, on Monday morning
    assert names(town, "grid", "2026-11-23T08:00:00") == ["anna"]
    assert names(town, "grid", "2026-11-23T19:59:59") == ["anna"]
    assert names(town, "grid", "2026-11-23T20:00:00") == []
    assert names(town, "grid", "2026-11-22T20:00:00") == ["ben"]
    assert names(town, "grid", "2026-11-28T10:00:00") == ["ben"]  # a dated shift, on a Saturday
    assert names(town, "grid", "2026-11-29T10:00:00") == []


def test_a_duty_says_from_when_to_when_it_goes_on(town: People) -> None:
    (duty,) = town.duties("lane", at_ms("2026-11-23T12:00:00"))
    assert (duty.person, duty.from_ms, duty.until_ms) == (
        "ben",
        at_ms("2026-11-23T00:00:00"),
        at_ms("2026-11-25T00:00:00"),
    )
    (endless,) = town.duties("office", at_ms("2026-11-23T12:00:00"))
    assert endless.until_ms - at_ms("2026-11-23T12:00:00") >= 8 * DAY_MS


def test_who_is_suspended_is_never_on_duty(town: People) -> None:
    assert "eve" not in names(town, "lane", "2026-11-23T12:00:00")


def test_deputies_come_in_their_order_and_only_while_on_duty(town: People) -> None:
    deputies = [duty.person for duty in town.deputy_duties("lane", at_ms("2026-11-23T12:00:00"))]
    assert deputies == ["anna", "ben"]  # the grid post's holder, then Ben, who holds the lane that day
    assert [duty.person for duty in town.deputy_duties("lane", at_ms("2026-11-25T12:00:00"))] == ["anna"]
    assert [post.id for post in town.deputyships_of["ben"]] == ["lane"]


def test_the_chain_can_be_walked_both_ways(town: People) -> None:
    assert [post.id for post in town.parents("grid")] == ["lane", "office"]
    assert [post.id for post in town.children["lane"]] == ["grid"]
    assert [post.id for post in town.posts_by_scope["B"]] == ["grid"]
    assert [post.id for post in town.posts_by_role[Role.LANE_CHIEF]] == ["lane"]
    assert [post.id for post in town.posts_of["ben"]] == ["grid", "lane"]


def test_the_most_specific_authority_wins(town: People) -> None:
    wanted = {"order.bike": May.REPORT, "fire.flame.single": May.ASSIST, "fire.smoke.single": May.SETTLE}
    assert {key: town.may(Role.GRID_OFFICER, key) for key in wanted} == wanted
    assert town.may(Role.LANE_CHIEF, "fire.heat") is None
    assert [may.rank for may in May] == [0, 1, 2]


def test_quiet_hours_run_over_midnight(town: People) -> None:
    quiet = [town.is_quiet("anna", at_ms(f"2026-11-23T{time}")) for time in ("21:59", "22:00", "06:59", "07:00")]
    assert quiet == [False, True, True, False]
    assert not town.is_quiet("ben", at_ms("2026-11-23T23:00"))


def test_a_contract_ends_with_its_last_day(town: People) -> None:
    assert town.has_contract("firm", at_ms("2026-06-30T23:59:59"))
    assert not town.has_contract("firm", at_ms("2026-07-01T00:00:00"))
    assert town.has_contract("center", at_ms("2030-01-01T00:00:00"))


def test_the_canonical_form_is_read_back_under_its_hash(town: People) -> None:
    again = People.from_bytes(town.to_bytes())
    assert (again, again.version, again.to_bytes()) == (town, town.version, town.to_bytes())
    assert again.on_duty("grid", at_ms("2026-11-23T08:00:00")) == town.on_duty("grid", at_ms("2026-11-23T08:00:00"))


MISTAKES = {
    "an officer without a post": ('person = "anna"', 'person = "ben"', "persons[0]", "officer anna has no post"),
    "a post without a person": ('{ post = "grid"', '{ post = "lane"', "posts[2]", "post grid has no person"),
    "an unknown person": ('person = "anna"', 'person = "ann"', "weekly_shifts[0].person", "no person has the id ann"),
    "an unknown post": (
        '{ post = "office"',
        '{ post = "offices"',
        "weekly_shifts[4].post",
        "no post has the id offices",
    ),
    "an unknown unit": ('unit = "center"\nname = "巷长"', 'unit = "x"\nname = "巷长"', "posts[1].unit", "no unit"),
    "an unknown supervisor": ('supervisor = "lane"', 'supervisor = "x"', "posts[2].supervisor", "no post has the id x"),
    "nobody above": ('supervisor = "lane"\n', "", "posts[2].supervisor", "nobody above"),
    "a supervisor below": ('supervisor = "office"', 'supervisor = "grid"', "posts[1].supervisor", "is not above"),
    "a circle of supervisors": ('supervisor = "office"', 'supervisor = "grid"', "posts[2].supervisor", "comes back"),
    "a circle of deputies": ('deputies = ["boss"]', 'deputies = ["lane"]', "posts[1].deputies", "comes back"),
    "an unknown deputy": ('deputies = ["boss"]', 'deputies = ["x"]', "posts[2].deputies[0]", "no post or person"),
    "a wrong level": ("level = 3", "level = 2", "posts[1].level", "has level 3"),
    "a level that is none": ("level = 3", "level = 5", "posts[1].level", "<= 4"),
    "an unknown role": ('"lane_chief"', '"lane_boss"', "posts[1].role", "lane_boss"),
    "an id with a space": ('id = "ben"', 'id = "b en"', "persons[1].id", "regex"),
    "a reserved id": ('id = "ben"', 'id = "stream"', "persons[1].id", "reserved"),
    "a duplicate id": ('id = "ben"', 'id = "anna"', "persons[1].id", "used twice"),
    "a person's id": ('id = "grid"', 'id = "anna"', "posts[2].id", "also a person's id"),
    "an end before its start": ("end = 2026-11-29", "end = 2026-11-27", "dated_shifts[0].end", "before it starts"),
    "a time that is none": ("start = 20:00:00", "start = 2000", "weekly_shifts[1].start", "time"),
    "no day": ('days = ["sun"]', "days = []", "weekly_shifts[1].days", "length"),
    "an unknown day": ('days = ["sun"]', 'days = ["sunday"]', "weekly_shifts[1].days[0]", "sunday"),
    "an unknown zone": ("Europe/Berlin", "Europe/Bärlin", "time_zone", "unknown time zone"),
    "a contract backwards": ("last_day = 2026", "last_day = 2025", "units[1].contract.last_day", "before it starts"),
    "two rows for one right": ('"fire.*"', '"*"', "authority[1]", "two rows"),
    "a phone number": ('name_en = "Ben"', 'name_en = "Ben", phone = "1"', "persons[1].phone", "unknown key"),
}


def problems(tmp_path: Path, text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert all(problem.file == tmp_path / "people.toml" and problem.remedy for problem in caught.value.problems)
    return list(caught.value.problems)


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_named_with_its_path(tmp_path: Path, name: str) -> None:
    old, new, path, what = MISTAKES[name]
    assert old in TOWN
    found = problems(tmp_path, TOWN.replace(old, new))
    assert any(p.path == path and what in p.what for p in found), found


def test_all_mistakes_are_named_in_one_run(tmp_path: Path) -> None:
    text = TOWN
    for name in ("a wrong level", "an unknown unit", "two rows for one right", "an end before its start"):
        text = text.replace(*MISTAKES[name][:2])
    assert len(problems(tmp_path, text)) == 4


def test_a_missing_level_is_no_mistake(tmp_path: Path) -> None:
    load(tmp_path, TOWN.replace('supervisor = "lane"', 'supervisor = "office"'))  # level 4 straight below 0


def test_what_fits_in_no_one_file_is_named() -> None:
    city, listed = generate(12), catalogue.load()
    places, town = city.places, city.people
    assert cross_problems(town, places, listed) == []
    posts = [
        msgspec.structs.replace(post, id="cam-01" if post.id == "seat-01" else post.id, scope=("nowhere",))
        if post.role is Role.SEAT_OPERATOR
        else msgspec.structs.replace(post, scope=(places.nodes[0].code,))
        if post.id == f"grid-{places.cells[0].code}"
        else post
        for post in town.posts
    ]
    broken = msgspec.structs.replace(
        town,
        posts=tuple(posts),
        units=town.units[1:],
        authority=(msgspec.structs.replace(town.authority[0], category="moon.*"),),
    )
    found = " ".join(str(problem) for problem in cross_problems(broken, places, listed))
    for what in (
        "no place has the code nowhere",
        "is no place for a grid_officer",
        "no unit has the id emergency",
        "no category matches moon.*",
        "cam-01 is also a device's id",
        f"cell {places.cells[0].code} has no grid officer",
    ):
        assert what in found


ZONES = st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
MINUTES = st.integers(0, 1439)


def clock(minutes: int) -> dt.time:
    return dt.time(minutes // 60, minutes % 60)


@settings(max_examples=60, deadline=None)
@given(ZONES, st.lists(MINUTES, min_size=1, max_size=4, unique=True).map(sorted), st.integers(0, 364), st.data())
def test_a_roster_without_gaps_on_paper_has_none_in_the_machine(
    zone: str, changes: list[int], day: int, data: st.DataObject
) -> None:
    """Shifts that touch around the clock cover each moment exactly once, on the nights the clocks change too."""
    pairs = list(zip(changes, [*changes[1:], changes[0]], strict=True))
    shifts = [
        WeeklyShift(post="p", person=f"p{i}", days=tuple(Weekday), start=clock(a), end=clock(b))
        for i, (a, b) in enumerate(pairs)
    ]
    plan = DutyPlan(zoneinfo.ZoneInfo(zone), shifts, [])
    start_ms = at_ms("2026-01-01T00:00:00", zoneinfo.ZoneInfo("UTC")) + day * DAY_MS
    assert list(plan.gaps("p", start_ms, start_ms + 9 * DAY_MS)) == []
    moment = start_ms + data.draw(st.integers(0, DAY_MS - 1))
    assert len(plan.at("p", moment)) == 1


@settings(max_examples=60, deadline=None)
@given(ZONES, st.sets(st.sampled_from(Weekday), min_size=1), MINUTES, MINUTES, st.integers(0, 364 * DAY_MS))
def test_duty_agrees_with_the_clock_on_the_wall(
    zone: str, days: set[Weekday], start: int, end: int, offset_ms: int
) -> None:
    """The oracle reads the wall clock and never converts a shift; it is silent within an hour of a change."""
    tz = zoneinfo.ZoneInfo(zone)
    shift = WeeklyShift(post="p", person="a", days=tuple(days), start=clock(start), end=clock(end))
    moment = at_ms("2026-01-01T00:00:00", zoneinfo.ZoneInfo("UTC")) + offset_ms
    local = dt.datetime.fromtimestamp(moment / 1000, tz)
    if any(local.utcoffset() != (local + dt.timedelta(days=d)).astimezone(tz).utcoffset() for d in (-2, -1, 1, 2)):
        return
    today, before = list(Weekday)[local.weekday()], list(Weekday)[local.weekday() - 1]
    now = local.time()
    if start < end:
        want = today in days and shift.start <= now < shift.end
    else:
        want = (today in days and now >= shift.start) or (before in days and now < shift.end)
    assert bool(DutyPlan(tz, [shift], []).at("p", moment)) is want


@pytest.mark.parametrize(("date", "hours"), [("2026-03-28", 11), ("2026-10-24", 13), ("2026-11-21", 12)])
def test_the_night_the_clocks_change_is_an_hour_shorter_or_longer(date: str, hours: int) -> None:
    shift = WeeklyShift(post="p", person="a", days=tuple(Weekday), start=dt.time(20), end=dt.time(8))
    start_ms = at_ms(f"{date}T12:00:00")
    spans = DutyPlan(BERLIN, [shift], []).spans("p", start_ms, start_ms + DAY_MS)
    assert [(span.until_ms - span.from_ms) / 3_600_000 for span in spans] == [hours]
