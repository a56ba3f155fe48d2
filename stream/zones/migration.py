"""Moving a zone to another street, or a device to another zone, while all goes on: what is known of it goes along.

What is known stands in one row, in the partition of the zone's street, and everything that comes must meet it there:

1. The stream is asked to move something by a `MoveRecord`, appended to the partition where it is. Nothing else is new
   in force yet, and ingest goes on sending there.
2. The row that reads it gives away what it knows in a `ParcelRecord`, appended to where the thing goes, and from then
   on passes on what still comes for it, behind the parcel: observations, heartbeats, verdicts, other moves.
3. The row that takes the parcel in says so in the control topic. Once everything has arrived the new places come into
   force (`stream.migrate`), and ingest sends there directly; what is under way to the old partition is passed on.

So one row holds a thing, and all that held it once point on to it, whichever step a crash comes after. What a row
passes on is stored before the row, and what it said before a parcel is stored before the parcel (`stream.log.append`):
the desk hears the words of a signal in their order. A record that is applied again makes the same parcel, and a row
knows by the ids of the moves what it has taken in or given away: twice is once. An observation that comes twice, by
either way, finds itself in the seen-set. All of it is in the log, so a replay gives the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from models.messages import Stage
from models.seqset import SeqSet
from stream.records import (
    ConnectionRecord,
    HeartbeatRecord,
    Home,
    MoveRecord,
    ObservationRecord,
    ObsLog,
    ParcelRecord,
    Said,
    TickRecord,
)
from stream.zones.family import Machine
from stream.zones.row import WHOLE, Moves, ZoneRow
from stream.zones.rules import Rules

T = TypeVar("T")
Items = list[tuple[int, Said]]
"""What the devices of one zone said, each with the index of its first observation in the record."""
_ARRIVED: Final = "arrived:"

_encode_row = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(ZoneRow).decode


def arrived_key(move: str, zone: str, device: str | None) -> str:
    """Return under what it stands in the control topic that a device, or a zone, has arrived by a move."""
    return f"{_ARRIVED}{move}:{f'device:{device}' if device else f'zone:{zone}'}"


@dataclass(slots=True)
class Passage:
    """What a record does to one row, as far as moves go.

    Attributes:
        row: changed; to be gone on with.
        items: what is for this row.
        is_away: the row only points on: nothing in it changes.
        passed: records for other rows, by the partition they go to.
        arrived: what is to be written to the control topic, as keys.
    """

    row: ZoneRow
    items: Items
    is_away: bool = False
    passed: list[tuple[int, ObsLog]] = field(default_factory=list)
    arrived: list[str] = field(default_factory=list)


def passage(row: ZoneRow, record: ObsLog, items: Items, partition: int, rules: Rules) -> Passage:
    """Move what `record` moves, and pass on what is not for this row.

    Args:
        row: may be changed.
        record: it concerns this row.
        items: what it says of this zone.
        partition: the one of the row.
        rules: in force there.
    """
    done = Passage(row, items)
    if not (row.moved or isinstance(record, (MoveRecord, ParcelRecord))):  # nearly always
        return done
    if isinstance(record, ParcelRecord) and record.device is None:
        done.row, done.is_away = _taken_whole(row, record)
    elif to := _moves(row).to:
        done.passed += ((to.partition, part) for part in _all_of(record, row.zone, items))
        done.is_away = True
    elif isinstance(record, ParcelRecord):
        _take_device(row, record)
    elif isinstance(record, MoveRecord):
        _move(done, record, partition, rules)
    else:
        done.items = _pass_on_devices(done, record)
    if isinstance(record, ParcelRecord) and not (done.is_away or done.passed):
        done.arrived.append(arrived_key(record.move, record.zone, record.device))
    return done


def _moves(row: ZoneRow, device: str | None = None) -> Moves:
    return row.moved.get(device or WHOLE, Moves())


# --- passing on --------------------------------------------------------------------------------------------


def _all_of(record: ObsLog, zone: str, items: Items) -> Iterator[ObsLog]:
    """Yield the part of a record that is for a zone; what falls due there does so where the zone is."""
    if isinstance(record, ObservationRecord):
        yield ObservationRecord(at_ms=record.at_ms, said=tuple(said for _, said in items))
    elif isinstance(record, HeartbeatRecord):
        beats = tuple(beat for beat, of in zip(record.heartbeats, record.zones, strict=True) if of == zone)
        yield replace(record, heartbeats=beats, zones=(zone,) * len(beats))
    elif isinstance(record, ConnectionRecord):
        yield replace(record, connections=tuple(one for one in record.connections if one.zone == zone))
    elif not isinstance(record, TickRecord):
        yield record


def _pass_on_devices(done: Passage, record: ObsLog) -> Items:
    """Pass on what is for devices that have gone to other zones; return the observations of the others."""
    gone = {device: to for device, moves in done.row.moved.items() if (to := moves.to)}
    if not gone:
        return done.items
    if isinstance(record, ObservationRecord):
        for _, said in done.items:
            if to := gone.get(_device(said)):
                theirs = ObservationRecord(at_ms=record.at_ms, said=(replace(said, zone=to.zone),))
                done.passed.append((to.partition, theirs))
        return [(index, said) for index, said in done.items if _device(said) not in gone]
    if isinstance(record, HeartbeatRecord):
        for beat, zone in zip(record.heartbeats, record.zones, strict=True):
            if zone == done.row.zone and (to := gone.get(beat.device_id)):
                done.passed.append((to.partition, replace(record, heartbeats=(beat,), zones=(to.zone,))))
    if isinstance(record, ConnectionRecord):
        for one in record.connections:
            if one.zone == done.row.zone and (to := gone.get(one.device_id)):
                done.passed.append((to.partition, replace(record, connections=(replace(one, zone=to.zone),))))
    return done.items


def _device(said: Said) -> str:
    return said.observations[0].device_id


# --- giving away --------------------------------------------------------------------------------------------


def _move(done: Passage, record: MoveRecord, partition: int, rules: Rules) -> None:
    row, key = done.row, record.device or WHOLE
    moves = _moves(row, record.device)
    if moves.to:
        done.passed.append((moves.to.partition, replace(record, zone=moves.to.zone)))
        return
    if record.move in moves.ids:
        return
    ids = (*moves.ids, record.move)
    row.moved[key] = Moves(ids)
    # A device is where it belongs once it is in its zone, wherever that stands: the zone's own move sees to the rest.
    if record.to == Home(row.zone, partition) or (record.device and record.to.zone == row.zone):
        done.arrived.append(arrived_key(record.move, row.zone, record.device))
        return
    if record.device is None:
        given, done.row = row, ZoneRow(zone=row.zone, clock_ms=row.clock_ms)
    else:
        given = _device_of(row, record.device, rules)
    done.row.moved[key] = Moves(ids, record.to)
    parcel = ParcelRecord(
        at_ms=record.at_ms, move=record.move, zone=record.to.zone, row=_encode_row(given), device=record.device
    )
    done.passed.append((record.to.partition, parcel))


def _device_of(row: ZoneRow, device: str, rules: Rules) -> ZoneRow:
    """Take what is known of a device out of its zone's row. What it has seen there stays seen there."""
    keys = {key for key in (*row.seen, *row.dropped) if key.startswith(f"{device}|")}
    for machine in row.machines.values():
        _forget_state(machine, f"{device}|", row.clock_ms + rules.clear_ms)
    for held in (row.clocks, row.coarse):
        held.pop(device, None)  # where it goes it is found out anew, and told there
    return ZoneRow(
        zone=row.zone,
        seen={key: row.seen.pop(key) for key in keys if key in row.seen},
        dropped={key: row.dropped.pop(key) for key in keys if key in row.dropped},
        faults=_only(row.faults, device),
        missed_from=_only(row.missed_from, device),
        silent=_only(row.silent, device),
        connections=_only(row.connections, device),
        moved={device: row.moved[device]},
    )


def _only(held: dict[str, T], device: str) -> dict[str, T]:
    return {device: held.pop(device)} if device in held else {}


def _forget_state(machine: Machine, prefix: str, clear_by_ms: int) -> None:
    """Forget what a sensor's value stands at: no other will come here that could end what it holds up."""
    was_standing, signal = machine.is_standing, machine.signal
    for held in (machine.states, machine.samples):
        for key in [key for key in held if key.startswith(prefix)]:
            del held[key]
    is_held_up = was_standing and not machine.is_standing
    if is_held_up and signal and signal.stage is Stage.PRE_ALARM and not signal.reporters:
        signal.clear_by_ms = clear_by_ms


# --- taking in --------------------------------------------------------------------------------------------


def _taken_whole(row: ZoneRow, record: ParcelRecord) -> tuple[ZoneRow, bool]:
    """Return the row of a zone that has come; whether it had come before, and nothing changes."""
    if record.move in _moves(row).ids:
        return row, True
    given = _decode_row(record.row)
    given.clock_ms = max(given.clock_ms, row.clock_ms)
    # A zone that was taken out of the places and stood here long ago is remembered here.
    given.machines = {**row.machines, **given.machines}
    _add(given, row)
    return given, False


def _take_device(row: ZoneRow, record: ParcelRecord) -> None:
    assert record.device
    if record.move not in _moves(row, record.device).ids:
        _add(row, _decode_row(record.row))


def _add(row: ZoneRow, more: ZoneRow) -> None:
    """Put what another row knows of devices into `row`."""
    for held, others in ((row.seen, more.seen), (row.dropped, more.dropped)):
        for key, seqs in others.items():
            _unite(held.setdefault(key, SeqSet()), seqs)
    row.faults |= more.faults
    row.missed_from |= more.missed_from
    row.silent |= more.silent
    row.connections |= more.connections
    for device, moves in more.moved.items():
        if len(moves.ids) > len(_moves(row, device).ids):
            row.moved[device] = moves


def _unite(seqs: SeqSet, others: SeqSet) -> None:
    for first, last in ([(1, others.floor)] if others.floor else []) + list(others.ranges):
        seqs.add_range(first, last)


def count_of(passed: Sequence[tuple[int, ObsLog]]) -> int:
    """Return how many observations were passed on: they are counted where they go."""
    return sum(record.count for _, record in passed if isinstance(record, ObservationRecord))
