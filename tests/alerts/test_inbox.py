from __future__ import annotations

from hashlib import sha256

import pytest
from msgspec.structs import replace

from alerts.inbox import Picture, read, subscriptions
from models import topics
from models.errors import MessageError, Reason
from models.messages import Ack, Evidence, Message, Receipt, ReceiptKind, encode
from models.seal import Keyring
from tests.alerts.test_escalation import step
from tests.alerts.town import incident, order

KEYS = Keyring({name: name.encode().ljust(32, b".") for name in ("stream", "alerts", "cam-01", "cam-02", "p-1", "p-2")})
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(200))
ORDER = order(incident(now_ms=1_800_000_000_000), steps=(step(0, "a"),))
HEAD = Evidence(
    v=1, evidence_id="ev-1", device_id="cam-01", sha256=sha256(JPEG).hexdigest(), captured_at_ms=1, redaction="none"
)
RECEIPT = Receipt(v=1, alert_id="alr-1", kind=ReceiptKind.ACCEPTED, by="p-1", at_ms=1)
ORDER_TOPIC = topics.order("t", ORDER.incident.incident_id)
EVIDENCE_TOPIC = topics.evidence("t", "cam-01", "ev-1")
RECEIPT_TOPIC = topics.receipt("t", "p-1")


def sealed(topic: str, message: Message, kid: str, attachment: bytes = b"") -> bytes:
    return KEYS.seal(topic, encode(message), kid=kid, attachment=attachment)


def test_what_is_sealed_by_the_right_sender_is_taken() -> None:
    assert read("t", KEYS, ORDER_TOPIC, sealed(ORDER_TOPIC, ORDER, "stream")) == ORDER
    assert read("t", KEYS, RECEIPT_TOPIC, sealed(RECEIPT_TOPIC, RECEIPT, "p-1")) == RECEIPT
    got = read("t", KEYS, EVIDENCE_TOPIC, sealed(EVIDENCE_TOPIC, HEAD, "cam-01", JPEG))
    assert got == Picture(head=HEAD, jpeg=JPEG)
    ack, topic = Ack(v=1, receiver="stream", outbox_id="led-1", stored=((1, 1),)), topics.ack("t", "alerts")
    assert read("t", KEYS, topic, sealed(topic, ack, "stream")) == ack


def test_newlines_in_a_picture_change_nothing() -> None:
    jpeg = JPEG + b"\n\n" + JPEG
    head = replace(HEAD, sha256=sha256(jpeg).hexdigest())
    got = read("t", KEYS, EVIDENCE_TOPIC, sealed(EVIDENCE_TOPIC, head, "cam-01", jpeg))
    assert isinstance(got, Picture)
    assert got.jpeg == jpeg


@pytest.mark.parametrize(
    ("topic", "message", "kid", "attachment", "reason"),
    [
        (ORDER_TOPIC, ORDER, "cam-01", b"", Reason.FOREIGN_DEVICE),
        (topics.order("t", "inc-2"), ORDER, "stream", b"", Reason.RULE_FAILED),
        (topics.order("other", "inc-2"), ORDER, "stream", b"", Reason.FOREIGN_TENANT),
        (ORDER_TOPIC, RECEIPT, "stream", b"", Reason.WRONG_SHAPE),
        (ORDER_TOPIC, replace(ORDER, v=2), "stream", b"", Reason.UNKNOWN_VERSION),
        (EVIDENCE_TOPIC, HEAD, "cam-02", JPEG, Reason.FOREIGN_DEVICE),
        (EVIDENCE_TOPIC, replace(HEAD, evidence_id="ev-2"), "cam-01", JPEG, Reason.RULE_FAILED),
        (EVIDENCE_TOPIC, HEAD, "cam-01", JPEG + b"!", Reason.WRONG_SEAL),
        (EVIDENCE_TOPIC, HEAD, "cam-01", b"<svg/>", Reason.WRONG_SHAPE),
        (EVIDENCE_TOPIC, HEAD, "cam-01", b"", Reason.WRONG_SHAPE),
        (EVIDENCE_TOPIC, HEAD, "cam-01", JPEG + bytes(600_000), Reason.TOO_LARGE),
        (RECEIPT_TOPIC, RECEIPT, "p-2", b"", Reason.FOREIGN_DEVICE),
        (RECEIPT_TOPIC, replace(RECEIPT, by="p-2"), "p-1", b"", Reason.FOREIGN_DEVICE),
        (topics.ack("t", "alerts"), Ack(v=1, receiver="stream"), "cam-01", b"", Reason.FOREIGN_DEVICE),
    ],
)
def test_what_may_not_be_said_is_refused_with_its_reason(
    topic: str, message: Message, kid: str, attachment: bytes, reason: Reason
) -> None:
    with pytest.raises(MessageError) as refused:
        read("t", KEYS, topic, sealed(topic, message, kid, attachment))
    assert refused.value.reason is reason


def test_noise_is_refused_whatever_it_is() -> None:
    for noise in (b"", b"\n", b"\n\n\n", b"\xff" * 1000, b"{}\n{}", bytes(1 << 20)):
        with pytest.raises(MessageError):
            read("t", KEYS, ORDER_TOPIC, noise)


def test_every_subscription_is_of_this_tenant() -> None:
    assert all(topic.startswith("gw/v1/t/") for topic in subscriptions("t"))
