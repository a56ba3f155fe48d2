"""The set of seqs against a plain set."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from models.seqset import SeqSet, to_ranges

seqs = st.lists(st.integers(1, 60), max_size=80)


@given(seqs)
def test_it_holds_what_a_plain_set_holds(added: list[int]) -> None:
    ours, plain = SeqSet(), set[int]()
    for seq in added:
        assert ours.add(seq) is (seq not in plain)
        plain.add(seq)
    assert {seq for seq in range(1, 62) if seq in ours} == plain


@given(seqs)
def test_its_ranges_stay_sorted_apart_and_above_the_floor(added: list[int]) -> None:
    ours = SeqSet()
    for seq in added:
        ours.add(seq)
    low = ours.floor
    for first, last in ours.ranges:
        assert first > low + 1
        assert last >= first
        low = last
    missing = {seq for first, last in ours.gaps() for seq in range(first, last + 1)}
    assert missing == set(range(1, max(added, default=0) + 1)) - set(added)


@given(seqs, st.integers(1, 60), st.integers(0, 20))
def test_a_range_is_as_good_as_its_members(added: list[int], first: int, length: int) -> None:
    one, other = SeqSet(), SeqSet()
    for seq in added:
        one.add(seq)
        other.add(seq)
    one.add_range(first, first + length)
    for seq in range(first, first + length + 1):
        other.add(seq)
    assert one == other
    assert msgspec.json.decode(msgspec.json.encode(one), type=SeqSet) == one


RUNS = st.integers(1, 40).map(lambda first: [first, first + 1, first + 2])


@given(seqs, st.lists(st.integers(1, 60), min_size=1, max_size=20) | RUNS)
def test_the_next_ones_are_put_in_at_once_or_not_at_all(added: list[int], more: list[int]) -> None:
    held, plain = SeqSet(), SeqSet()
    for seq in added:
        held.add(seq)
        plain.add(seq)
    before = SeqSet(held.floor, list(held.ranges))
    if held.add_next(more):
        assert [plain.add(seq) for seq in more] == [True] * len(more)
        assert held == plain
    else:
        assert held == before


@given(seqs)
def test_ranges_name_exactly_their_seqs(added: list[int]) -> None:
    ranges = to_ranges(added)
    assert [seq for first, last in ranges for seq in range(first, last + 1)] == sorted(set(added))
    assert all(b[0] > a[1] + 1 for a, b in itertools.pairwise(ranges))


def test_two_sets_do_not_share_their_ranges() -> None:
    one = SeqSet()
    one.add(5)
    assert SeqSet().ranges == []
