from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import StorageError
from stream.log.file import SCHEMA_VERSION, LogFile, NewRecord, Partition, decode_headers, encode_headers
from stream.log.sqlite import SqliteLog
from tests.stream.sqlite_harness import PATIENCE_S, numbered, opened, run, values

OBS = Partition("obs", 0)

APPENDER = """
import asyncio, sys
from pathlib import Path
from stream.log.file import NewRecord
from stream.log.sqlite import SqliteLog

async def main(path, name, count, batch):
    log = SqliteLog(Path(path))
    await log.create_topic("obs", 2)
    print("ready", flush=True)
    for number in range(count):
        values = [f"{name}:{number}:{part}".encode() * 50 for part in range(batch)]
        offsets = await log.append([NewRecord("obs", number % 2, value, 1, name.encode()) for value in values])
        print(offsets[-1], flush=True)
    await log.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def appender(path: Path, name: str, *, count: int, batch: int = 1) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", APPENDER, str(path), name, str(count), str(batch)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_what_is_appended_is_read_back_as_it_was(path: Path) -> None:
    async def scenario() -> None:
        headers = [("trace", b"\x00\xff"), ("trace", b"again")]
        record = NewRecord("obs", 0, b"\x00value", 1_700_000_000_123, b"key\xff", encode_headers(headers))
        async with opened(path, "obs") as log:
            assert await log.append([record, NewRecord("obs", 0, None, 7)]) == [0, 1]
        async with opened(path) as log:
            first, second = (await log.read({OBS: 0}))[OBS]
        assert (first.offset, first.at_ms, first.key, first.value) == (0, 1_700_000_000_123, b"key\xff", b"\x00value")
        assert decode_headers(first.headers) == headers
        assert (second.at_ms, second.key, second.headers, second.value) == (7, None, None, None)

    run(scenario())


def test_a_read_starts_at_its_offset_and_stays_within_its_bounds(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, "obs", partitions=2) as log:
            await log.append(numbered("obs", range(100)) + numbered("obs", range(100), partition=1))
            both = await log.read({OBS: 40, Partition("obs", 1): 99}, max_records=20)
            assert [record.offset for record in both[OBS]] == list(range(40, 50))
            assert [record.offset for record in both[Partition("obs", 1)]] == [99]
            assert len((await log.read({OBS: 0}, max_bytes=1))[OBS]) == 1, "at least one, or a big record would block"
            assert (await log.read({OBS: 100}))[OBS] == []

    run(scenario())


def test_offsets_are_contiguous_and_each_appenders_order_is_kept_under_concurrent_appenders(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, "obs", partitions=2) as log:
            others = [appender(path, name, count=100) for name in "ab"]
            mine = [log.append_soon([NewRecord("obs", n % 2, f"c:{n}:0".encode() * 50, 1, b"c")]) for n in range(100)]
            await asyncio.gather(*mine)
            assert [await asyncio.to_thread(other.wait, PATIENCE_S) for other in others] == [0, 0]
            for other in others:
                other.communicate()
            for partition in (0, 1):
                found = [value or b"" for value in await values(log, "obs", partition)]
                assert len(found) == 150
                for name in (b"a", b"b", b"c"):
                    theirs = [int(value.split(b":")[1]) for value in found if value.startswith(name)]
                    assert theirs == list(range(partition, 100, 2))

    run(scenario())


def test_appends_that_wait_together_share_a_transaction(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, "obs") as log:
            statements: list[str] = []
            log._file._connection.set_trace_callback(statements.append)
            offsets = await asyncio.gather(*(log.append(numbered("obs", [number])) for number in range(500)))
            assert [offset for (offset,) in offsets] == list(range(500))
            assert statements.count("COMMIT") < 50

    run(scenario())


def test_an_append_of_another_process_is_noticed(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, "obs", partitions=2) as log:
            news = log.listen()
            with appender(path, "a", count=1) as other:
                while log.known_head(OBS) == 0:
                    await asyncio.wait_for(news.wait(), PATIENCE_S)
                    news.clear()
                other.communicate()
            assert await values(log, "obs") == [b"a:0:0" * 50]

    run(scenario())


def test_killed_in_the_middle_it_keeps_a_prefix_without_half_records_and_all_that_was_awaited(path: Path) -> None:
    async def awaited_and_found(kill_after: int) -> None:
        other = appender(path, f"k{kill_after}", count=10_000, batch=3)
        assert other.stdout is not None
        awaited = [other.stdout.readline() for _ in range(kill_after)]
        other.kill()
        awaited += other.communicate()[0].splitlines()
        async with opened(path) as log:
            found = {p: await values(log, "obs", p) for p in (0, 1)}
        for lost in found.values():
            assert len(lost) % 3 == 0
            for start in range(0, len(lost), 3):
                name, number, _ = (lost[start] or b"").split(b":", 2)
                assert lost[start : start + 3] == [b"%s:%s:%d" % (name, number, part) * 50 for part in range(3)]
        mine = sum(value is not None and value.startswith(b"k%d:" % kill_after) for p in found.values() for value in p)
        assert mine >= 3 * sum(line.strip().isdigit() for line in awaited)

    for kill_after in (1, 2, 17, 60):
        run(awaited_and_found(kill_after))


def test_a_full_log_refuses_in_one_piece_and_goes_on_when_there_is_room(path: Path) -> None:
    async def scenario() -> None:
        big = [NewRecord("obs", 0, bytes(20_000), 1, b"same key") for _ in range(4)]
        async with opened(path, "obs", limit_bytes=400_000) as log:

            async def fill() -> None:
                while True:
                    await log.append(big)

            with pytest.raises(StorageError, match=r"log\.db: .*full.*nothing was stored"):
                await fill()
            stored = len(await values(log, "obs"))
            assert stored % len(big) == 0
            assert (await log.heads())[OBS] == stored == log.known_head(OBS)
            assert await log.compact("obs") == stored - 1
            assert (await log.append(big))[0] == stored, "no offset was spent on what was refused"

    run(scenario())


def test_a_disk_that_refuses_to_write_loses_nothing_that_was_awaited(path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))\n" + APPENDER
    arguments = [sys.executable, "-c", limited, str(path), "a", "10000", "3"]
    other = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert "StorageError" in other.stderr
    assert "nothing was stored" in other.stderr
    awaited = len(other.stdout.splitlines()) - 1
    assert awaited > 10

    async def scenario() -> None:
        async with opened(path) as log:
            found = [value for partition in (0, 1) for value in await values(log, "obs", partition)]
            assert len(found) == 3 * awaited
            assert await log.append(numbered("obs", [1])) == [len(await values(log, "obs")) - 1]

    run(scenario())


def test_a_log_that_another_process_holds_is_said_to_be_locked(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, "obs", busy_timeout_s=0.05) as log:
            holder = sqlite3.connect(path, isolation_level=None)
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError, match="another process holds its lock"):
                await log.append(numbered("obs", [0]))
            holder.execute("ROLLBACK")
            holder.close()
            assert await log.append(numbered("obs", [1])) == [0]

    run(scenario())


def test_a_refused_append_does_not_take_its_neighbours_with_it(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, "obs") as log:
            before = log.append_soon(numbered("obs", [1]))
            no_partition = log.append_soon(numbered("obs", [2]) + numbered("obs", [3], partition=9))
            no_topic = log.append_soon(numbered("nothing", [4]))
            after = log.append_soon(numbered("obs", [5]))
            assert await before == [0]
            with pytest.raises(StorageError, match="there is no 9"):
                await no_partition
            with pytest.raises(StorageError, match="no topic 'nothing'; declare it"):
                await no_topic
            assert await after == [1]
            assert await values(log, "obs") == [b"1", b"5"]

    run(scenario())


def test_a_value_that_is_no_bytes_fails_its_caller_and_the_log_goes_on(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, "obs") as log:
            with pytest.raises(TypeError):
                await log.append([NewRecord("obs", 0, "text", 1)])  # type: ignore[arg-type]
            assert await log.append(numbered("obs", [1])) == [0]

    run(scenario())


def test_a_topic_keeps_the_partitions_it_was_made_with(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, "obs", partitions=3) as log:
            await log.create_topic("obs", 3)
            with pytest.raises(StorageError, match="has 3 partitions and 4 were declared"):
                await log.create_topic("obs", 4)
            assert log.known_partitions("obs") == 3

    run(scenario())


def test_groups_remember_their_offsets_apart_and_may_go_back(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, "obs", partitions=2) as log:
            await log.commit("one", {OBS: 7, Partition("obs", 1): 3})
            await log.commit("two", {OBS: 1})
            await log.commit("one", {OBS: 2})
        async with opened(path) as log:
            assert await log.committed("one") == {OBS: 2, Partition("obs", 1): 3}
            assert await log.committed("two") == {OBS: 1}
            assert await log.committed("three") == {}

    run(scenario())


def test_compaction_keeps_the_newest_of_each_key_and_every_offset(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, "rows", partitions=2) as log:
            place = Partition("rows", 0)
            keys = [b"a", b"b", b"a", None, b"c", b"b", b"a"]
            await log.append([NewRecord("rows", 0, b"%d" % n, 1, key) for n, key in enumerate(keys)])
            await log.append([NewRecord("rows", 1, b"other", 1, b"a")])
            assert await log.compact("rows") == 3
            left = (await log.read({place: 0}))[place]
            assert [(record.offset, record.key) for record in left] == [(3, None), (4, b"c"), (5, b"b"), (6, b"a")]
            assert await log.starts([place, Partition("rows", 1)]) == {place: 3, Partition("rows", 1): 0}
            assert await log.append([NewRecord("rows", 0, b"7", 1, b"a")]) == [7]
            assert await log.compact("rows") == 1

    run(scenario())


def test_only_one_works_as_a_group(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path) as first, opened(path) as second:
            first.claim("watch/1")
            with pytest.raises(StorageError, match="another process already works as 'watch/1'"):
                second.claim("watch/1")
            second.claim("other")
            first.release("watch/1")
            second.claim("watch/1")

    run(scenario())


def test_a_closed_log_says_so(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, "obs") as log:
            queued = log.append_soon(numbered("obs", [0]))
        assert await queued == [0], "what was queued before is stored"
        with pytest.raises(StorageError, match="closed"):
            await log.append(numbered("obs", [1]))
        with pytest.raises(StorageError, match="closed"):
            await log.heads()
        await log.close()

    run(scenario())


def test_a_log_has_one_id_for_ever_whoever_opens_it_first(path: Path) -> None:
    def open_once(_: int) -> str:
        file = LogFile(path)
        file.close()
        return file.log_id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(open_once, range(16)))
    assert len(ids) == 1
    assert ids == {open_once(0)}


def test_an_unknown_schema_version_is_refused_with_both_versions(path: Path) -> None:
    LogFile(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(
        StorageError, match=f"schema version {SCHEMA_VERSION + 1} and this program knows {SCHEMA_VERSION}"
    ):
        SqliteLog(path)


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION, 7])
def test_a_foreign_sqlite_file_is_refused_and_left_alone(path: Path, version: int) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StorageError, match="no Gridwarden log"):
        SqliteLog(path)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    connection.close()


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a log at all" * 1000)
    with pytest.raises(StorageError, match=r"log\.db: .*not a (SQLite file|database)"):
        SqliteLog(path)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"gone/log\.db: .*check that its folder exists"):
        SqliteLog(tmp_path / "gone" / "log.db")


def test_a_page_that_was_overwritten_is_said_to_be_damaged(path: Path) -> None:
    async def fill() -> None:
        async with opened(path, "obs") as log:
            await log.append([NewRecord("obs", 0, bytes(3_000), number) for number in range(200)])

    async def read() -> None:
        async with opened(path) as log:
            await values(log, "obs")

    run(fill())
    content = bytearray(path.read_bytes())
    content[40 * 4096 :] = b"\xa5" * (len(content) - 40 * 4096)
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"log\.db: .*damaged"):
        run(read())
