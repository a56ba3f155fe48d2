"""Ids that are derived, not drawn: the same input gives the same id after any crash. They contain no time."""

from __future__ import annotations

import hashlib


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:20]


def incident_id(tenant: str, device_id: str, outbox_id: str, lane: str, seq: int) -> str:
    """Return the id of the incident whose first evidence, in log order, is this observation."""
    return "inc-" + _hash(tenant, device_id, outbox_id, lane, str(seq))


def alert_id(incident: str, post: str, person: str, step: int) -> str:
    """Return the id of the one telling of `post`, held by `person`, at `step`: the same for every resend."""
    return "alr-" + _hash(incident, post, person, str(step))
