"""What is known of a zone or device goes with it, once, whatever comes between any two steps."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from models.content import Content
from models.messages import Fault, Heartbeat, Stage
from models.places import DeviceKind, Places, Zone
from stream.control import OBS, Contents, Settings, What
from stream.ingest.registry import Homes, homes_of, partition_of
from stream.log.engine import CONTROL_TOPIC
from stream.migrate import Move, moves
from stream.records import (
    Connection,
    ConnectionRecord,
    ControlRecord,
    HeartbeatRecord,
    HistoryItem,
    Home,
    MoveRecord,
    ObservationRecord,
    ObsLog,
    ParcelRecord,
    SignalKind,
    SignalRecord,
    TickRecord,
    VerdictRecord,
    decode_obs,
    encode,
    history_items,
    signals_of,
)
from stream.zones.machine import ZoneMachine, meta_key
from stream.zones.migration import arrived_key
from stream.zones.row import ZoneRow
from tests.stream import builders as b
from tests.stream.builders import T0

PARTITIONS = 3
PLACES = b.places(
    zones=(Zone(id="z1", cell="c1", street="s1", **b.NAMES), Zone(id="z2", cell="c2", street="s2", **b.NAMES)),
    devices=(
        b.device("cam-1", DeviceKind.CAMERA),
        b.device("smoke-1", DeviceKind.SMOKE),
        b.device("cam-2", DeviceKind.CAMERA, "z2", b.at(150, 50)),
    ),
)
CONTENTS: dict[What, Content] = {
    "places": PLACES,
    "catalogue": b.CATALOGUE,
    "thresholds": b.thresholds(),
    "settings": Settings(tenant="demo", late_alarm_s=1800.0),
}
STORED = {content.version: content.to_bytes() for content in CONTENTS.values()}
decode_row = msgspec.msgpack.Decoder(ZoneRow).decode


def home(**given: Any) -> Homes:
    """Where things are: z1 in partition 0 and z2 in 1, unless said otherwise."""
    zone_of_device = {"cam-1": "z1", "smoke-1": "z1", "cam-2": "z2"}
    partition_of_zone = {"z1": 0, "z2": 1}
    for name, where in given.items():
        (partition_of_zone if name in partition_of_zone else zone_of_device)[name.replace("_", "-")] = where
    return Homes(zone_of_device, partition_of_zone)


class Worker:
    """One partition of `obs` and who applies it; what is not written is forgotten in a crash."""

    def __init__(self, town: Town, partition: int) -> None:
        self.town, self.partition = town, partition
        self.log: list[tuple[bytes, int]] = []
        self.rows: dict[str, bytes] = {}
        self.committed = 0
        self.crash()

    def crash(self) -> None:
        self.machine = ZoneMachine(lambda _partition: dict(self.rows), Contents(STORED.get))
        self.at = self.committed

    def step(self) -> bool:
        """Apply one record; return whether there was one."""
        if self.at >= len(self.log):
            return False
        value, at_ms = self.log[self.at]
        for output in self.machine.apply(self.partition, self.at, value, now_ms=at_ms):
            self.town.take(output.topic, output.partition, output.value or b"", output.key, at_ms)
        self.at += 1
        return True

    def flush(self) -> None:
        self.rows |= {row.key: row.value for row in self.machine.changed() if row.value is not None}
        self.committed = self.at

    def zone(self, zone: str) -> ZoneRow | None:
        self.flush()
        return decode_row(self.rows[zone]) if zone in self.rows else None


class Town:
    """Three partitions, an ingest, and a reloader that may be ended between any two steps."""

    def __init__(self) -> None:
        self.seen = b.Seen()
        self.now_ms = T0
        self.control: set[str] = set()
        self.signals: list[SignalRecord] = []
        self.history: list[HistoryItem] = []
        self.workers = [Worker(self, partition) for partition in range(PARTITIONS)]
        self.held = home()
        self.begun: list[Homes] = []
        self.former = [self.held]
        self.left: list[list[Move]] | None = None
        self.waited: list[str] = []
        self.count = 0
        for partition in range(PARTITIONS):
            for what in OBS:
                self.put(partition, ControlRecord(at_ms=T0, what=what, version=CONTENTS[what].version))

    def put(self, partition: int, record: ObsLog) -> None:
        self.workers[partition].log.append((encode(record), self.now_ms))

    def take(self, topic: str, partition: int, value: bytes, key: bytes | None, at_ms: int) -> None:
        if topic == "obs":
            self.workers[partition].log.append((value, at_ms))
        elif topic == CONTROL_TOPIC:
            self.control.add(msgspec.json.decode(key or b""))
        elif topic == "incidents":
            self.signals += signals_of(value)
        elif topic == "history":
            self.history += history_items(value)

    def see(self, device: str, *, seq: int | None = None, by: Homes | None = None, confidence: float = 0.6) -> None:
        """Have an ingest take in what a device sees: one that goes by what is in force, or by what was."""
        self.now_ms += 100
        homes = by or self.held
        zone = homes.zone_of_device[device]
        located = self.seen(device, b.detection(confidence), self.now_ms, zone=zone, seq=seq)
        self.put(homes.partition_of_zone[zone], b.batch(located))

    # --- the reloader ---

    def reload(self, wanted: Homes) -> None:
        """Begin to move everything to where `wanted` has it."""
        self.left = [*moves(self.held, self.begun, wanted)]
        self.begun.append(wanted)
        self.waited = []
        self.go_on()

    def go_on(self) -> None:
        """Take the next step of the reload, if it can be taken."""
        while self.left is not None and self.control >= set(self.waited):
            if not self.left:
                self.held, self.begun, self.left = self.begun[-1], [], None
                self.former.append(self.held)
                return
            self.count += 1
            those = self.left.pop(0)
            self.waited = [arrived_key(str(self.count), one.to.zone, one.device) for one in those]
            for one in those:
                record = MoveRecord(
                    at_ms=self.now_ms, move=str(self.count), zone=one.at.zone, to=one.to, device=one.device
                )
                self.put(one.at.partition, record)

    def drain(self) -> None:
        """Let everything that is under way arrive."""
        while sum(worker.step() for worker in self.workers):
            pass
        self.go_on()

    def settle(self) -> None:
        """Drain until the reload that is going on is over."""
        self.drain()
        while self.left is not None:
            self.drain()

    # --- what came of it ---

    def row(self, zone: str, partition: int) -> ZoneRow:
        row = self.workers[partition].zone(zone)
        assert row is not None
        return row

    def holders(self, device: str) -> list[Home]:
        """The rows that know what came of a device."""
        return [
            Home(zone, worker.partition)
            for worker in self.workers
            for zone in ("z1", "z2")
            if (row := worker.zone(zone)) and any(key.startswith(f"{device}|") for key in row.seen)
        ]

    def decided(self) -> Counter[tuple[str, int]]:
        """How often each observation was decided, at different places."""
        origins = {item.origin: item.located.observation for item in self.history}
        return Counter((one.device_id, one.seq) for one in origins.values())

    def kinds(self) -> list[SignalKind]:
        return [signal.kind for signal in self.signals]


@pytest.fixture
def town() -> Town:
    return Town()


def test_a_zone_that_moves_in_alarm_stays_the_same_incident(town: Town) -> None:
    for _ in range(3):
        town.see("cam-1")
    town.drain()
    (raised,) = town.signals
    town.reload(home(z1=2))
    for _ in range(2):
        town.see("cam-1", confidence=0.9)
    town.settle()
    assert town.held.partition_of_zone["z1"] == 2
    for n in range(200):
        town.see("cam-1", confidence=0.9, seq=6 + n)
        town.now_ms += 900
    town.settle()
    assert {signal.signal_id for signal in town.signals} == {raised.signal_id}
    assert [kind for kind in town.kinds() if kind is not SignalKind.EVIDENCE][:2] == ["raised", "escalated"]
    assert town.signals[-1].origin.partition == 2
    assert town.row("z1", 2).machines["fire"].signal is not None
    left = town.row("z1", 0)
    assert (left.machines, left.seen, left.moved[""].to) == ({}, {}, Home("z1", 2))


def test_until_the_new_places_are_in_force_everything_goes_by_the_old_partition_and_is_passed_on(town: Town) -> None:
    town.reload(home(z1=2))
    town.see("cam-1")
    town.see("cam-1")
    while town.workers[0].step():
        pass
    passed = [type(decode_obs(value)) for value, _ in town.workers[2].log[len(OBS) :]]
    assert passed == [ParcelRecord, ObservationRecord, ObservationRecord]
    assert town.held.partition_of_zone["z1"] == 0  # the parcel is stored, but nobody has taken it in
    town.settle()
    assert town.held.partition_of_zone["z1"] == 2
    counted = sum(worker.machine.counted().observations for worker in town.workers)
    assert (counted, sum(worker.machine.counted().duplicates for worker in town.workers)) == (2, 0)


def test_what_is_sent_again_after_the_move_counts_no_second_time(town: Town) -> None:
    old = town.held
    for _ in range(3):
        town.see("cam-1")
    town.reload(home(z1=2))
    town.settle()
    for by in (town.held, old):
        for seq in (1, 2, 3):
            town.see("cam-1", seq=seq, by=by)
    town.settle()
    assert town.decided() == Counter({("cam-1", 1): 1, ("cam-1", 2): 1, ("cam-1", 3): 1})
    assert town.kinds() == ["raised"]


def test_a_verdict_finds_the_zone_and_one_that_had_not_heard_of_the_alarm_does_not_end_it(town: Town) -> None:
    for _ in range(3):
        town.see("cam-1")
    town.drain()
    (raised,) = town.signals
    town.reload(home(z1=2))
    town.settle()
    town.see("smoke-1", confidence=0.9)
    for _ in range(3):
        town.see("cam-1", confidence=0.9)
    town.see("smoke-1", confidence=0.9)
    town.see("smoke-1", confidence=0.9)
    town.drain()
    alarm = next(signal for signal in town.signals if signal.stage is Stage.ALARM)
    assert (alarm.origin.partition, alarm.moves) == (2, 1)

    def close(seen: SignalRecord) -> None:
        place = (seen.origin.offset, seen.origin.n)
        verdict = VerdictRecord(
            at_ms=town.now_ms,
            zone="z1",
            signal_id=raised.signal_id,
            verdict="close",
            origin=(0, 0),
            seen=place,
            moves=seen.moves,
        )
        town.put(0, verdict)  # where it was raised
        town.drain()

    # By its number alone, the place of the first word comes after that of the alarm in the other partition.
    close(msgspec.structs.replace(raised, origin=msgspec.structs.replace(raised.origin, offset=1 << 40)))
    assert town.signals[-1].reasons[-1] == "AFTER_CLOSE"
    again = town.row("z1", 2).machines["fire"].signal
    assert again
    town.put(
        0,
        VerdictRecord(
            at_ms=town.now_ms,
            zone="z1",
            signal_id=again.signal_id,
            verdict="close",
            origin=(1, 0),
            seen=(0, 0),
            moves=9,
        ),
    )
    town.drain()
    assert town.row("z1", 2).machines["fire"].signal is None


def test_a_device_takes_its_own_along_and_leaves_what_it_saw(town: Town) -> None:
    for _ in range(3):
        town.see("cam-1")
    town.see("cam-2")
    for value in (0.9, 0.9, 0.9):
        zone = town.held.zone_of_device["smoke-1"]
        town.now_ms += 5_000
        town.put(0, b.batch(town.seen("smoke-1", b.reading(value), town.now_ms, zone=zone)))
    town.put(0, b.batch(town.seen("cam-1", Fault(fault="tamper"), town.now_ms)))
    town.drain()
    assert town.row("z1", 0).machines["device"].signal
    assert any(machine.is_standing for machine in town.row("z1", 0).machines.values())
    town.reload(home(cam_1="z2", smoke_1="z2"))
    town.settle()
    old, new = town.row("z1", 0), town.row("z2", 1)
    assert sorted(new.seen) == ["cam-1|box|alarm", "cam-2|box|alarm", "smoke-1|box|alarm"]
    assert (old.seen, old.faults, new.faults) == ({}, {}, {"cam-1": "tamper"})
    assert not any(machine.is_standing for machine in old.machines.values())
    assert old.machines["fire"].signal  # the fire is where it was seen
    assert old.machines["device"].signal is None
    assert new.machines["device"].signal
    town.see("cam-1", seq=2)
    town.see("cam-1", by=town.former[0])
    town.drain()
    assert town.decided()["cam-1", 2] == 1
    assert town.row("z2", 1).seen["cam-1|box|alarm"].floor == 5


def test_a_device_with_a_wrong_clock_that_goes_away_leaves_no_word_of_it(town: Town) -> None:
    for _ in range(3):
        town.now_ms += 150_000
        located = town.seen("cam-1", b.detection(0.1), town.now_ms)
        town.put(0, b.batch(replace(located, skew_ms=3_600_000)))
    town.drain()
    assert [(one.kind, one.family) for one in town.signals] == [("raised", "clock")]
    town.reload(home(cam_1="z2"))
    town.settle()
    assert [(one.kind, one.reasons) for one in town.signals[1:]] == [("cleared", ("CLOCKS_RIGHT",))]
    assert (town.row("z1", 0).clocks, town.row("z2", 1).clocks) == ({}, {})


def test_heartbeats_follow_and_ticks_do_not(town: Town) -> None:
    town.reload(home(z1=2, cam_2="z1"))
    town.settle()
    beats = tuple(
        Heartbeat(
            v=1,
            device_id=name,
            at_ms=T0,
            frame_age_ms=None,
            fps=20.0,
            inference_p50_ms=None,
            inference_p99_ms=None,
            outbox_depth=0,
        )
        for name in ("cam-1", "cam-2")
    )
    town.put(0, HeartbeatRecord(at_ms=town.now_ms, heartbeats=beats[:1], zones=("z1",)))
    town.put(0, TickRecord(at_ms=town.now_ms, zones=("z1",)))
    town.put(1, HeartbeatRecord(at_ms=town.now_ms, heartbeats=beats[1:], zones=("z2",)))
    town.drain()
    assert town.row("z1", 2).missed_from.keys() == {"cam-1", "cam-2"}
    assert town.row("z2", 1).missed_from == {}, "it is not here any more, so it is not missed here"


def test_what_is_said_of_a_connection_follows_the_devices_that_are_heard_over_it(town: Town) -> None:
    gone = [Connection(device, zone, "pi-1", "c1", False) for device, zone in (("cam-1", "z1"), ("cam-2", "z2"))]
    town.put(1, ConnectionRecord(at_ms=town.now_ms, connections=(replace(gone[1], connect_id="c0"),)))
    town.reload(home(z1=2, cam_2="z1"))
    town.settle()
    assert town.row("z1", 2).connections.keys() == {"cam-2"}, "what was known of it has gone along"
    town.put(0, ConnectionRecord(at_ms=town.now_ms, connections=(gone[0], replace(gone[1], zone="elsewhere"))))
    town.put(1, ConnectionRecord(at_ms=town.now_ms, connections=(gone[1],)))
    town.drain()
    assert {key: held.connect_id for key, held in town.row("z1", 2).connections.items()} == {
        "cam-1": "c1",
        "cam-2": "c1",
    }
    assert town.row("z2", 1).connections == {}


def test_a_move_is_asked_for_where_things_are_and_devices_go_first() -> None:
    held = home()
    assert moves(held, [], held) == ([], [])
    devices, zones = moves(held, [], home(z1=2, cam_2="z1"))
    assert devices == [Move(Home("z2", 1), Home("z1", 0), "cam-2")]
    assert zones == [Move(Home("z1", 0), Home("z1", 2))]
    # Half-way to there, and back: what may have gone is fetched, from where it was last known to be.
    assert moves(held, [home(z1=2)], held) == ([], [Move(Home("z1", 0), Home("z1", 0))])
    assert moves(held, [home(cam_2="z1")], held) == ([Move(Home("z2", 1), Home("z2", 1), "cam-2")], [])


def test_places_say_where_everything_is_and_a_device_without_a_zone_is_one() -> None:
    found = homes_of(Places(zones=PLACES.zones, devices=(*PLACES.devices, b.device("gw", DeviceKind.GATEWAY, "z1"))), 4)
    assert found.zone_of_device["gw"] == "z1"
    assert found.partition_of_zone == {"z1": partition_of("s1", 4), "z2": partition_of("s2", 4)}
    alone = msgspec.structs.replace(b.device("gw", DeviceKind.GATEWAY), zone=None)
    assert homes_of(Places(devices=(alone,)), 4) == Homes({"gw": "gw"}, {"gw": partition_of("gw", 4)})


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("see"), st.sampled_from(["cam-1", "cam-2"]), st.integers(0, 4)),
        st.tuples(st.just("again"), st.sampled_from(["cam-1", "cam-2"]), st.integers(0, 4)),
        st.tuples(st.just("step"), st.integers(0, PARTITIONS - 1), st.integers(1, 6)),
        st.tuples(st.just("flush"), st.integers(0, PARTITIONS - 1), st.just(0)),
        st.tuples(st.just("crash"), st.integers(0, PARTITIONS - 1), st.just(0)),
        st.tuples(st.just("reload"), st.integers(0, PARTITIONS - 1), st.integers(0, PARTITIONS - 1)),
        st.tuples(st.just("device"), st.sampled_from(["cam-1", "cam-2"]), st.sampled_from(["z1", "z2"])),
        st.tuples(st.just("go on"), st.just(0), st.just(0)),
        st.tuples(st.just("end"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
@example([("see", "cam-1", 0), ("reload", 0, 0), ("end", 0, 0), ("device", "cam-1", "z2")])
def test_whatever_comes_between_nothing_is_lost_or_counted_twice(steps: list[tuple[Any, Any, Any]]) -> None:
    town = Town()
    wanted = town.held
    for what, one, other in steps:
        _do(town, what, one, other)
        if town.begun:
            wanted = town.begun[-1]
    town.reload(wanted)  # whoever comes back finishes it
    town.settle()
    town.settle()
    for device, last in town.seen._seqs.items():
        assert {seq: town.decided()[device, seq] for seq in range(1, last + 1)} == dict.fromkeys(range(1, last + 1), 1)
        zone = town.held.zone_of_device[device]
        assert town.holders(device) == [Home(zone, town.held.partition_of_zone[zone])]
    if not any(what == "device" for what, *_ in steps):
        words = {signal.origin: signal for signal in town.signals}
        raised = Counter(one.signal_id for one in words.values() if one.kind is SignalKind.RAISED)
        assert set(raised.values()) <= {1}
        assert len(raised) == sum(last >= 3 for last in town.seen._seqs.values())
    again = _replayed(town)
    assert {signal.origin: signal for signal in town.signals} == {signal.origin: signal for signal in again.signals}
    assert {item.origin: item for item in town.history} == {item.origin: item for item in again.history}


def _do(town: Town, what: str, one: Any, other: Any) -> None:
    worker = town.workers[one] if isinstance(one, int) else town.workers[0]
    match what:
        case "see":
            town.see(one, by=town.former[-1 - other % len(town.former)])
        case "again":
            if last := town.seen._seqs.get(one):
                town.see(one, seq=1 + other % last, by=town.former[-1 - other % len(town.former)])
        case "step":
            for _ in range(other):
                worker.step()
        case "flush":
            worker.flush()
        case "crash":
            worker.crash()
        case "reload" if town.left is None:
            town.reload(Homes(town.held.zone_of_device, {"z1": one, "z2": other}))
        case "device" if town.left is None:
            town.reload(Homes({**town.held.zone_of_device, one: other}, town.held.partition_of_zone))
        case "go on":
            town.go_on()
        case "end":
            town.left = None


def _replayed(town: Town) -> Town:
    """What comes of the same logs when each partition is decided again by itself, from its first record on."""
    again = Town()
    for worker, recorded in zip(again.workers, town.workers, strict=True):
        for offset, (value, at_ms) in enumerate(recorded.log):
            for output in worker.machine.apply(worker.partition, offset, value, now_ms=at_ms):
                if output.topic in ("incidents", "history"):
                    again.take(output.topic, output.partition, output.value or b"", output.key, at_ms)
    return again


def test_what_a_partition_knows_of_itself_is_not_taken_for_a_zone(town: Town) -> None:
    town.reload(home(z1=2))
    town.settle()
    town.workers[0].flush()
    assert set(town.workers[0].rows) == {"z1", meta_key(0)}
    assert isinstance(decode_obs(town.workers[2].log[len(OBS)][0]), ParcelRecord)
