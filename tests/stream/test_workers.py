"""Several workers on a real Kafka and a real Mosquitto: what one leaves undone another does, once."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from models.config import Config
from models.messages import Position, Stage
from models.places import DeviceKind
from stream.app import StreamApp
from stream.control import load
from stream.ingest.registry import partition_of
from stream.log.engine import CONTROL, changelog
from stream.log.file import NewRecord, NewTopic
from stream.log.kafka import KafkaLog, servers_of
from stream.log.rows import RowTable, row_table
from stream.onboard import Admission, admit
from stream.records import (
    ConnectionRecord,
    ControlRecord,
    MoveRecord,
    ObservationRecord,
    ParcelRecord,
    TickRecord,
    decode_incidents,
    decode_obs,
)
from stream.reload import Requests
from stream.replay import replay
from stream.serve import serve
from stream.watchdog import Watchdog
from tests import servers
from tests.conftest import wait_until
from tests.servers import Kafka, Mosquitto
from tests.stream import log_places
from tests.stream.log_places import OnKafka
from tests.stream.rig import Listener, StreamProcess, TestDevice, make_folder, reading, running, vanish
from tests.stream.sqlite_harness import collect, run

pytestmark = [pytest.mark.kafka, pytest.mark.mosquitto]

R = TypeVar("R")
PARTITIONS = 4
STREET_1, STREET_2 = "cam-01", "cam-02"
"""Cameras of two streets: two partitions."""


@pytest.fixture
def config(tmp_path: Path, kafka: Kafka, open_mosquitto: Mosquitto) -> Config:
    tenant = f"t{uuid.uuid4().hex[:8]}"
    return make_folder(tmp_path / "city", open_mosquitto.mqtt, broker=kafka.url, tenant=tenant)


@pytest.fixture
def listener(config: Config) -> Iterator[Listener]:
    made = Listener(config)
    yield made
    made.link.stop()


@contextlib.contextmanager
def _two(config: Config) -> Iterator[list[StreamProcess]]:
    """Two workers that have shared the partitions out."""
    with running(config, "a") as first, running(config, "b") as second:
        wait_until(lambda: [one.counters()["partitions"] for one in (first, second)] == [2, 2], 60.0)
        yield [first, second]


@pytest.fixture
def workers(config: Config) -> Iterator[list[StreamProcess]]:
    with _two(config) as both:
        yield both


def _stored(worker: StreamProcess) -> dict[str, Counter[int]]:
    """How often each seq of each device stands in `obs`."""
    found: dict[str, Counter[int]] = {}
    for partition in range(PARTITIONS):
        for record in worker.records("obs", partition):
            decoded = decode_obs(record.value or b"")
            for item in decoded.located() if isinstance(decoded, ObservationRecord) else ():
                found.setdefault(item.observation.device_id, Counter())[item.observation.seq] += 1
    return found


def _records(worker: StreamProcess, kind: type[R]) -> list[R]:
    """What of a kind stands in `obs`."""
    found = [decode_obs(record.value or b"") for p in range(PARTITIONS) for record in worker.records("obs", p)]
    return [record for record in found if isinstance(record, kind)]


def _incidents(listener: Listener) -> set[str]:
    return {order.incident.incident_id for order in listener.orders()}


def _send_until(is_so: Callable[[], bool], send: Callable[[], None], timeout_s: float = 60.0) -> None:
    """Do as a device does: send again what is not acknowledged, until everything is."""
    for _ in range(round(timeout_s)):
        send()
        with contextlib.suppress(pytest.fail.Exception):
            wait_until(is_so, 1.0)
            return
    pytest.fail(f"not so after {timeout_s} s")


def test_what_two_workers_take_from_the_broker_is_acknowledged_by_ranges_though_one_of_them_dies(
    config: Config, listener: Listener, workers: list[StreamProcess]
) -> None:
    device = TestDevice(listener, STREET_1)
    batches = [device.fires(5, apart_ms=1) for _ in range(200)]
    for batch in batches[:100]:
        device.send(batch)
    wait_until(lambda: len(listener.acked(STREET_1)) > 100, 60.0)
    workers[0].kill()
    everything = set(range(1, device.seq + 1))

    def send_rest() -> None:
        acked = listener.acked(STREET_1)
        for batch in batches:
            if any(seen.seq not in acked for seen in batch):
                device.send(batch)

    _send_until(lambda: listener.acked(STREET_1) == everything, send_rest)
    # Whoever keeps a high-water mark deletes what the other worker was given and never stored.
    stored = _stored(workers[1])
    assert everything == set(stored[STREET_1])
    workers[1].wait(lambda: {seq for *_, seq in workers[1].history()} == everything, 60.0)
    assert Counter(seq for *_, seq in workers[1].history()) == Counter(everything)
    wait_until(lambda: len(_incidents(listener)) == 1, 60.0)
    assert workers[1].stop() == 0
    assert replay(workers[1].log).is_same


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_workers_streets_are_taken_over_and_what_falls_due_there_falls_due_without_traffic(
    config: Config, listener: Listener, killed: int
) -> None:
    path = Path(config.folder) / "thresholds.toml"
    path.write_text(path.read_text().replace("verify_s = 90", "verify_s = 5"))
    with _two(config) as workers:
        camera = TestDevice(listener, STREET_1)
        camera.send(camera.fires(3))
        wait_until(lambda: len(_incidents(listener)) == 1, 60.0)
        workers[killed].kill()
        survivor = workers[1 - killed]
        # Nobody has looked at the pre-alarm: whoever owns the street now makes it an alarm, of the same incident.
        wait_until(lambda: any(order.incident.stage is Stage.ALARM for order in listener.orders()), 60.0)
        assert len(_incidents(listener)) == 1
        survivor.wait(lambda: survivor.counters()["partitions"] == PARTITIONS)
        assert any("zone-01" in tick.zones for tick in _records(survivor, TickRecord))
        smoke = [TestDevice(listener, "smoke-01").observe(reading(1.0))]
        _send_until(lambda: listener.acked("smoke-01") == {1}, lambda: TestDevice(listener, "smoke-01").send(smoke))


def test_a_worker_that_was_frozen_longer_than_its_session_takes_nothing_back_and_doubles_nothing(
    config: Config, listener: Listener, workers: list[StreamProcess]
) -> None:
    cameras = [TestDevice(listener, name) for name in (STREET_1, STREET_2)]
    for camera in cameras:
        camera.send(camera.fires(2, apart_ms=1))
    wait_until(lambda: all(listener.acked(camera.device_id) == {1, 2} for camera in cameras), 60.0)
    frozen, awake = workers
    assert frozen.process
    frozen.process.send_signal(signal.SIGSTOP)
    batches = {camera.device_id: [camera.fires(4, apart_ms=1) for _ in range(5)] for camera in cameras}

    def send_rest() -> None:
        for camera in cameras:
            acked = listener.acked(camera.device_id)
            for batch in batches[camera.device_id]:
                if any(seen.seq not in acked for seen in batch):
                    camera.send(batch)

    def all_acked() -> bool:
        return all(listener.acked(camera.device_id) >= set(range(1, camera.seq + 1)) for camera in cameras)

    _send_until(all_acked, send_rest)
    _send_until(lambda: len(_incidents(listener)) == 2, lambda: None)
    before = _incidents(listener)
    frozen.process.send_signal(signal.SIGCONT)
    # It writes what it remembers, and is given partitions again.
    for camera in cameras:
        more = camera.fires(3)
        batches[camera.device_id].append(more)
    _send_until(all_acked, send_rest)
    everything = {(camera.device_id, seq) for camera in cameras for seq in range(1, camera.seq + 1)}
    wait_until(lambda: {(device, seq) for device, *_, seq in awake.history()} == everything, 60.0)
    assert len(awake.history()) == len(everything)
    assert _incidents(listener) == before
    for worker in workers:
        assert worker.stop() == 0
    found = replay(awake.log)
    assert found.is_same
    assert set(found.incidents) == before


def test_a_fire_on_the_border_of_two_streets_on_two_workers_is_one_incident(
    config: Config, listener: Listener, workers: list[StreamProcess]
) -> None:
    lon_e7, lat_e7 = next(one.point for one in load(Path(config.folder)).places.devices if one.id == STREET_1)
    fire = Position(lon_deg=lon_e7 / 1e7, lat_deg=lat_e7 / 1e7)
    for name in (STREET_1, STREET_2):
        device = TestDevice(listener, name)
        device.send([replace(seen, position=fire) for seen in device.fires(3)])
    wait_until(lambda: any(len(order.incident.sources) == 2 for order in listener.orders()), 60.0)
    assert len(_incidents(listener)) == 1
    stored = _stored(workers[0])
    assert stored.keys() == {STREET_1, STREET_2}


def test_a_last_will_that_every_worker_hears_makes_one_incident(config: Config, listener: Listener) -> None:
    with (Path(config.folder) / "thresholds.toml").open("a") as thresholds:
        thresholds.write("[supervision]\ngone_s = 0.2\n")
    with _two(config) as (worker, _):
        vanish(config, STREET_1)
        wait_until(lambda: len(_records(worker, ConnectionRecord)) == 2)
        wait_until(lambda: bool(_incidents(listener)))
        before = len(_records(worker, TickRecord))
        vanish(config, STREET_2)
        wait_until(lambda: len(_incidents(listener)) > 1 and len(_records(worker, TickRecord)) > before)
        assert sorted({order.incident.sources for order in listener.orders()}) == [(STREET_1,), (STREET_2,)]
        assert len(_incidents(listener)) == 2


def test_what_announces_itself_in_home_assistant_is_known_to_every_worker(config: Config, listener: Listener) -> None:
    path = Path(config.folder) / "gridwarden.toml"
    path.write_text(f'{path.read_text()}\n[[stream.adapters]]\nkind = "homeassistant"\nbase = "{config.tenant}"\n')
    state = f"home/{config.tenant}/hall"
    asked = Admission(
        source="homeassistant/u7", id="smoke-77", kind=DeviceKind.SMOKE, zone="zone-01", name="烟感", name_en="Smoke"
    )
    admit(asked, config)
    entity = msgspec.json.encode({"device_class": "smoke", "state_topic": state, "unique_id": "u7"})
    announced = f"{config.tenant}/binary_sensor/hall/smoke/config"
    with _two(config) as workers:
        listener.publish(announced, entity)  # as a device does that starts now

        def speakers() -> set[str]:
            return {outbox for name, outbox, *_ in workers[0].history() if name == "smoke-77"}

        def speak() -> None:
            for _ in range(20):
                listener.publish(state, b"OFF")

        # A broker gives a message of a divided filter to one of the workers, and what was retained to none.
        _send_until(lambda: len(speakers()) == 2, speak)


def test_what_is_in_force_stands_in_every_partition_and_a_second_worker_adds_nothing(
    workers: list[StreamProcess],
) -> None:
    for partition in range(PARTITIONS):
        records = [decode_obs(record.value or b"") for record in workers[0].records("obs", partition)]
        assert [record.what for record in records if isinstance(record, ControlRecord)].count("thresholds") == 1
    heard = [decode_incidents(record.value or b"") for record in workers[0].records("incidents")]
    whats = [record.what for record in heard if isinstance(record, ControlRecord)]
    assert sorted(whats) == ["catalogue", "people", "places", "settings", "thresholds"]


def test_a_consumer_that_has_stopped_reading_is_noticed_started_anew_and_counted(
    config: Config, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.app.Watchdog", lambda: Watchdog(stuck_ms=1_500))
    monkeypatch.setattr("stream.app.WATCH_S", 0.2)
    lives: list[StreamApp] = []

    class Life(StreamApp):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            lives.append(self)

    monkeypatch.setattr("stream.serve.StreamApp", Life)
    device = TestDevice(listener, STREET_1)
    worker = StreamProcess(config)  # for its state file: it runs in this process

    async def scenario() -> None:
        serving = asyncio.create_task(serve(load(Path(config.folder))))
        await asyncio.to_thread(wait_until, worker.state_file.exists, 60.0)
        await lives[0].app._fetcher.stop()  # alive, connected, in the group, and reads nothing
        await asyncio.to_thread(device.send, device.fires(3))
        await asyncio.to_thread(wait_until, lambda: bool(listener.orders()), 60.0)
        await asyncio.to_thread(wait_until, lambda: worker.counters()["restarts"] == 1)
        assert len(lives) == 2
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 60.0)

    asyncio.run(scenario())
    assert listener.acked(STREET_1) == {1, 2, 3}


def test_a_standby_that_takes_over_has_the_rows_already(tmp_path: Path, kafka: Kafka) -> None:
    place = OnKafka(kafka.url, f"t{uuid.uuid4().hex[:8]}", tmp_path)
    topics = [NewTopic("obs", 2), NewTopic("watch-zones-changelog", 2, is_compacted=True)]

    def made(name: str) -> tuple[Any, RowTable, asyncio.Queue[set[int]], list[int]]:
        app = place.app(table_standby_replicas=1, canonical_url=f"http://{name}")
        collect(app, app.topic(place.name("obs"), partitions=2, value_type=bytes))
        table = row_table(app, "zones", partitions=2, revision=len)
        owned: asyncio.Queue[set[int]] = asyncio.Queue()
        table.recovered = owned.put_nowait
        read: list[int] = []

        async def count(event: Any) -> None:
            read.append(event.message.offset)

        table._on_changelog_event = count
        return app, table, owned, read

    async def until(owned: asyncio.Queue[set[int]], count: int) -> set[int]:
        while len(partitions := await asyncio.wait_for(owned.get(), 60.0)) != count:
            pass
        return partitions

    async def scenario() -> None:
        first, mine, owned, _ = made("one")
        second, theirs, taken, read = made("two")
        async with log_places.running(place, second, topics):
            async with log_places.running(place, first, topics) as log:
                (partition,) = await until(owned, 1)
                keys = [f"zone-{n}" for n in range(400)]
                await log.append([mine.record(key, b"row", partition) for key in keys])
                await asyncio.to_thread(wait_until, lambda: len(theirs.rows()) == len(keys), 60.0)
                read.clear()
            assert await until(taken, 2) == {0, 1}
            assert sorted(theirs.rows(partition)) == sorted(keys)
            assert len(read) < 10

    run(scenario())


def test_a_kafka_that_dies_and_comes_back_costs_nothing_and_ends_nobody(
    tmp_path: Path, open_mosquitto: Mosquitto
) -> None:
    with servers.kafka(tmp_path / "kafka") as kafka:
        config = make_folder(tmp_path / "city", open_mosquitto.mqtt, broker=kafka.url)
        listener = Listener(config)
        with running(config) as stream:
            device = TestDevice(listener, STREET_1)
            device.send(device.fires(3))
            wait_until(lambda: bool(listener.orders()), 60.0)
            kafka.kill()
            batches = [device.fires(3, apart_ms=1) for _ in range(10)]
            for batch in batches:
                device.send(batch)
            stream.wait(lambda: "stores nothing" in stream.log_file.read_text(), 60.0)
            assert listener.acked(STREET_1) == {1, 2, 3}
            kafka.start()
            everything = set(range(1, device.seq + 1))
            wait_until(lambda: listener.acked(STREET_1) == everything, 60.0)
            stream.wait(lambda: {seq for *_, seq in stream.history()} == everything, 60.0)
            assert Counter(seq for *_, seq in stream.history()) == Counter(everything)
            # The desk is behind the zones: a log that ends before its last word holds what nobody has decided yet.
            wait_until(lambda: listener.orders()[-1].incident.count == len(everything), 60.0)
            assert len(_incidents(listener)) == 1
            assert stream.counters()["restarts"] == 0
            assert stream.stop() == 0
            assert replay(stream.log).is_same
        listener.link.stop()


def test_a_log_that_was_recorded_embedded_is_decided_the_same_on_kafka(
    tmp_path: Path, kafka: Kafka, open_mosquitto: Mosquitto
) -> None:
    tenant = f"t{uuid.uuid4().hex[:8]}"
    config = make_folder(tmp_path / "city", open_mosquitto.mqtt, tenant=tenant)
    listener = Listener(config)
    with running(config) as stream:
        for name in (STREET_1, STREET_2):
            device = TestDevice(listener, name)
            device.send(device.fires(4))
        stream.wait(lambda: len(_incidents(listener)) == 2)
        assert stream.stop() == 0
    listener.link.stop()
    topics = [NewTopic(name, count) for name, count in (("obs", PARTITIONS), ("incidents", 1), ("orders", 1))]
    tables = {CONTROL: 1, "desk": 1, "zones": PARTITIONS}
    topics += [NewTopic(changelog(name), count, is_compacted=True) for name, count in tables.items()]

    async def copy() -> None:
        log = await KafkaLog.open(servers_of(kafka.url), tenant)
        await log.create_topics(topics)
        for topic in topics:
            for partition in range(topic.partitions):
                records = stream.records(topic.name, partition)
                await log.append([NewRecord(topic.name, partition, one.value, one.at_ms, one.key) for one in records])
        await log.close()

    asyncio.run(copy())
    embedded, on_kafka = replay(stream.log), replay(f"{kafka.url}/{tenant}")
    assert embedded.is_same
    assert on_kafka == embedded
    assert set(on_kafka.incidents) == _incidents(listener)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_zone_in_alarm_moves_from_worker_to_worker_though_one_of_them_is_killed(
    config: Config, listener: Listener, workers: list[StreamProcess], killed: int
) -> None:
    camera = TestDevice(listener, STREET_1)
    batches = [camera.fires(3)]

    def send_rest() -> None:
        batches.append(camera.fires(3, apart_ms=1))
        for batch in batches:
            if any(seen.seq not in listener.acked(STREET_1) for seen in batch):
                camera.send(batch)

    def is_heard_in(partition: int) -> bool:
        newest = [decode_obs(record.value or b"") for record in workers[0].records("obs", partition)][-20:]
        located = [
            one.observation for record in newest if isinstance(record, ObservationRecord) for one in record.located()
        ]
        is_heard = any((one.device_id, one.seq) == (STREET_1, camera.seq) for one in located)
        return is_heard and listener.acked(STREET_1) == set(range(1, camera.seq + 1))

    camera.send(batches[0])
    wait_until(lambda: len(_incidents(listener)) == 1, 60.0)
    before = {zone.id: zone.street for zone in load(Path(config.folder)).places.zones}
    streets = {partition_of(street, PARTITIONS): street for street in before.values()}
    first = partition_of(before["zone-01"], PARTITIONS)
    for n, there in enumerate([*(partition for partition in streets if partition != first), first]):
        _move_street(config, streets[there])
        Requests(config.state).ask(str(n))
        if n == 0:
            wait_until(lambda: bool(_records(workers[0], MoveRecord)), 60.0)
            workers[killed].kill()
            workers[killed].start()
        _send_until(functools.partial(is_heard_in, there), send_rest, 120.0)
    camera.send(batches[0])  # its acknowledgement was lost
    everything = set(range(1, camera.seq + 1))
    wait_until(lambda: {seq for *_, seq in workers[0].history()} == everything, 60.0)
    assert len(workers[0].history()) == len(everything)
    assert len(_incidents(listener)) == 1
    assert {parcel.zone for parcel in _records(workers[0], ParcelRecord)} == {"zone-01"}
    for worker in workers:
        assert worker.stop() == 0
    found = replay(workers[0].log)
    assert found.is_same
    assert len(found.incidents) == 1


def _move_street(config: Config, street: str) -> None:
    path = Path(config.folder) / "places.geojson"
    city = json.loads(path.read_text())
    zone = next(one["properties"] for one in city["features"] if one["properties"].get("id") == "zone-01")
    zone["street"] = street
    path.write_text(json.dumps(city, ensure_ascii=False))
