"""Whether a device's wall clock is right. Event times do not depend on it (design.md 2); that it is wrong is told.

What can be seen is the wall clock at sending less ours at arrival: the skew, less the time on the way. A slow way looks
like a clock that is behind, so a clock counts as wrong only when every message of some minutes says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from models.messages import Quality
from models.thresholds import Supervision
from stream.records import Said
from stream.zones import notices
from stream.zones.notices import Held, Notice

WRONG: Final = Notice("clock", "clock_skew", "CLOCKS_RIGHT", ("device.clock", "device.fault"))
HYSTERESIS: Final = 0.5
"""Right again within this share of the limit."""


def weigh(held: Held | None, said: Said, fresh: Iterable[int], limits: Supervision) -> Held | None:
    """Return what is held of a device's clock after one more message, of which these observations are `fresh`."""
    skew_ms, limit_ms = said.skew_ms, limits.skew_s * 1000
    if skew_ms is None or (held is None and abs(skew_ms) <= limit_ms):  # nearly always
        return held
    if all(said.observations[k].quality is Quality.REPLAYED for k in fresh):
        return held
    if held is not None and held.is_so:
        limit_ms *= HYSTERESIS
    return notices.weigh(held, abs(skew_ms) > limit_ms, said.received_ms, for_ms=round(limits.skew_for_s * 1000))
