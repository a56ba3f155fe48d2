"""How much each person has on his hands: the open cases that he has, or was asked to take and nobody has."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from alerts.casebook import Case
from models.messages import VERSION, Load, Priority, ReceiptKind

AGAIN_MS: Final = 120_000
"""A load is said again this often while it is not zero: after 300 s the matcher believes it no more."""
PAUSE_MS: Final = 1_000
BURST: Final = 500
"""At most so many loads are said in one `PAUSE_MS`: a storm of incidents must not make one of loads."""


def bearers(case: Case) -> frozenset[str]:
    """Return the persons on whom a case lies."""
    if not case.is_open:
        return frozenset()
    field = [telling for telling in case.tellings.values() if not telling.intent.seat]
    holders = [telling for telling in field if telling.accepted]
    waiting = [telling for telling in field if telling.answer is None]
    busy = [one for one in holders if one.first(ReceiptKind.DONE) is None] if holders else waiting
    return frozenset(telling.intent.person for telling in busy)


class Loads:
    """The load of each person, kept up to date case by case, and what is to be said of it."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, Priority]] = {}
        """By person: the priority of each of his cases, by incident."""
        self._bearers: dict[str, frozenset[str]] = {}
        self._said: set[str] = set()
        """Persons of whom something was said since the start."""
        self._again_ms: int | None = None
        self._free_ms = 0
        """From here on something may be said."""
        self._news: dict[str, None] = {}

    def put(self, case: Case) -> None:
        """Take in what became of a case."""
        before, after = self._bearers.pop(case.incident_id, frozenset()), bearers(case)
        if after:
            self._bearers[case.incident_id] = after
        for person in before - after:
            del self._open[person][case.incident_id]
            if not self._open[person]:
                del self._open[person]
            self._news[person] = None
        for person in after:
            held = self._open.setdefault(person, {})
            if held.get(case.incident_id) is not case.priority:
                held[case.incident_id] = case.priority
                self._news[person] = None
        # Of who was told and bears nothing, zero is said once: it replaces what an earlier run may have left behind.
        told = {telling.intent.person: None for telling in case.tellings.values()}
        self._news |= {person: None for person in told if person not in self._said}

    def say_all(self) -> None:
        """Say everything again: the connection is new."""
        self._news |= dict.fromkeys(self._said)

    def take_due(self, now_ms: int) -> Iterator[Load]:
        """Yield what is to be said now, what waits longest first: what is news, and what was said long ago."""
        if self._again_ms is None or now_ms >= self._again_ms:
            self._again_ms = now_ms + AGAIN_MS
            for person in self._open:
                self._news.setdefault(person)
        if now_ms < self._free_ms or not self._news:
            return
        self._free_ms = now_ms + PAUSE_MS
        for person in list(itertools.islice(self._news, BURST)):
            del self._news[person]
            self._said.add(person)
            yield Load(v=VERSION, person=person, open=self._counts(person), at_ms=now_ms)

    @property
    def next_ms(self) -> int | None:
        """When something is to be said, if nothing changes."""
        if self._news:
            return self._free_ms
        return self._again_ms if self._open else None

    def _counts(self, person: str) -> dict[Priority, int]:
        counts: dict[Priority, int] = {}
        for priority in self._open.get(person, {}).values():
            counts[priority] = counts.get(priority, 0) + 1
        return counts
