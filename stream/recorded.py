"""A recorded log, read record by record and left as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from models.errors import StorageError
from stream.log.file import LogFile, Partition, Record

_READ_RECORDS: Final = 500
_READ_BYTES: Final = 4 << 20


class Recorded:
    """The log at `path`. Its stream may be running meanwhile.

    Raises:
        StorageError: there is none.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise StorageError(f"{path}: there is no such log; name the log.db of a state folder")
        self._file = LogFile(path)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def partitions(self, topic: str) -> int:
        """Return how many partitions `topic` has."""
        return len(self._file.topic(topic).ids)

    def records(self, topic: str, partition: int = 0) -> Iterator[Record]:
        """Give the records of a partition in the order of their offsets."""
        offset = 0
        while records := self._file.read(
            Partition(topic, partition), offset, max_records=_READ_RECORDS, max_bytes=_READ_BYTES
        ):
            yield from records
            offset = records[-1].offset + 1
