"""The MQTT topic tree, the public contract: ``gw/v1/<tenant>/...``.

::

    <device>/obs  <device>/hb  <device>/status  <device>/evidence/<id>  <person>/receipt     up
    <sender>/ack  <device>/config  <device>/command                                          down
    orders/<incident>        stream -> alerts
    decisions/<incident>     alerts -> stream
    alerts/<post>            alerts -> officer
    alerts/obs               alerts -> stream: what people report; no post is called that
    load/<person>            alerts -> stream, retained
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ROOT: Final = "gw/v1"
STREAM: Final = "stream"
ALERTS: Final = "alerts"
RESERVED: Final = frozenset({STREAM, ALERTS, "incidents", "orders", "decisions", "load", "ack", "status", "obs", "hb"})
"""Ids that no device, post or person may have: they are branches of the tree."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """``gw/v1/<tenant>/<who>/<what>[/<item>]`` taken apart."""

    tenant: str
    who: str
    what: str
    item: str = ""


def parse(topic: str) -> Parsed | None:
    """Return the parts of one of our topics, or None if it is not one."""
    parts = topic.split("/")
    if len(parts) not in {5, 6} or parts[0] != "gw" or parts[1] != "v1" or not all(parts):
        return None
    return Parsed(parts[2], parts[3], parts[4], parts[5] if len(parts) == 6 else "")


def obs(tenant: str, device: str) -> str:
    """Where `device` publishes its observations."""
    return f"{ROOT}/{tenant}/{device}/obs"


def heartbeat(tenant: str, device: str) -> str:
    """Where `device` publishes its heartbeat."""
    return f"{ROOT}/{tenant}/{device}/hb"


def status(tenant: str, device: str) -> str:
    """Retained: whether `device` is connected; also its last will."""
    return f"{ROOT}/{tenant}/{device}/status"


def evidence(tenant: str, device: str, evidence_id: str) -> str:
    """Where `device` publishes one evidence picture."""
    return f"{ROOT}/{tenant}/{device}/evidence/{evidence_id}"


def ack(tenant: str, sender: str) -> str:
    """Where `sender` is told what was stored."""
    return f"{ROOT}/{tenant}/{sender}/ack"


def order(tenant: str, incident_id: str) -> str:
    """Where the stream publishes the dispatch orders of an incident."""
    return f"{ROOT}/{tenant}/orders/{incident_id}"


def decision(tenant: str, incident_id: str) -> str:
    """Where alerts publishes the decisions about an incident."""
    return f"{ROOT}/{tenant}/decisions/{incident_id}"


def alert(tenant: str, post: str) -> str:
    """Where the devices of `post` listen."""
    return f"{ROOT}/{tenant}/alerts/{post}"


def receipt(tenant: str, person: str) -> str:
    """Where an officer's device answers."""
    return f"{ROOT}/{tenant}/{person}/receipt"


def load(tenant: str, person: str) -> str:
    """Retained: the open cases of `person`."""
    return f"{ROOT}/{tenant}/load/{person}"
