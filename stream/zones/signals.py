"""What one observation adds to a signal: small pure functions between the rules and the zone's machine."""

from __future__ import annotations

from collections.abc import Sequence

from models import ids
from models.messages import Detection, Observation, Reading, Report, Stage, Timeline
from stream.records import Located
from stream.zones.family import MAX_PICTURES, ActiveSignal, Hit, Machine
from stream.zones.rules import Judgement, Level


def raised(located: Located, judged: Judgement, enough: tuple[Hit, ...], tenant: str) -> ActiveSignal:
    """Return the pre-alarm that `enough` hits make: named after the first of them in log order."""
    seen, first = located.observation, enough[0]
    return ActiveSignal(
        signal_id=ids.incident_id(tenant, seen.device_id, first.outbox_id, first.lane, first.seq),
        stage=Stage.PRE_ALARM,
        meaning=judged.meaning,
        label=judged.label,
        device_id=seen.device_id,
        confidence=judged.confidence,
        sources=(seen.device_id,),
        raised_event_ms=located.event_ms,
        told_event_ms=located.event_ms,
        lon_e7=located.lon_e7,
        lat_e7=located.lat_e7,
        radius_m=located.radius_m,
        areas=located.areas,
        timeline=timeline_of(located),
        untold=len(enough),
        reporters=tuple(sorted({hit.reporter for hit in enough if hit.reporter})),
    )


def alone_reason(judged: Judgement) -> str | None:
    """Return why this evidence needs no second device."""
    if judged.is_manual:
        return "MANUAL"
    return "SINGLE_OK" if judged.is_single_ok and judged.level is Level.ALARM else None


def is_rising(machine: Machine, judged: Judgement, rise_per_min: float, located: Located) -> bool | None:
    """Whether what a sensor measures rises that fast; None: its samples are too few to tell."""
    payload = located.observation.payload
    assert isinstance(payload, Reading)
    return machine.rises(key_of(located.observation, judged), located.event_ms, payload.value, rise_per_min)


def key_of(seen: Observation, judged: Judgement) -> str:
    """Return under what a zone's machine keeps this device's hits."""
    return f"{source_of(seen)}|{judged.label}"


def source_of(seen: Observation) -> str:
    """Return who has seen it: of a report the person who made it, so that two who report are two sources."""
    return f"{seen.device_id}:{seen.reporter}" if isinstance(seen.payload, Report) else seen.device_id


def evidence_id_of(seen: Observation) -> str | None:
    """Return the picture that was sent beside an observation."""
    return seen.payload.evidence_id if isinstance(seen.payload, Detection) else None


def hit_of(located: Located, level: Level) -> Hit:
    """Return an observation as a hit."""
    seen = located.observation
    return Hit(located.event_ms, level, seen.outbox_id, seen.lane, seen.seq, evidence_id_of(seen), seen.reporter)


def new_pictures(signal: ActiveSignal, found: Sequence[str | None]) -> tuple[str, ...]:
    """Return the pictures that the desk has not heard of, and take them as told."""
    new = [one for one in dict.fromkeys(found) if one and one not in signal.pictures]
    new = new[: MAX_PICTURES - len(signal.pictures)]
    signal.pictures += tuple(new)
    return tuple(new)


def timeline_of(located: Located) -> Timeline:
    """Return the stage times that an observation brings."""
    return Timeline(
        captured_ms=located.event_ms,
        inferred_ms=located.inferred_ms,
        sent_ms=located.sent_ms,
        ingested_ms=located.received_ms,
    )
