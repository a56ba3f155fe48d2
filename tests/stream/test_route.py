"""The dry run of the match, as an operator asks it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from models.calendar import Weekday
from models.city import generate, write
from models.cli import main
from models.datum import Datum, from_wgs84
from models.geo import to_degrees
from models.people import DutyDomain, QuietHours
from models.people.duty import WeeklyShift
from stream.route import Asked, route
from stream.route_text import lines
from tests.stream import builders as b


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("route") / "city"
    write(generate(30, 0), folder)
    return folder


def ask(city: Path, category: str, *more: str) -> int:
    device = generate(30, 0).places.device_by_id["cam-01"]
    lon, lat = (str(to_degrees(value)) for value in device.point)
    return main(["route", lon, lat, category, "--config", str(city), "--at", "2026-11-23T10:00", *more])


def test_the_answer_names_the_grid_officer_of_the_cell_first(city: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(city, "fire.smoke.confirmed", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    cell = generate(30, 0).places.device_by_id["cam-01"].cell
    assert answer["areas"]["cell"] == cell
    first = next(step for step in answer["steps"] if step["step"] == 0 and not step.get("seat"))
    assert first["candidates"][0]["post"] == f"grid-{cell}" == answer["lead_post"]
    assert "INSIDE_CELL" in first["candidates"][0]["reasons"]
    assert {"places", "people", "catalogue", "roster"} <= answer["versions"].keys()
    assert all(len(version) == 64 for name, version in answer["versions"].items() if name != "thresholds")


def test_people_read_names_steps_and_reasons(city: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(city, "fire.smoke.confirmed") == 0
    text = capsys.readouterr().out
    for word in (
        "fire.smoke.confirmed 烟雾（已确认） Smoke (confirmed)  P1  Mon 2026-11-23 10:00 Asia/Shanghai",
        "lead: emergency 样例街道应急办 Sample Emergency Office; grid-500199001001",
        "step 0 网格员与楼长、店长 Grid officer, building and shop chiefs  +0 s  alert, all at once",
        "seat 指挥席 Command seat  +0 s",
        "step 2 路长 Road chief  +1 min",
        "\nduty: safety 安全 Safety\n",
        "on duty until Mon 11-23 ",
        "  INSIDE_CELL\n",
        "\nINSIDE_CELL: 本网格 inside their cell\n",
        "\ndecided by: places ",
    ):
        assert word in text


def test_partners_who_are_told_have_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(generate(30, template="haidian"), tmp_path)
    monkeypatch.chdir(tmp_path)  # the folder that one stands in is the one that is asked about
    assert main(["route", "--all", "cases.toml"]) == 0
    text = capsys.readouterr().out
    assert "told beside (informed): bodies-500199001001 样例一社区驻区单位 Sample Community 1 Resident Inst" in text
    assert text.count("\ndecided by: ") == 1


def test_who_is_called_from_bed_is_said_to_be_off_duty() -> None:
    by_day = WeeklyShift(post="office", person="p-office", days=tuple(Weekday), start=dt.time(8), end=dt.time(18))
    people = b.people()
    others = tuple(shift for shift in people.weekly_shifts if shift.post != "office")
    world = b.world(people=replace(people, weekly_shifts=(*others, by_day)))
    found = route(Asked(123.5, 29.5, "fire.manual", b.T0), world)  # at sea, before dawn
    told = list(lines(found, "fire.manual", b.T0, world))
    assert "    office 名 Name: 名 Name (p-office), off duty  LAST_RESORT OFF_DUTY" in told


def test_whose_duties_it_is_not_is_said_and_changes_nothing() -> None:
    people = b.people()
    plain = b.world(people=people)
    posts = tuple(replace(post, duties=(DutyDomain.ORDER,)) for post in people.posts if post.id != "lane")
    lane = replace(people.post_by_id["lane"], duties=(DutyDomain.SAFETY, DutyDomain.FACILITIES))
    world = b.world(people=replace(people, posts=(*posts, lane)))
    lon_deg, lat_deg = map(to_degrees, b.at(20, 20))
    asked = Asked(lon_deg, lat_deg, "gas.leak", b.T0)
    found = route(asked, world)
    assert found == route(asked, plain), "duties are shown, they filter nobody and move nobody"
    told = list(lines(found, "gas.leak", b.T0, world))
    assert "duty: facilities 市政设施 Facilities" in told
    (officer,) = (row for row in told if "(p-grid-1)" in row)
    assert ", facilities is no duty of the post  INSIDE_CELL" in officer
    (chief,) = (row for row in told if "(p-lane)" in row)
    assert "no duty" not in chief
    assert not any("no duty" in row for row in lines(found, "gas.leak", b.T0, plain)), "none were written down"


def test_who_rests_is_not_called_before_his_quiet_hours_are_over_but_the_seat_is() -> None:
    night = QuietHours(start=dt.time(22), end=dt.time(7))
    people = b.people()
    persons = tuple(replace(person, quiet_hours=night) for person in people.persons)
    world = b.world(people=replace(people, persons=persons))
    lon_deg, lat_deg = map(to_degrees, b.at(20, 20))
    asked = Asked(lon_deg, lat_deg, "order.vendor", b.T0)  # before dawn
    told = list(lines(route(asked, world), "order.vendor", b.T0, world))
    (officer,) = (row for row in told if "(p-grid-1)" in row)
    assert ", not called before Fri 07:00  INSIDE_CELL QUIET_HOURS" in officer
    (operator,) = (row for row in told if "(p-seat)" in row)
    assert "not called" not in operator


@pytest.mark.parametrize("datum", Datum)
def test_a_position_from_a_chinese_map_is_asked_in_its_datum(
    city: Path, datum: Datum, capsys: pytest.CaptureFixture[str]
) -> None:
    device = generate(30, 0).places.device_by_id["cam-01"]
    (lon, lat), *_ = from_wgs84([[to_degrees(value) for value in device.point]], datum).tolist()
    assert main(["route", str(lon), str(lat), "fire.manual", "--config", str(city), "--datum", datum, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["areas"]["cell"] == device.cell


def test_a_table_of_cases_is_answered_case_by_case(city: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(city / "cases.toml")
    assert main(["route", "--all", table, "--config", str(city), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == 6
    assert all(answer["lead_post"] and answer["steps"] for answer in answers)
    assert main(["route", "--all", table, "--config", str(city)]) == 0
    text = capsys.readouterr().out
    assert text.count("== ") == text.count("lead: ") == 6


def test_all_mistakes_of_a_table_are_named_at_once(
    city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        f'[[cases]]\nid = "c{i}"\nname = "n"\nname_en = "n"\nlon_deg = 106.5\nlat_deg = 29.5\n'
        f'category = "{key}"\nat = 2026-11-23T10:00:00\n'
        for i, key in enumerate(["fire.manul", "fire.manual", "no.such"])
    ]
    table = tmp_path / "cases.toml"
    table.write_text("\n".join(rows))
    assert main(["route", "--all", str(table), "--config", str(city)]) == 2
    said = capsys.readouterr().err
    assert "cases[0].category" in said
    assert "cases[2].category" in said


def test_a_point_at_sea_goes_to_an_office_and_says_so(city: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "123.5", "29.5", "fire.manual", "--config", str(city), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {"OUTSIDE", "LAST_RESORT"} <= set(answer["reasons"])
    assert answer["lead_post"].startswith("office-")
    assert any(step.get("seat") and step["candidates"] for step in answer["steps"])


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["nan", "29.5", "fire.manual"], "no longitude and latitude"),
        (["29.5", "106.5", "fire.manual"], "give the longitude first"),
        (["106.5", "29.5", "fire.manual", "--radius", "nan"], "no radius"),
        ([], "give either"),
        (["200", "0", "fire.manual"], "no longitude and latitude"),
        (["106.5", "29.5", "fire.manul"], "did you mean fire.manual"),
        (["106.5", "29.5", "fire.manual", "--at", "noon"], "write it like"),
    ],
)
def test_a_wrong_question_is_answered_with_the_remedy(
    city: Path, args: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["route", *args, "--config", str(city)]) == 2
    assert word in capsys.readouterr().err
