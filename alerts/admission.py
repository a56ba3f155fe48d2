"""What the ledger takes: each wish is checked against the cases as they are and becomes entries, none, or a refusal.

Pure. A duplicate becomes no entry and no error: whoever sent it twice is told "stored" twice.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from alerts.casebook import ENDING, Case, Casebook, Telling
from alerts.entries import Draft, Kind, Stored
from alerts.inbox import Picture
from alerts.reports import LANE, Tip, observation
from models.errors import MessageError, Reason
from models.messages import (
    HELD,
    VERSION,
    Ack,
    Decision,
    DecisionKind,
    DispatchOrder,
    Priority,
    Receipt,
    ReceiptKind,
    Response,
    Stage,
)
from models.topics import STREAM


class Wish(Struct, frozen=True, kw_only=True):
    """A decision that a person wants to make at the page.

    Attributes:
        expected_revision: what the person saw; another one by now means that he must look again. 0: whatever it is.
        into, signals, category, priority, post: as in `models.messages.Decision`.
    """

    incident_id: str
    kind: DecisionKind
    by: str
    reason: str = ""
    expected_revision: int = 0
    into: str | None = None
    signals: tuple[str, ...] = ()
    category: str | None = None
    priority: Priority | None = None
    post: str | None = None


Request = DispatchOrder | Picture | Receipt | Ack | Wish | Tip

_RESHAPING: Final = frozenset({DecisionKind.MERGE, DecisionKind.SPLIT, DecisionKind.CORRECT, DecisionKind.ASSIGN})
_ANSWERS: Final = frozenset({DecisionKind.CONFIRM, DecisionKind.ACKNOWLEDGE, DecisionKind.INVESTIGATE})
_ONLY_WHILE_OPEN: Final = ENDING | _RESHAPING | _ANSWERS
_NEED_REASON: Final = frozenset({*ENDING, *_RESHAPING, DecisionKind.REOPEN})
SUPPORTED: Final = _ONLY_WHILE_OPEN | {DecisionKind.REOPEN}


class StaleError(MessageError):
    """The person decided about an older revision than the one that is held."""

    def __init__(self, held: int) -> None:
        super().__init__(Reason.RULE_FAILED, f"the incident has changed meanwhile: it is at revision {held}")


def admit(book: Casebook, request: Request, *, now_ms: int) -> list[Draft]:
    """Return the entries that `request` makes; none for a duplicate.

    Raises:
        MessageError: it may not be said, or not about this.
    """
    match request:
        case DispatchOrder():
            return _order(book, request)
        case Picture():
            return _picture(book, request)
        case Receipt():
            return _receipt(book, request)
        case Ack():
            return _stored(book, request)
        case Wish():
            return _wish(book, request, now_ms)
        case Tip():
            body = observation(request, book.ledger_id, book.reports + 1, now_ms=now_ms)
            return [Draft(kind=Kind.REPORT, body=body, actor=request.by)]


def _order(book: Casebook, order: DispatchOrder) -> list[Draft]:
    case = book.cases.get(order.incident.incident_id)
    if case is not None and any(order.revision == revision for revision, _ in case.revisions):
        return []
    return [Draft(kind=Kind.ORDER_STORED, body=order, incident_id=order.incident.incident_id, actor=STREAM)]


def _picture(book: Casebook, picture: Picture) -> list[Draft]:
    held = book.evidence.get(picture.head.evidence_id)
    if held is None:
        incident_id = book.case_of_evidence.get(picture.head.evidence_id, "")
        actor = picture.head.device_id
        return [
            Draft(kind=Kind.EVIDENCE, body=picture.head, incident_id=incident_id, actor=actor, picture=picture.jpeg)
        ]
    if held.sha256 != picture.head.sha256 or held.device_id != picture.head.device_id:
        raise MessageError(Reason.RULE_FAILED, f"evidence {held.evidence_id} is held already, and is another picture")
    return []


def _receipt(book: Casebook, receipt: Receipt) -> list[Draft]:
    case, telling = told(book, receipt.alert_id, receipt.by)
    if _is_said(telling, receipt.kind):
        return []
    if receipt.kind in (ReceiptKind.ARRIVED, ReceiptKind.DONE) and not telling.accepted:
        raise MessageError(Reason.RULE_FAILED, f"{receipt.by} has not accepted {receipt.alert_id}")
    if not case.is_open and receipt.kind in (ReceiptKind.ACCEPTED, ReceiptKind.DECLINED):
        raise MessageError(Reason.RULE_FAILED, f"{case.incident_id} is closed")
    return [Draft(kind=Kind.RECEIPT, body=receipt, incident_id=case.incident_id, actor=receipt.by)]


def told(book: Casebook, alert_id: str, person: str) -> tuple[Case, Telling]:
    """Return the case and the telling that `person` speaks of.

    Raises:
        MessageError: no such alert, or not his.
    """
    case = book.cases.get(book.case_of_alert.get(alert_id, ""))
    if case is None:
        raise MessageError(Reason.RULE_FAILED, f"no alert {alert_id} was ever sent")
    telling = case.tellings[alert_id]
    if telling.intent.person != person:
        raise MessageError(Reason.FOREIGN_DEVICE, f"{person} answers an alert to {telling.intent.person}")
    return case, telling


def _is_said(telling: Telling, kind: ReceiptKind) -> bool:
    """Return whether saying `kind` again would be no news; who changes his mind may accept or decline anew."""
    if kind in (ReceiptKind.ACCEPTED, ReceiptKind.DECLINED):
        return telling.answer is kind
    return telling.first(kind) is not None


def _stored(book: Casebook, ack: Ack) -> list[Draft]:
    if ack.outbox_id != book.ledger_id:
        raise MessageError(Reason.RULE_FAILED, f"an acknowledgement of {ack.outbox_id}, this is {book.ledger_id}")
    is_of_reports = ack.lane == LANE
    unstored = book.unstored_reports if is_of_reports else book.unstored
    news = tuple(r for r in ack.stored if any(r[0] <= seq <= r[1] for seq in unstored))
    kind = Kind.REPORT_STORED if is_of_reports else Kind.DECISION_STORED
    return [Draft(kind=kind, body=Stored(ranges=news), actor=STREAM)] if news else []


def _wish(book: Casebook, wish: Wish, now_ms: int) -> list[Draft]:
    case = book.cases.get(wish.incident_id)
    if case is None:
        raise MessageError(Reason.RULE_FAILED, f"there is no incident {wish.incident_id}")
    if wish.kind not in SUPPORTED:
        raise MessageError(Reason.RULE_FAILED, f"{wish.kind} cannot be decided here yet")
    if wish.kind is DecisionKind.ACKNOWLEDGE and case.is_acknowledged:
        return []
    if wish.expected_revision not in (0, case.order.revision):
        raise StaleError(case.order.revision)
    _check_state(case, wish)
    _check_target(book, case, wish)
    decision = Decision(
        v=VERSION,
        outbox_id=book.ledger_id,
        seq=book.decisions + 1,
        incident_id=wish.incident_id,
        expected_revision=case.order.revision,
        kind=wish.kind,
        by=wish.by,
        at_ms=now_ms,
        reason=wish.reason,
        into=wish.into,
        signals=wish.signals,
        category=wish.category,
        priority=wish.priority,
        post=wish.post,
    )
    return [Draft(kind=Kind.DECISION, body=decision, incident_id=wish.incident_id, actor=wish.by)]


def _check_state(case: Case, wish: Wish) -> None:
    if wish.kind in _ONLY_WHILE_OPEN and not case.is_open:
        raise MessageError(Reason.RULE_FAILED, f"{case.incident_id} is closed")
    if wish.kind is DecisionKind.REOPEN and (case.is_open or case.merged_into is not None):
        raise MessageError(Reason.RULE_FAILED, f"{case.incident_id} is not closed")
    incident = case.order.incident
    is_pre_alarm, is_held = incident.stage is Stage.PRE_ALARM, incident.response in HELD
    if wish.kind is DecisionKind.CLEAR and not is_pre_alarm:
        raise MessageError(Reason.RULE_FAILED, "only a pre-alarm can be cleared; an alarm is closed")
    if wish.kind is DecisionKind.CONFIRM and not (is_pre_alarm or is_held):
        raise MessageError(Reason.RULE_FAILED, "there is nothing to confirm: it is a general alarm already, or over")
    if wish.kind is DecisionKind.INVESTIGATE and (not is_held or incident.response is Response.INVESTIGATING):
        raise MessageError(Reason.RULE_FAILED, "only an alarm of one source alone can be looked into first, and once")
    if wish.kind in _NEED_REASON and not wish.reason.strip():
        raise MessageError(Reason.RULE_FAILED, f"{wish.kind} needs a reason")


def _check_target(book: Casebook, case: Case, wish: Wish) -> None:
    """Refuse, while the person is still at the page, what the stream would refuse; it judges the rest."""
    match wish.kind:
        case DecisionKind.MERGE:
            other = book.cases.get(wish.into or "")
            if other is None or other is case or not other.is_open:
                raise MessageError(Reason.RULE_FAILED, f"{wish.into} is no other open incident; name one in `into`")
        case DecisionKind.SPLIT:
            foreign = set(wish.signals) - set(case.order.incident.aliases)
            if foreign or not wish.signals:
                what = f"not merged into {case.incident_id}: {', '.join(sorted(foreign)) or 'nothing named'}"
                raise MessageError(Reason.RULE_FAILED, f"{what}; name some of its aliases in `signals`")
        case DecisionKind.CORRECT:
            if wish.category is None and wish.priority is None:
                raise MessageError(Reason.RULE_FAILED, "a correction names a `category`, a `priority` or both")
        case DecisionKind.ASSIGN:
            if wish.post is None:
                raise MessageError(Reason.RULE_FAILED, "an assignment names a `post`")
