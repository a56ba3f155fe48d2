"""What residents and officers report, on its way to the stream: kept until the stream has said that it is stored.

`alerts` vouches for the reporter, whom it knows by a post or person id, and decides nothing: the stream takes a report
for a source like any other.
"""

from __future__ import annotations

import uuid
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from models import clock
from models.messages import VERSION, Lane, Observation, ObservationBatch, Position, Quality, Report
from models.topics import ALERTS

LANE: Final = Lane.ALARM
BOOT_ID: Final = f"boot-{uuid.uuid4().hex[:16]}"
"""Of this process: what an earlier one took down has its own clock, and only its wall time counts."""
LIVE_MS: Final = 60_000
"""What has waited for longer is a late first delivery."""


class Tip(Struct, frozen=True, kw_only=True):
    """What somebody wants to report.

    Attributes:
        by: the post or person who reports it.
        mono_ms: the boot clock, read when it came.
    """

    category: str
    position: Position
    by: str
    text: str = ""
    mono_ms: int = 0


def observation(tip: Tip, outbox_id: str, seq: int, *, now_ms: int) -> Observation:
    """Return `tip` as the observation that it is for ever."""
    return Observation(
        device_id=ALERTS,
        outbox_id=outbox_id,
        boot_id=BOOT_ID,
        lane=LANE,
        seq=seq,
        observed_at_ms=now_ms,
        observed_mono_ms=tip.mono_ms,
        payload=Report(category=tip.category, text=tip.text),
        position=tip.position,
        reporter=tip.by,
    )


def batch(report: Observation, *, now_ms: int) -> ObservationBatch:
    """Return what goes out now."""
    is_late = now_ms - report.observed_at_ms > LIVE_MS
    return ObservationBatch(
        v=VERSION,
        boot_id=BOOT_ID,
        sent_at_ms=now_ms,
        sent_mono_ms=clock.mono_ms(),
        observations=(replace(report, quality=Quality.LATE) if is_late else report,),
    )
