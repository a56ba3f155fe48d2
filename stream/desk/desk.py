"""The desk: one incident of many signals, matched and ordered. Reads the `incidents` log, in order, alone.

Signals of one family close in place and time are one incident, across zones, streets and devices. Its id is that of the
first signal in log order. What people decide comes back in the same log, so a replay gives the same incidents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from models.messages import HELD, Decision, DecisionKind, Incident, Load, Response, Stage
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
    newly_flagged,
    place_of,
    turned,
    urged,
)
from stream.desk.decisions import RefusedError, assigned, corrected, merged, split
from stream.desk.index import Deadlines, PlaceIndex
from stream.desk.orders import Asked, Moment, canary_order, matched_order, matched_together, next_order
from stream.desk.row import META, Case, CaseRow, Member, Meta, MetaRow, read_rows
from stream.inforce import InForce
from stream.records import (
    ControlRecord,
    DecisionRecord,
    LoadRecord,
    OrderRecord,
    Origin,
    SignalKind,
    SignalRecord,
    TickRecord,
    Verdict,
    VerdictRecord,
)
from stream.world import World

Heard = SignalRecord | DecisionRecord | LoadRecord | ControlRecord | TickRecord
"""A record of `incidents`, or one signal of a record of many."""
Foreseen = Mapping[Origin, tuple[Incident, Asked]]
"""By the origin of a signal, the incident that it may open, and who will be asked."""
TELL_MS: Final = 5_000
"""Mere counts are told at most once in so long."""
ENDING: Final = {
    DecisionKind.CLEAR: "CLEARED",
    DecisionKind.CLOSE: "CLOSED",
    DecisionKind.CANCEL: "CANCELLED",
}
"""Decisions that end something: they count only if made in view of the newest turn."""


ANSWERS: Final[Mapping[DecisionKind, tuple[Verdict, Callable[[Member], bool]]]] = {
    DecisionKind.CONFIRM: ("confirm", lambda one: one.stage is Stage.PRE_ALARM or one.response in HELD),
    DecisionKind.CLEAR: ("clear", lambda one: one.stage is Stage.PRE_ALARM),
    DecisionKind.ACKNOWLEDGE: ("acknowledge", lambda one: one.response is Response.AWAITED),
    DecisionKind.INVESTIGATE: ("investigate", lambda one: one.response in HELD),
}
"""What the zones are told of a decision, and of which signals."""


_NOTHING: Final[Foreseen] = {}
_WHOLE: Final = 1 << 62
"""Stands for the last signal of a record: of what is stored, all are applied."""


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
        self._part = _WHOLE
        self._cases: dict[str, Case] = {}
        self._case_of: dict[str, str] = {}
        self._before: dict[str, Case | None] = {}
        """Stored values of what changed since the last `settle`."""
        self._gone: set[str] = set()
        self._places = PlaceIndex()
        self._deadlines = Deadlines()

    @classmethod
    def load(cls, rows: Mapping[str, CaseRow | MetaRow]) -> Desk:
        """Return the desk that `changes` once described, at the last moment of which all rows are there."""
        desk = cls()
        desk._meta, desk._cases, desk._gone = read_rows(rows)
        for case in desk._cases.values():
            desk._note(case)
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

    def apply(
        self, record: Heard, *, offset: int, world: World | None, part: int = 0, foreseen: Foreseen = _NOTHING
    ) -> Applied:
        """Apply one record of the log, once, or of one of many signals the next one.

        Args:
            record: or signal.
            offset: of the record.
            world: what is in force at `offset`, needed for all but control.
            part: which signal of its record it is.
            foreseen: what `foresee` says of that record.
        """
        if (offset, part) <= (self._meta.applied_offset, self._part):
            return Applied([], [], "APPLIED")
        turn = _Turn(self, self._meta.copy(), offset, record.at_ms, foreseen)
        ignored = turn.run(record, world)
        self._meta, self._part = turn.meta, part
        for incident_id, case in turn.changed.items():
            self._put(incident_id, case)
        return Applied(turn.orders, turn.verdicts, ignored)

    def foresee(self, signals: Sequence[SignalRecord], world: World) -> Foreseen:
        """Return what those of `signals` will open that belong to no open incident: one question for all of them.

        One that another of them takes in opens nothing, after all; what was found for it is left lying.
        """
        clock_ms = max(self._meta.clock_ms, *(signal.at_ms for signal in signals))
        opening = [one for one in signals if one.kind is SignalKind.RAISED and one.signal_id not in self._case_of]
        categories = [world.category(signal.category, signal.family) for signal in opening]
        incidents = [first_incident(*one, clock_ms, world) for one in zip(opening, categories, strict=True)]
        asked = matched_together(zip(incidents, categories, strict=True), Moment(world, clock_ms, self._meta.loads))
        return {signal.origin: said for signal, said in zip(opening, zip(incidents, asked, strict=True), strict=True)}

    def next_deadline_ms(self) -> int | None:
        """Return when a tick is due."""
        return self._deadlines.next_ms()

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
        if old is not None:
            self._forget(old)
        if case is not None:
            self._cases[incident_id] = case
            self._note(case)

    def _note(self, case: Case) -> None:
        incident = case.order.incident
        self._case_of.update(dict.fromkeys(case.members, incident.incident_id))
        self._places.add(incident.incident_id, incident.family, place_of(case))
        self._deadlines.put(incident.incident_id, case.tell_by_ms)

    def _forget(self, case: Case) -> None:
        incident = case.order.incident
        del self._cases[incident.incident_id]
        for signal_id in case.members:
            if self._case_of.get(signal_id) == incident.incident_id:  # else another incident has taken it over
                del self._case_of[signal_id]
        self._places.remove(incident.incident_id, incident.family, place_of(case))
        self._deadlines.put(incident.incident_id, None)

    # --- what a turn asks ------------------------------------------------------------------------------------------

    def case_of(self, signal_id: str) -> Case | None:
        """Return the open incident that a signal belongs to."""
        incident_id = self._case_of.get(signal_id)
        return None if incident_id is None else self._cases[incident_id]

    def case(self, incident_id: str) -> Case | None:
        """Return an open incident by its id or an alias, which is the id of one of its signals."""
        return self._cases.get(self._case_of.get(incident_id, incident_id))

    def around(self, signal: SignalRecord, within_m: float) -> Iterator[Case]:
        """Yield the open incidents of a signal's family near its place."""
        keys = self._places.around(signal.family, (signal.lon_e7, signal.lat_e7), within_m)
        return (self._cases[key] for key in keys)

    def due(self, now_ms: int) -> list[Case]:
        """Return the incidents of which something is to be told by now."""
        return [self._cases[key] for key in self._deadlines.due(now_ms)]


class _Turn:
    """One record at work: it reads the desk and writes `changed`."""

    def __init__(self, desk: Desk, meta: Meta, offset: int, at_ms: int, foreseen: Foreseen) -> None:
        self.desk, self.meta, self.offset, self.at_ms, self.foreseen = desk, meta, offset, at_ms, foreseen
        self.meta.applied_offset = offset
        self.meta.clock_ms = max(meta.clock_ms, at_ms)
        self.changed: dict[str, Case | None] = {}
        self.orders: list[OrderRecord] = []
        self.verdicts: list[VerdictRecord] = []

    def run(self, record: Heard, world: World | None) -> str | None:
        if isinstance(record, ControlRecord):
            self.meta.in_force.put(record.what, record.version, self.offset)
            return None
        if isinstance(record, TickRecord):
            self._tick()
            return None
        if isinstance(record, LoadRecord):
            self._weigh(record.loads)
            return None
        assert world is not None
        now = Moment(world, self.meta.clock_ms, self.meta.loads)
        if isinstance(record, SignalRecord):
            return self._hear(record, now)
        return self._decide(record, now)

    # --- signals ---------------------------------------------------------------------------------------------------

    def _hear(self, signal: SignalRecord, now: Moment) -> str | None:
        heard, partition = (signal.origin.offset, signal.origin.n), str(signal.origin.partition)
        if heard <= self.meta.heard.get(partition, (-1, -1)):
            return "DUPLICATE"
        self.meta.heard[partition] = heard
        if signal.kind is SignalKind.CANARY:
            self.orders.append(OrderRecord(at_ms=self.at_ms, order=canary_order(signal, now.world, self.meta.clock_ms)))
        elif case := self.desk.case_of(signal.signal_id):
            self._extend(case, signal, now)
        elif signal.kind is not SignalKind.RAISED:
            return "UNKNOWN_SIGNAL"
        elif case := near(self.desk.around(signal, now.world.catalogue.merge_m), signal, now.world.catalogue):
            self._extend(case, signal, now)
        else:
            self._open(signal, now)
        return None

    def _open(self, signal: SignalRecord, now: Moment) -> None:
        incident, asked = self.foreseen.get(signal.origin, (None, None))
        if asked and incident and incident.opened_at_ms == now.clock_ms:
            category = asked[0].category
        else:
            category = now.world.category(signal.category, signal.family)
            incident, asked = first_incident(signal, category, now.clock_ms, now.world), None
        answered = ("GENERAL",) if incident.response is Response.GENERAL else ()
        reasons = ("OPENED", *answered, *newly_flagged(None, incident))
        case = Case(
            order=matched_order(incident, category, 1, reasons, now, asked),
            count=incident.count,
            confidence=incident.confidence,
            sources=incident.sources,
            weighty_revision=1,
            members={signal.signal_id: member(signal)},
            first_event_ms=signal.event_ms,
            last_event_ms=signal.event_ms,
        )
        self._tell(case)

    def _extend(self, case: Case, signal: SignalRecord, now: Moment) -> None:
        """Put a signal's word into its incident, and tell it: at once if it changes anything but the count."""
        case = joined(case, signal)
        before, after = case.order.incident, turned(case, signal, now.world, now.clock_ms)
        reasons = changes(before, after, signal)
        if not reasons:
            self._count(case)
            return
        revision = case.order.revision + 1
        if needs_new_chain(before, after):
            category = now.world.category(after.category, after.family)
            order = matched_order(after, category, revision, reasons, now)
        else:
            order = next_order(case.order, after, reasons)
        weighty_revision = revision if is_weighty(before, after) else case.weighty_revision
        self._tell(replace(case, order=order, weighty_revision=weighty_revision))

    # --- loads -----------------------------------------------------------------------------------------------------

    def _weigh(self, loads: Iterable[Load]) -> None:
        """Keep the newest word of each person, and none of who has nothing: there may be a hundred thousand."""
        kept = dict(self.meta.loads)
        for load in loads:
            held = kept.get(load.person)
            if held is not None and held.at_ms > load.at_ms:
                continue
            kept.pop(load.person, None)
            if any(load.open.values()):
                # A clock that runs ahead must not keep a word fresh for ever.
                kept[load.person] = replace(load, at_ms=min(load.at_ms, self.at_ms))
        self.meta.loads = kept

    # --- telling ---------------------------------------------------------------------------------------------------

    def _count(self, case: Case) -> None:
        due_ms = case.order.ordered_at_ms + TELL_MS
        if self.meta.clock_ms < due_ms:
            self._keep(replace(case, tell_by_ms=due_ms))
        else:
            self._tell_again(case, "COUNT")

    def _tick(self) -> None:
        for case in self.desk.due(self.meta.clock_ms):
            self._count(case)

    def _tell_again(self, case: Case, reason: str) -> None:
        self._tell(replace(case, order=next_order(case.order, counted(case, self.meta.clock_ms), (reason,))))

    def _tell(self, case: Case) -> None:
        self.orders.append(OrderRecord(at_ms=self.at_ms, order=case.order))
        self._keep(replace(case, tell_by_ms=None))

    def _keep(self, case: Case) -> None:
        self.changed[case.order.incident.incident_id] = case

    # --- decisions -------------------------------------------------------------------------------------------------

    def _decide(self, record: DecisionRecord, now: Moment) -> str | None:
        decision = record.decision
        if not self.meta.decided.setdefault(decision.outbox_id, SeqSet()).add(decision.seq):
            return "DUPLICATE"
        case = self.desk.case(decision.incident_id)
        if case is None:
            return "UNKNOWN_INCIDENT"
        if decision.kind in ENDING and decision.expected_revision < case.weighty_revision:
            # Whoever decided did not know the newest turn: he is shown it, and nothing is ended.
            self._tell_again(case, "STALE_DECISION")
            return "STALE"
        try:
            return self._do(decision, case, now)
        except RefusedError as refusal:
            # Whoever decided is shown what stands, and why it still does.
            self._tell_again(case, f"REFUSED_{refusal}")
            return str(refusal)

    def _do(self, decision: Decision, case: Case, now: Moment) -> str | None:
        match decision.kind:
            case DecisionKind.CONFIRM | DecisionKind.CLEAR | DecisionKind.ACKNOWLEDGE | DecisionKind.INVESTIGATE:
                return self._answer(decision.kind, case)
            case DecisionKind.CLOSE | DecisionKind.CANCEL:
                self._end(case, ENDING[decision.kind])
            case DecisionKind.REMATCH:
                self._rematch(case, now)
            case DecisionKind.MERGE:
                self._merge(case, decision, now)
            case DecisionKind.SPLIT:
                for part in split(case, decision, now):
                    self._tell(part)
            case DecisionKind.CORRECT:
                self._tell(corrected(case, decision, now))
            case DecisionKind.ASSIGN:
                self._tell(assigned(case, decision, now))
            case DecisionKind.REOPEN:
                return "STILL_OPEN"  # a closed case is opened again in `alerts`: here it has no row any more
        return None

    def _answer(self, kind: DecisionKind, case: Case) -> str | None:
        """Pass on to the zones what the seat says of a pre-alarm, or of an alarm that is held back."""
        if kind is DecisionKind.INVESTIGATE and case.order.incident.response not in HELD - {Response.INVESTIGATING}:
            raise RefusedError("NOT_HELD_BACK")
        nothing = self._say(*ANSWERS[kind], case)
        # An acknowledgement stops clocks of `alerts` as well: it is never about nothing.
        return None if kind is DecisionKind.ACKNOWLEDGE else nothing

    def _merge(self, case: Case, decision: Decision, now: Moment) -> None:
        into = self.desk.case(decision.into or "")
        if into is None or into is case:
            raise RefusedError("UNKNOWN_TARGET")
        self.changed[case.order.incident.incident_id] = None
        self._tell(merged(into, case, now))

    def _say(self, verdict: Verdict, is_meant: Callable[[Member], bool], case: Case) -> str | None:
        """Send a verdict to the zones of those of an incident's signals that are meant."""
        concerned = [(i, m) for i, m in sorted(case.members.items()) if m.is_active and is_meant(m)]
        for n, (signal_id, one) in enumerate(concerned):
            self.verdicts.append(
                VerdictRecord(
                    at_ms=self.at_ms,
                    zone=one.zone,
                    signal_id=signal_id,
                    verdict=verdict,
                    origin=(self.offset, n),
                    seen=one.heard,
                    moves=one.moves,
                    partition=one.raised.origin.partition,
                )
            )
        return None if concerned else "NOTHING_TO_DECIDE"

    def _end(self, case: Case, reason: str) -> None:
        self._say("close", lambda one: one.stage is not Stage.RESTORED, case)
        incident = replace(counted(case, self.meta.clock_ms), stage=Stage.RESTORED)
        self._tell(replace(case, order=next_order(case.order, incident, (reason,))))
        self.changed[incident.incident_id] = None

    def _rematch(self, case: Case, now: Moment) -> None:
        before = counted(case, now.clock_ms)
        incident = urged(case, before, now.world)
        category = now.world.category(incident.category, incident.family)
        revision = case.order.revision + 1
        order = matched_order(incident, category, revision, ("REMATCHED", *newly_flagged(before, incident)), now)
        weighty_revision = revision if is_weighty(before, incident) else case.weighty_revision
        self._tell(replace(case, order=order, weighty_revision=weighty_revision))
