"""Devices of other makes, by messages as they really look."""

from __future__ import annotations

from typing import Any

import jinja2.sandbox
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import catalogue, thresholds
from models.errors import MessageError
from models.messages import (
    Fault,
    Message,
    ObservationBatch,
    Payload,
    Quality,
    Reading,
    SelfTest,
    Status,
    encode,
)
from models.places import DeviceKind, Places
from models.seal import Keyring
from stream.adapters import Ask, Dialect, EspHome, Heard, HomeAssistant, PlainJson, Sparkplug, Tasmota, Zigbee2Mqtt
from stream.adapters import sparkplug as sparkplug_b
from stream.adapters.announcing import announcements
from stream.adapters.dialect import ALARMS, matches
from stream.adapters.names import MOST, Host, Names
from stream.records import Located
from stream.zones.rules import Level, Rules
from tests.stream.builders import Seen, device

NOW = 1_780_000_000_000
LIVE, LATE, REPLAYED, TEST = Quality.LIVE, Quality.LATE, Quality.REPLAYED, Quality.TEST


def hear(dialect: Dialect, topic: str, payload: Any, *, is_retained: bool = False, now_ms: int = NOW) -> list[Heard]:
    raw = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    heard = dialect.hear(topic, raw, is_retained=is_retained, now_ms=now_ms)
    return [one for one in heard if isinstance(one, Heard)]


def reading(name: str, value: float, unit: str = "1") -> Reading:
    return Reading(property=name, value=value, unit=unit)


def said(heard: list[Heard]) -> list[Payload]:
    return [one.payload for one in heard]


@pytest.mark.parametrize("name", sorted(set(ALARMS.values())))
def test_what_any_dialect_calls_an_alarm_has_a_rule_in_what_ships(name: str) -> None:
    rules = Rules(
        "demo", thresholds.load().resolve({"fire": (0.5, 0.7), "smoke": (0.5, 0.7)}), catalogue.load(), Places()
    )
    judged = rules.judge(Seen()("gas-1", reading(name, 1.0), NOW))
    assert judged is not None
    assert judged.level is Level.ALARM


# --- Zigbee2MQTT ------------------------------------------------------------------------------------------------------

SMOKE = {"battery": 100, "battery_low": False, "linkquality": 134, "smoke": True, "tamper": False, "voltage": 3100}


def test_a_zigbee_smoke_alarm_is_a_live_reading_of_its_friendly_name() -> None:
    heard = hear(Zigbee2Mqtt(), "zigbee2mqtt/house 3/kitchen smoke", SMOKE)
    assert heard == [Heard("zigbee2mqtt/house 3/kitchen smoke", reading("smoke", 1.0))]


@pytest.mark.parametrize("is_retained", [True, False])
def test_a_zigbee_state_that_the_bridge_had_cached_is_a_replay(is_retained: bool) -> None:
    bridge = Zigbee2Mqtt()
    hear(bridge, "zigbee2mqtt/bridge/state", {"state": "online"})
    (heard,) = hear(bridge, "zigbee2mqtt/smoke", {"smoke": True}, is_retained=is_retained, now_ms=NOW + 900)
    assert heard.quality is REPLAYED
    (later,) = hear(bridge, "zigbee2mqtt/smoke", {"smoke": True}, now_ms=NOW + 6_000)
    assert later.quality is LIVE


@pytest.mark.parametrize(
    ("last_seen", "quality"),
    [
        (NOW - 1_000, LIVE),
        ("2026-05-28T20:26:39.000Z", LIVE),
        ("2026-05-28T22:26:39+02:00", LIVE),
        (NOW - 3_600_000, REPLAYED),
        ("2026-05-27T00:00:00Z", REPLAYED),
    ],
)
def test_when_a_zigbee_device_was_last_seen_decides_even_right_after_a_start(last_seen: Any, quality: Quality) -> None:
    bridge = Zigbee2Mqtt()
    hear(bridge, "zigbee2mqtt/bridge/state", b"online")
    (heard,) = hear(bridge, "zigbee2mqtt/smoke", {"smoke": True, "last_seen": last_seen})
    assert heard.quality is quality


def test_zigbee_climate_gas_leak_and_carbon_monoxide_have_names_of_ours() -> None:
    bridge = Zigbee2Mqtt()
    climate = {"temperature": 21.4, "humidity": 46.1, "pm25": 12, "device_temperature": 30, "linkquality": 9}
    assert said(hear(bridge, "zigbee2mqtt/a", climate)) == [
        reading("temperature", 21.4, "Cel"),
        reading("humidity", 46.1, "%"),
        reading("pm25", 12.0, "ug/m3"),
    ]
    combined = {"carbon_monoxide": False, "gas": True, "co": 3}
    assert said(hear(bridge, "zigbee2mqtt/b", combined)) == [
        reading("co_alarm", 0.0),
        reading("gas_alarm", 1.0),
        reading("co", 3.0, "[ppm]"),
    ]
    assert said(hear(bridge, "zigbee2mqtt/c", {"water_leak": True, "voltage": 2985})) == [reading("water_leak", 1.0)]


def test_in_a_message_of_a_device_that_is_being_tested_everything_is_a_test() -> None:
    bridge = Zigbee2Mqtt()
    drill = hear(bridge, "zigbee2mqtt/a", SMOKE | {"test": True})
    assert said(drill) == [reading("smoke", 1.0), SelfTest(label="test")]
    assert {one.quality for one in drill} == {TEST}
    (after,) = hear(bridge, "zigbee2mqtt/a", SMOKE | {"test": False})
    assert after.quality is LIVE


def test_a_fault_that_was_only_replayed_is_news_when_the_device_says_it() -> None:
    bridge = Zigbee2Mqtt()
    cached = hear(bridge, "zigbee2mqtt/a", {"tamper": True}, is_retained=True)
    assert cached == [Heard("zigbee2mqtt/a", Fault(fault="tamper"), REPLAYED)]
    assert hear(bridge, "zigbee2mqtt/a", {"tamper": True}) == [Heard("zigbee2mqtt/a", Fault(fault="tamper"))]
    assert hear(bridge, "zigbee2mqtt/a", {"tamper": True}) == []


def test_a_fault_that_goes_on_is_said_once_and_a_self_test_is_a_test() -> None:
    bridge = Zigbee2Mqtt()
    for expected in ([Fault(fault="tamper")], [], []):
        assert said(hear(bridge, "zigbee2mqtt/a", {"tamper": True})) == expected
    assert said(hear(bridge, "zigbee2mqtt/a", {"tamper": False})) == []
    assert said(hear(bridge, "zigbee2mqtt/a", {"tamper": True})) == [Fault(fault="tamper")]
    assert said(hear(bridge, "zigbee2mqtt/a", {"smoke": True, "test": True})) == [
        reading("smoke", 1.0),
        SelfTest(label="test"),
    ]


@pytest.mark.parametrize("payload", [b"offline", b'{"state":"offline"}'])
def test_a_zigbee_device_that_is_gone_is_a_fault(payload: bytes) -> None:
    bridge = Zigbee2Mqtt()
    assert hear(bridge, "zigbee2mqtt/hall/smoke/availability", payload) == [
        Heard("zigbee2mqtt/hall/smoke", Fault(fault="offline"))
    ]
    assert said(hear(bridge, "zigbee2mqtt/hall/smoke/availability", b"online")) == [Fault(fault="none")]
    assert hear(bridge, "zigbee2mqtt/hall/smoke/availability", b"online") == []


@pytest.mark.parametrize("is_retained", [False, True])
def test_a_zigbee_bridge_that_is_gone_takes_the_devices_behind_it_along(is_retained: bool) -> None:
    bridge = Zigbee2Mqtt(host=Host(lambda source: "smoke" in source))
    state = "zigbee2mqtt/bridge/state"
    assert hear(bridge, state, {"state": "offline"}, is_retained=is_retained) == []
    for name in ("smoke 2", "smoke 1", "lamp"):
        hear(bridge, f"zigbee2mqtt/{name}/availability", b"online", is_retained=True)
    quality = REPLAYED if is_retained else LIVE
    assert hear(bridge, state, {"state": "offline"}, is_retained=is_retained) == [
        Heard(f"zigbee2mqtt/smoke {n}", Fault(fault="offline"), quality) for n in (1, 2)
    ]
    assert hear(bridge, state, {"state": "offline"}, is_retained=is_retained) == []
    assert hear(bridge, state, {"state": "online"}) == [
        Heard(f"zigbee2mqtt/smoke {n}", Fault(fault="none")) for n in (1, 2)
    ]


@pytest.mark.parametrize("topic", ["zigbee2mqtt/bridge/devices", "zigbee2mqtt/lamp/set", "zigbee2mqtt/bridge/logging"])
def test_what_is_no_device_means_nothing(topic: str) -> None:
    assert hear(Zigbee2Mqtt(), topic, [1, 2]) == []


# --- Tasmota ----------------------------------------------------------------------------------------------------------


def test_tasmota_sensors_are_read_in_their_own_unit() -> None:
    celsius = {"Time": "2017-02-16T10:13:52", "DS18B20": {"Temperature": 20.6}, "TempUnit": "C"}
    assert hear(Tasmota(), "tele/attic/SENSOR", celsius) == [
        Heard("tasmota/attic", reading("temperature", 20.6, "Cel")),
    ]
    fahrenheit = {"Time": "2017-02-16T10:13:52", "AM2301": {"Temperature": 68.0, "Humidity": 50}, "TempUnit": "F"}
    assert said(hear(Tasmota(), "tele/attic/SENSOR", fahrenheit)) == [
        reading("temperature", 20.0, "Cel"),
        reading("humidity", 50.0, "%"),
    ]


def test_a_tasmota_contact_is_one_input_of_its_device() -> None:
    assert hear(Tasmota(), "tele/door/SENSOR", {"Time": "2020-01-01T00:00:00", "Switch1": "ON"}) == [
        Heard("tasmota/door/Switch1", reading("contact", 1.0))
    ]
    assert hear(Tasmota(), "stat/door/RESULT", {"Switch1": {"Action": "OFF"}}) == [
        Heard("tasmota/door/Switch1", reading("contact", 0.0))
    ]


def test_tasmotas_zigbee_bridge_speaks_for_devices_of_its_own() -> None:
    climate = {"Device": "0x2916", "Name": "SNZB-02", "Temperature": 26.27, "Endpoint": 1, "LinkQuality": 105}
    assert hear(Tasmota(), "tele/bridge/SENSOR", {"ZbReceived": {"0x2916": climate}}) == [
        Heard("tasmota/bridge/SNZB-02", reading("temperature", 26.27, "Cel"))
    ]
    fire = {"Device": "0x1A2B", "Fire": 1, "ZoneStatus": 0b1_0000_0001}
    heard = hear(Tasmota(), "tele/bridge/SENSOR", {"ZbReceived": {"0x1A2B": fire}})
    assert said(heard) == [reading("smoke", 1.0), SelfTest(label="test")]
    assert {one.quality for one in heard} == {TEST}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {
                "Name": "door",
                "0500<00": "210000010000",
                "ZoneStatusChange": 33,
                "ZoneStatusChangeZone": 1,
                "Contact": 1,
            },
            [reading("contact", 1.0)],
        ),
        ({"ModelId": "lumi.sensor_wleak.aq1", "Water": 0, "Endpoint": 1}, [reading("water_leak", 0.0)]),
        ({"0500<00": "010000FF0000", "ZoneStatusChange": 1, "Endpoint": 1}, [reading("contact", 1.0)]),
        ({"ZoneStatusChange": 1, "Water": 1}, [reading("water_leak", 1.0)]),
        ({"ZoneStatus": 1, "CO": 1}, [reading("co_alarm", 1.0)]),
        ({"ZoneStatusChange": 4}, [Fault(fault="tamper"), reading("contact", 0.0)]),
    ],
)
def test_a_zone_status_is_smoke_of_a_fire_sensor_alone(attributes: dict[str, Any], expected: list[Payload]) -> None:
    message = {"ZbReceived": {"0x898E": {"Device": "0x898E", "LinkQuality": 110, **attributes}}}
    assert said(hear(Tasmota(), "tele/bridge/SENSOR", message)) == expected


def test_tasmotas_last_will_is_a_fault() -> None:
    dialect = Tasmota()
    assert said(hear(dialect, "tele/attic/LWT", b"Offline", is_retained=True)) == [Fault(fault="offline")]
    assert said(hear(dialect, "tele/attic/LWT", b"Online")) == [Fault(fault="none")]
    assert hear(dialect, "tele/attic/LWT", b"Online") == []


# --- Home Assistant ---------------------------------------------------------------------------------------------------

SMOKE_ENTITY = {
    "~": "home/hall",
    "name": "Hall smoke",
    "uniq_id": "hall_smoke_7",
    "dev_cla": "smoke",
    "stat_t": "~/state",
    "val_tpl": "{{ value_json.alarm.smoke }}",
    "pl_on": "fire",
    "pl_off": "ok",
    "avty": [{"topic": "~/status"}],
    "dev": {"ids": ["hall"], "mf": "Acme"},
}


def announced(config: dict[str, Any], component: str = "binary_sensor") -> HomeAssistant:
    dialect = HomeAssistant()
    assert hear(dialect, f"homeassistant/{component}/hall/smoke/config", config, is_retained=True) == []
    return dialect


def test_an_entity_that_nobody_has_admitted_is_forgotten_for_others_and_learnt_again_and_an_admitted_one_never() -> (
    None
):
    host = Host(lambda source: source == "homeassistant/ours")
    dialect = HomeAssistant(host=host)

    def announce(name: str) -> None:
        entity = {"device_class": "smoke", "state_topic": f"home/{name}", "unique_id": name}
        hear(dialect, f"homeassistant/binary_sensor/{name}/smoke/config", entity, is_retained=True)

    for name in ("ours", *(str(n) for n in range(2 * MOST))):
        announce(name)
    assert (host.forgotten, len(dialect.subscriptions)) == (MOST, MOST + 2)
    assert said(hear(dialect, "home/ours", b"ON")) == [reading("smoke", 1.0)]
    assert not dialect.hears("home/0")
    announce("0")
    assert hear(dialect, "home/0", b"ON") == [Heard("homeassistant/0", reading("smoke", 1.0))]


def test_what_is_admitted_after_it_was_announced_is_not_forgotten_any_more() -> None:
    admitted: set[str] = set()
    host = Host(admitted.__contains__)
    names = Names[str](host, 2)
    names.put("a", "A", source="s/a")
    admitted.add("s/a")
    for name in "bcd":
        names.put(name, name.upper(), source=f"s/{name}")
    names.put("e", "E", source="s/a")
    assert [names.get(name) for name in "abcde"] == ["A", None, "C", "D", "E"]
    assert host.forgotten == 1
    assert (names.pop("a"), names.pop("c"), names.pop("b"), list(names.others)) == ("A", "C", None, ["D"])


def test_an_announced_entity_is_subscribed_and_its_state_read_along_its_template() -> None:
    dialect = announced(SMOKE_ENTITY)
    assert dialect.subscriptions == ("homeassistant/#", "home/hall/state", "home/hall/status")
    assert hear(dialect, "home/hall/state", {"alarm": {"smoke": "fire"}}) == [
        Heard("homeassistant/hall_smoke_7", reading("smoke", 1.0))
    ]
    assert said(hear(dialect, "home/hall/state", {"alarm": {"smoke": "ok"}})) == [reading("smoke", 0.0)]
    assert hear(dialect, "home/hall/state", {"alarm": {}}) == []
    assert said(hear(dialect, "home/hall/status", b"offline")) == [Fault(fault="offline")]


def test_an_entity_of_zigbee2mqtt_is_gone_when_its_bridge_or_its_device_says_so() -> None:
    dialect = announced(
        {
            "availability": [
                {"topic": "zigbee2mqtt/bridge/state", "value_template": "{{ value_json.state }}"},
                {"topic": "zigbee2mqtt/0x00124b/availability", "value_template": "{{ value_json.state }}"},
            ],
            "availability_mode": "all",
            "device": {"identifiers": ["zigbee2mqtt_0x00124b"], "manufacturer": "Climax"},
            "device_class": "smoke",
            "payload_off": False,
            "payload_on": True,
            "state_topic": "zigbee2mqtt/0x00124b",
            "unique_id": "0x00124b_smoke_zigbee2mqtt",
            "value_template": "{{ value_json.smoke }}",
        }
    )
    assert said(hear(dialect, "zigbee2mqtt/0x00124b", SMOKE)) == [reading("smoke", 1.0)]
    assert hear(dialect, "zigbee2mqtt/bridge/state", {"state": "online"}) == []
    assert hear(dialect, "zigbee2mqtt/0x00124b/availability", {"state": "offline"}) == [
        Heard("homeassistant/0x00124b_smoke_zigbee2mqtt", Fault(fault="offline"))
    ]


@pytest.mark.parametrize("topic", [None, "", 5, "#", "home/#", "home/+/state", "a\x00b", "x" * 600])
@pytest.mark.parametrize("key", ["state_topic", "availability_topic"])
def test_an_announcement_subscribes_no_filter_and_no_nonsense(key: str, topic: Any) -> None:
    with pytest.raises(MessageError, match="names the topic"):
        announced({"device_class": "smoke", "state_topic": "t/1"} | {key: topic})


def test_a_retained_state_of_an_entity_is_a_replay() -> None:
    (heard,) = hear(announced(SMOKE_ENTITY), "home/hall/state", {"alarm": {"smoke": "fire"}}, is_retained=True)
    assert heard.quality is REPLAYED


def test_an_entity_that_is_deleted_is_no_longer_heard() -> None:
    dialect = announced(SMOKE_ENTITY)
    hear(dialect, "homeassistant/binary_sensor/hall/smoke/config", b"")
    assert dialect.subscriptions == ("homeassistant/#",)


@pytest.mark.parametrize(
    "template",
    [
        "{{ value_json.a | int }}",
        "{{ states('x') }}",
        "{% if x %}1{% endif %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ a }}",
    ],
)
def test_a_template_that_is_more_than_a_path_is_refused_and_never_run(template: str) -> None:
    with pytest.raises(MessageError, match="is more than a path"):
        announced(SMOKE_ENTITY | {"val_tpl": template})


def test_an_announced_thermometer_may_speak_fahrenheit() -> None:
    config = {"device_class": "temperature", "state_topic": "t/1", "unit_of_measurement": "°F", "unique_id": "t1"}
    assert said(hear(announced(config, "sensor"), "t/1", b"212")) == [reading("temperature", 100.0, "Cel")]


@pytest.mark.parametrize("device_class", ["battery", "motion", "illuminance", None])
def test_an_entity_that_means_nothing_here_is_passed_over(device_class: str | None) -> None:
    config = {"device_class": device_class, "state_topic": "t/1"}
    assert announced(config, "sensor").subscriptions == ("homeassistant/#",)


def shown(device_id: str, kind: DeviceKind) -> dict[str, dict[str, Any]]:
    """Return what one of our devices announces, by the end of the topic."""
    found = announcements(device(device_id, kind), "demo")
    return {topic.split("/", 3)[3].removesuffix("/config"): msgspec.json.decode(config) for topic, config in found}


def rendered(template: str, payload: bytes) -> str:
    """Render as Home Assistant does, which brings `from_json` along."""
    jinja = jinja2.sandbox.SandboxedEnvironment()
    jinja.filters["from_json"] = msgspec.json.decode
    return jinja.from_string(template).render(value=payload.decode()).strip()


def sealed(message: Message) -> bytes:
    return Keyring({"cam-01": b"k" * 32}).seal("t", encode(message), kid="cam-01")


def test_our_own_devices_announce_themselves_and_whether_they_are_connected() -> None:
    ((topic, _),) = announcements(device("cam-01", DeviceKind.CAMERA), "demo")
    assert topic == "homeassistant/binary_sensor/gridwarden_demo_cam-01/connected/config"
    config = shown("cam-01", DeviceKind.CAMERA)["connected"]
    assert config["state_topic"] == "gw/v1/demo/cam-01/status"
    assert (config["device_class"], config["device"]["name"]) == ("connectivity", "Name")
    for is_online, word in ((True, config["payload_on"]), (False, config["payload_off"])):
        status = Status(v=1, device_id="cam-01", connect_id="c", online=is_online, at_ms=NOW)
        assert rendered(config["value_template"], sealed(status)) == word


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([Seen()("smoke-1", reading("smoke", 0.0), NOW), Seen()("smoke-1", reading("smoke", 1.0), NOW)], "ON"),
        ([Seen()("smoke-1", reading("smoke", 0.0), NOW)], "OFF"),
        ([Seen()("smoke-1", reading("smoke", 1.0), NOW, quality=TEST)], ""),
        ([Seen()("smoke-1", Fault(fault="tamper"), NOW), Seen()("smoke-1", reading("noise", 3.0), NOW)], ""),
    ],
)
def test_our_own_sensors_show_what_they_measure(said: list[Located], expected: str) -> None:
    entity = shown("smoke-1", DeviceKind.SMOKE)["smoke"]
    seen = tuple(one.observation for one in said)
    batch = ObservationBatch(v=1, boot_id="b", sent_at_ms=NOW, sent_mono_ms=0, observations=seen)
    assert rendered(entity["value_template"], sealed(batch)) == expected
    assert (entity["state_topic"], entity["device_class"]) == ("gw/v1/demo/smoke-1/obs", "smoke")
    heat = shown("heat-1", DeviceKind.HEAT)["temperature"]
    warm = (Seen()("heat-1", reading("temperature", 21.5, "Cel"), NOW).observation,)
    assert rendered(heat["value_template"], sealed(msgspec.structs.replace(batch, observations=warm))) == "21.5"
    assert heat["unit_of_measurement"] == "°C"


# --- Sparkplug B ------------------------------------------------------------------------------------------------------


def payload(*metrics: dict[str, Any], seq: int = 0) -> bytes:
    message = sparkplug_b.Payload(timestamp=NOW, seq=seq)
    for metric in metrics:
        message.metrics.add(**metric)
    return bytes(message.SerializeToString())


def bd_seq(number: int) -> dict[str, Any]:
    return {"name": "bdSeq", "datatype": 8, "long_value": number}


BIRTH = payload(
    bd_seq(3),
    {"name": "Sensors/temperature", "alias": 1, "datatype": 10, "double_value": 60.5},
    {"name": "Sensors/smoke", "alias": 2, "datatype": 11, "boolean_value": True},
)


def test_a_birth_is_state_and_data_by_alias_is_news() -> None:
    dialect = Sparkplug()
    born = hear(dialect, "spBv1.0/plant/NBIRTH/node1", BIRTH)
    assert {one.quality for one in born} == {REPLAYED}
    smoke = payload({"alias": 2, "datatype": 11, "boolean_value": True, "timestamp": NOW - 5})
    assert hear(dialect, "spBv1.0/plant/NDATA/node1", smoke) == [
        Heard("sparkplug/plant/node1", reading("smoke", 1.0), LIVE, NOW - 5)
    ]


SMOKE_BORN, CALM_BORN = (
    payload({"name": "Sensors/smoke", "alias": 2, "datatype": 11, "boolean_value": is_there})
    for is_there in (True, False)
)


def test_an_alarm_in_a_birth_is_news_if_it_was_not_there_when_the_node_was_last_heard() -> None:
    dialect = Sparkplug()
    hear(dialect, "spBv1.0/plant/NBIRTH/node1", CALM_BORN)
    numbered(dialect, "NDATA", 5)  # four are missing, and one of them told of smoke
    (again,) = hear(dialect, "spBv1.0/plant/NBIRTH/node1", SMOKE_BORN)
    assert (again.payload, again.quality) == (reading("smoke", 1.0), LIVE)
    assert {one.quality for one in hear(dialect, "spBv1.0/plant/NBIRTH/node1", SMOKE_BORN)} == {REPLAYED}
    assert {one.quality for one in hear(dialect, "spBv1.0/plant/NBIRTH/node1", CALM_BORN)} == {REPLAYED}


@pytest.mark.parametrize("by_data", [True, False])
def test_an_alarm_in_a_birth_that_was_there_before_is_state(by_data: bool) -> None:
    dialect = Sparkplug()
    hear(dialect, "spBv1.0/plant/NBIRTH/node1", CALM_BORN if by_data else SMOKE_BORN)
    if by_data:
        data = payload({"alias": 2, "datatype": 11, "boolean_value": True})
        assert [one.quality for one in hear(dialect, "spBv1.0/plant/NDATA/node1", data)] == [LIVE]
    assert {one.quality for one in hear(dialect, "spBv1.0/plant/NBIRTH/node1", SMOKE_BORN)} == {REPLAYED}


def test_an_alarm_in_a_birth_is_no_news_if_it_is_retained_a_drill_or_heard_by_one_of_several_workers() -> None:
    birth = "spBv1.0/plant/NBIRTH/node1"
    drill = payload(
        {"name": "smoke", "datatype": 11, "boolean_value": True},
        {"name": "test", "datatype": 11, "boolean_value": True},
    )
    for said_, is_retained, hears_all in ((SMOKE_BORN, True, True), (drill, False, True), (SMOKE_BORN, False, False)):
        dialect = Sparkplug(hears_all=hears_all)
        hear(dialect, birth, CALM_BORN)
        assert {one.quality for one in hear(dialect, birth, said_, is_retained=is_retained)} == {REPLAYED}


def test_historical_metrics_are_late_and_negative_integers_stay_negative() -> None:
    dialect = Sparkplug()
    hear(dialect, "spBv1.0/plant/NBIRTH/node1", BIRTH)
    frost = payload({"alias": 1, "datatype": 3, "int_value": (1 << 32) - 5, "is_historical": True})
    assert hear(dialect, "spBv1.0/plant/NDATA/node1", frost) == [
        Heard("sparkplug/plant/node1", reading("temperature", -5.0, "Cel"), LATE)
    ]


AGAIN = Ask("spBv1.0/plant/NCMD/node1", sparkplug_b.REBIRTH)


def test_a_node_whose_birth_was_missed_is_asked_to_be_born_again_until_it_is_and_not_at_every_message() -> None:
    dialect = Sparkplug()
    data = payload({"alias": 2, "datatype": 11, "boolean_value": True})
    moments_ms = (NOW, NOW + 1, NOW + 9_999, NOW + 10_000, NOW + 10_001)
    heard = [
        dialect.hear("spBv1.0/plant/DDATA/node1/dev", data, is_retained=False, now_ms=now_ms) for now_ms in moments_ms
    ]
    assert heard == [[AGAIN], [], [], [AGAIN], []]


def numbered(dialect: Sparkplug, kind: str, seq: int, *, now_ms: int = NOW, is_retained: bool = False) -> bool:
    """Let a node say something, and return whether it is asked to be born again."""
    device = "/dev" if kind.startswith("D") else ""
    said = payload({"name": "smoke", "datatype": 11, "boolean_value": False}, seq=seq)
    heard = dialect.hear(f"spBv1.0/plant/{kind}/node1{device}", said, is_retained=is_retained, now_ms=now_ms)
    assert is_retained or any(isinstance(one, Heard) for one in heard), "whatever is missing, this has come"
    return AGAIN in heard


def test_a_message_that_is_missing_has_the_node_born_again_and_is_counted() -> None:
    dialect = Sparkplug()
    kinds = ("NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDATA")
    assert not any(numbered(dialect, kind, seq) for seq, kind in enumerate(kinds))
    assert numbered(dialect, "NDATA", 6)
    assert dialect.gaps == 1
    assert not numbered(dialect, "NBIRTH", 0), "and a birth begins anew"
    assert not numbered(dialect, "DBIRTH", 1)
    assert dialect.gaps == 1


def test_the_numbers_of_a_node_go_round_and_a_node_that_does_not_count_is_left_alone() -> None:
    dialect = Sparkplug()
    numbered(dialect, "NBIRTH", 254)
    assert not any(numbered(dialect, "NDATA", seq) for seq in (255, 0, 1, 1, 1))
    assert numbered(dialect, "NDATA", 0), "all but one"
    assert dialect.gaps == 1


def test_a_node_that_loses_much_is_asked_once_a_minute_and_every_gap_is_counted() -> None:
    dialect = Sparkplug()
    numbered(dialect, "NBIRTH", 0)
    asked = [numbered(dialect, "NDATA", 2 + 2 * n, now_ms=NOW + 10_000 * n) for n in range(13)]
    assert [n for n, is_asked in enumerate(asked) if is_asked] == [0, 6, 12]
    assert dialect.gaps == 13


def test_where_several_workers_divide_the_messages_and_of_what_was_retained_nobody_counts() -> None:
    divided = Sparkplug(hears_all=False)
    assert not any(numbered(divided, kind, seq) for kind, seq in (("NBIRTH", 0), ("NDATA", 7), ("NDATA", 3)))
    dialect = Sparkplug()
    numbered(dialect, "NBIRTH", 0)
    numbered(dialect, "NDATA", 9, is_retained=True)
    assert not numbered(dialect, "NDATA", 1)
    assert (divided.gaps, dialect.gaps) == (0, 0)


def test_the_death_of_a_node_has_no_number() -> None:
    dialect = Sparkplug()
    hear(dialect, "spBv1.0/plant/NBIRTH/node1", BIRTH)
    death = sparkplug_b.Payload(timestamp=NOW)
    death.metrics.add(**bd_seq(3))
    assert said(hear(dialect, "spBv1.0/plant/NDEATH/node1", death.SerializeToString())) == [Fault(fault="offline")]
    assert dialect.gaps == 0


def test_what_was_said_before_a_birth_that_was_missed_is_news_when_it_comes() -> None:
    dialect = Sparkplug()
    smoke = payload({"alias": 2, "datatype": 11, "boolean_value": True, "timestamp": NOW - 5})
    assert hear(dialect, "spBv1.0/plant/NDATA/node1", smoke) == []
    heard = hear(dialect, "spBv1.0/plant/NBIRTH/node1", BIRTH)
    assert [one for one in heard if one.quality is LIVE] == [
        Heard("sparkplug/plant/node1", reading("smoke", 1.0), LIVE, NOW - 5)
    ]
    assert {one.quality for one in hear(dialect, "spBv1.0/plant/NBIRTH/node1", BIRTH)} == {REPLAYED}


def test_data_that_names_its_metrics_needs_no_birth() -> None:
    named = payload({"name": "Sensors/smoke", "datatype": 11, "boolean_value": True})
    heard = Sparkplug().hear("spBv1.0/plant/NDATA/node1", named, is_retained=False, now_ms=NOW)
    assert heard == [
        Ask("spBv1.0/plant/NCMD/node1", sparkplug_b.REBIRTH),
        Heard("sparkplug/plant/node1", reading("smoke", 1.0)),
    ]


def test_a_device_whose_birth_was_missed_has_its_node_born_again() -> None:
    dialect = Sparkplug()
    hear(dialect, "spBv1.0/plant/NBIRTH/node1", BIRTH)
    data = payload({"alias": 7, "datatype": 11, "boolean_value": True})
    asked = dialect.hear("spBv1.0/plant/DDATA/node1/dev", data, is_retained=False, now_ms=NOW)
    assert asked == [Ask("spBv1.0/plant/NCMD/node1", sparkplug_b.REBIRTH)]


def test_a_node_that_dies_takes_its_devices_along() -> None:
    dialect = Sparkplug()
    hear(dialect, "spBv1.0/plant/NBIRTH/node1", BIRTH)
    smoke = payload({"name": "smoke", "alias": 9, "datatype": 11, "boolean_value": False})
    for name in ("node1/dev", "node10/dev"):
        hear(dialect, f"spBv1.0/plant/DBIRTH/{name}", smoke)
    gone = hear(dialect, "spBv1.0/plant/NDEATH/node1", payload(bd_seq(3)))
    assert [one.source for one in gone] == ["sparkplug/plant/node1", "sparkplug/plant/node1/dev"]
    assert {one.payload for one in gone} == {Fault(fault="offline")}
    assert hear(dialect, "spBv1.0/plant/DDEATH/node1/dev", payload()) == []


def test_a_death_counts_for_its_own_birth_only() -> None:
    dialect = Sparkplug()
    hear(dialect, "spBv1.0/plant/NBIRTH/node1", BIRTH)
    assert hear(dialect, "spBv1.0/plant/NDEATH/node1", payload(bd_seq(2))) == []
    assert said(hear(dialect, "spBv1.0/plant/NDEATH/node1", payload(bd_seq(3)))) == [Fault(fault="offline")]


def test_few_messages_wait_for_a_birth_and_nobody_takes_the_room_of_a_node_that_is_admitted() -> None:
    dialect = Sparkplug(host=Host(lambda source: source == "sparkplug/plant/node1"))
    for n in range(10 * sparkplug_b.WAITING_IN_ALL):
        hear(dialect, f"spBv1.0/plant/NDATA/node-{n}", payload({"alias": 2, "datatype": 11, "boolean_value": True}))
    assert sum(len(node.waiting) for node in dialect._nodes.others) == sparkplug_b.WAITING_IN_ALL
    for _ in range(1_000):
        hear(dialect, "spBv1.0/plant/NDATA/node1", payload({"alias": 2, "datatype": 11, "boolean_value": True}))
    heard = hear(dialect, "spBv1.0/plant/NBIRTH/node1", BIRTH)
    assert sum(one.quality is LIVE for one in heard) == sparkplug_b.WAITING


def test_a_node_that_nobody_has_admitted_is_forgotten_for_others_and_learnt_again_and_an_admitted_one_never() -> None:
    host = Host(lambda source: source.startswith("sparkplug/plant/ours"))
    dialect = Sparkplug(host=host)
    for name in ("ours", *(f"node-{n}" for n in range(3 * MOST))):
        hear(dialect, f"spBv1.0/plant/NBIRTH/{name}", BIRTH)
    assert host.forgotten == 2 * MOST
    smoke = payload({"alias": 2, "datatype": 11, "boolean_value": True})
    assert said(hear(dialect, "spBv1.0/plant/NDATA/ours", smoke)) == [reading("smoke", 1.0)]
    again = Ask("spBv1.0/plant/NCMD/node-0", sparkplug_b.REBIRTH)
    assert dialect.hear("spBv1.0/plant/NDATA/node-0", smoke, is_retained=False, now_ms=NOW) == [again]
    born = hear(dialect, "spBv1.0/plant/NBIRTH/node-0", BIRTH)
    assert [one for one in born if one.quality is LIVE] == [Heard("sparkplug/plant/node-0", reading("smoke", 1.0))]


def test_a_sparkplug_payload_that_is_none_is_refused() -> None:
    with pytest.raises(MessageError, match="not a Sparkplug B payload"):
        hear(Sparkplug(), "spBv1.0/plant/NBIRTH/node1", b"\xff\xff\xff")


# --- ESPHome and plain JSON -------------------------------------------------------------------------------------------


def test_esphome_states_are_read_by_the_name_in_their_id() -> None:
    dialect = EspHome()
    assert hear(dialect, "kitchen/binary_sensor/hob_smoke/state", b"ON") == [
        Heard("esphome/kitchen/hob_smoke", reading("smoke", 1.0))
    ]
    assert said(hear(dialect, "kitchen/sensor/room_temperature/state", b"23.5")) == [
        reading("temperature", 23.5, "Cel")
    ]
    assert said(hear(dialect, "kitchen/sensor/room_temperature/state", b"nan")) == []
    assert hear(dialect, "kitchen/sensor/uptime/state", b"5") == []
    assert said(hear(dialect, "kitchen/status", b"offline")) == [Fault(fault="offline")]
    (heard,) = hear(dialect, "kitchen/binary_sensor/hob_smoke/state", b"ON", is_retained=True)
    assert heard.quality is REPLAYED


@pytest.mark.parametrize(("age_ms", "quality"), [(500, LIVE), (120_000, LATE)])
def test_plain_json_that_says_when_is_late_when_that_is_long_ago(age_ms: int, quality: Quality) -> None:
    message = {"timestamp": NOW - age_ms, "data": {"Temperature": "57.5", "note": "x"}}
    assert hear(PlainJson("sensors/+"), "sensors/hall", message) == [
        Heard("json/sensors/hall", reading("temperature", 57.5, "Cel"), quality, NOW - age_ms)
    ]


@pytest.mark.parametrize(
    ("time", "quality"),
    [
        (NOW // 1000, LIVE),
        (NOW / 1000 - 0.5, LIVE),
        (NOW // 1000 - 600, LATE),
        (12_345, LIVE),  # a clock that was never set
        (1e300, LIVE),
        (True, LIVE),
        ("2026-05-28T20:26:39", LIVE),
    ],
)
def test_a_time_may_be_in_seconds_and_one_that_cannot_be_is_none(time: Any, quality: Quality) -> None:
    (heard,) = hear(PlainJson("sensors/+"), "sensors/hall", {"ts": time, "smoke": True})
    assert heard.quality is quality


@pytest.mark.parametrize("raw", [b"[1]", b"{", b"\xff", b"[" * 100_000, b'"smoke"'])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    for dialect, topic in ((PlainJson("a/b"), "a/b"), (Zigbee2Mqtt(), "zigbee2mqtt/a"), (Tasmota(), "tele/a/SENSOR")):
        with pytest.raises(MessageError):
            hear(dialect, topic, raw)


ANNOUNCED = {"device_class": "smoke", "state_topic": "t/1", "unique_id": "u", "value_template": "{{ value_json.a }}"}


@st.composite
def topics_of(draw: st.DrawFn, dialect: Dialect) -> str:
    """Any topic that one of the subscriptions takes."""
    levels = draw(st.sampled_from(dialect.subscriptions)).split("/")
    name = st.text("abconfig _-0", min_size=1, max_size=8) | st.sampled_from(["config", "availability", "status"])
    if levels[-1] == "#":
        levels[-1:] = draw(st.lists(name, max_size=4))
    return "/".join(draw(name) if level == "+" else level for level in levels)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=12) | st.sampled_from([*ANNOUNCED, "availability", "smoke", "ZbReceived", "Switch1", "~"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(st.data(), st.booleans())
def test_whatever_comes_is_heard_or_refused_and_nothing_else(data: st.DataObject, is_retained: bool) -> None:
    dialects = (Zigbee2Mqtt(), Tasmota(), announced(ANNOUNCED), Sparkplug(), EspHome(), PlainJson("#"))
    for dialect in dialects:
        topic = data.draw(topics_of(dialect))
        raw = data.draw(st.binary(max_size=200) | JSON.map(msgspec.json.encode) | st.just(BIRTH))
        assert any(matches(one, topic) for one in dialect.subscriptions)
        assert dialect.hears(topic)
        try:
            heard = dialect.hear(topic, raw, is_retained=is_retained, now_ms=NOW)
        except MessageError:
            continue
        if is_retained:
            assert all(one.quality is REPLAYED for one in heard if isinstance(one, Heard))
