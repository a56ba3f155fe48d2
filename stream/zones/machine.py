"""The zones of each partition of `obs`: state, rules in force, deadlines; the pure reducer does the deciding."""

from __future__ import annotations

import bisect
import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from models.messages import encode as encode_message
from stream.checkpoints import Kind
from stream.control import NEWEST, Contents
from stream.inforce import InForce
from stream.ingest.dead import dead_letter, rule_failed
from stream.log.append import new
from stream.log.engine import CONTROL_TOPIC
from stream.log.file import NewRecord
from stream.records import (
    ControlRecord,
    HeartbeatRecord,
    HistoryRecord,
    ObservationRecord,
    ObsLog,
    SignalKind,
    SignalsRecord,
    TickRecord,
    decode_obs,
    encode,
)
from stream.runner import Row
from stream.zones.migration import count_of
from stream.zones.reducer import Reduced, ZoneRow, next_deadline_ms, reduce_record
from stream.zones.rules import Rules
from stream.zones.supervision import FAMILIES as DEVICES

log = logging.getLogger(__name__)

Held = Callable[[int], dict[str, bytes]]
SIGNALS_TOGETHER: Final = 64
"""In one record of `incidents`: a tick may be due for thousands of zones, and Kafka takes a MiB."""
NEVER: Final = 1 << 62
NOTHING: Final = Reduced({}, [], [], {})

_encode_row = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(ZoneRow).decode


class PartitionRow(Struct):
    """What a partition remembers beside its zones.

    Attributes:
        observations: in the log so far, duplicates included.
        duplicates: of them, those that had come before.
        pre_alarms_cleared: pre-alarms that ended without having become alarms.
    """

    applied_offset: int = -1
    in_force: InForce = msgspec.field(default_factory=InForce)
    observations: int = 0
    duplicates: int = 0
    pre_alarms_cleared: int = 0


_decode_partition = msgspec.msgpack.Decoder(PartitionRow).decode


class _Revision(Struct):
    applied_offset: int


_decode_revision = msgspec.msgpack.Decoder(_Revision).decode


def revision(row: bytes) -> int:
    """Return the revision of a row: the last offset that was applied to it."""
    return _decode_revision(row).applied_offset


def in_force_of(row: bytes) -> InForce:
    """Return what is in force in a partition, of its own row."""
    return _decode_partition(row).in_force


def meta_key(partition: int) -> str:
    """Return the key of a partition's own row; no zone's id begins like that."""
    return f"#{partition}"


CHECKPOINT: Final = Kind("checkpoint", "obs", meta_key, revision)


@dataclass(slots=True)
class _Shard:
    """One partition: its zones, and what is in force there."""

    partition: int
    rows: dict[str, ZoneRow]
    meta: PartitionRow
    deadlines: dict[str, int] = field(default_factory=dict)
    soonest_ms: int = 0
    """No deadline is before it, but of a zone whose tick is on its way."""
    ticking: set[str] = field(default_factory=set)
    dirty: set[str] = field(default_factory=set)
    is_meta_dirty: bool = False

    def take_over(self, record: ObsLog, reduced: Reduced, offset: int) -> None:
        """Hold what `record` did."""
        self.rows.update(reduced.rows)
        self.dirty.update(reduced.rows)
        for zone in reduced.rows:
            self.note_deadline(zone)
        if offset <= self.meta.applied_offset:
            return
        meta = self.meta
        meta.applied_offset = offset
        if isinstance(record, ControlRecord):
            meta.in_force.put(record.what, record.version, offset)
        if isinstance(record, ObservationRecord):
            meta.observations += record.count - count_of(reduced.passed)
        meta.duplicates += reduced.duplicates
        cleared = (signal for signal in reduced.signals if signal.kind is SignalKind.CLEARED)
        meta.pre_alarms_cleared += sum(signal.family not in DEVICES for signal in cleared)
        self.is_meta_dirty = True

    def note_deadline(self, zone: str) -> None:
        deadline_ms = next_deadline_ms(self.rows[zone])
        if deadline_ms is None:
            self.deadlines.pop(zone, None)
        else:
            self.deadlines[zone] = deadline_ms
            self.soonest_ms = min(self.soonest_ms, deadline_ms)

    def came_round(self, zones: Collection[str]) -> None:
        """Take that the tick of these zones is here."""
        self.ticking.difference_update(zones)
        self.soonest_ms = 0

    def due(self, now_ms: int) -> list[str]:
        """Return the zones that a tick is due for, in byte order: each once until it has come round."""
        if now_ms < self.soonest_ms:  # there may be ten thousand zones, and this is asked ten times a second
            return []
        waiting = {zone: due_ms for zone, due_ms in self.deadlines.items() if zone not in self.ticking}
        due = sorted(zone for zone, due_ms in waiting.items() if due_ms <= now_ms)
        self.ticking.update(due)
        self.soonest_ms = min((due_ms for due_ms in waiting.values() if due_ms > now_ms), default=NEVER)
        return due


class ZoneMachine:
    """Applies the `obs` log.

    Args:
        held: the rows of a partition that recovery brought back.
        contents: resolves versions to rules.
    """

    def __init__(self, held: Held, contents: Contents) -> None:
        self._held = held
        self._contents = contents
        self._shards: dict[int, _Shard] = {}

    def own(self, partitions: Collection[int]) -> None:
        """Forget everything, and go on with `partitions` as they are held: their deadlines need no record."""
        self._shards.clear()
        for partition in partitions:
            self._shard(partition)

    def in_force(self, partition: int, what: str) -> str | None:
        """Return the newest version of `what` in force in `partition`."""
        return self._shard(partition).meta.in_force.at(what, NEWEST)

    def apply(self, partition: int, offset: int, value: bytes, *, now_ms: int) -> list[NewRecord]:
        """Apply a record of `obs`; an observation on which a rule fails becomes a dead letter, the others count."""
        shard = self._shard(partition)
        try:
            record = decode_obs(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            return [_dead(f"obs/{partition}/{offset}", value, exc, now_ms)]
        if isinstance(record, TickRecord):
            shard.came_round(record.zones)
        reduced, dead = (
            (NOTHING, []) if isinstance(record, ControlRecord) else self._reduce(shard, record, offset, now_ms)
        )
        shard.take_over(record, reduced, offset)
        outputs = [*_signals(reduced, now_ms), *dead]
        if any(reduced.outcomes):
            decided = HistoryRecord(
                at_ms=now_ms,
                place=(partition, offset),
                obs=msgspec.Raw(value),
                rule_version=self._contents.rules(shard.meta.in_force, offset).version,
                outcomes=tuple(reduced.outcomes),
                signal_ids=reduced.signal_ids,
            )
            outputs.append(new("history", partition, encode(decided), now_ms))
        if isinstance(record, HeartbeatRecord):
            outputs.append(new("history", partition, encode(record), now_ms))
        return [*outputs, *_moved(partition, reduced, now_ms)]

    def may_write(self) -> bool:
        """Yes: each row stands for itself."""
        return True

    def changed(self) -> list[Row]:
        """Return the rows that changed since the last call, encoded."""
        rows = []
        for shard in self._shards.values():
            if shard.is_meta_dirty:
                # Before the zones': a zone that is ahead of it would be counted too low when its record comes again.
                rows.append(Row(meta_key(shard.partition), _encode_row(shard.meta), shard.partition))
            rows += [Row(zone, _encode_row(shard.rows[zone]), shard.partition, stage=1) for zone in shard.dirty]
            shard.is_meta_dirty = False
            shard.dirty.clear()
        return rows

    def counted(self) -> PartitionRow:
        """Return the counters of all partitions, summed up."""
        metas = [shard.meta for shard in self._shards.values()]
        return PartitionRow(
            observations=sum(meta.observations for meta in metas),
            duplicates=sum(meta.duplicates for meta in metas),
            pre_alarms_cleared=sum(meta.pre_alarms_cleared for meta in metas),
        )

    def ticks(self, now_ms: int) -> Iterator[NewRecord]:
        """Give a tick for each partition in which a zone's deadline is due, once until it has come round."""
        for shard in self._shards.values():
            if due := shard.due(now_ms):
                yield new("obs", shard.partition, encode(TickRecord(at_ms=now_ms, zones=tuple(due))), now_ms)

    def _shard(self, partition: int) -> _Shard:
        shard = self._shards.get(partition)
        if shard is None:
            held = self._held(partition)
            meta = held.pop(meta_key(partition), None)
            shard = _Shard(
                partition,
                {zone: _decode_row(row) for zone, row in held.items()},
                _decode_partition(meta) if meta else PartitionRow(),
            )
            for zone in shard.rows:
                shard.note_deadline(zone)
            self._shards[partition] = shard
        return shard

    def _reduce(self, shard: _Shard, record: ObsLog, offset: int, now_ms: int) -> tuple[Reduced, list[NewRecord]]:
        rules = self._contents.rules(shard.meta.in_force, offset)
        try:
            return reduce_record(shard.rows, record, partition=shard.partition, offset=offset, rules=rules), []
        except Exception as exc:  # whatever a rule did: the observation at fault is set aside below
            log.exception("a rule failed on obs/%s/%s", shard.partition, offset)
            return _without_poison(shard, record, offset, rules, exc, now_ms)


def _signals(reduced: Reduced, now_ms: int) -> Iterator[NewRecord]:
    said = [replace(signal, at_ms=now_ms) for signal in reduced.signals]
    for start in range(0, len(said), SIGNALS_TOGETHER):
        some = tuple(said[start : start + SIGNALS_TOGETHER])
        record = some[0] if len(some) == 1 else SignalsRecord(at_ms=now_ms, signals=some)
        yield new("incidents", 0, encode(record), now_ms)


def _moved(partition: int, reduced: Reduced, now_ms: int) -> Iterator[NewRecord]:
    for to, record in reduced.passed:
        yield new("obs", to, encode(replace(record, at_ms=now_ms)), now_ms)
    for key in reduced.arrived:
        yield NewRecord(CONTROL_TOPIC, 0, b"%d" % partition, now_ms, msgspec.json.encode(key))


def _without_poison(
    shard: _Shard, record: ObsLog, offset: int, rules: Rules, failure: Exception, now_ms: int
) -> tuple[Reduced, list[NewRecord]]:
    """Return what `record` does without the observations on which a rule fails, and their dead letters."""
    where = f"obs/{shard.partition}/{offset}"
    if not isinstance(record, ObservationRecord):
        return NOTHING, [_dead(where, encode(record), failure, now_ms)]

    def attempt(skip: set[int]) -> Reduced | Exception:
        try:
            return reduce_record(shard.rows, record, partition=shard.partition, offset=offset, rules=rules, skip=skip)
        except Exception as exc:  # noqa: BLE001  # any failure at all marks the observation
            return exc

    poison: set[int] = set()
    dead: list[NewRecord] = []
    everything = range(record.count)
    while isinstance(outcome := attempt(poison), Exception):
        # The reducer goes item by item, so if a prefix fails then every longer one does.
        at = bisect.bisect_left(
            everything, True, key=lambda n: isinstance(attempt(poison | set(everything[n + 1 :])), Exception)
        )
        if at == len(everything):  # fails only now and then: nobody can say on what
            return NOTHING, [*dead, _dead(where, encode(record), outcome, now_ms)]
        poison.add(at)
        dead.append(_dead(f"{where}/{at}", encode_message(record.located()[at].observation), outcome, now_ms))
    return outcome, dead


def _dead(source: str, value: bytes, exc: Exception, now_ms: int) -> NewRecord:
    letter = dead_letter(source, value, rule_failed(exc), now_ms=now_ms)
    return new("dead", 0, encode_message(letter), now_ms)
