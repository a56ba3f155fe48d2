from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from models import cases
from models.errors import ConfigError

GOOD = """
[[cases]]
id = "a"
name = "甲"
name_en = "A"
lon_deg = 106.5
lat_deg = 29.5
category = "fire.manual"
at = 2026-11-25T10:00:00
"""


def test_cases_are_read_with_their_local_times(tmp_path: Path) -> None:
    path = tmp_path / cases.FILE
    path.write_text(GOOD + GOOD.replace('"a"', '"b"').replace(":00\n", ":00+08:00\nradius_m = 5\n"), "utf-8")
    first, second = cases.load(path)
    assert (first.at, first.radius_m) == (dt.datetime(2026, 11, 25, 10), 15.0)  # noqa: DTZ001
    assert second.at.utcoffset() == dt.timedelta(hours=8)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD + GOOD, r"cases\[1\].id: id a is used twice"),
        (GOOD.replace("106.5", "181"), r"cases\[0\].lon_deg"),
        (GOOD.replace("29.5", "nan"), "nan is not a finite number"),
        (GOOD.replace("lat_deg = 29.5\n", ""), r"cases\[0\].lat_deg: is missing"),
        (GOOD.replace("2026-11-25T10:00:00", '"tomorrow"'), r"cases\[0\].at"),
        (GOOD + "when = 1", r"cases\[0\].when: unknown key"),
        ("", "cases: is missing"),
    ],
)
def test_a_mistake_in_the_cases_is_named_where_it_stands(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / cases.FILE
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=problem):
        cases.load(path)
