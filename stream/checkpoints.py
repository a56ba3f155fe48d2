"""The rows of the zones as they stood once a day, beside the log.

Rows stand in a changelog that keeps the newest alone, and the log lets go of what is old. So a log of weeks could not
be decided again: what its first record met is not there any more. A checkpoint holds that, as long as the log is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from models.errors import StorageError
from stream.log.file import NewRecord
from stream.recorded import Recorded
from stream.zones.machine import in_force_of, meta_key, revision

TOPIC: Final = "checkpoint"
EVERY_MS: Final = 86_400_000
TAKEN: Final = "checkpoint:"
"""Begins the keys under which it stands when the last one of a partition was taken, beside the contents."""


class Checkpoint(NamedTuple):
    """What a partition knew once.

    Attributes:
        offset: of the last record of `obs` that is in the rows.
        rows: encoded, by key, that of the partition among them.
    """

    at_ms: int
    offset: int
    rows: dict[str, bytes]


NOTHING: Final = Checkpoint(0, -1, {})
"""Where a log begins that has let go of nothing."""


class Rows(Protocol):
    """Whose rows are kept: a `Runner`."""

    @property
    def partitions(self) -> Collection[int]:
        """Those that are this worker's."""

    async def settled_rows(self, partition: int) -> dict[str, bytes]:
        """Return the rows of a partition as they stand together."""


class Checkpoints:
    """Takes one of each partition a day.

    Args:
        runner: of the zones.
        taken: returns what stands under a key beside the contents.
        store: stores records.
        note: puts a value under a key beside the contents, for all workers.
    """

    def __init__(
        self,
        runner: Rows,
        taken: Callable[[str], bytes | None],
        store: Callable[[list[NewRecord]], Awaitable[None]],
        note: Callable[[str, bytes], Awaitable[None]],
    ) -> None:
        self._runner, self._taken, self._store, self._note = runner, taken, store, note

    async def take(self, now_ms: int) -> None:
        """Take those that are due."""
        for partition in tuple(self._runner.partitions):
            last_ms = int(self._taken(f"{TAKEN}{partition}") or 0)
            if now_ms - last_ms < EVERY_MS:
                continue
            rows = await self._runner.settled_rows(partition)
            if meta_key(partition) in rows:
                await self._store(records_of(rows, partition, now_ms))
                await self._note(f"{TAKEN}{partition}", b"%d" % now_ms)


def records_of(rows: Mapping[str, bytes], partition: int, now_ms: int) -> list[NewRecord]:
    """Return a checkpoint as it stands in the log: a record for each row, and one that says how many there are."""
    made = [NewRecord(TOPIC, partition, row, now_ms, key.encode()) for key, row in rows.items()]
    return [*made, NewRecord(TOPIC, partition, b"%d" % len(made), now_ms)]


def whole(recorded: Recorded, partition: int) -> Iterator[Checkpoint]:
    """Yield the checkpoints of a partition, oldest first; one that a crash cut off is none."""
    try:
        recorded.partitions(TOPIC)
    except StorageError:  # a log of a release that took none
        return
    rows: dict[str, bytes] = {}
    at_ms = 0
    for record in recorded.records(TOPIC, partition):
        if record.at_ms != at_ms:
            rows, at_ms = {}, record.at_ms
        if record.key is not None:
            rows[record.key.decode()] = record.value or b""
        elif record.value == b"%d" % len(rows) and meta_key(partition) in rows:
            yield Checkpoint(at_ms, revision(rows[meta_key(partition)]), rows)


def beginning(recorded: Recorded, partition: int, since_ms: int) -> Checkpoint:
    """Return from where a partition can be decided again, so that all since then is.

    It is the newest checkpoint before `since_ms`, else the log's own beginning, else the oldest checkpoint.

    Raises:
        StorageError: the log has let go of its beginning, and no checkpoint was taken yet.
    """
    found: Checkpoint | None = None
    for one in whole(recorded, partition):
        if found is None or one.at_ms <= since_ms:
            found = one
    if found is not None and found.at_ms <= since_ms:
        return found
    if not has_lost_its_beginning(recorded, partition):
        return NOTHING
    if found is None:
        what = "the log has let go of its beginning, and no checkpoint stands in it yet"
        raise StorageError(f"obs/{partition}: {what}; the stream takes one a day: ask again tomorrow")
    return found


def has_lost_its_beginning(recorded: Recorded, partition: int) -> bool:
    """Whether `obs` does not begin with its first record any more."""
    first = next(recorded.records("obs", partition), None)
    return first is not None and first.offset > 0


def thresholds_at(one: Checkpoint, partition: int) -> tuple[str, ...]:
    """Return the versions of the thresholds that a partition knew of then, the one in force last."""
    return tuple(version for _, version in in_force_of(one.rows[meta_key(partition)]).changes.get("thresholds", ()))
