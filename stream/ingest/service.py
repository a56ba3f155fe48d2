"""From the broker into the log: take, locate, store, and only then acknowledge.

The link's thread hands messages to a bounded queue. Each round takes what is waiting, up to 512 observations, stores
it in one transaction and acknowledges it: at once when idle, in larger and larger rounds when busy.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from models import clock, topics
from models.config import Mqtt
from models.errors import MessageError
from models.link import Link
from models.messages import VERSION, Ack, Decision, encode
from models.seqset import to_ranges
from stream.egress import Egress
from stream.ingest.admission import Arrival, Gate, check_size, locate_moving, take
from stream.ingest.dead import dead_letter
from stream.log.append import Appender, new
from stream.log.file import NewRecord
from stream.records import DecisionRecord, Located, ObservationRecord
from stream.records import encode as encode_record

log = logging.getLogger(__name__)

ROUND_ITEMS: Final = 512
WAITING: Final = 1024
"""Messages waiting at most, each of at most 64 KiB: a larger one is judged when it comes."""
DECISIONS: Final = "decisions"
"""The `lane` by which decisions are acknowledged."""


class _Waiting(NamedTuple):
    what: Arrival | NewRecord
    ack: Callable[[], None]


@dataclass(slots=True)
class Round:
    """What one round stores, and what it says once that is stored."""

    located: list[Located] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    dead: list[NewRecord] = field(default_factory=list)

    def add(self, what: Arrival | NewRecord, gate: Gate) -> None:
        """Put in what an arrival says, or its dead letter."""
        if isinstance(what, NewRecord):
            self.dead.append(what)
            return
        try:
            taken = take(what, gate)
        except MessageError as exc:
            self.dead.append(_dead(what, exc))
            return
        match taken:
            case Decision():
                self.decisions.append(taken)
            case Ack():
                self.acks.append(taken)
            case _:
                self.located += taken

    def records(self, gate: Gate, *, now_ms: int) -> list[NewRecord]:
        """Return everything that is to be stored."""
        by_partition: defaultdict[int, list[Located]] = defaultdict(list)
        for item in locate_moving(self.located, gate.registry):
            by_partition[gate.registry.sites[item.observation.device_id].partition].append(item)
        records = [
            new("obs", partition, encode_record(ObservationRecord(at_ms=now_ms, items=tuple(chunk))), now_ms)
            for partition, items in by_partition.items()
            for chunk in _chunks(items)
        ]
        records += [
            new("incidents", 0, encode_record(DecisionRecord(at_ms=now_ms, decision=decision)), now_ms)
            for decision in self.decisions
        ]
        return records + self.dead

    def replies(self) -> list[tuple[str, Ack]]:
        """Return whom to tell what was stored: (sender, acknowledgement) pairs."""
        seqs: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
        for item in self.located:
            observation = item.observation
            seqs[observation.device_id, observation.outbox_id, observation.lane].append(observation.seq)
        for decision in self.decisions:
            seqs[topics.ALERTS, decision.outbox_id, DECISIONS].append(decision.seq)
        return [
            (sender, Ack(v=VERSION, receiver="stream", outbox_id=outbox, lane=lane, stored=to_ranges(stored)))
            for (sender, outbox, lane), stored in seqs.items()
        ]


def _dead(arrival: Arrival, error: MessageError) -> NewRecord:
    letter = dead_letter(arrival.topic, arrival.payload, error, now_ms=arrival.received_ms)
    return new("dead", 0, encode(letter), arrival.received_ms)


def _chunks(items: list[Located]) -> Iterable[list[Located]]:
    return (items[start : start + ROUND_ITEMS] for start in range(0, len(items), ROUND_ITEMS))


class Ingest:
    """The connection to the broker and everything that comes over it.

    Args:
        settings: the broker.
        worker: this worker's name: the client id is ``stream-<worker>``.

    Attributes:
        link: the connection, up from `start` on.
        dropped: messages let go unread because too many were waiting; their senders send them again.
    """

    def __init__(self, settings: Mqtt, worker: str, gate: Gate, appender: Appender) -> None:
        self.dropped = 0
        self._gate = gate
        self._appender = appender
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING)
        self._loop = asyncio.get_running_loop()
        self._egress: Egress | None = None
        # Not persistent: what came while we were away is sent again by its sender, with its age as of then; a broker
        # would deliver it late, under a sending time that is no longer true, and every repeat of it besides.
        self.link = Link(
            settings,
            f"stream-{worker}",
            on_message=self._on_message,
            on_change=self._on_change,
            subscriptions=(
                f"{topics.ROOT}/{gate.tenant}/+/obs",
                topics.decision(gate.tenant, "+"),
                topics.ack(gate.tenant, topics.STREAM),
            ),
        )

    def start(self, egress: Egress) -> None:
        """Begin connecting. `egress` is told of acknowledgements and new connections."""
        self._egress = egress
        self.link.start()

    # --- the link's thread ---

    def _on_message(self, topic: str, payload: bytes, retained: bool, ack: Callable[[], None]) -> None:
        arrival = Arrival(topic, payload, clock.now_ms(), retained)
        try:
            check_size(arrival)
        except MessageError as exc:  # only the dead letter waits, so that noise takes no memory
            self._call(self._arrive, _Waiting(_dead(arrival, exc), ack))
        else:
            self._call(self._arrive, _Waiting(arrival, ack))

    def _on_change(self, connected: bool) -> None:
        if connected and self._egress is not None:
            self._call(self._egress.connected)

    def _call(self, function: Callable[..., object], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    # --- the event loop ---

    def _arrive(self, waiting: _Waiting) -> None:
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
            current = Round()
            current.add(waiting[0].what, self._gate)
            while len(current.located) < ROUND_ITEMS and not self._queue.empty():
                waiting.append(self._queue.get_nowait())
                current.add(waiting[-1].what, self._gate)
            await self._finish(current, waiting)

    async def _finish(self, current: Round, waiting: list[_Waiting]) -> None:
        for ack in current.acks:
            if self._egress is not None:
                await self._egress.take_ack(ack)
        await self._appender.store(current.records(self._gate, now_ms=clock.now_ms()))
        for sender, reply in current.replies():
            topic = topics.ack(self._gate.tenant, sender)
            self.link.publish(topic, self._gate.keys.seal(topic, encode(reply), kid=topics.STREAM))
        for message in waiting:
            message.ack()
