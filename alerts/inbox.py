"""From an MQTT message to something that we act on: topic, seal, shape and rules are checked here, at the door.

Pure: bytes in, a value out, or a `MessageError` that says why not.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeVar

from msgspec import Struct

from models import topics
from models.errors import MessageError, Reason
from models.messages import (
    MAX_EVIDENCE_BYTES,
    MAX_PAYLOAD_BYTES,
    Ack,
    DispatchOrder,
    Evidence,
    Heartbeat,
    Receipt,
    Status,
    decode,
)
from models.seal import Keyring
from models.topics import ALERTS, STREAM, Parsed

JPEG_START: Final = b"\xff\xd8\xff"


class Picture(Struct, frozen=True, kw_only=True):
    """An evidence picture whose SHA-256 is that of its sealed head line."""

    head: Evidence
    jpeg: bytes


H = TypeVar("H", Heartbeat, Status)
Received = DispatchOrder | Picture | Receipt | Ack | Heartbeat | Status


def subscriptions(tenant: str) -> tuple[str, ...]:
    """Return the topic filters of everything that `read` takes."""
    root = f"{topics.ROOT}/{tenant}"
    return (
        topics.order(tenant, "+"),
        topics.evidence(tenant, "+", "+"),
        topics.receipt(tenant, "+"),
        topics.ack(tenant, ALERTS),
        f"{root}/+/hb",
        f"{root}/+/status",
    )


def read(tenant: str, keys: Keyring, topic: str, payload: bytes) -> Received:
    """Return what `payload` says.

    Raises:
        MessageError: not of this tenant, too large, a wrong seal, a wrong shape, or a sender that may not say this.
    """
    parsed = topics.parse(topic)
    if parsed is None or parsed.tenant != tenant:
        raise MessageError(Reason.FOREIGN_TENANT, f"{topic[:200]} is no topic of {tenant}")
    limit = MAX_PAYLOAD_BYTES + (MAX_EVIDENCE_BYTES if parsed.what == "evidence" else 0)
    if len(payload) > limit:
        raise MessageError(Reason.TOO_LARGE, f"{len(payload)} bytes, at most {limit} are taken")
    kid, line, attachment = keys.open(topic, payload)
    if parsed.who == "orders":
        return _order(kid, line, parsed)
    if parsed.what == "evidence":
        return _picture(kid, line, attachment, parsed)
    if parsed.what == "receipt":
        return _receipt(kid, line, parsed)
    if parsed.what == "ack":
        _require(kid == STREAM, Reason.FOREIGN_DEVICE, f"{kid} acknowledges in the name of {STREAM}")
        return decode(line, Ack)
    if parsed.what == "hb":
        return _of_device(decode(line, Heartbeat), kid, parsed)
    if parsed.what == "status":
        return _of_device(decode(line, Status), kid, parsed)
    raise MessageError(Reason.WRONG_SHAPE, f"nothing is expected on {topic[:200]}")


def _order(kid: str, line: bytes, parsed: Parsed) -> DispatchOrder:
    _require(kid == STREAM, Reason.FOREIGN_DEVICE, f"{kid} sends an order in the name of {STREAM}")
    order = decode(line, DispatchOrder)
    same = order.incident.incident_id == parsed.what
    _require(same, Reason.RULE_FAILED, f"an order about {order.incident.incident_id} on the topic of {parsed.what}")
    return order


def _picture(kid: str, line: bytes, jpeg: bytes, parsed: Parsed) -> Picture:
    head = decode(line, Evidence)
    owner = kid == parsed.who == head.device_id
    _require(owner, Reason.FOREIGN_DEVICE, f"{kid} sends evidence of {head.device_id} on the topic of {parsed.who}")
    same = head.evidence_id == parsed.item
    _require(same, Reason.RULE_FAILED, f"evidence {head.evidence_id} on the topic of {parsed.item}")
    _require(len(jpeg) <= MAX_EVIDENCE_BYTES, Reason.TOO_LARGE, f"a picture of {len(jpeg)} bytes")
    is_jpeg = head.media_type == "image/jpeg" and jpeg.startswith(JPEG_START)
    _require(is_jpeg, Reason.WRONG_SHAPE, f"evidence {head.evidence_id} is no JPEG picture")
    intact = hashlib.sha256(jpeg).hexdigest() == head.sha256
    _require(intact, Reason.WRONG_SEAL, f"the picture of {head.evidence_id} is not the one that was sealed")
    return Picture(head=head, jpeg=jpeg)


def _receipt(kid: str, line: bytes, parsed: Parsed) -> Receipt:
    receipt = decode(line, Receipt)
    own = kid == parsed.who == receipt.by
    _require(own, Reason.FOREIGN_DEVICE, f"{kid} answers for {receipt.by} on the topic of {parsed.who}")
    return receipt


def _of_device(message: H, kid: str, parsed: Parsed) -> H:
    own = kid == parsed.who == message.device_id
    _require(own, Reason.FOREIGN_DEVICE, f"{kid} speaks for {message.device_id} on the topic of {parsed.who}")
    return message


def _require(ok: bool, reason: Reason, otherwise: str) -> None:
    if not ok:
        raise MessageError(reason, otherwise)
