from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from models import catalogue, commands, config, people, places, thresholds
from models.city import MIN_UNITS, City, files, generate, template, write
from models.city.names import numeral
from models.errors import ConfigError
from models.outlines import stack
from models.people import Edge, Role
from models.people.fit import cross_problems
from models.places import CellType, DeviceKind, LineKind

MONDAY_MS = int(dt.datetime(2026, 11, 23, tzinfo=dt.UTC).timestamp() * 1000)


@pytest.fixture(scope="module")
def city() -> City:
    return generate(135)


@pytest.mark.parametrize(("units", "seed"), [(12, 0), (12, 7), (135, 0), (135, 1), (400, 0)])
def test_a_city_loads_and_validates_without_a_problem(tmp_path: Path, units: int, seed: int) -> None:
    made = generate(units, seed)
    write(made, tmp_path)
    ground = places.load(tmp_path / "places.geojson")
    folk = people.load(tmp_path / "people.toml")
    listed = catalogue.load(tmp_path / "catalogue.toml")
    thresholds.load(tmp_path / "thresholds.toml")
    assert (ground, folk) == (made.places, made.people)
    assert (ground.version, folk.version) == (made.places.version, made.people.version)
    assert cross_problems(folk, ground, listed) == []
    assert sum(cell.type is CellType.BASE for cell in ground.cells) == units


def test_its_settings_serve_every_device_of_the_map(tmp_path: Path, city: City) -> None:
    write(city, tmp_path)
    edge = config.load(tmp_path).edge
    served = [camera.device for camera in edge.cameras] + [sensor.device for sensor in edge.sensors]
    assert set(served) == {device.id for device in city.places.devices_by_agent[edge.agent]}


@settings(max_examples=25, deadline=None)
@given(st.integers(MIN_UNITS, 250), st.integers(0, 10**9))
def test_cells_cover_one_piece_of_ground_exactly_once(units: int, seed: int) -> None:
    """By area, on the integers: what is covered twice or not at all would make the sum differ from the union."""
    ground = generate(units, seed).places
    outlines = shapes(ground)
    assert len(outlines) == units == len({cell.code for cell in ground.cells if cell.type is CellType.BASE})
    assert all(ring.is_ccw for outline in outlines for part in shapely.get_parts(outline) for ring in [part.exterior])
    assert not any(
        ring.is_ccw for outline in outlines for part in shapely.get_parts(outline) for ring in part.interiors
    )
    union = shapely.union_all(outlines)
    assert union.geom_type == "Polygon"
    assert not union.interiors
    assert sum(outline.area for outline in outlines) == pytest.approx(union.area, rel=1e-12)


@pytest.mark.parametrize(
    ("units", "officers"),
    [(135, None), (1_000, None), (10_000, None), pytest.param(62_000, 100_000, marks=pytest.mark.slow)],
)
def test_a_city_of_any_size_is_a_coverage_of_real_outlines(units: int, officers: int | None) -> None:
    made = generate(units, officers=officers)
    base = [cell for cell in made.places.cells if cell.type is CellType.BASE]
    outlines = shapes(made.places)
    assert len(base) == units
    assert shapely.coverage_is_valid(outlines)
    assert shapely.is_valid(outlines).all()
    vertices = np.array([len(cell.polygons.array) - len(cell.polygons.rings) for cell in base])
    assert np.median(vertices) >= 24
    assert np.percentile(vertices, 99) >= 200
    assert sum(len(cell.polygons.rings) > 1 for cell in base) / units == pytest.approx(0.02, abs=0.003)
    assert any(len(cell.polygons) > 1 for cell in base)
    assert officers in (None, len(made.people.persons))


def shapes(ground: places.Places) -> Any:
    """Give shapely's view of the base cells: an array of multipolygons on the integers."""
    columns = stack([cell.polygons for cell in ground.cells if cell.type is CellType.BASE])
    first_part = np.searchsorted(columns.owner, np.arange(columns.owner[-1] + 2))
    offsets = columns.ring_start, columns.part_start, first_part
    return shapely.from_ragged_array(shapely.GeometryType.MULTIPOLYGON, columns.points.astype(float), offsets)


def test_it_has_all_four_layers_and_micro_cells_inside_one_cell(city: City) -> None:
    ground = city.places
    assert {cell.type for cell in ground.cells} == set(CellType)
    assert {line.kind for line in ground.lines} == set(LineKind)
    assert any(node.frontage for node in ground.nodes)
    outlines = dict(zip([c.code for c in ground.cells if c.type is CellType.BASE], shapes(ground), strict=True))
    for cell in ground.cells:
        if cell.type is CellType.MICRO:
            assert outlines[cell.parent].covers(shapely.Polygon(cell.polygons[0][0]))
    rivals = [cell for cell in ground.cells if cell.type is CellType.EXCLUSIVE]
    assert len({category for cell in rivals for category in cell.categories}) == 4


def test_officers_are_counted_exactly_and_every_cell_keeps_its_own() -> None:
    made = generate(1_000, officers=2_000)
    assert len(made.people.persons) == 2_000
    assert cross_problems(made.people, made.places, catalogue.load()) == []
    with pytest.raises(ConfigError, match="--officers: 99 officers do not fit: this city takes"):
        generate(1_000, officers=99)


def test_a_large_roster_is_written_as_csv_and_read_back_equal(tmp_path: Path) -> None:
    made = generate(1_000, officers=2_001)
    write(made, tmp_path)
    assert (tmp_path / "people" / "persons.csv").is_file()
    assert people.load(tmp_path / "people.toml") == made.people


def test_the_same_seed_gives_the_same_city_and_another_seed_another() -> None:
    assert files(generate(30, seed=5)) == files(generate(30, seed=5))
    assert generate(30, seed=5).places != generate(30, seed=6).places


def test_it_has_four_tiers_and_they_hang_together(city: City) -> None:
    ground, folk = city.places, city.people
    for cell in ground.cells:
        if cell.type is not CellType.BASE:
            continue
        assert (len(cell.code), cell.line is not None) == (15, True)
        tiers = [post.role for post in folk.parents(f"grid-{cell.code}")]
        assert tiers == [
            Role.LANE_CHIEF, Role.ROAD_CHIEF, Role.STREET_CHIEF, Role.STREET_OFFICE, Role.DISTRICT_OFFICE,
        ]  # fmt: skip
        lane = ground.line_by_code[cell.line or ""]
        assert folk.posts_by_scope[lane.code][0].id == folk.parents(f"grid-{cell.code}")[0].id
        road = ground.line_by_code[lane.parent or ""]
        assert ground.line_by_code[road.parent or ""].kind is LineKind.STREET
    assert {node.kind for node in ground.nodes} >= {"building", "shop"}
    chiefs = [folk.posts_by_scope[node.code][0] for node in ground.nodes]
    assert {folk.edge_of(chief) for chief in chiefs} == {Edge.COLLABORATES}


def test_grids_are_numbered_from_west_to_east_then_from_north_to_south(city: City) -> None:
    """GB/T 30428.1, within a community: turned as the city is, its north-west corner lies west of everything."""
    west = {cell.code: cell.polygons.array[:, 0].min() for cell in city.places.cells if cell.type is CellType.BASE}
    for community in ("500199001001", "500199001002"):
        codes = [code for code in west if code.startswith(community)]
        assert min(codes, key=west.__getitem__) == min(codes) == f"{community}001"


def test_it_does_not_look_ruled(city: City) -> None:
    areas = sorted(outline.area for outline in shapes(city.places))
    assert areas[-1] > 1.5 * areas[len(areas) // 2] > 1.5 * areas[0]


def test_devices_stand_in_zones_on_two_streets_and_one_zone_has_camera_and_sensor(city: City) -> None:
    ground = city.places
    cameras = [device for device in ground.devices if device.kind is DeviceKind.CAMERA]
    assert [camera.id for camera in cameras] == ["cam-01", "cam-02", "cam-03"]
    assert len({ground.street_of(camera.id) for camera in cameras}) == 2
    kinds = [{device.kind for device in devices} for devices in ground.devices_by_zone.values()]
    assert {DeviceKind.CAMERA, DeviceKind.SMOKE} in kinds
    assert {DeviceKind.CAMERA, DeviceKind.HEAT} in kinds


@pytest.mark.parametrize("units", [4, 135])
def test_every_post_of_the_chain_is_held_around_the_clock_or_has_a_deputy(units: int) -> None:
    folk = generate(units).people
    part_time = {Role.BUILDING_CHIEF, Role.SHOP_CHIEF, Role.MICRO_GRID_OFFICER, Role.COLLECTOR}
    for hour in range(0, 7 * 24, 3):
        now_ms = MONDAY_MS + hour * 3_600_000 + 1
        for post in folk.posts:
            there = len(folk.duties(post.id, now_ms)) + len(folk.deputy_duties(post.id, now_ms))
            if post.role in {Role.STREET_OFFICE, Role.DISTRICT_OFFICE, Role.SEAT_OPERATOR}:
                assert there == 2
            elif post.role not in part_time:
                assert there, f"{post.id} {hour}"


def test_officers_have_names_in_both_scripts(city: City) -> None:
    for person in city.people.persons:
        assert 2 <= len(person.display_name) <= 4
        assert person.name_en.replace(" ", "").replace("'", "").isascii()
    assert len({person.display_name for person in city.people.persons}) == len(city.people.persons)


def test_files_that_are_there_are_not_overwritten_unless_forced(tmp_path: Path, city: City) -> None:
    (tmp_path / "people.toml").write_text("mine")
    with pytest.raises(ConfigError, match="is there already; use another folder, or --force"):
        write(city, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["people.toml"]
    write(city, tmp_path, force=True)
    assert (tmp_path / "people.toml").read_text(encoding="utf-8").startswith("# Who answers")


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path, city: City) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write(city, tmp_path / "file" / "below")


@pytest.mark.parametrize("units", [-1, 0, 3, 100_001])
def test_a_size_that_makes_no_city_is_refused(units: int) -> None:
    with pytest.raises(ConfigError, match="--units"):
        generate(units)


def test_the_command_writes_a_folder_and_says_what_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    commands.register(parser.add_subparsers())
    args = parser.parse_args(["city", "--units", "12", "--out", str(tmp_path / "city"), "--seed", "3"])
    assert args.run(args) == 0
    assert "12 cells" in capsys.readouterr().out
    folder = tmp_path / "city"
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == set(files(generate(12, 3)))
    assert {"readings/smoke-01.jsonl", "readings/heat-01.jsonl"} <= written


def test_the_command_lists_the_templates_with_what_sets_each_apart(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    commands.register(parser.add_subparsers())
    args = parser.parse_args(["city", "--list"])
    assert args.run(args) == 0
    listed = capsys.readouterr().out
    for name in template.names():
        model = template.load(name)
        assert all(text in listed for text in (name, model.name, model.name_en, model.about, model.about_en))


def test_a_template_of_your_own_is_read_from_its_file(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_bytes((template.FOLDER / "taoyuan" / "template.toml").read_bytes().replace(b"cells = 60", b"cells = 7"))
    made = generate(template=str(own))
    assert len(made.places.cells) == 7


@pytest.mark.parametrize(
    ("change", "problem"),
    {
        "no such row": (("above = \"office\"", "above = \"offices\""), "posts.first: there is no row offices"),
        "an unknown key": (("step = 4", "step = 4\nroll = \"x\""), "steps[2].roll: unknown key"),
        "no such step": (("step = 4", "step = 4\nseat = true"), "steps[2]: the default catalogue has no such step"),
        "no staff": (("seat = \"member_1\"", "seat = \"\""), "posts.first.seat"),
    }.values(),
)  # fmt: skip
def test_a_mistake_in_a_template_is_named_where_it_stands(
    tmp_path: Path, change: tuple[str, str], problem: str
) -> None:
    own = tmp_path / "mine.toml"
    own.write_text((template.FOLDER / "taoyuan" / "template.toml").read_text("utf-8").replace(*change, 1), "utf-8")
    with pytest.raises(ConfigError) as caught:
        generate(template=str(own))
    assert f"{own}: {problem}" in str(caught.value)


def test_a_template_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="no template atlantis; use one of chongqing_141, dawukou"):
        generate(template="atlantis")


@pytest.mark.parametrize(
    ("number", "text"), [(1, "一"), (10, "十"), (13, "十三"), (20, "二十"), (99, "九十九"), (120, "120")]
)
def test_numerals_are_written_as_on_a_street_sign(number: int, text: str) -> None:
    assert numeral(number) == text


@pytest.mark.parametrize("seed", range(5))
def test_the_sensors_stand_inside_their_buildings(seed: int) -> None:
    ground = generate(30, seed).places
    for device in ground.devices:
        if device.node:
            (building,) = ground.node_by_code[device.node].polygons
            assert shapely.Polygon(building[0]).contains(shapely.Point(device.point))
