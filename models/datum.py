"""WGS-84, GCJ-02 and BD-09: what Chinese maps shift positions by, and the way back.

GCJ-02 moves a position by 100 to 700 m along a sum of sines; BD-09 turns and shifts GCJ-02 once more, by about 1 km.
Neither has a published standard: the constants are those that every public converter uses (Krasovsky's ellipsoid among
them), and the tests hold us to their published pairs. The way back has no formula, so it is found by iteration, to less
than 1e-9 degree.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

Degrees = npt.NDArray[np.float64]
"""(n, 2): longitude, latitude."""


class Datum(enum.StrEnum):
    """What the positions of a file are given in."""

    WGS84 = "WGS-84"
    GCJ02 = "GCJ-02"
    BD09 = "BD-09"


CHINA: Final = (72.004, 0.8293, 137.8347, 55.8271)
"""West, south, east, north: outside of this GCJ-02 is WGS-84."""

_AXIS_M: Final = 6_378_245.0
_ECCENTRICITY2: Final = 0.00669342162296594323
_BD_SHIFT_DEG: Final = (0.0065, 0.006)
_BD_PERIOD: Final = np.pi * 3000.0 / 180.0
_ROUNDS: Final = 30
_CLOSE_DEG: Final = 1e-10


def to_wgs84(points: npt.ArrayLike, datum: Datum) -> Degrees:
    """Convert positions, (n, 2) longitude and latitude in degrees, from `datum`."""
    given = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    return given if datum is Datum.WGS84 else _inverse(given, _FORWARD[datum])


def from_wgs84(points: npt.ArrayLike, datum: Datum) -> Degrees:
    """Convert positions, (n, 2) longitude and latitude in degrees, into `datum`."""
    given = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    return given if datum is Datum.WGS84 else _FORWARD[datum](given)


def _to_gcj02(wgs: Degrees) -> Degrees:
    west, south, east, north = CHINA
    lon, lat = wgs.T
    is_inside = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
    return wgs + np.where(is_inside[:, None], _shift(lon, lat), 0.0)


def _shift(lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> Degrees:
    """Give by how many degrees GCJ-02 is off, (n, 2)."""
    x, y = lon - 105.0, lat - 35.0
    ripple = 20.0 * np.sin(6.0 * np.pi * x) + 20.0 * np.sin(2.0 * np.pi * x)
    waves_x = 20.0 * _wave(x, 1) + 40.0 * _wave(x, 3) + 150.0 * _wave(x, 12) + 300.0 * _wave(x, 30)
    waves_y = 20.0 * _wave(y, 1) + 40.0 * _wave(y, 3) + 160.0 * _wave(y, 12) + 320.0 * _wave(y, 30)
    root = np.sqrt(np.abs(x))
    east_m = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + (ripple + waves_x) * 2.0 / 3.0
    north_m = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + (ripple + waves_y) * 2.0 / 3.0
    phi = np.radians(lat)
    squeeze = 1.0 - _ECCENTRICITY2 * np.sin(phi) ** 2
    meridian_m = _AXIS_M * (1.0 - _ECCENTRICITY2) / squeeze**1.5
    parallel_m = _AXIS_M / np.sqrt(squeeze) * np.cos(phi)
    return np.degrees(np.column_stack([east_m / parallel_m, north_m / meridian_m]))


def _wave(values: npt.NDArray[np.float64], period: float) -> npt.NDArray[np.float64]:
    waves: npt.NDArray[np.float64] = np.sin(values / period * np.pi)
    return waves


def _to_bd09(wgs: Degrees) -> Degrees:
    x, y = _to_gcj02(wgs).T
    radius = np.hypot(x, y) + 2e-5 * np.sin(y * _BD_PERIOD)
    angle = np.arctan2(y, x) + 3e-6 * np.cos(x * _BD_PERIOD)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]) + _BD_SHIFT_DEG


_FORWARD: Final[dict[Datum, Callable[[Degrees], Degrees]]] = {Datum.GCJ02: _to_gcj02, Datum.BD09: _to_bd09}


def _inverse(given: Degrees, forward: Callable[[Degrees], Degrees]) -> Degrees:
    """Find what `forward` takes to `given`: the shift hardly changes over its own length, so going back by it works."""
    found = given
    for _ in range(_ROUNDS):
        error = forward(found) - given
        found = found - error
        if not np.abs(error).max(initial=0.0) > _CLOSE_DEG:
            break
    return found
