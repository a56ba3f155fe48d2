"""The zone reducer, sentence by sentence of the state machine (domain reference 4.1)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import ids
from models.messages import Dropped, Fault, Lane, Payload, Quality, Response, SelfTest, Stage
from stream.records import (
    ControlRecord,
    HistoryItem,
    ObservationRecord,
    ObsLog,
    Origin,
    Outcome,
    SignalKind,
    SignalRecord,
    TickRecord,
    TimeSource,
    VerdictRecord,
)
from stream.zones.reducer import MAX_OUTPUTS, ZoneRow, next_deadline_ms, reduce_record
from stream.zones.rules import Rules
from tests.stream import builders as b
from tests.stream.builders import T0

RAISED, ESCALATED, EVIDENCE, CLEARED, _ = SignalKind
RULES = b.rules()


class Log:
    """A partition of `obs` with its rows: appends a record, applies it, keeps what came out."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules = rules
        self.rows: dict[str, ZoneRow] = {}
        self.records: list[ObsLog] = []
        self.signals: list[SignalRecord] = []
        self.history: list[HistoryItem] = []
        self.duplicates = 0
        self.seen = b.Seen()

    def put(self, record: ObsLog) -> list[SignalRecord]:
        self.records.append(record)
        return self.apply(record, len(self.records) - 1)

    def apply(self, record: ObsLog, offset: int) -> list[SignalRecord]:
        reduced = reduce_record(self.rows, record, partition=0, offset=offset, rules=self.rules)
        self.rows.update(reduced.rows)
        self.signals += reduced.signals
        self.history += b.decided(record, offset, reduced.outcomes, reduced.signal_ids)
        self.duplicates += reduced.duplicates
        return reduced.signals

    def see(self, device: str, *confidences: float, at_ms: int = T0, every_ms: int = 1000) -> list[SignalRecord]:
        """Put detections, one record each, one after the other."""
        return [
            signal
            for i, confidence in enumerate(confidences)
            for signal in self.put(b.batch(self.seen(device, b.detection(confidence), at_ms + i * every_ms)))
        ]

    def tick(self, at_ms: int, *zones: str) -> list[SignalRecord]:
        return self.put(TickRecord(at_ms=at_ms, zones=zones or ("z1",)))

    def say(self, verdict: str, signal_id: str, *, seen: tuple[int, int] = (1 << 40, 0)) -> list[SignalRecord]:
        at_ms = max(record.at_ms for record in self.records)
        return self.put(
            VerdictRecord(at_ms=at_ms, zone="z1", signal_id=signal_id, verdict=verdict, origin=(0, 0), seen=seen)  # type: ignore[arg-type]
        )

    @property
    def kinds(self) -> list[SignalKind]:
        return [signal.kind for signal in self.signals]

    @property
    def outcomes(self) -> list[Outcome]:
        return [item.outcome for item in self.history]


@pytest.fixture
def log() -> Log:
    return Log()


# --- S1: pre-alarm ----------------------------------------------------------------------------------------------------


def test_three_hits_in_ten_seconds_raise_a_pre_alarm(log: Log) -> None:
    assert log.see("cam-1", 0.6, 0.6) == []
    (raised,) = log.see("cam-1", 0.6, at_ms=T0 + 2000)
    assert (raised.kind, raised.stage, raised.count, raised.reasons) == (RAISED, Stage.PRE_ALARM, 3, ("MIN_HITS",))
    assert (raised.family, raised.category, raised.label) == ("fire", "fire.flame.single", "fire")
    assert log.outcomes == [Outcome.HIT, Outcome.HIT, Outcome.PRE_ALARM]


def test_the_signal_is_named_after_the_first_of_its_hits_in_log_order(log: Log) -> None:
    log.see("cam-1", 0.6, at_ms=T0)
    log.see("cam-1", 0.6, 0.6, 0.6, at_ms=T0 + 60_000)
    assert log.signals[0].signal_id == ids.incident_id("demo", "cam-1", "box", "alarm", 2)


def test_three_hits_that_are_spread_too_wide_raise_nothing(log: Log) -> None:
    assert log.see("cam-1", 0.6, 0.6, 0.6, every_ms=6000) == []


def test_three_boxes_in_one_frame_are_one_hit(log: Log) -> None:
    assert log.see("cam-1", 0.6, 0.6, 0.6, every_ms=0) == []


def test_hits_of_two_cameras_do_not_add_up(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6)
    assert log.see("cam-2", 0.6, 0.6) == []


def test_the_window_runs_on_event_time_whatever_the_order_of_arrival(log: Log) -> None:
    events = [T0 + 4000, T0, T0 + 2000]
    log.put(b.batch(*(log.seen("cam-1", b.detection(0.6), event) for event in events), at_ms=T0 + 600_000))
    assert log.kinds == [RAISED]


def test_a_backlog_is_judged_beside_what_is_live(log: Log) -> None:
    log.see("cam-1", 0.6, at_ms=T0 + 600_000)
    backlog = [log.seen("cam-1", b.detection(0.6), T0 + i * 1000, received_ms=T0 + 601_000) for i in range(3)]
    (raised,) = log.put(b.batch(*backlog))
    assert (raised.kind, raised.count) == (RAISED, 3)


def test_what_is_below_the_threshold_is_recorded_and_does_nothing_else(log: Log) -> None:
    assert log.see("cam-1", 0.4, 0.4, 0.4, 0.4) == []
    assert log.outcomes == [Outcome.BELOW] * 4


def test_a_label_without_a_rule_is_recorded(log: Log) -> None:
    log.put(b.batch(log.seen("cam-1", b.detection(0.9, label="umbrella"), T0)))
    assert log.outcomes == [Outcome.RECORDED]


def test_a_reading_in_another_unit_is_recorded_and_never_judged(log: Log) -> None:
    log.put(b.batch(log.seen("heat-1", b.reading(90, "temperature", "[degF]"), T0)))
    assert (log.outcomes, log.kinds) == ([Outcome.RECORDED], [])


def test_the_signal_carries_the_times_of_the_evidence_that_completed_it(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6)
    last = msgspec.structs.replace(
        log.seen("cam-1", b.detection(0.6), T0 + 3000), inferred_ms=T0 + 3010, sent_ms=T0 + 3020
    )
    (raised,) = log.put(b.batch(last))
    times = raised.timeline
    assert (times.captured_ms, times.inferred_ms, times.sent_ms) == (T0 + 3000, T0 + 3010, T0 + 3020)
    assert times.ingested_ms == last.received_ms


# --- sensors ----------------------------------------------------------------------------------------------------------


def test_one_smoke_detector_alone_is_a_pre_alarm(log: Log) -> None:
    (raised,) = log.put(b.batch(log.seen("smoke-1", b.reading(1.0), T0)))
    assert (raised.stage, raised.category) == (Stage.PRE_ALARM, "fire.smoke.single")


@pytest.mark.parametrize(("celsius", "outcome"), [(40.0, "not_evaluable"), (55.0, "pre_alarm"), (58.0, "pre_alarm")])
def test_fixed_heat(log: Log, celsius: float, outcome: str) -> None:
    log.put(b.batch(log.seen("heat-1", b.reading(celsius, "temperature", "Cel"), T0)))
    assert log.outcomes == [outcome]


def test_gas_alone_is_an_alarm(log: Log) -> None:
    (raised,) = log.put(b.batch(log.seen("gas-1", b.reading(25, "gas", "%"), T0)))
    assert (raised.stage, raised.reasons, raised.category) == (Stage.ALARM, ("SINGLE_OK",), "gas.leak")


def test_gas_below_the_alarm_limit_is_a_pre_alarm(log: Log) -> None:
    (raised,) = log.put(b.batch(log.seen("gas-1", b.reading(12, "gas", "%"), T0)))
    assert raised.stage is Stage.PRE_ALARM


def test_a_call_point_alone_is_an_alarm(log: Log) -> None:
    (raised,) = log.put(b.batch(log.seen("button-1", b.BUTTON, T0)))
    assert (raised.stage, raised.reasons, raised.category) == (Stage.ALARM, ("MANUAL",), "fire.manual")


def test_a_signal_says_who_reported_it_and_a_new_reporter_is_told_at_once(log: Log) -> None:
    def press(seconds: int, reporter: str | None) -> list[SignalRecord]:
        pressed = log.seen("button-1", b.BUTTON, T0 + 100 * seconds)
        observation = msgspec.structs.replace(pressed.observation, reporter=reporter)
        return log.put(b.batch(msgspec.structs.replace(pressed, observation=observation)))

    assert [signal.reporters for signal in press(0, "p-1")] == [("p-1",)]
    assert press(1, "p-1") == [], "the same person again is mere evidence"
    assert [(signal.kind, signal.reporters) for signal in press(2, "p-0")] == [(EVIDENCE, ("p-0", "p-1"))]


def test_families_have_machines_of_their_own(log: Log) -> None:
    log.put(b.batch(log.seen("smoke-1", b.reading(1.0), T0), log.seen("gas-1", b.reading(25, "gas", "%"), T0)))
    assert [(signal.family, signal.stage) for signal in log.signals] == [("fire", "pre_alarm"), ("gas", "alarm")]


def rise(log: Log, *samples: tuple[int, float]) -> list[SignalRecord]:
    for at_s, celsius in samples:
        log.put(b.batch(log.seen("heat-1", b.reading(celsius, "temperature", "Cel"), T0 + at_s * 1000)))
    return [signal for signal in log.signals if signal.family == "fire"]


def test_a_fast_rise_counts_though_the_limit_is_far_off(log: Log) -> None:
    (raised,) = rise(log, (0, 20.0), (20, 23.0), (40, 26.0))
    assert raised.stage is Stage.PRE_ALARM


def test_a_slow_rise_does_not_count(log: Log) -> None:
    assert rise(log, (0, 20.0), (20, 21.0), (40, 22.0)) == []


@pytest.mark.parametrize(("risen", "is_raised"), [(8.3, True), (8.29, False)])
def test_the_limit_is_8_3_degrees_a_minute(log: Log, risen: float, is_raised: bool) -> None:
    assert bool(rise(log, (0, 20.0), (30, 20.0 + risen / 2), (60, 20.0 + risen))) == is_raised


def test_samples_of_a_few_seconds_do_not_tell_a_rise(log: Log) -> None:
    assert rise(log, (0, 20.0), (14, 25.0), (29, 30.0)) == []
    assert len(rise(log, (30, 30.0))) == 1


def test_a_rise_is_not_told_from_samples_of_minutes_ago(log: Log) -> None:
    assert rise(log, (0, 20.0), (300, 40.0), (600, 50.0)) == []
    assert rise(log, (620, 50.0), (640, 50.0)) == []


@pytest.mark.parametrize(("last_s", "is_raised"), [(90, True), (91, False)])
def test_a_sample_of_a_minute_and_a_half_ago_still_tells_a_rise_and_an_older_one_does_not(
    log: Log, last_s: int, is_raised: bool
) -> None:
    assert bool(rise(log, (0, 20.0), (45, 35.0), (last_s, 33.0))) == is_raised


def test_two_samples_are_too_few_to_tell_a_rise(log: Log) -> None:
    assert rise(log, (0, 20.0), (60, 40.0)) == []
    assert log.outcomes == ["not_evaluable", "not_evaluable"]
    assert rise(log, (90, 33.0))[0].label == "temperature"


def test_a_rise_that_could_be_told_and_is_none_is_below(log: Log) -> None:
    rise(log, (0, 20.0), (20, 20.1), (40, 20.2))
    assert log.outcomes == ["not_evaluable", "not_evaluable", "below"]


def test_the_fixed_limit_needs_no_samples(log: Log) -> None:
    (raised,) = rise(log, (0, 80.0))
    assert raised.family == "fire"
    assert log.outcomes == ["pre_alarm"]


# --- S2 to S4: alarm --------------------------------------------------------------------------------------------------


def test_a_second_device_confirms(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    (escalated,) = log.put(b.batch(log.seen("smoke-1", b.reading(1.0), T0 + 30_000)))
    assert (escalated.kind, escalated.stage, escalated.reasons) == (ESCALATED, Stage.ALARM, ("SECOND_DEVICE",))
    assert escalated.signal_id == log.signals[0].signal_id
    assert escalated.sources == ("cam-1", "smoke-1")
    assert escalated.category == "fire.flame.confirmed"


def test_two_devices_that_only_hint_do_not_confirm_each_other(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    log.see("cam-2", 0.6, 0.6, 0.6, at_ms=T0 + 10_000)
    assert ESCALATED not in log.kinds


def test_it_does_not_matter_which_of_the_two_reached_alarm_level(log: Log) -> None:
    log.see("cam-1", 0.8, 0.6, 0.6)
    log.see("cam-2", 0.6, 0.6, 0.6, at_ms=T0 + 10_000)
    assert log.signals[-1].reasons == ("SECOND_DEVICE",)


def test_a_second_device_too_late_does_not_confirm(log: Log) -> None:
    log.see("cam-1", 0.9, 0.9, 0.9)
    log.put(b.batch(log.seen("smoke-1", b.reading(1.0), T0 + 70_000)))
    assert ESCALATED not in log.kinds


def test_a_backlog_of_one_device_does_not_hide_what_it_sees_now(log: Log) -> None:
    log.see("cam-1", 0.9, 0.9, 0.9, at_ms=T0 + 100_000)
    log.put(b.batch(*(log.seen("cam-1", b.detection(0.9), T0 + i * 1000) for i in range(3)), at_ms=T0 + 103_000))
    log.put(b.batch(log.seen("smoke-1", b.reading(1.0), T0 + 120_000)))
    assert log.signals[-1].reasons == ("SECOND_DEVICE",)


def test_an_old_press_confirms_nothing(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    log.put(b.batch(log.seen("button-1", b.BUTTON, T0 - 7_200_000, quality=Quality.LATE, received_ms=T0 + 3000)))
    assert (log.outcomes[-1], ESCALATED in log.kinds) == (Outcome.EVIDENCE, False)


def test_one_frame_of_a_second_camera_does_not_confirm(log: Log) -> None:
    log.see("cam-1", 0.9, 0.9, 0.9)
    assert ESCALATED not in [signal.kind for signal in log.see("cam-2", 0.95, at_ms=T0 + 5000)]


def test_a_call_point_confirms_at_once(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    (escalated,) = log.put(b.batch(log.seen("button-1", b.BUTTON, T0 + 50_000)))
    assert escalated.reasons == ("MANUAL",)


def test_verification_that_runs_out_fails_safe(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    assert next_deadline_ms(log.rows["z1"]) == T0 + 2050 + 90_000
    assert log.tick(T0 + 2049 + 90_000) == []
    (escalated,) = log.tick(T0 + 2050 + 90_000)
    assert (escalated.kind, escalated.reasons) == (ESCALATED, ("VERIFY_EXPIRED",))


def test_the_same_device_still_above_after_the_window_is_an_alarm(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    late = [log.seen("cam-1", b.detection(0.6), T0 + 95_000 + i * 1000) for i in range(3)]
    log.put(b.batch(*late, at_ms=T0 + 3000))  # the record came before the deadline: only event time has passed
    assert log.signals[-1].reasons == ("STILL_ABOVE",)


def test_an_operator_confirms(log: Log) -> None:
    (raised,) = log.see("cam-1", 0.6, 0.6, 0.6)
    (escalated,) = log.say("confirm", raised.signal_id)
    assert (escalated.stage, escalated.reasons) == (Stage.ALARM, ("CONFIRMED",))


# --- S5, S9: the end --------------------------------------------------------------------------------------------------


def test_an_operator_clears_a_pre_alarm(log: Log) -> None:
    (raised,) = log.see("cam-1", 0.6, 0.6, 0.6)
    (cleared,) = log.say("clear", raised.signal_id)
    assert (cleared.kind, cleared.stage, cleared.reasons) == (CLEARED, Stage.RESTORED, ("OPERATOR",))
    assert next_deadline_ms(log.rows["z1"]) is None


def patient(**fields: float) -> Rules:
    """Rules under which a pre-alarm has time to clear by itself."""
    return b.rules(thresholds=b.thresholds(verify_s=1000.0, **fields))


def test_a_pre_alarm_below_the_clear_threshold_ends_by_itself() -> None:
    log = Log(patient())
    log.see("cam-1", 0.6, 0.6, 0.6)
    assert log.tick(T0 + 2049 + 120_000) == []
    (cleared,) = log.tick(T0 + 2050 + 120_000)
    assert (cleared.kind, cleared.reasons) == (CLEARED, ("BELOW_CLEAR",))


def test_what_stays_between_clear_and_hint_keeps_a_pre_alarm() -> None:
    log = Log(patient())
    log.see("cam-1", 0.6, 0.6, 0.6)
    log.see("cam-1", 0.46, at_ms=T0 + 60_000)
    assert log.tick(T0 + 130_000) == []
    assert [signal.kind for signal in log.tick(T0 + 60_050 + 120_000)] == [CLEARED]


def test_a_smoke_detector_that_stays_silent_after_smoke_has_not_cleared() -> None:
    log = Log(patient())
    log.put(b.batch(log.seen("smoke-1", b.reading(1.0), T0)))
    assert log.tick(T0 + 900_000) == []
    log.put(b.batch(log.seen("smoke-1", b.reading(0.0), T0 + 910_000)))
    assert [signal.kind for signal in log.tick(T0 + 910_050 + 120_000)] == [ESCALATED]


def test_a_smoke_detector_that_says_no_more_smoke_clears() -> None:
    log = Log(patient())
    log.put(b.batch(log.seen("smoke-1", b.reading(1.0), T0)))
    log.put(b.batch(log.seen("smoke-1", b.reading(0.0), T0 + 10_000)))
    assert [signal.kind for signal in log.tick(T0 + 10_050 + 120_000)] == [CLEARED]


@pytest.mark.parametrize(("newer", "older", "clears"), [(1.0, 0.0, False), (0.0, 1.0, True)])
def test_a_reading_that_comes_late_does_not_replace_a_newer_one(newer: float, older: float, *, clears: bool) -> None:
    log = Log(patient())
    log.put(b.batch(log.seen("smoke-1", b.reading(1.0), T0)))
    log.put(b.batch(log.seen("smoke-1", b.reading(newer), T0 + 20_000)))
    log.put(b.batch(log.seen("smoke-1", b.reading(older), T0 + 10_000, received_ms=T0 + 21_000)))
    log.tick(T0 + 500_000)
    assert (CLEARED in log.kinds) is clears


def test_an_alarm_latches(log: Log) -> None:
    (raised,) = log.put(b.batch(log.seen("button-1", b.BUTTON, T0)))
    assert log.tick(T0 + 10_000_000) == []
    assert log.say("clear", raised.signal_id) == []
    assert next_deadline_ms(log.rows["z1"]) is None


def test_a_close_ends_it_and_what_comes_after_is_a_new_signal(log: Log) -> None:
    (raised,) = log.put(b.batch(log.seen("button-1", b.BUTTON, T0)))
    assert log.say("close", raised.signal_id) == []
    (again,) = log.put(b.batch(log.seen("button-1", b.BUTTON, T0 + 1000)))
    assert (again.kind, again.signal_id != raised.signal_id) == (RAISED, True)


def test_an_alarm_that_crosses_the_close_is_evidence_after_it(log: Log) -> None:
    (raised,) = log.see("cam-1", 0.6, 0.6, 0.6)
    heard = (raised.origin.offset, raised.origin.n)
    (escalated,) = log.put(b.batch(log.seen("button-1", b.BUTTON, T0 + 5000)))
    (again,) = log.say("close", raised.signal_id, seen=heard)
    assert (again.kind, again.stage, again.reasons) == (RAISED, Stage.ALARM, ("MANUAL", "AFTER_CLOSE"))
    assert again.signal_id == ids.incident_id("demo", "button-1", "box", "alarm", 1)
    assert log.say("close", again.signal_id) == []
    assert escalated.signal_id == raised.signal_id


def test_a_verdict_said_twice_counts_once(log: Log) -> None:
    (raised,) = log.see("cam-1", 0.6, 0.6, 0.6)
    log.say("confirm", raised.signal_id)
    assert log.say("confirm", raised.signal_id) == []
    log.say("close", raised.signal_id)
    assert log.say("close", raised.signal_id) == []


# --- S10, S11 and the rest that never alarms --------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [Quality.REPLAYED, Quality.TEST])
def test_replayed_and_test_observations_never_alarm(log: Log, quality: Quality) -> None:
    for i in range(5):
        log.put(b.batch(log.seen("cam-1", b.detection(0.99), T0 + i * 1000, quality=quality)))
    log.put(b.batch(log.seen("button-1", b.BUTTON, T0, quality=quality)))
    assert (log.kinds, set(log.outcomes)) == ([], {Outcome.NEVER_ALARMS})


def test_a_self_test_never_alarms(log: Log) -> None:
    log.put(b.batch(log.seen("cam-1", SelfTest(label="fire"), T0)))
    assert (log.kinds, log.outcomes) == ([], [Outcome.NEVER_ALARMS])


def test_a_fault_is_recorded_hides_no_alarm_and_ends_when_the_device_sees_again(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6)
    log.put(b.batch(log.seen("cam-1", Fault(fault="dark"), T0 + 1500)))
    assert log.rows["z1"].faults == {"cam-1": "dark"}
    assert [(one.kind, one.family) for one in log.see("cam-1", 0.6, at_ms=T0 + 2000)] == [
        (RAISED, "fire"),
        (SignalKind.CLEARED, "device"),
    ]
    assert log.rows["z1"].faults == {}


def test_what_was_dropped_is_recorded_and_may_still_come(log: Log) -> None:
    log.put(b.batch(log.seen("cam-1", Dropped(lane=Lane.ALARM, ranges=((5, 9),)), T0)))
    assert log.outcomes == [Outcome.RECORDED]


# --- late -------------------------------------------------------------------------------------------------------------


def late(log: Log, age_s: int, n: int = 3, *, start: int = 0) -> list[SignalRecord]:
    events = [T0 + (start + i) * 1000 for i in range(n)]
    items = [
        log.seen("cam-1", b.detection(0.9), event, quality=Quality.LATE, received_ms=event + age_s * 1000)
        for event in events
    ]
    return log.put(b.batch(*items))


def test_late_evidence_alarms_like_live_while_it_is_young(log: Log) -> None:
    (raised,) = late(log, 1700)
    assert (raised.late, raised.stage) == (False, Stage.PRE_ALARM)
    assert log.tick(T0 + 1_900_000)[0].reasons == ("VERIFY_EXPIRED",)


def test_older_late_evidence_makes_a_signal_that_is_marked_and_does_not_fail_safe(log: Log) -> None:
    (raised,) = late(log, 1900)
    assert (raised.late, raised.stage, raised.reasons) == (True, Stage.PRE_ALARM, ("MIN_HITS", "LATE"))
    assert [signal.kind for signal in log.tick(T0 + 5_000_000)] == [CLEARED]


def test_an_old_press_of_a_call_point_is_a_marked_pre_alarm(log: Log) -> None:
    item = log.seen("button-1", b.BUTTON, T0, quality=Quality.LATE, received_ms=T0 + 3_600_000)
    (raised,) = log.put(b.batch(item))
    assert (raised.late, raised.stage) == (True, Stage.PRE_ALARM)


def test_fresh_evidence_makes_a_late_signal_a_live_one(log: Log) -> None:
    late(log, 1900)
    now = T0 + 1_910_000
    fresh = log.see("cam-1", 0.9, 0.9, 0.9, at_ms=now)
    assert [(signal.kind, signal.late, signal.reasons) for signal in fresh][-1] == (EVIDENCE, False, ("FRESH",))
    assert log.tick(now + 95_000)[0].reasons == ("VERIFY_EXPIRED",)


def test_a_live_observation_is_not_old_because_its_device_has_a_wrong_clock(log: Log) -> None:
    item = log.seen(
        "button-1", b.BUTTON, T0 - 3_600_000, received_ms=T0, time_source=TimeSource.DEVICE, quality=Quality.LIVE
    )
    (raised,) = log.put(b.batch(item))
    assert (raised.late, raised.stage) == (False, Stage.ALARM)


# --- telling ----------------------------------------------------------------------------------------------------------


def test_further_evidence_is_told_once_a_second_with_its_count(log: Log) -> None:
    log.see("cam-1", *[0.6] * 13, every_ms=500)
    told = [signal for signal in log.signals if signal.kind is EVIDENCE]
    assert [signal.count for signal in told] == [2] * 5


def test_a_count_is_never_stuck(log: Log) -> None:
    log.see("cam-1", *[0.6] * 4, every_ms=500)
    (flushed,) = log.tick(T0 + 1550 + 1000)
    assert (flushed.kind, flushed.count) == (EVIDENCE, 1)
    assert sum(signal.count for signal in log.signals) == 4


def test_a_new_picture_is_told_at_once(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    (told,) = log.put(b.batch(log.seen("cam-1", b.detection(0.6, evidence_id="pic-1"), T0 + 2100)))
    assert (told.kind, told.evidence_ids) == (EVIDENCE, ("pic-1",))
    assert log.put(b.batch(log.seen("cam-1", b.detection(0.6, evidence_id="pic-1"), T0 + 2200))) == []


def test_pictures_beyond_those_an_incident_shows_are_no_news(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    items = [log.seen("cam-1", b.detection(0.6, evidence_id=f"pic-{i}"), T0 + 2100) for i in range(20)]
    told = [picture for signal in log.put(b.batch(*items)) for picture in signal.evidence_ids]
    assert told == [f"pic-{i}" for i in range(16)]


# --- records, rows, duplicates ----------------------------------------------------------------------------------------


def test_duplicates_change_nothing_and_make_no_history(log: Log) -> None:
    items = [log.seen("cam-1", b.detection(0.6), T0 + i * 1000) for i in range(3)]
    for _ in range(3):
        for item in items:
            log.put(b.batch(item))
    assert (log.kinds, len(log.history), log.duplicates) == ([RAISED], 3, 6)


def test_a_record_that_a_row_has_applied_does_nothing_to_it(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    before = msgspec.msgpack.encode(log.rows)
    assert log.apply(log.records[1], 1) == []
    assert msgspec.msgpack.encode(log.rows) == before


def test_the_rows_given_are_never_changed(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    before = msgspec.msgpack.encode(log.rows)
    record = b.batch(log.seen("button-1", b.BUTTON, T0 + 2000), log.seen("cam-1", b.detection(0.6), T0 + 2100))
    reduce_record(log.rows, record, partition=0, offset=99, rules=RULES)
    assert msgspec.msgpack.encode(log.rows) == before


def test_origins_grow_and_do_not_depend_on_other_zones(log: Log) -> None:
    items = [
        log.seen("button-1", b.BUTTON, T0),
        log.seen("cam-9", b.BUTTON, T0, zone="z2"),
        log.seen("gas-1", b.reading(25, "gas", "%"), T0),
    ]
    record = b.batch(*items)
    whole = reduce_record({}, record, partition=3, offset=7, rules=RULES)
    assert [signal.origin for signal in whole.signals] == [Origin(3, 7, i * MAX_OUTPUTS) for i in range(3)]
    ahead = {"z1": ZoneRow(zone="z1", applied_offset=7)}
    part = reduce_record(ahead, record, partition=3, offset=7, rules=RULES)
    assert part.signals == [whole.signals[1]]


def test_a_tick_is_applied_to_exactly_its_zones(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    assert log.tick(T0 + 1_000_000, "z2") == []
    assert [signal.kind for signal in log.tick(T0 + 1_000_000, "z1")] == [ESCALATED]


def test_an_observation_at_fault_can_be_left_out(log: Log) -> None:
    items = [log.seen("button-1", b.BUTTON, T0), log.seen("gas-1", b.reading(25, "gas", "%"), T0)]
    reduced = reduce_record({}, b.batch(*items), partition=0, offset=0, rules=RULES, skip={0})
    assert [signal.family for signal in reduced.signals] == ["gas"]


def test_a_control_record_touches_no_zone(log: Log) -> None:
    log.see("cam-1", 0.6)
    assert log.put(ControlRecord(at_ms=T0, what="thresholds", version="v")) == []


def test_a_row_comes_back_from_its_changelog_as_it_was(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    log.put(b.batch(log.seen("heat-1", b.reading(20, "temperature", "Cel"), T0)))
    log.put(b.batch(log.seen("button-1", b.BUTTON, T0)))
    row = log.rows["z1"]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=ZoneRow) == row


# --- invariants -------------------------------------------------------------------------------------------------------

VERDICTS = ("confirm", "clear", "close", "acknowledge", "investigate")
EVENTS = st.tuples(
    st.sampled_from(["cam-1", "cam-2", "smoke-1", "gas-1", "button-1", "cam-9", "tick", *VERDICTS]),
    st.integers(0, 120_000),
    st.sampled_from([0.0, 0.46, 0.6, 0.9]),
    st.sampled_from(list(Quality)),
    st.booleans(),
)


RESPONSES = [None, *Response]


def play(events: Sequence[tuple[str, int, float, Quality, bool]]) -> Log:
    """Run a story: observations, repeats, ticks and verdicts on the signal that is newest."""
    log, now = Log(), T0
    for name, wait_ms, value, quality, again in events:
        now += wait_ms
        if name == "tick":
            due = [zone for zone, row in sorted(log.rows.items()) if (next_deadline_ms(row) or now + 1) <= now]
            log.tick(now, *due or ["z1"])
        elif name in VERDICTS:
            if log.signals:
                log.say(name, log.signals[-1].signal_id)
        else:
            payloads: dict[str, Payload] = {
                "smoke-1": b.reading(value),
                "gas-1": b.reading(value * 30, "gas", "%"),
                "button-1": b.BUTTON,
            }
            payload = payloads.get(name, b.detection(value))
            zone = "z2" if name == "cam-9" else "z1"
            log.put(b.batch(log.seen(name, payload, now, quality=quality, zone=zone)))
            if again and isinstance(log.records[-1], ObservationRecord):
                log.put(log.records[-1])
    return log


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=40))
def test_the_same_log_gives_the_same_outputs_after_any_crash(
    events: list[tuple[str, int, float, Quality, bool]],
) -> None:
    log = play(events)
    replayed = Log()
    for offset, record in enumerate(log.records):
        replayed.apply(record, offset)
        # A crash: rows come back from their changelog, and the log is read again from anywhere before.
        stored = msgspec.msgpack.encode(replayed.rows)
        replayed.rows = msgspec.msgpack.decode(stored, type=dict[str, ZoneRow])
        replayed.apply(log.records[offset // 2], offset // 2)
    assert (replayed.signals, replayed.history) == (log.signals, log.history)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=40))
def test_invariants_of_the_machine(events: list[tuple[str, int, float, Quality, bool]]) -> None:
    log = play(events)
    stage: dict[str, Stage] = {}
    answer: dict[str, int] = {}
    for signal in log.signals:
        before = stage.get(signal.signal_id)
        assert (before is None) == (signal.kind is RAISED), "a signal is raised once, and first"
        assert before is not Stage.ALARM or signal.stage is Stage.ALARM, "an alarm never downgrades itself"
        assert before is not Stage.RESTORED, "what is over says nothing more"
        assert before is not Stage.ALARM or answer[signal.signal_id] <= RESPONSES.index(signal.response), "nor this"
        stage[signal.signal_id], answer[signal.signal_id] = signal.stage, RESPONSES.index(signal.response)
        assert (signal.general_by_ms is None) == (signal.response in (None, Response.GENERAL)), "no alarm is stuck"
    for item in log.history:
        if item.located.observation.quality in (Quality.REPLAYED, Quality.TEST):
            assert item.outcome is Outcome.NEVER_ALARMS
    assert len({item.origin for item in log.history}) == len(log.history)
    origins = [(signal.origin.offset, signal.origin.n) for signal in log.signals]
    assert origins == sorted(set(origins)), "the desk filters by growing origins"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["cam-1", "cam-9"]), st.integers(0, 3000)), min_size=1, max_size=60), st.data()
)
def test_however_the_batches_are_cut_ids_and_counts_are_the_same(
    hits: list[tuple[str, int]], data: st.DataObject
) -> None:
    seen, now, items = b.Seen(), T0, []
    for name, wait_ms in hits:
        now += wait_ms
        items.append(seen(name, b.detection(0.6), now, zone="z2" if name == "cam-9" else "z1"))

    def run(cuts: list[int]) -> tuple[dict[str, int], list[tuple[str | None, Outcome]]]:
        log = Log(b.rules(thresholds=b.thresholds(verify_s=80_000.0, clear_s=80_000.0)))
        edges = [0, *sorted(set(cuts) - {0, len(items)}), len(items)]
        for first, last in itertools.pairwise(edges):
            log.put(b.batch(*items[first:last]))
        log.tick(now + 10_000, "z1", "z2")
        counts: dict[str, int] = {}
        for signal in log.signals:
            counts[signal.signal_id] = counts.get(signal.signal_id, 0) + signal.count
        order = sorted(log.history, key=lambda item: (item.located.observation.device_id, item.located.observation.seq))
        return counts, [(item.signal_id, item.outcome) for item in order]

    cuts = data.draw(st.lists(st.integers(0, len(items)), max_size=10))
    assert run(cuts) == run([])


def test_a_canary_goes_on_to_the_desk_and_alarms_nobody(log: Log) -> None:
    (signal,) = log.put(b.batch(log.seen("cam-1", SelfTest(), T0)))
    assert (signal.kind, signal.family, signal.sources) == (SignalKind.CANARY, "canary", ("cam-1",))
    assert signal.timeline.captured_ms == T0
    assert log.outcomes == [Outcome.NEVER_ALARMS]
    assert log.put(b.batch(log.seen("cam-1", SelfTest(label="drill"), T0))) == []
    assert log.put(b.batch(log.seen("cam-1", SelfTest(), T0, quality=Quality.REPLAYED))) == []
