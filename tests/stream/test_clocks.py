"""A device whose wall clock is wrong: told, once, over when it is right, and nobody's alarm is any different for it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from models import catalogue
from models.messages import Fault, Payload, Quality, Stage
from models.thresholds import Supervision
from stream.records import SignalKind, SignalRecord
from tests.stream import builders as b
from tests.stream.builders import T0
from tests.stream.test_zones import Log

RAISED, _, EVIDENCE, CLEARED, _ = SignalKind
MINUTE = 60_000
HOUR = 60 * MINUTE


@pytest.fixture
def log() -> Log:
    return Log()


def say(
    log: Log, skew_ms: int | None, *minutes: float, device: str = "gas-1", payload: Payload | None = None
) -> list[SignalRecord]:
    """Let a device say something at each of these minutes, its clock off by so much."""
    said = []
    for minute in minutes:
        seen = log.seen(device, payload or b.reading(0.0, "gas", "%"), T0 + round(minute * MINUTE))
        said += log.put(b.batch(replace(seen, skew_ms=skew_ms)))
    return said


def told(signals: list[SignalRecord]) -> list[tuple[SignalKind, tuple[str, ...]]]:
    return [(one.kind, one.reasons) for one in signals if one.family == "clock"]


@pytest.mark.parametrize("skew_ms", [5_001, -5_001, HOUR, -T0])
def test_a_clock_that_is_off_in_every_message_of_five_minutes_is_told_once(log: Log, skew_ms: int) -> None:
    assert say(log, skew_ms, 0, 1, 2, 3, 4, 4.99) == []
    (signal,) = say(log, skew_ms, 5)
    assert (signal.kind, signal.stage, signal.category) == (RAISED, Stage.PRE_ALARM, "device.clock")
    assert (signal.label, signal.sources, signal.reasons) == ("clock_skew", ("gas-1",), ("CLOCK_SKEW",))
    assert say(log, skew_ms, 6, 7, 60) == []


def test_it_is_over_when_the_clock_is_right_and_not_sooner(log: Log) -> None:
    say(log, HOUR, 0, 2, 5)
    assert told(say(log, 4_000, *range(6, 30))) == []  # within the limit, and not yet well within
    assert told(say(log, 40, 30, 31)) == []
    assert told(say(log, HOUR, 32)) == []
    (signal,) = say(log, -40, 33, 34, 35)
    assert (signal.kind, signal.stage, signal.reasons) == (CLEARED, Stage.RESTORED, ("CLOCKS_RIGHT",))
    assert log.rows["z1"].clocks == {}
    assert told(say(log, HOUR, 40, 42, 45)) == [(RAISED, ("CLOCK_SKEW",))]


def test_what_a_slow_way_does_to_some_messages_is_not_the_clocks_doing(log: Log) -> None:
    for minute in range(0, 60, 4):
        assert say(log, -30_000, minute, minute + 1, minute + 2) == []
        assert say(log, -200, minute + 3) == []
    assert log.rows["z1"].clocks == {}


def test_the_observations_of_one_message_are_one_word(log: Log) -> None:
    batch = [replace(log.seen("gas-1", b.reading(0.0, "gas", "%"), T0), skew_ms=HOUR) for _ in range(50)]
    assert log.put(b.batch(*batch)) == []
    assert say(log, HOUR, 10) == []
    assert told(say(log, HOUR, 11)) == [(RAISED, ("CLOCK_SKEW",))]


def test_a_device_that_sends_no_clock_and_what_is_cached_say_nothing(log: Log) -> None:
    assert say(log, None, *range(20)) == []
    for minute in range(20, 40):
        seen = log.seen("gas-1", b.reading(0.0, "gas", "%"), T0 + minute * MINUTE, quality=Quality.REPLAYED)
        assert told(log.put(b.batch(replace(seen, skew_ms=HOUR)))) == []


def test_it_hides_no_alarm_and_counts_as_no_failed_device(log: Log) -> None:
    say(log, HOUR, 0, 2, 5)
    (alarm,) = say(log, HOUR, 6, payload=b.reading(25.0, "gas", "%"))
    assert (alarm.family, alarm.stage) == ("gas", Stage.ALARM)
    (fault,) = say(log, HOUR, 7, device="cam-1", payload=Fault(fault="dark"))
    assert (fault.family, fault.category, fault.sources) == ("device", "device.fault", ("cam-1",))
    assert log.rows["z1"].silent == {}


def test_a_second_device_joins_and_the_last_one_ends_it(log: Log) -> None:
    say(log, HOUR, 0, 2, 5)
    (more,) = say(log, -HOUR, 0, 2, 5, device="smoke-1", payload=b.reading(0.0))
    assert (more.kind, more.sources) == (EVIDENCE, ("gas-1", "smoke-1"))
    assert told(say(log, 0, 6, 7, 8)) == []
    assert told(say(log, 0, 6, 7, 8, device="smoke-1", payload=b.reading(0.0))) == [(CLEARED, ("CLOCKS_RIGHT",))]


def test_what_a_person_has_closed_is_not_told_again_until_the_clock_was_right(log: Log) -> None:
    say(log, HOUR, 0, 2, 5)
    log.say("close", log.signals[-1].signal_id)
    assert told(say(log, HOUR, *range(6, 60))) == []
    assert told(say(log, 0, 60, 61, 62)) == []
    assert told(say(log, HOUR, 70, 72, 75)) == [(RAISED, ("CLOCK_SKEW",))]


def test_the_limits_are_the_operators(log: Log) -> None:
    log.rules = b.rules(thresholds=b.thresholds(supervision=Supervision(skew_s=60, skew_for_s=600)))
    assert say(log, 50_000, *range(30)) == []
    assert told(say(log, 70_000, 30, 35, 39.9)) == []
    assert told(say(log, 70_000, 40)) == [(RAISED, ("CLOCK_SKEW",))]


def test_a_catalogue_that_knows_no_clocks_calls_it_a_fault(log: Log) -> None:
    kept = tuple(one for one in b.CATALOGUE.categories if one.key != "device.clock")
    log.rules = b.rules(catalogue=replace(b.CATALOGUE, categories=kept))
    (signal,) = say(log, HOUR, 0, 2, 5)
    assert signal.category == "device.fault"


def test_it_is_named_in_both_languages() -> None:
    clock = catalogue.load().category_by_key["device.clock"]
    assert (clock.name, clock.name_en) == ("设备时钟偏差", "Device clock wrong")
