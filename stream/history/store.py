"""What a history can be asked, whatever keeps it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec
from msgspec import Struct

from stream.records import HistoryLog, OrderedRecords, decode_history

log = logging.getLogger(__name__)

Outcomes = dict[tuple[str, str, str], int]
"""(device, label, outcome) to the number of observations."""


class Seen(Struct, frozen=True, kw_only=True, array_like=True, order=True):
    """One observation and the decision on it, as the history tells it."""

    event_ms: int
    device_id: str
    outbox_id: str
    lane: str
    seq: int
    kind: str
    label: str
    outcome: str
    confidence: float | None
    value: float | None
    signal_id: str | None


class Store(Protocol):
    """Keeps the `history` log in a form that can be asked. One thread at a time."""

    def write(self, records: Sequence[HistoryLog]) -> int:
        """Keep `records`, those that are there already once; return how many observations they hold.

        Raises:
            StorageError: nothing, or not all of it, was kept: the same records are to be written again.
        """

    def trim(self, before_ms: int) -> None:
        """Let go of what is older, by event time.

        Raises:
            StorageError: it did not.
        """

    def count(self) -> int:
        """Return how many observations are kept."""

    def outcomes(self, since_ms: int, until_ms: int) -> Outcomes:
        """Return what became of the observations of a time, by device and label."""

    def seen(self, device_id: str, since_ms: int, until_ms: int, limit: int) -> list[Seen]:
        """Return the observations of a device, oldest first."""

    def latencies_ms(self, since_ms: int, until_ms: int) -> dict[str, list[int]]:
        """Return how long orders took from the device's eye to the log, by priority, in rising order."""

    def close(self) -> None:
        """Give back what is open."""


class Keeper(Protocol):
    """Keeps the `history` log as it stands there. One thread at a time."""

    def keep(self, values: Sequence[bytes]) -> int:
        """Keep records, those that are there already once; return how many decisions were new.

        Raises:
            StorageError: nothing, or not all of it, was kept: the same records are to be kept again.
        """

    def trim(self, before_ms: int) -> None:
        """Let go of what is older, as `Store.trim`."""

    def count(self) -> int:
        """Return how many decisions are kept."""

    def close(self) -> None:
        """Give back what is open."""


class Here:
    """Keeps the log in a store of this process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.trim, self.count, self.close = store.trim, store.count, store.close

    def keep(self, values: Sequence[bytes]) -> int:
        """As `Keeper.keep`."""
        return self._store.write(list(_records(values)))


def _records(values: Sequence[bytes]) -> Iterator[HistoryLog]:
    for value in values:
        try:
            record = decode_history(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.exception("this is no record of the history: %.200r", value)
        else:
            yield from record.orders if isinstance(record, OrderedRecords) else (record,)
