"""What is on its way and not yet acknowledged, and when to send it again. Pure: no clock, no link."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

FIRST_RETRY_MS: Final = 2_000
LAST_RETRY_MS: Final = 30_000
K = TypeVar("K", int, str)


@dataclass(frozen=True, slots=True)
class Flight:
    """How often and when something was sent, and when it is due again if nobody says it is stored."""

    attempts: int
    sent_mono_ms: int
    due_mono_ms: int


class Window(Generic[K]):
    """At most `limit` keys in flight."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.flights: dict[K, Flight] = {}

    @property
    def room(self) -> int:
        """How many more may be sent."""
        return max(0, self.limit - len(self.flights))

    def sent(self, keys: Iterable[K], *, now_mono_ms: int, jitter: float) -> None:
        """Note that `keys` were just sent. `jitter` in 0..1 spreads the next try over a quarter of its back-off."""
        for key in keys:
            before = self.flights.get(key)
            attempts = before.attempts + 1 if before else 1
            wait_ms = min(FIRST_RETRY_MS << min(attempts - 1, 8), LAST_RETRY_MS)
            due_ms = now_mono_ms + round(wait_ms * (1.0 - jitter / 4))
            self.flights[key] = Flight(attempts, now_mono_ms, due_ms)

    def due(self, *, now_mono_ms: int) -> list[K]:
        """Return what must be sent again now."""
        return [key for key, flight in self.flights.items() if flight.due_mono_ms <= now_mono_ms]

    def next_due_ms(self) -> int | None:
        """Return the boot clock at which something is due again."""
        return min((flight.due_mono_ms for flight in self.flights.values()), default=None)

    def forget(self, keys: Iterable[K]) -> None:
        """Drop `keys`: acknowledged, or no longer there."""
        for key in keys:
            self.flights.pop(key, None)

    def make_room(self, wanted: int) -> None:
        """Let the longest-sent go until `wanted` fit: the newest must not wait behind what nobody answers.

        They lose nothing but their place: what is not in flight is chosen anew from the file.
        """
        surplus = len(self.flights) + min(wanted, self.limit) - self.limit
        if surplus > 0:
            self.forget(sorted(self.flights, key=lambda key: self.flights[key].sent_mono_ms)[:surplus])

    def hasten(self, *, now_mono_ms: int, unanswered_ms: int) -> None:
        """Make due what was sent `unanswered_ms` ago or longer, as if for the first time: somebody is there again."""
        for key, flight in self.flights.items():
            if now_mono_ms - flight.sent_mono_ms >= unanswered_ms:
                self.flights[key] = Flight(0, flight.sent_mono_ms, now_mono_ms)
