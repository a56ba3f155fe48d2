"""What has come over the link and waits to be looked at: bounded, and a flood of one keeps nobody else out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from models import clock, topics
from models.errors import MessageError
from stream.ingest.admission import Arrival, check_size
from stream.ingest.dead import dead
from stream.ingest.limit import Limiter
from stream.log.file import NewRecord

WAITING_BYTES: Final = 32 << 20
"""Of messages that wait. What comes beyond is let go of unread: to keep it would only make all of it late."""
MESSAGE_BYTES: Final = 1_024
"""What a message takes beside its payload, or less."""
MESSAGES_PER_S: Final = 200.0
"""Of one sender, at most: each holds up to 256 observations. What is beyond it is sent again, by a sender of ours."""
PLAIN_BYTES: Final = 16 << 10
"""A larger message counts as several: or the largest ones of one sender, in a burst, would fill the inbox alone."""


class Waiting(NamedTuple):
    """What waits: a message, or its dead letter where it was too large; and how the broker hears that it is done."""

    what: Arrival | NewRecord
    ack: Callable[[], None]


class Inbox:
    """One thread puts in, another takes out.

    Args:
        news: called on the putting thread when there is something, once until `take` has found nothing.

    Attributes:
        dropped: messages let go unread because too many were waiting; their senders send them again.
        limited: messages let go unread because their sender said too much.
    """

    def __init__(self, news: Callable[[], None]) -> None:
        self.dropped = self.limited = 0
        self._news = news
        self._is_told = False
        self._senders = Limiter(MESSAGES_PER_S, 3 * MESSAGES_PER_S)
        self._waiting: deque[Waiting] = deque()
        self._put_bytes = self._taken_bytes = 0  # two, for each thread writes its own

    def put(self, topic: str, payload: bytes, retained: bool, ack: Callable[[], None]) -> None:
        """Put a message in; one that does not stay is acknowledged to the broker, not to its sender, who keeps it."""
        arrival = Arrival(topic, payload, clock.now_ms(), retained)
        cost = 1 + len(payload) // PLAIN_BYTES
        if not (_is_our_own(topic) or self._senders.take(topic, arrival.received_ms, cost)):
            self.limited += 1
            ack()
            return
        if self._put_bytes - self._taken_bytes > WAITING_BYTES:
            self.dropped += 1
            ack()
            return
        what: Arrival | NewRecord = arrival
        try:
            check_size(arrival)
        except MessageError as exc:  # only the dead letter waits, so that noise takes no memory
            what = dead(arrival.topic, arrival.payload, exc, now_ms=arrival.received_ms)
        self._put_bytes += _size_bytes(what)
        self._waiting.append(Waiting(what, ack))
        if not self._is_told:
            self._is_told = True
            self._news()

    def take(self) -> Waiting | None:
        """Return what has waited longest, None where nothing waits: then there will be `news`."""
        if not self._waiting:
            self._is_told = False  # before looking: what is put in after the look is told again
        try:
            waiting = self._waiting.popleft()
        except IndexError:
            return None
        self._taken_bytes += _size_bytes(waiting.what)
        return waiting


def _size_bytes(what: Arrival | NewRecord) -> int:
    return MESSAGE_BYTES + len((what.payload if isinstance(what, Arrival) else what.value) or b"")


def _is_our_own(topic: str) -> bool:
    """Whether this is between our own processes: there a storm of orders is answered by a storm of acknowledgements."""
    at = topics.parse(topic)
    return at is not None and at.who in ("decisions", "load", topics.STREAM)
