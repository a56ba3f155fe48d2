from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edge.camera import CameraLoop, Scene
from edge.health import AFTER_MS, AGAIN_MS, Health, look
from edge.moment import Moment
from edge.outbox import Entry
from edge.sources import Frame
from models.messages import NO_FAULT, Fault
from tests.edge.red import street


def run(images: list[NDArray[np.uint8]], step_ms: int = 1_000) -> list[tuple[int, str]]:
    health, told = Health(), []
    for number, image in enumerate(images):
        health, fault = look(health, image, now_mono_ms=number * step_ms)
        if fault:
            told.append((number * step_ms, fault))
    return told


def test_a_living_street_is_no_fault() -> None:
    assert run([street(seed=number) for number in range(60)]) == []


def test_a_picture_that_repeats_itself_is_frozen_and_told_once_and_again_after_minutes() -> None:
    told = run([street()] * 700)
    assert [fault for _, fault in told] == ["frozen", "frozen", "frozen"]
    assert told[0][0] == 1_000 + AFTER_MS
    assert told[1][0] - told[0][0] == AGAIN_MS


def test_no_light_is_dark_and_no_contrast_is_covered() -> None:
    rng = np.random.default_rng(0)
    black = [rng.integers(0, 4, (320, 320, 3)).astype(np.uint8) for _ in range(15)]
    grey = [rng.integers(100, 103, (320, 320, 3)).astype(np.uint8) for _ in range(15)]
    assert [fault for _, fault in run(black)] == ["dark"]
    assert [fault for _, fault in run(grey)] == ["covered"]


def test_a_passing_lorry_is_no_fault() -> None:
    dark = np.zeros((320, 320, 3), np.uint8)
    assert run([*[dark] * 9, street(), *[dark] * 9]) == []


def test_a_camera_that_was_dark_says_once_when_it_sees_again() -> None:
    entries: list[Entry] = []
    scene = SimpleNamespace(
        camera=SimpleNamespace(device="cam-01", source="rtsp://x"),
        edge=SimpleNamespace(floor=0.15),
        detector=SimpleNamespace(detect=lambda _image: []),
        pulse=SimpleNamespace(frame=lambda *_: None),
        put=entries.append,
    )
    loop = CameraLoop(cast("Scene", scene))
    dark = [np.random.default_rng(n).integers(0, 4, (320, 320, 3)).astype(np.uint8) for n in range(15)]
    for number, image in enumerate([*dark, *(street(seed=number) for number in range(30))]):
        loop._watch(Frame(image, Moment(wall_ms=number * 1_000, mono_ms=number * 1_000), number))
    said = [(draft.observed.mono_ms, draft.payload) for entry in entries for draft in entry.drafts]
    assert [(at_ms, cast("Fault", fault).fault) for at_ms, fault in said] == [(10_000, "dark"), (25_000, NO_FAULT)]
