"""What the validator finds in shapes: each mistake with its codes, its area and what to draw."""

from __future__ import annotations

import argparse
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from models import places
from models.check import check
from models.commands import register
from models.errors import Problem
from models.places import Places, coverage
from models.places.sources import PlaceProblem
from tests.models.test_places import LAT, LON, STEP, Document, cell, feature, point, polygon, square, town

STEP_M2 = 96.95 * 110.86  # of one square of `STEP` by `STEP` at 29.5 degrees


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    arguments = parser.parse_args(words)
    return int(arguments.run(arguments))


def read(document: Document) -> places.Reading:
    return places.read(json.dumps(document).encode(), file="places.geojson")


def the_problem(document: Document) -> PlaceProblem:
    (problem,) = read(document).problems
    assert isinstance(problem, PlaceProblem)
    return problem


def outline(*points: tuple[float, float]) -> Document:
    ring = [[round(LON + x * STEP, 7), round(LAT + y * STEP, 7)] for x, y in points]
    return polygon([*ring, ring[0]])


def grid(columns: int, rows: int, *missing: tuple[int, int]) -> Document:
    document = town()
    document["features"] = document["features"][:2]
    document["features"] += [
        cell(f"{x}{y}", polygon(square(x, y))) for x in range(columns) for y in range(rows) if (x, y) not in missing
    ]
    return document


def test_an_overlap_has_its_codes_its_area_and_its_shape() -> None:
    document = town()
    document["features"][3]["geometry"] = polygon(square(0.9, 0))
    found = next(p for p in read(document).problems if isinstance(p, PlaceProblem))
    assert found.codes == ("A", "B")
    assert found.area_m2 == pytest.approx(0.1 * STEP_M2, rel=0.01)
    assert shapely.Polygon(found.shape[0][0]).bounds == pytest.approx(  # type: ignore[index]
        ((LON + 0.9 * STEP) * 1e7, LAT * 1e7, (LON + STEP) * 1e7, (LAT + STEP) * 1e7), abs=1
    )


def lattice(columns: int, rows: int, corners: dict[tuple[int, int, int], tuple[float, float]]) -> Document:
    """Cells on a lattice; `corners` moves corner 0..3 of a cell alone by so many metres: its neighbours stay."""
    document = grid(columns, rows)
    for (x, y, corner), (east_m, north_m) in corners.items():
        ring = document["features"][2 + x * rows + y]["geometry"]["coordinates"][0]
        lon, lat = ring[corner]
        ring[corner] = [round(lon + east_m / 96_950, 7), round(lat + north_m / 110_860, 7)]
        ring[-1] = ring[0]
    return document


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.floats(-20, 20), st.floats(-20, 20)),
        max_size=4,
    )
)
def test_overlaps_are_those_that_every_pair_taken_by_itself_has(
    corners: dict[tuple[int, int, int], tuple[float, float]],
) -> None:
    document = lattice(4, 4, corners)
    found = {
        problem.codes: problem.area_m2
        for problem in read(document).problems
        if isinstance(problem, PlaceProblem) and "overlap" in problem.what
    }
    outlines = {
        item["properties"]["code"]: shapely.Polygon(np.array(item["geometry"]["coordinates"][0]) * [96_950, 110_860])
        for item in document["features"][2:]
    }
    wanted = {
        (one, other): outlines[one].intersection(outlines[other]).area
        for one, other in itertools.combinations(outlines, 2)
        if outlines[one].is_valid and outlines[other].is_valid
    }
    for codes, area_m2 in wanted.items():
        if area_m2 > 1.05:
            assert found[codes] == pytest.approx(area_m2, rel=0.02, abs=0.05)
        elif codes in found:  # small, and wider than a hand
            assert area_m2 > 0.005


def test_one_cell_inside_another_and_two_equal_ones_overlap() -> None:
    for inner in (square(0.2, 0.2, 0.3), square(0, 0)):
        document = town()
        document["features"].insert(4, cell("C", polygon(inner)))
        found = the_problem(document)
        assert (found.codes, "overlap" in found.what) == (("A", "C"), True)


def test_a_slit_that_is_open_to_the_edge_is_a_gap() -> None:
    document = grid(2, 1)
    document["features"][3]["geometry"] = outline((1.02, 0), (2, 0), (2, 1), (1, 1))  # 1.9 m wide, and closes
    found = the_problem(document)
    assert "open to the city's edge" in found.what
    assert found.codes == ("00", "10")
    assert found.area_m2 == pytest.approx(0.01 * STEP_M2, rel=0.05)


def test_two_rows_of_cells_that_do_not_meet_are_a_gap() -> None:
    document = grid(2, 2)
    for at in (3, 5):  # the upper row, 3.3 m higher
        ring = document["features"][at]["geometry"]["coordinates"][0]
        document["features"][at]["geometry"]["coordinates"][0] = [[x, y + 0.03 * STEP] for x, y in ring]
    found = the_problem(document)
    assert set(found.codes) == {"00", "01", "10", "11"}
    assert found.area_m2 == pytest.approx(0.06 * STEP_M2, rel=0.05)


@pytest.mark.parametrize(
    "corner", [(1.2, 0.5), (1.5, 1.2), (1.02, 0.3)], ids=["a step", "a slope", "a step of two metres"]
)
def test_the_shape_of_the_city_is_no_gap(corner: tuple[float, float]) -> None:
    """Two cells that make an inner corner leave no ground between them, however the corner looks."""
    document = grid(2, 1)
    document["features"][3]["geometry"] = outline((1, 0), (2, 0), corner, (1, 0.4))
    assert read(document).problems == ()
    assert read(grid(3, 3, (2, 2), (0, 1))).problems == ()


def test_a_missing_cell_at_the_edge_is_found_by_the_outline_of_the_area() -> None:
    document = grid(3, 3, (2, 1))
    assert read(document).problems == ()  # without an outline it is a bay of the city
    document["features"][0]["geometry"] = polygon(square(0, 0, 3))
    found = the_problem(document)
    assert found.path == "features[0].geometry"
    assert found.codes[0] == "500199"
    assert {"20", "22", "11"} <= set(found.codes[1:])
    assert found.area_m2 == pytest.approx(STEP_M2, rel=0.01)


def test_a_gap_inside_the_outline_of_nested_areas_is_said_once() -> None:
    document = grid(3, 3, (1, 1), (2, 2))
    document["features"][0]["geometry"] = polygon(square(0, 0, 3))
    for code, kind, parent in (("500199001", "subdistrict", "500199"), ("500199001001", "community", "500199001")):
        document["features"].insert(0, feature("area", polygon(square(0, 0, 3)), code=code, kind=kind, parent=parent))
    found = read(document).problems
    assert len(found) == 2  # one inside, one at the corner
    assert "community 500199001001 has" in found[1].what


def test_a_cell_out_of_its_area_is_a_remark() -> None:
    document = grid(3, 1)
    document["features"][0]["geometry"] = polygon(square(0, 0, 1))
    found = read(document)
    assert found.problems == ()
    assert [remark.codes for remark in found.remarks if isinstance(remark, PlaceProblem)] == [
        ("10", "500199"),
        ("20", "500199"),
    ]


def test_a_cell_that_is_not_as_large_as_declared_is_a_remark() -> None:
    document = grid(2, 1)
    for item, declared_m2 in zip(document["features"][2:], (1.04 * STEP_M2, 1.07 * STEP_M2), strict=True):
        item["properties"]["area_m2"] = round(declared_m2)
    found = read(document)
    assert found.problems == ()
    (remark,) = found.remarks
    assert isinstance(remark, PlaceProblem)
    assert (remark.codes, remark.what) == (("10",), "cell 10 has 10,748 m2, and 11,500 are declared")
    assert remark.area_m2 == pytest.approx(STEP_M2, rel=0.001)


def test_a_micro_cell_lies_in_one_base_cell() -> None:
    document = town()
    document["features"].append(cell("M", polygon(square(0.8, 0.4, 0.4)), type="micro", parent="A"))
    found = the_problem(document)
    assert "micro cell M reaches" in found.what
    assert found.codes == ("M", "A")
    assert found.area_m2 == pytest.approx(0.08 * STEP_M2, rel=0.01)
    document["features"][-1] = cell("M", polygon(square(0.2, 0.2, 0.4)), type="micro", parent="A")
    document["features"].append(cell("N", polygon(square(0.3, 0.3, 0.1)), type="micro", parent="M"))
    assert "micro cell N lies in micro cell M" in the_problem(document).what


def shop(**properties: Any) -> Document:
    return feature("node", polygon(square(0.4, 0.4, 0.1)), **{"code": "N", "kind": "shop", "cell": "A"} | properties)


def test_a_frontage_stands_before_its_own_shop() -> None:
    document = town()
    document["features"].append(shop(frontage=polygon(square(0.4, 0.3, 0.1))))
    assert read(document).problems == ()
    document["features"][-1] = shop(frontage=polygon(square(0.4, 0.9, 0.1)))
    found = the_problem(document)
    assert (found.path, found.codes) == ("features[7].properties.frontage", ("N",))


def test_a_line_far_from_every_cell_is_drawn_elsewhere() -> None:
    document = town()
    far = {"type": "LineString", "coordinates": [[LON + 1, LAT], [LON + 1.1, LAT]]}
    document["features"].append(feature("line", far, code="LN", kind="lane", buffer_m=5))
    found = the_problem(document)
    assert "lane LN is more than 200 m away" in found.what


def camera(n: int, x: float, y: float, **view: float) -> Document:
    return feature("device", point(x, y), id=f"c-{n}", kind="camera", cell="A", zone="zone-01", agent="edge-01", **view)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"heading_deg": 90.0}, "fov_deg"),
        ({"heading_deg": 360.0, "fov_deg": 60.0, "range_m": 10.0}, "heading_deg"),
        ({"kind": "smoke", "heading_deg": 3.0}, "heading_deg"),
    ],
)
def test_a_view_is_given_whole_and_only_by_cameras(change: dict[str, Any], path: str) -> None:
    document = town()
    document["features"][6]["properties"] |= change
    assert any(p.path == f"features[6].properties.{path}" for p in read(document).problems)


def seen(*devices: Document) -> Places:
    document = town()
    document["features"] += devices
    return read(document).places


def test_coverage_is_the_share_of_each_cell_that_something_sees() -> None:
    view = {"heading_deg": 90.0, "fov_deg": 90.0, "range_m": 40.0}
    city = seen(camera(1, 0.1, 0.5, **view))
    report = coverage.of(city)
    here, there = report.cells
    assert here.camera * here.area_m2 == pytest.approx(math.pi * 40**2 / 4, rel=0.005)
    assert (here.sensor, here.share, here.devices) == (0, here.camera, ("c-1",))
    assert (there.share, report.blind) == (0, ("B",))
    assert report.unknown == ("cam-01",)
    assert report.share == pytest.approx(here.share / 2, abs=0.001)


@pytest.mark.parametrize(("heading_deg", "is_seen"), [(90.0, True), (0.0, False), (180.0, False), (270.0, False)])
def test_a_heading_counts_clockwise_from_north(heading_deg: float, *, is_seen: bool) -> None:
    city = seen(camera(1, 0.9, 0.5, heading_deg=heading_deg, fov_deg=20.0, range_m=40.0))
    assert bool(coverage.of(city).cells[1].devices) is is_seen


def test_what_two_see_counts_once_and_a_sensor_without_a_range_has_that_of_its_kind() -> None:
    round_view = {"heading_deg": 0.0, "fov_deg": 360.0, "range_m": 10.0}
    smoke = feature("device", point(0.5, 0.5), id="s-1", kind="smoke", cell="A", zone="zone-01", agent="edge-01")
    report = coverage.of(seen(camera(1, 0.5, 0.5, **round_view), camera(2, 0.5, 0.5, **round_view), smoke))
    cell_a = report.cells[0]
    assert cell_a.share * cell_a.area_m2 == pytest.approx(math.pi * 10**2, rel=0.01)
    assert cell_a.sensor * cell_a.area_m2 == pytest.approx(math.pi * 5.8**2, rel=0.01)
    assert (report.assumed, cell_a.devices) == (("s-1",), ("c-1", "c-2", "s-1"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert run("city", "--units", "12", "--out", str(tmp_path / "city")) == 0
    return tmp_path / "city"


def test_the_coverage_of_a_folder_is_a_table_json_and_a_map(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("coverage", str(folder), "--map", str(folder / "seen.geojson")) == 0
    table = capsys.readouterr().out
    assert "cells are blind" in table
    assert "occlusion is ignored" in table
    assert run("coverage", str(folder), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["blind"]) == sum(not cell["devices"] for cell in report["cells"] if cell["type"] == "base")
    drawn = json.loads((folder / "seen.geojson").read_text())["features"]
    assert {item["properties"]["layer"] for item in drawn} == {"cell", "view"}


def test_the_mistakes_of_a_folder_are_drawn_on_a_map(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "places.geojson"
    city = json.loads(path.read_text())
    cells = [item for item in city["features"] if item["properties"]["layer"] == "cell"]
    cells[0]["geometry"]["coordinates"][0].reverse()
    cells[1]["geometry"]["coordinates"][0].pop()
    devices = [item for item in city["features"] if item["properties"]["layer"] == "device"]
    devices[0]["geometry"]["coordinates"] = [LON + 3, LAT]
    path.write_text(json.dumps(city))
    assert run("check", str(folder), "--map", str(folder / "mistakes.geojson")) == 2
    drawn = json.loads((folder / "mistakes.geojson").read_text())["features"]
    kinds = {(item["properties"]["severity"], item["geometry"]["type"]) for item in drawn if item["geometry"]}
    assert {("mistake", "LineString"), ("mistake", "Point"), ("remark", "Polygon")} <= kinds
    assert all(item["properties"]["remedy"] and "codes" in item["properties"] for item in drawn)
    assert "remark: " in capsys.readouterr().err


def test_what_is_wrong_is_one_json_object_and_cells_without_an_officer_have_their_place(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", str(folder), "--json") == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []
    path = folder / "people.toml"
    roster = path.read_text().splitlines(keepends=True)
    officer = next(row for row in roster if 'role = "grid_officer"' in row)
    code = officer.partition("grid-")[2].partition('"')[0]
    path.write_text("".join(row for row in roster if f"grid-{code}" not in row))
    found = check(folder).problems
    (vacant,) = (one for one in found if isinstance(one, PlaceProblem))
    assert (vacant.what, vacant.codes) == (f"cell {code} has no grid officer", (code,))
    assert vacant.shape is not None
    assert run("check", str(folder), "--json") == 2
    said = json.loads(capsys.readouterr().out)["problems"]
    assert [one["what"] for one in said] == [one.what for one in found]
    assert {"file", "path", "what", "remedy"} <= said[0].keys()


def test_problems_of_places_are_problems() -> None:
    assert issubclass(PlaceProblem, Problem)
