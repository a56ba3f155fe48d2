"""From observations to pre-alarms and alarms (S1 to S5, S8): hits, second sources, and what keeps a signal up."""

from __future__ import annotations

from typing import Final

from models.messages import Stage
from stream.records import Located, Outcome, SignalKind
from stream.zones import response
from stream.zones.annunciator import Annunciator
from stream.zones.confirm import Found, confirmed_by, second_by
from stream.zones.family import ActiveSignal, Hit, Machine
from stream.zones.rules import Judgement, Level
from stream.zones.signals import (
    alone_reason,
    evidence_id_of,
    hit_of,
    is_rising,
    key_of,
    new_pictures,
    raised,
    source_of,
    timeline_of,
)
from stream.zones.trouble import Trouble

TELL_MS: Final = 1_000
"""A signal tells of further evidence at most once in so long."""

Decided = tuple[Outcome, str | None]
_BELOW: Final[Decided] = (Outcome.BELOW, None)
_NOT_EVALUABLE: Final[Decided] = (Outcome.NOT_EVALUABLE, None)


class Fusion:
    """The machines of one zone, while one record is applied to it.

    Args:
        annunciator: of the zone; by it is said what comes of the evidence.
        trouble: of its devices; is told whose samples are too few.
    """

    __slots__ = ("_annunciator", "_row", "_rules", "_trouble")

    def __init__(self, annunciator: Annunciator, trouble: Trouble) -> None:
        self._annunciator, self._trouble = annunciator, trouble
        self._row, self._rules = annunciator.row, annunciator.rules

    def weigh(self, judged: Judgement, located: Located) -> Decided:
        """Put an observation in; return what became of it, and the id of the signal that it belongs to."""
        seen = located.observation
        machine = self._row.machines.get(judged.family)
        if machine is None:
            machine = self._row.machines[judged.family] = Machine()
        is_evaluable = True
        if judged.is_state and judged.rise_per_min is not None:
            rises = is_rising(machine, judged, judged.rise_per_min, located)
            is_evaluable = rises is not None
            judged = judged._replace(level=Level.ALARM) if rises else judged
            self._trouble.weigh_density(seen.device_id, located.event_ms, is_evaluable=is_evaluable)
        if judged.is_state or machine.signal:
            self._keep_alive(machine, judged, located)
        if judged.level < Level.HINT:
            return _BELOW if is_evaluable else _NOT_EVALUABLE
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
            signal.clear_by_ms = self._row.clock_ms + self._rules.clear_ms

    def _raise_if(self, machine: Machine, judged: Judgement, located: Located, enough: tuple[Hit, ...]) -> Outcome:
        if not enough:
            return Outcome.HIT
        is_old = self._rules.is_old(located)
        reason = None if is_old else alone_reason(judged)
        machine.signal = raised(located, judged, enough, self._rules.tenant)
        machine.signal.stage = Stage.ALARM if reason else Stage.PRE_ALARM
        machine.signal.late = is_old
        if reason is None:
            self._watch(machine, machine.signal)
        else:
            response.begin(machine.signal, judged.family, reason, (), self._rules, self._row.clock_ms)
        pictures = new_pictures(machine.signal, [hit.evidence_id for hit in enough])
        why = reason or ("REPORTED" if machine.signal.reporters else "MIN_HITS")
        reasons = (why, *(("LATE",) if is_old else ()))
        self._annunciator.say(judged.family, SignalKind.RAISED, reasons, pictures=pictures)
        return Outcome.ALARM if reason else Outcome.PRE_ALARM

    def _watch(self, machine: Machine, signal: ActiveSignal) -> None:
        """Start the clocks of a pre-alarm.

        What is too old to alarm does not fail safe into an alarm either, and no more does a matter of street order: it
        ends by itself. What a person has reported does not: he will not come back to say that it is over.
        """
        fails_safe = not signal.late and self._rules.is_urgent(signal.meaning)
        signal.verify_by_ms = self._row.clock_ms + self._rules.verify_ms if fails_safe else None
        stands = machine.is_standing or bool(signal.reporters)
        signal.clear_by_ms = None if stands else self._row.clock_ms + self._rules.clear_ms

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
        reason = confirmed_by(found, self._row, machine, signal, self._rules)
        if reason:
            signal.timeline = timeline_of(located)
            hit = hit_of(located, judged.level)
            self._annunciator.escalate(judged.family, reason, by=(located, hit), pictures=pictures)
            return Outcome.ALARM
        if second := second_by(found, machine, signal, self._rules):
            self._annunciator.generalise(judged.family, second, located=located, pictures=pictures)
            return Outcome.EVIDENCE
        say = self._annunciator.say
        if signal.late and enough and not self._rules.is_old(located):
            signal.late = False
            if signal.stage is Stage.PRE_ALARM:
                self._watch(machine, signal)
            say(judged.family, SignalKind.EVIDENCE, ("FRESH",), located=located, pictures=pictures)
        elif pictures or signal.reporters != before or located.event_ms - signal.told_event_ms >= TELL_MS:
            say(judged.family, SignalKind.EVIDENCE, located=located, pictures=pictures)
        elif signal.tell_by_ms is None:
            signal.tell_by_ms = self._row.clock_ms + TELL_MS
        return Outcome.EVIDENCE
