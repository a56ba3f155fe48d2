"""Asking the stream for a new chain: when a step has nobody on duty any more, or the roster is another by now.

`alerts` never matches by itself. It asks with a decision, as a person would; the answer is a new revision of the order.
Without one in 5 s the step is used as it is: better somebody called from bed than nobody.
"""

from __future__ import annotations

import enum
from typing import Final

from alerts.casebook import Case, Casebook
from alerts.entries import Draft, Kind
from models.messages import VERSION, Decision, DecisionKind
from models.topics import ALERTS

ANSWER_MS: Final = 5_000
AGAIN_MS: Final = 60_000
"""A case asks at most once in so long: an answer that helps no more than the last would make a circle of it."""


class Reason(enum.StrEnum):
    """Why a new chain is asked for."""

    STEP_EMPTY = "STEP_EMPTY"
    ROSTER_CHANGED = "ROSTER_CHANGED"


class Rematch:
    """What a case has asked for, at one moment."""

    def __init__(self, case: Case, now_ms: int) -> None:
        asked = [(at_ms, one) for at_ms, one in case.decisions if one.kind is DecisionKind.REMATCH]
        at_ms, newest = asked[-1] if asked else (now_ms - AGAIN_MS, None)
        self.may_ask = now_ms - at_ms >= AGAIN_MS
        is_unanswered = newest is not None and newest.expected_revision == case.order.revision
        self.until_ms = at_ms + ANSWER_MS if is_unanswered and now_ms - at_ms < ANSWER_MS else None
        """Until when an answer is waited for; None: nothing was asked, or it came, or it did not."""

    @property
    def has_hope(self) -> bool:
        """Whether a new chain may still come."""
        return self.may_ask or self.until_ms is not None


def decision(book: Casebook, case: Case, reason: Reason, now_ms: int) -> Draft:
    """Return the entry that asks for a new chain."""
    asked = Decision(
        v=VERSION,
        outbox_id=book.ledger_id,
        seq=book.decisions + 1,
        incident_id=case.incident_id,
        expected_revision=case.order.revision,
        kind=DecisionKind.REMATCH,
        by=ALERTS,
        at_ms=now_ms,
        reason=reason.value,
    )
    return Draft(kind=Kind.DECISION, body=asked, incident_id=case.incident_id, actor=ALERTS)
