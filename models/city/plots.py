"""Which block of the lattice has which code and name, and which communities there are."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from models.city.lattice import STREETS_PER_SUBDISTRICT, Block, Layout, blocks
from models.city.names import numeral

DISTRICT = 500_199
"""Code of the first district; nobody has it. The others count down from it."""

SUBDISTRICTS_PER_DISTRICT = 16

ENCLAVE_SHARE, EXCLAVE_SHARE = 0.008, 0.006
"""Islands that are cells, and islands that belong to the next cell, by cell. An enclave makes one cell with a hole, an
exclave one with a hole and one of two parts: 2 % of the cells together."""


def subdistrict_code(number: int) -> str:
    """Give the 9 digits of a sub-district, counted from 0."""
    district, within = divmod(number, SUBDISTRICTS_PER_DISTRICT)
    return f"{DISTRICT - district}{within + 1:03}"


def label(layout: Layout, subdistrict: int) -> tuple[str, str]:
    """Give what the names of a sub-district's places begin with."""
    if layout.subdistricts == 1:
        return "样例", "Sample"
    return f"样例{numeral(subdistrict + 1)}街道", f"Sample {subdistrict + 1}"


@dataclass(frozen=True)
class Community:
    """The cells along one street, and the codes and names of what is in it."""

    layout: Layout
    band: int
    run: int

    @property
    def number(self) -> int:
        """Within its sub-district, from 0."""
        return self.band % STREETS_PER_SUBDISTRICT

    @property
    def subdistrict(self) -> int:
        """Number of its sub-district, from 0."""
        return self.layout.subdistrict(self.band, self.run)

    @cached_property
    def code(self) -> str:
        """The 12 digits that its cells' codes begin with."""
        return f"{subdistrict_code(self.subdistrict)}{self.number + 1:03}"

    @cached_property
    def names(self) -> tuple[str, str]:
        """Its own, which its cells' names begin with."""
        name, name_en = label(self.layout, self.subdistrict)
        return f"{name}{numeral(self.number + 1)}社区", f"{name_en} Community {self.number + 1}"

    @cached_property
    def street_names(self) -> tuple[str, str]:
        """Those of its street."""
        name, name_en = label(self.layout, self.subdistrict)
        return f"{name}{numeral(self.number + 1)}街", f"{name_en} Street {self.number + 1}"

    @cached_property
    def _digits(self) -> str:
        return f"{self.layout.street(self.band, self.run) + 1:02}"

    @property
    def street(self) -> str:
        """The code of its street."""
        return f"ST-{self._digits}"

    def road(self, group: int) -> str:
        """Give the code of the road of a group of columns, counted within the run from 0."""
        return f"RD-{self._digits}-{group + 1:02}"

    def lane(self, group: int, lane: int) -> str:
        """Give the code of a lane."""
        return f"LN-{self._digits}-{group + 1:02}-{lane}"


@dataclass(frozen=True)
class Plot:
    """A block with its codes.

    Attributes:
        group: of columns, counted within the run from 0; it has a road.
        lane: that serves it, within the band from 1.
        number: within its community, from 1.
        is_enclave: it is the island in the block, and not the ground around it.
        has_hole: the island in the block is another's.
        exclave: the block in which an island belongs to it.
    """

    block: Block
    community: Community
    group: int
    lane: int
    number: int
    is_enclave: bool = False
    has_hole: bool = False
    exclave: Block | None = None

    @cached_property
    def code(self) -> str:
        """The 15 digits of a unit grid."""
        return f"{self.community.code}{self.number:03}"

    @property
    def lane_code(self) -> str:
        """The code of the lane that serves it."""
        return self.community.lane(self.group, self.lane)

    @cached_property
    def names(self) -> tuple[str, str]:
        """Chinese and English."""
        name, name_en = self.community.names
        return f"{name}第{self.number}网格", f"{name_en}, Grid {self.number}"


def communities(layout: Layout) -> Iterator[Community]:
    """Yield the communities, row by row from the south-west."""
    for band in range(layout.bands):
        for run in range(layout.runs):
            yield Community(layout, band, run)


def plots_of(layout: Layout, units: int, rng: random.Random) -> list[Plot]:
    """Give blocks their codes, within a community from the north-west as the standard counts (GB/T 30428.1)."""
    enclaves, exclaves = round(units * ENCLAVE_SHARE), round(units * EXCLAVE_SHARE)
    found = blocks(layout, units - enclaves, rng)
    hosts = _hosts(layout, found, enclaves + exclaves, rng)
    owned = {owner: found[host] for host, owner in hosts[enclaves:]}
    holed, islands = {host for host, _ in hosts}, {host for host, _ in hosts[:enclaves]}
    of_community: dict[tuple[int, int], list[int]] = {}
    for index, block in enumerate(found):
        place = block.row // layout.rows_per_band, layout.group_of[block.first] // layout.groups_per_run
        of_community.setdefault(place, []).append(index)
    plots: list[Plot] = []
    for (band, run), indices in of_community.items():
        community, number = Community(layout, band, run), 0
        for index in sorted(indices, key=lambda i: (-found[i].row, found[i].first)):
            block = found[index]
            group = layout.group_of[block.first] % layout.groups_per_run
            lane = layout.lane_row(block.row) - band * layout.rows_per_band
            number += 1
            own = Plot(block, community, group, lane, number, has_hole=index in holed, exclave=owned.get(index))
            plots.append(own)
            if index in islands:
                number += 1
                plots.append(Plot(block, community, group, lane, number, is_enclave=True))
    return plots


def _hosts(layout: Layout, found: list[Block], count: int, rng: random.Random) -> list[tuple[int, int]]:
    """Choose blocks for islands, each with the next block of its row and community, and no block twice."""
    pairs = [
        (i, i + 1)
        for i, (block, following) in enumerate(itertools.pairwise(found))
        if block.row == following.row
        and block.last - block.first == 1
        and layout.group_of[block.first] == layout.group_of[following.first]
    ]
    rng.shuffle(pairs)
    used: set[int] = set()
    chosen: list[tuple[int, int]] = []
    for pair in pairs:
        if len(chosen) < count and used.isdisjoint(pair):
            chosen.append(pair)
            used.update(pair)
    return chosen
