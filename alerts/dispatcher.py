"""The dispatcher: MQTT in, MQTT out. Everything that it takes is stored first and acknowledged then.

A loop of its own keeps telling whom the office wants told, until a receipt says that a device has it, and keeps giving
decisions to the stream until the stream says that it has stored them. What it sends twice has the same id twice.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from alerts import inbox, reports
from alerts.admission import Request
from alerts.canaries import FILE as CANARIES_FILE
from alerts.canaries import Canaries, is_canary, remember, remembered
from alerts.entries import Sent
from alerts.inbox import Picture
from alerts.notice import alert_of, expires_ms, is_news
from alerts.office import Office
from models import topics
from models.config import Config
from models.errors import MessageError
from models.link import Link
from models.messages import VERSION, Ack, DispatchOrder, Heartbeat, Message, Response, Status, encode
from models.seal import Keyring
from models.seqset import to_ranges
from models.topics import ALERTS, STREAM

log = logging.getLogger(__name__)

K = TypeVar("K", str, int)
ORDERS_LANE: Final = "orders"
MAX_BATCH: Final = 256
FIRST_RESEND_MS: Final = 2_000
LAST_RESEND_MS: Final = 60_000
IDLE_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class _Came:
    """A message as the link gave it, and how to tell the broker that we have it."""

    topic: str
    payload: bytes
    ack: Callable[[], None]


class _Resends(Generic[K]):
    """What is sent again and when, with a wait that doubles each time."""

    def __init__(self) -> None:
        self._wait_ms: dict[K, int] = {}
        self._due_ms: dict[K, int] = {}
        self._heap: list[tuple[int, K]] = []

    def made(self, key: K, now_ms: int) -> None:
        """Note a try: the next one is due a little later each time."""
        wait_ms = self._wait_ms.get(key, FIRST_RESEND_MS)
        self._wait_ms[key] = min(2 * wait_ms, LAST_RESEND_MS)
        self._due_ms[key] = now_ms + wait_ms
        heapq.heappush(self._heap, (now_ms + wait_ms, key))

    def take_due(self, now_ms: int) -> list[K]:
        """Take out what is due; what still matters must be `made` again."""
        due = []
        while (next_ms := self.next_ms) is not None and next_ms <= now_ms:
            key = heapq.heappop(self._heap)[1]
            del self._due_ms[key]
            due.append(key)
        return due

    def forget(self, key: K) -> None:
        """End the resends of `key`."""
        self._wait_ms.pop(key, None)
        self._due_ms.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._wait_ms.clear()
        self._due_ms.clear()
        self._heap.clear()

    @property
    def next_ms(self) -> int | None:
        """When the next one is due."""
        while self._heap and self._due_ms.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None


class _Offers(_Resends[int]):
    """What the stream is given until it has said that it is stored, by seq."""

    def __init__(self) -> None:
        super().__init__()
        self._offered = 0
        """Highest seq given since the link came up."""

    def clear(self) -> None:
        super().clear()
        self._offered = 0

    def due(self, unstored: Collection[int], now_ms: int) -> Iterator[int]:
        """Yield what is to be given now: what is new, and what was given and not stored for some time."""
        fresh = [seq for seq in sorted(unstored) if seq > self._offered]
        for seq in (*self.take_due(now_ms), *fresh):
            if seq not in unstored:
                self.forget(seq)
                continue
            self._offered = max(self._offered, seq)
            self.made(seq, now_ms)
            yield seq


@dataclass(slots=True)
class Health:
    """What devices say of themselves, for the map. Lives in memory: the next heartbeat says it again."""

    heartbeat: Heartbeat | None = None
    status: Status | None = None

    def heard(self, status: Status) -> None:
        """Take `status`, unless it is the late last will of a connection that was replaced."""
        held = self.status
        if held is not None and not status.online and status.connect_id != held.connect_id:
            return
        self.status = status


class Dispatcher:
    """Between the broker and the office. Made and run on the event loop; the link has a thread of its own."""

    def __init__(self, config: Config, keys: Keyring, office: Office) -> None:
        self.refused: Counter[str] = Counter()
        """Messages that were not taken, by reason."""
        self._canaries_file = config.state / CANARIES_FILE
        known = remembered(self._canaries_file, office.names.places.device_by_id)
        self.canaries = Canaries(round(config.edge.canary_s * 1000), known=known, since_ms=office.now_ms())
        self.health: dict[str, Health] = defaultdict(Health)
        self._tenant = config.tenant
        self._keys = keys
        self._office = office
        self._loop = asyncio.get_running_loop()
        self._came: asyncio.Queue[_Came] = asyncio.Queue()
        self._alerts: _Resends[str] = _Resends()
        self._decisions, self._reports = _Offers(), _Offers()
        self._wake = asyncio.Event()
        self.link = Link(
            config.mqtt,
            ALERTS,
            on_message=self._message_came,
            subscriptions=inbox.subscriptions(config.tenant),
            persistent=True,
            on_change=self._on_change,
        )

    def _on_change(self, is_up: bool) -> None:
        self._loop.call_soon_threadsafe(self._link_changed, is_up)

    async def run(self) -> None:
        """Serve until cancelled."""
        self.link.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive())
                tasks.create_task(self._send())
        finally:
            await asyncio.to_thread(self.link.stop)

    # --- in --------------------------------------------------------------------------------------------------------

    def _message_came(self, topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(self._came.put_nowait, _Came(topic, payload, ack))

    async def _receive(self) -> None:
        while True:
            batch = [await self._came.get()]
            while len(batch) < MAX_BATCH and not self._came.empty():
                batch.append(self._came.get_nowait())
            await self._take(batch)

    async def _take(self, batch: list[_Came]) -> None:
        requests: list[Request] = []
        sources: list[str] = []
        for came in batch:
            try:
                received = inbox.read(self._tenant, self._keys, came.topic, came.payload)
            except MessageError as exc:
                self._refuse(exc, came.topic)
                continue
            if isinstance(received, Heartbeat):
                self.health[received.device_id].heartbeat = received
            elif isinstance(received, Status):
                self.health[received.device_id].heard(received)
            elif isinstance(received, DispatchOrder) and is_canary(received):
                self._hear(received)
                self._acknowledge([received])
            else:
                requests.append(received)
                sources.append(came.topic)
        if requests:
            outcomes = await self._office.submit(requests)
            # Alerts first: the acknowledgement can wait a millisecond, the officer cannot.
            await self._tell()
            stored = []
            for request, source, outcome in zip(requests, sources, outcomes, strict=True):
                if outcome.refusal is None:
                    stored.append(request)
                else:
                    self._refuse(outcome.refusal, source)
            self._acknowledge(stored)
        for came in batch:
            came.ack()

    def _hear(self, canary: DispatchOrder) -> None:
        before = len(self.canaries.singers)
        self.canaries.hear(canary, self._office.now_ms())
        if len(self.canaries.singers) > before:
            remember(self._canaries_file, self.canaries.singers)

    def _refuse(self, error: MessageError, topic: str) -> None:
        self.refused[error.reason] += 1
        if self.refused[error.reason] <= 20 or self.refused[error.reason] % 1000 == 0:
            log.warning("not taken from %s: %s (%d so far)", topic[:200], error, self.refused[error.reason])

    def _acknowledge(self, stored: Iterable[Request]) -> None:
        orders: dict[str, list[int]] = defaultdict(list)
        pictures: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for request in stored:
            if isinstance(request, DispatchOrder):
                orders[request.outbox_id].append(request.seq)
            elif isinstance(request, Picture):
                pictures[request.head.device_id].append((request.head.evidence_id, request.head.sha256))
        for outbox_id, seqs in orders.items():
            ack = Ack(v=VERSION, receiver="alerts", outbox_id=outbox_id, lane=ORDERS_LANE, stored=to_ranges(seqs))
            self._publish(topics.ack(self._tenant, STREAM), ack)
        for device_id, evidence in pictures.items():
            ack = Ack(v=VERSION, receiver="alerts", evidence=tuple(evidence))
            self._publish(topics.ack(self._tenant, device_id), ack)

    # --- out -------------------------------------------------------------------------------------------------------

    def _link_changed(self, is_up: bool) -> None:
        if is_up:
            # Who knows what the broker forgot: everything that is open goes out again, once, under the same ids.
            self._alerts.clear()
            self._decisions.clear()
            self._reports.clear()
            self._office.loads.say_all()
            for alert_id in self._office.book.case_of_alert:
                if self._office.telling(alert_id) is not None:
                    self._alerts.made(alert_id, self._office.now_ms() - FIRST_RESEND_MS)
        self._wake.set()

    async def _send(self) -> None:
        while True:
            seq, now_ms = self._office.stored_seq, self._office.now_ms()
            if (self._office.next_ms or now_ms + 1) <= now_ms:
                await self._office.tick()
            await self._tell(self._alerts.take_due(now_ms))
            self._give_to_stream(now_ms)
            self._give_loads(now_ms)
            await self._sleep(seq)

    async def _sleep(self, seq: int) -> None:
        """Wait until something is written beyond `seq`, the link changes, or something is due."""
        now_ms = self._office.now_ms()
        loads_ms = self._office.loads.next_ms if self.link.connected else None
        due = (self._office.next_ms, self._alerts.next_ms, self._decisions.next_ms, self._reports.next_ms, loads_ms)
        next_ms = min((at_ms for at_ms in due if at_ms is not None), default=now_ms + IDLE_MS)
        timeout_s = min(max(next_ms - now_ms, 10), IDLE_MS) / 1000
        waits = [asyncio.ensure_future(w) for w in (self._office.wait_beyond(seq, timeout_s), self._wake.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._wake.clear()

    async def _tell(self, resends: Sequence[str] = ()) -> None:
        """Send the alerts that are news, and those of `resends` that no device has confirmed; record the news."""
        now_ms = self._office.now_ms()
        sent: list[tuple[str, Sent]] = []
        for alert_id in dict.fromkeys((*self._office.take_news(), *resends)):
            found = self._office.telling(alert_id)
            if found is None or now_ms >= expires_ms(*found):
                self._alerts.forget(alert_id)
                continue
            case, telling = found
            self._alerts.made(alert_id, now_ms)
            alert = alert_of(case, telling, self._office.names, now_ms=now_ms)
            is_out = self._publish(topics.alert(self._tenant, telling.intent.post), alert)
            if is_out and (telling.sent is None or is_news(case, telling)):
                is_general = case.order.incident.response is Response.GENERAL
                note = Sent(
                    alert_id=alert_id,
                    channel=alert.channel,
                    priority=alert.priority,
                    stage=alert.stage,
                    general=is_general,
                )
                sent.append((case.incident_id, note))
        if sent:
            await self._office.note_sent(sent)

    def _give_to_stream(self, now_ms: int) -> None:
        book = self._office.book
        for seq in self._decisions.due(book.unstored, now_ms):
            self._publish(topics.decision(self._tenant, book.unstored[seq].incident_id), book.unstored[seq])
        for seq in self._reports.due(book.unstored_reports, now_ms):
            self._publish(topics.obs(self._tenant, ALERTS), reports.batch(book.unstored_reports[seq], now_ms=now_ms))

    def _give_loads(self, now_ms: int) -> None:
        if self.link.connected:  # else all is said again when it is
            for load in self._office.loads.take_due(now_ms):
                self._publish(topics.load(self._tenant, load.person), load, retain=True)

    def _publish(self, topic: str, message: Message, *, retain: bool = False) -> bool:
        return self.link.publish(topic, self._keys.seal(topic, encode(message), kid=ALERTS), retain=retain)
