"""What residents and officers report, on its way to the stream: kept until the stream has said that it is stored.

`alerts` vouches for the reporter, whom it knows by a post or person id, and decides nothing: the stream takes a report
for a source like any other.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from alerts.casebook import Case, Casebook
from models import clock
from models.catalogue import Catalogue
from models.geo import distance_m, point_e7
from models.messages import VERSION, Lane, Observation, ObservationBatch, Position, Quality, Report
from models.topics import ALERTS

LANE: Final = Lane.ALARM
BOOT_ID: Final = f"boot-{uuid.uuid4().hex[:16]}"
"""Of this process: what an earlier one took down has its own clock, and only its wall time counts."""
LIVE_MS: Final = 60_000
"""What has waited for longer is a late first delivery."""


MOST: Final = 10
"""Reports of one person"""
WITHIN_MS: Final = 600_000
"""in so long, at most: whoever sees more than that calls the seat."""
MOST_OF_SEAT: Final = 60
"""The seat reports for whoever calls."""
REACH_M: Final = 150.0
"""An incident is where its first evidence was: so far from there what was reported may have been."""


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


def is_too_many(earlier: Iterable[Observation], most: int, *, now_ms: int) -> bool:
    """Whether somebody who has reported `earlier` has to wait before he may report again."""
    return sum(now_ms - one.observed_at_ms < WITHIN_MS for one in earlier) >= most


def incident_of(report: Observation, book: Casebook, catalogue: Catalogue) -> Case | None:
    """Return the case that a report has opened or joined: the newest of its family, place and reporter, None so far."""
    if report.position is None or not isinstance(report.payload, Report):
        return None
    category = catalogue.category_by_key.get(report.payload.category)
    found = [
        case
        for case in book.cases.values()
        if report.reporter in case.order.incident.reporters
        and (category is None or case.order.incident.family == category.family)
        and not (case.shut and case.shut[-1][0] < report.observed_at_ms)  # what comes after a close is another one
        and _away_m(report.position, case.order.incident.position) <= REACH_M
    ]
    newest = max(found, key=lambda case: case.order.incident.opened_at_ms, default=None)
    return book.cases.get(newest.merged_into or newest.incident_id) if newest else None


def _away_m(one: Position, other: Position) -> float:
    return distance_m(point_e7(one.lon_deg, one.lat_deg), point_e7(other.lon_deg, other.lat_deg))
