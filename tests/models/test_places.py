from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import places
from models.city import generate
from models.content import MAX_FILE_BYTES
from models.datum import Datum, from_wgs84
from models.errors import ConfigError, Problem
from models.geo import point_e7
from models.outlines import Polygons, ring_areas, stack
from models.places import CellType, LineKind, Places, geojson
from models.places.sources import PlaceProblem

LON, LAT, STEP = 106.5, 29.5, 0.001  # a step is about 100 m

Document = dict[str, Any]


def square(x: float, y: float, size: float = 1.0) -> list[list[float]]:
    corners = [(x, y), (x + size, y), (x + size, y + size), (x, y + size), (x, y)]
    return [[round(LON + cx * STEP, 9), round(LAT + cy * STEP, 9)] for cx, cy in corners]


def feature(layer: str, geometry: Document | None, **properties: Any) -> Document:
    names = {"name": "样例", "name_en": "Sample"}
    return {"type": "Feature", "geometry": geometry, "properties": {"layer": layer, **names, **properties}}


def polygon(*rings: list[list[float]]) -> Document:
    return {"type": "Polygon", "coordinates": list(rings)}


def point(x: float, y: float) -> Document:
    return {"type": "Point", "coordinates": [LON + x * STEP, LAT + y * STEP]}


def cell(code: str, outline: Document, **properties: Any) -> Document:
    return feature("cell", outline, **{"code": code, "kind": "mixed", "parent": "500199"} | properties)


def town() -> Document:
    """Two cells side by side, one camera, one agent: features 2 and 3 are the cells, 6 the camera."""
    street = {"type": "LineString", "coordinates": [[LON, LAT], [LON + 2 * STEP, LAT]]}
    features = [
        feature("area", None, code="500199", kind="district"),
        feature("line", street, code="ST-01", kind="street", buffer_m=15),
        cell("A", polygon(square(0, 0))),
        cell("B", polygon(square(1, 0))),
        feature("zone", None, id="zone-01", cell="A", street="ST-01"),
        feature("device", point(0.5, 0.5), id="edge-01", kind="agent", cell="A"),
        feature("device", point(0.5, 0.5), id="cam-01", kind="camera", cell="A", zone="zone-01", agent="edge-01"),
    ]
    return {"type": "FeatureCollection", "datum": "WGS-84", "features": features}


def load(tmp_path: Path, document: object) -> Places:
    path = tmp_path / "places.geojson"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return places.load(path)


def problems(tmp_path: Path, document: object) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, document)
    assert all(str(tmp_path) in str(problem.file) and problem.remedy for problem in caught.value.problems)
    return list(caught.value.problems)


def test_a_right_file_becomes_places_with_their_indices(tmp_path: Path) -> None:
    town_places = load(tmp_path, town())
    assert [c.code for c in town_places.cells] == ["A", "B"]
    assert town_places.cells[0].polygons[0][0][0] == (1_065_000_000, 295_000_000)
    assert town_places.street_of("cam-01") == "ST-01"
    assert town_places.street_of("edge-01") is None
    assert town_places.zone_of("nobody") is None
    assert [d.id for d in town_places.devices_by_zone["zone-01"]] == ["cam-01"]
    assert [d.id for d in town_places.devices_by_agent["edge-01"]] == ["cam-01"]
    assert town_places.line_by_code["ST-01"].kind is LineKind.STREET
    assert town_places.area_by_code.keys() == {"500199"}


def change(path: str, value: object) -> Callable[[Document], None]:
    """Set a value at a path such as ``3.geometry.coordinates.0`` below `features`; `...` removes it."""

    def apply(document: Document) -> None:
        *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
        target: Any = document["features"]
        for step in steps:
            target = target[step]
        if value is ...:
            del target[last]
        else:
            target[last] = value

    return apply


BOW_TIE = [square(1, 0)[i] for i in (0, 2, 1, 3, 0)]
MISTAKES: dict[str, tuple[Callable[[Document], None], str, str]] = {
    "a self-crossing ring": (
        change("3.geometry", polygon(BOW_TIE)),
        "features[3].geometry.coordinates",
        r"cell B: self-intersection near \[106\.5015000, 29\.5005000\]",
    ),
    "a ring that is a line": (
        change("3.geometry", polygon([[1, 1], [2, 2], [1, 1], [1, 1]])),
        "features[3].geometry.coordinates",
        "too few points|self-intersection|invalid",
    ),
    "an unclosed ring": (
        change("3.geometry.coordinates.0", square(1, 0)[:-1]),
        "features[3].geometry.coordinates[0]",
        "not closed",
    ),
    "a ring of three": (
        change("3.geometry.coordinates.0", [*square(1, 0)[:2], square(1, 0)[0]]),
        "features[3].geometry.coordinates[0]",
        "has 3 positions",
    ),
    "a polygon without rings": (change("3.geometry.coordinates", []), "features[3].geometry.coordinates", "no ring"),
    "swapped coordinates": (
        change("6.geometry.coordinates", [LAT, LON]),
        "features[6].geometry.coordinates",
        "swapped",
    ),
    "a place off the earth": (
        change("6.geometry.coordinates", [10**400, 1.0]),
        "features[6].geometry.coordinates",
        "outside the earth|finite",
    ),
    "a position of one number": (
        change("2.geometry.coordinates.0.1", [LON]),
        "features[2].geometry.coordinates[0][1]",
        "not a position",
    ),
    "a line without length": (
        change("1.geometry.coordinates", [[LON, LAT], [LON, LAT]]),
        "features[1].geometry.coordinates",
        "no length",
    ),
    "a missing geometry": (change("6.geometry", None), "features[6].geometry", "not a Point"),
    "a wrong geometry": (change("2.geometry.type", "Point"), "features[2].geometry", "not a Polygon"),
    "an unknown layer": (change("2.properties.layer", "cells"), "features[2].properties.layer", "unknown layer"),
    "an unknown kind": (change("2.properties.kind", "moon"), "features[2].properties.kind", "moon"),
    "an unknown key": (change("6.properties.fov", 70), "features[6].properties.fov", "unknown key"),
    "a missing key": (change("2.properties.name_en", ...), "features[2].properties.name_en", "missing"),
    "a duplicate code": (change("3.properties.code", "A"), "features[3].properties.code", "code A is used twice"),
    "a line with a cell's code": (
        change("2.properties.code", "ST-01"),
        "features[1].properties.code",
        "ST-01 is used twice",
    ),
    "a duplicate id": (change("6.properties.id", "edge-01"), "features[6].properties.id", "used twice"),
    "a reserved id": (change("6.properties.id", "stream"), "features[6].properties.id", "reserved"),
    "an id with a slash": (change("6.properties.id", "cam/01"), "features[6].properties.id", "regex"),
    "an unknown parent": (change("2.properties.parent", "500198"), "features[2].properties.parent", "no area 500198"),
    "a code that its parent denies": (
        change("2.properties.code", "500198001001001"),
        "features[2].properties.code",
        "does not begin with",
    ),
    "an unknown cell": (change("4.properties.cell", "C"), "features[4].properties.cell", "no cell C"),
    "an unknown zone": (change("6.properties.zone", "zone-9"), "features[6].properties.zone", "no zone zone-9"),
    "no zone": (change("6.properties.zone", ...), "features[6].properties.zone", "no zone"),
    "an unknown street": (change("4.properties.street", "A"), "features[4].properties.street", "no street A"),
    "an unknown agent": (change("6.properties.agent", "edge-9"), "features[6].properties.agent", "no agent edge-9"),
    "an agent in a zone": (change("5.properties.zone", "zone-01"), "features[5].properties.zone", "has a zone"),
    "an exclusive cell for nothing": (
        change("3.properties.type", "exclusive"),
        "features[3].properties.categories",
        "no categories",
    ),
    "a device elsewhere": (
        change("6.geometry", point(1.5, 0.5)),
        "features[6].properties.cell",
        "camera cam-01|outside its cell A: it stands in B",
    ),
    "a device at sea": (change("6.geometry", point(9, 9)), "features[6].properties.cell", "stands in no cell"),
    "an overlap": (
        change("3.geometry", polygon(square(0.9, 0))),
        "features[3].geometry",
        r"cells A and B overlap by 10\d\d\.\d m2",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_named_with_its_path(tmp_path: Path, name: str) -> None:
    apply, path, what = MISTAKES[name]
    document = town()
    apply(document)
    found = problems(tmp_path, document)
    assert any(p.path.startswith(path) and re.search(what, p.what) for p in found), found
    assert len(found) <= 4, found  # a code that is gone is also missed by those who name it


def test_all_mistakes_are_named_in_one_run(tmp_path: Path) -> None:
    document = town()
    for name in ("a self-crossing ring", "a reserved id", "an unknown key", "an unknown cell"):
        MISTAKES[name][0](document)
    paths = {problem.path for problem in problems(tmp_path, document)}
    assert len(paths) >= 3
    assert "features[6].properties.fov" in paths


def test_nan_is_named_where_it_stands(tmp_path: Path) -> None:
    document = town()
    document["features"][6]["geometry"]["coordinates"][1] = float("nan")
    (found,) = problems(tmp_path, document)
    assert (found.path, "NaN" in found.what) == ("features[6].geometry.coordinates", True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"type": "FeatureCollection"}', "[" * 100_000, "\x00"])
def test_what_is_no_feature_collection_is_one_clear_error(tmp_path: Path, text: str) -> None:
    assert len(problems(tmp_path, text)) == 1


def test_a_file_that_is_missing_or_huge_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        places.load(tmp_path / "places.geojson")
    huge = tmp_path / "huge.geojson"
    with huge.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ConfigError, match="are more than"):
        places.load(huge)


def test_a_datum_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, town() | {"datum": "Pulkovo"})
    assert (found.path, "GCJ-02" in found.remedy) == ("datum", True)
    (found,) = problems(tmp_path, town() | {"crs": {"type": "name", "properties": {"name": "EPSG:3857"}}})
    assert found.path == "crs"
    assert load(tmp_path, town() | {"crs": {"properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}}).cells


def moved(document: Document, move: Callable[[list[Any]], Any], *layers: str) -> Document:
    """Give `document` with the positions of `layers` moved, of all without any."""

    def walk(coordinates: Any) -> Any:
        return move(coordinates) if isinstance(coordinates[0], float) else [walk(each) for each in coordinates]

    changed = copy.deepcopy(document)
    for item in changed["features"]:
        if item["geometry"] and (not layers or item["properties"]["layer"] in layers):
            item["geometry"]["coordinates"] = walk(item["geometry"]["coordinates"])
    return changed


def into(datum: Datum) -> Callable[[list[Any]], Any]:
    return lambda position: from_wgs84([position], datum)[0].tolist()


@pytest.mark.parametrize("datum", [Datum.GCJ02, Datum.BD09])
def test_another_datum_is_converted_and_remembered(tmp_path: Path, datum: Datum) -> None:
    plain = load(tmp_path, town())
    converted = load(tmp_path, moved(town(), into(datum)) | {"datum": datum})
    assert (plain.datum, converted.datum) == (Datum.WGS84, datum)
    for one, other in zip(plain.cells, converted.cells, strict=True):
        assert np.abs(one.polygons.array.astype(int) - other.polygons.array).max() <= 2  # 2 cm: 1e-7 degree, twice
    assert np.abs(plain.lines[0].points.array.astype(int) - converted.lines[0].points.array).max() <= 2
    assert np.abs(np.subtract(plain.devices[1].point, converted.devices[1].point)).max() <= 2
    again, _, found = geojson.parse(geojson.dump(converted), file="places.geojson")
    assert (again, found) == (converted, [])


def crowd(document: Document) -> Document:
    """Add six cameras to `document`, near the middle of cell A."""
    for n in range(6):
        where = point(0.4 + 0.04 * n, 0.5)
        document["features"].append(
            feature("device", where, id=f"more-{n}", kind="camera", cell="A", zone="zone-01", agent="edge-01")
        )
    return document


@pytest.mark.parametrize("datum", [Datum.GCJ02, Datum.BD09])
def test_devices_in_another_datum_than_the_cells_are_told_by_where_they_would_fit(tmp_path: Path, datum: Datum) -> None:
    found = problems(tmp_path, moved(crowd(town()), into(datum), "device"))
    assert found[0].path == "datum"
    assert f"8 of 8 devices stand outside their cells: they look like {datum} in a file of WGS-84" in found[0].what
    assert len(found) == 9  # the cause, and each


def test_a_file_that_is_swapped_altogether_is_one_mistake_drawn_where_it_belongs(tmp_path: Path) -> None:
    one = town()
    one["features"][3]["geometry"]["coordinates"][0] = [at[::-1] for at in square(1, 0)]
    (found,) = problems(tmp_path, one)
    assert isinstance(found, PlaceProblem)
    assert "swapped in 5 positions, such as [29.5, 106.501]" in found.what
    assert (found.codes, found.shape) == (("B",), load(tmp_path, town()).cells[1].polygons)
    (found,) = problems(tmp_path, moved(town(), lambda position: position[::-1]))
    assert isinstance(found, PlaceProblem)
    assert (found.path, "swapped in 5 geometries" in found.what) == ("features", True)
    assert found.codes == ("ST-01", "A", "B", "edge-01", "cam-01")
    assert isinstance(found.shape, Polygons)
    assert len(found.shape) == 2


def test_swapped_positions_are_told_where_both_orders_are_on_the_earth(tmp_path: Path) -> None:
    """In the west of China both numbers are below 90: only the cells say which is which."""
    west = moved(crowd(town()), lambda position: [position[0] - 20, position[1]])
    load(tmp_path, west)
    found = problems(tmp_path, moved(west, lambda position: position[::-1], "device"))
    assert "longitude and latitude look swapped" in found[0].what
    one = copy.deepcopy(west)
    one["features"][-1]["geometry"]["coordinates"].reverse()
    (found_one,) = problems(tmp_path, one)
    assert "swapped" in found_one.remedy


def test_a_whole_file_that_is_moved_shows_against_the_box_that_it_declares(tmp_path: Path) -> None:
    box = {"bbox": [LON - STEP, LAT - STEP, LON + 3 * STEP, LAT + 3 * STEP]}
    load(tmp_path, town() | box)
    shifted = moved(town(), into(Datum.GCJ02))
    load(tmp_path, shifted)  # all of it by the same 500 m: nothing in the file could tell
    found = problems(tmp_path, shifted | box)
    assert {"2 of 2 cells", "2 of 2 devices"} <= {p.what.partition(" reach")[0] for p in found}
    assert problems(tmp_path, town() | {"bbox": [3, 2, 1, 0]})[0].path == "bbox"


def test_heights_are_read_and_left_out(tmp_path: Path) -> None:
    high = moved(town(), lambda position: [*position, 250.5])
    assert load(tmp_path, high) == load(tmp_path, town())
    high["features"][2]["geometry"]["coordinates"][0][1].pop()
    assert load(tmp_path, high) == load(tmp_path, town())


def test_one_mistake_among_many_polygons_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    document = town()
    row = [cell(f"C{x}", polygon(square(x, 0))) for x in range(2, 2 + 3 * geojson.TOGETHER)]
    row[5]["geometry"] = {"type": "MultiPolygon", "coordinates": [row[5]["geometry"]["coordinates"]]}
    row[7]["geometry"]["coordinates"][0] = [[*position, 3.5] for position in row[7]["geometry"]["coordinates"][0]]
    document["features"] += row
    sound = load(tmp_path, document)
    assert [one.code for one in sound.cells] == ["A", "B", *(item["properties"]["code"] for item in row)]
    assert all(next(iter(one.polygons))[0][0] == point_e7(*square(x, 0)[0]) for x, one in enumerate(sound.cells))
    broken = copy.deepcopy(document)
    broken["features"][100]["geometry"]["coordinates"][0].pop()
    parsed = geojson.parse(json.dumps(broken).encode(), file="places.geojson")
    assert [problem.path for problem in parsed.problems] == ["features[100].geometry.coordinates[0]"]
    lost = broken["features"][100]["properties"]["code"]
    assert parsed.places.cells == tuple(one for one in sound.cells if one.code != lost)


def test_rings_that_run_the_wrong_way_are_turned_and_said(tmp_path: Path) -> None:
    document = town()
    hole = square(0.4, 0.4, 0.2)
    document["features"].append(cell("M", polygon(square(0.2, 0.2, 0.5), hole[::-1]), type="micro", parent="A"))
    right = places.read(json.dumps(document).encode(), file="places.geojson")
    assert right.remarks == ()
    document["features"][2]["geometry"]["coordinates"][0].reverse()
    document["features"][-1]["geometry"]["coordinates"][1].reverse()
    turned = places.read(json.dumps(document).encode(), file="places.geojson")
    assert turned.problems == ()
    (remark,) = turned.remarks
    assert isinstance(remark, PlaceProblem)
    assert (remark.codes, "right-hand rule" in remark.what) == (("A", "M"), True)
    assert ring_areas(stack([c.polygons for c in turned.places.cells])).tolist() == pytest.approx(
        ring_areas(stack([c.polygons for c in right.places.cells])).tolist()
    )
    assert turned.places.cells[1] == right.places.cells[1]


def test_a_polygon_of_100_000_positions_is_read_and_checked(tmp_path: Path) -> None:
    turns = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    ring = np.column_stack([LON + STEP * (1 + np.cos(turns)), LAT + STEP * (1 + np.sin(turns))]).tolist()
    document = town()
    document["features"] = [*document["features"][:2], cell("A", polygon([*ring, ring[0]]))]
    assert len(load(tmp_path, document).cells[0].polygons.array) == 100_001
    document["features"][2]["geometry"]["coordinates"][0][50_000] = [LON, LAT]  # a spike through the middle
    (found,) = problems(tmp_path, document)
    assert "self-intersection" in found.what
    document["features"][2]["geometry"]["coordinates"][0] = ring[:1] * 200_001
    (found,) = problems(tmp_path, document)
    assert "has 200,001 positions" in found.what


def ring_of_cells(hole: float) -> Document:
    """Eight cells around a ninth whose size is `hole` of a cell less than its place."""
    document = town()
    document["features"] = document["features"][:2]
    for x in range(3):
        for y in range(3):
            if (x, y) != (1, 1):
                document["features"].append(cell(f"{x}{y}", polygon(square(x, y))))
    if hole < 1:
        document["features"].append(cell("11", polygon(square(1, 1, 1 - hole))))
    return document


@pytest.mark.parametrize(("hole", "area"), [(1.0, "10[67]"), (0.01, "2[012]"), (0.0015, "[34]")])
def test_a_gap_is_named_with_its_area(tmp_path: Path, hole: float, area: str) -> None:
    (found,) = problems(tmp_path, ring_of_cells(hole))
    assert re.search(rf"gap of {area}", found.what), found


def test_a_broken_cell_is_not_reported_as_a_gap_too(tmp_path: Path) -> None:
    document = ring_of_cells(0)
    spike = square(1, 1)
    spike[2:2] = [[LON + 1.5 * STEP, LAT + 1.5 * STEP], spike[1]]
    bow_tie = [square(1, 1)[i] for i in (0, 2, 1, 3, 0)]
    for outline in (spike, bow_tie, square(1, 1)[:-1]):
        document["features"][-1]["geometry"] = polygon(outline)
        (found,) = problems(tmp_path, document)
        assert found.path.startswith("features[10].geometry.coordinates")


def test_what_stands_in_a_code_that_two_cells_have_is_no_second_mistake(tmp_path: Path) -> None:
    document = town()
    document["features"][3]["properties"]["code"] = "A"
    assert [found.what for found in problems(tmp_path, document)] == ["code A is used twice"]


def test_a_gap_of_drawing_noise_is_tolerated(tmp_path: Path) -> None:
    assert len(load(tmp_path, ring_of_cells(0.000_02)).cells) == 9  # 2 mm wide, 0.4 m2


def test_an_overlap_of_drawing_noise_is_tolerated(tmp_path: Path) -> None:
    document = town()
    document["features"][3]["geometry"] = polygon(square(0.999_9, 0, 0.5))  # 1 cm wide, 0.5 m2
    load(tmp_path, document)


def test_other_types_of_cell_may_lie_over_the_grid(tmp_path: Path) -> None:
    document = town()
    hole = square(0.4, 0.4, 0.2)[::-1]
    document["features"] += [
        cell("X", polygon(square(0.5, 0.2, 0.7)), type="exclusive", categories=["fire.*"]),
        cell("M", polygon(square(0.2, 0.2, 0.5), hole), type="micro", parent="A"),
    ]
    loaded = load(tmp_path, document)
    assert [c.type for c in loaded.cells[2:]] == [CellType.EXCLUSIVE, CellType.MICRO]
    assert len(loaded.cells[3].polygons[0]) == 2


@pytest.mark.parametrize(
    ("mine", "yours", "is_refused"),
    [
        ("fire.*", "fire.smoke.single", True),
        ("*", "order.bike", True),
        ("order.bike", "order.bike", True),
        ("fire.*", "firework", False),
        ("order.bike", "order.bike_lane", False),
    ],
)
def test_two_exclusive_cells_for_one_category_may_not_share_ground(
    tmp_path: Path, mine: str, yours: str, is_refused: bool
) -> None:
    document = town()
    document["features"] += [
        cell("X", polygon(square(0.2, 0.2, 0.7)), type="exclusive", categories=[mine]),
        cell("Y", polygon(square(0.5, 0.5, 0.7)), type="exclusive", categories=["gas.leak", yours]),
    ]
    if is_refused:
        (found,) = problems(tmp_path, document)
        assert "exclusive cells X and Y overlap" in found.what
    else:
        load(tmp_path, document)


def test_a_process_that_only_reads_places_does_not_load_shapely(tmp_path: Path) -> None:
    (tmp_path / "places.geojson").write_text(json.dumps(town()))
    program = (
        "import sys; from pathlib import Path; from models import places, people, catalogue, thresholds, city;"
        "places.load(Path(sys.argv[1]), geometry=False); assert 'shapely' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "places.geojson")], check=True, timeout=60)


def test_without_shapely_the_error_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shapely", None)
    (found,) = problems(tmp_path, town())
    assert found.remedy == "install gridwarden[stream]"


def test_a_cell_of_several_parts_with_a_hole_fits_its_neighbour(tmp_path: Path) -> None:
    document = town()
    island = square(1.2, 0.2, 0.3)
    document["features"][2]["geometry"] = {"type": "MultiPolygon", "coordinates": [[square(0, 0)], [island]]}
    document["features"][3]["geometry"] = polygon(square(1, 0), island[::-1])
    assert [len(c.polygons) for c in load(tmp_path, document).cells] == [2, 1]


def test_the_canonical_form_is_read_back_under_its_hash(tmp_path: Path) -> None:
    loaded = load(tmp_path, town())
    again = Places.from_bytes(loaded.to_bytes())
    assert (again, again.version, again.to_bytes()) == (loaded, loaded.version, loaded.to_bytes())
    shuffled = copy.deepcopy(town())
    shuffled["features"][2]["properties"] = dict(reversed(shuffled["features"][2]["properties"].items()))
    assert load(tmp_path, shuffled).version == loaded.version
    shuffled["features"][2]["properties"]["name"] = "别名"
    assert load(tmp_path, shuffled).version != loaded.version


def test_a_broken_canonical_form_is_refused() -> None:
    with pytest.raises(ConfigError, match="places record"):
        Places.from_bytes(b'{"cells": 3}')


@settings(max_examples=10, deadline=None)
@given(st.integers(4, 60), st.integers(0, 10**6))
def test_what_is_written_is_read_back(units: int, seed: int) -> None:
    written = generate(units, seed).places
    parsed, _, found = geojson.parse(geojson.dump(written), file="places.geojson")
    assert (parsed, found) == (written, [])


def test_the_page_on_places_names_every_property() -> None:
    page = (Path(__file__).parents[2] / "docs" / "places.md").read_text(encoding="utf-8")
    for layer, (_, record) in geojson.KINDS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{layer}` |"))
        assert set(record.__struct_fields__) - geojson.GEOMETRIC <= set(re.findall(r"\w+", row)), layer
