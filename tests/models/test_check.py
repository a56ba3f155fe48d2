"""What fits in no one file is found by the check of the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.check import check
from models.city import generate, write


@pytest.fixture
def city(tmp_path: Path) -> Path:
    write(generate(12, 0), tmp_path)
    return tmp_path


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def test_a_sample_city_has_no_problem(city: Path) -> None:
    assert check(city).problems == []


def test_a_label_of_the_detector_that_means_nothing_is_named(city: Path) -> None:
    edit(city / "catalogue.toml", "\nsmoke = { pre_alarm", "\nsteam = { pre_alarm")
    problems = check(city).problems
    assert [(problem.file, problem.path) for problem in problems] == [(city / "catalogue.toml", "labels.smoke")]


def test_a_detector_that_is_not_there_is_named(city: Path) -> None:
    edit(city / "gridwarden.toml", "[edge]\n", '[edge]\ndetector = "nowhere"\n')
    (problem,) = check(city).problems
    assert "nowhere" in str(problem)


def test_a_camera_of_another_agent_and_one_that_is_nowhere_are_named(city: Path) -> None:
    edit(city / "gridwarden.toml", 'device = "cam-02"', 'device = "cam-99"')
    assert [problem.path for problem in check(city).problems] == ["edge.cameras[1].device"]
    edit(city / "gridwarden.toml", 'agent = "edge-01"', 'agent = "edge-02"')
    assert len(check(city).problems) == 5
