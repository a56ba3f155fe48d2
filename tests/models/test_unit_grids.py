"""Unit grids: codes of 15 digits and areas of about 10,000 m2, each mistake with its codes and on the map."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.check import check
from models.city import generate, write
from models.places import CellType
from models.places.codes import is_unit_grid
from models.places.drawing import mistakes
from models.places.sources import PlaceProblem
from tests.models.test_geometry import STEP_M2, outline, read, run
from tests.models.test_places import Document, cell, feature, polygon, square

DISTRICT, STREET, COMMUNITY = "110101", "110101001", "110101001001"


def dongcheng(*codes: str, parent: str = COMMUNITY) -> Document:
    """A row of cells of 10,748 m2 with the codes of one community."""
    codes = codes or tuple(f"{COMMUNITY}{number:03}" for number in (1, 2, 3))
    features = [
        feature("area", None, code=DISTRICT, kind="district"),
        feature("area", None, code=STREET, kind="subdistrict", parent=DISTRICT),
        feature("area", None, code=COMMUNITY, kind="community", parent=STREET),
        *(cell(code, polygon(square(x, 0)), parent=parent) for x, code in enumerate(codes)),
    ]
    return {"type": "FeatureCollection", "datum": "WGS-84", "features": features}


def test_a_right_grid_is_neither_refused_nor_remarked_on() -> None:
    found = read(dongcheng())
    assert (found.problems, found.remarks) == ((), ())
    assert all(is_unit_grid(one) for one in found.places.cells)


@pytest.mark.parametrize(
    ("code", "parent", "what", "codes"),
    [
        (f"{COMMUNITY}000", COMMUNITY, "has 000 as the number of its unit grid", ()),
        (f"{COMMUNITY}01", COMMUNITY, "base cell 11010100100101 has 14 digits", ()),
        (f"{COMMUNITY}0001", COMMUNITY, "has 16 digits", ()),
        (COMMUNITY[:-3] + "009", STREET, "has 12 digits, as a community has", ()),
        ("110101001002001", COMMUNITY, f"does not begin with its parent's code {COMMUNITY}: its digits", (COMMUNITY,)),
        (f"{COMMUNITY}009", STREET, f"has the digits of {COMMUNITY}, and names {STREET}", (STREET, COMMUNITY)),
        ("110101001000001", STREET, "has 000 as the number of its community", ()),
        ("110101600001001", DISTRICT, "has 600 as the number of its subdistrict", ()),
        ("991101001001001", DISTRICT, f"does not begin with its parent's code {DISTRICT}", (DISTRICT,)),
        ("991101001001001", DISTRICT, "begins with 99, which is no province", ()),
    ],
)
def test_a_wrong_code_is_named_with_the_codes_and_drawn(
    code: str, parent: str, what: str, codes: tuple[str, ...]
) -> None:
    document = dongcheng()
    document["features"].append(cell(code, polygon(square(3, 0)), parent=parent))
    found = [one for one in read(document).problems if isinstance(one, PlaceProblem) and what in one.what]
    assert [one.codes for one in found] == [(code, *codes)]
    assert (found[0].path, bool(found[0].remedy)) == ("features[6].properties.code", True)
    (drawn,) = mistakes(found)
    assert drawn["geometry"]["coordinates"][0][0] == square(3, 0)[0]


@pytest.mark.parametrize("code", ["12", "A-7", "1" * 20, "110102001001001M"])
def test_a_local_code_is_asked_nothing(code: str) -> None:
    document = dongcheng(f"{COMMUNITY}001", code)
    assert read(document).problems == ()


def test_an_area_has_the_digits_of_its_level() -> None:
    document = dongcheng()
    document["features"][1]["properties"]["kind"] = "community"
    document["features"][2]["properties"]["code"] = f"{DISTRICT}000007"
    said = [one.what for one in read(document).problems]
    assert f"community {STREET} has 9 digits, as a subdistrict has" in said
    assert any("does not begin with its parent's code 110101001" in one for one in said)


def test_a_micro_cell_is_no_unit_grid_and_an_exclusive_one_may_be() -> None:
    document = dongcheng()
    inner = outline((0.2, 0.2), (0.4, 0.2), (0.4, 0.4))
    over = {"type": "exclusive", "categories": ["gas.*"], "lead_unit": "gas"}
    document["features"] += [
        cell(f"{COMMUNITY}005", inner, type="micro", parent=f"{COMMUNITY}001"),
        cell(f"{COMMUNITY}006", inner, parent=COMMUNITY, **over),
    ]
    (one,) = read(document).problems
    assert one.what == f"micro cell {COMMUNITY}005 has 15 digits, as a unit grid has"


def test_a_code_stands_once() -> None:
    found = read(dongcheng(f"{COMMUNITY}001", f"{COMMUNITY}001"))
    assert any(one.what == f"code {COMMUNITY}001 is used twice" for one in found.problems)


def test_only_grids_far_from_10_000_m2_are_remarked_on_with_their_area_and_all_others_taken() -> None:
    document = dongcheng(f"{COMMUNITY}001", f"{COMMUNITY}002", "local")
    for index, (east, north) in enumerate([(0.4, 0.5), (0.5, 0.7), (0.1, 0.1)]):
        document["features"][3 + index]["geometry"] = outline((0, 0), (east, 0), (east, north), (0, north))
        document["features"][3 + index]["geometry"]["coordinates"][0] = [
            [lon + index * 0.01, lat] for lon, lat in document["features"][3 + index]["geometry"]["coordinates"][0]
        ]
    found = read(document)
    assert found.problems == ()
    (remark,) = found.remarks
    assert isinstance(remark, PlaceProblem)
    assert (remark.codes, remark.path) == ((f"{COMMUNITY}001",), "features[3].geometry")
    assert remark.area_m2 == pytest.approx(0.2 * STEP_M2, rel=0.001)
    assert remark.what == f"cell {COMMUNITY}001 has {remark.area_m2:,.0f} m2, and a unit grid has about 10,000"
    (drawn,) = mistakes((), found.remarks)
    assert (drawn["properties"]["area_m2"], drawn["properties"]["severity"]) == (remark.area_m2, "remark")


def test_the_limits_are_those_of_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(generate(30, template="dongcheng"), tmp_path)
    found = check(tmp_path)
    assert (found.problems, found.remarks) == ([], [])
    settings_file = tmp_path / "gridwarden.toml"
    settings_file.write_text(settings_file.read_text().replace("[500, 30_000]", "[9_500, 10_000]"))
    drawn_file = tmp_path / "mistakes.geojson"
    assert run("check", str(tmp_path), "--map", str(drawn_file)) == 0
    drawn = json.loads(drawn_file.read_text())["features"]
    base = [one for one in generate(30, template="dongcheng").places.cells if one.type is CellType.BASE]
    assert 0 < len(drawn) < len(base)
    assert all(not 9_500 <= one["properties"]["area_m2"] <= 10_000 for one in drawn)
    assert capsys.readouterr().err.count("a unit grid has about 10,000") == len(drawn)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_every_cell_whose_digits_were_spoilt_is_named_and_no_other(seed: int, spoilt: int) -> None:
    rng = random.Random(seed)
    codes = [f"{COMMUNITY}{number:03}" for number in range(1, 9)]
    wrong = {}
    for index in rng.sample(range(8), spoilt):
        at = rng.randrange(12)
        digit = rng.choice([one for one in "0123456789" if one != codes[index][at]])
        wrong[index] = codes[index] = codes[index][:at] + digit + codes[index][at + 1 :]
    found = [one for one in read(dongcheng(*codes)).problems if isinstance(one, PlaceProblem)]
    assert {one.codes[0] for one in found} == set(wrong.values())
