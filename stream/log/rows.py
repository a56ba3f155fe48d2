"""Tables whose rows are stored before they count, and whose old rows cannot come back.

Faust writes a table's changelog behind the agent's back: to the partition of the last event, and not awaited. Here the
agent says which partition, appends the row to the log like any record, and only then holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import faust
import msgspec
from faust.tables import Table
from faust.types import TP, EventT

from models import clock
from stream.log.append import Log
from stream.log.file import NewRecord


class RowTable(Table[str, bytes]):
    """A table of ``key -> bytes``: a row is appended as its `record` says, then held; `row` and `rows` read.

    While it recovers, or follows another worker as a standby, a row of a lower revision than the one it holds is
    ignored: a worker that was asleep and writes what it remembered cannot take the state back.

    Attributes:
        changelog: the topic of the rows, as the log calls it.
        shadowed: (partition, key) of rows that such an old one follows in the changelog. A changelog is compacted by
            offset, not by revision, so the partition's owner writes them once more; `hold` then strikes them off.
        lost: called when the partitions are given out anew: what was done and not stored counts no more.
        recovered: called with the partitions that are this worker's from now on, once their rows are there.
    """

    def __init__(
        self, app: faust.App, *, name: str, partitions: int, revision: Callable[[bytes], int], is_global: bool = False
    ) -> None:
        super().__init__(
            app,
            name=name,
            partitions=partitions,
            key_type=str,
            value_type=bytes,
            is_global=is_global,
            # A standby, as a global table, follows what others write: one row at a time, not when there are a thousand.
            recovery_buffer_size=1 if is_global else 1_000,
            standby_buffer_size=1,
            synchronize_all_active_partitions=is_global,
            beacon=app.tables.beacon,
        )
        # The app's id begins with the tenant where several share a Kafka; the log's topics are without.
        self.changelog = f"{app.conf.id.rpartition('.')[2]}-{name}-changelog"
        self.shadowed: set[tuple[int, str]] = set()
        self.lost: Callable[[], None] = lambda: None
        self.recovered: Callable[[set[int]], None] = lambda _partitions: None
        self._revision = revision
        self._rows: dict[int, dict[str, bytes]] = {}
        self._kept: set[int] | None = None
        self._read_up_to: dict[TP, int] = {}

    def row(self, key: str, partition: int = 0) -> bytes | None:
        """Return the row of `key` in a partition, None where there is none."""
        return self._rows.get(partition, {}).get(key)

    def rows(self, partition: int | None = None) -> dict[str, bytes]:
        """Return the rows of one partition, or of all that are held.

        A key may have rows in several: where a zone was, and where it is.
        """
        held = self._rows.values() if partition is None else [self._rows.get(partition, {})]
        return {key: row for rows in held for key, row in rows.items()}

    def record(self, key: str, value: bytes | None, partition: int) -> NewRecord:
        """Return a row as it is appended to the changelog. None removes it."""
        return NewRecord(self.changelog, partition, value, clock.now_ms(), msgspec.json.encode(key))

    def hold(self, key: str, value: bytes | None, partition: int) -> None:
        """Take over a row that is in the changelog, unless it is older than the one held, or another worker's now."""
        held = self.row(key, partition)
        if self._kept is not None and partition not in self._kept:
            return
        if value is not None and held is not None and self._revision(value) < self._revision(held):
            self.shadowed.add((partition, key))
            return
        self.shadowed.discard((partition, key))
        rows = self._rows.setdefault(partition, {})
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value

    # --- what Faust calls ---

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]]) -> None:
        """Take over rows that are read back, but none older than the one held."""
        for event in batch:
            self.hold(cast("str", event.key), event.message.value, event.message.partition)
            self._read_up_to[event.message.tp] = event.message.offset

    def persisted_offset(self, tp: TP) -> int | None:
        """Return up to where the changelog's rows are here: a standby that takes over reads only the rest."""
        return self._read_up_to.get(tp)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Stop counting on what is held: another worker may have gone on meanwhile."""
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)
        self._kept = None
        self.lost()

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Drop the rows of partitions that went to another worker."""
        await super().on_recovery_completed(active_tps, standby_tps)
        tps = active_tps | standby_tps
        kept = {tp.partition for tp in tps}
        self._rows = {partition: rows for partition, rows in self._rows.items() if partition in kept}
        self.shadowed = {(partition, key) for partition, key in self.shadowed if partition in kept}
        self._read_up_to = {tp: offset for tp, offset in self._read_up_to.items() if tp in tps}
        self._kept = kept
        self.recovered({tp.partition for tp in active_tps})


def row_table(
    app: faust.App, name: str, *, partitions: int, revision: Callable[[bytes], int], is_global: bool = False
) -> RowTable:
    """Declare a table of `app`.

    Args:
        app: the app, not yet started.
        name: its changelog is the compacted topic ``<app id>-<name>-changelog``.
        partitions: as many as the topic has from which the rows are made.
        revision: the revision of a row, such as its `applied_offset`: rows of one key never go back in it.
        is_global: every worker holds all partitions and follows what others write.
    """
    table = RowTable(app, name=name, partitions=partitions, revision=revision, is_global=is_global)
    return cast("RowTable", app.tables.add(table))


async def write_row(log: Log, table: RowTable, key: str, value: bytes | None, partition: int) -> None:
    """Store the row in the changelog's `partition`, then hold it. None removes it.

    Raises:
        StorageError: it is not stored, and the table holds what it held.
    """
    await log.append([table.record(key, value, partition)])
    table.hold(key, value, partition)
