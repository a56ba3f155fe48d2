"""Where in the file each thing stood, and mistakes that can be drawn on a map."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from models.content import Record
from models.errors import Problem
from models.geo import PointE7
from models.outlines import Points, Polygons
from models.places import Area, Cell, Device, Line, Node, Places, Zone

Shape = Polygons | Points | PointE7 | None
At = tuple[str, int]
"""A layer of `Places` and an index in it."""

LAYERS = ("areas", "cells", "nodes", "lines", "zones", "devices")
SPATIAL = LAYERS[:4]
"""What has a code; zones and devices have an id."""

S = TypeVar("S", bound=Record)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceProblem(Problem):
    """A mistake in `places.geojson`.

    Attributes:
        codes: of all that take part in it.
        area_m2: of the ground in question, where there is some.
        shape: what to draw; None where nothing could be read.
    """

    codes: tuple[str, ...] = ()
    area_m2: float | None = None
    shape: Shape = None


@dataclass(slots=True)
class Sources:
    """Where in the file each thing stood, so that a later check can name it.

    Attributes:
        features: layer field (such as `cells`) to the feature indices, parallel to `Places`.
        named: codes and ids of all features, broken ones too: a reference to those is no second mistake.
        bbox: west, south, east, north that the file declares, in 1e-7 degree of WGS-84.
        is_whole: every feature of the file is in `places`.
        clockwise: layer and index of what had a ring that ran the wrong way round, which was turned.
    """

    file: Path | str = "places.geojson"
    places: Places = field(default_factory=Places)
    features: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in LAYERS})
    named: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in LAYERS})
    bbox: tuple[int, int, int, int] | None = None
    is_whole: bool = True
    clockwise: list[At] = field(default_factory=list)

    def problem(
        self,
        at: At,
        rest: str,
        what: str,
        remedy: str,
        *,
        codes: tuple[str, ...] = (),
        area_m2: float | None = None,
        shape: Shape = None,
    ) -> PlaceProblem:
        """Name a mistake at `rest` of the item at `at`; without `codes` and `shape` it is about that item itself."""
        layer, index = at
        item = getattr(self.places, layer)[index]
        return PlaceProblem(
            file=self.file,
            path=f"features[{self.features[layer][index]}]{rest}",
            what=what,
            remedy=remedy,
            codes=codes or (key_of(item),),
            area_m2=area_m2,
            shape=shape_of(item) if shape is None else shape,
        )


def key_of(item: Record) -> str:
    """Return the code or id of an item."""
    return str(getattr(item, "code", "") or getattr(item, "id", ""))


def shape_of(item: Record) -> Shape:
    """Return what an item looks like on a map."""
    match item:
        case Area() | Cell() | Node():
            return item.polygons or None
        case Line():
            return item.points
        case Device() | Zone():
            return item.point
    return None
