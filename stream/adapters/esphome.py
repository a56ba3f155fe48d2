"""ESPHome over MQTT: ``<node>/<component>/<object>/state`` in plain text, ``<node>/status`` as its last will.

An object's id is its owner's choice: it means something where a known name is part of it (``kitchen_smoke``).
"""

from __future__ import annotations

from typing import Final

from models.messages import OFFLINE, Quality
from stream.adapters.dialect import ALARMS, FAULTS, MEASURES, Dialect, Faults, Heard, heard
from stream.adapters.names import Host

NAME: Final = "esphome"
_COMPONENTS: Final = frozenset({"sensor", "binary_sensor"})


class EspHome(Dialect):
    """The nodes under one topic prefix.

    Args:
        prefix: under which the nodes' own prefixes lie; empty: at the top.
        host: who listens.
    """

    def __init__(self, prefix: str = "", host: Host | None = None) -> None:
        self._prefix = f"{prefix}/" if prefix else ""
        self._faults = Faults(host or Host())

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters."""
        states = tuple(f"{self._prefix}+/{component}/+/state" for component in sorted(_COMPONENTS))
        return (*states, f"{self._prefix}+/status")

    @property
    def common(self) -> tuple[str, ...]:
        """Nothing: each message says all that is needed."""
        return ()

    def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> list[Heard]:
        """Say what a message means. Nodes retain their states by default: what is retained is a replay."""
        del now_ms
        quality = Quality.REPLAYED if is_retained else Quality.LIVE
        node, *rest = topic.removeprefix(self._prefix).split("/")
        if rest == ["status"]:
            return list(self._faults.news(f"{NAME}/{node}", OFFLINE, quality, is_there=payload == b"offline"))
        source = f"{NAME}/{node}/{rest[1]}"
        name = meaning(rest[1])
        fields = {name: payload.decode("utf-8", "replace")} if name else {}
        return list(heard(source, fields, self._faults, quality))


def meaning(object_id: str) -> str | None:
    """Return the known name in an object's id, the longest of several."""
    known = [name for name in (*ALARMS, *MEASURES, *FAULTS) if f"_{name}_" in f"_{object_id.lower()}_"]
    return max(known, key=len, default=None)
