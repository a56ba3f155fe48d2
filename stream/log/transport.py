"""``sqlite:///path/to/log.db``: Faust on the embedded log, without a service.

One worker a group: it owns every partition. The assignment is still made by Faust's own assignor, so that tables
recover and global tables follow exactly as they do on Kafka. ``?limit_bytes=N`` bounds the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

from aiokafka.partitioner import DefaultPartitioner
from faust.transport import base

from models.errors import StorageError
from stream.log.consumer import Consumer
from stream.log.producer import Producer
from stream.log.sqlite import SqliteLog

_Partitioner = Callable[[bytes | None, Sequence[int], Sequence[int]], int]


class Opening:
    """The log of one file, open from the first `acquire` to the last `release`."""

    def __init__(self, path: Path, limit_bytes: int | None) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._log: SqliteLog | None = None
        self._users = 0

    @property
    def log(self) -> SqliteLog:
        """The log, opened by the first who asks.

        Raises:
            StorageError: not to be opened; the message says why.
        """
        if self._log is None:
            self._log = SqliteLog(self._path, limit_bytes=self._limit_bytes)
        return self._log

    def acquire(self) -> SqliteLog:
        """Return the log, which stays open until `release` was called as often."""
        log = self.log
        self._users += 1
        return log

    async def release(self) -> None:
        """Close the log when nobody is left who uses it."""
        self._users -= 1
        if self._users == 0 and self._log is not None:
            log, self._log = self._log, None
            await log.close()


class Transport(base.Transport):
    """Faust's door to the embedded log."""

    Consumer: ClassVar[type[Any]] = Consumer
    Producer: ClassVar[type[Any]] = Producer
    driver_version = "gridwarden-sqlite=1"

    @cached_property
    def opening(self) -> Opening:
        """The app makes one transport to consume and one to produce: on one file they share the log."""
        consuming = self.app.transport
        if consuming is not self and isinstance(consuming, Transport) and consuming.url == self.url:
            return consuming.opening
        url = self.url[0]
        if url.host or not url.path.startswith("/"):
            raise StorageError(f"{url}: the log is named by an absolute path, as sqlite:///var/lib/gridwarden/log.db")
        return Opening(Path(url.path), int(url.query["limit_bytes"]) if "limit_bytes" in url.query else None)

    @property
    def log(self) -> SqliteLog:
        """The log, open while the app's producer or consumer runs.

        Raises:
            StorageError: not to be opened; the message says why.
        """
        return self.opening.log

    def choose_partition(self, topic: str, key: bytes | None, partition: int | None) -> int:
        """Return `partition` where it is given, else what Faust's partitioner makes of the key.

        Raises:
            StorageError: no such topic.
        """
        if partition is not None:
            return partition
        partitions = list(range(self.log.known_partitions(topic) or 0))
        if not partitions:
            raise StorageError(f"{self.log.path}: there is no topic {topic!r}; declare it before it is used")
        return int(self._partitioner(key, partitions, partitions))

    @cached_property
    def _partitioner(self) -> _Partitioner:
        conf: Any = self.app.conf  # Faust's setting looks like a method to a type checker
        return cast("_Partitioner", conf.producer_partitioner or DefaultPartitioner())
