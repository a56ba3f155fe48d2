"""Cases, computed from the ledger: the same entries give the same cases, so a restart forgets nothing.

`apply` is pure and total over what `admit` lets into the ledger; `Casebook` holds the newest value of each case.
All clocks run on `Entry.at_ms`, our own time: an officer's device may tell any.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from alerts.entries import Entry, Genesis, Intent, Kind, Sent, Stored
from models.errors import StorageError
from models.messages import (
    Decision,
    DecisionKind,
    DispatchOrder,
    Evidence,
    Observation,
    Priority,
    Receipt,
    ReceiptKind,
    Stage,
    Timeline,
)

Interval = tuple[int, int | None]
"""Half-open, in ms; None: still going on."""

StepKey = tuple[int, bool]
"""(step, seat): the command seat's step has the number of the first one."""

REPORTS_KEPT: Final = 64
"""Of each person: what he is shown, and what tells whether he reports too much."""
ENDING: Final = frozenset({DecisionKind.CLEAR, DecisionKind.CLOSE, DecisionKind.CANCEL})
REFUSED: Final = "STALE_DECISION"
"""Reason of an order that answers a decision which the stream did not take."""
SPLIT: Final = "SPLIT"
"""Reason of the order of an incident that is its own again."""
_ANSWERS: Final = frozenset({ReceiptKind.ACCEPTED, ReceiptKind.DECLINED})
_SEEN: Final = frozenset({DecisionKind.ACKNOWLEDGE, DecisionKind.CONFIRM, DecisionKind.INVESTIGATE})
_RANK: Final = {Stage.RESTORED: 0, Stage.PRE_ALARM: 1, Stage.ALARM: 2}


class Mark(Struct, frozen=True, kw_only=True):
    """A receipt as stored: what was said and when we had it."""

    kind: ReceiptKind
    at_ms: int
    reason: str = ""


class Telling(Struct, frozen=True, kw_only=True):
    """One person told once, and what came of it.

    Attributes:
        sent: newest sending that was news: first, and again when the incident became more urgent.
        sent_ms: when the connection first took it.
    """

    intent: Intent
    intended_ms: int
    sent: Sent | None = None
    sent_ms: int | None = None
    marks: tuple[Mark, ...] = ()

    def first(self, kind: ReceiptKind) -> int | None:
        """Return when `kind` was first said, or None."""
        return next((mark.at_ms for mark in self.marks if mark.kind is kind), None)

    @property
    def answer(self) -> ReceiptKind | None:
        """The last of accepted and declined: a person may change his mind."""
        return next((mark.kind for mark in reversed(self.marks) if mark.kind in _ANSWERS), None)

    @property
    def accepted(self) -> bool:
        """Whether he has the case."""
        return self.answer is ReceiptKind.ACCEPTED

    @property
    def declined(self) -> bool:
        """Whether he has said no."""
        return self.answer is ReceiptKind.DECLINED


class Case(Struct, frozen=True, kw_only=True):
    """An incident and all that was done about it.

    Attributes:
        order: the newest revision.
        opening: stage times of the first revision, the one that first told somebody.
        revisions: number and time of each stored revision.
        stage_ms: when the present stage was reached: the seat's clock starts there.
        since: when a revision with this step was first stored: its clock starts there.
        tellings: by alert id, in the order of telling.
        decisions: of persons, with the time we stored them.
        acknowledged: when the seat acknowledged, and at which stage; a raise rings again.
        shut: intervals in which the case was closed; the last is open while it is.
        merged_into: the case that took this one over.
        last_seq: newest ledger record about it.
    """

    order: DispatchOrder
    opening: Timeline
    revisions: tuple[tuple[int, int], ...]
    stage_ms: int
    since: dict[StepKey, int]
    tellings: dict[str, Telling] = {}
    decisions: tuple[tuple[int, Decision], ...] = ()
    acknowledged: tuple[int, Stage] | None = None
    shut: tuple[Interval, ...] = ()
    merged_into: str | None = None
    last_seq: int = 0

    @property
    def incident_id(self) -> str:
        """Id of the incident, which never changes."""
        return self.order.incident.incident_id

    @property
    def priority(self) -> Priority:
        """Priority by the newest revision."""
        return self.order.incident.priority

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to do something."""
        return self.merged_into is None and not (self.shut and self.shut[-1][1] is None)

    @property
    def is_acknowledged(self) -> bool:
        """Whether the seat has seen the incident in its present stage."""
        return self.acknowledged is not None and not is_raised(self.acknowledged[1], self.order.incident.stage)

    @property
    def lead_post(self) -> str:
        """The post that leads: the one of the order, until somebody of another has taken the case."""
        tellings = [telling for telling in self.tellings.values() if telling.accepted and not telling.intent.seat]
        taken = {telling.intent.post: telling.first(ReceiptKind.ACCEPTED) or 0 for telling in tellings}
        own = self.order.lead_post
        return own if own in taken else min(taken, key=taken.__getitem__, default=own)

    @property
    def state(self) -> str:
        """One of the states of the case that this version reaches: `dispatched`, `accepted`, `handling`, ..."""
        if self.merged_into is not None:
            return "merged"
        if not self.is_open:
            ended = [d.kind for _, d in self.decisions if d.kind in ENDING]
            return {DecisionKind.CANCEL: "cancelled", DecisionKind.CLEAR: "cleared"}.get(ended[-1], "closed")
        holders = [telling for telling in self.tellings.values() if telling.accepted]
        for kind, state in ((ReceiptKind.DONE, "handled"), (ReceiptKind.ARRIVED, "handling")):
            if any(telling.first(kind) is not None for telling in holders):
                return state
        return "accepted" if holders else "dispatched"

    @property
    def timeline(self) -> Timeline:
        """Stage times of the way to the first alert; ours are: stored, sent, first accept or acknowledge."""
        sent = [telling.sent_ms for telling in self.tellings.values() if telling.sent_ms is not None]
        acked = [telling.first(ReceiptKind.ACCEPTED) for telling in self.tellings.values()]
        acked += [at for at, decision in self.decisions if decision.kind in _SEEN]
        return replace(
            self.opening,
            stored_ms=self.revisions[0][1],
            notified_ms=min(sent, default=None),
            acked_ms=min((at for at in acked if at is not None), default=None),
        )


def is_raised(before: Stage, after: Stage) -> bool:
    """Return whether `after` is more urgent than `before`."""
    return _RANK[after] > _RANK[before]


# --- the projection ------------------------------------------------------------------------------------------------


def opened(order: DispatchOrder, at_ms: int, seq: int) -> Case:
    """Return the case that a first order opens."""
    return Case(
        order=order,
        opening=order.incident.timeline,
        revisions=((order.revision, at_ms),),
        stage_ms=at_ms,
        since={(step.step, step.seat): at_ms for step in order.steps},
        last_seq=seq,
    )


def apply(case: Case, entry: Entry) -> Case:
    """Return `case` after `entry`, which is about it."""
    body, at_ms = entry.read(), entry.at_ms
    match body:
        case DispatchOrder():
            case = _reordered(case, body, at_ms)
        case Intent():
            telling = Telling(intent=body, intended_ms=at_ms)
            case = replace(case, tellings=case.tellings | {body.alert_id: telling})
        case Sent():
            telling = case.tellings[body.alert_id]
            first_ms = at_ms if telling.sent_ms is None else telling.sent_ms
            case = _with_telling(case, replace(telling, sent=body, sent_ms=first_ms))
        case Receipt():
            telling = case.tellings[body.alert_id]
            mark = Mark(kind=body.kind, at_ms=at_ms, reason=body.reason)
            case = _with_telling(case, replace(telling, marks=(*telling.marks, mark)))
        case Decision():
            case = _decided(case, body, at_ms)
        case _:
            raise StorageError(f"ledger record {entry.seq}: {entry.kind} is about no case")
    return replace(case, last_seq=entry.seq)


def _with_telling(case: Case, telling: Telling) -> Case:
    return replace(case, tellings=case.tellings | {telling.intent.alert_id: telling})


def _reordered(case: Case, order: DispatchOrder, at_ms: int) -> Case:
    since = {(step.step, step.seat): at_ms for step in order.steps} | case.since
    case = replace(case, revisions=(*case.revisions, (order.revision, at_ms)), since=since)
    if order.revision < case.order.revision:
        return case
    if case.merged_into is not None and SPLIT in order.reasons:
        case = replace(case, merged_into=None)
    before, after = case.order.incident.stage, order.incident.stage
    if not case.is_open and (is_raised(before, after) or REFUSED in order.reasons):
        # It was ended by somebody who could not know the newest turn, an alarm perhaps: that must not go unheard.
        case = _reopened(case, at_ms)
    return replace(case, order=order, stage_ms=case.stage_ms if before is after else at_ms)


def _decided(case: Case, decision: Decision, at_ms: int) -> Case:
    case = replace(case, decisions=(*case.decisions, (at_ms, decision)))
    if decision.kind in (DecisionKind.ACKNOWLEDGE, DecisionKind.INVESTIGATE):
        return replace(case, acknowledged=(at_ms, case.order.incident.stage))
    if decision.kind is DecisionKind.CONFIRM:
        # Who says that it is real need not be rung for the alarm that this makes.
        return replace(case, acknowledged=(at_ms, Stage.ALARM))
    if decision.kind in ENDING and case.is_open:
        return replace(case, shut=(*case.shut, (at_ms, None)))
    if decision.kind is DecisionKind.REOPEN and not case.is_open:
        return _reopened(case, at_ms)
    return case


def _reopened(case: Case, at_ms: int) -> Case:
    return replace(case, shut=(*case.shut[:-1], (case.shut[-1][0], at_ms))) if case.shut else case


# --- all of them ---------------------------------------------------------------------------------------------------


class Casebook:
    """All cases, and what is looked up by other keys. Changes only by `apply`.

    Attributes:
        ledger_id: `outbox_id` of our decisions.
        decisions: how many were made: the `seq` of the newest.
        unstored: decisions that the stream has not acknowledged yet, by seq.
        evidence: pictures that we hold, by id.
        reports, unstored_reports: the same of what was reported to us.
        reports_of: the newest reports of each person or post, the newest last.
    """

    def __init__(self) -> None:
        self.ledger_id = ""
        self.cases: dict[str, Case] = {}
        self.case_of_alert: dict[str, str] = {}
        self.case_of_evidence: dict[str, str] = {}
        self.evidence: dict[str, Evidence] = {}
        self.decisions = 0
        self.people = ""
        """Version of the people in the newest order: by these the stream matches."""
        self.unstored: dict[int, Decision] = {}
        self.reports = 0
        self.unstored_reports: dict[int, Observation] = {}
        self.reports_of: defaultdict[str, deque[Observation]] = defaultdict(lambda: deque(maxlen=REPORTS_KEPT))
        self.seq = 0

    def apply(self, entry: Entry) -> str:
        """Take `entry` in; return the id of the case that it changed, or an empty string."""
        self.seq = entry.seq
        body = entry.read()
        match body:
            case Genesis():
                self.ledger_id = body.ledger_id
                return ""
            case Stored():
                held: dict[int, Any] = self.unstored_reports if entry.kind == Kind.REPORT_STORED else self.unstored
                for first, last in body.ranges:
                    for seq in [seq for seq in held if first <= seq <= last]:
                        del held[seq]
                return ""
            case Observation():
                self.reports = body.seq
                self.unstored_reports[body.seq] = body
                self.reports_of[body.reporter or ""].append(body)
                return ""
            case Evidence():
                self.evidence[body.evidence_id] = body
                return self.case_of_evidence.get(body.evidence_id, "")
            case Decision():
                self.decisions = body.seq
                self.unstored[body.seq] = body
            case Intent():
                self.case_of_alert[body.alert_id] = entry.incident_id
            case DispatchOrder():
                self._index(body)
        case = self.cases.get(entry.incident_id)
        if case is None:
            if not isinstance(body, DispatchOrder):
                raise StorageError(f"ledger record {entry.seq}: {entry.kind} about a case that no order opened")
            self.cases[entry.incident_id] = opened(body, entry.at_ms, entry.seq)
        else:
            self.cases[entry.incident_id] = apply(case, entry)
        return entry.incident_id

    def _index(self, order: DispatchOrder) -> None:
        incident = order.incident
        self.people = order.versions.people
        for evidence_id in incident.evidence_ids:
            self.case_of_evidence[evidence_id] = incident.incident_id
        for alias in incident.aliases:
            other = self.cases.get(alias)
            if other is not None and alias != incident.incident_id:
                self.cases[alias] = replace(other, merged_into=incident.incident_id)
