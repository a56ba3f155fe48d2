"""Who is there when: of many groups of persons at once, where fewer than two are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.people import Employment, People
from models.people.columns import EMPLOYMENTS, I64, NOBODY, Spans, joined


class Staff:
    """Who may be asked for a post and when: its holders under contract, and its deputies.

    Attributes:
        window: of time.
    """

    def __init__(self, people: People, window: tuple[int, int]) -> None:
        self.window = window
        self.people = people
        self.columns = columns = people.columns
        duty = columns.duty(*window)
        post = np.repeat(np.arange(len(columns.post_ids)), np.diff(duty.start))
        self.duty = Spans(post, duty.person.astype(np.int64), duty.from_ms, duty.until_ms)
        unit = columns.unit[post].astype(np.int64)
        self.under_contract = self.duty.cut(columns.contract_from_ms, columns.contract_until_ms, unit)
        is_volunteer = columns.employment == EMPLOYMENTS.index(Employment.VOLUNTEER)
        self.may_lead = ~(is_volunteer[self.duty.person] | columns.is_volunteer_group[unit])

    def of(self, posts: I64, spans: Spans) -> Spans:
        """Return who may be asked for each of some posts, as rows whose `post` is the place in `posts`.

        Args:
            posts: by number.
            spans: duty by its own posts, some of all of it.
        """
        columns = self.columns
        by_post = np.argsort(spans.post, kind="stable")
        post_start = np.searchsorted(spans.post[by_post], np.arange(len(columns.post_ids) + 1))
        by_person = np.argsort(spans.person, kind="stable")
        person_start = np.searchsorted(spans.person[by_person], np.arange(len(columns.person_ids) + 1))
        slot, row = rows_of(columns.deputy_start, posts)
        as_post, as_person = columns.deputy_post[row], columns.deputy_person[row]
        is_post = as_post != NOBODY
        asked = np.concatenate([np.arange(len(posts)), slot[is_post]])
        one, own = rows_of(post_start, np.concatenate([posts, as_post[is_post]]))
        other, persons = rows_of(person_start, as_person[~is_post])
        owner = np.concatenate([asked[one], slot[~is_post][other]])
        rows = np.concatenate([by_post[own], by_person[persons]])
        return Spans(owner, spans.person[rows], spans.from_ms[rows], spans.until_ms[rows])

    def leaders(self, qualifications: Sequence[str]) -> Spans:
        """Return the duty, by its own posts, of who may lead where these are asked for."""
        required = self.columns.required(qualifications)
        if required is None:
            return self.under_contract.where(np.zeros(len(self.duty.post), np.bool_))
        has = self.columns.qualification_bits & np.uint64(required) == required
        spans = self.under_contract
        return spans.where(self.may_lead & has[spans.person] & (spans.from_ms < spans.until_ms))


def rows_of(start: I64, owners: NDArray[np.integer]) -> tuple[I64, I64]:
    """Return the rows of some owners in CSR form, and for each row the place of its owner in `owners`."""
    counts = start[owners + 1] - start[owners]
    ends = np.cumsum(counts)
    place = np.repeat(np.arange(len(owners)), counts)
    return place, np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts - start[owners], counts)


class Level(NamedTuple):
    """From when to when how many are there: 0 or 1, of a group by its place."""

    group: int
    from_ms: int
    until_ms: int
    staffed: int


def thin(spans: Spans, groups: int, window: tuple[int, int]) -> Iterator[Level]:
    """Yield where fewer than two persons of a group are there at once; `spans.post` is the group."""
    if not groups:
        return
    rows = joined(spans, groups, window)
    width = window[1] - window[0] + 1
    owner = np.repeat(np.arange(groups), np.diff(rows.start)) * width - window[0]
    edges = np.arange(groups) * width
    moment = np.concatenate([owner + rows.from_ms, owner + rows.until_ms, edges, edges + width - 1])
    change = np.concatenate([np.ones(len(owner)), -np.ones(len(owner)), np.zeros(2 * groups)]).astype(np.int64)
    order = np.argsort(moment)
    moment, count = moment[order], np.minimum(np.cumsum(change[order]), 2)
    # At one moment only the last word counts, and a stretch goes on until the count changes.
    is_last = np.append(moment[1:] != moment[:-1], True)
    moment, count = moment[is_last], count[is_last]
    place = moment // width
    is_new = np.ones(len(moment), np.bool_)
    is_new[1:] = (count[1:] != count[:-1]) | (place[1:] != place[:-1])
    moment, count, place = moment[is_new], count[is_new], place[is_new]
    until = np.append(moment[1:], 0)
    is_end = np.append(place[1:] != place[:-1], True)
    until[is_end] = (place[is_end] + 1) * width - 1
    wanted = (count < 2) & (moment < until)
    shift = window[0] - place * width
    columns = (place, moment + shift, until + shift, count)
    yield from map(Level._make, zip(*(column[wanted].tolist() for column in columns), strict=True))
