"""The thread that owns the outbox: it commits what the loops hand over, sends it, and deletes what is acknowledged.

The loops only ever put something in a queue, so neither a slow disk nor a slow link can hold up a camera. When the disk
cannot keep anything (full, locked), what was handed over waits in memory, within bounds, and is tried again every
second.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from edge import moment
from edge.moment import Moment
from edge.outbox import Draft, Entry, Outbox
from edge.sender import Publisher, Sender
from models.errors import StorageError
from models.messages import Fault, Lane
from models.seal import Keyring

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
IDLE_S: Final = 5.0
SHORTEST_WAIT_S: Final = 0.02
MOST_WAITING: Final = 5_000
MOST_PICTURES_WAITING: Final = 20
MANY_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _AckCame:
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Connected:
    pass


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not yet acknowledged: observations, pictures, and when the oldest observation was queued."""

    depth: int = 0
    pictures: int = 0
    oldest_ms: int | None = None


class Keeper:
    """Takes entries from any thread; `start` it once the link is started."""

    def __init__(
        self, open_outbox: Callable[[], Outbox], link: Publisher, keys: Keyring, *, tenant: str, agent: str
    ) -> None:
        self.ready = threading.Event()
        """Set when the outbox is open; from then on `bookmarks` holds."""
        self.failed = threading.Event()
        """Set when the thread has ended by an error of its own."""
        self.bookmarks: Mapping[str, str] = MappingProxyType({})
        self.backlog = Backlog()
        self._open_outbox = open_outbox
        self._link = link
        self._keys = keys
        self._tenant = tenant
        self._agent = agent
        self._queue: queue.SimpleQueue[Entry | _AckCame | _Connected | _Stop] = queue.SimpleQueue()
        self._uncommitted = 0
        self._lock = threading.Lock()
        self._waiting: deque[Entry] = deque()
        self._lost = 0
        self._trouble = ""
        self._looked_mono_ms = 0
        self._stored = 0
        self._outbox: Outbox | None = None
        self._sender: Sender | None = None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    # --- for the other threads -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Hand `entry` over; never blocks."""
        with self._lock:
            self._uncommitted += 1
        self._queue.put(entry)

    def ack_came(self, topic: str, payload: bytes) -> None:
        """Hand an acknowledgement over as it came."""
        self._queue.put(_AckCame(topic, payload))

    def connected(self) -> None:
        """Tell that the link is up again."""
        self._queue.put(_Connected())

    @property
    def is_drained(self) -> bool:
        """Whether every observation handed over so far was committed, sent and acknowledged."""
        with self._lock:
            return self._uncommitted == 0 and self.ready.is_set() and self.backlog.depth == 0

    def stop(self, timeout_s: float = 10.0) -> None:
        """Commit what was handed over, and end the thread."""
        self._queue.put(_Stop())
        if self._thread.is_alive():
            self._thread.join(timeout=timeout_s)

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._keep()
        except Exception:
            log.exception("the outbox thread ended; the agent stops, so that it can be started anew")
            self.failed.set()
        finally:
            if self._outbox is not None:
                self._outbox.close()

    def _keep(self) -> None:
        running = True
        while running:
            items = self._collect()
            running = not any(isinstance(item, _Stop) for item in items)
            self._waiting.extend(item for item in items if isinstance(item, Entry))
            try:
                self._step(items)
            except StorageError as exc:
                self._bound_waiting()
                if self._trouble != str(exc):
                    log.error("the outbox keeps nothing for now: %s", exc)  # noqa: TRY400  # the sentence says it all
                self._trouble = str(exc)
        if self._waiting:
            log.error("stopped with %d entries that the outbox could not keep: %s", len(self._waiting), self._trouble)

    def _collect(self) -> list[Entry | _AckCame | _Connected | _Stop]:
        """Return what is in the queue; wait for something until there is something to send again."""
        due_ms = self._sender.next_due_ms() if self._sender else None
        if self._trouble or self._sender is None:
            wait_s = RETRY_S
        elif due_ms is not None:
            # Not at once even if overdue: it may be due because the link takes nothing.
            wait_s = min(max((due_ms - moment.now().mono_ms) / 1000.0, SHORTEST_WAIT_S), IDLE_S)
        else:
            wait_s = IDLE_S
        items: list[Entry | _AckCame | _Connected | _Stop] = []
        try:
            items.append(self._queue.get(timeout=wait_s))
            while True:
                items.append(self._queue.get_nowait())
        except queue.Empty:
            return items

    def _step(self, items: list[Entry | _AckCame | _Connected | _Stop]) -> None:
        sender, outbox = self._sender, self._outbox
        if sender is None or outbox is None:
            sender, outbox = self._open()
        now = moment.now()
        self._commit(outbox, now)
        acks = [item for item in items if isinstance(item, _AckCame)]
        if acks:
            with outbox.transaction():  # one commit for all: on a card each costs tens of milliseconds
                for ack in acks:
                    sender.take_ack(ack.topic, ack.payload, now)
        if any(isinstance(item, _Connected) for item in items):
            sender.reconnected(now)
        sender.pump(now)
        self._look()
        if self._trouble:
            log.warning("the outbox keeps again")
            self._trouble = ""

    def _open(self) -> tuple[Sender, Outbox]:
        self._outbox = outbox = self._outbox or self._open_outbox()
        self._sender = sender = Sender(outbox, self._link, self._keys, tenant=self._tenant)
        self.bookmarks = MappingProxyType(outbox.bookmarks())
        self._look()
        self.ready.set()
        return sender, outbox

    def _commit(self, outbox: Outbox, now: Moment) -> None:
        if not self._waiting:
            return
        entries = list(self._waiting)
        if self._lost:
            detail = f"{self._lost} observations could not be kept while the disk failed: {self._trouble}"
            fault = Fault(fault="storage_failed", detail=detail[:500])
            entries.append(Entry((Draft(self._agent, Lane.ALARM, now, fault),)))
        appended = outbox.append(entries, now_ms=now.wall_ms)
        count = len(self._waiting)
        self._lost = 0
        self._waiting.clear()
        with self._lock:
            self._uncommitted -= count
            self.backlog = replace(self.backlog, depth=self.backlog.depth + appended)

    def _look(self) -> None:
        assert self._outbox is not None
        mono_ms = moment.now().mono_ms
        if self.backlog.depth > MANY_ROWS and mono_ms - self._looked_mono_ms < 1_000:
            return  # counting a large backlog after each commit would cost more than the commit
        self._looked_mono_ms = mono_ms
        self.backlog = Backlog(self._outbox.depth(), self._outbox.pictures(), self._outbox.oldest_ms())
        self._stored = self.backlog.depth

    def _bound_waiting(self) -> None:
        """Let pictures go first, then the oldest entries, and count those for a fault message."""
        pictured = [index for index, entry in enumerate(self._waiting) if entry.pictures]
        for index in pictured[:-MOST_PICTURES_WAITING]:
            self._waiting[index] = replace(self._waiting[index], pictures=())
        while len(self._waiting) > MOST_WAITING:
            self._lost += len(self._waiting.popleft().drafts)
            with self._lock:
                self._uncommitted -= 1
        # The heartbeats say it too: what waits in memory counts as not sent.
        self.backlog = replace(self.backlog, depth=self._stored + sum(len(entry.drafts) for entry in self._waiting))
