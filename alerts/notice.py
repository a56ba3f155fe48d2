"""What an officer is sent: pure functions from a case to an `Alert`."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from alerts.casebook import Case, Telling, is_raised
from alerts.names import Names
from models.messages import VERSION, Alert, Priority, Response

EXPIRES_MS: Final = {Priority.P1: 3_600_000, Priority.P2: 7_200_000}
DAY_MS: Final = 86_400_000


def alert_of(case: Case, telling: Telling, names: Names, *, now_ms: int) -> Alert:
    """Return the alert for `telling` as the case is now. Sent again it has the same `alert_id`, whatever changed."""
    incident, intent = case.order.incident, telling.intent
    line = names.headline(incident)
    timeline = case.timeline
    return Alert(
        v=VERSION,
        alert_id=intent.alert_id,
        incident_id=incident.incident_id,
        post=intent.post,
        person=intent.person,
        step=intent.step,
        reason=intent.reasons,
        channel="mqtt",
        priority=incident.priority,
        stage=incident.stage,
        category=incident.category,
        headline_zh=line.zh,
        headline_en=line.en,
        position=incident.position,
        areas=incident.areas,
        evidence_ids=incident.evidence_ids,
        sent_at_ms=now_ms,
        expires_at_ms=expires_ms(case, telling),
        timeline=replace(timeline, notified_ms=timeline.notified_ms or now_ms),
    )


def expires_ms(case: Case, telling: Telling) -> int:
    """Return when the alert means nothing any more, and is not sent again."""
    return telling.intended_ms + EXPIRES_MS.get(case.priority, DAY_MS)


def is_news(case: Case, telling: Telling) -> bool:
    """Return whether the incident is more urgent than when this person was last told; closed or declined is no news."""
    if telling.sent is None or telling.declined:
        return False
    incident = case.order.incident
    is_general = incident.response is Response.GENERAL and not telling.sent.general
    return is_raised(telling.sent.stage, incident.stage) or incident.priority < telling.sent.priority or is_general
