from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from models.errors import StorageError
from stream.log import append
from stream.log.append import Appender, Outflow, new
from stream.log.file import NewRecord, Partition
from stream.log.sqlite import SqliteLog


class _Disk:
    """A real log whose disk is full while `is_full`."""

    def __init__(self, log: SqliteLog) -> None:
        self.log = log
        self.is_full = False
        self.tries = 0

    async def append(self, records: Sequence[NewRecord]) -> list[int]:
        self.tries += 1
        if self.is_full:
            raise StorageError("the disk is full")
        return await self.log.append(records)

    async def values(self) -> list[bytes | None]:
        read = await self.log.read({Partition("t", 0): 0})
        return [record.value for record in read[Partition("t", 0)]]


def _records(*values: bytes) -> list[NewRecord]:
    return [new("t", 0, value, 1) for value in values]


async def _until(disk: _Disk, tries: int) -> None:
    async with asyncio.timeout(10.0):
        while disk.tries < tries:  # noqa: ASYNC110  # the real loop runs meanwhile
            await asyncio.sleep(0)


def _with_disk(path: Path, scenario: Any) -> None:
    async def run() -> None:
        log = SqliteLog(path / "log.db")
        try:
            await log.create_topic("t", 1)
            await scenario(_Disk(log))
        finally:
            await log.close()

    asyncio.run(run())


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append, "RETRY_S", 0.0)


def test_a_full_disk_is_said_once_and_tried_until_it_has_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(disk: _Disk) -> None:
        disk.is_full = True
        storing = asyncio.create_task(Appender(disk).store(_records(b"a", b"b")))
        await _until(disk, 5)
        assert not storing.done()
        assert await disk.values() == []
        disk.is_full = False
        await storing
        assert await disk.values() == [b"a", b"b"]

    _with_disk(tmp_path, scenario)
    said = [record.getMessage() for record in caplog.records if record.name == "stream.log.append"]
    assert said == ["nothing can be stored, so nothing is acknowledged: the disk is full", "storing again"]


def test_outputs_keep_their_order_across_a_full_disk(tmp_path: Path) -> None:
    async def scenario(disk: _Disk) -> None:
        outflow = Outflow(Appender(disk))
        running = asyncio.create_task(outflow.run())
        disk.is_full = True
        outflow.put(_records(b"1", b"2"))
        await _until(disk, 2)
        outflow.put(_records(b"3"))
        settled = asyncio.create_task(outflow.settled())
        await _until(disk, 4)
        assert not settled.done()
        disk.is_full = False
        await settled
        assert await disk.values() == [b"1", b"2", b"3"]
        running.cancel()

    _with_disk(tmp_path, scenario)


def test_nothing_put_is_settled_at_once(tmp_path: Path) -> None:
    async def scenario(disk: _Disk) -> None:
        await Outflow(Appender(disk)).settled()
        await Appender(disk).store([])
        assert disk.tries == 0

    _with_disk(tmp_path, scenario)
