"""Whether a heat detector measures often enough to tell a fast rise (domain reference 10.5). If not, that is told.

Its fixed limit holds all the same. A sensor that speaks only when something changes is quiet while nothing does: so
what counts is what most of its words say for some minutes, and of other kinds of devices nobody expects it.
"""

from __future__ import annotations

from typing import Final

from stream.zones import notices
from stream.zones.notices import Held, Notice

COARSE: Final = Notice("rise", "rise_not_evaluable", "RISE_EVALUABLE", ("device.coarse",))
FOR_MS: Final = 300_000


def weigh(held: Held | None, is_evaluable: bool, event_ms: int) -> Held | None:
    """Return what is held of a device after one more sample."""
    return notices.weigh(held, not is_evaluable, event_ms, for_ms=FOR_MS, over_ms=FOR_MS)
