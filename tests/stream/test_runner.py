from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from models.errors import StorageError
from stream.control import MissingContentError
from stream.log import append
from stream.log.append import Appender, Outflow, new
from stream.log.file import NewRecord, Partition
from stream.log.rows import row_table
from stream.log.sqlite import SqliteLog
from stream.runner import Row, Runner
from tests.stream.sqlite_harness import make_app


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


def test_what_goes_back_to_a_zone_waits_until_all_before_it_is_stored(tmp_path: Path) -> None:
    async def scenario(disk: _Disk) -> None:
        calls: list[list[str]] = []

        async def append(records: Sequence[NewRecord]) -> list[int]:
            calls.append([record.topic for record in records])
            return [0] * len(records)

        disk.append = append  # type: ignore[method-assign]
        outflow = Outflow(Appender(disk))
        outflow.put([new(topic, 0, b"", 1) for topic in ("incidents", "history", "obs", "incidents")])
        running = asyncio.create_task(outflow.run())
        await outflow.settled()
        assert calls == [["incidents", "history"], ["obs"], ["incidents"]]
        running.cancel()

    _with_disk(tmp_path, scenario)


def test_nothing_put_is_settled_at_once(tmp_path: Path) -> None:
    async def scenario(disk: _Disk) -> None:
        await Outflow(Appender(disk)).settled()
        await Appender(disk).store([])
        assert disk.tries == 0

    _with_disk(tmp_path, scenario)


class _Event:
    def __init__(self, offset: int, value: bytes = b"v") -> None:
        self.message = SimpleNamespace(topic="t", partition=0, offset=offset)
        self.value = value
        self.is_acked = False

    def ack(self) -> None:
        self.is_acked = True


class _Stream:
    """What Faust hands to an agent."""

    def __init__(self, events: Sequence[_Event]) -> None:
        self._events = events

    def noack(self) -> _Stream:
        return self

    async def events(self) -> AsyncIterator[_Event]:
        for event in self._events:
            yield event


class _Machine:
    """Remembers what it was told, and has to wait for a content at `missing`."""

    def __init__(self, missing: Sequence[int] = ()) -> None:
        self.owned: list[Collection[int]] = []
        self.applied: list[int] = []
        self._missing = list(missing)

    def own(self, partitions: Collection[int]) -> None:
        self.owned.append(partitions)

    def apply(self, partition: int, offset: int, value: bytes, *, now_ms: int) -> list[NewRecord]:
        if offset in self._missing:
            self._missing.remove(offset)
            raise MissingContentError("on its way")
        self.applied.append(offset)
        return _records(value)

    def may_write(self) -> bool:
        return True

    def changed(self) -> list[Row]:
        return [Row("row", b"%d" % len(self.applied), 0)] if self.applied else []


def _run(path: Path, machine: _Machine, scenario: Any) -> None:
    async def within(disk: _Disk) -> None:
        table = row_table(make_app(path / "log.db", "t"), "rows", partitions=1, revision=int)
        await disk.log.create_topic(table.changelog, 1, is_compacted=True)
        runner = Runner("test", machine, table, Appender(disk))
        storing = asyncio.create_task(runner.store_outputs())
        await scenario(runner, disk, table)
        storing.cancel()

    _with_disk(path, within)


def test_rows_and_outputs_are_stored_before_anything_is_acknowledged(tmp_path: Path) -> None:
    async def scenario(runner: Runner, disk: _Disk, table: Any) -> None:
        events = [_Event(0), _Event(1)]
        await runner.take(cast("Any", _Stream(events)))
        disk.is_full = True
        flushing = asyncio.create_task(runner.flush())
        await _until(disk, 4)
        assert not any(event.is_acked for event in events)
        disk.is_full = False
        await flushing
        assert all(event.is_acked for event in events)
        assert await disk.values() == [b"v", b"v"]
        assert table.row("row") == b"2"

    _run(tmp_path, _Machine(), scenario)


def test_while_records_wait_the_others_have_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.runner.TURN_MS", 0)
    machine = _Machine()
    seen: list[int] = []

    async def look() -> None:
        while True:
            seen.append(len(machine.applied))
            await asyncio.sleep(0)

    async def scenario(runner: Runner, _disk: _Disk, _table: Any) -> None:
        looking = asyncio.create_task(look())
        await runner.take(cast("Any", _Stream([_Event(offset) for offset in range(5)])))
        looking.cancel()
        assert {1, 2, 3, 4} <= set(seen)

    _run(tmp_path, machine, scenario)


def test_an_output_that_is_not_stored_holds_the_acknowledgement_though_no_row_has_changed(tmp_path: Path) -> None:
    machine = _Machine()
    machine.changed = list  # type: ignore[method-assign]

    async def scenario(runner: Runner, disk: _Disk, table: Any) -> None:
        disk.is_full = True
        event = _Event(0)
        await runner.take(cast("Any", _Stream([event])))
        flushing = asyncio.create_task(runner.flush())
        await _until(disk, 3)
        assert not event.is_acked
        disk.is_full = False
        await flushing
        assert event.is_acked

    _run(tmp_path, machine, scenario)


def test_what_was_applied_of_partitions_that_are_given_out_anew_is_never_acknowledged(tmp_path: Path) -> None:
    machine = _Machine()

    async def scenario(runner: Runner, disk: _Disk, table: Any) -> None:
        before, after = _Event(0), _Event(0)
        await runner.take(cast("Any", _Stream([before])))
        table.lost()
        table.recovered({0})
        assert machine.owned == [(), {0}]
        assert runner.partitions == {0}
        await runner.take(cast("Any", _Stream([after])))
        await runner.flush()
        assert (before.is_acked, after.is_acked) == (False, True)

    _run(tmp_path, machine, scenario)


def test_a_record_whose_content_is_still_on_its_way_waits_for_it(tmp_path: Path) -> None:
    machine = _Machine(missing=[1, 1, 1])

    async def scenario(runner: Runner, disk: _Disk, table: Any) -> None:
        await runner.take(cast("Any", _Stream([_Event(0), _Event(1), _Event(2)])))
        assert machine.applied == [0, 1, 2]

    _run(tmp_path, machine, scenario)


def test_a_worker_that_is_ahead_of_the_disk_stops_before_memory_fills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.runner.WAITING_BYTES", 10_000)
    machine = _Machine()

    async def scenario(runner: Runner, disk: _Disk, table: Any) -> None:
        disk.is_full = True
        events = [_Event(n, bytes(1_000)) for n in range(100)]
        taking = asyncio.create_task(runner.take(cast("Any", _Stream(events))))
        await _until(disk, 5)
        assert len(machine.applied) < 12
        disk.is_full = False
        await taking
        await runner.flush()
        assert all(event.is_acked for event in events)
        assert len(await disk.values()) == 100

    _run(tmp_path, machine, scenario)


def test_a_row_that_an_old_one_follows_in_the_changelog_is_written_again_by_its_owner(tmp_path: Path) -> None:
    async def scenario(runner: Runner, disk: _Disk, table: Any) -> None:
        table.recovered({0})
        for value in (b"5", b"3"):  # the second is what a thawed worker remembered
            await disk.append([table.record("row", value, 0)])
            table.hold("row", value, 0)
        assert table.shadowed == {(0, "row")}
        await runner._write_shadowed()
        assert table.shadowed == set()
        place = Partition(table.changelog, 0)
        assert [record.value for record in (await disk.log.read({place: 0}))[place]] == [b"5", b"3", b"5"]

    _run(tmp_path, _Machine(), scenario)
