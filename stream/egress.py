"""Orders on their way to `alerts`: sent, and sent again with back-off, until `alerts` has said that it keeps them."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import faust
import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace

from models import clock, topics
from models.jitter import jittered
from models.messages import Ack, DispatchOrder, Incident, Timeline, encode
from models.seal import Keyring
from models.seqset import Range
from stream.ingest.dead import dead_letter, rule_failed
from stream.log.append import Appender, new

log = logging.getLogger(__name__)

IN_FLIGHT: Final = 256
FIRST_RESEND_MS: Final = 1_000
LAST_RESEND_MS: Final = 5_000
KEPT_LATENCIES: Final = 10_000


class Publish(Protocol):
    """Hands a payload to the connection; False when there is none."""

    def __call__(self, topic: str, payload: bytes, *, qos: int) -> bool:
        """`qos`: as in MQTT."""


class Sending(NamedTuple):
    """A try to send an order.

    Attributes:
        qos: 0 at first, since `alerts` says itself that it has stored it, and to wait for the broker as well takes as
            long as all else; 1 when that has not come, since the broker keeps it while `alerts` is away.
    """

    topic: str
    payload: bytes
    qos: int


@dataclass(slots=True)
class _Order:
    topic: str
    payload: bytes
    done: Callable[[], object]
    wait_ms: int = FIRST_RESEND_MS
    is_stored: bool = False
    is_new: bool = True


class Window:
    """Orders in flight, in the order of the log. Pure: times are arguments, on a clock that does not jump.

    `done` of an order is called once, when it and all before it are stored: what is committed is a prefix.
    """

    def __init__(self) -> None:
        self._orders: dict[int, _Order] = {}  # in the order of seq
        self._due: list[tuple[int, int]] = []  # a heap of (due, seq); those that are stored are passed over

    def __len__(self) -> int:
        return len(self._orders)

    def add(self, seq: int, topic: str, payload: bytes, done: Callable[[], object], *, now_ms: int) -> None:
        """Put an order in; it is due at once."""
        self._orders[seq] = _Order(topic, payload, done)
        heapq.heappush(self._due, (now_ms, seq))

    def due(self, now_ms: int) -> list[Sending]:
        """Return what is to be sent now, and put off the next try of it, longer each time."""
        sent = []
        while (due_ms := self.next_due_ms()) is not None and due_ms <= now_ms:
            seq = self._due[0][1]
            order = self._orders[seq]
            sent.append(Sending(order.topic, order.payload, qos=0 if order.is_new else 1))
            order.is_new = False
            heapq.heapreplace(self._due, (now_ms + round(jittered(order.wait_ms)), seq))
            order.wait_ms = min(order.wait_ms * 2, LAST_RESEND_MS)
        return sent

    def next_due_ms(self) -> int | None:
        """Return when something will be due, if anything is in flight."""
        while self._due and ((order := self._orders.get(self._due[0][1])) is None or order.is_stored):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def hurry(self) -> None:
        """Make everything due: the connection is new, and what was sent before it may be lost."""
        for order in self._orders.values():
            order.wait_ms = FIRST_RESEND_MS
        self._due = [(0, seq) for seq in self._orders]

    def stored(self, ranges: Iterable[Range]) -> None:
        """Take the orders of `ranges` out, as far as nothing before them is still in flight."""
        for first, last in ranges:
            for seq, order in self._orders.items():
                if first <= seq <= last:
                    order.is_stored = True
        while self._orders and self._orders[seq := next(iter(self._orders))].is_stored:
            self._orders.pop(seq).done()


class Egress:
    """Carries the `orders` log over MQTT.

    Args:
        publish: of the connection.
        log_id: of the log that `orders` stands in: the `outbox_id` of every order.
        appender: stores the dead letters of orders that cannot be sent.
    """

    def __init__(self, tenant: str, keys: Keyring, log_id: str, publish: Publish, appender: Appender) -> None:
        self._appender = appender
        self._tenant = tenant
        self._keys = keys
        self._log_id = log_id
        self._publish = publish
        self._window = Window()
        self._changed = asyncio.Condition()
        self._wake = asyncio.Event()
        self._latencies_ms: deque[int] = deque(maxlen=KEPT_LATENCIES)

    def latencies_ms(self) -> list[int]:
        """Return, of the orders that went out since the last call, the times from the device's eye."""
        taken = list(self._latencies_ms)
        self._latencies_ms.clear()
        return taken

    async def carry(self, stream: faust.Stream[Any]) -> None:
        """Take the orders of the log one after the other; waits while 256 are in flight. The agent of `orders`."""
        async for event in stream.noack().events():
            if len(self._window) >= IN_FLIGHT:
                async with self._changed:
                    await self._changed.wait_for(lambda: len(self._window) < IN_FLIGHT)
            seq = event.message.offset + 1
            try:
                topic, payload = self._sealed(event.value, seq)
            except Exception as exc:  # whatever is wrong with it: this order is set aside, the next ones go out
                log.exception("orders/%s cannot be sent", seq - 1)
                await self._set_aside(event.value, seq - 1, exc)
                self._window.add(seq, "", b"", event.ack, now_ms=clock.mono_ms())
                self._window.stored(((seq, seq),))
            else:
                self._window.add(seq, topic, payload, event.ack, now_ms=clock.mono_ms())
                self._send_due()

    async def _set_aside(self, value: bytes | None, offset: int, exc: Exception) -> None:
        now_ms = clock.now_ms()
        letter = dead_letter(f"orders/0/{offset}", value or b"", rule_failed(exc), now_ms=now_ms)
        await self._appender.store([new("dead", 0, encode(letter), now_ms)])

    def _sealed(self, value: bytes, seq: int) -> tuple[str, bytes]:
        order = stamped(value, outbox_id=self._log_id, seq=seq, now_ms=clock.now_ms())
        if order.captured_ms is not None:
            self._latencies_ms.append(max(0, order.ordered_at_ms - order.captured_ms))
        topic = topics.order(self._tenant, order.incident_id)
        return topic, self._keys.seal(topic, order.line, kid=topics.STREAM)

    def _send_due(self) -> None:
        for topic, payload, qos in self._window.due(clock.mono_ms()):
            self._publish(topic, payload, qos=qos)

    def lose(self) -> None:
        """Forget what is in flight: the partition is given out anew, and its owner sends what is not acknowledged."""
        self._window = Window()
        self._telling = asyncio.create_task(self._tell_room())

    async def _tell_room(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def take_ack(self, ack: Ack) -> None:
        """Let go of what `alerts` has stored. Acknowledgements of another log are not ours."""
        if ack.outbox_id == self._log_id and ack.receiver == topics.ALERTS:
            async with self._changed:
                self._window.stored(ack.stored)
                self._changed.notify_all()

    def connected(self) -> None:
        """Send everything again: the connection is new."""
        self._window.hurry()
        self._wake.set()

    async def run(self) -> None:
        """Send again what is due, for ever."""
        while True:
            self._wake.clear()
            due_ms, now_ms = self._window.next_due_ms(), clock.mono_ms()
            # An order that comes meanwhile is sent when it comes, and is not due again sooner than this.
            wait_ms = min(FIRST_RESEND_MS // 2, max(due_ms - now_ms, 0) if due_ms is not None else LAST_RESEND_MS)
            try:
                await asyncio.wait_for(self._wake.wait(), wait_ms / 1000)
            except TimeoutError:
                self._send_due()


def _looked_at(kind: type[msgspec.Struct], **fields: Any) -> Any:  # noqa: ANN401  # a type that is made here
    """Return `kind` with only these fields decoded: the others go through as they stand in the log."""
    names = ((name, fields.get(name, Raw | UnsetType)) for name in kind.__struct_fields__)
    shown = [(name, of, UNSET) for name, of in names]
    return msgspec.defstruct(kind.__name__, shown, kw_only=True, omit_defaults=True, gc=False)


_Incident: Final = _looked_at(Incident, incident_id=str, timeline=Timeline | UnsetType)
_Dispatch: Final = _looked_at(DispatchOrder, outbox_id=str, seq=int, incident=_Incident, ordered_at_ms=int)
_Record: Final = msgspec.defstruct(
    "OrderRecord", [("at_ms", int), ("order", _Dispatch)], tag_field="record", tag="order"
)
_decode: Final[Callable[[bytes], Any]] = msgspec.json.Decoder(_Record).decode


class Stamped(NamedTuple):
    """An order as it goes out.

    Attributes:
        captured_ms: when the device saw it, where that is known.
    """

    incident_id: str
    line: bytes
    ordered_at_ms: int
    captured_ms: int | None


def stamped(value: bytes, *, outbox_id: str, seq: int, now_ms: int) -> Stamped:
    """Return the order of a record: named by its place in the log, with the times of its last stages.

    Most of an order is its chain: it is not looked at here.
    """
    record = _decode(value)
    order, incident = record.order, record.order.incident
    timeline = Timeline() if incident.timeline is UNSET else incident.timeline
    incident.timeline = replace(timeline, matched_ms=record.at_ms, ordered_ms=now_ms)
    order.outbox_id, order.seq, order.ordered_at_ms = outbox_id, seq, now_ms
    return Stamped(incident.incident_id, msgspec.json.encode(order), now_ms, timeline.captured_ms)
