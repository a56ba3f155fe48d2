"""Devices that stop doing their duty: told, told once, and hiding no alarm."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from models.messages import NO_FAULT, OFFLINE, Dropped, Fault, Heartbeat, Lane, Quality, Stage
from models.places import DeviceKind
from models.thresholds import Supervision
from stream.records import Connection, ConnectionRecord, HeartbeatRecord, SignalKind, SignalRecord
from stream.zones.reducer import next_deadline_ms
from tests.stream import builders as b
from tests.stream.builders import T0
from tests.stream.test_zones import Log

RAISED, ESCALATED, EVIDENCE, CLEARED, _ = SignalKind
MINUTE = 60_000


def pulse(device: str, at_ms: int, zone: str = "z1") -> HeartbeatRecord:
    beat = Heartbeat(
        v=1,
        device_id=device,
        at_ms=at_ms,
        frame_age_ms=40,
        fps=5.0,
        inference_p50_ms=8.0,
        inference_p99_ms=9.0,
        outbox_depth=0,
    )
    return HeartbeatRecord(at_ms=at_ms, heartbeats=(beat,), zones=(zone,))


def connection(at_ms: int, *devices: str, ids: str = "c1", is_online: bool = False) -> ConnectionRecord:
    """What `pi-1` says of its connection, or its last will, of the devices that are heard over it."""
    connections = tuple(Connection(device, "z1", "pi-1", ids, is_online) for device in devices)
    return ConnectionRecord(at_ms=at_ms, connections=connections)


def told(signals: list[SignalRecord]) -> list[tuple[SignalKind, Stage, tuple[str, ...]]]:
    return [(one.kind, one.stage, one.reasons) for one in signals if one.family == "device"]


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_camera_whose_heartbeat_stops_is_missed_after_a_minute(log: Log) -> None:
    log.put(pulse("cam-1", T0))
    assert next_deadline_ms(log.rows["z1"]) == T0 + MINUTE
    assert log.tick(T0 + MINUTE - 1) == []
    (signal,) = log.tick(T0 + MINUTE)
    assert (signal.kind, signal.category, signal.sources) == (RAISED, "device.fault", ("cam-1",))
    assert signal.reasons == ("SILENT",)
    assert log.tick(T0 + 10 * MINUTE) == []


def test_a_camera_that_comes_back_ends_it(log: Log) -> None:
    log.put(pulse("cam-1", T0))
    log.tick(T0 + MINUTE)
    assert told(log.put(pulse("cam-1", T0 + 2 * MINUTE))) == [(CLEARED, Stage.RESTORED, ("DEVICES_BACK",))]
    assert told(log.tick(T0 + 3 * MINUTE)) == [(RAISED, Stage.PRE_ALARM, ("SILENT",))]


def test_what_is_heard_over_a_connection_that_has_ended_is_missed_after_20_seconds(log: Log) -> None:
    log.put(pulse("cam-1", T0))
    log.put(pulse("cam-2", T0))
    log.put(connection(T0 + 10_000, "cam-1"))
    assert next_deadline_ms(log.rows["z1"]) == T0 + 30_000
    assert log.tick(T0 + 30_000 - 1) == []
    (signal,) = log.tick(T0 + 30_000)
    assert (signal.kind, signal.sources, signal.reasons) == (RAISED, ("cam-1",), ("SILENT",))
    log.put(connection(T0 + 35_000, "cam-1", ids="c2", is_online=True))
    assert told(log.signals) == [(RAISED, Stage.PRE_ALARM, ("SILENT",))], "it is connected, but does it see?"
    assert told(log.put(pulse("cam-1", T0 + 36_000))) == [(CLEARED, Stage.RESTORED, ("DEVICES_BACK",))]


def test_a_connection_that_comes_back_soon_enough_is_as_if_it_had_never_ended(log: Log) -> None:
    log.put(pulse("cam-1", T0))
    log.put(connection(T0 + 10_000, "cam-1"))
    log.put(connection(T0 + 15_000, "cam-1", ids="c2", is_online=True))
    assert next_deadline_ms(log.rows["z1"]) == T0 + MINUTE, "neither sooner nor later than by its heartbeat"


def test_a_heartbeat_after_a_last_will_counts(log: Log) -> None:
    log.put(pulse("cam-1", T0))
    log.put(connection(T0 + 10_000, "cam-1"))
    log.put(pulse("cam-1", T0 + 15_000))
    assert next_deadline_ms(log.rows["z1"]) == T0 + 15_000 + MINUTE


def test_the_last_will_of_a_connection_that_was_replaced_says_nothing(log: Log) -> None:
    log.put(pulse("cam-1", T0))
    log.put(connection(T0, "cam-1", ids="c1", is_online=True))
    log.put(connection(T0 + 10_000, "cam-1", ids="c2", is_online=True))
    log.put(connection(T0 + 11_000, "cam-1", ids="c1"))
    assert next_deadline_ms(log.rows["z1"]) == T0 + MINUTE


def test_a_last_will_that_is_said_again_whenever_a_worker_connects_counts_once(log: Log) -> None:
    log.put(pulse("cam-1", T0))
    for n in range(3):
        log.put(connection(T0 + 10_000 + n, "cam-1"))
    (signal,) = log.tick(T0 + MINUTE)
    log.put(connection(T0 + 2 * MINUTE, "cam-1"))
    log.say("close", signal.signal_id)
    log.put(connection(T0 + 3 * MINUTE, "cam-1"))
    assert log.tick(T0 + 10 * MINUTE) == [], "a person knows of it"
    log.put(connection(T0 + 11 * MINUTE, "cam-1", ids="c2", is_online=True))
    log.put(pulse("cam-1", T0 + 11 * MINUTE))
    log.put(connection(T0 + 11 * MINUTE + 1, "cam-1", ids="c2"))
    assert told(log.tick(T0 + 12 * MINUTE - 1)) == [(RAISED, Stage.PRE_ALARM, ("SILENT",))]


def test_an_agent_that_is_found_gone_is_missed_though_never_heard_and_its_devices_are_not() -> None:
    log = Log(b.rules(places=b.places(devices=(*b.places().devices, b.device("pi-1", DeviceKind.AGENT)))))
    log.put(connection(T0, "pi-1", "cam-1"))
    (signal,) = log.tick(T0 + MINUTE)
    assert signal.sources == ("pi-1",)
    log.put(connection(T0 + MINUTE, "pi-1", "cam-1", ids="c2"))
    assert log.tick(T0 + 2 * MINUTE) == []


def test_an_agent_that_was_never_heard_and_comes_is_not_missed() -> None:
    log = Log(b.rules(places=b.places(devices=(*b.places().devices, b.device("pi-1", DeviceKind.AGENT)))))
    log.put(connection(T0, "pi-1"))
    log.put(connection(T0 + 1_000, "pi-1", ids="c2", is_online=True))
    assert next_deadline_ms(log.rows["z1"]) is None


@given(
    count=st.integers(1, 4),
    is_gone=st.booleans(),
    turns=st.lists(st.integers(0, 2), min_size=24, max_size=24),
)
def test_however_the_words_of_several_workers_come_between_each_other_the_last_one_counts(
    count: int, is_gone: bool, turns: Iterable[int]
) -> None:
    said = [(f"c{n}", is_online) for n in range(count) for is_online in (True, False)][: None if is_gone else -1]
    waiting = [list(said) for _ in range(3)]
    log = Log()
    log.put(pulse("cam-1", T0))
    for worker in (*turns, *(one for one in range(3) for _ in said)):
        if waiting[worker]:
            ids, is_online = waiting[worker].pop(0)
            log.put(connection(T0 + 1_000, "cam-1", ids=ids, is_online=is_online))
    assert next_deadline_ms(log.rows["z1"]) == T0 + (21_000 if is_gone else MINUTE)


def test_what_was_only_kept_of_a_device_is_no_sign_of_life_and_begins_the_watch(log: Log) -> None:
    def keep(*minutes: int) -> list[SignalRecord]:
        kept = [
            log.seen("gas-1", b.reading(0.0, "gas", "%"), T0 + n * MINUTE, quality=Quality.REPLAYED) for n in minutes
        ]
        return [signal for one in kept for signal in log.put(b.batch(one))]

    assert keep(0, 5, 14) == []
    (signal,) = keep(15)
    assert (signal.sources, signal.reasons) == (("gas-1",), ("SILENT",))
    assert keep(16) == []
    assert told(log.put(b.batch(log.seen("gas-1", b.reading(0.0, "gas", "%"), T0 + 17 * MINUTE))))[0][0] is CLEARED


@pytest.mark.parametrize("quality", [Quality.LIVE, Quality.REPLAYED])
def test_that_a_device_is_gone_is_a_fault_though_a_broker_has_kept_it_and_so_is_it_over(
    log: Log, quality: Quality
) -> None:
    def say(fault: str, at_ms: int) -> list[SignalRecord]:
        return log.put(b.batch(log.seen("smoke-1", Fault(fault=fault), at_ms, quality=quality)))

    log.put(b.batch(log.seen("smoke-1", b.reading(0.0), T0)))
    (signal,) = say(OFFLINE, T0 + 10 * MINUTE)
    assert signal.reasons == ("OFFLINE",)
    assert say(OFFLINE, T0 + 11 * MINUTE) == []
    assert log.rows["z1"].missed_from["smoke-1"] == T0 + 50 + 15 * MINUTE, "who says so is another"
    assert [one.kind for one in say(NO_FAULT, T0 + 12 * MINUTE)] == [CLEARED]


@pytest.mark.parametrize(
    ("fault", "quality"), [("tamper", Quality.REPLAYED), (OFFLINE, Quality.TEST), ("dark", Quality.TEST)]
)
def test_no_other_fault_that_was_kept_and_none_of_a_drill_is_told(log: Log, fault: str, quality: Quality) -> None:
    assert log.put(b.batch(log.seen("smoke-1", Fault(fault=fault), T0, quality=quality))) == []


def test_a_camera_that_never_sent_a_heartbeat_and_a_button_are_not_missed(log: Log) -> None:
    log.see("cam-1", 0.6)
    log.put(b.batch(log.seen("button-1", b.BUTTON, T0)))
    assert told(log.tick(T0 + 60 * MINUTE)) == []


def test_a_zone_in_which_nothing_watches_any_more_is_told_more_urgently(log: Log) -> None:
    log.put(pulse("cam-9", T0, "z2"))
    (signal,) = log.tick(T0 + MINUTE, "z2")
    assert (signal.stage, signal.category) == (Stage.ALARM, "device.unprotected")


def test_a_second_device_that_fails_is_told_as_evidence_of_the_same(log: Log) -> None:
    log.put(b.batch(log.seen("cam-1", Fault(fault="covered"), T0)))
    (more,) = log.put(b.batch(log.seen("cam-2", Fault(fault="dark"), T0 + 1_000)))
    assert (more.kind, more.sources, more.reasons) == (EVIDENCE, ("cam-1", "cam-2"), ("COVERED", "DARK"))
    assert log.put(b.batch(log.seen("cam-2", Fault(fault="dark"), T0 + 2_000))) == []


def test_a_fault_hides_no_alarm(log: Log) -> None:
    log.put(b.batch(log.seen("gas-1", Fault(fault="battery_low"), T0)))
    signals = log.put(b.batch(log.seen("gas-1", b.reading(25.0, "gas", "%"), T0 + 1_000)))
    assert [(one.family, one.stage) for one in signals] == [("gas", Stage.ALARM)]


@pytest.mark.parametrize(
    ("fault", "lasts"), [("tamper", True), ("battery_low", True), ("dark", False), ("offline", False)]
)
def test_a_fault_that_a_device_cannot_take_back_by_going_on_lasts(log: Log, fault: str, lasts: bool) -> None:
    log.put(b.batch(log.seen("smoke-1", Fault(fault=fault), T0)))
    signals = log.put(b.batch(log.seen("smoke-1", b.reading(0.0), T0 + 1_000)))
    assert [one.kind for one in signals] == ([] if lasts else [CLEARED])


def test_a_device_that_says_that_it_is_well_again_ends_a_passing_fault_and_no_lasting_one(log: Log) -> None:
    well = Fault(fault=NO_FAULT)
    log.put(b.batch(log.seen("cam-1", Fault(fault="dark"), T0)))
    (signal,) = log.put(b.batch(log.seen("cam-1", well, T0 + MINUTE)))
    assert (signal.kind, signal.reasons) == (CLEARED, ("DEVICES_BACK",))
    assert log.put(b.batch(log.seen("cam-1", well, T0 + 2 * MINUTE))) == []
    log.put(b.batch(log.seen("cam-1", Fault(fault="tamper"), T0 + 3 * MINUTE)))
    assert log.put(b.batch(log.seen("cam-1", well, T0 + 4 * MINUTE))) == []


def test_a_passing_fault_does_not_take_a_lasting_one_along(log: Log) -> None:
    for fault in ("tamper", "offline"):
        log.put(b.batch(log.seen("smoke-1", Fault(fault=fault), T0)))
    assert log.put(b.batch(log.seen("smoke-1", b.reading(0.0), T0 + 1_000))) == []


@pytest.mark.parametrize(
    ("kind", "power", "every_s", "alone", "limit_s"),
    [
        (DeviceKind.CAMERA, "mains", None, True, 60),
        (DeviceKind.SMOKE, "mains", None, True, 900),
        (DeviceKind.SMOKE, "battery", None, True, 7_200),
        (DeviceKind.SMOKE, "battery", None, False, 93_600),
        (DeviceKind.HEAT, "mains", 30.0, False, 75),
    ],
)
def test_each_class_of_device_has_a_limit_of_its_own(
    kind: DeviceKind, power: str, every_s: float | None, alone: bool, limit_s: int
) -> None:
    from stream.zones.supervision import missed_after_ms

    device = replace(b.device("x", kind, "z7"), power=power, every_s=every_s)
    others = () if alone else (b.device("y", DeviceKind.SMOKE, "z7"),)
    places = b.places(devices=(device, *others))
    assert missed_after_ms(device, places, Supervision()) == limit_s * 1000


def test_a_device_that_was_taken_out_of_the_city_is_not_missed(log: Log) -> None:
    log.put(pulse("cam-1", T0))
    log.rules = b.rules(places=b.places(devices=()))
    assert log.tick(T0 + MINUTE) == []
    assert next_deadline_ms(log.rows["z1"]) is None


def test_a_catalogue_without_device_faults_is_told_none(log: Log) -> None:
    kept = tuple(one for one in b.CATALOGUE.categories if one.family != "device")
    log.rules = b.rules(catalogue=replace(b.CATALOGUE, categories=kept))
    assert log.put(b.batch(log.seen("cam-1", Fault(fault="dark"), T0))) == []


def test_what_was_dropped_on_purpose_is_remembered(log: Log) -> None:
    dropped = Dropped(lane=Lane.TELEMETRY, ranges=((3, 5), (9, 9)))
    log.put(b.batch(log.seen("cam-1", dropped, T0)))
    seqs = log.rows["z1"].dropped["cam-1|box|telemetry"]
    assert [seq in seqs for seq in (2, 3, 5, 6, 9)] == [False, True, True, False, True]
