"""From the broker into the log: take, locate, store, and only then acknowledge.

The link's thread hands messages to a bounded queue. Each round takes what is waiting, up to 2,048 observations, stores
it in one transaction and acknowledges it: at once when idle, in larger and larger rounds when busy.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from models import clock, topics
from models.config import Mqtt
from models.errors import MessageError
from models.link import Link
from models.messages import VERSION, Ack, Decision, Heartbeat, Load, encode
from models.seqset import to_ranges
from stream.egress import Egress
from stream.ingest.admission import Arrival, Gate, RetiredError, check_size, locate_moving, take
from stream.ingest.dead import dead_letter, rule_failed
from stream.ingest.limit import Limiter
from stream.log.append import Appender, new
from stream.log.file import NewRecord
from stream.records import DecisionRecord, HeartbeatRecord, LoadRecord, ObservationRecord, Said
from stream.records import encode as encode_record

log = logging.getLogger(__name__)

ROUND_ITEMS: Final = 2048
"""Observations of one round at most; it may hold one message more."""
RECORD_ITEMS: Final = 512
"""Observations of one record at most."""
WAITING: Final = 1024
"""Messages waiting at most, each of at most 64 KiB: a larger one is judged when it comes."""
SHARE: Final = "$share/stream/"
MESSAGES_PER_S: Final = 200.0
"""Of one sender, at most: each holds up to 256 observations. What is beyond it is sent again, by a sender of ours."""
LETTERS_PER_S: Final = 2.0
"""Dead letters of one sender, at most: the first hundred tell what the next million would."""
DECISIONS: Final = "decisions"
"""The `lane` by which decisions are acknowledged."""


class _Waiting(NamedTuple):
    what: Arrival | NewRecord
    ack: Callable[[], None]


@dataclass(slots=True)
class Round:
    """What one round stores, and what it says once that is stored."""

    said: list[Said] = field(default_factory=list)
    observations: int = 0
    decisions: list[Decision] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    heartbeats: list[Heartbeat] = field(default_factory=list)
    dead: list[NewRecord] = field(default_factory=list)
    retired: set[tuple[str, str]] = field(default_factory=set)

    def add(self, what: Arrival | NewRecord, gate: Gate) -> None:
        """Put in what an arrival says, or its dead letter."""
        if isinstance(what, NewRecord):
            self.dead.append(what)
            return
        try:
            taken = take(what, gate)
        except MessageError as exc:
            self.dead.append(_dead(what, exc))
            if isinstance(exc, RetiredError):
                self.retired.add((exc.device_id, exc.outbox_id))
            return
        except Exception as exc:  # whatever a message does: it is set aside, and the next one counts
            log.exception("a message on %s cannot be taken", what.topic)
            self.dead.append(_dead(what, rule_failed(exc)))
            return
        match taken:
            case Decision():
                self.decisions.append(taken)
            case Load():
                self.loads.append(taken)
            case Ack():
                self.acks.append(taken)
            case Heartbeat():
                self.heartbeats.append(taken)
            case _:
                self.said += taken
                self.observations += sum(len(said.observations) for said in taken)

    def records(self, gate: Gate, *, now_ms: int) -> list[NewRecord]:
        """Return everything that is to be stored."""
        by_partition: defaultdict[int, list[Said]] = defaultdict(list)
        for said in locate_moving(self.said, gate.registry):
            by_partition[gate.registry.partition_of_zone(said.zone)].append(said)
        records = [
            new("obs", partition, encode_record(ObservationRecord(at_ms=now_ms, said=tuple(chunk))), now_ms)
            for partition, parts in by_partition.items()
            for chunk in _chunks(parts)
        ]
        records += [
            new("incidents", 0, encode_record(DecisionRecord(at_ms=now_ms, decision=decision)), now_ms)
            for decision in self.decisions
        ]
        if self.loads:
            loads = LoadRecord(at_ms=now_ms, loads=tuple(self.loads))
            records.append(new("incidents", 0, encode_record(loads), now_ms))
        return [*records, *self._pulses(gate, now_ms), *self.dead]

    def _pulses(self, gate: Gate, now_ms: int) -> Iterable[NewRecord]:
        by_partition: defaultdict[int, list[tuple[Heartbeat, str]]] = defaultdict(list)
        for beat in self.heartbeats:
            site = gate.registry.sites[beat.device_id]
            by_partition[site.partition].append((beat, site.zone))
        for partition, pulses in by_partition.items():
            beats, zones = zip(*pulses, strict=True)
            yield new(
                "obs", partition, encode_record(HeartbeatRecord(at_ms=now_ms, heartbeats=beats, zones=zones)), now_ms
            )

    def replies(self) -> list[tuple[str, Ack]]:
        """Return whom to tell what was stored: (sender, acknowledgement) pairs."""
        seqs: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
        for said in self.said:
            for outbox_id, lane in {(seen.outbox_id, seen.lane) for seen in said.observations}:
                seqs[said.observations[0].device_id, outbox_id, lane] += [
                    seen.seq for seen in said.observations if (seen.outbox_id, seen.lane) == (outbox_id, lane)
                ]
        for decision in self.decisions:
            seqs[topics.ALERTS, decision.outbox_id, DECISIONS].append(decision.seq)
        stored = [
            (sender, Ack(v=VERSION, receiver="stream", outbox_id=outbox, lane=lane, stored=to_ranges(stored)))
            for (sender, outbox, lane), stored in seqs.items()
        ]
        retired = [
            (sender, Ack(v=VERSION, receiver="stream", outbox_id=outbox, retired=True))
            for sender, outbox in self.retired
        ]
        return stored + retired


def _dead(arrival: Arrival, error: MessageError) -> NewRecord:
    letter = dead_letter(arrival.topic, arrival.payload, error, now_ms=arrival.received_ms)
    return new("dead", 0, encode(letter), arrival.received_ms)._replace(key=arrival.topic.encode()[:500])


def _is_our_own(topic: str) -> bool:
    """Whether this is between our own processes: there a storm of orders is answered by a storm of acknowledgements."""
    at = topics.parse(topic)
    return at is not None and at.who in ("decisions", "load", topics.STREAM)


def _chunks(parts: Iterable[Said]) -> Iterator[list[Said]]:
    """Cut `parts` where a record would hold more than `RECORD_ITEMS` observations: of one message there are fewer."""
    chunk: list[Said] = []
    size = 0
    for said in parts:
        if size + len(said.observations) > RECORD_ITEMS:
            yield chunk
            chunk, size = [], 0
        chunk.append(said)
        size += len(said.observations)
    if chunk:
        yield chunk


class Ingest:
    """The connection to the broker and everything that comes over it.

    Args:
        settings: the broker.
        worker: this worker's name: the client id is ``stream-<worker>``.
        is_shared: several workers divide the messages of the devices between them.

    Attributes:
        link: the connection, up from `start` on.
        dropped: messages let go unread because too many were waiting; their senders send them again.
        limited: messages let go unread because their sender said too much.
        unlettered: dead letters that were not written because of their sender there were enough.
    """

    def __init__(self, settings: Mqtt, worker: str, gate: Gate, appender: Appender, *, is_shared: bool = False) -> None:
        self.dropped = self.limited = self.unlettered = 0
        self._messages = Limiter(MESSAGES_PER_S, 3 * MESSAGES_PER_S)
        self._letters = Limiter(LETTERS_PER_S, 50 * LETTERS_PER_S)
        self._gate = gate
        self._appender = appender
        self._arrived: deque[_Waiting] = deque()
        self._is_woken = False
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING)
        self._loop = asyncio.get_running_loop()
        self._egress: Egress | None = None
        self._share = share = SHARE if is_shared else ""
        # Not persistent: what came while we were away is sent again by its sender, with its age as of then; a broker
        # would deliver it late, under a sending time that is no longer true, and every repeat of it besides.
        self.link = Link(
            settings,
            f"stream-{worker}",
            on_message=self._on_message,
            on_change=self._on_change,
            greetings=lambda: gate.foreign.greetings,
            subscriptions=(
                f"{share}{topics.ROOT}/{gate.tenant}/+/obs",
                share + topics.heartbeat(gate.tenant, "+"),
                share + topics.decision(gate.tenant, "+"),
                share + topics.load(gate.tenant, "+"),  # of a shared one nothing retained comes: the log remembers
                *(f"{share}{topic}" for topic in gate.foreign.subscriptions),
                topics.ack(gate.tenant, topics.STREAM),  # for whoever has the order in flight: that may be another
            ),
        )

    def admit(self, gate: Gate) -> None:
        """Judge by `gate` from the next round on."""
        self._gate = gate

    def start(self, egress: Egress) -> None:
        """Begin connecting. `egress` is told of acknowledgements and new connections."""
        self._egress = egress
        self.link.start()

    # --- the link's thread ---

    def _on_message(self, topic: str, payload: bytes, retained: bool, ack: Callable[[], None]) -> None:
        arrival = Arrival(topic, payload, clock.now_ms(), retained)
        if not (_is_our_own(topic) or self._messages.take(topic, arrival.received_ms)):
            # Not stored, so not acknowledged by us: its sender keeps it, and sends it again more slowly.
            self.limited += 1
            ack()
            return
        try:
            check_size(arrival)
        except MessageError as exc:  # only the dead letter waits, so that noise takes no memory
            self._arrived.append(_Waiting(_dead(arrival, exc), ack))
        else:
            self._arrived.append(_Waiting(arrival, ack))
        if not self._is_woken:  # one call for all that come before it is done
            self._is_woken = True
            self._call(self._arrive)

    def _on_change(self, connected: bool) -> None:
        if connected and self._egress is not None:
            self._call(self._egress.connected)

    def _call(self, function: Callable[..., object], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    # --- the event loop ---

    def _arrive(self) -> None:
        self._is_woken = False  # before looking: what is appended after the look calls again
        while self._arrived:
            waiting = self._arrived.popleft()
            try:
                self._queue.put_nowait(waiting)
            except asyncio.QueueFull:
                # Not stored, so not acknowledged by us: the sender keeps it. The broker may forget it.
                self.dropped += 1
                waiting.ack()

    async def run(self) -> None:
        """Take, store and acknowledge, for ever."""
        while True:
            waiting = [await self._queue.get()]
            gate, current = self._gate, Round()  # one gate for a round, whatever is admitted meanwhile
            current.add(waiting[0].what, gate)
            while current.observations < ROUND_ITEMS and not self._queue.empty():
                waiting.append(self._queue.get_nowait())
                current.add(waiting[-1].what, gate)
            await self._finish(current, waiting, gate)

    def _may_write(self, letter: NewRecord) -> bool:
        may = self._letters.take((letter.key or b"").decode(), letter.at_ms)
        self.unlettered += not may
        return may

    def _answer_foreign(self, gate: Gate) -> None:
        """Listen to what has announced itself, and say what the dialects want said."""
        self.link.subscribe(f"{self._share}{topic}" for topic in gate.foreign.subscriptions)
        while gate.foreign.asks:
            ask = gate.foreign.asks.pop()
            self.link.publish(ask.topic, ask.payload, qos=0)

    async def _finish(self, current: Round, waiting: list[_Waiting], gate: Gate) -> None:
        for ack in current.acks:
            if self._egress is not None:
                await self._egress.take_ack(ack)
        current.dead = [letter for letter in current.dead if self._may_write(letter)]
        await self._appender.store(current.records(gate, now_ms=clock.now_ms()))
        self._answer_foreign(gate)
        for sender, reply in current.replies():
            topic = topics.ack(gate.tenant, sender)
            # Without the broker's own acknowledgement: what gets lost is said again when it is sent again.
            self.link.publish(topic, gate.keys.seal(topic, encode(reply), kid=topics.STREAM), qos=0)
        for message in waiting:
            message.ack()
