"""A canary: an observation that no one made, and that goes the whole way, up to where people would be told.

What measures it there knows that a real one would have come through as well, and how long it took.
"""

from __future__ import annotations

from models import ids
from models.messages import CANARY, SelfTest, Stage
from stream.records import Located, Origin, SignalKind, SignalRecord
from stream.zones.signals import timeline_of


def is_canary(located: Located) -> bool:
    """Whether this is one."""
    payload = located.observation.payload
    return isinstance(payload, SelfTest) and payload.label == CANARY


def signal_of(located: Located, origin: Origin, tenant: str, *, at_ms: int) -> SignalRecord:
    """Return what the zone says of a canary."""
    seen = located.observation
    return SignalRecord(
        at_ms=at_ms,
        origin=origin,
        signal_id=ids.incident_id(tenant, seen.device_id, seen.outbox_id, seen.lane, seen.seq),
        kind=SignalKind.CANARY,
        stage=Stage.RESTORED,
        zone=located.zone,
        category=CANARY,
        family=CANARY,
        label=CANARY,
        confidence=1.0,
        device_id=seen.device_id,
        sources=(seen.device_id,),
        count=1,
        event_ms=located.event_ms,
        lon_e7=located.lon_e7,
        lat_e7=located.lat_e7,
        radius_m=located.radius_m,
        areas=located.areas,
        timeline=timeline_of(located),
    )
