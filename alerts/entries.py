"""What stands in the ledger: the kinds of entries, and the body of each.

An entry says what happened, never what follows from it: cases are computed from entries (`alerts.casebook`), and a rule
that changes later changes no entry.
"""

from __future__ import annotations

import enum
import hashlib
from typing import Any, Final

import msgspec
from msgspec import Struct

from models.errors import StorageError
from models.messages import Decision, DispatchOrder, Evidence, Message, Observation, Priority, Receipt, Stage

GENESIS_HASH: Final = "0" * 64


class Kind(enum.StrEnum):
    """What an entry tells."""

    GENESIS = "genesis"
    ORDER_STORED = "order_stored"
    ALERT_INTENDED = "alert_intended"
    ALERT_SENT = "alert_sent"
    RECEIPT = "receipt"
    DECISION = "decision"
    DECISION_STORED = "decision_stored"
    EVIDENCE = "evidence"
    REPORT = "report"
    REPORT_STORED = "report_stored"


class Genesis(Message, frozen=True, kw_only=True):
    """The first entry: this ledger's id, which is the `outbox_id` of its decisions."""

    ledger_id: str


class Intent(Message, frozen=True, kw_only=True):
    """Somebody shall be told. Written before the sending, so that a crash in between forgets nobody.

    Attributes:
        seat: he is told as the command seat, not as a candidate of the chain.
        reasons: why he, why now: the candidate's own codes, then those of the escalation.
    """

    alert_id: str
    step: int
    post: str
    person: str
    seat: bool = False
    reasons: tuple[str, ...] = ()


class Sent(Message, frozen=True, kw_only=True):
    """The connection took an alert for the first time, or for the first time since it became more urgent."""

    alert_id: str
    channel: str
    priority: Priority
    stage: Stage
    general: bool = False


class Stored(Message, frozen=True, kw_only=True):
    """The stream has stored these decisions, or reports: inclusive ranges of their `seq`."""

    ranges: tuple[tuple[int, int], ...]


Body = Genesis | DispatchOrder | Intent | Sent | Receipt | Decision | Stored | Evidence | Observation

BODIES: Final[dict[Kind, type[Message]]] = {
    Kind.GENESIS: Genesis,
    Kind.ORDER_STORED: DispatchOrder,
    Kind.ALERT_INTENDED: Intent,
    Kind.ALERT_SENT: Sent,
    Kind.RECEIPT: Receipt,
    Kind.DECISION: Decision,
    Kind.DECISION_STORED: Stored,
    Kind.EVIDENCE: Evidence,
    Kind.REPORT: Observation,
    Kind.REPORT_STORED: Stored,
}
_DECODERS: Final[dict[Kind, msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(body) for kind, body in BODIES.items()
}
_encoder = msgspec.json.Encoder()


class Draft(Struct, frozen=True, kw_only=True):
    """An entry that has no place in the chain yet.

    Attributes:
        incident_id: empty for what belongs to no single case.
        actor: who did it: a person, a device, `stream`, `alerts` or `seat`.
        picture: the JPEG that an `EVIDENCE` entry brings.
    """

    kind: Kind
    body: Body
    incident_id: str = ""
    actor: str = "alerts"
    picture: bytes = b""


class Entry(Struct, frozen=True, kw_only=True):
    """A record of the ledger. `hash` covers all other fields, `prev_hash` is that of the record before."""

    seq: int
    at_ms: int
    kind: str
    incident_id: str
    actor: str
    body: bytes
    prev_hash: str
    hash: str

    def computed_hash(self) -> str:
        """Return what `hash` must be: SHA-256 over the fields, the body last because it alone may hold newlines."""
        head = f"{self.seq}\n{self.at_ms}\n{self.kind}\n{self.incident_id}\n{self.actor}\n{self.prev_hash}\n"
        return hashlib.sha256(head.encode() + self.body).hexdigest()

    def read(self) -> Body:
        """Return the body as its own type.

        Raises:
            StorageError: a kind or a body that this program does not know.
        """
        try:
            body: Body = _DECODERS[Kind(self.kind)].decode(self.body)
        except (ValueError, msgspec.DecodeError) as exc:
            raise StorageError(f"ledger record {self.seq} ({self.kind}) cannot be read: {exc}") from exc
        return body


def chain(draft: Draft, *, seq: int, at_ms: int, prev_hash: str) -> Entry:
    """Return `draft` as record `seq`, linked to the record before."""
    entry = Entry(
        seq=seq,
        at_ms=at_ms,
        kind=draft.kind.value,
        incident_id=draft.incident_id,
        actor=draft.actor,
        body=_encoder.encode(draft.body),
        prev_hash=prev_hash,
        hash="",
    )
    return msgspec.structs.replace(entry, hash=entry.computed_hash())
