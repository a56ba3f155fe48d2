"""The desk: one incident of many signals, matched and ordered. Reads the `incidents` log, in order, alone.

Signals of one family close in place and time are one incident, across zones, streets and devices. Its id is that of the
first signal in log order. What people decide comes back in the same log, so a replay gives the same incidents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from msgspec.structs import replace

from models.messages import DecisionKind, Incident, Stage
from models.seqset import SeqSet
from stream.desk.cases import (
    changes,
    counted,
    first_incident,
    is_weighty,
    joined,
    member,
    near,
    needs_new_chain,
    turned,
)
from stream.desk.orders import matched_order, next_order
from stream.desk.row import META, Case, CaseRow, Meta, MetaRow, read_rows
from stream.inforce import InForce
from stream.records import (
    ControlRecord,
    DecisionRecord,
    IncidentsLog,
    OrderRecord,
    SignalKind,
    SignalRecord,
    TickRecord,
    VerdictRecord,
)
from stream.world import World

TELL_MS: Final = 5_000
"""Mere counts are told at most once in so long."""
ENDING: Final = {
    DecisionKind.CLEAR: "CLEARED",
    DecisionKind.CLOSE: "CLOSED",
    DecisionKind.CANCEL: "CANCELLED",
}
"""Decisions that end something: they count only if made in view of the newest turn."""


class Applied(NamedTuple):
    """What one record does.

    Attributes:
        ignored: why it did nothing, as a code to be counted.
    """

    orders: list[OrderRecord]
    verdicts: list[VerdictRecord]
    ignored: str | None = None


class Desk:
    """All open incidents. A record that breaks a rule raises and changes nothing."""

    def __init__(self) -> None:
        self._meta = Meta()
        self._cases: dict[str, Case] = {}
        self._case_of: dict[str, str] = {}
        self._before: dict[str, Case | None] = {}
        """Stored values of what changed since the last `settle`."""
        self._gone: set[str] = set()

    @classmethod
    def load(cls, rows: Mapping[str, CaseRow | MetaRow]) -> Desk:
        """Return the desk that `changes` once described, at the last moment of which all rows are there."""
        desk = cls()
        desk._meta, desk._cases, desk._gone = read_rows(rows)
        for incident_id, case in desk._cases.items():
            desk._case_of.update(dict.fromkeys(case.members, incident_id))
        return desk

    @property
    def applied_offset(self) -> int:
        """Offset of the last record applied."""
        return self._meta.applied_offset

    @property
    def in_force(self) -> InForce:
        """The versions by which records are decided."""
        return self._meta.in_force

    @property
    def open_incidents(self) -> tuple[Incident, ...]:
        """The open incidents as last told, by id."""
        return tuple(case.order.incident for _, case in sorted(self._cases.items()))

    def apply(self, record: IncidentsLog, *, offset: int, world: World | None) -> Applied:
        """Apply one record of the log, once; `world` is what is in force at `offset`, needed for all but control."""
        if offset <= self._meta.applied_offset:
            return Applied([], [], "APPLIED")
        turn = _Turn(self._meta.copy(), self._cases, self._case_of, offset, record.at_ms)
        ignored = turn.run(record, world)
        self._meta = turn.meta
        for incident_id, case in turn.changed.items():
            self._put(incident_id, case)
        return Applied(turn.orders, turn.verdicts, ignored)

    def next_deadline_ms(self) -> int | None:
        """Return when a tick is due."""
        return min((case.tell_by_ms for case in self._cases.values() if case.tell_by_ms is not None), default=None)

    def changes(self) -> list[tuple[str, CaseRow | MetaRow | None]]:
        """Return the rows to be stored, None for one to be removed. The last one goes after all others are stored."""
        at = self._meta.applied_offset
        rows: list[tuple[str, CaseRow | MetaRow | None]] = [(key, None) for key in sorted(self._gone)]
        rows += [
            (key, CaseRow(applied_offset=at, now=self._cases.get(key), before=before))
            for key, before in sorted(self._before.items(), key=lambda item: item[0])
        ]
        return [*rows, (META, MetaRow(applied_offset=at, meta=self._meta))]

    def settle(self) -> None:
        """Take the rows of `changes` as stored, all of them."""
        self._gone = {key for key in self._before if key not in self._cases}
        self._before = {}

    def _put(self, incident_id: str, case: Case | None) -> None:
        old = self._cases.get(incident_id)
        self._before.setdefault(incident_id, old)
        self._gone.discard(incident_id)
        if case is not None:
            self._cases[incident_id] = case
            self._case_of.update(dict.fromkeys(case.members, incident_id))
        elif old is not None:
            del self._cases[incident_id]
            for signal_id in old.members:
                del self._case_of[signal_id]


class _Turn:
    """One record at work on the desk; it reads `cases` and writes `changed`."""

    def __init__(
        self, meta: Meta, cases: Mapping[str, Case], case_of: Mapping[str, str], offset: int, at_ms: int
    ) -> None:
        self.meta, self.cases, self.case_of, self.offset, self.at_ms = meta, cases, case_of, offset, at_ms
        self.meta.applied_offset = offset
        self.meta.clock_ms = max(meta.clock_ms, at_ms)
        self.changed: dict[str, Case | None] = {}
        self.orders: list[OrderRecord] = []
        self.verdicts: list[VerdictRecord] = []

    def run(self, record: IncidentsLog, world: World | None) -> str | None:
        if isinstance(record, ControlRecord):
            self.meta.in_force.put(record.what, record.version, self.offset)
            return None
        if isinstance(record, TickRecord):
            self._tick()
            return None
        assert world is not None
        if isinstance(record, SignalRecord):
            return self._hear(record, world)
        return self._decide(record, world)

    # --- signals ---------------------------------------------------------------------------------------------------

    def _hear(self, signal: SignalRecord, world: World) -> str | None:
        heard, partition = (signal.origin.offset, signal.origin.n), str(signal.origin.partition)
        if heard <= self.meta.heard.get(partition, (-1, -1)):
            return "DUPLICATE"
        self.meta.heard[partition] = heard
        incident_id = self.case_of.get(signal.signal_id)
        if incident_id is not None:
            self._extend(self.cases[incident_id], signal, world)
        elif signal.kind is not SignalKind.RAISED:
            return "UNKNOWN_SIGNAL"
        elif case := near(self.cases, signal, world.catalogue):
            self._extend(case, signal, world)
        else:
            self._open(signal, world)
        return None

    def _open(self, signal: SignalRecord, world: World) -> None:
        category = world.category(signal.category, signal.family)
        incident = first_incident(signal, category, self.meta.clock_ms)
        case = Case(
            order=matched_order(incident, category, 1, ("OPENED",), world),
            count=incident.count,
            confidence=incident.confidence,
            sources=incident.sources,
            weighty_revision=1,
            members={signal.signal_id: member(signal)},
            first_event_ms=signal.event_ms,
            last_event_ms=signal.event_ms,
        )
        self._tell(case)

    def _extend(self, case: Case, signal: SignalRecord, world: World) -> None:
        """Put a signal's word into its incident, and tell it: at once if it changes anything but the count."""
        case = joined(case, signal)
        before, after = case.order.incident, turned(case, signal, world, self.meta.clock_ms)
        reasons = changes(before, after, signal)
        if not reasons:
            self._count(case)
            return
        revision = case.order.revision + 1
        if needs_new_chain(before, after):
            category = world.category(after.category, after.family)
            order = matched_order(after, category, revision, reasons, world)
        else:
            order = next_order(case.order, after, reasons)
        weighty_revision = revision if is_weighty(before, after) else case.weighty_revision
        self._tell(replace(case, order=order, weighty_revision=weighty_revision))

    # --- telling ---------------------------------------------------------------------------------------------------

    def _count(self, case: Case) -> None:
        due_ms = case.order.ordered_at_ms + TELL_MS
        if self.meta.clock_ms < due_ms:
            self._keep(replace(case, tell_by_ms=due_ms))
        else:
            self._tell_again(case, "COUNT")

    def _tick(self) -> None:
        for _, case in sorted(self.cases.items()):
            if case.tell_by_ms is not None and case.tell_by_ms <= self.meta.clock_ms:
                self._count(case)

    def _tell_again(self, case: Case, reason: str) -> None:
        self._tell(replace(case, order=next_order(case.order, counted(case, self.meta.clock_ms), (reason,))))

    def _tell(self, case: Case) -> None:
        self.orders.append(OrderRecord(at_ms=self.at_ms, order=case.order))
        self._keep(replace(case, tell_by_ms=None))

    def _keep(self, case: Case) -> None:
        self.changed[case.order.incident.incident_id] = case

    # --- decisions -------------------------------------------------------------------------------------------------

    def _decide(self, record: DecisionRecord, world: World) -> str | None:
        decision = record.decision
        if not self.meta.decided.setdefault(decision.outbox_id, SeqSet()).add(decision.seq):
            return "DUPLICATE"
        # An alias is the id of one of the incident's signals.
        case = self.cases.get(self.case_of.get(decision.incident_id, decision.incident_id))
        if case is None:
            return "UNKNOWN_INCIDENT"
        if decision.kind in ENDING and decision.expected_revision < case.weighty_revision:
            # Whoever decided did not know the newest turn: he is shown it, and nothing is ended.
            self._tell_again(case, "STALE_DECISION")
            return "STALE"
        return self._do(decision.kind, case, world)

    def _do(self, kind: DecisionKind, case: Case, world: World) -> str | None:
        match kind:
            case DecisionKind.CONFIRM:
                return self._say("confirm", case, Stage.PRE_ALARM)
            case DecisionKind.CLEAR:
                return self._say("clear", case, Stage.PRE_ALARM)
            case DecisionKind.CLOSE | DecisionKind.CANCEL:
                self._end(case, ENDING[kind])
            case DecisionKind.REMATCH:
                self._rematch(case, world)
            case DecisionKind.ACKNOWLEDGE:
                pass  # it stops clocks of `alerts`, and nothing here
            case _:
                return "UNSUPPORTED"
        return None

    def _say(self, verdict: Literal["confirm", "clear", "close"], case: Case, *stages: Stage) -> str | None:
        """Send a verdict to the zones of an incident's signals, as far as they are at one of `stages`."""
        concerned = [(i, m) for i, m in sorted(case.members.items()) if m.is_active and m.stage in stages]
        for n, (signal_id, one) in enumerate(concerned):
            self.verdicts.append(
                VerdictRecord(
                    at_ms=self.at_ms,
                    zone=one.zone,
                    signal_id=signal_id,
                    verdict=verdict,
                    origin=(self.offset, n),
                    seen=one.heard,
                )
            )
        return None if concerned else "NOTHING_TO_DECIDE"

    def _end(self, case: Case, reason: str) -> None:
        self._say("close", case, Stage.PRE_ALARM, Stage.ALARM)
        incident = replace(counted(case, self.meta.clock_ms), stage=Stage.RESTORED)
        self._tell(replace(case, order=next_order(case.order, incident, (reason,))))
        self.changed[incident.incident_id] = None

    def _rematch(self, case: Case, world: World) -> None:
        incident = counted(case, self.meta.clock_ms)
        category = world.category(incident.category, incident.family)
        order = matched_order(incident, category, case.order.revision + 1, ("REMATCHED",), world)
        self._tell(replace(case, order=order))
