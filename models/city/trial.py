"""Six incidents that every city is tried with: the same kinds of places, categories and hours, whatever its model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.cases import Case
from models.geo import UNITS_PER_DEGREE
from models.outlines import Polygons
from models.places import CellKind, CellType, Line, LineKind, Node, NodeKind, Places

WORKDAY: Final = dt.datetime(2026, 11, 25, 10)  # noqa: DTZ001  # local to the roster
SATURDAY_NIGHT: Final = dt.datetime(2026, 11, 28, 22)  # noqa: DTZ001
SUNDAY_NIGHT: Final = dt.datetime(2026, 11, 29, 3)  # noqa: DTZ001

Position = npt.NDArray[np.float64]


class Trial(NamedTuple):
    """An incident without its place."""

    id: str
    name: str
    name_en: str
    category: str
    at: dt.datetime


TRIALS: Final = (
    Trial("smoke_in_building", "居民楼内烟雾", "Smoke in a building", "fire.smoke.confirmed", WORKDAY),
    Trial("goods_before_shop", "店外经营", "Goods before a shop", "order.shop_overflow", WORKDAY),
    Trial(
        "fire_in_old_quarter",
        "历史街区夜间明火",
        "Fire at night in the old quarter",
        "fire.flame.confirmed",
        SUNDAY_NIGHT,
    ),
    Trial("gas_in_restaurant", "餐馆燃气泄漏", "Gas in a restaurant", "gas.leak", WORKDAY),
    Trial("waste_in_lane", "巷内暴露垃圾", "Waste in a lane", "waste.exposed", WORKDAY),
    Trial("water_on_street", "街道夜间积水", "Water on the street at night", "road.flooding", SATURDAY_NIGHT),
)


def cases(places: Places) -> tuple[Case, ...]:
    """Give the incidents with their places: outside exclusive and micro cells, but for the old quarter.

    A hamlet may have no place for one of them, such as no shop; then that one is left out.
    """
    quarters = [cell for cell in places.cells if cell.type is CellType.EXCLUSIVE and cell.kind is CellKind.HERITAGE]
    away = [cell.polygons for cell in places.cells if cell.type is not CellType.BASE]
    buildings = [node for node in places.nodes if node.kind is NodeKind.BUILDING]
    shops = [node for node in places.nodes if node.kind is NodeKind.SHOP]
    spots = (
        _first(away, _middles(buildings)),
        _first(away, (_middle(shop.frontage) for shop in shops)),
        _nearest(buildings, _middle(quarters[0].polygons)) if quarters else _first(away, _middles(buildings)),
        _first(away, _middles(shops)),
        _first(away, _along(places.lines, LineKind.LANE)),
        _first(away, _along(places.lines, LineKind.STREET)),
    )
    return tuple(_case(trial, spot) for trial, spot in zip(TRIALS, spots, strict=True) if spot is not None)


def _case(trial: Trial, spot: Position) -> Case:
    lon_deg, lat_deg = (np.rint(spot) / UNITS_PER_DEGREE).tolist()
    return Case(lon_deg=lon_deg, lat_deg=lat_deg, **trial._asdict())


def _middle(polygons: Polygons) -> Position:
    middle: Position = polygons.array[: polygons.rings[0] - 1].mean(axis=0)
    return middle


def _middles(nodes: Sequence[Node]) -> Iterator[Position]:
    return (_middle(node.polygons) for node in nodes)


def _along(lines: Sequence[Line], kind: LineKind) -> Iterator[Position]:
    """Yield a place of each line, half a block from its end: there no other line comes near."""
    return (line.points.array[3].astype(np.float64) for line in lines if line.kind is kind)


def _first(away: Sequence[Polygons], spots: Iterator[Position]) -> Position | None:
    boxes = np.array([(*p.array.min(axis=0), *p.array.max(axis=0)) for p in away]).reshape(-1, 4)
    return next((spot for spot in spots if not _is_inside(boxes, spot)), None)


def _is_inside(boxes: npt.NDArray[np.int32], spot: Position) -> bool:
    return bool(np.any(np.all((boxes[:, :2] <= spot) & (spot <= boxes[:, 2:]), axis=1)))


def _nearest(nodes: Sequence[Node], spot: Position) -> Position:
    return min(_middles(nodes), key=lambda middle: float(np.hypot(*(middle - spot))))
