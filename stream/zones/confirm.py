"""What makes an alarm of a pre-alarm, and ends the looking into one: a second source, or one that needs none."""

from __future__ import annotations

from typing import NamedTuple

from models.messages import HELD, Stage
from stream.records import Located
from stream.zones import supervision
from stream.zones.family import ActiveSignal, Hit, Machine
from stream.zones.row import ZoneRow
from stream.zones.rules import Judgement, Rules
from stream.zones.signals import alone_reason, source_of


class Found(NamedTuple):
    """Evidence that came while a signal stood; `enough`: the hits that with it are enough, else none."""

    located: Located
    judged: Judgement
    enough: tuple[Hit, ...]


def confirmed_by(found: Found, row: ZoneRow, machine: Machine, signal: ActiveSignal, rules: Rules) -> str | None:
    """Return why this evidence makes an alarm of a pre-alarm, or None."""
    located, judged, enough = found
    if signal.stage is Stage.ALARM or not enough or rules.is_old(located):
        return None
    if alone := alone_reason(judged):
        return alone
    level, wanted = max(hit.level for hit in enough), _wanted(judged, row, rules)
    source = source_of(located.observation)
    if machine.agreeing(source, located.event_ms, level, rules.confirm_ms) >= wanted:
        return "SECOND_DEVICE" if wanted == 2 else "ENOUGH_DEVICES"
    if not signal.late and located.event_ms - signal.raised_event_ms >= rules.verify_ms:
        return "STILL_ABOVE"
    return None


def second_by(found: Found, machine: Machine, signal: ActiveSignal, rules: Rules) -> str | None:
    """Return why this evidence makes an alarm general that was held back, or None."""
    if signal.response not in HELD or not found.enough or rules.is_old(found.located):
        return None
    if alone := alone_reason(found.judged):
        return alone
    is_other = any(source != source_of(found.located.observation) for source in machine.trips)
    return "SECOND_DEVICE" if is_other else None


def _wanted(judged: Judgement, row: ZoneRow, rules: Rules) -> int:
    """Count the devices that must agree: where several must, no more than do their duty. A fault hides no alarm."""
    if judged.confirm_devices <= 2:
        return 2
    bad = supervision.failed(row)
    watching = supervision.detectors_of(row.zone, rules.places)
    return max(2, min(judged.confirm_devices, sum(device.id not in bad for device in watching)))
