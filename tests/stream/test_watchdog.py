from __future__ import annotations

import pytest

from stream.log.file import Partition
from stream.watchdog import StuckError, Watchdog

OBS, ORDERS = Partition("obs", 0), Partition("orders", 0)
HEADS = {OBS: 100, ORDERS: 10}


def look(dog: Watchdog, now_ms: int, *, is_settling: bool = False, **positions: int) -> None:
    by_topic = {Partition(topic, 0): offset for topic, offset in positions.items()}
    dog.look(by_topic, HEADS, is_settling=is_settling, now_ms=now_ms)


def test_a_partition_that_stands_still_before_the_end_is_stuck_and_named() -> None:
    dog = Watchdog(stuck_ms=1_000)
    look(dog, 0, obs=40)
    look(dog, 999, obs=40)
    with pytest.raises(StuckError, match="obs/0 stands at 40 of 100"):
        look(dog, 1_000, obs=40)


def test_one_that_moves_however_slowly_is_not_stuck() -> None:
    dog = Watchdog(stuck_ms=1_000)
    for second in range(50):
        look(dog, second * 900, obs=40 + second)


def test_one_that_has_nothing_to_read_is_not_stuck() -> None:
    dog = Watchdog(stuck_ms=1_000)
    for second in range(10):
        look(dog, second * 1_000, obs=100, orders=10)


def test_one_whose_stream_has_no_room_is_not_asked_for_and_begins_anew() -> None:
    dog = Watchdog(stuck_ms=1_000)
    look(dog, 0, orders=3)
    look(dog, 900, obs=100)  # 256 orders are in flight: nobody wants the next
    look(dog, 1_800, orders=3)
    look(dog, 2_700, orders=3)
    with pytest.raises(StuckError):
        look(dog, 2_800, orders=3)


def test_while_the_end_of_the_log_cannot_be_seen_nothing_is_stuck() -> None:
    dog = Watchdog(stuck_ms=1_000)
    look(dog, 0, obs=40)
    dog.forget()
    look(dog, 5_000, obs=40)
    look(dog, 5_999, obs=40)


def test_a_rebalance_without_an_end_is_stuck_and_one_that_ends_is_not() -> None:
    dog = Watchdog(stuck_ms=1_000, settle_ms=5_000)
    look(dog, 0, obs=40)
    for now_ms in range(500, 5_000, 500):
        look(dog, now_ms, is_settling=True, obs=40)
    look(dog, 5_000, obs=40)
    look(dog, 5_500, is_settling=True)
    look(dog, 10_400, is_settling=True)
    with pytest.raises(StuckError, match="given out for 5 s"):
        look(dog, 10_500, is_settling=True)
