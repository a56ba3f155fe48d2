"""What people decide about a zone's signals, and what time decides where nobody does (S4 to S9)."""

from __future__ import annotations

from models import ids
from models.messages import HELD, Response, Stage
from stream.records import SignalKind, Verdict, VerdictRecord
from stream.zones import response, supervision
from stream.zones.annunciator import Annunciator
from stream.zones.family import ActiveSignal, Machine


def pass_deadlines(annunciator: Annunciator) -> None:
    """Do what is due by the zone's time, in the order in which it fell due."""
    passed = _verify_expired, _held_back_enough, _cleared, _tell
    while due := _due(annunciator):
        _, rank, family = min(due)
        passed[rank](annunciator, family)


def _due(annunciator: Annunciator) -> list[tuple[int, int, str]]:
    row = annunciator.row
    return [
        (due_ms, rank, family)
        for family, machine in row.machines.items()
        if machine.signal
        for due_ms, rank in machine.signal.deadlines()
        if due_ms <= row.clock_ms
    ]


def _verify_expired(annunciator: Annunciator, family: str) -> None:
    annunciator.escalate(family, "VERIFY_EXPIRED")


def _held_back_enough(annunciator: Annunciator, family: str) -> None:
    held = annunciator.signal(family).response
    annunciator.generalise(family, "NOT_ACKNOWLEDGED" if held is Response.AWAITED else "TIME_OUT")


def _cleared(annunciator: Annunciator, family: str) -> None:
    annunciator.clear(family, "BELOW_CLEAR")


def _tell(annunciator: Annunciator, family: str) -> None:
    annunciator.say(family, SignalKind.EVIDENCE)


def hear(annunciator: Annunciator, verdict: VerdictRecord) -> None:
    """Do what a person decided; for a signal that is over, nothing: so a verdict said twice counts once."""
    for family, machine in annunciator.row.machines.items():
        signal = machine.signal
        if signal is None or signal.signal_id != verdict.signal_id:
            continue
        if verdict.verdict == "close":
            _close(annunciator, family, machine, verdict)
        elif signal.stage is Stage.PRE_ALARM:
            _hear_of_pre_alarm(annunciator, family, verdict.verdict)
        elif signal.response in HELD:
            _hear_of_held_alarm(annunciator, family, signal, verdict.verdict)
        return


def _hear_of_pre_alarm(annunciator: Annunciator, family: str, verdict: Verdict) -> None:
    if verdict == "confirm":
        annunciator.escalate(family, "CONFIRMED")
    elif verdict == "clear":
        annunciator.clear(family, "OPERATOR")


def _hear_of_held_alarm(annunciator: Annunciator, family: str, signal: ActiveSignal, verdict: Verdict) -> None:
    staged = annunciator.rules.thresholds.staged
    if verdict == "confirm":
        annunciator.generalise(family, "CONFIRMED")
    elif verdict == "acknowledge" and response.acknowledge(signal, staged):
        annunciator.say(family, SignalKind.EVIDENCE, ("ACKNOWLEDGED",))
    elif verdict == "investigate" and response.investigate(signal, staged, annunciator.row.clock_ms):
        annunciator.say(family, SignalKind.EVIDENCE, ("INVESTIGATING",))


def _close(annunciator: Annunciator, family: str, machine: Machine, verdict: VerdictRecord) -> None:
    """End a signal. An alarm that the desk had not heard of when it closed is evidence after the close."""
    signal, row = annunciator.signal(family), annunciator.row
    late_alarm = signal.escalation
    machine.reset()
    if family == supervision.FAMILY:
        row.faults.clear()
        row.silent.clear()
    if late_alarm is None or (late_alarm.moves, late_alarm.at) <= (verdict.moves, verdict.seen):
        return
    hit, device = late_alarm.hit, late_alarm.device_id
    signal.signal_id = ids.incident_id(annunciator.rules.tenant, device, hit.outbox_id, hit.lane, hit.seq)
    signal.device_id, signal.sources, signal.untold = device, (device,), 1
    signal.escalation = None
    machine.signal = signal
    annunciator.say(family, SignalKind.RAISED, (late_alarm.reason, "AFTER_CLOSE"))
