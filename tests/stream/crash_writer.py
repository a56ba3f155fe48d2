"""A process that appends until it is killed, and says over a pipe what it was told is stored."""

from __future__ import annotations

import asyncio
from multiprocessing.connection import Connection
from pathlib import Path

from stream.log.file import NewRecord, Partition
from stream.log.sqlite import SqliteLog

GROUP = 3
"""Records in one append: all of them are stored, or none."""


def value_of(life: int, number: int, part: int) -> bytes:
    """A value that says whose it is, longer than a page every now and then."""
    return b"%d:%d:%d|" % (life, number, part) + b"x" * (6_000 if number % 5 == 0 else 40)


def write(path: Path, life: int, told: Connection) -> None:
    """Append groups to both partitions for ever, compact and commit now and then."""

    async def appending() -> None:
        log = SqliteLog(path)
        await log.create_topic("obs", 2)
        await log.create_topic("rows", 1, is_compacted=True)
        number = 0
        while True:
            records = [NewRecord("obs", number % 2, value_of(life, number, part), 1) for part in range(GROUP)]
            records.append(NewRecord("rows", 0, b"%d:%d" % (life, number), 1, b"key"))
            offsets = await log.append(records)
            told.send((number, offsets[-1]))
            if number % 7 == 0:
                await log.commit("group", {Partition("obs", number % 2): offsets[0]})
                await log.compact("rows")
            number += 1

    asyncio.run(appending())
