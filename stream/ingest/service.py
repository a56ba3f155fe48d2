"""From the broker into the log: take, locate, store, and only then acknowledge.

Each round takes what is waiting, up to 4,096 observations, stores it in one transaction and acknowledges it: at once
when idle, in larger and larger rounds when busy. What devices have seen comes through a process of its own
(`stream.ingest.apart`) where this is the only worker.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from models import clock, topics
from models.config import Mqtt
from models.errors import MessageError
from models.link import Link
from models.messages import VERSION, Ack, Decision, Heartbeat, Load, Status, encode
from stream.egress import Egress
from stream.ingest.admission import Arrival, Gate, RetiredError, locate_moving, take
from stream.ingest.apart import Apart
from stream.ingest.dead import dead, rule_failed
from stream.ingest.inbox import Inbox, Waiting
from stream.ingest.limit import Limiter
from stream.ingest.relay import Begin, Delivery, Part, Stored, parts_of
from stream.ingest.replies import acks_of, stored
from stream.log.append import Appender, new
from stream.log.file import NewRecord
from stream.records import (
    Connection,
    ConnectionRecord,
    DecisionRecord,
    GatheredRecord,
    HeartbeatRecord,
    LoadRecord,
    Said,
)
from stream.records import encode as encode_record

log = logging.getLogger(__name__)

ROUND_ITEMS: Final = 4096
"""Observations of one round at most; it may hold one message or delivery more."""
RECORD_ITEMS: Final = 512
"""Observations of one record at most."""
SHARE: Final = "$share/stream/"
LETTERS_PER_S: Final = 2.0
"""Dead letters of one sender, at most: the first hundred tell what the next million would."""
DECISIONS: Final = "decisions"
"""The `lane` by which decisions are acknowledged."""


class _Delivered(NamedTuple):
    """What the process that takes the observations has brought."""

    what: Delivery
    ack: Callable[[], None]


@dataclass(slots=True)
class Round:
    """What one round stores, and what it says once that is stored."""

    said: list[Said] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    observations: int = 0
    decisions: list[Decision] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    heartbeats: list[Heartbeat] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    dead: list[NewRecord] = field(default_factory=list)
    retired: set[tuple[str, str]] = field(default_factory=set)

    def add(self, what: Arrival | NewRecord | Delivery, gate: Gate) -> None:
        """Put in what an arrival says, or its dead letter."""
        if isinstance(what, Delivery):
            self.parts += what.parts
            self.observations += sum(part.count for part in what.parts)
            for other in what.others:
                self.add(other, gate)
            return
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
            case Status():
                self.statuses.append(taken)
            case _:
                self.said += taken
                self.observations += sum(len(said.observations) for said in taken)

    def records(self, gate: Gate, *, now_ms: int) -> list[NewRecord]:
        """Return everything that is to be stored."""
        by_partition: defaultdict[int, list[Part]] = defaultdict(list)
        for part in self.parts:
            by_partition[part.partition].append(part)
        for said in locate_moving(self.said, gate.registry):
            (part,) = parts_of([said], gate.registry)
            by_partition[part.partition].append(part)
        records = [
            new("obs", partition, encode_record(GatheredRecord(at_ms=now_ms, said=chunk)), now_ms)
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
        return [*records, *self._pulses(gate, now_ms), *self._connections(gate, now_ms), *self.dead]

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

    def _connections(self, gate: Gate, now_ms: int) -> Iterable[NewRecord]:
        by_partition: defaultdict[int, list[Connection]] = defaultdict(list)
        for status in self.statuses:
            for site in gate.registry.heard_over(status.device_id):
                connection = Connection(site.device_id, site.zone, status.device_id, status.connect_id, status.online)
                by_partition[site.partition].append(connection)
        for partition, connections in by_partition.items():
            for start in range(0, len(connections), RECORD_ITEMS):
                some = tuple(connections[start : start + RECORD_ITEMS])
                record = ConnectionRecord(at_ms=now_ms, connections=some)
                yield new("obs", partition, encode_record(record), now_ms)

    def replies(self) -> list[tuple[str, Ack]]:
        """Return whom to tell what was stored: (sender, acknowledgement) pairs."""
        seqs: defaultdict[str, list[int]] = defaultdict(list)
        for decision in self.decisions:
            seqs[decision.outbox_id].append(decision.seq)
        decided = [(topics.ALERTS, stored(outbox_id, DECISIONS, of_outbox)) for outbox_id, of_outbox in seqs.items()]
        retired = [
            (sender, Ack(v=VERSION, receiver="stream", outbox_id=outbox, retired=True))
            for sender, outbox in self.retired
        ]
        return acks_of(self.said) + decided + retired


def _dead(arrival: Arrival, error: MessageError) -> NewRecord:
    return dead(arrival.topic, arrival.payload, error, now_ms=arrival.received_ms)


def _chunks(parts: Iterable[Part]) -> Iterator[tuple[msgspec.Raw, ...]]:
    """Cut `parts` where a record would hold more than `RECORD_ITEMS` observations: of one message there are fewer."""
    chunk: list[msgspec.Raw] = []
    size = 0
    for part in parts:
        if size + part.count > RECORD_ITEMS:
            yield tuple(chunk)
            chunk, size = [], 0
        chunk.append(msgspec.Raw(part.said))
        size += part.count
    if chunk:
        yield tuple(chunk)


class Ingest:
    """The connection to the broker and everything that comes over it.

    Args:
        settings: the broker.
        worker: this worker's name: the client id is ``stream-<worker>``.
        partitions: of `obs`.
        is_shared: several workers divide the messages of the devices between them.

    Attributes:
        link: the connection, up from `start` on.
        unlettered: dead letters that were not written because of their sender there were enough.
    """

    def __init__(
        self, settings: Mqtt, worker: str, gate: Gate, appender: Appender, *, partitions: int, is_shared: bool = False
    ) -> None:
        self.unlettered = 0
        self._letters = Limiter(LETTERS_PER_S, 50 * LETTERS_PER_S)
        self._gate = gate
        self._appender = appender
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._inbox = Inbox(functools.partial(self._call, self._news.set))
        self._delivered: deque[_Delivered] = deque()
        begin = Begin(settings, f"stream-{worker}-obs", gate.tenant, partitions)
        self._apart = None if is_shared else Apart(begin, functools.partial(self._call, self._deliver))
        self._egress: Egress | None = None
        self._share = share = SHARE if is_shared else ""
        self._foreign = gate.foreign.filters(share)
        # Not persistent: what came while we were away is sent again by its sender, with its age as of then; a broker
        # would deliver it late, under a sending time that is no longer true, and every repeat of it besides.
        self.link = Link(
            settings,
            f"stream-{worker}",
            on_message=self._inbox.put,
            on_change=self._on_change,
            greetings=lambda: gate.foreign.greetings,
            subscriptions=(
                *((share + topics.obs(gate.tenant, "+"),) if is_shared else ()),
                share + topics.heartbeat(gate.tenant, "+"),
                topics.status(gate.tenant, "+"),  # retained, and of a shared one nothing retained comes
                share + topics.decision(gate.tenant, "+"),
                share + topics.load(gate.tenant, "+"),  # of a shared one nothing retained comes: the log remembers
                *self._foreign,
                topics.ack(gate.tenant, topics.STREAM),  # for whoever has the order in flight: that may be another
            ),
        )

    def admit(self, gate: Gate) -> None:
        """Judge by `gate` from the next round on."""
        self._gate = gate
        if self._apart is not None:
            self._apart.admit(gate)

    def start(self, egress: Egress) -> None:
        """Begin connecting. `egress` is told of acknowledgements and new connections."""
        self._egress = egress
        self.link.start()
        if self._apart is not None:
            self._apart.start()

    def stop(self) -> None:
        """Take nothing more; what was not stored comes again."""
        self.link.stop()
        if self._apart is not None:
            self._apart.stop()

    @property
    def connected(self) -> bool:
        """Whether the broker has taken us."""
        return self.link.connected and (self._apart is None or self._apart.counted.connected)

    @property
    def dropped(self) -> int:
        """Messages let go unread because too many were waiting; their senders send them again."""
        return self._inbox.dropped + (self._apart.counted.dropped if self._apart else 0)

    @property
    def limited(self) -> int:
        """Messages let go unread because their sender said too much."""
        return self._inbox.limited + (self._apart.counted.limited if self._apart else 0)

    # --- the link's thread ---

    def _on_change(self, connected: bool) -> None:
        if connected and self._egress is not None:
            self._call(self._egress.connected)

    def _call(self, function: Callable[..., object], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    # --- the event loop ---

    def _deliver(self, delivery: Delivery, answer: Callable[[Stored], None]) -> None:
        number = delivery.number
        assert number is not None
        refused = tuple(n for n, part in enumerate(delivery.parts) if any(map(self._gate.is_retired, part.outboxes)))
        if refused:
            kept = tuple(part for n, part in enumerate(delivery.parts) if n not in refused)
            delivery = msgspec.structs.replace(delivery, parts=kept)
        self._delivered.append(_Delivered(delivery, functools.partial(answer, Stored(number, refused))))
        self._news.set()

    def _next(self) -> Waiting | _Delivered | None:
        return self._inbox.take() or (self._delivered.popleft() if self._delivered else None)

    async def run(self) -> None:
        """Take, store and acknowledge, for ever."""
        while True:
            self._news.clear()
            gate, current = self._gate, Round()  # one gate for a round, whatever is admitted meanwhile
            waiting: list[Waiting | _Delivered] = []
            while current.observations < ROUND_ITEMS and (one := self._next()) is not None:
                waiting.append(one)
                current.add(one.what, gate)
            if waiting:
                await self._finish(current, waiting, gate)
            else:
                await self._news.wait()

    def _may_write(self, letter: NewRecord) -> bool:
        may = self._letters.take((letter.key or b"").decode(), letter.at_ms)
        self.unlettered += not may
        return may

    def _answer_foreign(self, gate: Gate) -> None:
        """Listen to what has announced itself, no longer to what is forgotten, and say what the dialects want said."""
        wanted = gate.foreign.filters(self._share)
        if wanted != self._foreign:
            self.link.subscribe(wanted)
            self.link.unsubscribe(set(self._foreign).difference(wanted))
            self._foreign = wanted
        while gate.foreign.asks:
            ask = gate.foreign.asks.pop()
            self.link.publish(ask.topic, ask.payload, qos=0)

    async def _finish(self, current: Round, waiting: list[Waiting | _Delivered], gate: Gate) -> None:
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
