"""What fits in no one file is found by the check of the folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.check import check
from models.city import generate, write
from tests.models.detectors.tiny_onnx import network, write_detector


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


def test_a_precision_that_the_detector_of_ones_own_lacks_is_named(city: Path) -> None:
    boxes, scores = np.zeros((1, 3, 4), np.float32), np.zeros((1, 3, 2), np.float32)
    write_detector(city, network(boxes, scores))
    edit(city / "gridwarden.toml", "[edge]\n", '[edge]\ndetector = "tiny.toml"\n')
    assert check(city).problems == []
    edit(city / "gridwarden.toml", "[edge]\n", '[edge]\nprecision = "int8"\n')
    [problem] = check(city).problems
    assert str(problem) == 'tiny.toml: int8: tiny has no int8 network; use precision = "fp32"'


def test_a_camera_of_another_agent_and_one_that_is_nowhere_are_named(city: Path) -> None:
    edit(city / "gridwarden.toml", 'device = "cam-02"', 'device = "cam-99"')
    assert [problem.path for problem in check(city).problems] == ["edge.cameras[1].device"]
    edit(city / "gridwarden.toml", 'agent = "edge-01"', 'agent = "edge-02"')
    assert len(check(city).problems) == 5


def test_a_file_of_500_mb_is_refused_before_it_is_read(city: Path) -> None:
    with (city / "places.geojson").open("r+b") as file:
        file.truncate(500 * 2**20)
    (problem,) = check(city).problems
    assert "524,288,000 bytes are more than the 268,435,456 that are read" in problem.what
    edit(city / "gridwarden.toml", "\n", "\nmax_file_mb = 1\n")
    assert "the 1,048,576 that are read" in check(city).problems[0].what
    assert "max_file_mb" in check(city).problems[0].remedy


def test_mistakes_of_shapes_and_of_people_are_found_in_one_run(city: Path) -> None:
    edit(city / "gridwarden.toml", 'device = "cam-02"', 'device = "cam-99"')
    document = json.loads((city / "places.geojson").read_text())
    camera = next(item for item in document["features"] if item["properties"].get("id") == "cam-01")
    camera["geometry"]["coordinates"][0] += 1
    (city / "places.geojson").write_text(json.dumps(document))
    assert [Path(problem.file).name for problem in check(city).problems] == ["places.geojson", "gridwarden.toml"]
