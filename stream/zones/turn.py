"""The zone's state machine (domain reference 4.1): what one record does to one row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from models import ids
from models.catalogue import Signal as Meaning
from models.messages import HELD, NO_FAULT, Detection, Dropped, Fault, Quality, Reading, Response, SelfTest, Stage
from stream.records import (
    HeartbeatRecord,
    Located,
    ObsLog,
    Origin,
    Outcome,
    Said,
    SignalKind,
    SignalRecord,
    Verdict,
    VerdictRecord,
)
from stream.zones import canary, clocks, response, supervision
from stream.zones.confirm import Found, confirmed_by, second_by
from stream.zones.row import ActiveSignal, Escalation, Hit, Machine, ZoneRow
from stream.zones.rules import Judgement, Level, Rules
from stream.zones.signals import (
    alone_reason,
    evidence_id_of,
    hit_of,
    key_of,
    new_pictures,
    raised,
    source_of,
    timeline_of,
    with_rise,
)

TELL_MS: Final = 1_000
"""A signal tells of further evidence at most once in so long."""
MAX_OUTPUTS: Final = 256
"""Signals that one observation may cause at most: `Origin.n` is index x this + k, whatever other zones do."""

Decided = tuple[Outcome, str | None]
_RECORDED: Final[Decided] = (Outcome.RECORDED, None)
_BELOW: Final[Decided] = (Outcome.BELOW, None)
_NEVER_ALARM: Final = frozenset((Quality.TEST, Quality.REPLAYED))


class Turn:
    """One record at work on one zone's row.

    Args:
        row: is changed.
        record: where it stands is `origin`, with the index of its first item for this zone.
        rules: in force there.
    """

    def __init__(self, row: ZoneRow, record: ObsLog, origin: Origin, rules: Rules) -> None:
        self.row, self.record, self.rules = row, record, rules
        self.partition, self.offset, self.index = origin.partition, origin.offset, origin.n
        self.k = 0
        self._floors: dict[tuple[str, str], float] = {}
        """By device and label, from the first detection below on: under this, another one changes nothing more."""
        self.signals: list[SignalRecord] = []
        self.outcomes: dict[int, Outcome] = {}
        self.signal_ids: dict[int, str] = {}
        self.duplicates = 0

    def run(self, parts: Iterable[tuple[int, Said]]) -> None:
        """Apply the record to `row`; what comes of it stands in the attributes.

        Args:
            parts: what was said in this zone, each with the index of its first observation.
        """
        row = self.row
        row.applied_offset = self.offset
        row.clock_ms = max(row.clock_ms, self.record.at_ms)
        self._pass_deadlines()
        if isinstance(self.record, HeartbeatRecord):
            for beat, zone in zip(self.record.heartbeats, self.record.zones, strict=True):
                if zone == row.zone:
                    self._is_alive(beat.device_id, is_heartbeat=True)
        self._miss()
        if isinstance(self.record, VerdictRecord):
            self._hear(self.record)
        for first, said in parts:
            self._take(first, said)
            self._turn_to(first + len(said.observations) - 1)
        self._review_devices()

    # --- devices ---------------------------------------------------------------------------------------------------

    def _is_alive(self, device_id: str, *, is_heartbeat: bool = False) -> None:
        device = self.rules.places.device_by_id.get(device_id)
        if device is None:
            return
        self.row.silent.pop(device_id, None)
        if device_id in self.row.missed_from or supervision.is_supervised(device, is_heartbeat=is_heartbeat):
            limit_ms = supervision.missed_after_ms(device, self.rules.places, self.rules.thresholds.supervision)
            self.row.missed_from[device_id] = self.row.clock_ms + limit_ms

    def _miss(self) -> None:
        row = self.row
        for device_id, due_ms in list(row.missed_from.items()):
            if due_ms <= row.clock_ms:
                del row.missed_from[device_id]
                if device_id in self.rules.places.device_by_id:
                    row.silent[device_id] = due_ms

    def _review_devices(self) -> None:
        """Tell which devices have failed, or that they are back; what was told already is not told again."""
        machine = self.row.machines.get(supervision.FAMILY, Machine())
        stage, signal = supervision.stage_of(self.row, self.rules.places), machine.signal
        if stage is None:
            if signal is not None:
                self._clear(supervision.FAMILY, "DEVICES_BACK")
            return
        failed = supervision.failed(self.row)
        if signal is None:
            said = supervision.FAMILY, stage, supervision.meaning(self.rules.catalogue)
            self._raise_supervision(machine, said, failed)
        elif stage is Stage.ALARM and signal.stage is Stage.PRE_ALARM:
            signal.sources = tuple(sorted(failed))
            self._escalate(supervision.FAMILY, "UNPROTECTED")
        elif not set(failed) <= set(signal.sources):
            signal.sources = tuple(sorted({*signal.sources, *failed}))
            self._emit(supervision.FAMILY, SignalKind.EVIDENCE, _codes(failed))

    def _raise_supervision(
        self, machine: Machine, said: tuple[str, Stage, Meaning | None], bad: dict[str, str]
    ) -> None:
        origin = self.rules.tenant, str(self.partition), self.offset
        machine.signal = supervision.raised(self.row, self.rules.places, bad, said, origin)
        if machine.signal is not None:
            self.row.machines[said[0]] = machine
            self._emit(said[0], SignalKind.RAISED, _codes(bad))

    def _weigh_clock(self, said: Said, fresh: Sequence[int]) -> None:
        """Tell of a wall clock that has turned out wrong, or right again: once, and nothing is judged by it."""
        device_id = said.observations[0].device_id
        held = self.row.clocks.get(device_id)
        clock = clocks.weigh(held, said, fresh, self.rules.thresholds.supervision)
        if clock is held:
            return
        was_wrong, is_wrong = held is not None and held.is_wrong, clock is not None and clock.is_wrong
        if clock is None:
            del self.row.clocks[device_id]
        else:
            self.row.clocks[device_id] = clock
        if is_wrong != was_wrong:
            self._review_clocks(is_news=is_wrong)

    def _review_clocks(self, *, is_news: bool) -> None:
        wrong, machine = clocks.wrong(self.row.clocks), self.row.machines.get(clocks.FAMILY, Machine())
        signal = machine.signal
        if signal is None and is_news:
            said = clocks.FAMILY, Stage.PRE_ALARM, supervision.meaning_of_clocks(self.rules.catalogue)
            self._raise_supervision(machine, said, wrong)
        elif signal is not None and not wrong:
            self._clear(clocks.FAMILY, "CLOCKS_RIGHT")
        elif signal is not None and is_news:
            signal.sources = tuple(sorted({*signal.sources, *wrong}))
            self._emit(clocks.FAMILY, SignalKind.EVIDENCE, _codes(wrong))

    # --- time ------------------------------------------------------------------------------------------------------

    def _pass_deadlines(self) -> None:
        while due := self._due():
            _, rank, family = min(due)
            (self._verify_expired, self._held_back_enough, self._cleared, self._tell)[rank](family)

    def _due(self) -> list[tuple[int, int, str]]:
        return [
            (due_ms, rank, family)
            for family, machine in self.row.machines.items()
            if machine.signal
            for due_ms, rank in machine.signal.deadlines()
            if due_ms <= self.row.clock_ms
        ]

    def _verify_expired(self, family: str) -> None:
        self._escalate(family, "VERIFY_EXPIRED")

    def _held_back_enough(self, family: str) -> None:
        held = self._signal(family).response
        self._generalise(family, "NOT_ACKNOWLEDGED" if held is Response.AWAITED else "TIME_OUT")

    def _cleared(self, family: str) -> None:
        self._clear(family, "BELOW_CLEAR")

    def _tell(self, family: str) -> None:
        self._emit(family, SignalKind.EVIDENCE)

    # --- observations ----------------------------------------------------------------------------------------------

    def _take(self, first: int, said: Said) -> None:
        """Decide what came for the first time, the first of it standing at `first` in the record.

        Most of it is like what was found below just before, in a zone that this has not changed: that is seen at once.
        """
        fresh = self._fresh(said)
        self.duplicates += len(said.observations) - len(fresh)
        if not fresh:
            return
        device = said.observations[0].device_id
        self._is_alive(device)
        self._turn_to(first + fresh[0])
        self._weigh_clock(said, fresh)
        faults, floors, outcomes, below = self.row.faults, self._floors, self.outcomes, Outcome.BELOW
        for k in fresh:
            seen = said.observations[k]
            payload = seen.payload
            if (
                isinstance(payload, Detection)
                and payload.confidence < floors.get((device, payload.label), 0.0)
                and (seen.quality is Quality.LIVE or seen.quality not in _NEVER_ALARM)
                and device not in faults
            ):
                outcomes[first + k] = below
                continue
            self._turn_to(first + k)
            outcomes[first + k], signal_id = self._decide(said.located(k))
            if signal_id is not None:
                self.signal_ids[first + k] = signal_id
            if outcomes[first + k] is Outcome.BELOW and isinstance(payload, Detection):
                floors[device, payload.label] = self.rules.floor(payload.label, device, said.zone)

    def _turn_to(self, index: int) -> None:
        if index != self.index:
            self.index, self.k = index, 0

    def _fresh(self, said: Said) -> Sequence[int]:
        """Return which observations have not come before, and take them as having come."""
        first, seqs = said.observations[0], [seen.seq for seen in said.observations]
        outbox, lane = first.outbox_id, first.lane
        others = [seen for seen in said.observations if seen.outbox_id != outbox or seen.lane is not lane]
        if not others and self.row.seen_of(first.device_id, outbox, lane).add_next(seqs):  # nearly always
            return range(len(seqs))
        add = self.row.seen_of(first.device_id, outbox, lane).add
        fresh = []
        for k, seen in enumerate(said.observations):
            if seen.outbox_id != outbox or seen.lane is not lane:
                outbox, lane = seen.outbox_id, seen.lane
                add = self.row.seen_of(seen.device_id, outbox, lane).add
            if add(seen.seq):
                fresh.append(k)
        return fresh

    def _decide(self, located: Located) -> Decided:
        seen = located.observation
        if isinstance(seen.payload, (Detection, Reading)) and seen.quality not in _NEVER_ALARM:
            return self._weigh(located)
        if canary.is_canary(located) and seen.quality is not Quality.REPLAYED:
            origin = Origin(self.partition, self.offset, self._n)
            self.signals.append(canary.signal_of(located, origin, self.rules.tenant, at_ms=self.record.at_ms))
            self.k += 1
        if seen.quality in _NEVER_ALARM or isinstance(seen.payload, SelfTest):
            return Outcome.NEVER_ALARMS, None
        if isinstance(seen.payload, Fault):
            self._hear_of_fault(seen.device_id, seen.payload.fault)
            return Outcome.RECORDED, None
        if isinstance(seen.payload, Dropped):
            self.row.drop(seen.device_id, seen.outbox_id, seen.payload)
            return Outcome.RECORDED, None
        return self._weigh(located)

    def _weigh(self, located: Located) -> Decided:
        judged = self.rules.judge(located)
        if judged is None:
            return _RECORDED
        row, seen = self.row, located.observation
        if row.faults and row.faults.get(seen.device_id) not in supervision.LASTING:
            row.faults.pop(seen.device_id, None)
        machine = row.machines.get(judged.family)
        if machine is None:
            machine = row.machines[judged.family] = Machine()
        if judged.is_state:
            judged = with_rise(machine, judged, located)
        if judged.is_state or machine.signal:
            self._keep_alive(machine, judged, located)
        if judged.level < Level.HINT:
            return _BELOW
        hit = hit_of(located, judged.level)
        enough = machine.add_hit(key_of(seen, judged), hit, judged)
        decided = self._add_evidence if machine.signal else self._raise_if
        outcome = decided(machine, judged, located, enough)
        if enough:
            level = max(h.level for h in enough)
            machine.add_trip(source_of(seen), hit.event_ms, level)
        return outcome, machine.signal.signal_id if machine.signal else None

    def _keep_alive(self, machine: Machine, judged: Judgement, located: Located) -> None:
        """Put off the end of a pre-alarm; while a sensor's value stands, there is none."""
        is_above = judged.level >= Level.HOLD
        was_standing = machine.is_standing
        if judged.is_state:
            machine.set_state(key_of(located.observation, judged), located.event_ms, is_above=is_above)
        signal = machine.signal
        if signal is None or signal.stage is not Stage.PRE_ALARM:
            return
        if machine.is_standing or signal.reporters:
            signal.clear_by_ms = None
        elif is_above or was_standing:
            signal.clear_by_ms = self.row.clock_ms + self.rules.clear_ms

    def _raise_if(self, machine: Machine, judged: Judgement, located: Located, enough: tuple[Hit, ...]) -> Outcome:
        if not enough:
            return Outcome.HIT
        is_old = self.rules.is_old(located)
        reason = None if is_old else alone_reason(judged)
        machine.signal = raised(located, judged, enough, self.rules.tenant)
        machine.signal.stage = Stage.ALARM if reason else Stage.PRE_ALARM
        machine.signal.late = is_old
        if reason is None:
            self._watch(machine, machine.signal)
        else:
            response.begin(machine.signal, judged.family, reason, (), self.rules, self.row.clock_ms)
        pictures = new_pictures(machine.signal, [hit.evidence_id for hit in enough])
        why = reason or ("REPORTED" if machine.signal.reporters else "MIN_HITS")
        reasons = (why, *(("LATE",) if is_old else ()))
        self._emit(judged.family, SignalKind.RAISED, reasons, pictures=pictures)
        return Outcome.ALARM if reason else Outcome.PRE_ALARM

    def _watch(self, machine: Machine, signal: ActiveSignal) -> None:
        """Start the clocks of a pre-alarm.

        What is too old to alarm does not fail safe into an alarm either, and no more does a matter of street order: it
        ends by itself. What a person has reported does not: he will not come back to say that it is over.
        """
        fails_safe = not signal.late and self.rules.is_urgent(signal.meaning)
        signal.verify_by_ms = self.row.clock_ms + self.rules.verify_ms if fails_safe else None
        stands = machine.is_standing or bool(signal.reporters)
        signal.clear_by_ms = None if stands else self.row.clock_ms + self.rules.clear_ms

    def _add_evidence(self, machine: Machine, judged: Judgement, located: Located, enough: tuple[Hit, ...]) -> Outcome:
        signal, seen = machine.signal, located.observation
        assert signal is not None
        signal.untold += 1
        signal.confidence = max(signal.confidence, judged.confidence)
        if seen.device_id not in signal.sources:
            signal.sources = tuple(sorted((*signal.sources, seen.device_id)))
        pictures = new_pictures(signal, [evidence_id_of(seen)])
        before = signal.reporters
        if seen.reporter:
            signal.reporters = tuple(sorted({*before, seen.reporter}))
            signal.clear_by_ms = None
        found = Found(located, judged, enough)
        reason = confirmed_by(found, self.row, machine, signal, self.rules)
        if reason:
            signal.timeline = timeline_of(located)
            hit = hit_of(located, judged.level)
            self._escalate(judged.family, reason, by=(located, hit), pictures=pictures)
            return Outcome.ALARM
        if second := second_by(found, machine, signal, self.rules):
            self._generalise(judged.family, second, located=located, pictures=pictures)
            return Outcome.EVIDENCE
        if signal.late and enough and not self.rules.is_old(located):
            signal.late = False
            if signal.stage is Stage.PRE_ALARM:
                self._watch(machine, signal)
            self._emit(judged.family, SignalKind.EVIDENCE, ("FRESH",), located=located, pictures=pictures)
        elif pictures or signal.reporters != before or located.event_ms - signal.told_event_ms >= TELL_MS:
            self._emit(judged.family, SignalKind.EVIDENCE, located=located, pictures=pictures)
        elif signal.tell_by_ms is None:
            signal.tell_by_ms = self.row.clock_ms + TELL_MS
        return Outcome.EVIDENCE

    def _hear_of_fault(self, device_id: str, fault: str) -> None:
        faults = self.row.faults
        if faults.get(device_id) in supervision.LASTING:
            return
        if fault == NO_FAULT:
            faults.pop(device_id, None)
        else:
            faults[device_id] = fault

    # --- people ----------------------------------------------------------------------------------------------------

    def _hear(self, verdict: VerdictRecord) -> None:
        """Do what a person decided; for a signal that is over, nothing: so a verdict said twice counts once."""
        for family, machine in self.row.machines.items():
            signal = machine.signal
            if signal is None or signal.signal_id != verdict.signal_id:
                continue
            if verdict.verdict == "close":
                self._close(family, machine, signal, verdict)
            elif signal.stage is Stage.PRE_ALARM:
                self._hear_of_pre_alarm(family, verdict.verdict)
            elif signal.response in HELD:
                self._hear_of_held_alarm(family, signal, verdict.verdict)
            return

    def _hear_of_pre_alarm(self, family: str, verdict: Verdict) -> None:
        if verdict == "confirm":
            self._escalate(family, "CONFIRMED")
        elif verdict == "clear":
            self._clear(family, "OPERATOR")

    def _hear_of_held_alarm(self, family: str, signal: ActiveSignal, verdict: Verdict) -> None:
        staged = self.rules.thresholds.staged
        if verdict == "confirm":
            self._generalise(family, "CONFIRMED")
        elif verdict == "acknowledge" and response.acknowledge(signal, staged):
            self._emit(family, SignalKind.EVIDENCE, ("ACKNOWLEDGED",))
        elif verdict == "investigate" and response.investigate(signal, staged, self.row.clock_ms):
            self._emit(family, SignalKind.EVIDENCE, ("INVESTIGATING",))

    def _close(self, family: str, machine: Machine, signal: ActiveSignal, verdict: VerdictRecord) -> None:
        """End a signal. An alarm that the desk had not heard of when it closed is evidence after the close."""
        late_alarm = signal.escalation
        machine.reset()
        if family == supervision.FAMILY:
            self.row.faults.clear()
            self.row.silent.clear()
        if late_alarm is None or (late_alarm.moves, late_alarm.at) <= (verdict.moves, verdict.seen):
            return
        hit, device = late_alarm.hit, late_alarm.device_id
        signal.signal_id = ids.incident_id(self.rules.tenant, device, hit.outbox_id, hit.lane, hit.seq)
        signal.device_id, signal.sources, signal.untold = device, (device,), 1
        signal.escalation = None
        machine.signal = signal
        self._emit(family, SignalKind.RAISED, (late_alarm.reason, "AFTER_CLOSE"))

    # --- words -----------------------------------------------------------------------------------------------------

    def _escalate(
        self, family: str, reason: str, *, by: tuple[Located, Hit] | None = None, pictures: tuple[str, ...] = ()
    ) -> None:
        signal = self._signal(family)
        signal.stage = Stage.ALARM
        signal.verify_by_ms = signal.clear_by_ms = None
        if family != supervision.FAMILY:
            sources = {*self.row.machines[family].trips, *([source_of(by[0].observation)] if by else ())}
            response.begin(signal, family, reason, sources, self.rules, self.row.clock_ms)
        if by:
            located, hit = by
            device = located.observation.device_id
            signal.escalation = Escalation((self.offset, self._n), reason, device, hit, self.row.moves)
        self._emit(family, SignalKind.ESCALATED, (reason,), located=by[0] if by else None, pictures=pictures)

    def _generalise(
        self, family: str, reason: str, *, located: Located | None = None, pictures: tuple[str, ...] = ()
    ) -> None:
        response.make_general(self._signal(family))
        self._emit(family, SignalKind.ESCALATED, ("GENERAL", reason), located=located, pictures=pictures)

    def _clear(self, family: str, reason: str) -> None:
        self._emit(family, SignalKind.CLEARED, (reason,))
        self.row.machines[family].reset()

    def _emit(
        self,
        family: str,
        kind: SignalKind,
        reasons: tuple[str, ...] = (),
        *,
        located: Located | None = None,
        pictures: tuple[str, ...] = (),
    ) -> None:
        signal = self._signal(family)
        event_ms = located.event_ms if located else signal.told_event_ms
        record = SignalRecord(
            at_ms=self.record.at_ms,
            origin=Origin(self.partition, self.offset, self._n),
            signal_id=signal.signal_id,
            kind=kind,
            stage=Stage.RESTORED if kind is SignalKind.CLEARED else signal.stage,
            zone=self.row.zone,
            category=signal.meaning.category_at(signal.stage),
            family=family,
            label=signal.label,
            confidence=signal.confidence,
            device_id=located.observation.device_id if located else signal.device_id,
            sources=signal.sources,
            count=signal.untold,
            event_ms=event_ms,
            lon_e7=signal.lon_e7,
            lat_e7=signal.lat_e7,
            radius_m=signal.radius_m,
            areas=signal.areas,
            evidence_ids=pictures,
            late=signal.late,
            rule_version=self.rules.version,
            reasons=reasons,
            timeline=signal.timeline,
            reporters=signal.reporters,
            response=signal.response,
            general_by_ms=signal.general_by_ms,
            moves=self.row.moves,
        )
        self.signals.append(record)
        self.k += 1
        signal.untold, signal.tell_by_ms = 0, None
        signal.told_event_ms = max(signal.told_event_ms, event_ms)

    @property
    def _n(self) -> int:
        return self.index * MAX_OUTPUTS + self.k

    def _signal(self, family: str) -> ActiveSignal:
        signal = self.row.machines[family].signal
        assert signal is not None
        return signal


def _codes(failed: dict[str, str]) -> tuple[str, ...]:
    return tuple(sorted({fault.upper() for fault in failed.values()}))
