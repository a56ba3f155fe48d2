"""Zigbee2MQTT: ``<base>/<friendly name>`` with every attribute in every message, and the bridge's own topics.

Its cache repeats the last known state, at its start and whenever any attribute changes. So what comes right after the
bridge came up is a replay, and so is what a device said longer ago than the message: a smoke alarm of yesterday must
not ring today.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.messages import OFFLINE, Quality
from stream.adapters.dialect import FRESH_MS, SETTLE_MS, Dialect, Faults, Heard, fields_of, heard, moment_ms
from stream.adapters.names import Host

NAME: Final = "zigbee2mqtt"
_NOT_DEVICES: Final = ("bridge/", "bridge")


class Zigbee2Mqtt(Dialect):
    """One bridge.

    Args:
        base: its base topic.
        host: who listens.
    """

    def __init__(self, base: str = NAME, host: Host | None = None) -> None:
        self._base = base
        self._host = host or Host()
        self._faults = Faults(self._host)
        self._behind: set[str] = set()
        """Admitted devices that were heard of."""
        self._up_ms: int | None = None

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters: names may contain slashes."""
        return (f"{self._base}/#",)

    @property
    def common(self) -> tuple[str, ...]:
        """When the bridge came up."""
        return (f"{self._base}/bridge/state",)

    def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> list[Heard]:
        """Say what a message means."""
        name = topic.removeprefix(f"{self._base}/")
        if name == "bridge/state":
            return list(self._bridge(is_online=_is_online(payload), is_retained=is_retained, now_ms=now_ms))
        if name.startswith(_NOT_DEVICES) or name.endswith(("/set", "/get")):
            return []
        source = f"{NAME}/{name.removesuffix('/availability')}"
        if self._host.is_admitted(source):
            self._behind.add(source)
        if name.endswith("/availability"):
            quality = _quality(is_retained)
            return list(self._faults.news(source, OFFLINE, quality, is_there=not _is_online(payload)))
        fields = fields_of(payload, f"a message of {source}")
        observed_ms = moment_ms(fields.get("last_seen"))
        quality = self._quality(observed_ms, is_retained=is_retained, now_ms=now_ms)
        return list(heard(source, fields, self._faults, quality, observed_ms))

    def _bridge(self, *, is_online: bool, is_retained: bool, now_ms: int) -> Iterator[Heard]:
        """Yield that the devices behind the bridge are gone with it: it is what would say so of one of them."""
        if is_online and not is_retained:
            self._up_ms = now_ms
        for source in sorted(self._behind):
            yield from self._faults.news(source, OFFLINE, _quality(is_retained), is_there=not is_online)

    def _quality(self, observed_ms: int | None, *, is_retained: bool, now_ms: int) -> Quality:
        is_settling = self._up_ms is not None and now_ms - self._up_ms < SETTLE_MS
        is_old = observed_ms is not None and now_ms - observed_ms > FRESH_MS
        is_fresh = observed_ms is not None and not is_old
        return _quality(is_retained or is_old or (is_settling and not is_fresh))


def _quality(is_replayed: bool) -> Quality:
    return Quality.REPLAYED if is_replayed else Quality.LIVE


def _is_online(payload: bytes) -> bool:
    """Read ``online`` as text or as ``{"state": "online"}``: both are in use."""
    return b"online" in payload and b"offline" not in payload
