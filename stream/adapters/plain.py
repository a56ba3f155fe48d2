"""Plain JSON on topics of one's own: fields by their known names, at the top or one level below."""

from __future__ import annotations

from typing import Any, Final

from models.messages import Quality
from stream.adapters.dialect import FRESH_MS, Dialect, Faults, Heard, fields_of, heard, moment_ms
from stream.adapters.names import Host

NAME: Final = "json"
_TIMES: Final = ("timestamp_ms", "timestamp", "time", "ts")


class PlainJson(Dialect):
    """Messages of one topic filter.

    Args:
        topic: the filter; what its topics are called names their devices.
        host: who listens.
    """

    def __init__(self, topic: str, host: Host | None = None) -> None:
        self._topic = topic
        self._faults = Faults(host or Host())

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters."""
        return (self._topic,)

    @property
    def common(self) -> tuple[str, ...]:
        """Nothing: each message says all that is needed."""
        return ()

    def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> list[Heard]:
        """Say what a message means; one that says when, and that long ago, is late."""
        source = f"{NAME}/{topic}"
        fields = fields_of(payload, f"a message on {topic}")
        observed_ms = next((at for name in _TIMES if (at := moment_ms(fields.get(name))) is not None), None)
        quality = Quality.LIVE
        if is_retained:
            quality = Quality.REPLAYED
        elif observed_ms is not None and now_ms - observed_ms > FRESH_MS:
            quality = Quality.LATE
        return list(heard(source, _flat(fields), self._faults, quality, observed_ms))


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for value in fields.values():
        if isinstance(value, dict):
            inner |= value
    return inner | fields
