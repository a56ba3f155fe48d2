from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import faust
import msgspec
import pytest

from models.errors import StorageError
from stream.log.file import NewRecord, Partition
from stream.log.rows import RowTable, row_table, write_row
from tests.stream.sqlite_harness import PATIENCE_S, collect, make_app, opened, run, running, take

CHANGELOG = "watch-zones-changelog"


class _Row(msgspec.Struct, frozen=True):
    applied_offset: int


def applied_offset(row: bytes) -> int:
    return msgspec.json.decode(row, type=_Row).applied_offset


def row(offset: int, note: str = "") -> bytes:
    return msgspec.json.encode({"applied_offset": offset, "note": note})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def watched(path: Path, partitions: int = 2, **settings: Any) -> tuple[faust.App, RowTable]:
    app = make_app(path, **settings)
    collect(app, app.topic("obs", partitions=partitions, value_type=bytes))
    return app, row_table(app, "zones", partitions=partitions, revision=applied_offset)


def test_a_written_row_is_in_its_partition_of_the_changelog_once_and_in_the_table(path: Path) -> None:
    async def scenario() -> None:
        app, zones = watched(path)
        async with running(app) as log:
            await write_row(log, zones, "zone-1", row(7), partition=1)
            assert zones.rows().get("zone-1") == row(7)
            assert zones.rows(partition=1) == zones.rows() == {"zone-1": row(7)}
            assert zones.rows(partition=0) == {}
            assert (await log.topic(CHANGELOG)).is_compacted
            heads = await log.heads()
            assert (heads[Partition(CHANGELOG, 0)], heads[Partition(CHANGELOG, 1)]) == (0, 1)

    run(scenario())


def test_an_old_row_written_late_is_ignored_at_recovery_and_named_until_it_is_written_over(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, CHANGELOG, partitions=2) as log:
            late = [row(8, "true"), row(5, "what a thawed worker remembered"), row(8, "same again")]
            await log.append([NewRecord(CHANGELOG, 0, value, 1, b'"zone-1"') for value in late[:2]])
            await log.append([NewRecord(CHANGELOG, 1, value, 1, b'"zone-2"') for value in late])
        app, zones = watched(path)
        async with running(app) as log:
            assert zones.rows().get("zone-1") == row(8, "true")
            assert zones.rows().get("zone-2") == row(8, "same again")
            assert zones.shadowed == {(0, "zone-1")}
            await write_row(log, zones, "zone-1", row(8, "true"), partition=0)
            assert zones.shadowed == set()
            await log.compact(CHANGELOG)
        app, zones = watched(path)
        async with running(app):
            assert zones.rows().get("zone-1") == row(8, "true")

    run(scenario())


def test_a_row_that_is_not_stored_is_not_held(path: Path) -> None:
    async def scenario() -> None:
        app, zones = watched(path, query="?limit_bytes=200000")
        async with running(app) as log:
            await write_row(log, zones, "zone-1", row(1), partition=0)
            with pytest.raises(StorageError, match="nothing was stored"):
                await write_row(log, zones, "zone-1", row(2, "x" * 300_000), partition=0)
            assert zones.rows().get("zone-1") == row(1)
            with pytest.raises(StorageError, match="there is no 9"):
                await write_row(log, zones, "zone-1", row(2), partition=9)

    run(scenario())


def test_five_thousand_rows_come_back_within_patience(path: Path) -> None:
    count = 5_000

    async def scenario() -> None:
        async with opened(path, CHANGELOG, partitions=2) as log:
            await log.append(
                [NewRecord(CHANGELOG, n % 2, row(n, "x" * 200), 1, b'"zone-%d"' % n) for n in range(count)]
            )
        app, zones = watched(path)
        async with asyncio.timeout(PATIENCE_S), running(app):
            assert len(zones.rows()) == count
            assert zones.rows().get("zone-4999") == row(4999, "x" * 200)

    run(scenario())


def test_an_agent_writes_its_row_before_it_acknowledges_so_a_restart_finds_both_or_neither(path: Path) -> None:
    async def life(records: int) -> tuple[list[int], dict[str, bytes]]:
        app = make_app(path)
        zones = row_table(app, "zones", partitions=2, revision=applied_offset)
        applied: asyncio.Queue[int] = asyncio.Queue()

        async def reduce(stream: Any) -> None:
            async for event in stream.noack().events():
                message = event.message
                await write_row(log, zones, f"zone-{message.partition}", row(message.offset), message.partition)
                event.ack()
                applied.put_nowait(message.offset)

        app.agent(app.topic("obs", partitions=2, value_type=bytes), name="reduce")(reduce)
        async with running(app) as log:
            recovered = zones.rows()
            await log.append([NewRecord("obs", n % 2, b"", 1) for n in range(records)])
            return await take(applied, records), recovered

    assert run(life(6)) == ([0, 0, 1, 1, 2, 2], {})
    offsets, recovered = run(life(4))
    assert recovered == {"zone-0": row(2), "zone-1": row(2)}
    assert sorted(offsets) == [3, 3, 4, 4]
