"""Canaries at the end of their way: measured here, and shown to nobody. When they stop, the seat is told.

Who sings is remembered in a file: a device that falls silent while this process is away is missed all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from models.messages import CANARY, DispatchOrder
from models.supervise import write_atomically

FILE: Final = "canaries.json"

SILENT_PERIODS: Final = 3
"""After so many periods without its canary, the way from a device to here counts as broken."""
KEPT: Final = 100


class Song(Struct, frozen=True, kw_only=True):
    """What is known of one device's canaries.

    Attributes:
        latency_ms: of the last one, from its making to here.
        p99_ms: the highest but one in a hundred of the last ones.
    """

    device_id: str
    heard_ms: int
    latency_ms: int
    p99_ms: int
    is_silent: bool


def is_canary(order: DispatchOrder) -> bool:
    """Whether an order is one: it is acknowledged like any, and goes no further."""
    return order.incident.category == CANARY


class Canaries:
    """The canaries of all devices. Pure: time is an argument.

    Args:
        period_ms: one canary of each device in so long.
        known: devices that sang before this process began, and
        since_ms: when it began: they are silent if they do not sing again.
    """

    def __init__(self, period_ms: int, *, known: Iterable[str] = (), since_ms: int = 0) -> None:
        self._silent_ms = SILENT_PERIODS * period_ms
        self._heard_ms: dict[str, int] = dict.fromkeys(known, since_ms)
        self._latencies_ms: dict[str, deque[int]] = {}

    def hear(self, order: DispatchOrder, now_ms: int) -> None:
        """Take one that has arrived."""
        incident = order.incident
        captured_ms = incident.timeline.captured_ms
        for device_id in incident.sources:
            self._heard_ms[device_id] = now_ms
            if captured_ms is not None:
                self._latencies_ms.setdefault(device_id, deque(maxlen=KEPT)).append(max(0, now_ms - captured_ms))

    @property
    def singers(self) -> Collection[str]:
        """The devices that ever sent one."""
        return self._heard_ms.keys()

    def songs(self, now_ms: int) -> tuple[Song, ...]:
        """Return what is known of each device that ever sent one, by id."""
        return tuple(self._song(device_id, now_ms) for device_id in sorted(self._heard_ms))

    def _song(self, device_id: str, now_ms: int) -> Song:
        latencies = sorted(self._latencies_ms.get(device_id, (0,)))
        return Song(
            device_id=device_id,
            heard_ms=self._heard_ms[device_id],
            latency_ms=self._latencies_ms[device_id][-1] if device_id in self._latencies_ms else 0,
            p99_ms=latencies[-(-99 * len(latencies) // 100) - 1],
            is_silent=now_ms - self._heard_ms[device_id] >= self._silent_ms,
        )


def remembered(path: Path, devices: Collection[str]) -> list[str]:
    """Return who of `devices` was known to sing; nobody where there is no such file, or none that can be read."""
    try:
        known = msgspec.json.decode(path.read_bytes(), type=list[str])
    except (FileNotFoundError, msgspec.DecodeError):
        return []
    return [device_id for device_id in known if device_id in devices]


def remember(path: Path, singers: Collection[str]) -> None:
    """Write down who sings."""
    write_atomically(path, msgspec.json.encode(sorted(singers)))
