from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import geo

LON = st.floats(-180, 180)
LAT = st.floats(-60, 60)
OFFSET_M = st.floats(-7_000, 7_000)


def chord_m(a: geo.PointE7, b: geo.PointE7) -> float:
    """The straight line through the WGS-84 ellipsoid: the oracle, by another formula."""

    def earth_centred(point: geo.PointE7) -> tuple[float, float, float]:
        lon, lat = (math.radians(geo.to_degrees(units)) for units in point)
        e2 = 0.00669437999014
        n = 6_378_137 / math.sqrt(1 - e2 * math.sin(lat) ** 2)
        return n * math.cos(lat) * math.cos(lon), n * math.cos(lat) * math.sin(lon), n * (1 - e2) * math.sin(lat)

    return math.dist(earth_centred(a), earth_centred(b))


@given(st.floats(-180, 180))
def test_one_number_and_an_array_round_alike(degrees: float) -> None:
    assert geo.array_e7([degrees])[0] == geo.to_e7(degrees)
    assert abs(geo.to_degrees(geo.to_e7(degrees)) - degrees) <= 0.5000001e-7


@given(st.integers(-1_800_000_000, 1_800_000_000))
def test_units_survive_the_way_over_degrees(units: int) -> None:
    assert geo.to_e7(geo.to_degrees(units)) == units


@pytest.mark.parametrize("degrees", [math.nan, math.inf, -math.inf])
def test_what_is_no_angle_is_refused(degrees: float) -> None:
    with pytest.raises(ValueError, match="not an angle"):
        geo.to_e7(degrees)


@given(LON, LAT, OFFSET_M, OFFSET_M)
def test_distances_agree_with_the_ellipsoid(lon: float, lat: float, x_m: float, y_m: float) -> None:
    a = geo.point_e7(lon, lat)
    frame = geo.LocalFrame.at(a)
    b = frame.to_e7(x_m, y_m)
    want = chord_m(a, b)
    assert geo.distance_m(a, b) == pytest.approx(want, rel=0.001, abs=0.03)
    assert math.hypot(*frame.to_xy(b)) == pytest.approx(want, rel=0.002, abs=0.03)
    assert geo.distance_m(a, b) == geo.distance_m(b, a)


@given(LON, LAT, OFFSET_M, OFFSET_M)
def test_the_plane_and_back_is_the_same_place(lon: float, lat: float, x_m: float, y_m: float) -> None:
    frame = geo.LocalFrame.at(geo.point_e7(lon, lat))
    there = frame.to_e7(x_m, y_m)
    assert frame.to_xy(there) == pytest.approx((x_m, y_m), abs=0.006)
    assert frame.xy_array([there])[0] == pytest.approx(frame.to_xy(there))


@given(*[st.tuples(OFFSET_M, OFFSET_M)] * 3)
def test_the_nearest_place_of_a_segment_is_no_further_than_any_sample(
    p: tuple[float, float], a: tuple[float, float], b: tuple[float, float]
) -> None:
    frame = geo.LocalFrame.at(geo.point_e7(106.5, 29.5))
    point, start, end = (frame.to_e7(*xy) for xy in (p, a, b))
    plane = geo.LocalFrame.at(point)
    (x0, y0), (x1, y1) = plane.to_xy(start), plane.to_xy(end)
    samples = [math.hypot(x0 + s * (x1 - x0), y0 + s * (y1 - y0)) for s in np.linspace(0, 1, 201)]
    got = geo.segment_distance_m(point, start, end)
    step_m = math.hypot(x1 - x0, y1 - y0) / 200
    assert min(samples) - step_m - 1e-6 <= got <= min(samples) + 1e-6


def test_a_line_of_one_point_is_as_far_as_that_point() -> None:
    frame = geo.LocalFrame.at((1_065_000_000, 295_000_000))
    assert geo.line_distance_m(frame.origin, [frame.to_e7(30, 40)]) == pytest.approx(50, abs=0.02)
    assert geo.segment_distance_m(frame.origin, frame.to_e7(3, 4), frame.to_e7(3, 4)) == pytest.approx(5, abs=0.02)


def test_the_sign_of_an_area_tells_the_winding() -> None:
    frame = geo.LocalFrame.at((1_065_000_000, 295_000_000))
    ring = [frame.to_e7(*xy) for xy in ((0, 0), (100, 0), (100, 100), (0, 100), (0, 0))]
    assert geo.ring_area_m2(ring) == pytest.approx(10_000, rel=0.001)
    assert geo.ring_area_m2(ring[::-1]) == pytest.approx(-10_000, rel=0.001)
