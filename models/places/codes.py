"""Codes of digits: 6 of a district, then 3 each of its sub-district, community and unit grid (GB/T 30428).

The first six are those of GB/T 2260; the next three begin with 0 for a street, 1 for a town, 2 or 3 for a township, 4
or 5 for an enterprise that is one (GB/T 10114). All other codes are local ones, of which nothing is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from models.places import Area, AreaKind, Cell, CellType
from models.places.sources import PlaceProblem, Sources

DIGITS: Final = {AreaKind.DISTRICT: 6, AreaKind.SUBDISTRICT: 9, AreaKind.COMMUNITY: 12}
UNIT_GRID_DIGITS: Final = 15
KINDS: Final[dict[int, str]] = {digits: kind.value for kind, digits in DIGITS.items()} | {UNIT_GRID_DIGITS: "unit grid"}
PROVINCES: Final = frozenset(
    {*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82}
)
LAST: Final = {9: 599, 12: 999, 15: 999}
"""The highest number of a part, by the digits up to its end; all count from 1."""


class _Flaw(NamedTuple):
    """A mistake in a code, its remedy, and the other code that takes part in it."""

    what: str
    remedy: str
    other: tuple[str, ...] = ()


def is_unit_grid(cell: Cell) -> bool:
    """Tell whether a cell claims, by its code, to be a unit grid of the standard."""
    return cell.type is CellType.BASE and cell.code.isdigit() and len(cell.code) == UNIT_GRID_DIGITS


def problems(sources: Sources) -> Iterator[PlaceProblem]:
    """Name codes of areas and cells that have another number of digits, digits that mean nothing, or another parent."""
    layers: dict[str, Sequence[Area | Cell]] = {"areas": sources.places.areas, "cells": sources.places.cells}
    for layer, items in layers.items():
        for index, item in enumerate(items):
            for flaw in _flaws(item, sources):
                codes = (item.code, *flaw.other)
                yield sources.problem((layer, index), ".properties.code", flaw.what, flaw.remedy, codes=codes)


def _flaws(item: Area | Cell, sources: Sources) -> Iterator[_Flaw]:
    code, parent = item.code, item.parent or ""
    if not code.isdigit():
        return
    wanted, kind = _digits_of(item), item.kind.value if isinstance(item, Area) else f"{item.type.value} cell"
    is_short_or_long = wanted is not None and _is_coded(parent) and code.startswith(parent)
    if len(code) != wanted and (_is_coded(code) or is_short_or_long):
        has = f"{kind} {code} has {len(code)} digits" + (f", as a {KINDS[len(code)]} has" if _is_coded(code) else "")
        remedy = f"give it {wanted}, or a code of your own with a letter" if wanted else "give it a code with a letter"
        yield _Flaw(has, remedy)
    elif len(code) == wanted:
        yield from _parts(code, parent)
        yield from _parent(code, parent, sources)


def _digits_of(item: Area | Cell) -> int | None:
    if isinstance(item, Area):
        return DIGITS[item.kind]
    return None if item.type is CellType.MICRO else UNIT_GRID_DIGITS


def _is_coded(code: str) -> bool:
    return code.isdigit() and len(code) in KINDS


def _parts(code: str, parent: str) -> Iterator[_Flaw]:
    """Name parts without a meaning; those that the parent has as well are named there."""
    known = len(parent) if _is_coded(parent) and code.startswith(parent) else 0
    if not known and int(code[:2]) not in PROVINCES:
        yield _Flaw(f"code {code} begins with {code[:2]}, which is no province", "begin with the 6 digits of GB/T 2260")
    for end, last in LAST.items():
        part = code[end - 3 : end]
        if known < end <= len(code) and not 1 <= int(part) <= last:
            what = f"code {code} has {part} as the number of its {KINDS[end]}"
            yield _Flaw(what, f"give digits {end - 2} to {end} a number from 001 to {last}")


def _parent(code: str, parent: str, sources: Sources) -> Iterator[_Flaw]:
    """A code begins with its parent's, and no area between the two is left out."""
    if not parent or parent not in sources.named["areas"]:
        return  # a district, or named already
    areas = sources.places.area_by_code
    above = next((code[:end] for end in (12, 9, 6) if end < len(code) and code[:end] in areas), None)
    if not code.startswith(parent):
        belongs = f": its digits are those of {above}" if above else ""
        what = f"code {code} does not begin with its parent's code {parent}{belongs}"
        yield _Flaw(what, "correct the code or the parent", (parent,))
    elif above and above != parent:
        what = f"code {code} has the digits of {above}, and names {parent} as its parent"
        yield _Flaw(what, "correct the code or the parent", (parent, above))
