from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.moment import Moment
from edge.tracker import FORGET_AFTER_MS, Track, Tracks, area, flicker, follow, growth
from models.detectors import Box

T0 = Moment(1_800_000_000_000, 50_000)


def box(x: float = 0.4, y: float = 0.4, size: float = 0.2, *, label: str = "fire", confidence: float = 0.5) -> Box:
    return Box(label, confidence, x, y, x + size, y + size)


def run(frames: list[list[Box]], step_ms: int = 200) -> list[tuple[Track, ...]]:
    tracks, seen = Tracks("cam-01"), []
    for number, boxes in enumerate(frames):
        tracks, found = follow(tracks, boxes, T0.plus(number * step_ms))
        seen.append(found)
    return seen


def test_a_box_that_stays_is_one_track_that_counts_its_hits() -> None:
    seen = run([[box()], [box(0.42)], [], [box(0.41)]])
    assert [[(t.track_id, t.hits, t.first_seen_ms) for t in found] for found in seen] == [
        [("cam-01-1", 1, T0.wall_ms)],
        [("cam-01-1", 2, T0.wall_ms)],
        [],
        [("cam-01-1", 3, T0.wall_ms)],
    ]


def test_a_leaping_flame_without_overlap_is_still_one_track() -> None:
    seen = run([[box(0.4, size=0.1)], [box(0.45, 0.33, size=0.06)]])
    assert seen[1][0].hits == 2


def test_labels_and_places_make_different_tracks() -> None:
    seen = run([[box(), box(0.7, 0.7)], [box(label="smoke"), box(0.71, 0.7), box(0.41)]])
    assert {(t.track_id, t.label, t.hits) for t in seen[1]} == {
        ("cam-01-1", "fire", 2), ("cam-01-2", "fire", 2), ("cam-01-3", "smoke", 1),
    }  # fmt: skip


def test_a_track_is_forgotten_and_its_id_never_comes_again() -> None:
    tracks, _ = follow(Tracks("cam-01"), [box()], T0)
    tracks, seen = follow(tracks, [box()], T0.plus(FORGET_AFTER_MS + 1))
    assert [t.track_id for t in seen] == ["cam-01-2"]
    assert [t.hits for t in seen] == [1]


def test_a_wall_clock_that_jumps_breaks_no_track() -> None:
    tracks, _ = follow(Tracks("cam-01"), [box()], T0)
    _, seen = follow(tracks, [box()], Moment(T0.wall_ms - 3_600_000, T0.mono_ms + 200))
    assert [(t.track_id, t.first_seen_ms) for t in seen] == [("cam-01-1", T0.wall_ms)]


boxes_strategy = st.lists(
    st.builds(
        box,
        st.floats(-0.1, 1.0),
        st.floats(-0.1, 1.0),
        st.floats(0.0, 0.5),
        label=st.sampled_from(["fire", "smoke"]),
        confidence=st.floats(0, 1),
    ),
    max_size=6,
)


@given(st.lists(boxes_strategy, max_size=6))
def test_every_box_becomes_exactly_one_track_of_its_label(frames: list[list[Box]]) -> None:
    for boxes, seen in zip(frames, run(frames), strict=True):
        assert sorted((b.label, b.confidence) for b in boxes) == sorted((t.label, t.confidence) for t in seen)
        assert len({t.track_id for t in seen}) == len(seen)
        assert all(0.0 <= value <= 1.0 for t in seen for value in t.box)


def test_growth_is_the_relative_growth_per_second() -> None:
    sizes = [0.1 * math.sqrt(1.5 ** (number * 0.2)) for number in range(11)]  # half as much again each second
    seen = run([[box(0.3, 0.3, size)] for size in sizes])
    assert growth(seen[-1][0]) == pytest.approx(math.log(1.5), rel=1e-6)
    assert growth(seen[2][0]) is None


def test_flicker_is_told_from_20_frames_per_second_on() -> None:
    def sizes(hertz: float, count: int) -> list[list[Box]]:
        return [[box(0.3, 0.3, 0.2 + 0.05 * math.sin(2 * math.pi * hertz * n / 25))] for n in range(count)]

    fast = flicker(run(sizes(5.0, 76), step_ms=40)[-1][0])
    slow = flicker(run(sizes(0.4, 76), step_ms=40)[-1][0])
    assert fast is not None
    assert slow is not None
    assert fast > 10.0
    assert slow < 0.1
    assert flicker(run(sizes(5.0, 76), step_ms=100)[-1][0]) is None
    assert flicker(run(sizes(5.0, 10), step_ms=40)[-1][0]) is None


def test_an_area_is_never_negative() -> None:
    assert area((0.5, 0.5, 0.2, 0.9)) == 0.0
