"""What a zone remembers: one row, one changelog record. Values only; `reducer.py` says what happens to them."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from models.messages import Dropped
from models.seqset import SeqSet
from stream.records import Home
from stream.zones.family import Machine
from stream.zones.notices import Held

WHOLE: Final = ""
"""Stands for a zone itself among its devices."""
FOREIGN_OUTBOX: Final = "foreign."
"""Begins the outbox ids that ingest makes for devices that have none."""


class Moves(Struct, frozen=True, array_like=True):
    """How often a zone or a device has moved, as far as a row knows.

    Attributes:
        ids: of the moves, in their order.
        to: where it is now; None: here.
    """

    ids: tuple[str, ...] = ()
    to: Home | None = None


class Connected(Struct, frozen=True, array_like=True):
    """Over which connection a device was heard last, as far as a row knows.

    Attributes:
        due_ms: of one that has ended: when the device would have been missed if it had not.
    """

    connect_id: str
    is_online: bool
    due_ms: int | None = None


class ZoneRow(Struct):
    """Everything about a zone.

    Attributes:
        applied_offset: last record of `obs` that is in this row.
        clock_ms: highest `at_ms` of those records: the zone's time.
        seen: seqs that came, by ``device|outbox|lane``.
        machines: by family.
        faults: what each faulty device said; it hides no alarm.
        missed_from: by device: if it says nothing before this, it is missed.
        silent: devices that are missed, and since when.
        connections: by device.
        dropped: seqs that an outbox dropped on purpose, keyed as `seen`.
        clocks: by device: wall clocks that are not known to be right.
        coarse: by device: whose samples are not known to be enough to tell a fast rise.
        moved: of the devices that came here or went, and of the zone itself, under `WHOLE`.
    """

    zone: str
    applied_offset: int = -1
    clock_ms: int = 0
    seen: dict[str, SeqSet] = {}
    machines: dict[str, Machine] = {}
    faults: dict[str, str] = {}
    missed_from: dict[str, int] = {}
    silent: dict[str, int] = {}
    connections: dict[str, Connected] = {}
    dropped: dict[str, SeqSet] = {}
    clocks: dict[str, Held] = {}
    coarse: dict[str, Held] = {}
    moved: dict[str, Moves] = {}

    @property
    def moves(self) -> int:
        """How often the zone has moved."""
        return len(self.moved[WHOLE].ids) if WHOLE in self.moved else 0

    def is_elsewhere(self, device_id: str) -> bool:
        """Whether a device has gone to another zone: what comes for it is passed on, and is nothing here."""
        return device_id in self.moved and self.moved[device_id].to is not None

    def seen_of(self, device_id: str, outbox_id: str, lane: str) -> SeqSet:
        """Return the seqs that were taken of an outbox.

        The outbox of a device of another make is made by each ingest process, and what an earlier one numbered never
        comes again: only the newest is remembered, or the row would grow with every restart.
        """
        key = f"{device_id}|{outbox_id}|{lane}"
        if key not in self.seen and outbox_id.startswith(FOREIGN_OUTBOX):
            of_device = f"{device_id}|{FOREIGN_OUTBOX}"
            for old in [one for one in self.seen if one.startswith(of_device) and one.endswith(f"|{lane}")]:
                del self.seen[old]
        return self.seen.setdefault(key, SeqSet())

    def drop(self, device_id: str, outbox_id: str, dropped: Dropped) -> None:
        """Note what an outbox dropped on purpose, so that it is never taken for a loss."""
        seqs = self.dropped.setdefault(f"{device_id}|{outbox_id}|{dropped.lane}", SeqSet())
        for first, last in dropped.ranges:
            seqs.add_range(first, last)

    def copy(self) -> ZoneRow:
        """Return one that can be changed while this one stays."""
        return ZoneRow(
            zone=self.zone,
            applied_offset=self.applied_offset,
            clock_ms=self.clock_ms,
            seen={key: SeqSet(seqs.floor, seqs.ranges) for key, seqs in self.seen.items()},
            machines={family: machine.copy() for family, machine in self.machines.items()},
            faults=dict(self.faults),
            missed_from=dict(self.missed_from),
            silent=dict(self.silent),
            connections=dict(self.connections),
            dropped={key: SeqSet(seqs.floor, seqs.ranges) for key, seqs in self.dropped.items()},
            clocks=dict(self.clocks),
            coarse=dict(self.coarse),
            moved=dict(self.moved),
        )


def next_deadline_ms(row: ZoneRow) -> int | None:
    """Return when a tick is due for a zone."""
    signals = [machine.signal for machine in row.machines.values() if machine.signal]
    due = [due_ms for signal in signals for due_ms, _ in signal.deadlines()]
    return min((*due, *row.missed_from.values()), default=None)
