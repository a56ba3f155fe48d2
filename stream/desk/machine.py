"""The desk over `incidents`: state, contents in force, deadlines; the pure `Desk` does the deciding."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from models.errors import StorageError
from models.messages import encode as encode_message
from stream.checkpoints import Kind
from stream.control import NEWEST, Contents
from stream.desk.desk import Applied, Desk, Foreseen, Heard
from stream.desk.row import META, CaseRow, MetaRow
from stream.ingest.dead import dead_letter, rule_failed
from stream.log.append import new
from stream.log.file import NewRecord
from stream.records import (
    ControlRecord,
    OrderedRecords,
    SignalRecord,
    SignalsRecord,
    TickRecord,
    decode_incidents,
    encode,
    ordered,
)
from stream.runner import Row
from stream.world import World

log = logging.getLogger(__name__)

NOTHING: Final[Foreseen] = {}
_encode_row = msgspec.msgpack.Encoder().encode
_decode_case = msgspec.msgpack.Decoder(CaseRow).decode
_decode_own = msgspec.msgpack.Decoder(MetaRow).decode


class _Revision(Struct):
    applied_offset: int


_decode_revision = msgspec.msgpack.Decoder(_Revision).decode


def desk_revision(row: bytes) -> int:
    """Return the revision of a row: the last offset that was applied to it."""
    return _decode_revision(row).applied_offset


CHECKPOINT: Final = Kind("checkpoint-desk", "incidents", lambda _partition: META, desk_revision)


def _decode(key: str, row: bytes) -> CaseRow | MetaRow:
    return _decode_own(row) if key == META else _decode_case(row)


class DeskMachine:
    """Applies the `incidents` log.

    Args:
        held: the rows that recovery brought back.
        contents: resolves versions to worlds.
    """

    def __init__(self, held: Callable[[], dict[str, bytes]], contents: Contents) -> None:
        self._held = held
        self._contents = contents
        self._loaded: Desk | None = None
        self._ahead = -1
        self._is_ticking = False
        self._is_ours = True

    def own(self, partitions: Collection[int]) -> None:
        """Forget everything; with partition 0 the desk is ours, as it is held."""
        self._loaded = None
        self._is_ours = 0 in partitions
        self._is_ticking = False

    @property
    def desk(self) -> Desk:
        """The state, read from the table when it is first asked for: after recovery."""
        if self._loaded is None:
            held = self._held()
            self._loaded = Desk.load({key: _decode(key, row) for key, row in held.items()})
            self._ahead = max(map(desk_revision, held.values()), default=-1)
        return self._loaded

    def may_write(self) -> bool:
        """Whether the desk has caught up with all its rows.

        A crash may have left rows that are newer than the desk's own. Until the log has been applied up to those, what
        would be written is older than what it replaces, and the table rightly takes no older row for a newer one.
        """
        return self.desk.applied_offset >= self._ahead

    def in_force(self, what: str) -> str | None:
        """Return the newest version of `what` in force."""
        return self.desk.in_force.at(what, NEWEST)

    def apply(self, partition: int, offset: int, value: bytes, *, now_ms: int) -> list[NewRecord]:
        """Apply a record of `incidents`; one, or one signal of many, on which a rule fails becomes a dead letter."""
        world = self._contents.world(self.desk.in_force, offset)
        where = f"incidents/{partition}/{offset}"
        try:
            record = decode_incidents(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            return [_dead(where, value, exc, now_ms)]
        if isinstance(record, TickRecord):
            self._is_ticking = False
        elif world is None and not isinstance(record, ControlRecord):
            raise StorageError("nothing is in force yet by which incidents could be decided")
        if not isinstance(record, SignalsRecord):
            return self._decided([(where, value, record)], offset, world, now_ms)
        parts = [(f"{where}/{n}", None, signal) for n, signal in enumerate(record.signals)]
        return self._decided(parts, offset, world, now_ms, self._foreseen(record.signals, world))

    def _decided(
        self,
        parts: Sequence[tuple[str, bytes | None, Heard]],
        offset: int,
        world: World | None,
        now_ms: int,
        foreseen: Foreseen = NOTHING,
    ) -> list[NewRecord]:
        """Apply (source, what stands there, record or signal) one after the other."""
        applied, dead = Applied([], []), []
        for n, (where, value, part) in enumerate(parts):
            try:
                orders, verdicts, _ = self.desk.apply(part, offset=offset, world=world, part=n, foreseen=foreseen)
            except StorageError:
                raise
            except Exception as exc:  # whatever a rule did: this is set aside, the next ones count
                log.exception("a rule failed on %s", where)
                dead.append(_dead(where, value or encode(part), exc, now_ms))
            else:
                applied.orders.extend(orders)
                applied.verdicts.extend(verdicts)
        return [*_outputs(applied, offset, now_ms), *dead]

    def _foreseen(self, signals: Sequence[SignalRecord], world: World | None) -> Foreseen:
        assert world is not None
        try:
            return self.desk.foresee(signals, world)
        except Exception:  # noqa: BLE001  # on which of them a rule fails is found when each is applied
            return NOTHING

    def changed(self) -> list[Row]:
        """Return the rows that changed since the last call; the last of them is written after the others."""
        changes = list(self.desk.changes())
        last = len(changes) - 1
        rows = [
            Row(key, None if row is None else _encode_row(row), 0, stage=int(i == last))
            for i, (key, row) in enumerate(changes)
        ]
        # They are encoded, and the runner goes on until they are stored or the process ends.
        self.desk.settle()
        return rows

    def ticks(self, now_ms: int) -> Iterator[NewRecord]:
        """Give a tick when a deadline is due, once until it has come round."""
        if not self._is_ours:
            return
        deadline_ms = self.desk.next_deadline_ms()
        if deadline_ms is not None and deadline_ms <= now_ms and not self._is_ticking:
            self._is_ticking = True
            yield new("incidents", 0, encode(TickRecord(at_ms=now_ms)), now_ms)


def _outputs(applied: Applied, offset: int, now_ms: int) -> Iterator[NewRecord]:
    for order in applied.orders:
        yield new("orders", 0, encode(replace(order, at_ms=now_ms)), now_ms)
    kept = tuple(ordered(one.order, (offset, n), now_ms) for n, one in enumerate(applied.orders))
    if kept:
        record = kept[0] if len(kept) == 1 else OrderedRecords(at_ms=now_ms, orders=kept)
        yield new("history", 0, encode(record), now_ms)
    for verdict in applied.verdicts:
        yield new("obs", verdict.partition, encode(replace(verdict, at_ms=now_ms)), now_ms)


def _dead(source: str, value: bytes, exc: Exception, now_ms: int) -> NewRecord:
    letter = dead_letter(source, value, rule_failed(exc), now_ms=now_ms)
    return new("dead", 0, encode_message(letter), now_ms)
