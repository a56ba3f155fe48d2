from __future__ import annotations

import datetime as dt
import hashlib
import zoneinfo
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import catalogue, people
from models.calendar import Weekday
from models.catalogue import Lead
from models.city import generate
from models.errors import ConfigError, Problem
from models.messages import Priority
from models.people import DutyDomain, May, People, Person, Post, Profile, QuietHours, Role
from models.people.duty import DAY_MS, DutyPlan, Rota, WeeklyShift
from models.people.fit import cells_without_duty, cross_problems
from models.places import CellType

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
duties = ["sanitation", "order", "facilities", "landscape", "safety"]

[[posts]]
id = "lane"
role = "lane_chief"
level = 3
scope = ["LN"]
unit = "center"
name = "巷长"
name_en = "Lane chief"
duties = ["sanitation", "order"]
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
duties = ["order", "safety"]
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


SWAP = """
[[swaps]]
post = "grid"
person = "anna"
substitute = "boss"
start = 2026-11-23T10:00:00
end = 2026-11-23T12:00:00
"""


def test_a_swap_hands_over_exactly_what_the_other_had(tmp_path: Path) -> None:
    town = load(tmp_path, TOWN + SWAP)
    hours = [names(town, "grid", f"2026-11-23T{hour:02}:00:00") for hour in (9, 10, 11, 12, 20)]
    assert hours == [["anna"], ["boss"], ["boss"], ["anna"], []]
    assert [post.id for post in town.posts_of["boss"]] == ["grid", "office"]
    over_the_end = SWAP.replace("T10", "T19").replace("T12", "T23")
    town = load(tmp_path, TOWN + over_the_end)
    assert (names(town, "grid", "2026-11-23T19:30:00"), names(town, "grid", "2026-11-23T20:00:00")) == (["boss"], [])


def test_what_was_taken_over_can_be_handed_on(tmp_path: Path) -> None:
    on = SWAP.replace('"anna"', '"ben"').replace('"boss"', '"anna"')
    back = SWAP.replace('"anna"', '"boss"').replace('substitute = "boss"', 'substitute = "ben"').replace("T12", "T11")
    town = load(tmp_path, TOWN + SWAP + back)
    assert [names(town, "grid", f"2026-11-23T{hour}:30:00") for hour in (10, 11)] == [["ben"], ["boss"]]
    assert "is not on duty" in " ".join(problem.what for problem in problems(tmp_path, TOWN + on))


def test_overlapping_shifts_of_a_person_are_one_duty(tmp_path: Path) -> None:
    more = '\n[[weekly_shifts]]\npost = "grid"\nperson = "anna"\ndays = ["mon"]\nstart = 07:00:00\nend = 09:00:00\n'
    text = TOWN.replace("weekly_shifts = [", "weekly_shifts = [\n" + _inline(more) + ",")
    (duty,) = load(tmp_path, text).duties("grid", at_ms("2026-11-23T08:30:00"))
    assert (duty.from_ms, duty.until_ms) == (at_ms("2026-11-23T07:00:00"), at_ms("2026-11-23T20:00:00"))


def _inline(table: str) -> str:
    return "{ " + ", ".join(table.strip().splitlines()[1:]) + " }"


@pytest.mark.parametrize(
    ("old", "field"), [('id = "anna",', "persons"), ('id = "grid"\n', "posts")], ids=["a person", "a post"]
)
def test_nobody_is_on_duty_outside_his_term_or_that_of_his_post(tmp_path: Path, old: str, field: str) -> None:
    end = ", " if field == "persons" else "\n"
    days = f"first_day = 2026-11-24{end}last_day = 2026-11-25{end}"
    town = load(tmp_path, TOWN.replace(old, old + days))
    on_duty = [names(town, "grid", f"2026-11-{day}T10:00:00") for day in (23, 24, 25, 26)]
    assert on_duty == [[], ["anna"], ["anna"], []]


def test_chiefs_of_a_node_stand_outside_the_chain_unless_it_is_switched(tmp_path: Path) -> None:
    text = TOWN.replace('"grid_officer"\nlevel', '"shop_chief"\nlevel')
    for switch, edge, below in (("", "collaborates", ["lane"]), ("node_chiefs_in_chain = true", "supervises", None)):
        town = load(tmp_path, f"{switch}\n{text}")
        assert town.edge_of(town.post_by_id["grid"]) == edge
        assert [post.id for post in town.subtree("office")] == (below or ["lane", "grid"])
        assert [post.id for post in town.parents("grid")] == ["lane", "office"], "alerts go up either way"
    town = load(tmp_path, text.replace('supervisor = "lane"', 'supervisor = "lane"\nedge = "supervises"'))
    assert [post.id for post in town.subtree("lane")] == ["grid"]


def test_a_partner_is_told_in_its_area_for_its_categories_while_its_contract_runs(tmp_path: Path) -> None:
    partner = 'kind = "contractor"\nscope = ["A", "500199001"]\ncategories = ["order.*", "gas.leak"]\n'
    group = '\n[[units]]\nid = "friends"\nkind = "volunteer_group"\nname = "友"\nname_en = "F"\nscope = ["A"]\n'
    town = load(tmp_path, TOWN.replace('kind = "contractor"\n', partner) + group)
    spring, autumn = at_ms("2026-03-01T00:00"), at_ms("2026-11-01T00:00")
    asked = [
        (["A"], "order.bike", Priority.P3, spring),
        (["B", "500199001"], "gas.leak", Priority.P1, spring),
        (["A"], "fire.heat", Priority.P2, spring),
        (["A"], "order.bike", Priority.P4, autumn),
        (["C"], "order.bike", Priority.P4, spring),
    ]
    assert [town.partners(*one) for one in asked] == [("firm", "friends"), ("firm",), (), ("friends",), ()]


def test_an_officer_may_serve_two_sub_districts_and_a_post_several_areas(town: People) -> None:
    assert [post.id for post in town.posts_of["ben"]] == ["grid", "lane"]
    assert {code for post in town.posts_of["ben"] for code in post.scope} == {"A", "B", "LN"}


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


@pytest.mark.parametrize(
    ("when", "start", "end"),
    [
        ("2026-11-23T21:59", "2026-11-23T22:00", "2026-11-24T07:00"),
        ("2026-11-24T06:59", "2026-11-23T22:00", "2026-11-24T07:00"),
        ("2026-11-24T07:00", "2026-11-24T22:00", "2026-11-25T07:00"),
        ("2026-10-25T02:30", "2026-10-24T22:00", "2026-10-25T07:00"),  # the clocks go back: ten hours
    ],
)
def test_quiet_hours_that_run_or_come_next_are_given_as_moments(town: People, when: str, start: str, end: str) -> None:
    assert town.quiet_span("anna", at_ms(when)) == (at_ms(start), at_ms(end))
    assert town.quiet_span("ben", at_ms(when)) is None


@given(st.integers(at_ms("2026-03-20T00:00"), at_ms("2026-11-05T00:00")), st.times(), st.times())
def test_it_is_quiet_exactly_within_those_moments(when_ms: int, start: dt.time, end: dt.time) -> None:
    start, end = start.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0)
    anna = Person(id="a", display_name="A", name_en="A", quiet_hours=QuietHours(start=start, end=end))
    people = People(time_zone="Asia/Shanghai", persons=(anna,))
    from_ms, until_ms = people.quiet_span("a", when_ms) or (0, 0)
    assert people.is_quiet("a", when_ms) is (from_ms <= when_ms < until_ms)
    assert when_ms < until_ms


def test_a_contract_ends_with_its_last_day(town: People) -> None:
    assert town.has_contract("firm", at_ms("2026-06-30T23:59:59"))
    assert not town.has_contract("firm", at_ms("2026-07-01T00:00:00"))
    assert town.has_contract("center", at_ms("2030-01-01T00:00:00"))


def test_the_canonical_form_is_read_back_under_its_hash(town: People) -> None:
    again = People.from_bytes(town.to_bytes())
    assert (again, again.version, again.to_bytes()) == (town, town.version, town.to_bytes())
    assert again.on_duty("grid", at_ms("2026-11-23T08:00:00")) == town.on_duty("grid", at_ms("2026-11-23T08:00:00"))


BACKWARDS = "first_day = 2026-02-02, last_day = 2026-02-01"
ELSEWHERE = 'appointed_from = "shop_heads"'
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
    "no duties": ('["order", "safety"]', "[]", "posts[2].duties", "post grid has no duties"),
    "duties left out": ('duties = ["order", "safety"]\n', "", "posts[2].duties", "post grid has no duties"),
    "a duty twice": ('["order", "safety"]', '["order", "order"]', "posts[2].duties", "has a duty twice"),
    "an unknown duty": ('["order", "safety"]', '["gardening"]', "posts[2].duties[0]", "gardening"),
    "a term backwards": (
        'id = "ben",',
        'id = "ben", first_day = 2026-02-02, last_day = 2026-02-01,',
        "persons[1].last_day",
        "before it starts",
    ),
    "a chief appointed from elsewhere": (
        "level = 3",
        'level = 3\nappointed_from = "shop_heads"',
        "posts[1].appointed_from",
        "is not appointed",
    ),
    "a seat that the team has not": ("level = 3", 'level = 3\nseat = "police"', "posts[1].seat", "no seat 'police'"),
    "a blank name": ('name = "巷长"', 'name = "  "', "posts[1].name", "regex"),
    "a phone number": ('name_en = "Ben"', 'name_en = "Ben", phone = "1"', "persons[1].phone", "unknown key"),
}


SWAP_MISTAKES = {
    "an unknown post": ('post = "grid"', 'post = "grids"', "swaps[0].post", "no such id: grids"),
    "an unknown person": ('person = "anna"', 'person = "ann"', "swaps[0].person", "no such id: ann"),
    "an unknown substitute": ('"boss"', '"bos"', "swaps[0].substitute", "no such id: bos"),
    "oneself": ('"boss"', '"anna"', "swaps[0].substitute", "with himself"),
    "an end before its start": ("T12", "T09", "swaps[0].end", "before it starts"),
    "a time off duty": ("11-23", "11-22", "swaps[0]", "is not on duty at grid"),
}


@pytest.mark.parametrize("name", SWAP_MISTAKES)
def test_each_mistake_of_a_swap_is_named_with_its_path(tmp_path: Path, name: str) -> None:
    old, new, path, what = SWAP_MISTAKES[name]
    assert old in SWAP
    found = problems(tmp_path, TOWN + SWAP.replace(old, new))
    assert any(p.path == path and what in p.what for p in found), found


def test_two_swaps_of_one_time_are_refused(tmp_path: Path) -> None:
    other = SWAP.replace("T10", "T11").replace("T12", "T13").replace('"boss"', '"ben"')
    (problem,) = problems(tmp_path, TOWN + SWAP + other)
    assert (problem.path, "has given away" in problem.what) == ("swaps[1]", True)


def test_more_qualifications_than_can_be_told_apart_are_refused(tmp_path: Path) -> None:
    many = ", ".join(f'"q{n}"' for n in range(65))
    (problem,) = problems(tmp_path, TOWN.replace('id = "ben",', f'id = "ben", qualifications = [{many}],'))
    assert "65 different qualifications" in problem.what


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


def test_a_post_without_duties_is_told_exactly_what_to_add(tmp_path: Path) -> None:
    line = 'duties = ["order", "safety"]'
    (problem,) = problems(tmp_path, TOWN.replace(line + "\n", ""))
    assert line in problem.remedy
    assert "one at least of sanitation, order, facilities, landscape, safety" in problem.remedy


def test_what_an_earlier_release_has_put_into_a_log_has_no_duties_and_keeps_its_hash(town: People) -> None:
    before = msgspec.json.decode(town.to_bytes())
    for post in before["posts"]:
        del post["duties"]
    raw = msgspec.json.encode(before)
    read = People.from_bytes(raw)
    assert read.version == hashlib.sha256(raw).hexdigest() != town.version
    assert {post.duties for post in read.posts} == {()}
    assert all(post.looks_after(duty) for post in read.posts for duty in DutyDomain), "nobody is said not to"
    assert [duty for duty in DutyDomain if town.post_by_id["grid"].looks_after(duty)] == ["order", "safety"]


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
        units=tuple(unit for unit in town.units if unit.id != "emergency"),
        authority=(msgspec.structs.replace(town.authority[0], category="moon.*"),),
        team=("police",),
    )
    broken = msgspec.structs.replace(
        broken,
        units=(*broken.units, msgspec.structs.replace(town.units[0], id="p", scope=("mars",), categories=("sun.*",))),
    )
    row = Lead(category="wind.*", area="pluto", unit="nobody", basis="b", source="proposal")
    listed = msgspec.structs.replace(listed, leads=(row,))
    found = " ".join(str(problem) for problem in cross_problems(broken, places, listed))
    for what in (
        "no place has the code nowhere",
        "no place has the code mars",
        "no place has the code pluto",
        "no unit has the id nobody",
        "no category matches sun.*",
        "no category matches wind.*",
        "lacks: police",
        "is no place for a grid_officer",
        "no unit has the id emergency",
        "no category matches moon.*",
        "cam-01 is also a device's id",
        f"cell {places.cells[0].code} has no grid officer",
    ):
        assert what in found


def with_duties(town: People, posts: Callable[[Post], bool], *duties: DutyDomain) -> People:
    changed = (msgspec.structs.replace(post, duties=duties) if posts(post) else post for post in town.posts)
    return msgspec.structs.replace(town, posts=tuple(changed))


def test_a_unit_leads_for_nothing_that_none_of_its_posts_looks_after() -> None:
    city, listed = generate(60, template="hangzhou"), catalogue.load()
    special = next(cell for cell in city.places.cells if cell.type is CellType.EXCLUSIVE)
    row = Lead(category="order.*", area=special.parent, unit="grid_center", basis="b", source="proposal")
    listed = msgspec.structs.replace(listed, leads=(row,))
    assert cross_problems(city.people, city.places, listed) == []
    town = with_duties(city.people, lambda post: post.unit == "culture_tourism", DutyDomain.FACILITIES)
    found = cross_problems(town, city.places, listed, places_file="p")
    assert found[0].file == "p"
    assert str(found[0]) == (
        f"p: cells[{special.code}].lead_unit: culture_tourism leads for fire.flame.confirmed (safety), which is no "
        "duty of any of its posts; add safety to the duties of one of them in people.toml, or let another unit lead"
    )
    assert {problem.path for problem in found} == {f"cells[{special.code}].lead_unit"}
    town = with_duties(city.people, lambda post: post.unit == "grid_center", DutyDomain.SAFETY)
    paths = {problem.path.partition("[")[0] for problem in cross_problems(town, city.places, listed)}
    assert paths == {"categories", "leads"}, "its devices are facilities, and so the matrix is wrong in both tables"


def test_a_cell_that_nobody_keeps_green_is_remarked() -> None:
    city, listed = generate(60), catalogue.load()
    town, places = city.people, city.places
    cells = [cell for cell in places.cells if cell.type is CellType.BASE]
    assert list(cells_without_duty(town, places, listed)) == []
    field = with_duties(town, lambda post: post.level > 0, DutyDomain.SAFETY)
    remarks = [str(remark) for remark in cells_without_duty(field, places, listed)]
    assert len(remarks) == 4
    assert f"{len(cells)} cells have no post that looks after landscape, such as {cells[0].code}" in remarks[1]
    # A chief above is enough, and who is beside the chain is not.
    chief = with_duties(field, lambda post: post.role is Role.STREET_CHIEF, *DutyDomain)
    assert list(cells_without_duty(chief, places, listed)) == []
    relief = with_duties(field, lambda post: post.id.startswith("relief-"), *DutyDomain)
    assert len(list(cells_without_duty(relief, places, listed))) == 4
    assert list(cells_without_duty(with_duties(town, lambda post: True), places, listed)) == [], "a mistake already"


def test_two_leads_for_one_category_in_an_exclusive_cell_are_refused() -> None:
    city, listed = generate(60), catalogue.load()
    special = next(cell for cell in city.places.cells if cell.type is CellType.EXCLUSIVE)
    pattern = special.categories[0]
    row = Lead(category=pattern, area=special.code, unit="sanitation", basis="b", source="proposal")
    listed = msgspec.structs.replace(listed, leads=(row,))
    (problem,) = cross_problems(city.people, city.places, listed)
    assert f"two leads for {pattern} in {special.code}" in problem.what
    listed = msgspec.structs.replace(listed, leads=(msgspec.structs.replace(row, unit=special.lead_unit),))
    assert cross_problems(city.people, city.places, listed) == []


def test_without_a_grid_tier_each_cell_needs_a_chief_of_its_line() -> None:
    city, listed = generate(12), catalogue.load()
    posts = tuple(post for post in city.people.posts if post.role is not Role.GRID_OFFICER)
    bare = msgspec.structs.replace(city.people, posts=posts)
    cells = [cell for cell in city.places.cells if cell.type is CellType.BASE]
    assert len(cross_problems(bare, city.places, listed)) == len(cells)
    bare = msgspec.structs.replace(bare, profile=Profile.FIVE_CHIEFS)
    assert cross_problems(bare, city.places, listed) == []
    lanes = tuple(post for post in posts if post.role is not Role.LANE_CHIEF)
    found = cross_problems(msgspec.structs.replace(bare, posts=lanes), city.places, listed)
    assert {problem.what for problem in found} == {f"cell {cell.code} has no chief of its line" for cell in cells}


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
    plan = DutyPlan(Rota(zoneinfo.ZoneInfo(zone), shifts))
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
    assert bool(DutyPlan(Rota(tz, [shift])).at("p", moment)) is want


@pytest.mark.parametrize(("date", "hours"), [("2026-03-28", 11), ("2026-10-24", 13), ("2026-11-21", 12)])
def test_the_night_the_clocks_change_is_an_hour_shorter_or_longer(date: str, hours: int) -> None:
    shift = WeeklyShift(post="p", person="a", days=tuple(Weekday), start=dt.time(20), end=dt.time(8))
    start_ms = at_ms(f"{date}T12:00:00")
    spans = DutyPlan(Rota(BERLIN, [shift])).spans("p", start_ms, start_ms + DAY_MS)
    assert [(span.until_ms - span.from_ms) / 3_600_000 for span in spans] == [hours]
