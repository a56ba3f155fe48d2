"""The map of a city of any size: what is in view, as far as it can be told apart, in answers of like size."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.web.places import LEAST_POINTS, MOST, MOST_AREAS, PASSES, Box, Map, straightened
from models.city.ground import build
from models.city.template import Ground
from models.config import Mqtt
from models.geo import PointE7, to_e7
from models.places import AreaKind, Places
from models.places.geojson import dump
from tests.alerts.field import Service
from tests.alerts.town import Town, city_names
from tests.alerts.town import build as build_town

CELLS = 4_000


@functools.cache
def large() -> Places:
    return build(CELLS, Ground(), random.Random(0))


@functools.cache
def map_of_large() -> Map:
    return Map(large())


@pytest.fixture
def town(tmp_path: Path, mqtt_broker: Mqtt, first_town: Path) -> Town:
    """The map is another, larger one: only who is who stays that of the town."""
    town = build_town(tmp_path / "town", mqtt_broker, like=first_town)
    (tmp_path / "town" / "places.geojson").write_bytes(dump(large()))
    return town


def found(raw: bytes, layer: str, *, is_complete: bool | None = None) -> set[str]:
    """Return the codes of a layer."""
    answer = json.loads(raw)
    assert is_complete is None or answer["complete"] is is_complete
    return {one["properties"]["code"] for one in answer["features"] if one["properties"]["layer"] == layer}


def around(point: PointE7, by_e7: int) -> Box:
    return Box(point[0] - by_e7, point[1] - by_e7, point[0] + by_e7, point[1] + by_e7)


def test_of_a_small_city_the_first_answer_is_all() -> None:
    places = city_names().places
    raw = Map(places).whole
    assert found(raw, "cell", is_complete=True) == {cell.code for cell in places.cells}
    assert found(raw, "node") == {node.code for node in places.nodes}
    assert found(raw, "line") == {line.code for line in places.lines}
    assert found(raw, "device") == {device.id for device in places.devices}
    cell = next(one for one in json.loads(raw)["features"] if one["properties"]["layer"] == "cell")
    first = [to_e7(value) for value in cell["geometry"]["coordinates"][0][0][0]]
    assert tuple(first) == places.cells[0].polygons[0][0][0], "nothing is rounded"


def test_of_a_large_city_the_first_answer_is_areas_and_streets() -> None:
    raw = map_of_large().whole
    kinds = {(one["properties"]["layer"], one["properties"]["kind"]) for one in json.loads(raw)["features"]}
    assert ("area", "community") in kinds
    assert ("line", "street") in kinds
    assert not any(layer in {"cell", "node"} for layer, _ in kinds)
    communities = {area.code for area in large().areas if area.kind is AreaKind.COMMUNITY}
    assert found(raw, "area", is_complete=False) == communities
    assert len(raw) < 500_000


@settings(max_examples=40, deadline=None)
@given(st.integers(0, CELLS - 1), st.integers(100, 400_000))
def test_a_box_holds_what_meets_it_unless_there_is_too_much_of_it(index: int, by_e7: int) -> None:
    places = large()
    box = around(tuple(places.cells[index].polygons.array[0].tolist()), by_e7)
    frame = shapely.box(*box)
    raw = map_of_large().view(box)
    answer = json.loads(raw)["features"]
    layers = [one["properties"]["layer"] for one in answer]
    assert all(layers.count(layer) <= MOST for layer in ("cell", "node", "device"))
    assert layers.count("area") <= MOST_AREAS
    boxes = {cell.code: shapely.box(*cell.polygons.array.min(0), *cell.polygons.array.max(0)) for cell in places.cells}
    near = {code for code, one in boxes.items() if one.intersects(frame)}
    assert near
    assert found(raw, "cell") == (near if len(near) <= MOST else set())
    assert ("area" in layers) == (len(near) > MOST)
    assert len(raw) < 3_000_000


def test_every_cell_building_and_device_is_seen_from_near() -> None:
    places, city = large(), map_of_large()
    rng = random.Random(1)
    for node in rng.sample(places.nodes, 50):
        raw = city.view(around(tuple(node.polygons.array[0].tolist()), 5_000))
        assert node.code in found(raw, "node")
        assert node.cell in found(raw, "cell")
    for device in places.devices:
        assert device.id in found(city.view(around(device.point, 5_000)), "device")


def test_a_place_is_found_by_its_code_wherever_it_is() -> None:
    cell, line, node = large().cells[7], large().lines[7], large().nodes[7]
    raw = map_of_large().named([cell.code, line.code, node.code, large().areas[0].code, "nobody"])
    assert [found(raw, layer) for layer in ("cell", "line", "node", "area")] == [
        {cell.code}, {line.code}, {node.code}, set()
    ]  # fmt: skip


def test_a_city_of_nothing_has_a_map() -> None:
    assert json.loads(Map(Places()).whole)["features"] == []


COORDINATES = st.integers(-5_000, 5_000)
CHAINS = st.lists(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=2, max_size=40), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(CHAINS, st.sampled_from([1.0, 50.0, 1_000.0]))
def test_a_straightened_line_stays_near_itself(chains: list[list[tuple[int, int]]], tolerance: float) -> None:
    points = np.array([point for chain in chains for point in chain], dtype=np.int32)
    start = np.cumsum([0, *map(len, chains)])
    drawn, at = straightened(points, start, tolerance)
    assert len(at) == len(start)
    for number, chain in enumerate(chains):
        line = drawn[at[number] : at[number + 1]].tolist()
        assert (line[0], line[-1]) == (list(chain[0]), list(chain[-1]))
        assert len(line) >= min(len(chain), (LEAST_POINTS + 1) // 2)
        given_points = shapely.points(chain)
        assert shapely.distance(given_points, shapely.LineString(line)).max() <= PASSES * tolerance + 1e-6


def test_what_is_straight_is_two_ends_and_what_is_round_keeps_its_shape() -> None:
    line = np.array([(x, 0) for x in range(1_000)], dtype=np.int32)
    drawn, _ = straightened(line, np.array([0, 1_000]), 1.0)
    assert len(drawn) <= LEAST_POINTS
    turn = np.linspace(0, 2 * np.pi, 400)
    circle = np.rint(100_000 * np.column_stack([np.cos(turn), np.sin(turn)])).astype(np.int32)
    drawn, _ = straightened(circle, np.array([0, 400]), 500.0)
    assert 8 <= len(drawn) < 60
    assert shapely.Polygon(drawn).area == pytest.approx(np.pi * 100_000**2, rel=0.05)


def test_the_service_answers_for_a_box_for_codes_and_for_the_whole(service: Service) -> None:
    cell = large().cells[CELLS // 2]
    west, south = (cell.polygons.array.min(0) / 1e7).tolist()
    east, north = (cell.polygons.array.max(0) / 1e7).tolist()
    officer = city_names().people.persons[0].id
    for who, path in (("seat", "/api/places"), (officer, f"/officer/{officer}/api/places")):
        with service.client(who) as client:

            def ask(where: str = path, client: Any = client, **query: str) -> Any:
                return client.get(where, params=query)

            assert ask().json()["complete"] is False
            assert cell.code in found(ask(bbox=f"{west},{south},{east},{north}").content, "cell")
            assert found(ask(codes=f"{cell.code},nobody").content, "cell") == {cell.code}
            for wrong in ("", "1,2,3", "1,2,3,x", "nan,0,1,1", "2,0,1,1", "1e999,0,2,2"):
                assert ask(bbox=wrong).status_code == 400
            assert ask(bbox="-999,-999,999,999").status_code == 200
