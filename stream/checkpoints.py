"""The rows of the zones and of the desk as they stood once a day, beside the log.

Rows stand in a changelog that keeps the newest alone, and the log lets go of what is old. So a log of weeks could not
be decided again: what its first record met is not there any more. A checkpoint holds that, as long as the log is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from models.errors import StorageError
from stream.log.file import NewRecord
from stream.recorded import Recorded

EVERY_MS: Final = 86_400_000
AT_ONCE: Final = 200
"""Rows stored in one piece at most: alarms go on between."""


class Kind(NamedTuple):
    """Whose rows.

    Attributes:
        topic: where the checkpoints stand, in as many partitions as
        log: the log has from whose records the rows are made.
        own_key: the key of the row that is a partition's own;
        revision: returns of an encoded row the last offset that is in it.
    """

    topic: str
    log: str
    own_key: Callable[[int], str]
    revision: Callable[[bytes], int]


class Checkpoint(NamedTuple):
    """What a partition knew once.

    Attributes:
        offset: of the last record of the log that is in the rows.
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
        kind: of what.
        runner: of the zones, or of the desk.
        taken: returns what stands under a key beside the contents.
        store: stores records.
        note: puts values under keys beside the contents, for all workers.
    """

    def __init__(
        self,
        kind: Kind,
        runner: Rows,
        taken: Callable[[str], bytes | None],
        store: Callable[[list[NewRecord]], Awaitable[None]],
        note: Callable[[list[tuple[str, bytes | None]]], Awaitable[None]],
    ) -> None:
        self._kind, self._runner, self._taken, self._store, self._note = kind, runner, taken, store, note

    async def take(self, now_ms: int) -> None:
        """Take those that are due."""
        for partition in tuple(self._runner.partitions):
            key = f"{self._kind.topic}:{partition}"
            if now_ms - int(self._taken(key) or 0) < EVERY_MS:
                continue
            rows = await self._runner.settled_rows(partition)
            if self._kind.own_key(partition) in rows:
                made = records_of(self._kind, rows, partition, now_ms)
                for start in range(0, len(made), AT_ONCE):
                    await self._store(made[start : start + AT_ONCE])
                await self._note([(key, b"%d" % now_ms)])


def records_of(kind: Kind, rows: Mapping[str, bytes], partition: int, now_ms: int) -> list[NewRecord]:
    """Return a checkpoint as it stands in the log: a record for each row, and one that says how many there are."""
    made = [NewRecord(kind.topic, partition, row, now_ms, key.encode()) for key, row in rows.items()]
    return [*made, NewRecord(kind.topic, partition, b"%d" % len(made), now_ms)]


def whole(kind: Kind, recorded: Recorded, partition: int) -> Iterator[Checkpoint]:
    """Yield the checkpoints of a partition, oldest first; one that a crash cut off is none."""
    try:
        recorded.partitions(kind.topic)
    except StorageError:  # a log of a release that took none
        return
    rows: dict[str, bytes] = {}
    at_ms = 0
    own = kind.own_key(partition)
    for record in recorded.records(kind.topic, partition):
        if record.at_ms != at_ms:
            rows, at_ms = {}, record.at_ms
        if record.key is not None:
            rows[record.key.decode()] = record.value or b""
        elif record.value == b"%d" % len(rows) and own in rows:
            yield Checkpoint(at_ms, kind.revision(rows[own]), rows)


def beginning(kind: Kind, recorded: Recorded, partition: int, since_ms: int) -> Checkpoint:
    """Return from where a partition can be decided again, so that all since then is.

    It is the newest checkpoint before `since_ms`, else the log's own beginning, else the oldest checkpoint.

    Raises:
        StorageError: the log has let go of its beginning, and no checkpoint was taken yet.
    """
    start = first_offset(recorded, kind.log, partition)
    found: Checkpoint | None = None
    for one in whole(kind, recorded, partition):
        if one.offset + 1 >= start and (found is None or one.at_ms <= since_ms):  # else what follows it is gone
            found = one
    if found is not None and found.at_ms <= since_ms:
        return found
    if not start:
        return NOTHING
    if found is None:
        what = "the log has let go of its beginning, and no checkpoint stands in it yet"
        raise StorageError(f"{kind.log}/{partition}: {what}; the stream takes one a day: ask again tomorrow")
    return found


def first_offset(recorded: Recorded, topic: str, partition: int) -> int:
    """Return the offset at which a log begins: 0 while it has let go of nothing, or holds nothing at all."""
    first = next(recorded.records(topic, partition), None)
    return 0 if first is None else first.offset
