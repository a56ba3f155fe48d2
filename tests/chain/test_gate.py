"""The gate that is measured (`models.detectors.evaluation.gate`) against the one that runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.confirm import Memory, choose
from edge.moment import Moment
from edge.tracker import Tracks, follow
from models import catalogue, thresholds
from models.detectors import read_manifest
from models.detectors.evaluation.gate import Events, Sighting, first_events, published
from models.detectors.manifest import ZOO, Gate, Threshold
from models.detectors.runtime import Box
from models.thresholds import LabelRule
from stream.zones.family import Hit, Machine
from stream.zones.rules import Judgement, Level

STEP_MS = 200
FLOOR = 0.15
POINTS = Threshold(hint=0.5, alarm=0.8)
Frame = Sequence[tuple[float, float]]  # score and left edge of each box
scores = st.sampled_from([0.0, 0.1, 0.2, 0.45, 0.5, 0.55, 0.6, 0.79, 0.8, 0.95])


def level_of(score: float) -> Level:
    if score >= POINTS.alarm:
        return Level.ALARM
    return Level.HINT if score >= POINTS.hint else Level.NONE


def run_the_chain(frames: Sequence[Frame], gate: Gate) -> Events:
    """What edge and stream make of the frames of one camera."""
    tracks, memory, machine = Tracks("cam"), Memory(), Machine()
    meaning = catalogue.load().labels["fire"]
    judged = Judgement("fire", "fire", meaning, Level.HINT, 0.9, gate.min_hits, round(gate.window_s * 1000))
    first: dict[Level, float] = {}
    for number, frame in enumerate(frames):
        at_ms = number * STEP_MS
        boxes = [Box("fire", score, left, 0.1, left + 0.1, 0.2) for score, left in frame if score >= FLOOR]
        boxes.sort(key=lambda box: -box.confidence)
        tracks, seen = follow(tracks, boxes, Moment(at_ms, at_ms))
        memory, choices = choose(memory, seen, now_mono_ms=at_ms)
        for choice in choices:
            level = level_of(choice.track.confidence)
            if level < Level.HINT:
                continue
            enough = machine.add_hit("cam|fire", Hit(at_ms, level, "o", "alarm", number), judged)
            if enough:
                first.setdefault(Level.HINT, at_ms / 1000)
                if max(hit.level for hit in enough) is Level.ALARM:
                    first.setdefault(Level.ALARM, at_ms / 1000)
    return Events(first.get(Level.HINT), first.get(Level.ALARM))


def sighting(frames: Sequence[Frame]) -> Sighting:
    best = np.array([max((score for score, _ in frame), default=0.0) for frame in frames])
    return Sighting(np.arange(len(frames)) * STEP_MS / 1000, best, np.full(len(frames), 0.01))


@settings(max_examples=80, deadline=None)
@given(st.lists(scores, max_size=80), st.integers(1, 5), st.sampled_from([2.0, 10.0]))
def test_one_thing_in_view_makes_the_same_events(values: list[float], hits: int, window_s: float) -> None:
    frames = [[(value, 0.4)] for value in values]
    gate = Gate(min_hits=hits, window_s=window_s)
    assert first_events(published(sighting(frames), FLOOR), POINTS, gate) == run_the_chain(frames, gate)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.tuples(scores, st.sampled_from([0.0, 0.3, 0.33, 0.8])), max_size=3), max_size=60))
def test_whatever_is_in_view_counting_every_frame_is_never_kinder(frames: list[list[tuple[float, float]]]) -> None:
    ours, theirs = first_events(sighting(frames), POINTS, Gate()), run_the_chain(frames, Gate())
    for mine, real in zip(ours, theirs, strict=True):
        assert real is None or (mine is not None and mine <= real)


def test_the_shipped_gate_is_the_shipped_thresholds() -> None:
    ours = thresholds.load()
    for path in ZOO.glob("*.toml"):
        shipped = read_manifest(path)
        for label in shipped.labels:
            rule = ours.labels.get(label, LabelRule())
            hits, window_s = rule.min_hits or ours.min_hits, rule.window_s or ours.window_s
            gate = shipped.gate
            assert (gate.min_hits, gate.window_s, gate.hysteresis) == (hits, window_s, ours.hysteresis)
