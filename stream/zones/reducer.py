"""The zone reducer: from observations to pre-alarms and alarms. Pure, and the only judge.

The machine of domain reference 4.1, one per zone and family. An alarm latches: only a person's close ends it. Time is
the highest `at_ms` of the records applied to the row; windows run on event time; nothing here looks at a clock.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NamedTuple

from stream.records import (
    ControlRecord,
    HeartbeatRecord,
    HistoryItem,
    Located,
    ObsLog,
    Origin,
    SignalRecord,
    TickRecord,
    VerdictRecord,
)
from stream.zones.row import ZoneRow, next_deadline_ms
from stream.zones.rules import Rules
from stream.zones.turn import MAX_OUTPUTS, Turn

__all__ = ["MAX_OUTPUTS", "Reduced", "ZoneRow", "next_deadline_ms", "reduce_record"]


class Reduced(NamedTuple):
    """What one record does.

    Attributes:
        rows: the zones that changed, as they are now.
        signals: in the order of their origin.
        history: one item for each observation that was no duplicate.
    """

    rows: dict[str, ZoneRow]
    signals: list[SignalRecord]
    history: list[HistoryItem]
    duplicates: int = 0


def reduce_record(
    rows: Mapping[str, ZoneRow],
    record: ObsLog,
    *,
    partition: int,
    offset: int,
    rules: Rules,
    skip: Container[int] = (),
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
    reduced = Reduced({}, [], [])
    duplicates = 0
    for zone, index, items in _by_zone(record, skip):
        row = rows.get(zone) or ZoneRow(zone=zone)
        if offset <= row.applied_offset:
            continue
        turn = Turn(row.copy(), record, Origin(partition, offset, index), rules)
        turn.run(items)
        reduced.rows[zone] = turn.row
        reduced.signals.extend(turn.signals)
        reduced.history.extend(turn.history)
        duplicates += turn.duplicates
    reduced.signals.sort(key=lambda signal: signal.origin.n)
    reduced.history.sort(key=lambda item: item.origin.n)
    return reduced._replace(duplicates=duplicates)


def _by_zone(record: ObsLog, skip: Container[int]) -> list[tuple[str, int, list[tuple[int, Located]]]]:
    """Return (zone, index of its first item or mention, its items)."""
    if isinstance(record, ControlRecord):
        return []
    if isinstance(record, VerdictRecord):
        return [(record.zone, 0, [])]
    if isinstance(record, HeartbeatRecord):
        return [(zone, record.zones.index(zone), []) for zone in dict.fromkeys(record.zones)]
    if isinstance(record, TickRecord):
        return [(zone, index, []) for index, zone in enumerate(record.zones)]
    zones: dict[str, list[tuple[int, Located]]] = {}
    for index, located in enumerate(record.items):
        if index not in skip:
            zones.setdefault(located.zone, []).append((index, located))
    return [(zone, items[0][0], items) for zone, items in zones.items()]
