from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datum import CHINA, Datum, from_wgs84, to_wgs84

# Published with eviltransform and coordtransform (two independent public converters): lon, lat before and after. The
# first uses 6,378,137 m for the axis, which is 1e-7 degree of the shift.
GCJ_PAIRS = [
    ((121.5272106, 31.1774276), (121.531541859215, 31.17530398364597), 2e-7),
    ((113.912316, 22.543847), (113.9171764808363, 22.540796131694766), 2e-7),
    ((116.377817, 39.911954), (116.38404722455657, 39.91334545536069), 2e-7),
    ((116.404, 39.915), (116.41024449916938, 39.91640428150164), 1e-10),
]
BD_OF_GCJ = ((116.404, 39.915), (116.41036949371029, 39.92133699351021))
BD_OF_WGS = ((116.404, 39.915), (116.41662724378733, 39.922699552216216))

INSIDE = st.tuples(st.floats(CHINA[0] + 0.1, CHINA[2] - 0.1), st.floats(CHINA[1] + 0.1, CHINA[3] - 0.1))
SHIFTED = st.sampled_from([Datum.GCJ02, Datum.BD09])


@pytest.mark.parametrize(("wgs", "gcj", "within_deg"), GCJ_PAIRS)
def test_gcj02_is_what_public_converters_say(
    wgs: tuple[float, float], gcj: tuple[float, float], within_deg: float
) -> None:
    assert from_wgs84([wgs], Datum.GCJ02)[0] == pytest.approx(gcj, abs=within_deg, rel=0)
    assert to_wgs84([gcj], Datum.GCJ02)[0] == pytest.approx(wgs, abs=within_deg, rel=0)


def test_bd09_is_what_public_converters_say() -> None:
    wgs, bd = BD_OF_WGS
    assert from_wgs84([wgs], Datum.BD09)[0] == pytest.approx(bd, abs=1e-10, rel=0)
    gcj, bd = BD_OF_GCJ
    assert from_wgs84(to_wgs84([gcj], Datum.GCJ02), Datum.BD09)[0] == pytest.approx(bd, abs=1e-9, rel=0)


@given(INSIDE, SHIFTED)
def test_there_and_back_is_the_same_place(point: tuple[float, float], datum: Datum) -> None:
    assert to_wgs84(from_wgs84([point], datum), datum)[0] == pytest.approx(point, abs=1e-9, rel=0)
    assert from_wgs84(to_wgs84([point], datum), datum)[0] == pytest.approx(point, abs=1e-9, rel=0)


@given(INSIDE)
def test_a_position_moves_by_hundreds_of_metres_and_never_by_kilometres(point: tuple[float, float]) -> None:
    off_deg = np.abs(from_wgs84([point], Datum.GCJ02)[0] - point)
    assert 1e-4 < off_deg.max() < 0.03
    assert off_deg[1] < 0.02


def test_outside_china_gcj02_is_wgs84() -> None:
    elsewhere = [(2.35, 48.85), (-0.1, 51.5), (151.2, -33.9)]
    assert from_wgs84(elsewhere, Datum.GCJ02).tolist() == [list(point) for point in elsewhere]
    assert to_wgs84(elsewhere, Datum.GCJ02).tolist() == [list(point) for point in elsewhere]


def test_many_points_are_converted_as_each_alone() -> None:
    points = np.random.default_rng(0).uniform((75, 18), (135, 53), (500, 2))
    together = to_wgs84(points, Datum.BD09)
    for point, converted in zip(points, together, strict=True):
        assert to_wgs84([point], Datum.BD09)[0] == pytest.approx(converted, abs=1e-9, rel=0)
