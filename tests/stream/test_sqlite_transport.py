from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import faust
import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from models.errors import StorageError
from stream.log.file import NewRecord, Partition
from stream.log.prefix import Prefix
from stream.log.rows import row_table
from tests.stream.sqlite_harness import PATIENCE_S, collect, make_app, numbered, opened, run, running, take

OBS = Partition("obs", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def offsets(events: list[Any]) -> list[int]:
    return [event.message.offset for event in events]


async def commit(app: Any) -> None:
    """Commit, once and for certain: Faust lets a commit that finds another under way do nothing."""
    await app.consumer.maybe_wait_for_commit_to_finish()
    await app.consumer.force_commit()


@given(holes=st.sets(st.integers(0, 40)), acks=st.permutations(range(41)), cut=st.integers(0, 41))
def test_the_prefix_ends_before_the_lowest_outstanding_record_whatever_the_order(
    holes: set[int], acks: list[int], cut: int
) -> None:
    handed_over = [offset for offset in range(41) if offset not in holes]
    prefix = Prefix()
    for offset in handed_over:
        prefix.hand_over(offset)
    acknowledged = set(acks[:cut])
    for offset in acks[:cut]:
        prefix.acknowledge([offset])
    run_ends = [
        offset + 1
        for offset in handed_over
        if all(before in acknowledged for before in handed_over if before <= offset)
    ]
    assert prefix.end == max(run_ends, default=None)


def test_a_commit_that_could_not_be_stored_is_tried_again(path: Path) -> None:
    async def scenario() -> None:
        app = make_app(path)
        events = collect(app, app.topic("obs", partitions=1, value_type=bytes))
        async with running(app) as log:
            await log.append(numbered("obs", range(3)))
            for event in await take(events, 3):
                event.ack()
            log._file._connection.execute("PRAGMA query_only = 1")
            await commit(app)
            await commit(app)
            assert await log.committed("watch") == {OBS: 0}
            log._file._connection.execute("PRAGMA query_only = 0")
            await commit(app)
            assert await log.committed("watch") == {OBS: 3}

    run(scenario())


def test_holes_that_compaction_left_are_read_over_and_committed_over(path: Path) -> None:
    async def scenario() -> None:
        async with opened(path, "obs") as filler:
            await filler.append([NewRecord("obs", 0, b"%d" % n, 1, b"ab"[n % 2 : n % 2 + 1]) for n in range(6)])
            await filler.append(numbered("obs", [6]))
            await filler.compact("obs")
        app = make_app(path)
        events = collect(app, app.topic("obs", partitions=1, value_type=bytes))
        async with running(app) as log:
            got = await take(events, 3)
            assert offsets(got) == [4, 5, 6]
            for event in got:
                event.ack()
            await commit(app)
            assert await log.committed("watch") == {OBS: 7}

    run(scenario())


def test_a_second_process_appends_and_the_agent_sees_it(path: Path) -> None:
    script = (
        "import asyncio, sys; from pathlib import Path; from stream.log.sqlite import SqliteLog, NewRecord\n"
        "async def main():\n"
        "    log = SqliteLog(Path(sys.argv[1]))\n"
        "    await log.append([NewRecord('obs', 1, b'from afar', 1)])\n"
        "    await log.close()\n"
        "asyncio.run(main())"
    )

    async def scenario() -> None:
        app = make_app(path)
        events = collect(app, app.topic("obs", partitions=2, value_type=bytes))
        async with running(app):
            await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script, str(path)], check=True)
            (event,) = await take(events, 1)
            assert (event.value, event.message.tp) == (b"from afar", TP("obs", 1))

    run(scenario())


def test_a_paused_partition_keeps_its_place_and_a_seek_moves_it(path: Path) -> None:
    async def scenario() -> None:
        app = make_app(path)
        events = collect(app, app.topic("obs", partitions=2, value_type=bytes))
        async with running(app) as log:
            paused = TP("obs", 0)
            app.consumer.pause_partitions({paused})
            await log.append(numbered("obs", range(300)))
            await log.append(numbered("obs", [0], partition=1))
            (first,) = await take(events, 1)
            assert first.message.tp == TP("obs", 1)
            app.consumer.resume_partitions({paused})
            assert offsets(await take(events, 300)) == list(range(300))
            assert await app.consumer.position(paused) == 300
            await app.consumer.seek(paused, 298)
            assert offsets(await take(events, 2)) == [298, 299]
            assert await app.consumer.highwaters(paused) == {paused: 300}
            assert await app.consumer.earliest_offsets(paused) == {paused: 0}
            assert events.empty()

    run(scenario())


def test_what_is_read_once_more_below_the_commit_does_not_hold_later_commits_up(path: Path) -> None:
    async def scenario() -> None:
        app = make_app(path)
        events = collect(app, app.topic("obs", partitions=1, value_type=bytes))
        async with running(app) as log:
            await log.append(numbered("obs", range(5)))
            for event in await take(events, 5):
                event.ack()
            await commit(app)
            await app.consumer.seek(TP("obs", 0), 2)
            await log.append(numbered("obs", [5]))
            for event in await take(events, 4):
                event.ack()
            await commit(app)
            assert await log.committed("watch") == {OBS: 6}

    run(scenario())


def test_every_record_that_waited_is_handed_over_once_after_recovery_and_all_of_them_commit(path: Path) -> None:
    count = 2_000

    async def scenario() -> None:
        async with opened(path, "obs", "watch-zones-changelog", partitions=4) as filler:
            for partition in range(4):
                await filler.append(numbered("obs", range(count // 4), partition))
                await filler.append([NewRecord("watch-zones-changelog", partition, b"1", 1, b'"zone"')] * 100)
        app = make_app(path)
        row_table(app, "zones", partitions=4, revision=int)
        events = collect(app, app.topic("obs", partitions=4, value_type=bytes))
        async with running(app) as log:
            got = await take(events, count)
            assert len({(event.message.tp, event.message.offset) for event in got}) == count
            for event in got:
                event.ack()
            await commit(app)
            assert await log.committed("watch") == {Partition("obs", number): count // 4 for number in range(4)}

    run(scenario())


def test_a_seek_in_the_middle_of_a_hand_over_holds_no_commit_up(path: Path) -> None:
    async def scenario() -> None:
        app = make_app(path)
        seen: asyncio.Queue[int] = asyncio.Queue()

        async def once_more(stream: Any) -> None:
            is_first = True
            async for event in stream.noack().events():
                seen.put_nowait(event.message.offset)
                event.ack()
                if is_first and event.message.offset == 120:
                    is_first = False
                    await app.consumer.seek(TP("obs", 0), 30)

        app.agent(app.topic("obs", partitions=1, value_type=bytes), name="once-more")(once_more)
        async with opened(path, "obs") as filler:
            await filler.append(numbered("obs", range(400)))
        async with running(app) as log:
            # What was handed over before the seek may still come first, its end included.
            for last in (30, 30, 399):
                while await asyncio.wait_for(seen.get(), 10) != last:
                    pass
            await commit(app)
            assert await log.committed("watch") == {OBS: 400}

    run(scenario())


def test_a_second_worker_of_the_same_app_is_refused(path: Path) -> None:
    async def scenario() -> None:
        first, second = make_app(path), make_app(path)
        collect(first, first.topic("obs", partitions=1, value_type=bytes))
        collect(second, second.topic("obs", partitions=1, value_type=bytes))
        async with running(first):
            with pytest.raises(StorageError, match="another process already works as 'watch'"):
                async with running(second):
                    pass

    run(scenario())


def test_a_send_to_a_full_log_tells_its_sender(path: Path) -> None:
    async def scenario() -> None:
        app = make_app(path, query="?limit_bytes=200000")
        topic = app.topic("orders", partitions=1, value_type=bytes)
        collect(app, topic)
        async with running(app) as log:
            big = [await topic.send(value=bytes(9_000), partition=0) for _ in range(40)]
            outcomes = await asyncio.gather(*big, return_exceptions=True)
            assert any(isinstance(outcome, StorageError) for outcome in outcomes)
            stored = [outcome.offset for outcome in outcomes if not isinstance(outcome, BaseException)]
            assert stored == list(range((await log.heads())[Partition("orders", 0)]))

    run(scenario())


def test_a_log_with_other_partitions_than_declared_ends_the_app(path: Path) -> None:
    async def scenario() -> None:
        app = make_app(path)
        collect(app, app.topic("obs", partitions=4, value_type=bytes))
        async with opened(path, "obs", partitions=2), running(app):
            await asyncio.wait_for(app.wait_until_stopped(), 10)
            assert "has 2 partitions and 4 were declared" in str(app.crash_reason)

    run(scenario())


@pytest.mark.parametrize("url", ["sqlite://log.db", "sqlite://", "sqlite://host/log.db"])
def test_a_log_without_an_absolute_path_is_refused(url: str) -> None:
    app = faust.App("watch", broker=url)
    with pytest.raises(StorageError, match="absolute path"):
        assert cast("Any", app.transport).opening


def test_a_topic_that_nobody_declared_is_named(path: Path) -> None:
    async def scenario() -> None:
        app = make_app(path)
        collect(app, app.topic("obs", partitions=1, value_type=bytes))
        undeclared = app.topic("orders", partitions=1, value_type=bytes)
        async with running(app):
            with pytest.raises(StorageError, match="no topic 'orders'; declare it"):
                await undeclared.send(value=b"")
            await undeclared.maybe_declare()
            assert (await (await undeclared.send(value=b"", partition=0, key=b"k", timestamp=0.005))).offset == 0

    run(scenario())


def test_a_log_that_cannot_be_read_any_more_ends_the_app(path: Path) -> None:
    async def scenario() -> None:
        app = make_app(path)
        collect(app, app.topic("obs", partitions=1, value_type=bytes))
        async with running(app) as log:
            log._failure = StorageError("the disk is gone")
            log._tell()
            await asyncio.wait_for(app.wait_until_stopped(), 10)
            assert isinstance(app.crash_reason, StorageError)

    run(scenario())


WORKER = """
import sys
from pathlib import Path
import faust
from tests.stream.sqlite_harness import make_app

app = make_app(Path(sys.argv[1]), worker_redirect_stdouts=False)
source = app.topic("obs", partitions=1, value_type=bytes)
target = app.topic("copies", partitions=1, value_type=bytes)

async def copy(stream):
    async for event in stream.noack().events():
        await (await target.send(value=event.value, partition=0))
        event.ack()
        if event.message.offset % 7 == 0:
            await app.consumer.commit()
        print(event.message.offset, flush=True)

app.agent(source, name="copy")(copy)
faust.Worker(app, loglevel="ERROR", quiet=True).execute_from_commandline()
"""


def test_killed_workers_copy_every_record_in_order_and_repeat_only_what_was_not_committed(path: Path) -> None:
    count = 200
    copies = Partition("copies", 0)

    async def fill() -> None:
        async with opened(path, "obs", "copies") as log:
            await log.append(numbered("obs", range(count)))

    async def copied() -> list[int]:
        async with opened(path) as log:
            return [int(record.value or b"") for record in (await log.read({copies: 0}))[copies]]

    def work_and_die(until: int) -> None:
        arguments = [sys.executable, "-c", WORKER, str(path)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            watchdog = threading.Timer(PATIENCE_S, worker.kill)
            watchdog.start()
            for line in worker.stdout:
                if line.strip().isdigit() and int(line) >= until:
                    break
            watchdog.cancel()
            worker.kill()

    run(fill())
    for until in (20, 90, count - 1):
        work_and_die(until)
    found = run(copied())
    assert sorted(set(found)) == list(range(count))
    jumps = [(before, after) for before, after in itertools.pairwise(found) if after != before + 1]
    assert len(jumps) <= 2, "one for each worker but the first"
    assert all(before - 7 <= after <= before for before, after in jumps)
