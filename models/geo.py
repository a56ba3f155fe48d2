"""Positions as integers of 1e-7 degree and distances in metres around a point.

A position is ``(lon_e7, lat_e7)``: longitude first, as in GeoJSON, rounded half to even, at load and at query alike, so
that a border is the same border everywhere. One unit is at most 1.1 cm. Distances are taken on a plane that touches the
ellipsoid at one point: within 10 km of it, up to 60 degrees of latitude, they are right to 0.2 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

PointE7 = tuple[int, int]
"""Longitude and latitude in 1e-7 degree, WGS-84."""

Ring = tuple[PointE7, ...]
"""Closed: the last point is the first."""

Polygon = tuple[Ring, ...]
"""The outer ring, then the holes."""

UNITS_PER_DEGREE = 10_000_000


def to_e7(degrees: float) -> int:
    """Round degrees to integers of 1e-7 degree, half to even.

    Raises:
        ValueError: not a finite number.
    """
    if not math.isfinite(degrees):
        msg = f"{degrees} is not an angle"
        raise ValueError(msg)
    return round(degrees * UNITS_PER_DEGREE)


def to_degrees(units: int) -> float:
    """Give the degrees that round back to exactly `units`."""
    return units / UNITS_PER_DEGREE


def point_e7(lon_deg: float, lat_deg: float) -> PointE7:
    """Round a position given in degrees."""
    return to_e7(lon_deg), to_e7(lat_deg)


def array_e7(degrees: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Round an array of degrees as `to_e7` does; the shape stays."""
    return np.rint(np.asarray(degrees, dtype=np.float64) * UNITS_PER_DEGREE).astype(np.int64)


def metres_per_degree(lat_deg: float) -> tuple[float, float]:
    """Give the lengths of one degree of longitude and of latitude, in metres.

    The usual series for the WGS-84 ellipsoid, right to about 1 cm per degree.
    """
    phi = math.radians(lat_deg)
    lon_m = 111_412.84 * math.cos(phi) - 93.5 * math.cos(3 * phi) + 0.118 * math.cos(5 * phi)
    lat_m = 111_132.92 - 559.82 * math.cos(2 * phi) + 1.175 * math.cos(4 * phi) - 0.0023 * math.cos(6 * phi)
    return max(lon_m, 0.0), lat_m


@dataclass(frozen=True, slots=True)
class LocalFrame:
    """A plane in metres, x east and y north, with `origin` at (0, 0)."""

    origin: PointE7
    x_m_per_unit: float
    y_m_per_unit: float

    @classmethod
    def at(cls, origin: PointE7) -> Self:
        """Lay the plane at `origin`."""
        lon_m, lat_m = metres_per_degree(to_degrees(origin[1]))
        return cls(origin, lon_m / UNITS_PER_DEGREE, lat_m / UNITS_PER_DEGREE)

    def to_xy(self, point: PointE7) -> tuple[float, float]:
        """Give x and y in metres."""
        return (point[0] - self.origin[0]) * self.x_m_per_unit, (point[1] - self.origin[1]) * self.y_m_per_unit

    def to_e7(self, x_m: float, y_m: float) -> PointE7:
        """Give the nearest position to x and y."""
        return self.origin[0] + round(x_m / self.x_m_per_unit), self.origin[1] + round(y_m / self.y_m_per_unit)

    def xy_array(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Give metres, (n, 2) float64, of points, (n, 2) of 1e-7 degree."""
        units = np.asarray(points, dtype=np.int64).reshape(-1, 2) - np.asarray(self.origin, dtype=np.int64)
        metres: npt.NDArray[np.float64] = units * np.array([self.x_m_per_unit, self.y_m_per_unit])
        return metres


def distance_m(a: PointE7, b: PointE7) -> float:
    """Distance between two positions on the plane at their middle latitude."""
    middle = LocalFrame.at((a[0], (a[1] + b[1]) // 2))
    return math.hypot((b[0] - a[0]) * middle.x_m_per_unit, (b[1] - a[1]) * middle.y_m_per_unit)


def segment_distance_m(point: PointE7, a: PointE7, b: PointE7) -> float:
    """Distance from `point` to the nearest place of the segment from `a` to `b`."""
    return line_distance_m(point, (a, b))


def line_distance_m(point: PointE7, line: npt.ArrayLike) -> float:
    """Distance from `point` to the nearest place of a line of (n, 2) positions, n >= 1."""
    xy = LocalFrame.at(point).xy_array(line)
    start, step = xy[:-1], np.diff(xy, axis=0)
    if not len(start):
        return float(np.hypot(*xy[0]))
    length2 = np.einsum("ij,ij->i", step, step)
    along = np.clip(-np.einsum("ij,ij->i", start, step) / np.where(length2 > 0, length2, 1), 0, 1)
    return float(np.hypot(*(start + along[:, None] * step).T).min())


def ring_area_m2(ring: npt.ArrayLike) -> float:
    """Area of a closed ring of (n, 2) positions: above zero where it runs counter-clockwise (shoelace formula)."""
    points = np.asarray(ring, dtype=np.int64).reshape(-1, 2)
    x, y = LocalFrame.at((int(points[0, 0]), int(points[0, 1]))).xy_array(points).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)
