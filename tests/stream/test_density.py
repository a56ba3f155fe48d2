"""A heat detector that measures too seldom to tell a fast rise: told once, over once it does, and no fault."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from models import catalogue
from models.messages import Quality, Stage
from stream.records import Outcome, SignalKind, SignalRecord
from tests.stream import builders as b
from tests.stream.builders import T0
from tests.stream.test_zones import Log

RAISED, _, EVIDENCE, CLEARED, _ = SignalKind


@pytest.fixture
def log() -> Log:
    return Log()


def measure(log: Log, *seconds: float, device: str = "heat-1", quality: Quality = Quality.LIVE) -> list[SignalRecord]:
    """Let a device say at each of these moments that it is 20 degrees warm."""
    said = []
    for second in seconds:
        at_ms = T0 + round(second * 1000)
        said += log.put(b.batch(log.seen(device, b.reading(20.0, "temperature", "Cel"), at_ms, quality=quality)))
    return said


def told(signals: Iterable[SignalRecord]) -> list[tuple[SignalKind, tuple[str, ...]]]:
    return [(one.kind, one.reasons) for one in signals if one.family == "rise"]


def test_a_detector_that_measures_every_minute_is_told_after_five_minutes_and_once(log: Log) -> None:
    assert measure(log, *range(0, 300, 60)) == []
    (signal,) = measure(log, 300)
    assert (signal.kind, signal.stage, signal.category) == (RAISED, Stage.PRE_ALARM, "device.coarse")
    assert (signal.label, signal.sources) == ("rise_not_evaluable", ("heat-1",))
    assert measure(log, *range(360, 7200, 60)) == []


def test_one_that_measures_often_enough_is_never_told(log: Log) -> None:
    assert measure(log, *range(0, 1200, 40)) == []
    assert log.rows["z1"].coarse == {}


def test_it_is_over_when_it_has_measured_often_enough_for_as_long(log: Log) -> None:
    measure(log, *range(0, 360, 60))
    assert told(measure(log, *range(360, 660, 20))) == []
    assert told(measure(log, *range(660, 760, 20))) == [(CLEARED, ("RISE_EVALUABLE",))]
    assert log.rows["z1"].coarse == {}
    assert told(measure(log, *range(800, 1300, 60))) == [(RAISED, ("RISE_NOT_EVALUABLE",))]


def test_one_that_is_quiet_while_nothing_changes_is_not_told_of_at_every_change(log: Log) -> None:
    """It speaks every five minutes, and of each change several times."""
    for hour in range(3):
        measure(log, *(3600 * hour + 300 * n + k for n in range(12) for k in (0, 20, 40, 60)))
    assert len(told(log.signals)) == 0, "it measures often enough when it matters"
    measure(log, *(10_800 + 300 * n for n in range(12)))
    measure(log, *(14_400 + 300 * n + k for n in range(12) for k in (0, 40)))
    assert told(log.signals) == [(RAISED, ("RISE_NOT_EVALUABLE",))]


def test_of_what_is_no_heat_detector_nobody_expects_it(log: Log) -> None:
    assert measure(log, *range(0, 7200, 60), device="smoke-1") == []
    assert log.outcomes.count(Outcome.NOT_EVALUABLE) == 120


def test_what_is_cached_says_nothing(log: Log) -> None:
    assert told(measure(log, *range(0, 7200, 60), quality=Quality.REPLAYED)) == []


def test_a_backlog_counts_as_it_was_measured_and_not_as_it_came(log: Log) -> None:
    every_20_s = [log.seen("heat-1", b.reading(20.0, "temperature", "Cel"), T0 + k * 20_000) for k in range(60)]
    assert log.put(b.batch(*every_20_s, at_ms=T0 + 3_600_000)) == []
    every_5_min = [log.seen("heat-1", b.reading(20.0, "temperature", "Cel"), T0 + k * 300_000) for k in range(5, 12)]
    assert told(log.put(b.batch(*every_5_min, at_ms=T0 + 3_600_000))) == [(RAISED, ("RISE_NOT_EVALUABLE",))]


def test_it_is_no_fault_and_the_fixed_limit_holds(log: Log) -> None:
    measure(log, *range(0, 360, 60))
    assert "device" not in {one.family for one in log.signals}
    (fire,) = log.put(b.batch(log.seen("heat-1", b.reading(80.0, "temperature", "Cel"), T0 + 400_000)))
    assert fire.family == "fire"


def test_what_a_person_has_closed_is_not_told_again_until_it_was_right(log: Log) -> None:
    measure(log, *range(0, 360, 60))
    log.say("close", log.signals[-1].signal_id)
    assert measure(log, *range(360, 3600, 60)) == []
    measure(log, *range(3600, 4200, 20))
    assert told(measure(log, *range(4200, 5000, 60))) == [(RAISED, ("RISE_NOT_EVALUABLE",))]


def test_a_device_that_was_taken_out_of_the_city_ends_it(log: Log) -> None:
    measure(log, *range(0, 360, 60))
    log.rules = b.rules(places=b.places(devices=()))
    assert told(log.tick(T0 + 400_000)) == [(CLEARED, ("RISE_EVALUABLE",))]


def test_a_catalogue_that_does_not_know_it_is_told_none(log: Log) -> None:
    kept = tuple(one for one in b.CATALOGUE.categories if one.key != "device.coarse")
    log.rules = b.rules(catalogue=replace(b.CATALOGUE, categories=kept))
    assert measure(log, *range(0, 3600, 60)) == []


def test_it_is_named_in_both_languages() -> None:
    coarse = catalogue.load().category_by_key["device.coarse"]
    assert (coarse.name, coarse.name_en) == ("测温间隔过长", "Too few samples to tell a fast rise")
