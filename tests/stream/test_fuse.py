"""How many must agree, who fails safe, how long an alarm of one source alone may be looked into (S2, S4, S6-S8)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from models.errors import ConfigError
from models.messages import Fault, Quality, Response, Stage
from models.places import CellKind, DeviceKind
from models.thresholds import DEFAULT, Override, Staged, Supervision, load, place_problems
from stream.records import SignalKind, SignalRecord
from stream.zones.reducer import ZoneRow, next_deadline_ms
from stream.zones.rules import Rules
from tests.stream import builders as b
from tests.stream.builders import T0
from tests.stream.test_zones import Log

RAISED, ESCALATED, EVIDENCE, CLEARED, _ = SignalKind
RAISED_MS = T0 + 2050
"""When three hits of one camera from `T0` on have raised a pre-alarm."""
ALARM_MS = RAISED_MS + 90_000
"""When that one has failed safe."""


@pytest.fixture
def log() -> Log:
    return Log()


# --- two of n ---------------------------------------------------------------------------------------------------------


def three_of_n(**fields: object) -> Rules:
    override = Override(name="hall", labels=("fire", "smoke"), zones=("z1",), confirm_devices=3)
    # Nothing is missed here: the tests say themselves who has failed.
    supervision = Supervision(pulsed_s=80_000, mains_s=80_000)
    return b.rules(thresholds=b.thresholds(overrides=(override,), supervision=supervision), **fields)


def test_where_a_zone_asks_for_three_the_second_is_evidence_and_the_third_confirms() -> None:
    log = Log(three_of_n())
    log.see("cam-1", 0.9, 0.9, 0.9)
    log.see("cam-2", 0.9, 0.9, 0.9, at_ms=T0 + 10_000)
    assert ESCALATED not in log.kinds
    (escalated,) = log.put(b.batch(log.seen("smoke-1", b.reading(1.0), T0 + 20_000)))
    assert (escalated.kind, escalated.reasons) == (ESCALATED, ("ENOUGH_DEVICES",))
    assert escalated.sources == ("cam-1", "cam-2", "smoke-1")


def test_all_of_them_must_have_seen_it_within_the_window() -> None:
    log = Log(three_of_n())
    log.see("cam-1", 0.9, 0.9, 0.9)
    log.see("cam-2", 0.9, 0.9, 0.9, at_ms=T0 + 50_000)
    log.put(b.batch(log.seen("smoke-1", b.reading(1.0), T0 + 70_000)))
    assert ESCALATED not in log.kinds


def test_another_zone_goes_on_asking_for_two() -> None:
    places = b.places()
    more = (*places.devices, b.device("cam-8", DeviceKind.CAMERA, "z2", b.at(150, 60)))
    log = Log(three_of_n(places=msgspec.structs.replace(places, devices=more)))
    for i, device in enumerate(("cam-9", "cam-8")):
        for n in range(3):
            at_ms = T0 + i * 10_000 + n * 1000
            log.put(b.batch(log.seen(device, b.detection(0.9), at_ms, zone="z2")))
    assert log.signals[-1].reasons == ("SECOND_DEVICE",)


def test_a_fault_of_the_third_hides_no_alarm_that_two_agree_on() -> None:
    places = b.places()
    three = tuple(one for one in places.devices if one.id in {"cam-1", "cam-2", "smoke-1"})
    log = Log(three_of_n(places=msgspec.structs.replace(places, devices=three)))
    log.put(b.batch(log.seen("smoke-1", Fault(fault="trouble"), T0 - 1000)))
    log.see("cam-1", 0.9, 0.9, 0.9)
    log.see("cam-2", 0.9, 0.9, 0.9, at_ms=T0 + 10_000)
    assert [signal.reasons for signal in log.signals if signal.kind is ESCALATED] == [("SECOND_DEVICE",)]


def test_where_one_is_enough_a_camera_at_alarm_level_needs_no_other() -> None:
    log = Log(b.rules(thresholds=b.thresholds(confirm_devices=1)))
    assert log.see("cam-1", 0.6, 0.6, 0.6)[0].stage is Stage.PRE_ALARM
    (escalated,) = log.see("cam-1", 0.9, at_ms=T0 + 3000)
    assert (escalated.stage, escalated.reasons) == (Stage.ALARM, ("SINGLE_OK",))


def test_a_heritage_cell_has_a_stricter_profile_by_its_kind() -> None:
    places = b.places(
        cells=(b.cell("c1", b.box(0, 0, 100, 100)), b.cell("c2", b.box(100, 0, 200, 100), kind=CellKind.HERITAGE))
    )
    strict = Override(name="wood", labels=("fire",), kinds=(CellKind.HERITAGE,), hint=0.2, min_hits=1)
    log = Log(b.rules(places=places, thresholds=b.thresholds(overrides=(strict,))))
    assert log.see("cam-1", 0.3) == []
    (raised,) = log.put(b.batch(log.seen("cam-9", b.detection(0.3), T0, zone="z2")))
    assert (raised.kind, raised.zone) == (RAISED, "z2")


def test_the_check_names_a_zone_of_a_kind_too_whose_devices_are_fewer() -> None:
    override = Override(name="three", labels=("fire",), kinds=(CellKind.MIXED,), confirm_devices=3)
    found = list(place_problems(b.thresholds(overrides=(override,)), b.places(), file=DEFAULT))
    assert [one.what for one in found] == ["3 devices must agree, and 'z2' has 1"]


def test_the_check_names_a_zone_that_has_fewer_devices_than_must_agree() -> None:
    overrides = tuple(
        Override(name=zone, labels=("fire",), zones=(zone,), confirm_devices=3) for zone in ("z1", "z2", "z404")
    )
    found = list(place_problems(b.thresholds(overrides=overrides), b.places(), file=DEFAULT))
    assert [(one.path, one.what) for one in found] == [
        ("overrides[1].confirm_devices", "3 devices must agree, and 'z2' has 1"),
        ("overrides[2].zones", "no zone 'z404' in places.geojson"),
        ("overrides[2].confirm_devices", "3 devices must agree, and 'z404' has 0"),
    ]


# --- who fails safe ---------------------------------------------------------------------------------------------------


def rubbish(log: Log, at_ms: int = T0) -> list[SignalRecord]:
    return [
        signal
        for i in range(3)
        for signal in log.put(b.batch(log.seen("cam-1", b.detection(0.9, "garbage"), at_ms + i * 1000)))
    ]


def street_order() -> Rules:
    resolved = load().resolve(dict.fromkeys(("fire", "smoke", "garbage"), (0.5, 0.7)))
    return b.rules(thresholds=resolved)


def test_a_pre_alarm_of_street_order_ends_by_itself_and_never_fails_safe() -> None:
    log = Log(street_order())
    (raised,) = rubbish(log)
    assert (raised.stage, raised.category) == (Stage.PRE_ALARM, "waste.exposed")
    assert next_deadline_ms(log.rows["z1"]) == RAISED_MS + 120_000
    (cleared,) = log.tick(RAISED_MS + 120_000)
    assert (cleared.kind, cleared.reasons) == (CLEARED, ("BELOW_CLEAR",))


def test_what_lies_there_still_when_the_window_is_over_is_an_alarm_and_nobody_holds_it_back() -> None:
    log = Log(street_order())
    rubbish(log)
    (escalated,) = (signal for signal in rubbish(log, T0 + 91_000) if signal.kind is ESCALATED)
    assert (escalated.reasons, escalated.response, escalated.general_by_ms) == (("STILL_ABOVE",), None, None)


# --- S6 to S8: the staged path ----------------------------------------------------------------------------------------


def alone(log: Log) -> SignalRecord:
    """Let one camera's pre-alarm fail safe."""
    log.see("cam-1", 0.6, 0.6, 0.6)
    (escalated,) = log.tick(ALARM_MS)
    assert escalated.reasons == ("VERIFY_EXPIRED",)
    return escalated


def say_at(log: Log, verdict: str, at_ms: int) -> list[SignalRecord]:
    """Let the seat say something when the zone's time is `at_ms`."""
    ticked = log.tick(at_ms)
    return ticked + log.say(verdict, log.signals[0].signal_id)


def test_an_alarm_of_one_source_alone_waits_fifteen_seconds_for_the_seat(log: Log) -> None:
    escalated = alone(log)
    assert (escalated.response, escalated.general_by_ms) == (Response.AWAITED, ALARM_MS + 15_000)
    assert log.tick(ALARM_MS + 14_999) == []
    (general,) = log.tick(ALARM_MS + 15_000)
    assert (general.kind, general.stage, general.response) == (ESCALATED, Stage.ALARM, Response.GENERAL)
    assert general.reasons == ("GENERAL", "NOT_ACKNOWLEDGED")
    assert next_deadline_ms(log.rows["z1"]) is None


def test_one_that_is_acknowledged_is_general_when_nobody_has_chosen_to_look(log: Log) -> None:
    alone(log)
    (told,) = say_at(log, "acknowledge", ALARM_MS + 14_000)
    assert (told.kind, told.response, told.reasons) == (EVIDENCE, Response.ACKNOWLEDGED, ("ACKNOWLEDGED",))
    assert log.tick(ALARM_MS + 59_999) == []
    assert log.tick(ALARM_MS + 60_000)[0].reasons == ("GENERAL", "TIME_OUT")


def test_an_acknowledgement_that_comes_too_late_holds_nothing_back(log: Log) -> None:
    alone(log)
    assert [one.response for one in say_at(log, "acknowledge", ALARM_MS + 15_000)] == [Response.GENERAL]
    assert log.say("investigate", log.signals[0].signal_id) == []


def test_an_investigation_ends_after_three_minutes_with_the_general_alarm(log: Log) -> None:
    alone(log)
    say_at(log, "acknowledge", ALARM_MS + 10_000)
    (told,) = say_at(log, "investigate", ALARM_MS + 20_000)
    assert (told.response, told.general_by_ms) == (Response.INVESTIGATING, ALARM_MS + 200_000)
    assert log.tick(ALARM_MS + 199_999) == []
    assert log.tick(ALARM_MS + 200_000)[0].reasons == ("GENERAL", "TIME_OUT")


def test_to_look_at_once_is_to_acknowledge(log: Log) -> None:
    alone(log)
    (told,) = say_at(log, "investigate", ALARM_MS + 5_000)
    assert (told.response, told.general_by_ms) == (Response.INVESTIGATING, ALARM_MS + 185_000)


def test_six_minutes_after_the_alarm_it_is_general_whatever_is_set() -> None:
    log = Log(b.rules(thresholds=b.thresholds(staged=Staged(investigate_s=360.0))))
    alone(log)
    say_at(log, "acknowledge", ALARM_MS + 10_000)
    (told,) = say_at(log, "investigate", ALARM_MS + 50_000)
    assert told.general_by_ms == ALARM_MS + 360_000


def test_an_investigation_chosen_twice_is_no_longer_than_one(log: Log) -> None:
    alone(log)
    (told,) = say_at(log, "investigate", ALARM_MS + 5_000)
    assert say_at(log, "investigate", ALARM_MS + 100_000) == []
    assert say_at(log, "acknowledge", ALARM_MS + 101_000) == []
    assert next_deadline_ms(log.rows["z1"]) == told.general_by_ms


@pytest.mark.parametrize("reason", ["SECOND_DEVICE", "MANUAL"])
def test_a_second_signal_makes_it_general_at_once(log: Log, reason: str) -> None:
    alone(log)
    say_at(log, "investigate", ALARM_MS + 5_000)
    if reason == "MANUAL":
        (general,) = log.put(b.batch(log.seen("button-1", b.BUTTON, ALARM_MS + 20_000)))
    else:  # a hint is enough: it is the second that has seen something
        (general,) = (s for s in log.see("cam-2", 0.6, 0.6, 0.6, at_ms=ALARM_MS + 20_000) if s.kind is ESCALATED)
    assert (general.reasons, general.response) == (("GENERAL", reason), Response.GENERAL)
    assert general.general_by_ms is None


def test_more_from_the_same_device_and_old_evidence_of_another_are_no_second_signal(log: Log) -> None:
    alone(log)
    say_at(log, "investigate", ALARM_MS + 5_000)
    log.see("cam-1", 0.9, 0.9, 0.9, at_ms=ALARM_MS + 20_000)
    old = log.seen("button-1", b.BUTTON, T0 - 7_200_000, quality=Quality.LATE, received_ms=ALARM_MS + 25_000)
    log.put(b.batch(old))
    assert log.signals[-1].response is Response.INVESTIGATING
    assert ESCALATED not in log.kinds[2:]


def test_a_responder_who_confirms_makes_it_general_at_once(log: Log) -> None:
    alone(log)
    say_at(log, "investigate", ALARM_MS + 5_000)
    (general,) = say_at(log, "confirm", ALARM_MS + 60_000)
    assert (general.reasons, general.response) == (("GENERAL", "CONFIRMED"), Response.GENERAL)
    assert say_at(log, "confirm", ALARM_MS + 61_000) == []


def test_nothing_that_is_said_of_an_alarm_clears_it(log: Log) -> None:
    alone(log)
    assert say_at(log, "clear", ALARM_MS + 1_000) == []
    (raised, *_) = log.signals
    assert log.rows["z1"].machines["fire"].signal is not None
    assert log.say("close", raised.signal_id) == []
    assert next_deadline_ms(log.rows["z1"]) is None, "a closed alarm has no clock"


def test_what_is_said_of_an_alarm_does_nothing_to_a_pre_alarm(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    assert say_at(log, "acknowledge", T0 + 3000) == say_at(log, "investigate", T0 + 3000) == []
    assert log.signals[-1].stage is Stage.PRE_ALARM


@pytest.mark.parametrize(
    "story",
    ["two devices", "button", "gas", "gas of another device", "heat of a gas detector", "seat", "two that hint"],
)
def test_every_other_alarm_is_general_at_once_and_cannot_be_held_back(log: Log, story: str) -> None:
    if story == "button":
        log.put(b.batch(log.seen("button-1", b.BUTTON, T0)))
    elif story == "gas":
        log.put(b.batch(log.seen("gas-1", b.reading(12, "gas", "%"), T0)))
        log.tick(T0 + 50 + 90_000)
    elif story == "gas of another device":
        log.put(b.batch(log.seen("smoke-1", b.reading(25, "gas", "%"), T0)))
        log.tick(T0 + 50 + 90_000)
    elif story == "heat of a gas detector":
        log.put(b.batch(log.seen("gas-1", b.reading(55, "temperature", "Cel"), T0)))
        log.tick(T0 + 50 + 90_000)
    else:
        log.see("cam-1", *[0.9 if story == "two devices" else 0.6] * 3)
    if story == "two devices":
        log.put(b.batch(log.seen("smoke-1", b.reading(1.0), T0 + 3_000)))
    elif story == "seat":
        log.say("confirm", log.signals[0].signal_id)
    elif story == "two that hint":
        log.see("cam-2", 0.6, 0.6, 0.6, at_ms=T0 + 10_000)
        log.tick(T0 + 2050 + 90_000)
    alarm = log.signals[-1]
    assert (alarm.stage, alarm.response, alarm.general_by_ms) == (Stage.ALARM, Response.GENERAL, None)
    assert log.say("acknowledge", alarm.signal_id) == log.say("investigate", alarm.signal_id) == []


def test_an_old_alarm_that_a_person_has_confirmed_does_not_fail_safe_when_fresh_evidence_comes(log: Log) -> None:
    item = log.seen("smoke-1", b.reading(1.0), T0, quality=Quality.LATE, received_ms=T0 + 3_600_000)
    (raised,) = log.put(b.batch(item))
    assert raised.late
    log.say("confirm", raised.signal_id)
    log.put(b.batch(log.seen("smoke-1", b.reading(1.0), T0 + 3_700_000)))
    assert [signal for signal in log.tick(T0 + 9_000_000) if signal.family == "fire"] == []


def test_the_clocks_come_back_with_the_row(log: Log) -> None:
    alone(log)
    say_at(log, "investigate", ALARM_MS + 5_000)
    row = msgspec.msgpack.decode(msgspec.msgpack.encode(log.rows["z1"]), type=ZoneRow)
    assert row == log.rows["z1"]
    assert next_deadline_ms(row) == ALARM_MS + 185_000


def test_gas_is_never_put_among_what_may_be_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.toml"
    path.write_text('[staged]\nfamilies = ["fire", "gas"]\n')
    with pytest.raises(ConfigError, match="an alarm of 'gas' is never held back"):
        load(path)
    path.write_text("[staged]\ninvestigate_s = 361\n")
    with pytest.raises(ConfigError, match="<= 360"):
        load(path)
