from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edge.keeper import Keeper
from edge.moment import Moment
from edge.outbox import Draft, Entry, Outbox
from edge.sender import BATCH_BYTES, LATE_MS, Sender, batches
from models import topics
from models.config import Mqtt
from models.link import Link
from models.messages import (
    MAX_BATCH,
    MAX_PAYLOAD_BYTES,
    VERSION,
    Ack,
    Dropped,
    Evidence,
    Fault,
    Lane,
    ObservationBatch,
    Quality,
    Reading,
    decode,
    encode,
)
from models.seal import Keyring, seal
from tests.conftest import wait_until
from tests.edge.conftest import Stream, serving
from tests.edge.test_outbox import picture

T0 = Moment(1_800_000_000_000, 100_000)


class Wire:
    """Where a sender publishes to, when time is an argument: what was said, in order."""

    def __init__(self) -> None:
        self.connected = True
        self.said: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        assert (qos, retain) == (1, False)
        assert len(payload) <= MAX_PAYLOAD_BYTES or "/evidence/" in topic
        if self.connected:
            self.said.append((topic, payload))
        return self.connected

    def take(self) -> list[ObservationBatch]:
        """The batches said since the last call."""
        said, self.said = self.said, []
        return [decode(payload.split(b"\n")[0], ObservationBatch) for topic, payload in said if topic.endswith("/obs")]


def alarm(device: str = "cam-01", at: Moment = T0, detail: str = "") -> Draft:
    return Draft(device, Lane.ALARM, at, Fault(fault="dark", detail=detail))


def telemetry(device: str = "cam-01", at: Moment = T0) -> Draft:
    return Draft(device, Lane.TELEMETRY, at, Reading(property="temperature", value=1.0, unit="Cel"))


class Hop:
    """An outbox, a sender and a wire."""

    def __init__(self, path: Path, keys: Keyring, boot_id: str = "boot-1") -> None:
        self.keys = keys
        self.wire = Wire()
        self.outbox = Outbox(path, machine="m", boot_id=boot_id, max_bytes=64 << 20)
        self.sender = Sender(self.outbox, self.wire, keys, tenant="t", jitter=lambda: 0.0)

    def put(self, *drafts: Draft, now: Moment = T0) -> None:
        self.outbox.append([Entry(drafts)], now_ms=now.wall_ms)

    def pump(self, now: Moment = T0) -> list[ObservationBatch]:
        self.sender.pump(now)
        return self.wire.take()

    def ack(self, ack: Ack, *, device: str = "cam-01", kid: str = "stream", now: Moment = T0) -> None:
        topic = topics.ack("t", device)
        self.sender.take_ack(topic, self.keys.seal(topic, encode(ack), kid=kid), now)

    def stored(self, *ranges: tuple[int, int], lane: Lane = Lane.ALARM) -> Ack:
        return Ack(v=VERSION, receiver="stream", outbox_id=self.outbox.outbox_id, lane=lane, stored=ranges)


@pytest.fixture
def hop(tmp_path: Path, keys: Keyring) -> Iterator[Hop]:
    made = Hop(tmp_path / "o.sqlite", keys)
    yield made
    made.outbox.close()


def seqs(found: list[ObservationBatch]) -> list[int]:
    return [observation.seq for batch in found for observation in batch.observations]


def test_one_is_sent_at_once_and_again_with_growing_patience_until_it_is_acknowledged(hop: Hop) -> None:
    hop.put(alarm())
    sent_at = [0, 2_000, 6_000, 14_000, 30_000, 60_000, 90_000]
    heard = [ms for ms in range(0, 100_000, 500) if hop.pump(T0.plus(ms))]
    assert heard == sent_at
    hop.ack(hop.stored((1, 1)), now=T0.plus(100_000))
    assert hop.outbox.depth() == 0
    assert hop.pump(T0.plus(200_000)) == []
    assert hop.sender.next_due_ms() is None


def test_an_ack_deletes_exactly_what_it_names(hop: Hop) -> None:
    hop.put(*[alarm()] * 5, telemetry(), alarm("cam-02"))
    hop.pump()
    hop.ack(hop.stored((2, 2), (4, 9)))
    assert hop.outbox.depth() == 4
    again = hop.pump(T0.plus(2_000))
    assert sorted((o.device_id, o.lane, o.seq) for b in again for o in b.observations) == [
        ("cam-01", "alarm", 1),
        ("cam-01", "alarm", 3),
        ("cam-01", "telemetry", 1),
        ("cam-02", "alarm", 1),
    ]


def test_what_is_no_sealed_ack_of_this_outbox_is_ignored(hop: Hop, caplog: pytest.LogCaptureFixture) -> None:
    hop.put(alarm())
    good = hop.stored((1, 1))
    topic = topics.ack("t", "cam-01")
    hop.ack(good, kid="cam-02")  # who may not acknowledge
    hop.ack(good, kid="alerts")  # who is not who he says
    hop.ack(good, device="cam-02")  # another device's rows
    hop.ack(Ack(v=VERSION, receiver="stream", outbox_id="ob-other", lane="alarm", stored=((1, 1),)))
    hop.sender.take_ack(topic, encode(good), T0)
    hop.sender.take_ack(topic, seal(topic, encode(good), kid="stream", key=bytes(32)), T0)
    hop.sender.take_ack(topic, b"\xff\n\xff", T0)
    assert hop.outbox.depth() == 1
    assert caplog.text.count("ignored an acknowledgement") == 5


def test_after_a_reconnect_everything_in_flight_is_sent_at_once(hop: Hop) -> None:
    hop.put(alarm(), alarm())
    hop.pump()
    hop.wire.connected = False
    hop.put(alarm())
    assert hop.pump(T0.plus(100)) == []
    hop.wire.connected = True
    hop.sender.reconnected(T0.plus(200))
    assert seqs(hop.pump(T0.plus(200))) == [1, 2, 3]


def test_a_receiver_that_is_back_gets_all_that_waited_for_its_back_off(hop: Hop) -> None:
    hop.put(alarm())
    for ms in (0, 2_000, 6_000, 14_000):
        assert hop.pump(T0.plus(ms))
    later = T0.plus(20_000)
    hop.put(alarm(at=later), now=later)
    assert seqs(hop.pump(later)) == [2]
    hop.ack(hop.stored((2, 2)), now=later)
    assert seqs(hop.pump(later)) == [1]


def test_what_waited_for_half_a_minute_is_late_and_what_another_boot_left_too(tmp_path: Path, keys: Keyring) -> None:
    first = Hop(tmp_path / "o.sqlite", keys)
    first.put(alarm(), now=T0)
    first.outbox.close()
    hop = Hop(tmp_path / "o.sqlite", keys, boot_id="boot-2")
    now = Moment(T0.wall_ms + LATE_MS + 1, 500_000)
    hop.put(alarm(at=now), alarm(at=now.plus(-LATE_MS - 1)), now=now)
    found = {o.seq: o.quality for batch in hop.pump(now) for o in batch.observations}
    assert found == {1: Quality.LATE, 2: Quality.LIVE, 3: Quality.LATE}
    hop.outbox.close()


def test_a_wall_clock_set_back_makes_late_not_live(tmp_path: Path, keys: Keyring) -> None:
    Hop(tmp_path / "o.sqlite", keys).put(alarm(), now=T0)
    hop = Hop(tmp_path / "o.sqlite", keys, boot_id="boot-2")
    (batch,) = hop.pump(Moment(T0.wall_ms - 3_600_000, 100))
    assert batch.observations[0].quality is Quality.LATE


def test_new_alarms_go_before_a_backlog_that_nobody_answers(hop: Hop) -> None:
    hop.put(*[telemetry()] * 400, *[alarm()] * 300)
    assert len(seqs(hop.pump())) == 256
    hop.put(alarm(), now=T0.plus(100))
    assert seqs(hop.pump(T0.plus(100))) == [301]
    assert len(hop.sender._rows.flights) == 256  # one of the backlog has made room
    assert hop.pump(T0.plus(200)) == []


def test_the_window_is_bounded_and_moves_on_with_the_acks(hop: Hop) -> None:
    hop.put(*[telemetry()] * 700)
    heard: set[int] = set()
    for _ in range(3):
        found = seqs(hop.pump())
        assert len(found) <= 256
        heard.update(found)
        hop.ack(hop.stored((min(found), max(found)), lane=Lane.TELEMETRY))
    assert heard == set(range(1, 701))
    assert hop.outbox.depth() == 0


def test_batches_keep_their_bounds(hop: Hop) -> None:
    hop.put(*[alarm(detail="é" * 500)] * 150, *[telemetry()] * 50)
    found = hop.pump()
    assert len(found) > 2
    assert len(seqs(found)) == 200
    assert all(len(batch.observations) <= MAX_BATCH for batch in found)
    rows = hop.outbox.rows(hop.outbox.next_ids(1000, skip=()))
    assert all(sum(len(row.body.encode()) for row in batch) <= BATCH_BYTES for batch in batches(rows))


def test_a_row_of_another_version_is_given_up_and_does_not_stop_the_others(hop: Hop) -> None:
    hop.put(alarm(), alarm())
    hop.outbox._db.execute("""UPDATE outbox SET body = '{"v": 7}' WHERE seq = 1""")
    assert seqs(hop.pump()) == [2]
    (batch,) = hop.pump(T0.plus(100))
    assert batch.observations[0].payload == Dropped(lane=Lane.ALARM, ranges=((1, 1),))


def test_a_picture_is_sent_until_its_id_and_hash_come_back(hop: Hop) -> None:
    mine = replace(picture("a", 300_000), device_id="cam-01")
    hop.outbox.append([Entry((), (mine,))], now_ms=0)
    hop.sender.pump(T0)
    (topic, payload) = hop.wire.said[-1]
    assert topic == "gw/v1/t/cam-01/evidence/ev-a"
    _, line, attachment = hop.keys.open(topic, payload)
    assert attachment == mine.jpeg
    assert decode(line, Evidence).box == mine.box
    hop.ack(Ack(v=VERSION, receiver="alerts", evidence=(("ev-a", "b" * 64),)), kid="alerts")
    assert hop.outbox.pictures() == 1
    hop.ack(Ack(v=VERSION, receiver="alerts", evidence=(("ev-a", mine.sha256),)), kid="alerts")
    assert hop.outbox.pictures() == 0


def test_a_retired_outbox_is_silent_for_ever_and_says_so(
    hop: Hop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hop.put(alarm())
    hop.ack(Ack(v=VERSION, receiver="stream", outbox_id=hop.outbox.outbox_id, retired=True))
    assert hop.pump() == []
    assert "is retired" in caplog.text
    assert Hop(tmp_path / "o.sqlite", hop.keys, boot_id="boot-2").pump() == []


@contextmanager
def keeping(path: Path, settings: Mqtt, keys: Keyring) -> Iterator[Keeper]:
    """A keeper with a real link."""

    def message_came(topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        keeper.ack_came(topic, payload)
        ack()

    link = Link(
        settings,
        "edge",
        on_message=message_came,
        subscriptions=(topics.ack("t", "cam-01"), topics.ack("t", "smoke-01")),
        on_change=lambda is_up: keeper.connected() if is_up else None,
    )

    def open_outbox() -> Outbox:
        return Outbox(path, machine="m", boot_id="b", max_bytes=64 << 20)

    keeper = Keeper(open_outbox, link, keys, tenant="t", agent="edge-01")
    link.start()
    keeper.start()
    yield keeper
    keeper.stop()
    link.stop()


def test_over_the_real_broker_everything_arrives_and_the_outbox_is_drained(
    tmp_path: Path, mqtt_broker: Mqtt, keys: Keyring, stream: Stream
) -> None:
    with keeping(tmp_path / "o.sqlite", mqtt_broker, keys) as keeper:
        for _ in range(100):
            keeper.put(Entry((alarm(), telemetry("smoke-01"), telemetry("smoke-01"))))
        wait_until(lambda: keeper.is_drained)
    assert len(stream.by_device("cam-01")) == 100
    assert len(stream.by_device("smoke-01")) == 200


def test_without_acks_nothing_is_deleted_and_with_them_all_is(tmp_path: Path, mqtt_broker: Mqtt, keys: Keyring) -> None:
    with (
        serving(mqtt_broker, keys, acks=False) as stream,
        keeping(tmp_path / "o.sqlite", mqtt_broker, keys) as keeper,
    ):
        keeper.put(Entry((alarm(), alarm())))
        wait_until(lambda: len(stream.observations) >= 4)  # each was sent a second time
        assert keeper.backlog.depth == 2
        stream.acks = True
        wait_until(lambda: keeper.is_drained)
