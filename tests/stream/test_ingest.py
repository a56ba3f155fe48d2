from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from dataclasses import replace as replace_gate
from typing import Any

import pytest
from msgspec.structs import replace

from models import topics
from models.config import Adapter, Config, Stream
from models.errors import MessageError, Reason
from models.geo import point_e7
from models.messages import (
    Ack,
    ButtonPress,
    DeadLetter,
    Decision,
    DecisionKind,
    Fault,
    Lane,
    Load,
    Message,
    Observation,
    ObservationBatch,
    Payload,
    Position,
    Priority,
    Quality,
    Reading,
    Status,
    decode,
    encode,
)
from models.places import Device, DeviceKind, Places, Zone
from models.seal import Keyring
from stream.adapters import Heard, PlainJson
from stream.adapters.names import Host
from stream.adapters.sparkplug import Payload as SparkplugPayload
from stream.ingest.admission import Arrival, Gate, locate_moving, take
from stream.ingest.dead import HEAD_BYTES, dead_letter, lines
from stream.ingest.foreign import UNKNOWN, Foreign, dialect_of, foreign_of
from stream.ingest.limit import Limiter
from stream.ingest.redeliver import again
from stream.ingest.registry import Registry, partition_of
from stream.ingest.service import Round
from stream.records import (
    Connection,
    ConnectionRecord,
    LoadRecord,
    Located,
    ObservationRecord,
    Said,
    TimeSource,
    decode_incidents,
    decode_obs,
    said_of,
)
from stream.zones.row import ZoneRow
from tests.stream.builders import rules

NOW_MS = 1_780_000_000_000
POINT = (1_065_000_000, 295_000_000)
ELSEWHERE = {"cell": "elsewhere"}
KEYS = Keyring({kid: secrets.token_bytes(32) for kid in ("cam-01", "cam-02", "edge-01", "stream", "alerts")})


def _device(device_id: str, kind: DeviceKind = DeviceKind.CAMERA, **more: Any) -> Device:
    return Device(id=device_id, kind=kind, name="x", name_en="x", cell="c", point=POINT, **more)


PLACES = Places(
    zones=(Zone(id="zone-01", name="x", name_en="x", cell="c", street="ST-01"),),
    devices=(
        _device("cam-01", zone="zone-01", agent="edge-01"),
        _device("cam-02"),
        _device("edge-01", DeviceKind.AGENT),
    ),
)
GATE = Gate("t", KEYS, Registry(PLACES, lambda points: [{"cell": "here"} for _ in points], partitions=4))


def _observation(seq: int = 1, **more: Any) -> Observation:
    fields: dict[str, Any] = {
        "device_id": "cam-01",
        "outbox_id": "outbox-1",
        "boot_id": "boot-1",
        "lane": Lane.ALARM,
        "seq": seq,
        "observed_at_ms": NOW_MS - 2_000,
        "observed_mono_ms": 50_000,
        "payload": Reading(property="smoke", value=1.0, unit="1"),
    }
    return Observation(**(fields | more))


def _batch(*observations: Observation, **more: Any) -> ObservationBatch:
    fields: dict[str, Any] = {
        "v": 1,
        "boot_id": "boot-1",
        "sent_at_ms": NOW_MS,
        "sent_mono_ms": 52_000,
        "observations": observations,
    }
    return ObservationBatch(**(fields | more))


def _arrival(message: Message, *, topic: str = topics.obs("t", "cam-01"), kid: str = "cam-01", **more: Any) -> Arrival:
    return Arrival(topic, KEYS.seal(topic, encode(message), kid=kid), NOW_MS, **more)


def _said(message: Message, **more: Any) -> list[Said]:
    taken = take(_arrival(message, **more), GATE)
    assert isinstance(taken, list)
    return taken


def _each(parts: Iterable[Said]) -> list[Located]:
    return [said.located(k) for said in parts for k in range(len(said.observations))]


def _located(message: Message, **more: Any) -> list[Located]:
    return _each(_said(message, **more))


def _refused(arrival: Arrival) -> Reason:
    with pytest.raises(MessageError) as caught:
        take(arrival, GATE)
    return caught.value.reason


def test_an_observation_is_located_where_its_device_stands() -> None:
    (located,) = _located(_batch(_observation()))
    assert (located.zone, located.lon_e7, located.lat_e7, located.areas) == ("zone-01", *POINT, {"cell": "here"})


def test_the_event_time_is_the_age_by_the_boot_clock_however_wrong_the_wall_clock_is() -> None:
    hour_ms = 3_600_000
    seen = _observation(observed_at_ms=NOW_MS - 2_000 + hour_ms, inferred_mono_ms=50_120)
    (located,) = _located(_batch(seen, sent_at_ms=NOW_MS + hour_ms))
    assert (located.event_ms, located.time_source) == (NOW_MS - 2_000, TimeSource.MONO)
    assert located.inferred_ms == NOW_MS - 2_000 + 120
    assert located.skew_ms == hour_ms


def test_a_slow_hop_does_not_make_an_event_look_younger() -> None:
    seen = _observation(inferred_mono_ms=50_120)
    (located,) = _located(_batch(seen, sent_at_ms=NOW_MS - 700))
    assert located.event_ms == NOW_MS - 700 - 2_000
    assert located.sent_ms == NOW_MS - 700
    assert located.inferred_ms == NOW_MS - 700 - 2_000 + 120


@pytest.mark.parametrize("sent_at_ms", [NOW_MS + 1, NOW_MS - 2_001, 0])
def test_a_sending_time_that_cannot_be_true_is_when_the_message_came(sent_at_ms: int) -> None:
    (located,) = _located(_batch(_observation(), sent_at_ms=sent_at_ms))
    assert (located.sent_ms, located.event_ms) == (NOW_MS, NOW_MS - 2_000)
    assert located.skew_ms == sent_at_ms - NOW_MS


@pytest.mark.parametrize(
    ("observed_at_ms", "expected_ms"),
    [
        (NOW_MS - 86_400_000, NOW_MS - 86_400_000),
        (NOW_MS + 60_000, NOW_MS + 60_000),
        (NOW_MS + 3_600_000, NOW_MS),
        (5_000, NOW_MS),
    ],
    ids=["a day ago", "a minute ahead", "an hour ahead", "1970"],
)
def test_of_another_boot_the_devices_own_time_counts_but_not_the_future(observed_at_ms: int, expected_ms: int) -> None:
    observation = _observation(boot_id="boot-0", observed_at_ms=observed_at_ms)
    (located,) = _located(_batch(observation))
    assert (located.time_source, located.event_ms) == (TimeSource.DEVICE, expected_ms)


def test_an_observation_from_after_the_sending_has_no_age() -> None:
    observation = _observation(observed_mono_ms=52_001)
    (located,) = _located(_batch(observation))
    assert located.time_source is TimeSource.DEVICE
    assert located.inferred_ms is None


def test_what_a_device_said_in_one_message_stands_together_as_far_as_it_is_alike() -> None:
    at = Position(lon_deg=106.6, lat_deg=29.6, radius_m=40.0)
    seen = [
        _observation(1),
        _observation(2, inferred_mono_ms=50_120),
        _observation(3, boot_id="boot-0"),
        _observation(4, position=at),
        _observation(5, position=at),
    ]
    parts = _said(_batch(*seen))
    assert [[one.seq for one in said.observations] for said in parts] == [[1, 2], [3], [4, 5]]
    assert parts[0].inferred_ms == (None, NOW_MS - 2_000 + 120)
    assert [said_of(one).located(0) for one in _each(parts)] == _each(parts)


def test_what_the_broker_had_retained_is_replayed() -> None:
    (located,) = _located(_batch(_observation()), is_retained=True)
    assert located.observation.quality is Quality.REPLAYED


def test_an_agent_speaks_for_its_devices_and_for_no_others() -> None:
    agents = {"topic": topics.obs("t", "edge-01"), "kid": "edge-01"}
    assert _located(_batch(_observation()), **agents)[0].zone == "zone-01"
    assert _refused(_arrival(_batch(_observation(device_id="cam-02")), **agents)) is Reason.FOREIGN_DEVICE


def test_a_device_speaks_for_itself_alone() -> None:
    assert _refused(_arrival(_batch(_observation(device_id="cam-02")))) is Reason.FOREIGN_DEVICE
    assert _refused(_arrival(_batch(_observation()), kid="cam-02")) is Reason.FOREIGN_DEVICE


def test_a_device_without_a_zone_is_a_zone_of_its_own() -> None:
    topic = topics.obs("t", "cam-02")
    assert _located(_batch(_observation(device_id="cam-02")), topic=topic, kid="cam-02")[0].zone == "cam-02"


def _with(payload: bytes, topic: str = topics.obs("t", "cam-01")) -> Arrival:
    return Arrival(topic, payload, NOW_MS)


def _sealed(line: bytes, topic: str = topics.obs("t", "cam-01")) -> Arrival:
    return _with(KEYS.seal(topic, line, kid="cam-01"), topic)


GOOD = _arrival(_batch(_observation())).payload
LINE = encode(_batch(_observation()))
STATUS = Status(v=1, device_id="edge-01", connect_id="c1", online=False, at_ms=NOW_MS)


@pytest.mark.parametrize(
    ("arrival", "reason"),
    [
        (_with(secrets.token_bytes(1 << 20)), Reason.TOO_LARGE),
        (_with(secrets.token_bytes(1000).replace(b"\n", b"")), Reason.NO_SEAL),
        (_with(LINE), Reason.NO_SEAL),
        (_with(GOOD.replace(b"smoke", b"smokf")), Reason.WRONG_SEAL),
        (_with(KEYS.seal("other", LINE, kid="cam-01")), Reason.WRONG_SEAL),
        (
            _with(GOOD.replace(b'"kid":"cam-01"', b'"kid":"nobody"')),
            Reason.UNKNOWN_SENDER,
        ),
        (_sealed(b"\x00\xff noise"), Reason.NOT_UTF8_JSON),
        (_sealed(LINE.replace(b'"v":1', b'"v":2', 1)), Reason.UNKNOWN_VERSION),
        (_sealed(LINE.replace(b'"seq":1', b'"seq":0')), Reason.WRONG_SHAPE),
        (_with(b"{}", topics.obs("t", "cam-99")), Reason.UNKNOWN_DEVICE),
        (_with(b"{}", topics.obs("u", "cam-01")), Reason.FOREIGN_TENANT),
        (_with(b"{}", topics.status("t", "cam-99")), Reason.UNKNOWN_DEVICE),
        (_arrival(STATUS, topic=topics.status("t", "cam-01")), Reason.FOREIGN_DEVICE),
        (_arrival(STATUS, topic=topics.status("t", "edge-01")), Reason.FOREIGN_DEVICE),
        (_with(b"{}", "somewhere/else"), Reason.WRONG_SHAPE),
    ],
    ids=[
        *("1 MiB of noise", "noise", "no seal", "tampered", "sealed for another topic", "unknown key", "sealed noise"),
        *("unknown version", "a seq of 0", "unknown device", "foreign tenant"),
        *("status of an unknown device", "status of another", "status by another", "no topic of ours"),
    ],
)
def test_what_may_not_be_taken_is_refused_with_its_reason(arrival: Arrival, reason: Reason) -> None:
    assert _refused(arrival) is reason


DECISION = Decision(
    v=1,
    outbox_id="ledger-1",
    seq=7,
    incident_id="inc-1",
    expected_revision=1,
    kind=DecisionKind.CLOSE,
    by="p1",
    at_ms=1,
)


def test_only_alerts_decides_and_acknowledges() -> None:
    topic = topics.decision("t", "inc-1")
    assert take(_arrival(DECISION, topic=topic, kid="alerts"), GATE) == DECISION
    assert _refused(_arrival(DECISION, topic=topic, kid="cam-01")) is Reason.FOREIGN_DEVICE
    assert _refused(_arrival(DECISION, topic=topics.decision("t", "inc-2"), kid="alerts")) is Reason.WRONG_SHAPE
    ack = Ack(v=1, receiver="alerts", outbox_id="log", stored=((1, 3),))
    assert take(_arrival(ack, topic=topics.ack("t", "stream"), kid="alerts"), GATE) == ack


def test_loads_come_from_alerts_alone_and_stand_in_the_log_of_incidents_as_one_record() -> None:
    load = Load(v=1, person="p1", open={Priority.P3: 2}, at_ms=NOW_MS)
    topic = topics.load("t", "p1")
    assert take(_arrival(load, topic=topic, kid="alerts", is_retained=True), GATE) == load
    assert _refused(_arrival(load, topic=topic, kid="cam-01")) is Reason.FOREIGN_DEVICE
    assert _refused(_arrival(load, topic=topics.load("t", "p2"), kid="alerts")) is Reason.WRONG_SHAPE
    current = Round()
    other = replace(load, person="p2")
    for one in (load, other):
        current.add(_arrival(one, topic=topics.load("t", one.person), kid="alerts"), GATE)
    (record,) = current.records(GATE, now_ms=NOW_MS)
    assert (record.topic, current.replies()) == ("incidents", [])
    assert decode_incidents(record.value or b"") == LoadRecord(at_ms=NOW_MS, loads=(load, other))


def test_what_moves_is_located_in_one_call_for_all() -> None:
    calls: list[int] = []

    def locate(points: Any) -> list[dict[str, str]]:
        calls.append(len(points))
        return [ELSEWHERE for _ in points]

    registry = Registry(PLACES, locate, partitions=4)
    moving = _observation(position=Position(lon_deg=106.6, lat_deg=29.6, radius_m=40.0))
    farther = replace(moving, seq=3, position=Position(lon_deg=106.7, lat_deg=29.6, radius_m=40.0))
    taken = _said(_batch(_observation(1), replace(moving, seq=2), farther))
    still, *moved = locate_moving(taken, registry)
    assert still.areas == {"cell": "here"}
    assert [(said.areas, said.radius_m) for said in moved] == [(ELSEWHERE, 40.0)] * 2
    assert (moved[0].lon_e7, moved[0].lat_e7) == point_e7(106.6, 29.6)
    assert calls == [3, 2]  # all devices once, then what moves


def test_a_street_keeps_its_partition() -> None:
    assert [partition_of(street, 4) for street in ("ST-01", "ST-02", "ST-03")] == [1, 3, 1]


def test_a_round_stores_by_partition_and_acknowledges_exact_ranges() -> None:
    current = Round()
    for arrival in (
        _arrival(_batch(_observation(1), _observation(2), _observation(9))),
        _arrival(_batch(_observation(3), replace(_observation(1), lane=Lane.TELEMETRY))),
        _arrival(DECISION, topic=topics.decision("t", "inc-1"), kid="alerts"),
        _with(b"noise"),
    ):
        current.add(arrival, GATE)
    records = current.records(GATE, now_ms=NOW_MS)
    assert [(record.topic, record.partition) for record in records] == [("obs", 1), ("incidents", 0), ("dead", 0)]
    stored = decode_obs(records[0].value or b"")
    assert isinstance(stored, ObservationRecord)
    assert [item.observation.seq for item in stored.located()] == [1, 2, 9, 3, 1]
    replies = {(sender, ack.outbox_id, ack.lane): ack.stored for sender, ack in current.replies()}
    assert replies == {
        ("cam-01", "outbox-1", "alarm"): ((1, 3), (9, 9)),
        ("cam-01", "outbox-1", "telemetry"): ((1, 1),),
        ("alerts", "ledger-1", "decisions"): ((7, 7),),
    }


@pytest.mark.parametrize("is_retained", [False, True])
def test_a_status_is_said_of_every_device_that_is_heard_over_that_connection(is_retained: bool) -> None:
    current = Round()
    topic = topics.status("t", "edge-01")
    current.add(_arrival(STATUS, topic=topic, kid="edge-01", is_retained=is_retained), GATE)
    records = current.records(GATE, now_ms=NOW_MS)
    said = {record.partition: decode_obs(record.value or b"") for record in records}
    assert said == {
        partition_of(street, 4): ConnectionRecord(
            at_ms=NOW_MS, connections=(Connection(device, zone, "edge-01", "c1", False),)
        )
        for device, zone, street in (("cam-01", "zone-01", "ST-01"), ("edge-01", "edge-01", "edge-01"))
    }


def test_a_large_round_is_cut_into_records_of_512_at_most() -> None:
    current = Round()
    for start in range(1, 1200, 200):
        current.add(_arrival(_batch(*(_observation(start + i) for i in range(200)))), GATE)
    sizes = []
    for record in current.records(GATE, now_ms=NOW_MS):
        decoded = decode_obs(record.value or b"")
        assert isinstance(decoded, ObservationRecord)
        sizes.append(decoded.count)
    assert sizes == [400, 400, 400]


def test_a_dead_letter_keeps_the_head_and_the_hash_of_what_it_was() -> None:
    letter = dead_letter("a/topic", b"x" * 100_000, MessageError(Reason.TOO_LARGE, "why"), now_ms=NOW_MS)
    assert (letter.size_bytes, base64.b64decode(letter.head_b64)) == (100_000, b"x" * HEAD_BYTES)
    (line,) = lines([encode(letter)], as_json=False)
    assert "too_large" in line
    assert "a/topic" in line


# --- devices of other makes ------------------------------------------------------------------------------------------

FOREIGN_PLACES = replace(
    PLACES,
    devices=(
        *PLACES.devices,
        _device("smoke-7", DeviceKind.SMOKE, zone="zone-01", source="zigbee2mqtt/kitchen smoke"),
        _device("door-1", DeviceKind.BUTTON, zone="zone-01", source="tasmota/door"),
    ),
)


def _foreign(*kinds: str) -> Gate:
    registry = Registry(FOREIGN_PLACES, lambda points: [{"cell": "here"} for _ in points], partitions=4)
    host = Host()
    dialects = [dialect_of(Adapter(kind=kind), host) for kind in kinds]  # type: ignore[arg-type]
    return Gate("t", KEYS, registry, Foreign(dialects, "p1", host=host))


def _take(gate: Gate, topic: str, payload: bytes, now_ms: int = NOW_MS, **more: Any) -> list[Located]:
    taken = take(Arrival(topic, payload, now_ms, **more), gate)
    assert isinstance(taken, list)
    return _each(taken)


def test_a_device_of_another_make_is_heard_under_its_source_and_numbered_here() -> None:
    gate = _foreign("zigbee2mqtt", "tasmota")
    first, second = (_take(gate, "zigbee2mqtt/kitchen smoke", b'{"smoke": true}')[0] for _ in range(2))
    assert (first.observation.device_id, first.zone, first.event_ms) == ("smoke-7", "zone-01", NOW_MS)
    assert first.observation.outbox_id == "foreign.p1"
    assert [one.observation.seq for one in (first, second)] == [1, 2]
    (contact,) = _take(gate, "tele/door/SENSOR", b'{"Switch1": "ON"}')
    assert contact.observation.device_id == "door-1"


@pytest.mark.parametrize(
    ("kind", "is_on", "expected"),
    [
        (DeviceKind.SMOKE, True, Reading(property="smoke", value=1.0, unit="1")),
        (DeviceKind.HEAT, True, Reading(property="heat_alarm", value=1.0, unit="1")),
        (DeviceKind.GAS, True, Reading(property="gas_alarm", value=1.0, unit="1")),
        (DeviceKind.CO, False, Reading(property="co_alarm", value=0.0, unit="1")),
        (DeviceKind.FLOOD, True, Reading(property="water_leak", value=1.0, unit="1")),
        (DeviceKind.BUTTON, True, ButtonPress()),
        (DeviceKind.BUTTON, False, Reading(property="contact", value=0.0, unit="1")),
        (DeviceKind.SOUND, True, Reading(property="contact", value=1.0, unit="1")),
    ],
)
def test_what_a_contact_means_is_told_by_the_kind_of_its_device(
    kind: DeviceKind, is_on: bool, expected: Payload
) -> None:
    places = replace(PLACES, devices=(_device("relay-1", kind, zone="zone-01", source="tasmota/hall/Switch1"),))
    registry = Registry(places, lambda points: [{"cell": "here"} for _ in points], partitions=4)
    gate = Gate("t", KEYS, registry, Foreign([dialect_of(Adapter(kind="tasmota"))], "p1"))
    said = b'{"Time": "2020-01-01T00:00:00", "Switch1": "%s"}' % (b"ON" if is_on else b"OFF")
    (located,) = _take(gate, "tele/hall/SENSOR", said)
    assert located.observation.payload == expected


def test_what_all_workers_must_know_is_not_divided_between_them() -> None:
    foreign = _foreign("homeassistant", "zigbee2mqtt", "tasmota", "sparkplug").foreign
    assert foreign.filters("") == foreign.subscriptions
    state = b'{"device_class": "smoke", "state_topic": "home/hall", "unique_id": "u"}'
    foreign.take("homeassistant/binary_sensor/a/b/config", state, GATE.registry, is_retained=True, now_ms=NOW_MS)
    divided = {topic for topic in foreign.filters("$share/s/") if topic.startswith("$share/s/")}
    assert {topic for topic in foreign.filters("$share/s/") if topic not in divided} == {
        "homeassistant/#",
        "zigbee2mqtt/bridge/state",
        "spBv1.0/+/NBIRTH/#",
        "spBv1.0/+/DBIRTH/#",
    }
    assert divided >= {"$share/s/home/hall", "$share/s/zigbee2mqtt/#", "$share/s/tele/+/SENSOR"}
    assert "$share/s/spBv1.0/+/DDATA/#" in divided


def test_greetings_that_change_are_said_and_those_of_devices_that_are_gone_taken_back() -> None:
    foreign = Foreign(greetings=[("a", b"1"), ("b", b"1"), ("c", b"1")])
    assert foreign.greet([("a", b"1"), ("b", b"2"), ("d", b"1")]) == [("b", b"2"), ("c", b""), ("d", b"1")]
    assert [topic for topic, _ in foreign.greetings] == ["a", "b", "d"]
    assert foreign.greet(foreign.greetings) == []


def test_a_message_on_which_a_dialect_fails_is_set_aside_and_the_next_one_counts() -> None:
    class Broken(PlainJson):
        def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> list[Heard]:
            if payload == b"{}":
                raise ZeroDivisionError("what nobody has thought of")
            return super().hear(topic, payload, is_retained=is_retained, now_ms=now_ms)

    gate = replace_gate(GATE, foreign=Foreign([Broken("json/hall")], "p1"))
    round_ = Round()
    for arrival in (Arrival("json/hall", b"{}", NOW_MS), _arrival(_batch(_observation()))):
        round_.add(arrival, gate)
    (letter,) = (decode(record.value or b"", DeadLetter) for record in round_.dead)
    assert (letter.reason, letter.source) == (Reason.RULE_FAILED, "json/hall")
    assert round_.observations == 1


def test_what_another_make_had_retained_is_replayed() -> None:
    (located,) = _take(_foreign("zigbee2mqtt"), "zigbee2mqtt/kitchen smoke", b'{"smoke": true}', is_retained=True)
    assert located.observation.quality is Quality.REPLAYED


def test_an_unknown_device_of_another_make_is_quarantined_and_said_once_an_hour() -> None:
    gate = _foreign("zigbee2mqtt")
    topic, payload = "zigbee2mqtt/attic", b'{"smoke": true}'
    with pytest.raises(MessageError, match="zigbee2mqtt/attic: `gridwarden devices`") as caught:
        _take(gate, topic, payload)
    assert caught.value.reason is Reason.UNKNOWN_DEVICE
    assert _take(gate, topic, payload, NOW_MS + 1_000) == []
    with pytest.raises(MessageError):
        _take(gate, topic, payload, NOW_MS + 3_600_000)


def test_of_unknown_devices_the_last_ten_thousand_are_known_to_have_been_listed() -> None:
    gate = _foreign("zigbee2mqtt")
    for n in range(UNKNOWN + 1):
        with pytest.raises(MessageError):
            _take(gate, f"zigbee2mqtt/{n}", b'{"smoke": true}')
    assert _take(gate, f"zigbee2mqtt/{UNKNOWN}", b'{"smoke": true}') == []
    with pytest.raises(MessageError):
        _take(gate, "zigbee2mqtt/0", b'{"smoke": true}')
    assert gate.foreign.forgotten == 2


def test_of_a_device_that_is_admitted_while_it_is_faulty_the_fault_is_news() -> None:
    gate = _foreign("zigbee2mqtt")
    unknown = Registry(PLACES, lambda points: [{"cell": "here"} for _ in points], partitions=4)
    tamper = Arrival("zigbee2mqtt/kitchen smoke", b'{"tamper": true}', NOW_MS)
    with pytest.raises(MessageError):
        take(tamper, replace_gate(gate, registry=unknown))
    assert [said.observations[0].payload for said in take(tamper, gate)] == [Fault(fault="tamper")]  # type: ignore[union-attr]
    assert take(tamper, gate) == [], "and then it is none"


def test_a_device_that_is_gone_takes_those_along_that_are_parts_of_it_and_what_it_measures_does_not() -> None:
    parts = ("tasmota/hall/Switch1", "tasmota/hall/0x2916", "tasmota/hallway/Switch1")
    devices = tuple(_device(f"d-{n}", DeviceKind.SMOKE, zone="zone-01", source=one) for n, one in enumerate(parts))
    registry = Registry(replace(PLACES, devices=devices), lambda points: [{} for _ in points], partitions=4)
    gate = replace_gate(_foreign("tasmota"), registry=registry)
    gone = _take(gate, "tele/hall/LWT", b"Offline", is_retained=True)
    assert [(one.observation.device_id, one.observation.payload) for one in gone] == [
        ("d-0", Fault(fault="offline")),
        ("d-1", Fault(fault="offline")),
    ]
    with pytest.raises(MessageError):
        _take(gate, "tele/hall/SENSOR", b'{"AM2301": {"Temperature": 21}}')


@pytest.mark.parametrize(
    ("source", "is_admitted"),
    [
        ("tasmota/door", True),
        ("tasmota/door/Switch1", True),
        ("tasmota", True),
        ("tasmota/do", False),
        ("zigbee2mqtt/kitchen", False),
        ("", False),
    ],
)
def test_what_is_part_of_an_admitted_device_or_has_one_as_its_part_is_admitted(source: str, is_admitted: bool) -> None:
    assert _foreign().registry.is_admitted(source) == is_admitted


def test_a_device_of_another_make_that_is_from_the_future_is_not_believed() -> None:
    ahead = b'{"smoke": true, "last_seen": %d}' % (NOW_MS + 3_600_000)
    (located,) = _take(_foreign("zigbee2mqtt"), "zigbee2mqtt/kitchen smoke", ahead)
    assert (located.event_ms, located.time_source) == (NOW_MS, TimeSource.MONO)


def test_a_node_that_must_be_asked_is_asked() -> None:
    gate = _foreign("sparkplug")
    assert _take(gate, "spBv1.0/plant/NDATA/node1", b"") == []
    assert [ask.topic for ask in gate.foreign.asks] == ["spBv1.0/plant/NCMD/node1"]


@pytest.mark.parametrize(("broker", "gaps"), [("embedded", 1), ("kafka://127.0.0.1:9092", 0)])
def test_what_a_node_has_numbered_is_counted_where_one_worker_hears_all_of_it(broker: str, gaps: int) -> None:
    config = Config(tenant="t", stream=Stream(broker=broker, adapters=(Adapter(kind="sparkplug"),)))
    foreign = foreign_of(config, PLACES, "p1")
    for seq in (1, 3):
        said = SparkplugPayload(seq=seq).SerializeToString()
        foreign.take("spBv1.0/plant/NDATA/node1", said, GATE.registry, is_retained=False, now_ms=NOW_MS)
    assert foreign.gaps == gaps


def test_of_a_foreign_outbox_a_zone_remembers_the_newest_alone() -> None:
    row = ZoneRow(zone="z")
    for process in ("p1", "p2"):
        for seq in (1, 2):
            assert row.seen_of("smoke-7", f"foreign.{process}", "alarm").add(seq)
        assert not row.seen_of("smoke-7", f"foreign.{process}", "alarm").add(2)
    row.seen_of("smoke-8", "foreign.p1", "alarm").add(1)
    row.seen_of("cam-01", "outbox-1", "alarm").add(1)
    row.seen_of("cam-01", "outbox-2", "alarm").add(1)
    assert set(row.seen) == {
        "smoke-7|foreign.p2|alarm",
        "smoke-8|foreign.p1|alarm",
        "cam-01|outbox-1|alarm",
        "cam-01|outbox-2|alarm",
    }


# --- floods and dead letters ------------------------------------------------------------------------------------------


def test_a_sender_that_says_too_much_is_held_back_and_the_others_are_not() -> None:
    limiter = Limiter(per_s=10, burst=20)
    assert [limiter.take("loud", NOW_MS) for _ in range(25)] == [True] * 20 + [False] * 5
    assert limiter.take("quiet", NOW_MS)
    assert [limiter.take("loud", NOW_MS + 200) for _ in range(3)] == [True, True, False]
    assert [limiter.take("loud", NOW_MS + 60_000) for _ in range(21)] == [True] * 20 + [False]


def test_a_clock_that_goes_back_gives_nobody_more() -> None:
    limiter = Limiter(per_s=10, burst=1)
    assert limiter.take("one", NOW_MS)
    assert not limiter.take("one", NOW_MS - 60_000)


def test_however_many_names_a_flood_has_few_are_remembered() -> None:
    limiter = Limiter(per_s=1, burst=1)
    for n in range(30_000):
        assert limiter.take(f"name-{n}", NOW_MS)
    assert len(limiter._buckets) == 10_000


def _letter(source: str, payload: bytes) -> DeadLetter:
    return dead_letter(source, payload, MessageError(Reason.UNKNOWN_DEVICE, "x"), now_ms=NOW_MS)


def test_a_dead_letter_is_said_again_and_one_that_is_cut_or_of_another_make_is_not() -> None:
    topic = topics.obs("t", "cam-01")
    long = b"x" * (HEAD_BYTES + 1)
    letters = [_letter(topic, b"{}\n{}"), _letter(topic, long), _letter("zigbee2mqtt/a b", b'{"smoke": true}')]
    said = list(again(letters, "t", KEYS, now_ms=NOW_MS))
    assert [(one.topic, one.payload) for one in said] == [(topic, b"{}\n{}"), (topic, None), ("zigbee2mqtt/a b", None)]


@pytest.mark.parametrize("boot_id", ["boot-1", "boot-0"])
def test_what_is_said_again_is_as_old_as_it_is_and_late(boot_id: str) -> None:
    topic, later_ms = topics.obs("t", "cam-01"), NOW_MS + 3 * 3_600_000
    seen = _observation(boot_id=boot_id)
    letter = _letter(topic, KEYS.seal(topic, encode(_batch(seen)), kid="cam-01"))
    (one,) = again([letter], "t", KEYS, now_ms=later_ms)
    assert one.payload is not None
    (located,) = _each(take(Arrival(one.topic, one.payload, later_ms), GATE))  # type: ignore[arg-type]
    assert located.observation == replace(seen, quality=Quality.LATE)
    assert located.event_ms == seen.observed_at_ms
    assert rules().is_old(located)


def test_an_observation_on_which_a_rule_failed_is_sealed_anew_and_keeps_its_name_and_time() -> None:
    seen = _observation(seq=7)
    letter = _letter("obs/2/17/0", encode(seen))
    (one,) = again([letter], "t", KEYS, now_ms=NOW_MS + 60_000)
    assert one.payload is not None
    (located,) = _each(take(Arrival(one.topic, one.payload, NOW_MS + 60_000), GATE))  # type: ignore[arg-type]
    assert located.observation == replace(seen, quality=Quality.LATE)
    assert located.event_ms == seen.observed_at_ms
