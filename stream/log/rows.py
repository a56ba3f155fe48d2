"""Tables whose rows are stored before they count, and whose old rows cannot come back.

Faust writes a table's changelog behind the agent's back: to the partition of the last event, and not awaited. Here the
agent says which partition, and goes on when the row is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import faust
from faust.tables import Table
from faust.types import TP, EventT, TopicT


class RowTable(Table[str, bytes]):
    """A table of ``key -> bytes`` that is written with `write_row` only, and read with `row` and `rows`.

    While it recovers, or follows another worker as a standby, a row of a lower revision than the one it holds is
    ignored: a worker that was asleep and writes what it remembered cannot take the state back.

    Attributes:
        shadowed: keys of which the changelog's last row is such an old one. A changelog is compacted by offset, not by
            revision, so the partition's owner writes these rows once more; `write_row` then strikes them off.
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
            # A global table follows what others write: one row at a time, or it would wait for a thousand.
            recovery_buffer_size=1 if is_global else 1_000,
            synchronize_all_active_partitions=is_global,
            beacon=app.tables.beacon,
        )
        self.shadowed: set[str] = set()
        self._revision = revision
        self._partition_of: dict[str, int] = {}

    def row(self, key: str) -> bytes | None:
        """Return the row of `key`, None where there is none."""
        return cast("bytes | None", self.data.get(key))

    def rows(self, partition: int | None = None) -> dict[str, bytes]:
        """Return the rows of one partition, or of all that are held."""
        held = self._partition_of
        return {key: self.data[key] for key in held if partition is None or held[key] == partition}

    def hold(self, key: str, value: bytes | None, partition: int) -> None:
        """Take a row over that is in the changelog already. None removes it."""
        if value is None:
            self.data.pop(key, None)
            self._partition_of.pop(key, None)
        else:
            self.data[key] = value
            self._partition_of[key] = partition
        self.shadowed.discard(key)

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]]) -> None:
        """Take over rows that are read back, but none older than the one held."""
        for event in batch:
            key, value = cast("str", event.key), event.message.value
            held = self.row(key)
            if value is not None and held is not None and self._revision(value) < self._revision(held):
                self.shadowed.add(key)
            else:
                self.hold(key, value, event.message.partition)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Drop the rows of partitions that went to another worker."""
        await super().on_recovery_completed(active_tps, standby_tps)
        kept = {tp.partition for tp in active_tps | standby_tps}
        for key in [key for key, partition in self._partition_of.items() if partition not in kept]:
            self.hold(key, None, self._partition_of[key])


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


async def store(
    topic: TopicT,
    value: bytes | None,
    *,
    partition: int,
    key: bytes | str | None = None,
    at_ms: int | None = None,
) -> int:
    """Append one record to `topic` and return its offset, when it is on disk.

    Unlike ``await (await topic.send(...))`` it leaves no second future behind, of which asyncio complains if it fails.

    Raises:
        StorageError: it is not stored, or there is no such topic or partition.
    """
    message = topic.as_future_message(
        key=key,
        value=value,
        partition=partition,
        timestamp=None if at_ms is None else at_ms / 1000,
        key_serializer="raw" if isinstance(key, bytes) else None,
        value_serializer="raw",
    )
    await topic.publish_message(message, wait=True)
    return int(message.result().offset)


async def write_row(table: RowTable, key: str, value: bytes | None, partition: int) -> int:
    """Store the row in the changelog's `partition`, then hold it, and return its changelog offset. None removes it.

    Raises:
        StorageError: it is not stored, and the table holds what it held.
    """
    offset = await store(table.changelog_topic, value, partition=partition, key=key)
    table.hold(key, value, partition)
    return offset
