"""Whether a device's wall clock is right. Event times do not depend on it (design.md 2); that it is wrong is told.

What can be seen is the wall clock at sending less ours at arrival: the skew, less the time on the way. A slow way looks
like a clock that is behind, so a clock counts as wrong only when every message of some minutes says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from models.messages import Quality
from models.thresholds import Supervision
from stream.records import Said

FAMILY: Final = "clock"
SKEW: Final = "clock_skew"
"""The fault, as a device would name it."""
MESSAGES: Final = 3
"""One message proves nothing: so many in a row do."""
HYSTERESIS: Final = 0.5
"""Right again within this share of the limit."""


class Clock(Struct, frozen=True, array_like=True):
    """What is held of a device's clock. None is kept of one that is right and that nothing speaks against.

    Attributes:
        is_wrong: what was told.
        against: messages in a row that say otherwise,
        since_ms: the first of them, by our clock, and
        last_ms: the last: the observations of one batch are one message.
    """

    is_wrong: bool
    against: int = 0
    since_ms: int = 0
    last_ms: int = 0


def weigh(held: Clock | None, said: Said, fresh: Iterable[int], limits: Supervision) -> Clock | None:
    """Return what is held of a device's clock after one more message, of which these observations are `fresh`."""
    skew_ms, at_ms = said.skew_ms, said.received_ms
    if skew_ms is None or all(said.observations[k].quality is Quality.REPLAYED for k in fresh):
        return held
    is_wrong = held is not None and held.is_wrong
    limit_ms = limits.skew_s * 1000 * (HYSTERESIS if is_wrong else 1)
    says_wrong = abs(skew_ms) > limit_ms
    if says_wrong == is_wrong:
        return Clock(is_wrong=True) if is_wrong else None
    if held is None or not held.against:
        return Clock(is_wrong, 1, at_ms, at_ms)
    if at_ms <= held.last_ms:
        return held
    against = held.against + 1
    if against >= MESSAGES and (is_wrong or at_ms - held.since_ms >= limits.skew_for_s * 1000):
        return Clock(is_wrong=True) if says_wrong else None
    return Clock(is_wrong, against, held.since_ms, at_ms)


def wrong(clocks: dict[str, Clock]) -> dict[str, str]:
    """Return the devices whose clock is wrong, with the fault."""
    return {device_id: SKEW for device_id, clock in clocks.items() if clock.is_wrong}
