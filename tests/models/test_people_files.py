"""People as CSV and TOML: what goes out comes back, and every mistake is named by its line."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import people
from models.calendar import Weekday
from models.check import check
from models.city import generate, write
from models.cli import main
from models.errors import ConfigError, Problem
from models.people import Contract, DutyDomain, Edge, People, Person, Post, QuietHours, Role, Unit, UnitKind
from models.people.duty import DatedShift, ShiftKind, Swap, WeeklyShift
from models.people.files import to_csv, to_toml
from models.people.posts import AppointedFrom

DAY = dt.date(2026, 11, 23)
at = dt.datetime.fromisoformat
TOWN = People(
    time_zone="Europe/Berlin",
    node_chiefs_in_chain=True,
    team=("社区民警", "cadre"),
    units=(
        Unit(id="firm", kind=UnitKind.CONTRACTOR, name='公司, "甲"', name_en="Firm; A", scope=("A", "B"),
             categories=("gas.*",), contract=Contract(first_day=DAY, last_day=DAY, kpi="30 min")),
        Unit(id="center", kind=UnitKind.OFFICE, name="中心", name_en="Center"),
    ),
    persons=(
        Person(id="a", display_name="甲", name_en="A", qualifications=("gas", "first_aid"), max_open=3,
               quiet_hours=QuietHours(start=dt.time(22), end=dt.time(7, 30)), first_day=DAY),
        Person(id="b", display_name="乙", name_en="B", last_day=dt.date(2030, 1, 1)),
    ),
    posts=(
        Post(id="office", role=Role.STREET_OFFICE, level=0, scope=("area",), unit="center", name="办", name_en="O",
             duties=tuple(DutyDomain)),
        Post(id="grid", role=Role.GRID_OFFICER, level=4, scope=("A", "B"), unit="firm", name="格", name_en="Grid",
             duties=(DutyDomain.SAFETY, DutyDomain.ORDER),
             supervisor="office", edge=Edge.COLLABORATES, deputies=("b", "office"), seat="cadre", last_day=DAY),
        Post(id="lane", role=Role.LANE_CHIEF, level=3, scope=("LN",), unit="center", name="巷", name_en="Lane",
             duties=(DutyDomain.LANDSCAPE,),
             supervisor="office", appointed_from=AppointedFrom.COMMUNITY_WORKERS),
    ),
    weekly_shifts=(
        WeeklyShift(post="grid", person="a", days=(Weekday.MON, Weekday.SUN), start=dt.time(8), end=dt.time(20, 0, 30)),
        WeeklyShift(post="lane", person="b", days=tuple(Weekday), start=dt.time(0), end=dt.time(0),
                    kind=ShiftKind.STANDBY),
    ),
    dated_shifts=(
        DatedShift(post="office", person="b", start=at("2026-11-23T08:00"), end=at("2026-11-23T20:00")),
    ),
    swaps=(
        Swap(post="grid", person="a", substitute="b", start=at("2026-11-23T09:00"), end=at("2026-11-23T12:00+01:00")),
    ),
    authority=(people.Authority(role=Role.GRID_OFFICER, category="fire.*", may=people.May.ASSIST),),
)  # fmt: skip


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / "people.toml"


def test_every_field_comes_back_from_toml_and_from_csv(tmp_path: Path) -> None:
    assert people.load(written(tmp_path / "toml", {"people.toml": to_toml(TOWN)})) == TOWN
    path = written(tmp_path / "csv", to_csv(TOWN))
    assert people.load(path) == TOWN
    assert sorted(file.name for file in (path.parent / "people").iterdir()) == [
        f"{table}.csv" for table in ("authority", "dated_shifts", "persons", "posts", "swaps", "units", "weekly_shifts")
    ]
    assert "persons" not in path.read_text()


def test_a_whole_city_comes_back_from_csv_under_the_same_version(tmp_path: Path) -> None:
    city = generate(135).people
    assert people.load(written(tmp_path, to_csv(city))).version == city.version


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(name=TEXT, kpi=TEXT, qualification=TEXT.filter(lambda text: ";" not in text and text == text.strip()))
def test_names_come_back_whatever_is_in_them(
    tmp_path_factory: pytest.TempPathFactory, name: str, kpi: str, qualification: str
) -> None:
    person = msgspec.structs.replace(TOWN.persons[0], display_name=name, qualifications=(qualification,))
    contract = Contract(first_day=DAY, last_day=DAY, kpi=kpi)
    units = (msgspec.structs.replace(TOWN.units[0], contract=contract), TOWN.units[1])
    town = msgspec.structs.replace(TOWN, persons=(person, TOWN.persons[1]), units=units)
    for files in ({"people.toml": to_toml(town)}, to_csv(town)):
        assert people.load(written(tmp_path_factory.mktemp("t"), files)) == town


def test_some_tables_may_stand_in_csv_and_others_in_toml(tmp_path: Path) -> None:
    files = to_csv(msgspec.structs.replace(TOWN, units=(), authority=()))
    some = msgspec.structs.replace(
        TOWN, **dict.fromkeys(("persons", "posts", "weekly_shifts", "dated_shifts", "swaps"), ())
    )
    assert people.load(written(tmp_path, files | {"people.toml": to_toml(some)})) == TOWN


def test_a_csv_of_a_spreadsheet_with_a_mark_and_crlf_is_read(tmp_path: Path) -> None:
    files = {name: content.replace(b"\n", b"\r\n") for name, content in to_csv(TOWN).items()}
    files["people/persons.csv"] = b"\xef\xbb\xbf" + files["people/persons.csv"] + b"\r\n"
    assert people.load(written(tmp_path, files)) == TOWN


def test_days_and_times_are_read_as_spreadsheets_write_them(tmp_path: Path) -> None:
    files = to_csv(TOWN)
    for name, before, after in (
        ("weekly_shifts", "08:00:00", "8:00"),
        ("persons", "22:00:00", "22:00"),
        ("persons", "2030-01-01", "2030/1/1"),
        ("dated_shifts", "2026-11-23T08:00:00", "2026/11/23 8:00"),
        ("swaps", "12:00:00+01:00", "12:00+01:00"),
    ):
        path = f"people/{name}.csv"
        assert before.encode() in files[path], (before, files[path])
        files[path] = files[path].replace(before.encode(), after.encode())
    assert people.load(written(tmp_path, files)) == TOWN


def test_a_wrong_cell_says_what_may_stand_there(tmp_path: Path) -> None:
    (found,) = problems(tmp_path / "1", weekly_shifts=SHIFTS.replace("08:00:00", "8 am").encode())
    assert found.remedy == "write a time like 08:00"
    (found,) = problems(tmp_path / "2", weekly_shifts=SHIFTS.replace("mon;sun", "mon;星期天").encode())
    assert (found.what, found.remedy) == (
        "'mon;星期天': invalid enum value '星期天'",
        "use some of: mon, tue, wed, thu, fri, sat, sun",
    )


def problems(tmp_path: Path, **changes: bytes) -> list[Problem]:
    """Load the town with other content in some CSV files; return what is wrong."""
    files = to_csv(TOWN) | {f"people/{name}.csv": content for name, content in changes.items()}
    with pytest.raises(ConfigError) as caught:
        people.load(written(tmp_path, files))
    return list(caught.value.problems)


SHIFTS = to_csv(TOWN)["people/weekly_shifts.csv"].decode()
MISTAKES = {
    "an unknown column": (SHIFTS.replace("days", "day"), "day", "unknown column"),
    "a missing column": (SHIFTS.replace("days", "day"), "days", "missing"),
    "a column twice": (SHIFTS.replace("kind,days", "start,days"), "line 1", "named twice"),
    "a ragged line": (SHIFTS.replace(",standby", ""), "line 3", "has not the 6 cells"),
    "a blank line": (SHIFTS.replace("\nlane", "\n\nlane"), "line 3", "has not the 6 cells"),
    "an unknown day": (SHIFTS.replace("mon;sun", "mon;moon"), "line 2, days", "moon"),
    "no day": (SHIFTS.replace("mon;sun", ""), "line 2, days", "length"),
    "a time that is none": (SHIFTS.replace("08:00:00", "8 am"), "line 2, start", "8 am"),
    "an empty id": (SHIFTS.replace("grid,a", "grid,"), "line 2, person", "length"),
    "an unknown person": (SHIFTS.replace("grid,a", "grid,x"), "line 2, person", "no person has the id x"),
    "a quote that never ends": (SHIFTS.replace("lane,b", 'lane,"b'), "$", "is no CSV"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_named_with_its_file_and_line(tmp_path: Path, name: str) -> None:
    text, path, what = MISTAKES[name]
    assert text != SHIFTS
    found = problems(tmp_path, weekly_shifts=text.encode())
    files = {problem.file for problem in found if problem.path == path and what in problem.what}
    assert files == {tmp_path / "people/weekly_shifts.csv"}, found


def test_all_wrong_cells_of_a_column_are_named_up_to_a_limit(tmp_path: Path) -> None:
    head, *rows = SHIFTS.splitlines()
    found = problems(
        tmp_path, weekly_shifts="\n".join([head, *(row.replace("grid", "g rid") for row in rows * 50)]).encode()
    )
    assert len(found) == 20
    assert found[0].path == "line 2, post"


def test_a_wrong_cell_that_stands_twice_among_different_ones_is_named_twice(tmp_path: Path) -> None:
    rows = [f"p{n},名,Name" for n in range(8)] + ["p 9,名,Name"] * 2
    found = problems(tmp_path, persons="\n".join(["id,display_name,name_en", *rows]).encode())
    assert [problem.path for problem in found] == ["line 10, id", "line 11, id"]


def test_bytes_that_are_no_text_and_an_empty_file_are_named(tmp_path: Path) -> None:
    assert "is no CSV" in problems(tmp_path / "1", persons=b"\xff\xfe\x00")[0].what
    assert "column is missing" in problems(tmp_path / "2", persons=b"")[0].what


def test_a_roster_without_the_column_of_duties_is_told_so_by_line_and_not_endlessly(tmp_path: Path) -> None:
    office, *rest = TOWN.posts
    many = [msgspec.structs.replace(office, id=f"office-{n}", duties=()) for n in range(25)]
    shifts = [msgspec.structs.replace(TOWN.weekly_shifts[0], post=post.id) for post in many]
    town = msgspec.structs.replace(TOWN, posts=(office, *rest, *many), weekly_shifts=(*TOWN.weekly_shifts, *shifts))
    files = to_csv(town)
    assert files["people/posts.csv"].startswith(b"id,role,level,scope,unit,name,name_en,duties,")
    assert b",O,sanitation;order;facilities;landscape;safety,," in files["people/posts.csv"]
    with pytest.raises(ConfigError) as caught:
        people.load(written(tmp_path, files))
    *named, last = caught.value.problems
    assert {problem.file for problem in caught.value.problems} == {tmp_path / "people/posts.csv"}
    assert (len(named), named[0].path, named[0].what) == (20, "line 5, duties", "post office-0 has no duties")
    assert (last.path, last.what) == ("$", "5 more posts have no duties")
    assert "in CSV a column duties with order;safety" in last.remedy


def test_an_unknown_duty_in_a_cell_says_what_may_stand_there(tmp_path: Path) -> None:
    posts = to_csv(TOWN)["people/posts.csv"]
    (found,) = problems(tmp_path, posts=posts.replace(b",landscape,", b",gardening,"))
    assert (found.path, found.remedy) == (
        "line 4, duties",
        "use some of: sanitation, order, facilities, landscape, safety",
    )


def test_what_is_wrong_with_a_whole_table_is_named_too(tmp_path: Path) -> None:
    many = msgspec.structs.replace(TOWN.persons[0], qualifications=tuple(f"q{n}" for n in range(65)))
    (found,) = problems(
        tmp_path, persons=to_csv(msgspec.structs.replace(TOWN, persons=(many, TOWN.persons[1])))["people/persons.csv"]
    )
    assert (found.file, found.path) == (tmp_path / "people/persons.csv", "$")


def test_a_table_in_both_places_is_refused(tmp_path: Path) -> None:
    files = to_csv(TOWN)
    files["people.toml"] = to_toml(msgspec.structs.replace(TOWN, **dict.fromkeys(("posts", "weekly_shifts"), ())))
    with pytest.raises(ConfigError, match=r"persons: the table stands here and in people/persons\.csv"):
        people.load(written(tmp_path, files))


def test_a_list_item_that_would_be_two_is_refused_on_the_way_out() -> None:
    with pytest.raises(ConfigError, match="cannot be an item"):
        to_csv(
            msgspec.structs.replace(TOWN, persons=(msgspec.structs.replace(TOWN.persons[0], qualifications=("a;b",)),))
        )


def test_the_command_writes_csv_and_toml_that_say_the_same(tmp_path: Path) -> None:
    path = written(tmp_path / "here", {"people.toml": to_toml(TOWN)})
    assert main(["people", str(path.parent), "--to", "csv", "--out", str(tmp_path / "csv")]) == 0
    assert main(["people", str(tmp_path / "csv"), "--to", "toml", "--out", str(tmp_path / "toml")]) == 0
    assert (tmp_path / "toml/people.toml").read_bytes() == path.read_bytes()
    assert main(["people", str(path.parent), "--to", "csv", "--out", str(tmp_path / "csv")]) == 2
    assert main(["people", str(path.parent), "--to", "csv", "--out", str(tmp_path / "csv"), "--force"]) == 0


def test_what_does_not_fit_the_places_is_named_by_its_line_too(tmp_path: Path) -> None:
    city = generate(12)
    write(city, tmp_path)
    posts = (msgspec.structs.replace(city.people.posts[0], scope=("mars",)), *city.people.posts[1:])
    written(tmp_path, to_csv(msgspec.structs.replace(city.people, posts=posts)))
    (problem,) = check(tmp_path).problems
    assert (problem.file, problem.path) == (tmp_path / "people/posts.csv", "line 2, scope[0]")
