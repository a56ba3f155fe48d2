"""Finding what stands still: a consumer that is alive, connected, and reads nothing.

Faust and aiokafka have been seen to stop fetching after a rebalance, without an error. So the position of each
partition is compared with the end of the log, which another connection tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from models.errors import StorageError
from stream.log.file import Partition

STUCK_MS: Final = 10_000
"""A partition that has something to read and is not read for so long is stuck."""
SETTLE_MS: Final = 60_000
"""A rebalance or a recovery that takes longer is stuck. Fifty thousand rows come back in five seconds."""


class StuckError(StorageError):
    """The app has to be started anew."""


class Watchdog:
    """Remembers since when each partition stands where it stands.

    Args:
        stuck_ms: of a partition; `settle_ms`: of the giving out of partitions.
    """

    def __init__(self, *, stuck_ms: int = STUCK_MS, settle_ms: int = SETTLE_MS) -> None:
        self._stuck_ms = stuck_ms
        self._settle_ms = settle_ms
        self._since: dict[Partition, tuple[int, int]] = {}
        self._settling_since_ms: int | None = None

    def look(
        self,
        positions: Mapping[Partition, int],
        heads: Mapping[Partition, int],
        *,
        is_settling: bool,
        now_ms: int,
    ) -> None:
        """Take note of how far the consumer is.

        Args:
            positions: the next offset of each partition that should be read.
            heads: the end of the log, as another connection sees it.
            is_settling: partitions are being given out, or recovered.
            now_ms: of a clock that never jumps.

        Raises:
            StuckError: something has stood still for too long.
        """
        if is_settling:
            self._since.clear()
            self._settling_since_ms = now_ms if self._settling_since_ms is None else self._settling_since_ms
            if now_ms - self._settling_since_ms >= self._settle_ms:
                raise StuckError(f"partitions have been given out for {self._settle_ms / 1000:.0f} s without an end")
            return
        self._settling_since_ms = None
        behind = {place: offset for place, offset in positions.items() if offset < heads.get(place, 0)}
        self._since = {
            place: held if (held := self._since.get(place)) and held[0] == offset else (offset, now_ms)
            for place, offset in behind.items()
        }
        for place, (offset, since_ms) in self._since.items():
            if now_ms - since_ms >= self._stuck_ms:
                for_s = self._stuck_ms / 1000
                raise StuckError(f"{place.topic}/{place.number} stands at {offset} of {heads[place]} for {for_s:.0f} s")

    def forget(self) -> None:
        """Begin anew: it could not be seen how far the log is."""
        self._since.clear()
        self._settling_since_ms = None
