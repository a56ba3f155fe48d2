"""``gridwarden gaps``: which seqs of each outbox never came: dropped on purpose, or lost.

Seqs are never reused. So what lies below the highest one that came and is not there was dropped by the outbox, which
says so, is lost, or is still on its way. That nothing is missing is thereby proved, not believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from models.seqset import Range, SeqSet
from stream.recorded import Recorded
from stream.zones.row import FOREIGN_OUTBOX, ZoneRow

ZONES_TOPIC: Final = "stream-zones-changelog"
SHOWN: Final = 5
_decode_row = msgspec.msgpack.Decoder(ZoneRow).decode


class Gaps(Struct, frozen=True, kw_only=True):
    """One outbox of one device.

    Attributes:
        highest: seq that came.
        dropped: seqs that its outbox dropped on purpose.
        missing: ranges (first, last) that are neither here nor dropped.
    """

    device_id: str
    outbox_id: str
    lane: str
    highest: int
    dropped: int
    missing: tuple[Range, ...]

    @property
    def lost(self) -> int:
        """How many are missing."""
        return sum(last - first + 1 for first, last in self.missing)


def rows(recorded: Recorded) -> list[ZoneRow]:
    """Return the newest stored row of each zone: where it stands, and where it stood before it was moved."""
    found: dict[tuple[int, str], ZoneRow] = {}
    for partition in range(recorded.partitions(ZONES_TOPIC)):
        for record in recorded.records(ZONES_TOPIC, partition):
            key = (record.key or b"").decode().strip('"')
            if record.value is None or key.startswith("#"):
                continue
            row, place = _decode_row(record.value), (partition, key)
            if place not in found or row.applied_offset >= found[place].applied_offset:
                found[place] = row
    return list(found.values())


def gaps(zones: Iterable[ZoneRow]) -> list[Gaps]:
    """Return what is known of every outbox, those with something missing first.

    What people report goes to the zone of its place, and a device may have been moved: so all zones count together.
    """
    seen: dict[str, SeqSet] = {}
    dropped: dict[str, SeqSet] = {}
    for zone in zones:
        for whole, of_zone in ((seen, zone.seen), (dropped, zone.dropped)):
            for key, seqs in of_zone.items():
                _put(seqs, whole.setdefault(key, SeqSet()))
    found = [
        _of(key, seqs, dropped.get(key, SeqSet()))
        for key, seqs in seen.items()
        if f"|{FOREIGN_OUTBOX}" not in key  # numbered where they arrive: nothing can be missing
    ]
    return sorted(found, key=lambda one: (-one.lost, one.device_id, one.outbox_id, one.lane))


def _put(seqs: SeqSet, whole: SeqSet) -> None:
    for first, last in ([(1, seqs.floor)] if seqs.floor else []) + list(seqs.ranges):
        whole.add_range(first, last)


def _of(key: str, seen: SeqSet, dropped: SeqSet) -> Gaps:
    device_id, outbox_id, lane = key.split("|")
    missing = tuple(part for gap in seen.gaps() for part in _without(gap, dropped))
    highest = seen.ranges[-1][1] if seen.ranges else seen.floor
    return Gaps(
        device_id=device_id,
        outbox_id=outbox_id,
        lane=lane,
        highest=highest,
        dropped=dropped.floor + sum(last - first + 1 for first, last in dropped.ranges),
        missing=missing,
    )


def _without(gap: Range, taken: SeqSet) -> Iterator[Range]:
    first, last = gap
    for low, high in ([(1, taken.floor)] if taken.floor else []) + list(taken.ranges):
        if high < first or low > last:
            continue
        if first < low:
            yield first, low - 1
        first = high + 1
    if first <= last:
        yield first, last


def lines(found: list[Gaps]) -> Iterator[str]:
    """Yield a table, and what it proves."""
    yield f"{'device':<20} {'lane':<10} {'highest seq':>11} {'dropped':>8} {'missing':>8}"
    for one in found:
        shown = ", ".join(f"{first}-{last}" if first != last else str(first) for first, last in one.missing[:SHOWN])
        more = ", ..." if len(one.missing) > SHOWN else ""
        yield f"{one.device_id:<20} {one.lane:<10} {one.highest:>11} {one.dropped:>8} {one.lost:>8}  {shown}{more}"
    lost = sum(one.lost for one in found)
    yield (
        f"{lost} seqs are missing: lost, or still on their way; look again in a minute"
        if lost
        else "nothing is missing: every seq is here, or was dropped on purpose"
    )
