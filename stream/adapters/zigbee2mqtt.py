"""Zigbee2MQTT: ``<base>/<friendly name>`` with every attribute in every message, and the bridge's own topics.

Its cache repeats the last known state, at its start and whenever any attribute changes. So what comes right after the
bridge came up is a replay, and so is what a device said longer ago than the message: a smoke alarm of yesterday must
not ring today.
"""

from __future__ import annotations

from typing import Final

from models.messages import Quality
from stream.adapters.dialect import (
    FRESH_MS,
    SETTLE_MS,
    Faults,
    Heard,
    fields_of,
    heard,
    moment_ms,
)

NAME: Final = "zigbee2mqtt"
_NOT_DEVICES: Final = ("bridge/", "bridge")


class Zigbee2Mqtt:
    """One bridge.

    Args:
        base: its base topic.
    """

    def __init__(self, base: str = NAME) -> None:
        self._base = base
        self._faults = Faults()
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
            if _is_online(payload) and not is_retained:
                self._up_ms = now_ms
            return []
        if name.startswith(_NOT_DEVICES) or name.endswith(("/set", "/get")):
            return []
        source = f"{NAME}/{name.removesuffix('/availability')}"
        if name.endswith("/availability"):
            quality = _quality(is_retained)
            return list(self._faults.news(source, "offline", quality, is_there=not _is_online(payload)))
        fields = fields_of(payload, f"a message of {source}")
        observed_ms = moment_ms(fields.get("last_seen"))
        quality = self._quality(observed_ms, is_retained=is_retained, now_ms=now_ms)
        return list(heard(source, fields, self._faults, quality, observed_ms))

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
