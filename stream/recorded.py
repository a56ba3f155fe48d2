"""A recorded log, embedded or on Kafka, read record by record and left as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from models.errors import StorageError
from stream.log.file import LogFile, Partition, Record

_READ_RECORDS: Final = 500
_READ_BYTES: Final = 4 << 20
_KAFKA: Final = "kafka://"


class Recorded:
    """The log at `where`: the path of a file, or ``kafka://host:port/tenant``. Its stream may be running meanwhile.

    Raises:
        StorageError: there is none.
    """

    def __init__(self, where: Path | str) -> None:
        self._source: _File | _Kafka = _Kafka(str(where)) if str(where).startswith(_KAFKA) else _File(Path(where))

    def close(self) -> None:
        """Give it back."""
        self._source.close()

    def partitions(self, topic: str) -> int:
        """Return how many partitions `topic` has."""
        return self._source.partitions(topic)

    def records(self, topic: str, partition: int = 0, offset: int = 0) -> Iterator[Record]:
        """Give the records of a partition from `offset` on, in the order of their offsets."""
        place = Partition(topic, partition)
        while records := self._source.read(place, offset):
            yield from records
            offset = records[-1].offset + 1


class _File:
    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise StorageError(f"{path}: there is no such log; name the log.db of a state folder")
        self._file = LogFile(path)
        self.close = self._file.close

    def partitions(self, topic: str) -> int:
        return len(self._file.topic(topic).ids)

    def read(self, place: Partition, offset: int) -> list[Record]:
        return self._file.read(place, offset, max_records=_READ_RECORDS, max_bytes=_READ_BYTES)


class _Kafka:
    def __init__(self, url: str) -> None:
        from stream.log.kafka import KafkaLog, servers_of

        tenant = url.removeprefix(_KAFKA).partition("/")[2]
        if not tenant:
            raise StorageError(f"{url}: name the tenant as well, as kafka://host:9092/tenant")
        # A loop of its own, which runs only while something is asked for.
        self._runner = asyncio.Runner()
        self._log = self._runner.run(KafkaLog.open(servers_of(url), tenant, patience_s=0.0))
        self._url = url

    def close(self) -> None:
        self._runner.run(self._log.close())
        self._runner.close()

    def partitions(self, topic: str) -> int:
        if (count := self._log.known_partitions(topic)) is None:
            raise StorageError(f"{self._url}: there is no topic {topic!r}")
        return count

    def read(self, place: Partition, offset: int) -> list[Record]:
        if place.number >= self.partitions(place.topic):
            raise StorageError(f"{self._url}: topic {place.topic!r} has no partition {place.number}")
        return self._runner.run(self._log.read({place: offset}, max_records=_READ_RECORDS))[place]
