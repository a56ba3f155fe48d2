"""Owners and chains of many questions at once, as numbers: what `stream.rank` shows as steps and candidates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models import catalogue
from models.catalogue import Catalogue
from models.people import People
from models.places import Places
from stream import chain, layout, locate
from stream.days import Days
from stream.kernels import Asked, Indices, Ints, Owners
from stream.layout import CATEGORY, Cases, Chains
from stream.locate import Locator
from stream.tables import Roll

ROOM_ON_SHEET = 256
"""Persons, posts and slots that one question has room for at first."""
CANDIDATES_EACH = 24
STEPS_EACH = 16
NO_LOADS: Ints = np.empty((0, 2), dtype=np.int64)
NO_REPORTERS: Indices = np.empty(0, dtype=np.int32)


class Answers(NamedTuple):
    """Where each question is, and its chain, as `stream.chain` lays it out."""

    owners: Owners
    chains: Chains


class Matcher:
    """One version of places, people and catalogue, ready to be asked by one thread. Building it is the expensive part.

    Attributes:
        locator: whose a point is.
        roll: who is asked.
        category_index: by key.
    """

    def __init__(self, places: Places, people: People, events: Catalogue, days: Days | None = None) -> None:
        self.category_index = {category.key: index for index, category in enumerate(events.categories)}
        self.locator = Locator(places, tuple(self.category_index))
        self.roll = Roll(places, people, events, self.locator.codes, days or Days(people.columns, events))
        self._sheet = layout.sheet_of(ROOM_ON_SHEET)

    def match(self, lon_e7: Ints, lat_e7: Ints, cases: Cases, room: Chains | None = None) -> Answers:
        """Find owners and chain of each question.

        Args:
            lon_e7: (n,) int64 of 1e-7 degree.
            lat_e7: (n,) likewise.
            cases: category, priority, moment, radius, reporters; see `stream.chain`.
            room: for the chains, such as those of an earlier call, which are written over; where they fit.
        """
        rows = cases.rows
        owners = self.locator.owners(Asked(lon_e7, lat_e7, rows[:, layout.RADIUS_MM].copy(), rows[:, CATEGORY].copy()))
        return Answers(owners, self.rank(owners, cases, room))

    def rank(self, owners: Owners, cases: Cases, room: Chains | None = None) -> Chains:
        """Find the chain of each question from its owners."""
        rows = cases.rows
        tables = self.roll.at(rows)
        chains, times = room or chains_of(len(rows)), 1
        while chain.rank(tables, owners, cases, self._sheet, chains) < len(rows):
            # Only a seat with hundreds of operators comes here.
            times *= 4
            self._sheet, chains = layout.sheet_of(times * ROOM_ON_SHEET), chains_of(times * len(rows))
        return chains


def chains_of(n: int) -> Chains:
    """Return room for the chains of as many questions."""
    heads, steps = np.empty((n, 3), dtype=np.int64), np.empty((STEPS_EACH * n, 5), dtype=np.int64)
    return Chains(heads, steps, np.empty((CANDIDATES_EACH * n, 6), dtype=np.int64))


def cases_of(
    category: Ints,
    priority: Ints,
    at_ms: Ints,
    radius_mm: Ints,
    *,
    since_ms: Ints | None = None,
    reporters: Indices = NO_REPORTERS,
    loads: Ints = NO_LOADS,
) -> Cases:
    """Return questions, (n,) each; `reporters` are persons who reported all of them."""
    since = at_ms if since_ms is None else since_ms
    rows = np.empty((len(category), 7), dtype=np.int64)
    for number, column in enumerate((category, priority, at_ms, since, radius_mm)):
        rows[:, number] = column
    rows[:, layout.REPORTERS], rows[:, layout.REPORTERS_END] = 0, len(reporters)
    return Cases(rows, reporters, loads)


def warm() -> None:
    """Compile every kernel, or load it from the cache: call this before the first message."""
    locate.warm()
    matcher = Matcher(Places(), People(time_zone="UTC"), catalogue.load())
    one = np.zeros(1, dtype=np.int64)
    matcher.match(one, one, cases_of(one, one, one, one))
