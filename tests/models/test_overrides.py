from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from models import thresholds
from models.calendar import Calendar, Day
from models.errors import ConfigError
from models.places import CellKind
from models.thresholds import Override, Supervision, Thresholds
from models.thresholds.overrides import Bound, Values

SHANGHAI = ZoneInfo("Asia/Shanghai")
FILE = "[labels.fire]\nhint = 0.4\nalarm = 0.6\n"
SPRING_FESTIVAL = Calendar(holidays=frozenset({dt.date(2026, 2, 17)}), workdays=frozenset({dt.date(2026, 2, 14)}))


def load(tmp_path: Path, text: str) -> Thresholds:
    path = tmp_path / "thresholds.toml"
    path.write_text(FILE + text, encoding="utf-8")
    return thresholds.load(path)


def problems(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return [(problem.path, problem.what) for problem in caught.value.problems]


def local(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


@pytest.mark.parametrize(
    ("when", "applies"),
    [
        ("2026-02-13T21:59:59", False),  # a Friday
        ("2026-02-13T22:00", True),
        ("2026-02-14T05:59:59", True),  # still the night of Friday
        ("2026-02-14T06:00", False),
        ("2026-02-14T22:00", True),  # a Saturday that is worked
        ("2026-02-15T22:00", False),  # a Sunday
        ("2026-02-16T05:00", False),  # the night that began on it
        ("2026-02-17T22:00", False),  # a holiday on a Tuesday
    ],
)
def test_a_night_of_a_workday_ends_in_the_morning_after(when: str, applies: bool) -> None:
    night = Override(name="n", labels=("fire",), days=(Day.WORKDAY,), start=dt.time(22), end=dt.time(6))
    assert night.is_on(local(when), SPRING_FESTIVAL) is applies


@pytest.mark.parametrize(
    ("when", "applies"),
    [("2026-02-14T23:59", False), ("2026-02-15T00:00", True), ("2026-02-22T23:59", True), ("2026-02-23T00:00", False)],
)
def test_a_season_is_whole_days(when: str, applies: bool) -> None:
    season = Override(name="s", labels=("fire",), first=dt.date(2026, 2, 15), last=dt.date(2026, 2, 22))
    assert season.is_on(local(when), Calendar()) is applies


def test_an_override_for_a_kind_of_cell_speaks_of_no_other() -> None:
    old = Override(name="old quarter", labels=("fire",), kinds=(CellKind.HERITAGE,), hint=0.2)
    assert old.is_for("fire", "any", "where", CellKind.HERITAGE)
    assert not old.is_for("fire", "any", "where", CellKind.MARKET)
    assert not old.is_for("fire", "any", "nowhere")


def test_an_override_without_scope_or_time_applies_always() -> None:
    always = Override(name="a", labels=("fire",), hint=0.5)
    assert not always.is_timed
    assert always.is_for("fire", "any", "where")
    assert not always.is_for("smoke", "any", "where")
    assert always.is_on(local("2026-01-01T00:00"), Calendar())


def test_what_an_override_leaves_out_stays() -> None:
    base = Values(0.4, 0.6, 3, 10.0)
    assert base.under(Override(name="n", labels=("fire",), alarm=0.8)) == Values(0.4, 0.8, 3, 10.0)


@pytest.mark.parametrize(
    ("text", "path", "what"),
    [
        (
            '[[overrides]]\nname = "n"\nlabels = ["fire"]\nhint = 0.7\n',
            "overrides[0].hint",
            "fire: hint 0.7 is above alarm",
        ),
        ('[[overrides]]\nname = "n"\nlabels = ["fire"]\nalarm = 1.5\n', "overrides[0].alarm", "fire: 1.5 is no score"),
        ('[[overrides]]\nname = "n"\nlabels = ["fier"]\n', "overrides[0].labels", "no rule for 'fier'"),
        (
            '[[overrides]]\nname = "n"\nlabels = ["fire"]\nfirst = 2026-02-02\nlast = 2026-02-01\n',
            "overrides[0].last",
            "the season ends on 2026-02-01",
        ),
        (
            '[bounds.fire]\nset_by = "the district"\nhint = [0.1, 0.3]\n',
            "labels.fire.hint",
            "that the district has set",
        ),
        ('[bounds.fier]\nset_by = "the district"\n', "bounds.fier", "no rule for 'fier'"),
        ('time_zone = "Asia/Shangai"\n' + FILE.replace("fire", "smoke"), "labels.fire.time_zone", "unknown key"),
        ('[[overrides]]\nname = "n"\nlabels = []\n', "overrides[0].labels", "length >= 1"),
        ('[[overrides]]\nname = "n"\nlabels = ["fire"]\nhours = "22-06"\n', "overrides[0].hours", "unknown key"),
    ],
)
def test_each_mistake_is_named_with_its_path(tmp_path: Path, text: str, path: str, what: str) -> None:
    found = problems(tmp_path, text)
    assert [where for where, _ in found] == [path]
    assert what in found[0][1]


def test_two_overrides_of_one_name_are_refused(tmp_path: Path) -> None:
    one = '[[overrides]]\nname = "n"\nlabels = ["fire"]\n'
    assert problems(tmp_path, one + one) == [("overrides[1].name", "'n' is there twice")]


def test_a_bound_from_above_is_crossed_by_neither_looser_nor_tighter(tmp_path: Path) -> None:
    bound = '[bounds.fire]\nset_by = "the district"\nhint = [0.3, 0.5]\nmin_hits = [1, 5]\n'
    for key, value in (("hint", 0.29), ("hint", 0.51), ("min_hits", 6)):
        ((path, what),) = problems(tmp_path, f'{bound}[[overrides]]\nname = "n"\nlabels = ["fire"]\n{key} = {value}\n')
        assert path == f"overrides[0].{key}"
        assert "crosses the bound" in what
    for value in (0.3, 0.5):
        load(tmp_path, f'{bound}[[overrides]]\nname = "n"\nlabels = ["fire"]\nhint = {value}\n')


def test_a_bound_holds_for_the_detectors_own_scores_too() -> None:
    silent = Thresholds(bounds={"fire": Bound(set_by="the district", alarm=(0.0, 0.5))})
    with pytest.raises(ConfigError, match=r"crosses the bound 0 to 0\.5 that the district has set"):
        silent.resolve({"fire": (0.3, 0.6)})


def test_an_unknown_time_zone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.toml"
    path.write_text('time_zone = "Asia/Shangai"\n' + FILE)
    with pytest.raises(ConfigError, match="no such time zone: 'Asia/Shangai'"):
        thresholds.load(path)


def test_the_canonical_form_keeps_overrides_and_calendar(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "[calendar]\nholidays = [2026-10-01, 2026-10-02]\nworkdays = [2026-10-10]\n"
        '[[overrides]]\nname = "n"\nlabels = ["fire"]\ndays = ["holiday"]\nstart = 22:00:00\nend = "06:00:00"\n',
    )
    assert Thresholds.from_bytes(loaded.to_bytes()) == loaded
    assert Thresholds.from_bytes(loaded.to_bytes()).version == loaded.version


def test_the_sample_in_the_documentation_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text(encoding="utf-8")
    path = tmp_path / "thresholds.toml"
    path.write_text(page.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    loaded = thresholds.load(path)
    assert loaded.overrides[0].name == "ring road by night"
    assert loaded.supervision == Supervision()
    assert loaded.resolve({}).labels["fire"].hint == 0.4
