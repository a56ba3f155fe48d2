from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from models import catalogue, commands, config, people, places, thresholds
from models.city import MIN_UNITS, City, files, generate, write
from models.city.names import numeral
from models.errors import ConfigError
from models.people import Edge, Role
from models.people.check import cross_problems
from models.people.duty import DAY_MS
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
    assert len(ground.cells) == units


def test_its_settings_serve_every_device_of_the_map(tmp_path: Path, city: City) -> None:
    write(city, tmp_path)
    edge = config.load(tmp_path).edge
    served = [camera.device for camera in edge.cameras] + [sensor.device for sensor in edge.sensors]
    assert set(served) == {device.id for device in city.places.devices_by_agent[edge.agent]}


@settings(max_examples=25, deadline=None)
@given(st.integers(MIN_UNITS, 250), st.integers(0, 10**9))
def test_cells_cover_one_piece_of_ground_exactly_once(units: int, seed: int) -> None:
    """By area, on the integers: what is covered twice or not at all would make the sum differ from the union."""
    cells = generate(units, seed).places.cells
    outlines = [shapely.Polygon(cell.polygons[0][0]) for cell in cells]
    assert len(cells) == units == len({cell.code for cell in cells})
    assert all(outline.is_valid and outline.exterior.is_ccw for outline in outlines)
    union = shapely.union_all(outlines)
    assert union.geom_type == "Polygon"
    assert not union.interiors
    assert sum(outline.area for outline in outlines) == pytest.approx(union.area, rel=1e-12)


def test_the_same_seed_gives_the_same_city_and_another_seed_another() -> None:
    assert files(generate(30, seed=5)) == files(generate(30, seed=5))
    assert generate(30, seed=5).places != generate(30, seed=6).places


def test_it_has_four_tiers_and_they_hang_together(city: City) -> None:
    ground, folk = city.places, city.people
    for cell in ground.cells:
        assert (cell.type, len(cell.code), cell.line is not None) == (CellType.BASE, 15, True)
        tiers = [post.role for post in folk.parents(f"grid-{cell.code}")]
        assert tiers[:4] == [Role.LANE_CHIEF, Role.ROAD_CHIEF, Role.STREET_CHIEF, Role.STREET_OFFICE]
        lane = ground.line_by_code[cell.line or ""]
        assert folk.posts_by_scope[lane.code][0].id == folk.parents(f"grid-{cell.code}")[0].id
        road = ground.line_by_code[lane.parent or ""]
        assert ground.line_by_code[road.parent or ""].kind is LineKind.STREET
    assert {node.kind for node in ground.nodes} >= {"building", "shop"}
    assert all(folk.posts_by_scope[node.code][0].edge is Edge.COLLABORATES for node in ground.nodes)


def test_it_does_not_look_ruled(city: City) -> None:
    vertices = sorted(len(cell.polygons[0][0]) for cell in city.places.cells)
    assert vertices[len(vertices) // 2] >= 24
    areas = sorted(shapely.Polygon(cell.polygons[0][0]).area for cell in city.places.cells)
    assert areas[-1] > 1.5 * areas[0]


def test_devices_stand_in_zones_on_two_streets_and_one_zone_has_camera_and_sensor(city: City) -> None:
    ground = city.places
    cameras = [device for device in ground.devices if device.kind is DeviceKind.CAMERA]
    assert [camera.id for camera in cameras] == ["cam-01", "cam-02", "cam-03"]
    assert len({ground.street_of(camera.id) for camera in cameras}) == 2
    kinds = [{device.kind for device in devices} for devices in ground.devices_by_zone.values()]
    assert {DeviceKind.CAMERA, DeviceKind.SMOKE} in kinds
    assert {DeviceKind.CAMERA, DeviceKind.HEAT} in kinds


@pytest.mark.parametrize("units", [4, 135])
def test_every_post_of_the_chain_is_held_around_the_clock_with_a_deputy_at_hand(units: int) -> None:
    folk = generate(units).people
    part_time = {Role.BUILDING_CHIEF, Role.SHOP_CHIEF}
    for post in folk.posts:
        if post.role in part_time:
            continue
        assert not list(folk.plan.gaps(post.id, MONDAY_MS, MONDAY_MS + 8 * DAY_MS)), post.id
    offices = ("office-01", "office-district", "seat-01")
    for hour in range(0, 7 * 24, 3):
        now_ms = MONDAY_MS + hour * 3_600_000 + 1
        assert all(len(folk.on_duty(office, now_ms)) == 2 for office in offices)
        if units > 4:
            lanes = folk.posts_by_role[Role.LANE_CHIEF]
            assert all(folk.deputy_duties(lane.id, now_ms) for lane in lanes)


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
