"""What the process that takes the observations brings is what the stream would have made of the same messages."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator

import msgspec
import psutil
import pytest
from msgspec.structs import replace

from models import topics
from models.config import Mqtt
from models.link import Link
from models.messages import Ack, Lane, Position, decode
from models.messages import encode as encode_message
from stream.ingest.admission import Arrival, Gate, take
from stream.ingest.apart import NEWS_S, WINDOW, Apart, Taker
from stream.ingest.inbox import MESSAGES_PER_S, WAITING_BYTES, Inbox
from stream.ingest.relay import (
    DELIVERY_ITEMS,
    Admit,
    Begin,
    Delivery,
    Load,
    Stored,
    admit,
    decode_delivery,
    decode_told,
    gate_of,
)
from stream.ingest.service import Round
from stream.log.file import NewRecord
from stream.records import GatheredRecord, ObservationRecord, Said, encode
from tests.conftest import wait_until
from tests.stream.test_ingest import DECISION, GATE, KEYS, NOW_MS, _arrival, _batch, _observation, _with

PLAIN = (
    _arrival(_batch(_observation(1), _observation(2), _observation(9))),
    _arrival(_batch(_observation(3), replace(_observation(1), lane=Lane.TELEMETRY, outbox_id="outbox-2"))),
    _arrival(
        _batch(_observation(4), replace(_observation(1), device_id="edge-01")),
        topic=topics.obs("t", "edge-01"),
        kid="edge-01",
    ),
    _arrival(_batch(_observation(1, device_id="cam-02")), topic=topics.obs("t", "cam-02"), kid="cam-02"),
)
NOT_PLAIN = (
    _arrival(_batch(_observation(5)), is_retained=True),
    _arrival(_batch(replace(_observation(6), position=Position(lon_deg=106.5, lat_deg=29.5)))),
    _arrival(_batch(_observation(7)), kid="cam-02"),
    _arrival(DECISION, topic=topics.decision("t", "inc-1"), kid="alerts"),
    _with(b"noise"),
)


def _over_the_pipe(load: Load, number: int = 1) -> Delivery:
    sent = Delivery(number, connected=True, dropped=0, limited=0, parts=tuple(load.parts), others=tuple(load.others))
    return decode_delivery(msgspec.msgpack.encode(sent))


def _apart_gate() -> Gate:
    told = decode_told(msgspec.msgpack.encode(admit(GATE)))
    assert isinstance(told, Admit)
    return gate_of(told, "t", 4)


def _taken(*arrivals: Arrival) -> Load:
    load, gate = Load(), _apart_gate()
    for arrival in arrivals:
        load.add(arrival, gate)
    return load


def test_a_record_of_parts_that_are_written_already_is_the_record() -> None:
    said = tuple(one for arrival in PLAIN for one in _said_of(arrival))
    written = tuple(msgspec.Raw(encode(one)) for one in said)
    assert encode(GatheredRecord(at_ms=7, said=written)) == encode(ObservationRecord(at_ms=7, said=said))


def test_what_is_taken_apart_stands_in_the_log_as_if_it_were_not() -> None:
    here, there = Round(), Round()
    for arrival in PLAIN:
        here.add(arrival, GATE)
    load = _taken(*PLAIN)
    assert not load.others
    there.add(_over_the_pipe(load), GATE)
    assert there.records(GATE, now_ms=NOW_MS) == here.records(GATE, now_ms=NOW_MS)
    assert there.observations == here.observations
    assert load.replies(()) == here.replies()
    assert there.replies() == []  # the process says it


@pytest.mark.parametrize("arrival", NOT_PLAIN)
def test_what_is_not_plain_goes_on_as_it_came(arrival: Arrival) -> None:
    load = _taken(arrival)
    assert not load.parts
    assert _over_the_pipe(load).others == (arrival,)
    here, there = Round(), Round()
    here.add(arrival, GATE)
    there.add(_over_the_pipe(load), GATE)
    assert there.records(GATE, now_ms=NOW_MS) == here.records(GATE, now_ms=NOW_MS)
    assert there.replies() == here.replies()


def test_a_message_that_is_refused_is_not_acknowledged_in_any_part_and_goes_on_as_it_came() -> None:
    load = _taken(*PLAIN[:2])
    assert len(load.parts) == 2
    refused = [n for n, part in enumerate(load.parts) if "outbox-2" in part.outboxes]
    assert [ack.stored for _, ack in load.replies(refused)] == [((1, 2), (9, 9))]
    assert list(load.refused(refused)) == [PLAIN[1]]
    several = _taken(PLAIN[2])
    assert [part.outboxes for part in several.parts] == [("outbox-1",)] * 2
    assert list(several.refused([0, 1])) == [PLAIN[2]]


def test_a_delivery_goes_at_once_and_the_next_when_it_is_full_or_its_time_has_come() -> None:
    taker, load = Taker(Begin(Mqtt(), "taker", "t", 4), io.BytesIO()), _taken(*PLAIN)
    assert taker._pause_s(Load()) == NEWS_S
    assert taker._pause_s(load) == 0
    taker._deliver(load, [])
    taker._next_s = math.inf
    assert taker._pause_s(load) == math.inf
    load.items = DELIVERY_ITEMS
    assert taker._pause_s(load) == 0
    for _ in range(WINDOW - 1):
        taker._deliver(load, [])
    assert taker._pause_s(load) == NEWS_S, "enough is on its way"


def _said_of(arrival: Arrival) -> list[Said]:
    taken = take(arrival, GATE)
    assert isinstance(taken, list)
    return taken


def test_the_inbox_lets_go_of_what_is_too_much_and_says_so_to_the_broker_alone() -> None:
    told: list[str] = []
    inbox = Inbox(lambda: told.append("news"))
    payload = bytes(60_000)
    count = 2 * WAITING_BYTES // len(payload)
    for n in range(count):
        inbox.put(topics.obs("t", f"cam-{n}"), payload, False, lambda: told.append("ack"))
    kept = sum(1 for _ in iter(inbox.take, None))
    assert 0 < inbox.dropped == count - kept
    assert told == ["news"] + ["ack"] * inbox.dropped
    inbox.put(topics.obs("t", "cam-0"), payload, False, lambda: None)
    assert told[-1] == "news"  # it was empty, and there is room again
    assert inbox.take() is not None


def test_a_flood_of_one_is_limited_and_a_message_too_large_waits_as_its_dead_letter() -> None:
    inbox = Inbox(lambda: None)
    for _ in range(round(4 * MESSAGES_PER_S)):
        inbox.put(topics.obs("t", "cam-01"), b"x", False, lambda: None)
    assert inbox.limited > 0
    inbox.put(topics.obs("t", "cam-02"), bytes(100_000), False, lambda: None)
    *_, last = iter(inbox.take, None)
    assert isinstance(last.what, NewRecord)
    assert inbox.dropped == 0


# --- the process -----------------------------------------------------------------------------------------------------


class Broker:
    """Sends to the process, and hears what devices are told."""

    def __init__(self, settings: Mqtt) -> None:
        self.acks: list[Ack] = []
        self.link = Link(settings, "devices", on_message=self._came, subscriptions=(topics.ack("t", "+"),))
        self.link.start()
        assert self.link.wait_connected(10.0)

    def _came(self, topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        ack()
        assert topic == topics.ack("t", "cam-01")
        self.acks.append(decode(KEYS.open(topic, payload)[1], Ack))

    def send(self, seq: int, outbox_id: str = "outbox-1") -> None:
        batch = _batch(_observation(seq, outbox_id=outbox_id))
        topic = topics.obs("t", "cam-01")
        wait_until(lambda: self.link.publish(topic, KEYS.seal(topic, encode_message(batch), kid="cam-01")))


class Stream:
    """Where the stream would be: keeps what is delivered, and answers when it is told to."""

    def __init__(self, settings: Mqtt) -> None:
        self.delivered: list[tuple[Delivery, Callable[[Stored], None]]] = []
        self.apart = Apart(Begin(settings, "stream-0-obs", "t", 4), lambda *one: self.delivered.append(one))
        self.apart.admit(GATE)
        self.apart.start()
        wait_until(lambda: self.apart.counted.connected)

    def outboxes(self) -> list[str]:
        return [outbox for delivery, _ in self.delivered for part in delivery.parts for outbox in part.outboxes]

    def others(self) -> list[Arrival | NewRecord]:
        return [other for delivery, _ in self.delivered for other in delivery.others]

    def store(self, *refused: int) -> None:
        for delivery, answer in self.delivered:
            assert delivery.number is not None
            answer(Stored(delivery.number, refused))
        self.delivered.clear()


def _process() -> psutil.Process:
    return next(one for one in psutil.Process().children() if "stream.ingest.apart" in one.cmdline())


@pytest.fixture
def broker(mqtt_broker: Mqtt) -> Iterator[Broker]:
    made = Broker(mqtt_broker)
    yield made
    made.link.stop()


@pytest.fixture
def stream(mqtt_broker: Mqtt) -> Iterator[Stream]:
    made = Stream(mqtt_broker)
    yield made
    made.apart.stop()


def test_nothing_is_acknowledged_before_it_is_stored_and_a_retired_outbox_never(broker: Broker, stream: Stream) -> None:
    broker.send(1)
    wait_until(lambda: stream.outboxes() == ["outbox-1"])
    assert broker.acks == []
    stream.store()
    wait_until(lambda: [ack.stored for ack in broker.acks] == [((1, 1),)])
    broker.send(1, "cloned")
    wait_until(lambda: stream.outboxes() == ["cloned"])
    stream.store(0)
    wait_until(lambda: len(stream.others()) == 1)  # the stream has it as it came, and an answer to it
    assert len(broker.acks) == 1


def test_a_process_that_is_killed_is_followed_by_another_and_what_was_on_its_way_comes_again(
    broker: Broker, stream: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    broker.send(1)
    wait_until(lambda: stream.outboxes() == ["outbox-1"])
    _process().kill()
    wait_until(lambda: not stream.apart.counted.connected)
    stream.store()  # nobody is there who could say it
    wait_until(lambda: stream.apart.counted.connected)
    assert "has ended with -9; starting another" in caplog.text
    broker.send(1)
    wait_until(lambda: stream.outboxes() == ["outbox-1"])
    stream.store()
    wait_until(lambda: len(broker.acks) == 1)


def test_a_process_that_hangs_is_ended_and_followed_by_another(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stream.ingest.apart.SILENT", 2)
    hanging = _process()
    hanging.suspend()
    wait_until(lambda: "has ended with -9; starting another" in caplog.text)
    wait_until(lambda: stream.apart.counted.connected)
    assert _process().pid != hanging.pid


def test_it_ends_when_it_is_told_to(stream: Stream) -> None:
    process = _process()
    stream.apart.stop()
    assert not process.is_running()
