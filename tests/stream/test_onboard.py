"""From a stranger's first word to an admitted device: one command each."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import pytest

from models import check, seal, topics
from models.config import Adapter, Config, Mqtt, load
from models.errors import ConfigError, MessageError
from models.messages import encode
from stream import onboard
from stream.ingest.admission import Arrival, Gate, take
from stream.ingest.dead import dead_letter
from stream.ingest.foreign import Foreign, dialect_of
from stream.ingest.registry import Registry
from stream.log.engine import recorded_at
from stream.log.file import LogFile, NewRecord, Partition
from tests.stream.rig import make_folder

NOW_MS = 1_780_000_000_000


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_folder(tmp_path / "city", Mqtt())


def gate(config: Config) -> Gate:
    found = check.check(Path(config.folder))
    assert not found.problems
    assert found.places
    registry = Registry(found.places, lambda points: [{} for _ in points], partitions=4)
    seal.make_keys(config.keys, ["stream", "alerts"])
    return Gate(
        config.tenant, seal.load_keys(config.keys), registry, Foreign([dialect_of(Adapter(kind="zigbee2mqtt"))])
    )


def speak(config: Config, *arrivals: Arrival) -> None:
    """Take messages as ingest does, and put what cannot be taken into the log."""
    config.state.mkdir(exist_ok=True)
    log = LogFile(Path(recorded_at(config)))
    at = gate(config)
    with log.transaction():
        log.create_topic("dead", 1, is_compacted=False)
        partition = log.partition_id(Partition("dead", 0))
        for offset, arrival in enumerate(arrivals):
            try:
                take(arrival, at)
            except MessageError as exc:
                letter = encode(dead_letter(arrival.topic, arrival.payload, exc, now_ms=arrival.received_ms))
                log.insert([(partition, offset, NewRecord("dead", 0, letter, arrival.received_ms))])
                log.set_next_offsets({partition: offset + 1})
    log.close()


def ask(config: Config, **given: object) -> list[str]:
    names = ("admit", "id", "kind", "zone", "at", "agent", "name", "name_en", "every")
    said: list[str] = []
    arguments = {"config": Path(config.folder), "json": False, "battery": False} | dict.fromkeys(names) | given
    assert onboard.run(argparse.Namespace(**arguments), said.append) == 0
    return said


ZIGBEE = Arrival("zigbee2mqtt/hall smoke", b'{"smoke": true}', NOW_MS)
OURS = Arrival(topics.obs("sample", "cam-77"), b"{}\n{}", NOW_MS + 5)


def test_strangers_are_listed_by_the_name_that_they_give_themselves(config: Config) -> None:
    speak(config, ZIGBEE, OURS, Arrival(OURS.topic, OURS.payload, NOW_MS + 60_000))
    assert [line.split()[2:4] for line in ask(config)] == [["2", "cam-77"], ["1", "zigbee2mqtt/hall"]]
    (first, second) = msgspec.json.decode(ask(config, json=True)[0])
    assert (first["source"], first["letters"], first["last_ms"]) == ("cam-77", 2, NOW_MS + 60_000)
    assert second["source"] == "zigbee2mqtt/hall smoke"


def test_one_command_gives_a_device_its_key_zone_and_street(config: Config) -> None:
    speak(config, OURS)
    zone = check.check(Path(config.folder)).places.zones[0]  # type: ignore[union-attr]
    said = ask(config, admit="cam-77", kind="smoke", zone=zone.id)
    assert f"zone {zone.id}, street {zone.street}" in said[0]
    assert (config.keys / "cam-77.key").stat().st_mode & 0o777 == 0o600
    assert gate(config).registry.sites["cam-77"].zone == zone.id
    assert ask(config) == ["everybody who spoke is admitted"]


def test_a_device_of_another_make_is_admitted_under_its_source_and_needs_no_key(config: Config) -> None:
    zone = check.check(Path(config.folder)).places.zones[0]  # type: ignore[union-attr]
    said = ask(config, admit="zigbee2mqtt/hall smoke", id="smoke-77", kind="smoke", zone=zone.id, name="门厅烟感")
    assert not any("key" in line for line in said)
    (heard,) = take(ZIGBEE, gate(config))  # type: ignore[misc]
    assert heard.observations[0].device_id == "smoke-77"


def test_it_is_said_at_once_how_often_a_device_speaks(config: Config) -> None:
    zone = check.check(Path(config.folder)).places.zones[0]  # type: ignore[union-attr]
    ask(config, admit="zigbee2mqtt/hall smoke", id="smoke-77", kind="smoke", zone=zone.id, battery=True)
    ask(config, admit="tasmota/attic", id="heat-77", kind="heat", zone=zone.id, every=300.0)
    found = check.check(Path(config.folder)).places.device_by_id  # type: ignore[union-attr]
    assert (found["smoke-77"].power, found["smoke-77"].every_s) == ("battery", None)
    assert (found["heat-77"].power, found["heat-77"].every_s) == ("mains", 300.0)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"kind": "smoke", "every": -5.0}, "every_s"),
        ({"kind": "smoke"}, "give --zone"),
        ({"kind": "laser", "zone": "z"}, "--kind: laser: is no kind of device; use one of: camera, smoke"),
        ({"kind": "smoke", "zone": "no-such-zone"}, "no zone 'no-such-zone'; name one of: "),
        ({"kind": "smoke", "id": "cam-01"}, "'cam-01' is a device already"),
        ({"kind": "smoke", "agent": "edge-99"}, "edge-99"),
    ],
)
def test_what_cannot_be_admitted_is_refused_and_the_file_stays_as_it_was(
    config: Config, given: dict[str, str], what: str
) -> None:
    file = Path(config.folder) / "places.geojson"
    before = file.read_bytes()
    zone = check.check(Path(config.folder)).places.zones[0]  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=what):
        ask(config, **({"admit": "cam-77"} | ({} if what == "give --zone" else {"zone": zone.id}) | given))
    assert file.read_bytes() == before


def test_the_folder_is_still_right_after_an_admission(config: Config) -> None:
    zone = check.check(Path(config.folder)).places.zones[0]  # type: ignore[union-attr]
    ask(config, admit="cam-77", kind="gas", zone=zone.id)
    assert check.check(Path(config.folder)).problems == []
    assert load(Path(config.folder)).tenant == config.tenant
