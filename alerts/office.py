"""The office: one at a time, requests become ledger entries, entries change cases, cases say what is to be done next.

Order of things, always: decide, write to disk, then speak (acknowledge, alert, show). What was not written was never
said.
It knows neither MQTT nor HTTP: the dispatcher and the pages both hand their requests in here and read what comes out.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from alerts import rematch
from alerts.admission import Request, admit
from alerts.casebook import Case, Casebook, Telling
from alerts.entries import Draft, Entry, Kind, Sent
from alerts.escalation import Plan, next_step
from alerts.ledger import Ledger
from alerts.loads import Loads
from alerts.names import Names
from alerts.notice import is_news
from models import clock
from models.errors import MessageError, StorageError

log = logging.getLogger(__name__)

TAIL: Final = 2_000
"""Newest entries kept in memory for the feeds; who is further behind reads from the ledger."""
MAX_ROUNDS: Final = 32
"""More tellings in a row than a chain has steps and candidates would be a mistake of ours."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request: `refusal` says why it was not taken; else it is stored, now or before."""

    refusal: MessageError | None = None


class Office:
    """Owner of ledger and cases. All methods run on one event loop.

    Args:
        ledger: open for writing; read once, whole, at the start.
        names: the config content.
        now_ms: the clock.
    """

    def __init__(self, ledger: Ledger, names: Names, *, now_ms: Callable[[], int] = clock.now_ms) -> None:
        self.book = Casebook()
        self.names = names
        self.now_ms = now_ms
        self.ledger = ledger
        self.tail: deque[Entry] = deque(maxlen=TAIL)
        self.closing = False
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends with the error when the ledger cannot be written any more: the process must end, and start afresh."""
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._next_ms: dict[str, int] = {}
        self._due: list[tuple[int, str]] = []
        self._news: dict[str, None] = {}
        """Alert ids; a dict, because they go out in the order in which they came up."""
        for entry in ledger.read():
            self.book.apply(entry)
            self.tail.append(entry)
        self.loads = Loads()
        for case in self.book.cases.values():
            self.loads.put(case)
        self._dirty = {case.incident_id for case in self.book.cases.values() if case.is_open}
        self._note_news(self._dirty)

    # --- writing ---------------------------------------------------------------------------------------------------

    async def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        """Store what may be stored of `requests`, with everything that follows from it, in one transaction.

        Returns when the disk has it; one outcome for each request.

        Raises:
            StorageError: nothing was stored, and this office must not be used any more.
        """
        async with self._lock:
            return await self._submit(requests)

    async def _submit(self, requests: Sequence[Request]) -> list[Outcome]:
        now_ms = self.now_ms()
        outcomes, drafts, entries = [], list[Draft](), list[Entry]()
        for request in requests:
            try:
                admitted = admit(self.book, request, now_ms=now_ms)
            except MessageError as exc:
                outcomes.append(Outcome(exc))
                continue
            outcomes.append(Outcome())
            drafts += admitted
            entries += self._take(admitted, now_ms)
        entries += self._follow_up(now_ms)
        await self._write(entries, [draft for draft in drafts if draft.picture])
        return outcomes

    async def tick(self) -> None:
        """Do what has fallen due."""
        async with self._lock:
            now_ms = self.now_ms()
            while (self.next_ms or now_ms + 1) <= now_ms:
                self._dirty.add(heapq.heappop(self._due)[1])
            await self._write(self._follow_up(now_ms), [])

    async def note_sent(self, sent: Sequence[tuple[str, Sent]]) -> None:
        """Store that alerts went out; pairs of incident id and what was sent."""
        async with self._lock:
            drafts = [Draft(kind=Kind.ALERT_SENT, body=body, incident_id=incident) for incident, body in sent]
            await self._write(self._take(drafts, self.now_ms()), [])

    def _take(self, drafts: Sequence[Draft], now_ms: int) -> list[Entry]:
        entries = self.ledger.link(drafts, now_ms)
        people = self.book.people
        for entry in entries:
            changed = self.book.apply(entry)
            if changed:
                touched = {changed, *self._absorbed_by(changed)}
                self._dirty |= touched
                for incident_id in touched:
                    self.loads.put(self.book.cases[incident_id])
        if self.book.people != people:
            self._dirty.update(case.incident_id for case in self.book.cases.values() if case.is_open)
        return entries

    def _absorbed_by(self, incident_id: str) -> list[str]:
        return [alias for alias in self.book.cases[incident_id].order.incident.aliases if alias in self.book.cases]

    def _follow_up(self, now_ms: int) -> list[Entry]:
        """Plan every case that changed; record who is to be told, until nobody is."""
        entries: list[Entry] = []
        for _ in range(MAX_ROUNDS):
            dirty, self._dirty = self._dirty, set()
            if not dirty:
                return entries
            for incident_id in sorted(dirty):
                case = self.book.cases[incident_id]
                plan = self.plan(case, now_ms)
                self._set_due(incident_id, plan.next_ms)
                drafts = [Draft(kind=Kind.ALERT_INTENDED, body=intent, incident_id=incident_id) for intent in plan.tell]
                if plan.rematch:
                    drafts.append(rematch.decision(self.book, case, plan.rematch, now_ms))
                entries += self._take(drafts, now_ms)
        log.error("planning does not come to an end for %s", sorted(self._dirty))
        return entries

    def _set_due(self, incident_id: str, next_ms: int | None) -> None:
        if next_ms is None:
            self._next_ms.pop(incident_id, None)
        elif self._next_ms.get(incident_id) != next_ms:
            self._next_ms[incident_id] = next_ms
            heapq.heappush(self._due, (next_ms, incident_id))

    async def _write(self, entries: list[Entry], pictures: list[Draft]) -> None:
        if entries:
            try:
                await asyncio.shield(asyncio.to_thread(self.ledger.write, entries, pictures))
            except StorageError as exc:
                # The cases in memory are ahead of the disk now: only a fresh start from the ledger is honest.
                if not self.failed.done():
                    self.failed.set_exception(exc)
                raise
            self.tail.extend(entries)
            self._note_news({entry.incident_id for entry in entries} - {""})
            self._changed.set()
            self._changed = asyncio.Event()

    def _note_news(self, incident_ids: set[str]) -> None:
        for incident_id in incident_ids:
            case = self.book.cases[incident_id]
            for alert_id, telling in case.tellings.items():
                if case.is_open and (telling.sent is None or is_news(case, telling)):
                    self._news[alert_id] = None

    def close(self) -> None:
        """Let everybody who waits go on, and see `closing`."""
        self.closing = True
        self._changed.set()

    # --- reading ---------------------------------------------------------------------------------------------------

    def plan(self, case: Case, now_ms: int) -> Plan:
        """Return what is next for `case`."""
        return next_step(case, self.names.limits[case.priority], now_ms=now_ms, people=self.book.people)

    @property
    def next_ms(self) -> int | None:
        """When the next case is due."""
        while self._due:
            at_ms, incident_id = self._due[0]
            if self._next_ms.get(incident_id) == at_ms:
                return at_ms
            heapq.heappop(self._due)
        return None

    @property
    def stored_seq(self) -> int:
        """Number of the newest entry on disk."""
        return self.tail[-1].seq

    def take_news(self) -> list[str]:
        """Return the alert ids whose sending would be news, each once."""
        news, self._news = self._news, {}
        return list(news)

    def telling(self, alert_id: str) -> tuple[Case, Telling] | None:
        """Return an alert's case and telling while there is any point in sending it, else None."""
        case = self.book.cases[self.book.case_of_alert[alert_id]]
        telling = case.tellings[alert_id]
        is_reached = bool(telling.marks) or (telling.intent.seat and case.is_acknowledged)
        is_new = telling.sent is None or is_news(case, telling)
        return (case, telling) if case.is_open and (is_new or not is_reached) else None

    def touched(self, entries: Sequence[Entry]) -> list[Case]:
        """Return the cases that `entries` changed, as they are now, those that were merged into others included."""
        ids = dict.fromkeys(entry.incident_id for entry in entries if entry.incident_id in self.book.cases)
        ids |= dict.fromkeys(alias for incident_id in list(ids) for alias in self._absorbed_by(incident_id))
        return [self.book.cases[incident_id] for incident_id in ids]

    async def wait_beyond(self, seq: int, timeout_s: float) -> bool:
        """Wait until an entry with a number above `seq` is on disk; False if none is after `timeout_s`."""
        if self.stored_seq > seq:
            return True
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def entries_after(self, cursor: int) -> list[Entry]:
        """Return up to 500 stored entries with a number above `cursor`, in order."""
        first = self.tail[0].seq
        if cursor >= first - 1:
            return list(itertools.islice(self.tail, cursor + 1 - first, cursor + 501 - first))
        return await asyncio.to_thread(lambda: list(self.ledger.read(after=cursor, limit=500)))
