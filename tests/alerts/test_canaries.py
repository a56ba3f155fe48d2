from __future__ import annotations

from msgspec.structs import replace

from alerts.canaries import Canaries, is_canary
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


def test_a_real_order_is_no_canary() -> None:
    assert not is_canary(order(incident(now_ms=T0), steps=()))
    assert is_canary(canary("cam-01", T0))
