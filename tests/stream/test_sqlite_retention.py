"""What the embedded log lets go of, what it never lets go of, and what it does when the disk is nearly full."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from models.errors import StorageError
from stream.log import file as log_file
from stream.log import sqlite as log_sqlite
from stream.log.file import APPLICATION_ID, SCHEMA_VERSION, LogFile, NewRecord, NewTopic, Partition
from stream.log.sqlite import SqliteLog
from tests.stream.sqlite_harness import numbered, opened, run

OBS, HISTORY, ROWS = Partition("obs", 0), Partition("history", 0), Partition("rows", 0)
DAY_MS = 86_400_000
NOW_MS = 100 * DAY_MS

SCHEMA_1 = f"""
CREATE TABLE log (id TEXT NOT NULL, created_at_ms INTEGER NOT NULL) STRICT;
CREATE TABLE topic (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL, is_compacted INTEGER NOT NULL
) STRICT;
CREATE TABLE partition (
    id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL REFERENCES topic, number INTEGER NOT NULL,
    next_offset INTEGER NOT NULL DEFAULT 0, UNIQUE (topic_id, number)
) STRICT;
CREATE TABLE record (
    id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, key BLOB, headers BLOB, value BLOB
) STRICT;
CREATE TABLE committed (
    group_id TEXT NOT NULL, partition_id INTEGER NOT NULL REFERENCES partition, next_offset INTEGER NOT NULL,
    PRIMARY KEY (group_id, partition_id)
) STRICT, WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = 1;
INSERT INTO log VALUES ('the-first', 1);
INSERT INTO topic VALUES (1, 'obs', 1, 0);
INSERT INTO partition VALUES (1, 1, 0, 2);
INSERT INTO record VALUES ((1 << 40) | 0, 7, NULL, NULL, x'61'), ((1 << 40) | 1, 8, x'6b', NULL, x'62');
INSERT INTO committed VALUES ('stream', 1, 1);
"""
"""What the first version wrote."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def _old(topic: str, count: int, days: float, size_bytes: int = 10, key: bytes | None = None) -> list[NewRecord]:
    return [NewRecord(topic, 0, bytes(size_bytes), NOW_MS - round(days * DAY_MS) + n, key) for n in range(count)]


async def _made(log: SqliteLog, *topics: str, days: float | None = 7) -> None:
    retention_ms = None if days is None else round(days * DAY_MS)
    await log.create_topics([NewTopic(topic, 1, retention_ms=retention_ms) for topic in topics])


def test_what_is_too_old_goes_once_every_group_has_done_with_it(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path) as log:
            await _made(log, "obs")
            await log.append(_old("obs", 5_000, 10) + _old("obs", 10, 1))
            await log.commit("stream", {OBS: 4_500})
            await log.commit("a replay", {OBS: 100})
            assert await log.retain(NOW_MS) == {}
            assert await log.starts([OBS]) == {OBS: 100}, "nothing that a group has still to read"
            await log.commit("a replay", {OBS: 5_010})
            await log.commit("stream", {OBS: 5_005})
            await log.retain(NOW_MS)
            assert await log.starts([OBS]) == {OBS: 5_000}, "nothing that is young"
            await log.retain(NOW_MS + 30 * DAY_MS)
            assert await log.starts([OBS]) == {OBS: 5_005}
            assert await log.append(numbered("obs", [1])) == [5_010], "offsets go on"

    run(scenario())


def test_a_topic_that_keeps_everything_keeps_it_and_a_compacted_one_too(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path) as log:
            await _made(log, "obs", days=None)
            await log.create_topics([NewTopic("rows", 1, is_compacted=True, retention_ms=1)])
            await log.append([*_old("obs", 3, 90), *_old("rows", 1, 90, key=b"zone")])
            await log.retain(NOW_MS)
            assert await log.starts([OBS, ROWS]) == {OBS: 0, ROWS: 0}
            await _made(log, "obs", days=1)  # declared anew
            await log.retain(NOW_MS)
            assert await log.starts([OBS, ROWS]) == {OBS: 3, ROWS: 0}

    run(scenario())


def test_a_nearly_full_log_lets_go_of_what_was_read_whatever_its_age_and_of_nothing_else(path: Path) -> None:
    limit_bytes = 5_700_000

    async def scenario() -> None:
        async with opened(path, limit_bytes=limit_bytes) as log:
            await _made(log, "obs", "history", days=365)
            await log.append(_old("obs", 1_500, 1, 1_000))
            await log.append(_old("history", 2_000, 2, 1_000))
            await log.commit("stream", {OBS: 1_200, HISTORY: 0})
            assert LogFile.used_bytes(log._read_file) >= 0.8 * limit_bytes
            assert await log.retain(NOW_MS) == {}
            assert await log.starts([OBS, HISTORY]) == {OBS: 1_200, HISTORY: 0}
            assert LogFile.used_bytes(log._read_file) < 0.8 * limit_bytes

    run(scenario())


def test_what_nobody_has_read_goes_last_oldest_first_and_is_counted_as_lost(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit_bytes = 7_800_000

    async def scenario() -> None:
        async with opened(path, limit_bytes=limit_bytes) as log:
            await _made(log, "obs", "history", days=365)
            await log.append(_old("history", 4_500, 2, 1_000))
            await log.append(_old("obs", 400, 1, 1_000))
            await log.commit("stream", {OBS: 0, HISTORY: 0})
            assert await log.retain(NOW_MS) == {HISTORY: 2_000}
            assert await log.starts([OBS, HISTORY]) == {OBS: 0, HISTORY: 2_000}
            assert LogFile.used_bytes(log._read_file) < 0.8 * limit_bytes
            assert await log.append(_old("obs", 10, 0, 1_000)) == list(range(400, 410)), "it takes more"

    run(scenario())
    assert "2000 records of history/0 are lost unread" in caplog.text


def test_a_log_that_was_full_takes_more_after_it_was_tidied_up(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, limit_bytes=2 << 20) as log:
            await _made(log, "obs", days=365)

            async def fill() -> None:
                while True:
                    await log.append(_old("obs", 50, 0, 1_000))

            with pytest.raises(StorageError, match="full"):
                await fill()
            await log.commit("stream", {OBS: (await log.heads())[OBS]})
            assert await log.tidy(["obs"], now_ms=NOW_MS) == {}
            assert await log.append(_old("obs", 50, 0, 1_000))

    run(scenario())


def test_who_appends_faster_than_the_disk_writes_waits_and_memory_stays_bounded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_sqlite, "_WAITING_BYTES", 50_000)

    async def scenario() -> None:
        async with opened(path, "obs") as log:
            holder = sqlite3.connect(path, isolation_level=None)
            holder.execute("BEGIN IMMEDIATE")  # the disk takes its time
            most = 0

            async def append(number: int) -> None:
                nonlocal most
                await log.append([NewRecord("obs", 0, b"%d|" % number + bytes(10_000), 1)])

            appends = [asyncio.create_task(append(number)) for number in range(100)]
            for _ in range(20):
                await asyncio.sleep(0.005)
                most = max(most, log._waiting_bytes)
            assert 50_000 < most < 80_000
            holder.execute("ROLLBACK")
            holder.close()
            await asyncio.gather(*appends)
            assert log._waiting_bytes == 0
            assert (await log.heads())[OBS] == 100

    run(scenario())


def test_what_is_stored_is_flushed_to_the_disk_before_anybody_hears_of_it(path: Path) -> None:
    file = LogFile(path)
    assert (file._pragma("synchronous"), file._query("PRAGMA journal_mode")) == (2, [("wal",)])  # 2 is FULL
    file.close()


def test_a_file_of_the_first_version_is_taken_over_with_all_that_is_in_it(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.executescript(SCHEMA_1)
    connection.close()

    def open_once(_: int) -> str:
        file = LogFile(path)
        file.close()
        return file.log_id

    with ThreadPoolExecutor(4) as pool:  # several processes may start at once after an update
        assert set(pool.map(open_once, range(8))) == {"the-first"}

    async def scenario() -> None:
        async with opened(path) as log:
            found = (await log.read({OBS: 0}))[OBS]
            assert [(one.offset, one.at_ms, one.key, one.value) for one in found] == [
                (0, 7, None, b"a"),
                (1, 8, b"k", b"b"),
            ]
            assert await log.committed("stream") == {OBS: 1}
            await _made(log, "obs", days=1)
            await log.retain(NOW_MS)
            assert await log.starts([OBS]) == {OBS: 1}
            assert await log.append(numbered("obs", [2])) == [2]

    run(scenario())
    assert LogFile(path)._pragma("user_version") == SCHEMA_VERSION


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(path) as connection:
        connection.executescript(SCHEMA_1)
    connection.close()
    broken: dict[int, Any] = {1: (*log_file._UPGRADES[1], "ALTER TABLE missing ADD COLUMN x")}
    monkeypatch.setattr(log_file, "_UPGRADES", broken)
    with pytest.raises(StorageError, match="no such table"):
        LogFile(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert len(connection.execute("SELECT * FROM topic").fetchone()) == 4
    connection.close()
