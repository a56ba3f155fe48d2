from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edge.confirm import NOTABLE, PERIOD_MS, PICTURE_PERIOD_MS, Choice, Memory, choose
from edge.tracker import Track

TRACK = Track("t-1", "fire", (0.1, 0.1, 0.2, 0.2), 0.5, 3, 0, 0, ())


def run(samples: list[tuple[int, float]], track: Track = TRACK) -> list[tuple[int, Choice]]:
    memory, published = Memory(), []
    for at_ms, confidence in samples:
        memory, choices = choose(memory, [replace(track, confidence=confidence)], now_mono_ms=at_ms)
        published += [(at_ms, choice) for choice in choices]
    return published


def test_a_steady_candidate_is_published_twice_per_second() -> None:
    published = run([(ms, 0.5) for ms in range(0, 10_000, 100)])
    assert [at_ms for at_ms, _ in published] == list(range(0, 10_000, PERIOD_MS))


def test_every_new_maximum_is_published_at_once() -> None:
    published = run([(0, 0.3), (100, 0.2), (200, 0.4), (300, 0.4), (400, 0.41)])
    assert [(at_ms, choice.track.confidence) for at_ms, choice in published] == [(0, 0.3), (200, 0.4), (400, 0.41)]


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0.15, 1.0)), max_size=60))
def test_confirm_never_withholds_the_best_nor_half_a_second(steps: list[tuple[int, float]]) -> None:
    samples, at_ms = [], 0
    for step_ms, confidence in steps:
        at_ms += step_ms
        samples.append((at_ms, confidence))
    published = {at_ms: choice.track.confidence for at_ms, choice in run(samples)}
    if samples:
        assert max(published.values()) == max(confidence for _, confidence in samples)
        assert samples[0][0] in published
    last_ms = 0
    for at_ms, _ in samples:
        if at_ms - last_ms >= PERIOD_MS:
            assert at_ms in published
        last_ms = max(ms for ms in published if ms <= at_ms)


def test_a_picture_comes_with_the_first_notable_candidate_and_then_rarely() -> None:
    low = NOTABLE - 0.05
    samples = [(0, low), (600, 0.5), (1_200, 0.6), (11_000, 0.45), (11_600, 0.7), (12_200, 0.9)]
    assert [at_ms for at_ms, choice in run(samples) if choice.with_picture] == [600, 600 + PICTURE_PERIOD_MS + 1_000]


def test_a_swarm_of_tracks_shares_one_picture_every_two_seconds_and_the_left_out_get_theirs_later() -> None:
    swarm = [replace(TRACK, track_id=f"t-{number}") for number in range(3)]
    memory, pictured = Memory(), []
    for at_ms in range(0, 6_000, 500):
        memory, choices = choose(memory, swarm, now_mono_ms=at_ms)
        assert len(choices) == 3
        pictured += [(at_ms, choice.track.track_id) for choice in choices if choice.with_picture]
    assert pictured == [(0, "t-0"), (2_000, "t-1"), (4_000, "t-2")]


def test_tracks_that_are_gone_are_forgotten() -> None:
    memory, _ = choose(Memory(), [TRACK], now_mono_ms=0)
    memory, _ = choose(memory, [], now_mono_ms=60_000)
    assert memory.said == {}
