"""The config folder changes while the stream runs: what is good comes into force, what is bad never does."""

from __future__ import annotations

import argparse
import functools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models import seal
from models.config import Config, Mqtt
from models.errors import ConfigError, StorageError
from models.messages import DecisionKind, DispatchOrder, Stage
from models.thresholds import Thresholds
from stream import reload
from stream.commands import register
from stream.control import load, load_to_start
from stream.ingest.registry import partition_of
from stream.recorded import Recorded
from stream.records import ControlRecord, MoveRecord, ParcelRecord, VerdictRecord, decode_incidents, decode_obs
from stream.reload import Reloaded, Requests, Watched
from stream.replay import replay
from stream.whatif import what_if
from tests.stream.rig import Listener, StreamProcess, TestDevice, make_folder, running

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def config(tmp_path: Path, mqtt_broker: Mqtt) -> Config:
    return make_folder(tmp_path / "city", mqtt_broker)


@pytest.fixture
def listener(config: Config) -> Iterator[Listener]:
    made = Listener(config)
    yield made
    made.link.stop()


def command(config: Config, *words: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    arguments = parser.parse_args(["reload", config.folder, *words])
    return int(arguments.run(arguments))


def edit_places(config: Config, edit: Edit) -> None:
    """Change the features of `places.geojson` by their code or id."""
    path = Path(config.folder) / "places.geojson"
    city = json.loads(path.read_text())
    edit({item["properties"].get("code") or item["properties"]["id"]: item for item in city["features"]})
    path.write_text(json.dumps(city, ensure_ascii=False))


def edit_people(config: Config, before: str, after: str) -> None:
    path = Path(config.folder) / "people.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def _is_heard(listener: Listener, device_id: str, seqs: set[int]) -> bool:
    return listener.acked(device_id) == seqs


def versions(stream: StreamProcess) -> Counter[tuple[str, str]]:
    """How often each version of each content was put in force, in all partitions."""
    records = [decode_incidents(record.value or b"") for record in stream.records("incidents")]
    records += [decode_obs(record.value or b"") for n in range(4) for record in stream.records("obs", n)]
    return Counter((record.what, record.version) for record in records if isinstance(record, ControlRecord))


def last(orders: list[DispatchOrder]) -> DispatchOrder:
    return max(orders, key=lambda order: order.seq)


def test_a_reload_in_the_middle_of_a_storm_loses_nothing(config: Config, listener: Listener) -> None:
    devices = [TestDevice(listener, name) for name in ("cam-01", "cam-02", "smoke-01")]
    done = threading.Event()

    def storm() -> None:
        while not done.is_set() and devices[0].seq < 2_000:
            for device in devices:
                device.send(device.fires(5, apart_ms=50))
            done.wait(0.02)

    with running(config) as stream:
        sender = threading.Thread(target=storm)
        sender.start()
        try:
            stream.wait(lambda: len(listener.acked("cam-01")) > 20)
            before = versions(stream)
            edit_people(config, 'name_en = "', 'name_en = "New ')
            edit_places(config, lambda items: items["zone-01"]["properties"].update(name="新区"))
            assert command(config) == 0
            heard = len(listener.acked("cam-01"))
            stream.wait(lambda: len(listener.acked("cam-01")) > heard + 20)
        finally:
            done.set()
            sender.join()
        for device in devices:
            everything = set(range(1, device.seq + 1))
            stream.wait(functools.partial(_is_heard, listener, device.device_id, everything))
        total = sum(device.seq for device in devices)
        stream.wait(lambda: stream.counters()["decisions"] == total)
        assert stream.counters()["duplicates"] == 0
        assert (stream.counters()["reloads"], stream.counters()["reloads_refused"]) == (2, 0)
        new = versions(stream) - before
        loaded = load(Path(config.folder))
        assert new == Counter({("places", loaded.places.version): 5, ("people", loaded.contents["people"].version): 1})
        TestDevice(listener, "cam-03").send(TestDevice(listener, "cam-03").fires(3))
        stream.wait(lambda: any("cam-03" in order.incident.sources for order in listener.orders()))
        order = next(order for order in listener.orders() if "cam-03" in order.incident.sources)
        assert order.versions.places == loaded.places.version
        assert order.versions.people == loaded.contents["people"].version
        assert stream.stop() == 0
    assert replay(config.state / "log.db").is_same


def test_what_is_bad_is_refused_and_said(
    config: Config, listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    good = (Path(config.folder) / "places.geojson").read_text()
    device = TestDevice(listener)
    with running(config) as stream:
        before = versions(stream)
        edit_places(config, lambda items: items["cam-01"]["properties"].update(cell="nowhere"))
        with pytest.raises(ConfigError, match="no cell nowhere"):
            command(config)
        assert reload.Requests(config.state).take("nobody") is None  # the stream was not even asked
        Requests(config.state).ask("unchecked")
        stream.wait(lambda: stream.counters()["reloads_refused"] == 1)
        answer = Requests(config.state).answered("unchecked")
        assert answer is not None
        assert (answer.outcome, "no cell nowhere" in answer.problems[0]) == ("refused", True)
        (Path(config.folder) / "places.geojson").write_text(good)
        assert command(config) == 0
        assert "in force already" in capsys.readouterr().out
        settings = Path(config.folder) / "gridwarden.toml"
        own = settings.read_text()
        settings.write_text(own.replace('tenant = "sample"', 'tenant = "other"'))
        assert command(config, "--json") == 2
        refused = json.loads(capsys.readouterr().out)
        assert "tenant sample becomes other" in refused["problems"][0]
        assert "is refused, what was in force stays in force" in stream.log_file.read_text()
        assert versions(stream) == before
        device.send(device.fires(3))
        stream.wait(lambda: bool(listener.orders()))
        assert stream.stop() == 0
        stream.spawn()
        assert stream.process is not None
        assert stream.process.wait(100.0) != 0  # it would listen to the devices of another tenant
        settings.write_text(own)
        # A restart finds a bad folder, and goes on with what the log has.
        (Path(config.folder) / "people.toml").write_text("not toml at all")
        stream.start()
        assert stream.counters()["reloads_refused"] == 1
        other = TestDevice(listener, "cam-02")
        other.send(other.fires(3))
        stream.wait(lambda: len({order.incident.incident_id for order in listener.orders()}) == 2)
        assert versions(stream) == before
        assert stream.stop() == 0
    assert replay(config.state / "log.db").is_same


def test_a_camera_that_is_added_is_heard_and_one_that_is_removed_is_not(config: Config, listener: Listener) -> None:
    with running(config) as stream:
        path = Path(config.folder) / "places.geojson"
        city = json.loads(path.read_text())
        camera = next(item for item in city["features"] if item["properties"].get("id") == "cam-03")
        added = json.loads(json.dumps(camera))
        added["properties"]["id"] = "cam-77"
        city["features"][city["features"].index(camera)] = added
        path.write_text(json.dumps(city))
        settings = Path(config.folder) / "gridwarden.toml"
        settings.write_text(settings.read_text().replace("cam-03", "cam-77"))
        seal.make_keys(config.keys, ["cam-77"])
        listener.keys = seal.load_keys(config.keys)
        assert command(config) == 0
        device, gone = TestDevice(listener, "cam-77"), TestDevice(listener, "cam-03")
        device.send(device.fires(3))
        stream.wait(lambda: listener.acked("cam-77") == {1, 2, 3})
        gone.send(gone.fires(1))
        stream.wait(lambda: stream.counters()["dead_letters"] == 1)
        assert stream.stop() == 0


def test_thresholds_are_in_force_as_soon_as_they_are_saved_and_bad_ones_never(
    config: Config, listener: Listener
) -> None:
    path = Path(config.folder) / "thresholds.toml"
    good = path.read_text()
    device, other = TestDevice(listener), TestDevice(listener, "cam-02")
    with running(config) as stream:
        other.send(other.fires(3))
        stream.wait(lambda: bool(listener.orders()))
        listener.store(*listener.orders())
        before = versions(stream)
        path.write_text(good.replace("hint = 0.3", "hint = 0.9"))  # above its alarm
        stream.wait(lambda: stream.counters()["reloads_refused"] == 1)
        path.write_text(good.replace("hint = 0.3", "hint = 0.55"))
        stream.wait(lambda: stream.counters()["reloads"] == 2)
        new = versions(stream) - before
        assert {what for what, _ in new} == {"thresholds"}
        assert set(new.values()) == {5}
        device.send(device.fires(3, confidence=0.5))
        stream.wait(lambda: stream.counters()["decisions"] == 6)
        outcomes = stream.history("seq, outbox_id, device_id, outcome")
        assert {outcome for *_, name, outcome in outcomes if name == "cam-01"} == {"below"}
        assert stream.stop() == 0
    assert len(listener.orders()) == 1, "what was ordered under the old ones is not ordered again"


def test_a_file_is_new_once_and_not_while_it_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.toml"
    path.write_text("a")
    watched = Watched(path)
    assert [watched.has_changed() for _ in range(3)] == [False] * 3
    path.write_text("ab")
    assert not watched.has_changed()
    path.write_text("abc")
    assert not watched.has_changed()
    assert [watched.has_changed() for _ in range(3)] == [True, False, False]
    path.unlink()
    assert not watched.has_changed()
    path.write_text("abc")
    assert [watched.has_changed() for _ in range(3)] == [False, True, False]


def test_nobody_answers_where_no_stream_runs(config: Config) -> None:
    with pytest.raises(StorageError, match="is one running"):
        command(config, "--timeout", "0.2")
    assert Requests(config.state).take("late") is None


def test_a_request_is_answered_by_one_worker(tmp_path: Path) -> None:
    requests = Requests(tmp_path)
    requests.ask("1")
    assert [requests.take("a"), requests.take("b")] == ["1", None]
    requests.answer(Reloaded(request="1", at_ms=0, outcome="unchanged"))
    requests.answer(Reloaded(request="", at_ms=1, outcome="unchanged"))  # of itself, before anybody looked
    assert requests.answered("2") is None
    assert requests.answered("1") == Reloaded(request="1", at_ms=0, outcome="unchanged")


def move_street(config: Config) -> tuple[int, int]:
    """Have zone-01 stand in the street of a zone of another partition; return both partitions."""
    zones = {zone.id: partition_of(zone.street, 4) for zone in load(Path(config.folder)).places.zones}
    there = next(zone for zone, partition in zones.items() if partition != zones["zone-01"])
    edit_places(
        config,
        lambda items: items["zone-01"]["properties"].update(street=items[there]["properties"]["street"]),
    )
    return zones["zone-01"], zones[there]


def is_decided(stream: StreamProcess, seqs: set[int], device_id: str = "cam-01") -> bool:
    return [row[3] for row in stream.history() if row[0] == device_id] == sorted(seqs)


def test_a_zone_in_alarm_moves_to_another_street_in_the_middle_of_a_storm(config: Config, listener: Listener) -> None:
    device = TestDevice(listener)
    done = threading.Event()
    sent = []

    def storm() -> None:
        while not done.is_set() and device.seq < 2_000:
            sent.append(device.fires(5, apart_ms=50))
            device.send(sent[-1])
            done.wait(0.02)

    with running(config) as stream:
        sender = threading.Thread(target=storm)
        sender.start()
        try:
            stream.wait(lambda: bool(listener.orders()))
            old, new = move_street(config)
            assert command(config) == 0
            heard = len(listener.acked("cam-01"))
            stream.wait(lambda: len(listener.acked("cam-01")) > heard + 20)
        finally:
            done.set()
            sender.join()
        everything = set(range(1, device.seq + 1))
        stream.wait(lambda: listener.acked("cam-01") == everything)
        device.send(sent[0])  # its acknowledgement was lost
        stream.wait(lambda: is_decided(stream, everything))
        stream.wait(lambda: stream.counters()["duplicates"] == len(sent[0]))
        assert stream.counters()["decisions"] == device.seq
        order = last(listener.orders())
        listener.decide(order, DecisionKind.CONFIRM, 1)
        stream.wait(lambda: last(listener.orders()).incident.stage is Stage.ALARM)
        assert len({order.incident.incident_id for order in listener.orders()}) == 1
        moved = [decode_obs(record.value or b"") for record in stream.records("obs", new)]
        assert [type(record) for record in moved if isinstance(record, MoveRecord | ParcelRecord)] == [ParcelRecord]
        after = [decode_obs(record.value or b"") for record in stream.records("obs", old)][-1]
        assert isinstance(after, VerdictRecord)  # it goes to where the signal was raised, and is passed on
        assert stream.stop() == 0
    assert replay(config.state / "log.db").is_same
    thresholds = load(Path(config.folder)).contents["thresholds"]
    assert isinstance(thresholds, Thresholds)
    whole = what_if(Recorded(config.state / "log.db"), thresholds, since_ms=0)
    assert (whole.is_exact, whole.outcomes_differ, whole.added, whole.removed) == (True, 0, (), ())


@pytest.mark.parametrize("is_changed_back", [False, True])
def test_a_stream_that_is_killed_while_a_zone_moves_brings_it_to_where_it_belongs(
    config: Config, listener: Listener, is_changed_back: bool
) -> None:
    places = Path(config.folder) / "places.geojson"
    before = places.read_text()
    device = TestDevice(listener)
    with running(config) as stream:
        device.send(device.fires(3))
        stream.wait(lambda: bool(listener.orders()))
        old, new = move_street(config)
        Requests(config.state).ask("1")
        stream.wait(lambda: any(b'"record":"move"' in (one.value or b"") for one in stream.records("obs", old)))
        stream.kill()
        if is_changed_back:
            places.write_text(before)
        stream.start()
        there = old if is_changed_back else new
        for _ in range(2):
            device.send(device.fires(2))
        stream.wait(lambda: listener.acked("cam-01") >= {4, 5, 6, 7})
        stream.wait(lambda: is_decided(stream, set(range(1, 8))))
        stream.wait(lambda: stream.counters()["reloads"] == 1 or is_changed_back)
        device.send(device.fires(1))
        stream.wait(lambda: is_decided(stream, set(range(1, 9))))
        assert any(b'"seq":8' in (one.value or b"") for one in stream.records("obs", there))
        assert len({order.incident.incident_id for order in listener.orders()}) == 1
        assert stream.counters()["reloads_refused"] == 0
        assert stream.stop() == 0
    assert replay(config.state / "log.db").is_same


def test_a_folder_with_mistakes_is_loaded_to_start_and_says_them(config: Config) -> None:
    folder = Path(config.folder)
    (folder / "people.toml").write_text("not toml at all")
    loaded = load_to_start(folder)
    assert (loaded.contents, loaded.config.tenant) == ({}, config.tenant)
    assert "is not TOML" in loaded.problems[0].what
    with pytest.raises(ConfigError):
        load(folder)
    (folder / "gridwarden.toml").write_text("tenant = 3")
    with pytest.raises(ConfigError):
        load_to_start(folder)
