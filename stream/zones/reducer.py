"""The zone reducer: from observations to pre-alarms and alarms. Pure, and the only judge.

The machine of domain reference 4.1, one per zone and family. An alarm latches: only a person's close ends it. Time is
the highest `at_ms` of the records applied to the row; windows run on event time; nothing here looks at a clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from stream.records import (
    ConnectionRecord,
    ControlRecord,
    HeartbeatRecord,
    MoveRecord,
    ObservationRecord,
    ObsLog,
    Origin,
    Outcome,
    ParcelRecord,
    Said,
    SignalRecord,
    TickRecord,
    VerdictRecord,
    said_of,
)
from stream.zones.annunciator import MAX_OUTPUTS
from stream.zones.migration import passage
from stream.zones.row import ZoneRow, next_deadline_ms
from stream.zones.rules import Rules
from stream.zones.turn import Turn

__all__ = ["MAX_OUTPUTS", "Reduced", "ZoneRow", "next_deadline_ms", "reduce_record"]


class Reduced(NamedTuple):
    """What one record does.

    Attributes:
        rows: the zones that changed, as they are now.
        signals: in the order of their origin.
        outcomes: what became of each observation of the record; None of a duplicate, and of one that is left out.
        signal_ids: of the signals to which observations belong, by their places in the record.
        passed: records for zones that stand elsewhere, by the partition they go to.
        arrived: what has come to stand here, as keys of the control topic.
    """

    rows: dict[str, ZoneRow]
    signals: list[SignalRecord]
    outcomes: list[Outcome | None]
    signal_ids: dict[int, str]
    duplicates: int = 0
    passed: Sequence[tuple[int, ObsLog]] = ()
    arrived: Sequence[str] = ()


def reduce_record(
    rows: Mapping[str, ZoneRow],
    record: ObsLog,
    *,
    partition: int,
    offset: int,
    rules: Rules,
    skip: Collection[int] = (),
) -> Reduced:
    """Apply one record of `obs` to its zones; what a row has applied already does nothing to it.

    Args:
        rows: held rows by zone; nothing in it is changed.
        record: the record.
        partition: where it stands, with
        offset: that place's number.
        rules: those in force at `offset`.
        skip: indices of observations to leave out: a shell finds one that breaks the rules by bisecting.
    """
    reduced = Reduced({}, [], [None] * (record.count if isinstance(record, ObservationRecord) else 0), {})
    passed: list[tuple[int, ObsLog]] = []
    arrived: list[str] = []
    duplicates = 0
    for zone, index, items in _by_zone(record, skip):
        row = rows.get(zone) or ZoneRow(zone=zone)
        if offset <= row.applied_offset:
            continue
        through = passage(row.copy(), record, items, partition, rules)
        passed += through.passed
        arrived += through.arrived
        if through.is_away:
            continue
        turn = Turn(through.row, record, Origin(partition, offset, index), rules)
        turn.run(through.items)
        reduced.rows[zone] = turn.row
        reduced.signals.extend(turn.signals)
        reduced.signal_ids.update(turn.signal_ids)
        for n, outcome in turn.outcomes.items():
            reduced.outcomes[n] = outcome
        duplicates += turn.duplicates
    reduced.signals.sort(key=lambda signal: signal.origin.n)
    return reduced._replace(duplicates=duplicates, passed=passed, arrived=arrived)


def _by_zone(record: ObsLog, skip: Collection[int]) -> list[tuple[str, int, list[tuple[int, Said]]]]:
    """Return (zone, index of its first observation or mention, what its devices said: (index of the first, said))."""
    if isinstance(record, ControlRecord):
        return []
    if isinstance(record, (VerdictRecord, MoveRecord, ParcelRecord)):
        return [(record.zone, 0, [])]
    if isinstance(record, HeartbeatRecord):
        return [(zone, record.zones.index(zone), []) for zone in dict.fromkeys(record.zones)]
    if isinstance(record, ConnectionRecord):
        return [(zone, 0, []) for zone in dict.fromkeys(one.zone for one in record.connections)]
    if isinstance(record, TickRecord):
        return [(zone, index, []) for index, zone in enumerate(record.zones)]
    zones: dict[str, list[tuple[int, Said]]] = {}
    index = 0
    for said in record.parts():
        of_zone = zones.setdefault(said.zone, [])
        of_zone += _without(skip, index, said) if skip else [(index, said)]
        index += len(said.observations)
    return [(zone, of_zone[0][0], of_zone) for zone, of_zone in zones.items() if of_zone]


def _without(skip: Collection[int], index: int, said: Said) -> list[tuple[int, Said]]:
    """Return what was said one by one, without what is to be skipped."""
    kept = [k for k in range(len(said.observations)) if index + k not in skip]
    return [(index + k, said_of(said.located(k))) for k in kept]
