from __future__ import annotations

import argparse
import asyncio
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from models import topics
from models.config import FILE, Config, Mqtt, to_toml
from models.messages import DeadLetter, DecisionKind, Lane, Report, Response, Stage, decode, encode
from stream.commands import register
from stream.log.engine import changelog
from stream.log.file import LogFile, NewRecord, Partition
from stream.log.sqlite import SqliteLog
from stream.records import ConnectionRecord, ControlRecord, ObservationRecord, decode_incidents, decode_obs
from stream.replay import replay, report
from tests.conftest import wait_until
from tests.stream.rig import Listener, StreamProcess, TestDevice, make_folder, reading, running, vanish


@pytest.fixture
def config(tmp_path: Path, mqtt_broker: Mqtt) -> Config:
    return make_folder(tmp_path / "city", mqtt_broker)


@pytest.fixture
def listener(config: Config) -> Iterator[Listener]:
    made = Listener(config)
    yield made
    made.link.stop()


@pytest.fixture
def device(listener: Listener) -> TestDevice:
    return TestDevice(listener)


def _stored(stream: StreamProcess) -> Counter[int]:
    """How often each seq of the device stands in `obs`."""
    partitions = [stream.records("obs", partition) for partition in range(4)]
    records = [decode_obs(record.value or b"") for records in partitions for record in records]
    return Counter(
        item.observation.seq for record in records if isinstance(record, ObservationRecord) for item in record.located()
    )


def _dead(stream: StreamProcess) -> list[DeadLetter]:
    return [decode(record.value or b"", DeadLetter) for record in stream.records("dead")]


def _command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    arguments = parser.parse_args(words)
    return int(arguments.run(arguments))


def test_what_a_device_saw_is_stored_acknowledged_decided_and_ordered(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    with running(config) as stream:
        device.send(device.fires(3))
        stream.wait(lambda: bool(listener.orders()))
        (order,) = listener.orders()
        incident = order.incident
        assert (incident.category, incident.stage, incident.priority) == ("fire.flame.single", Stage.PRE_ALARM, "P2")
        assert order.steps[0].candidates
        timeline = incident.timeline
        times = msgspec.structs.asdict(timeline)
        stages = [times[f"{stage}_ms"] for stage in ("captured", "ingested", "decided", "matched", "ordered")]
        assert stages == sorted(stages)
        assert listener.acked("cam-01") == {1, 2, 3}
        stream.wait(lambda: stream.counters()["decisions"] == 3)
        assert stream.history() == [("cam-01", "outbox-cam-01", "alarm", seq) for seq in (1, 2, 3)]
        outcomes = [outcome for *_, outcome in stream.history("seq, event_ms, received_ms, outcome")]
        assert outcomes == ["hit", "hit", "pre_alarm"]
        assert stream.stop() == 0


def test_a_second_sender_of_the_same_observations_makes_no_second_row(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    with running(config) as stream:
        seen = device.fires(3)
        device.send(seen)
        stream.wait(lambda: listener.acked("cam-01") == {1, 2, 3})
        device.send(seen)
        device.send(seen[1:])
        stream.wait(lambda: stream.counters()["observations"] == 8)
        stream.wait(lambda: stream.counters()["decisions"] == 3)
        assert stream.counters()["duplicates"] == 5
        assert len(stream.history()) == 3
        assert {(order.incident.incident_id, order.revision) for order in listener.orders()} == {
            (listener.orders()[0].incident.incident_id, 1)
        }


def test_what_was_acknowledged_before_a_kill_is_in_the_log_and_the_rest_comes_again(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    with running(config) as stream:
        batches = [device.fires(5) for _ in range(400)]
        for batch in batches:
            device.send(batch)
        wait_until(lambda: len(listener.acked("cam-01")) > 100)
        stream.kill()
        acked = listener.acked("cam-01")
        assert len(acked) < device.seq, "nothing was unacknowledged when it was killed"
        assert acked <= set(_stored(stream))
        incidents = {order.incident.incident_id for order in listener.orders()}
        stream.start()
        for batch in batches:
            if any(seen.seq not in acked for seen in batch):
                device.send(batch)
        everything = set(range(1, device.seq + 1))
        stream.wait(lambda: listener.acked("cam-01") == everything, 30.0)
        stream.wait(lambda: stream.counters()["decisions"] >= len(everything), 30.0)
        rows = Counter(seq for *_, seq in stream.history())
        assert rows == Counter(everything)
        incidents |= {order.incident.incident_id for order in listener.orders()}
        assert len(incidents) == 1
        assert stream.stop() == 0
        assert replay(config.state / "log.db").is_same


def test_a_restart_goes_on_with_the_same_incident_and_the_same_counters(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    with running(config) as stream:
        device.send(device.fires(3))
        stream.wait(lambda: bool(listener.orders()))
        listener.store(*listener.orders())
        stream.wait(lambda: stream.counters()["decisions"] == 3)
        assert stream.stop() == 0
        stream.start()
        assert stream.counters()["observations"] == 3
        other = TestDevice(listener, "smoke-01")  # another device of the same zone: that is an alarm
        other.send([other.observe(reading(1.0))])
        device.send(device.fires(3))
        stream.wait(lambda: any(order.incident.stage is Stage.ALARM for order in listener.orders()))
        assert len({order.incident.incident_id for order in listener.orders()}) == 1
        revisions = [order.revision for order in listener.orders()]
        assert revisions == sorted(set(revisions))  # the stored one did not come again


def test_an_order_is_sent_again_until_alerts_has_stored_it(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    with running(config) as stream:
        device.send(device.fires(3))
        stream.wait(lambda: len(listener.orders()) >= 3)
        assert {(order.seq, order.revision) for order in listener.orders()} == {(1, 1)}
        stream.kill()
        before = len(listener.orders())
        stream.start()
        stream.wait(lambda: len(listener.orders()) > before)
        listener.store(listener.orders()[0])
        listener.decide(listener.orders()[0], DecisionKind.CLOSE, 1)
        stream.wait(lambda: listener.orders()[-1].incident.stage is Stage.RESTORED)
        closed = listener.orders()[-1]
        assert (closed.seq, closed.revision) == (2, 2)  # the first one was let go
        listener.store(closed)
        assert listener.acked(topics.ALERTS, "decisions") == {1}


def test_a_decision_that_comes_twice_counts_once(config: Config, listener: Listener, device: TestDevice) -> None:
    with running(config) as stream:
        device.send(device.fires(3))
        stream.wait(lambda: bool(listener.orders()))
        opened = listener.orders()[0]
        for _ in range(2):
            listener.decide(opened, DecisionKind.REMATCH, 1)
        listener.decide(opened, DecisionKind.REMATCH, 2)
        stream.wait(lambda: max(order.revision for order in listener.orders()) >= 3)
        stream.wait(lambda: listener.acked(topics.ALERTS, "decisions") == {1, 2})
        assert {order.revision for order in listener.orders()} == {1, 2, 3}


def test_a_report_that_comes_twice_confirms_once_what_a_camera_alone_has_seen(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    with running(config) as stream:
        device.send(device.fires(3, confidence=0.4))
        stream.wait(lambda: bool(listener.orders()))
        seen = listener.orders()[0].incident
        alerts = TestDevice(listener, topics.ALERTS)
        report = alerts.observe(Report(category="fire.manual", text="有人呼救"))
        report = replace(report, position=seen.position, reporter="p-0001")
        for _ in range(2):
            alerts.send([report])
        stream.wait(lambda: listener.acked(topics.ALERTS) == {1})
        stream.wait(lambda: listener.orders()[-1].incident.stage is Stage.ALARM)
        told = listener.orders()[-1]
        assert (told.incident.incident_id, told.incident.response) == (seen.incident_id, Response.GENERAL)
        assert (told.incident.reporters, "GENERAL" in told.reasons) == (("p-0001",), True)
        stream.wait(lambda: stream.counters()["duplicates"] == 1)


def test_what_cannot_be_taken_is_a_dead_letter_and_the_next_message_goes_through(
    config: Config, listener: Listener, device: TestDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(config) as stream:
        obs = topics.obs("sample", "cam-01")
        line = encode(device.batch(device.fires(1)))
        foreign = TestDevice(listener, "smoke-01")
        device.send_raw(secrets.token_bytes(1 << 20))
        device.send_raw(listener.keys.seal(obs, line.replace(b'"v":1', b'"v":9', 1), kid="cam-01"))
        device.send_raw(listener.keys.seal("gw/v1/sample/cam-02/obs", line, kid="cam-01"))
        device.send_raw(listener.keys.seal(obs, encode(foreign.batch(foreign.fires(1))), kid="cam-01"))
        device.send_raw(line)
        listener.send(topics.obs("sample", "cam-99"), device.batch(device.fires(1)), "cam-01")
        device.send(device.fires(1))
        stream.wait(lambda: stream.counters()["dead_letters"] == 6 and stream.counters()["decisions"] == 1)
        reasons = Counter(letter.reason.value for letter in _dead(stream))
        assert reasons == Counter(
            ["too_large", "unknown_version", "wrong_seal", "foreign_device", "no_seal", "unknown_device"]
        )
        large = next(letter for letter in _dead(stream) if letter.reason == "too_large")
        assert (large.size_bytes, large.source) == (1 << 20, obs)
        assert _command("dead", str(config.state / "log.db")) == 0
        listed = capsys.readouterr().out.splitlines()
        assert sorted(line.split()[1] for line in listed) == sorted(reasons)


def test_what_no_stage_can_read_is_set_aside_at_every_stage_and_holds_nothing_up(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    stages = ("obs", "incidents", "orders", "history")

    async def spoil() -> None:
        log = SqliteLog(config.state / "log.db")
        await log.append([NewRecord(stage, 0, b"what is this", 1) for stage in stages])
        await log.close()

    def committed() -> dict[str, int]:
        file = LogFile(config.state / "log.db")
        found = {place.topic: offset for place, offset in file.committed("stream").items() if place.number == 0}
        file.close()
        return found

    with running(config) as stream:
        asyncio.run(spoil())
        before = {stage: len(stream.records(stage)) for stage in stages}
        device.send(device.fires(3))
        stream.wait(lambda: bool(listener.orders()))
        listener.store(*listener.orders())
        stream.wait(lambda: stream.counters()["decisions"] == 3)
        # Nothing waits for an acknowledgement of what nobody could read.
        stream.wait(lambda: all(committed()[stage] >= before[stage] for stage in stages))
        sources = {letter.source for letter in _dead(stream)}
        assert {f"{stage}/0/{before[stage] - 1}" for stage in ("obs", "incidents", "orders")} <= sources
        assert stream.stop() == 0


def test_a_last_will_makes_one_incident_though_it_is_heard_again_after_every_restart(
    config: Config, listener: Listener
) -> None:
    with (Path(config.folder) / "thresholds.toml").open("a") as thresholds:
        thresholds.write("[supervision]\ngone_s = 0.2\n")
    with running(config) as stream:
        vanish(config, "cam-01")
        stream.wait(lambda: bool(listener.orders()))
        (order,) = {order.incident.incident_id: order.incident for order in listener.orders()}.values()
        assert (order.family, order.sources) == ("device", ("cam-01",))
        assert stream.stop() == 0
        stream.start()
        stream.wait(lambda: _connections(stream) == 2)
        assert {one.incident.incident_id for one in listener.orders()} == {order.incident_id}
        assert stream.counters()["orders"] == 1


def _connections(stream: StreamProcess) -> int:
    """How many records stand in `obs` that say something of a connection."""
    records = [record for partition in range(4) for record in stream.records("obs", partition)]
    return sum(isinstance(decode_obs(record.value or b""), ConnectionRecord) for record in records)


def test_the_two_lanes_of_an_outbox_are_counted_and_acknowledged_apart(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    with running(config) as stream:
        alarms = device.fires(2)
        device.seq = 0
        readings = [device.observe(reading(0.1), lane=Lane.TELEMETRY) for _ in range(3)]
        device.send([*alarms, *readings])
        device.send(readings)
        stream.wait(lambda: listener.acked("cam-01") == {1, 2})
        stream.wait(lambda: listener.acked("cam-01", "telemetry") == {1, 2, 3})
        stream.wait(lambda: stream.counters()["decisions"] == 5)
        assert [(lane, seq) for *_, lane, seq in stream.history()] == [
            *(("alarm", seq) for seq in (1, 2)),
            *(("telemetry", seq) for seq in (1, 2, 3)),
        ]
        assert stream.counters()["duplicates"] == 3


def test_a_retired_outbox_is_refused_for_ever_and_told_so_and_the_devices_new_one_is_heard(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    with running(config) as stream:
        device.send(device.fires(1))
        stream.wait(lambda: listener.acked("cam-01") == {1})
        assert _command("retire", "outbox-cam-01", "--config", config.folder) == 0

        def is_told() -> bool:
            device.send(device.fires(1))
            wait_until(lambda: len(listener.acks("cam-01")) >= device.seq)
            return listener.acks("cam-01")[-1].retired

        stream.wait(is_told)
        stream.stop()
        stream.start()
        taken = len(listener.acked("cam-01"))
        assert is_told()
        assert len(listener.acked("cam-01")) == taken
        assert {letter.reason for letter in _dead(stream)} == {"retired_outbox"}
        device.outbox_id, device.seq = "outbox-new", 0
        device.send(device.fires(1))
        stream.wait(lambda: listener.acks("cam-01")[-1].outbox_id == "outbox-new")
        assert not listener.acks("cam-01")[-1].retired


def test_a_clock_an_hour_off_does_not_make_a_fire_an_hour_old(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    with running(config) as stream:
        hour_ms = 3_600_000
        seen = [device.observe(reading(1.0), age_ms=2_000, clock_off_ms=-hour_ms, lane=Lane.TELEMETRY)]
        device.send(seen, clock_off_ms=-hour_ms)
        stream.wait(lambda: stream.counters()["decisions"] == 1)
        ((event_ms, received_ms, skew_ms, source),) = stream.history("event_ms, received_ms, skew_ms, time_source")
        assert 2_000 <= received_ms - event_ms < 10_000
        assert -hour_ms - 5_000 < skew_ms <= -hour_ms + 5_000
        assert source == "mono"


def test_a_changed_threshold_is_in_force_from_the_next_start_and_only_then_stands_in_the_log(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    def changes(stream: StreamProcess) -> list[str]:
        records = [decode_incidents(record.value or b"") for record in stream.records("incidents")]
        return [record.what for record in records if isinstance(record, ControlRecord)]

    with running(config) as stream:
        assert sorted(changes(stream)) == ["catalogue", "people", "places", "settings", "thresholds"]
        assert stream.stop() == 0
        stream.start()
        assert len(changes(stream)) == 5
        assert stream.stop() == 0
        path = Path(config.folder) / "thresholds.toml"
        path.write_text(path.read_text().replace("hint = 0.3", "hint = 0.5"))
        stream.start()
        assert changes(stream)[5:] == ["thresholds"]
        device.send([device.observe(item.payload) for item in TestDevice(listener).fires(3, confidence=0.45)])
        stream.wait(lambda: stream.counters()["decisions"] == 3)
        assert {outcome for *_, outcome in stream.history("seq, outbox_id, lane, outcome")} == {"below"}


def test_a_replay_of_the_recorded_log_decides_the_same(
    config: Config, listener: Listener, device: TestDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(config) as stream:
        device.send(device.fires(3))
        other = TestDevice(listener, "cam-02")  # another street
        other.send(other.fires(4))
        stream.wait(lambda: len({order.incident.incident_id for order in listener.orders()}) == 2)
        # The two streets are two partitions: which of them comes first is nobody's promise.
        first = next(order for order in listener.orders() if order.incident.sources == ("cam-01",))
        listener.decide(first, DecisionKind.CLOSE, 1)
        stream.wait(lambda: any(order.incident.stage is Stage.RESTORED for order in listener.orders()))
        device.send(device.fires(4))
        stream.wait(lambda: len({order.incident.incident_id for order in listener.orders()}) == 3)
        assert stream.stop() == 0
    found = replay(config.state / "log.db")
    assert found.is_same
    assert set(found.incidents) == {order.incident.incident_id for order in listener.orders()}
    assert len(found.orders) == len(stream.records("orders"))
    assert _command("replay", str(config.state / "log.db"), "--json") == 0
    assert msgspec.json.decode(capsys.readouterr().out)["same"] is True


def test_a_replay_says_what_came_out_differently(config: Config, listener: Listener, device: TestDevice) -> None:
    with running(config) as stream:
        device.send(device.fires(3))
        stream.wait(lambda: bool(listener.orders()))
        assert stream.stop() == 0
    path = config.state / "log.db"
    _tamper(path)
    found = replay(path)
    assert not found.is_same
    assert found.orders_differ == ((listener.orders()[0].incident.incident_id, 1),)
    assert _command("replay", str(path)) == 1


def test_a_replay_tells_what_was_not_stored_yet_from_what_was_lost(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    path = config.state / "log.db"
    with running(config) as stream:
        device.send(device.fires(3))
        stream.wait(lambda: bool(listener.orders()))
        assert stream.stop() == 0
    _delete(path, "orders")
    lost = replay(path)
    assert (lost.orders_differ, lost.unstored) == (((listener.orders()[0].incident.incident_id, 1),), 0)
    _delete(path, changelog("desk"))  # as it is if the stream ends between deciding and storing
    ahead = replay(path)
    assert (ahead.is_same, ahead.unstored) == (True, 1)
    assert "1 of these not recorded yet" in report(ahead, as_json=False)


def _delete(path: Path, topic: str) -> None:
    """Take all that stands under a topic out of a log."""
    file = LogFile(path)
    (part,) = file.topic(topic).ids
    file._connection.execute("DELETE FROM record WHERE id >> 40 = ?", (part,))
    file.close()


def _tamper(path: Path) -> None:
    """Change the lead post in the recorded order."""
    file = LogFile(path)
    (record,) = file.read(Partition("orders", 0), 0, max_records=10, max_bytes=1 << 20)
    order = msgspec.json.decode(record.value or b"")
    order["order"]["lead_post"] = "somebody-else"
    changed = (msgspec.json.encode(order), record.value)
    file._connection.execute("UPDATE record SET value = ? WHERE value = ?", changed)
    file.close()


def test_on_a_full_disk_nothing_is_acknowledged_that_is_not_stored_and_nothing_is_lost(
    config: Config, listener: Listener, device: TestDevice
) -> None:
    path = config.state / "log.db"
    limited = replace(config.stream, broker=f"sqlite://{path}?limit_bytes=3000000")
    batches = [device.fires(20, apart_ms=1) for _ in range(300)]
    everything = set(range(1, device.seq + 1))
    (Path(config.folder) / FILE).write_bytes(to_toml(replace(config, stream=limited)))
    with running(config) as stream:
        for batch in batches:
            device.send(batch)
        stream.wait(lambda: "nothing can be stored" in stream.log_file.read_text())
        stream.stop()
        acked = listener.acked("cam-01")
        assert 0 < len(acked) < len(everything)
        assert acked <= set(_stored(stream))
        assert stream.log_file.read_text().count("nothing can be stored") == 1
        (Path(config.folder) / FILE).write_bytes(to_toml(config))
        stream.start()
        for batch in batches:
            device.send(batch)
        stream.wait(lambda: listener.acked("cam-01") == everything, 30.0)
        stream.wait(lambda: stream.counters()["decisions"] >= len(everything), 30.0)
        assert Counter(seq for *_, seq in stream.history()) == Counter(everything)


def test_a_second_stream_on_the_same_log_ends_with_a_clear_error(config: Config) -> None:
    with running(config) as stream:
        other = StreamProcess(config)
        other.spawn()
        assert other.process is not None
        assert other.process.wait(30.0) == 1
        assert "another process" in stream.log_file.read_text()
        assert stream.stop() == 0
