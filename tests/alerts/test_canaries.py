from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from alerts.canaries import FILE, Canaries, is_canary, remember, remembered
from models.messages import CANARY, DispatchOrder, Timeline
from tests.alerts.town import incident, order

T0 = 1_800_000_000_000
MINUTE = 60_000


def canary(device: str, captured_ms: int) -> DispatchOrder:
    at = replace(incident(now_ms=T0), category=CANARY, sources=(device,), timeline=Timeline(captured_ms=captured_ms))
    return order(at, steps=(), reasons=("CANARY",))


def test_a_canary_is_measured_by_its_device() -> None:
    canaries = Canaries(MINUTE)
    for n, latency_ms in enumerate((80, 90, 400)):
        canaries.hear(canary("cam-01", T0 + n * MINUTE), T0 + n * MINUTE + latency_ms)
    (song,) = canaries.songs(T0 + 2 * MINUTE + 400)
    assert (song.device_id, song.latency_ms, song.p99_ms, song.is_silent) == ("cam-01", 400, 400, False)


def test_after_three_periods_without_one_a_device_is_silent_and_back_with_the_next() -> None:
    canaries = Canaries(MINUTE)
    canaries.hear(canary("cam-01", T0), T0)
    canaries.hear(canary("cam-02", T0 + MINUTE), T0 + MINUTE)
    assert [song.is_silent for song in canaries.songs(T0 + 3 * MINUTE - 1)] == [False, False]
    assert [song.is_silent for song in canaries.songs(T0 + 3 * MINUTE)] == [True, False]
    canaries.hear(canary("cam-01", T0 + 3 * MINUTE), T0 + 3 * MINUTE)
    assert [song.is_silent for song in canaries.songs(T0 + 3 * MINUTE)] == [False, False]


def test_who_falls_silent_while_this_process_is_away_is_missed_and_who_was_taken_down_is_not(tmp_path: Path) -> None:
    path = tmp_path / FILE
    assert remembered(path, {"cam-01"}) == []
    before = Canaries(MINUTE)
    for device in ("cam-03", "cam-01", "cam-02"):
        before.hear(canary(device, T0), T0)
    remember(path, before.singers)
    after = Canaries(MINUTE, known=remembered(path, {"cam-01", "cam-02"}), since_ms=T0 + 60 * MINUTE)
    after.hear(canary("cam-01", T0 + 61 * MINUTE), T0 + 61 * MINUTE)
    assert [song.is_silent for song in after.songs(T0 + 61 * MINUTE)] == [False, False]
    silent = [song.device_id for song in after.songs(T0 + 63 * MINUTE) if song.is_silent]
    assert silent == ["cam-02"]
    path.write_text("torn")
    assert remembered(path, {"cam-01"}) == []


def test_a_real_order_is_no_canary() -> None:
    assert not is_canary(order(incident(now_ms=T0), steps=()))
    assert is_canary(canary("cam-01", T0))
