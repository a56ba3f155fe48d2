"""What people report: into the log where it happened, and there the equal of what a device has seen."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from models import topics
from models.errors import MessageError, Reason
from models.geo import to_degrees
from models.messages import (
    Lane,
    Observation,
    ObservationBatch,
    Position,
    Priority,
    Report,
    Response,
    Stage,
    encode,
)
from models.places import DeviceKind
from stream.desk.cases import first_incident
from stream.ingest.admission import Arrival, Gate, take
from stream.ingest.registry import Registry, partition_of
from stream.ingest.service import Round
from stream.records import Located, Outcome, SignalKind, SignalRecord, decode_obs
from stream.zones.reducer import next_deadline_ms
from tests.stream import builders as b
from tests.stream.builders import T0, at
from tests.stream.test_ingest import KEYS
from tests.stream.test_zones import Log

RAISED, ESCALATED, EVIDENCE, CLEARED, _ = SignalKind
GATE = Gate("t", KEYS, Registry(b.places(), lambda points: [{"cell": "here"} for _ in points], partitions=4))
NOWHERE_WATCHED = at(5_000, 50)


def reported(
    category: str = "fire.smoke.single", *, by: str | None = "p-1", seq: int = 1, age_ms: int = 0, **fields: Any
) -> Observation:
    lon, lat = fields.pop("place", at(55, 50))
    defaults: dict[str, Any] = {
        "device_id": topics.ALERTS,
        "position": Position(lon_deg=to_degrees(lon), lat_deg=to_degrees(lat), radius_m=20.0),
        "payload": Report(category=category, text="烟从窗户冒出"),
    }
    return Observation(
        outbox_id="led-1",
        boot_id="boot-a",
        lane=Lane.ALARM,
        seq=seq,
        observed_at_ms=T0 - age_ms,
        observed_mono_ms=1_000_000 - age_ms,
        reporter=by,
        **(defaults | fields),
    )


def arrival(*observations: Observation, kid: str = topics.ALERTS, device: str = topics.ALERTS) -> Arrival:
    batch = ObservationBatch(v=1, boot_id="boot-a", sent_at_ms=T0, sent_mono_ms=1_000_000, observations=observations)
    topic = topics.obs("t", device)
    return Arrival(topic, KEYS.seal(topic, encode(batch), kid=kid), T0 + 50)


def taken(*observations: Observation) -> list[Located]:
    found = take(arrival(*observations), GATE)
    assert isinstance(found, list)
    return [said.located(k) for said in found for k in range(len(said.observations))]


# --- at the door ------------------------------------------------------------------------------------------------------


def test_a_report_belongs_to_the_zone_that_is_watched_at_its_place() -> None:
    (located,) = taken(reported(age_ms=3_000))
    assert (located.zone, located.event_ms, located.radius_m) == ("z1", T0 - 3_000, 20.0)
    assert taken(reported(place=at(150, 60)))[0].zone == "z2"


def test_where_nothing_is_watched_its_place_is_a_zone_of_its_own() -> None:
    (one,), (same,) = taken(reported(place=NOWHERE_WATCHED)), taken(reported(place=NOWHERE_WATCHED, seq=2, by="p-2"))
    (other,) = taken(reported(place=at(5_300, 50)))
    assert one.zone == same.zone != other.zone
    assert one.zone not in {"z1", "z2"}


def test_it_is_stored_in_the_partition_of_that_zone_and_acknowledged_to_alerts() -> None:
    stored = Round()
    stored.add(arrival(reported(), reported(place=NOWHERE_WATCHED, seq=2)), GATE)
    records = {record.partition: decode_obs(record.value or b"") for record in stored.records(GATE, now_ms=T0 + 60)}
    zones = {partition: [one.zone for one in record.said] for partition, record in records.items()}
    here = partition_of("s1", 4)
    assert "z1" in zones[here]
    assert all(GATE.registry.partition_of_zone(zone) == partition for partition in zones for zone in zones[partition])
    ((sender, ack),) = stored.replies()
    assert (sender, ack.outbox_id, ack.lane, ack.stored) == (topics.ALERTS, "led-1", "alarm", ((1, 2),))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (reported(by=None), Reason.WRONG_SHAPE),
        (reported(position=None), Reason.WRONG_SHAPE),
        (reported(device_id="cam-1"), Reason.FOREIGN_DEVICE),
        (reported(payload=b.BUTTON), Reason.FOREIGN_DEVICE),
    ],
)
def test_alerts_speaks_for_reporters_only_and_names_who_and_where(bad: Observation, reason: Reason) -> None:
    with pytest.raises(MessageError) as caught:
        take(arrival(bad), GATE)
    assert caught.value.reason is reason


def test_nobody_else_may_report_in_its_name() -> None:
    with pytest.raises(MessageError) as caught:
        take(arrival(reported(), kid="cam-01"), GATE)
    assert caught.value.reason is Reason.FOREIGN_DEVICE


# --- in the zone ------------------------------------------------------------------------------------------------------


@pytest.fixture
def log() -> Log:
    return Log()


def report(log: Log, category: str, seconds: int, *, by: str = "p-1", seq: int = 1) -> list[SignalRecord]:
    (located,) = taken(reported(category, by=by, seq=seq))
    event_ms = T0 + 1000 * seconds
    return log.put(b.batch(replace(located, event_ms=event_ms, received_ms=event_ms + 50)))


def test_a_report_is_a_pre_alarm_of_its_category_at_its_place_and_fails_safe(log: Log) -> None:
    (raised,) = report(log, "fire.smoke.single", 0)
    assert (raised.kind, raised.stage, raised.reasons) == (RAISED, Stage.PRE_ALARM, ("REPORTED",))
    assert (raised.category, raised.family, raised.reporters) == ("fire.smoke.single", "fire", ("p-1",))
    assert (raised.lon_e7, raised.lat_e7) == at(55, 50)
    (escalated,) = log.tick(T0 + 50 + 90_000)
    assert (escalated.category, escalated.response) == ("fire.smoke.confirmed", Response.AWAITED)


def test_a_report_of_street_order_stays_until_a_person_ends_it(log: Log) -> None:
    (raised,) = report(log, "order.vendor", 0)
    assert raised.category == "order.vendor"
    assert next_deadline_ms(log.rows["z1"]) is None
    assert log.say("clear", raised.signal_id)[0].reasons == ("OPERATOR",)
    category = b.CATALOGUE.category_by_key["order.vendor"]
    assert first_incident(raised, category, T0, b.world()).priority is Priority.P3


def test_a_report_confirms_what_a_camera_alone_has_seen(log: Log) -> None:
    (raised,) = log.see("cam-1", 0.6, 0.6, 0.6)
    (escalated,) = report(log, "fire.manual", 30)
    assert (escalated.signal_id, escalated.reasons) == (raised.signal_id, ("SECOND_DEVICE",))
    assert (escalated.response, escalated.reporters) == (Response.GENERAL, ("p-1",))


def test_a_camera_confirms_what_a_person_alone_has_reported(log: Log) -> None:
    report(log, "fire.smoke.single", 0)
    assert log.see("cam-1", 0.6, 0.6, 0.6, at_ms=T0 + 10_000)[-1].reasons == ("SECOND_DEVICE",)


def test_a_report_of_another_family_confirms_nothing(log: Log) -> None:
    log.see("cam-1", 0.6, 0.6, 0.6)
    assert [signal.kind for signal in report(log, "order.vendor", 30)] == [RAISED]


def test_two_persons_are_two_sources_and_one_who_says_it_twice_is_one(log: Log) -> None:
    report(log, "fire.smoke.single", 0)
    assert ESCALATED not in [one.kind for one in report(log, "fire.smoke.single", 20, seq=2)]
    assert [one.reasons for one in report(log, "fire.smoke.single", 30, by="p-2", seq=3)] == [("SECOND_DEVICE",)]


def test_what_was_reported_keeps_a_cameras_pre_alarm_from_ending_by_itself() -> None:
    log = Log(b.rules(thresholds=b.thresholds(verify_s=1000.0)))
    report(log, "fire.smoke.single", 0)
    log.see("cam-1", 0.46, at_ms=T0 + 10_000)
    assert log.tick(T0 + 900_000) == []
    other = Log(b.rules(thresholds=b.thresholds(verify_s=1000.0)))
    other.see("cam-1", 0.6, 0.6, 0.6)
    report(other, "fire.smoke.single", 100)  # too late to be of one moment: it confirms nothing
    assert other.tick(T0 + 900_000) == []
    assert ESCALATED not in other.kinds


def test_while_an_alarm_is_looked_into_the_responders_report_makes_it_general(log: Log) -> None:
    (raised,) = log.see("cam-1", 0.6, 0.6, 0.6)
    log.tick(T0 + 2050 + 90_000)
    log.say("investigate", raised.signal_id)
    (general,) = report(log, "fire.flame.confirmed", 150)
    assert (general.reasons, general.response) == (("GENERAL", "SECOND_DEVICE"), Response.GENERAL)


def test_a_report_of_no_known_category_and_one_that_a_device_makes_are_recorded(log: Log) -> None:
    assert report(log, "no.such.thing", 0) == []
    log.put(b.batch(log.seen("cam-1", Report(category="fire.manual"), T0)))
    assert (log.outcomes, log.kinds) == ([Outcome.RECORDED] * 2, [])


def test_a_report_that_comes_twice_counts_once(log: Log) -> None:
    report(log, "fire.smoke.single", 0)
    assert report(log, "fire.smoke.single", 0) == []
    assert log.duplicates == 1


def test_an_agent_watches_nothing() -> None:
    agent = b.device("edge-7", DeviceKind.AGENT, "z1", NOWHERE_WATCHED)
    places = replace(b.places(), devices=(*b.places().devices, agent))
    registry = Registry(places, lambda points: [{} for _ in points], partitions=4)
    assert registry.site_of_report(NOWHERE_WATCHED).zone not in {"z1", "z2"}
