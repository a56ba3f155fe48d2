"""The cells of a sample city: base cells on the lattice, exclusive cells over them, micro cells inside."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from models.city.lattice import Block, Lattice, Layout, blob, rectangles
from models.city.plots import Plot, label, subdistrict_code
from models.city.template import Exclusive
from models.outlines import Polygons, Positions
from models.places import Cell, CellKind, CellType

BUILDINGS_U = (0.32, 0.68)
"""Where buildings stand, as shares of the width of their cell."""

ISLAND_AT, ISLAND_M, ISLAND_POINTS = (0.68, 0.52), 14.0, 28
"""Where in a cell an island of other ground lies, its radius, and its vertices."""

MICRO_SHARE = 0.05
EXCLUSIVE_POINTS = 40


def base_cells(lattice: Lattice, plots: list[Plot], rng: random.Random) -> Iterator[Cell]:
    """Yield the cells that cover the ground."""
    kinds = (CellKind.RESIDENTIAL, CellKind.MIXED, CellKind.MARKET, CellKind.SCHOOL)
    for plot, kind in zip(plots, rng.choices(kinds, weights=(6, 3, 1, 1), k=len(plots)), strict=True):
        name, name_en = plot.names
        yield Cell(
            code=plot.code,
            kind=kind,
            name=name,
            name_en=name_en,
            parent=plot.community.code,
            line=plot.lane_code,
            polygons=Polygons.of(_polygons(lattice, plot)),
        )


def _polygons(lattice: Lattice, plot: Plot) -> Iterator[tuple[Positions, ...]]:
    if plot.is_enclave:
        yield (_island(lattice, plot.block),)
        return
    outline = lattice.ring(plot.block)
    yield (outline, _island(lattice, plot.block)[::-1]) if plot.has_hole else (outline,)
    if plot.exclave:
        yield (_island(lattice, plot.exclave),)


def _island(lattice: Lattice, block: Block) -> Positions:
    (middle,) = lattice.shares([block], *ISLAND_AT)
    return lattice.points(middle + blob(ISLAND_M, ISLAND_POINTS))


def exclusive_cells(layout: Layout, lattice: Lattice, wanted: Sequence[Exclusive]) -> Iterator[Cell]:
    """One of each in each sub-district, over some base cells."""
    for number, (bands, columns) in enumerate(layout.subdistrict_edges):
        name, name_en = label(layout, number)
        rows = layout.rows_of(bands)
        for nth, one in enumerate(wanted, start=1):
            share = nth / (len(wanted) + 1)
            row = round(rows[1] + share * (rows[0] - rows[1]))
            column = round(columns[0] + share * (columns[1] - columns[0]))
            middle = lattice.corners[row, column][None]
            yield Cell(
                code=f"EX-{number + 1:02}-{nth}",
                kind=one.kind,
                name=f"{name}{one.name}",
                name_en=f"{name_en} {one.name_en}",
                parent=subdistrict_code(number),
                polygons=lattice.outlines(middle, blob(one.radius_m, EXCLUSIVE_POINTS))[0],
                type=CellType.EXCLUSIVE,
                categories=one.categories,
                lead_unit=one.lead_unit,
            )


def micro_cells(lattice: Lattice, plots: list[Plot], rng: random.Random) -> Iterator[Cell]:
    """The yard of a first building, in some cells."""
    chosen = [plot for plot in plots if not plot.is_enclave and rng.random() < MICRO_SHARE]
    at = lattice.shares([plot.block for plot in chosen], BUILDINGS_U[0], 0.585)
    for plot, outline in zip(chosen, lattice.outlines(at, rectangles(30.0, 26.0)), strict=True):
        name, name_en = plot.names
        yield Cell(
            code=f"{plot.code}-M1",
            kind=CellKind.RESIDENTIAL,
            name=f"{name}第1微网格",
            name_en=f"{name_en}, Micro-grid 1",
            parent=plot.code,
            polygons=outline,
            type=CellType.MICRO,
        )
