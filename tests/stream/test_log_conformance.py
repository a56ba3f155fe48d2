"""The same cases against the embedded log and against Kafka: what the stream may rely on, whichever it runs on."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka.partitioner import DefaultPartitioner
from mode.utils.queues import FlowControlQueue

from models.errors import StorageError
from stream.log.append import Appender, Outflow
from stream.log.engine import FlowControl
from stream.log.file import NewRecord, NewTopic, Partition, decode_headers, encode_headers
from stream.log.rows import RowTable, row_table, write_row
from tests.stream.log_places import Embedded, OnKafka, Place, running
from tests.stream.sqlite_harness import collect, numbered, run, take

OBS = Partition("obs", 0)
CHANGELOG = "watch-zones-changelog"


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Embedded(tmp_path)
    return OnKafka(request.getfixturevalue("kafka").url, f"t{uuid.uuid4().hex[:8]}", tmp_path)


def topics(*names: str, partitions: int = 1) -> list[NewTopic]:
    return [NewTopic(name, partitions) for name in names]


def obs_of(place: Place, app: Any, partitions: int = 1) -> Any:
    return app.topic(place.name("obs"), partitions=partitions, key_type=bytes, value_type=bytes)


def offsets(events: Iterable[Any]) -> list[int]:
    return [event.message.offset for event in events]


async def commit(app: Any) -> None:
    """Commit, once and for certain: Faust lets a commit that finds another under way do nothing."""
    await app.consumer.maybe_wait_for_commit_to_finish()
    await app.consumer.force_commit()


# --- the log by itself ---


def test_what_is_appended_is_read_back_as_it_was_at_contiguous_offsets(place: Place) -> None:
    async def scenario() -> None:
        headers = [("trace", b"\x00\xff"), ("trace", b"again")]
        record = NewRecord("obs", 1, b"\x00value", 1_700_000_000_123, b"key\xff", encode_headers(headers))
        other = Partition("obs", 1)
        async with place.opened() as log:
            await log.create_topics(topics("obs", partitions=2))
            assert await log.append([record, NewRecord("obs", 1, None, 7, b"key\xff"), *numbered("obs", [5])]) == [
                0,
                1,
                0,
            ]
            assert await log.append(numbered("obs", range(3), partition=1)) == [2, 3, 4]
        async with place.opened() as log:
            found = await log.read({other: 0, OBS: 0})
            first, second = found[other][:2]
            assert (first.offset, first.at_ms, first.key, first.value) == (0, record.at_ms, b"key\xff", b"\x00value")
            assert decode_headers(first.headers) == headers
            assert (second.at_ms, second.key, second.headers, second.value) == (7, b"key\xff", None, None)
            assert [one.value for one in found[OBS]] == [b"5"]
            assert [one.offset for one in (await log.read({other: 3}))[other]] == [3, 4]
            assert (await log.read({other: 5}))[other] == []
            assert {p: n for p, n in (await log.heads()).items() if p.topic == "obs"} == {OBS: 1, other: 5}
            assert await log.starts([OBS, other]) == {OBS: 0, other: 0}

    run(scenario())


def test_a_record_of_several_megabytes_is_one_record(place: Place) -> None:
    async def scenario() -> None:
        large = bytes(range(256)) * (5 << 12)
        async with place.opened() as log:
            await log.create_topics(topics("obs"))
            await log.append([NewRecord("obs", 0, large, 1), *numbered("obs", [1])])
            assert [one.value for one in (await log.read({OBS: 0}, max_records=1))[OBS]] == [large]
            assert [one.value for one in (await log.read({OBS: 1}))[OBS]] == [b"1"]

    run(scenario())


def test_appends_at_the_same_time_keep_the_order_of_each_appender(place: Place) -> None:
    async def scenario() -> None:
        async with place.opened() as log, place.opened() as other:
            await log.create_topics(topics("obs"))

            async def append(name: bytes, target: Any) -> None:
                for n in range(60):
                    await target.append([NewRecord("obs", 0, b"%s:%d" % (name, n), 1)])

            await asyncio.gather(append(b"a", log), append(b"b", log), append(b"c", other))
            found = [one.value or b"" for one in (await log.read({OBS: 0}))[OBS]]
            assert len(found) == 180
            for name in (b"a", b"b", b"c"):
                assert [int(value[2:]) for value in found if value.startswith(name)] == list(range(60))

    run(scenario())


def test_outputs_are_stored_in_the_order_in_which_they_were_put(place: Place) -> None:
    async def scenario() -> None:
        async with place.opened() as log:
            await log.create_topics(topics("obs"))
            outflow = Outflow(Appender(log))
            storing = asyncio.create_task(outflow.run())
            for start in range(0, 500, 10):
                outflow.put(numbered("obs", range(start, start + 10)))
                await asyncio.sleep(0)
            await outflow.settled()
            storing.cancel()
            found = (await log.read({OBS: 0}))[OBS]
            assert [one.value for one in found] == [b"%d" % n for n in range(500)]

    run(scenario())


def test_a_topic_keeps_the_partitions_it_was_made_with_and_the_log_its_id(place: Place) -> None:
    async def scenario() -> None:
        async with place.opened() as log, place.opened() as other:
            await asyncio.gather(*(one.create_topics(topics("obs", partitions=3)) for one in (log, other)))
            assert log.log_id == other.log_id != ""
            with pytest.raises(StorageError, match="has 3 partitions and 4 were declared"):
                await log.create_topics(topics("obs", partitions=4))

    run(scenario())


# --- an app that reads it ---


def test_an_agent_gets_what_was_appended_as_it_was_appended(place: Place) -> None:
    async def scenario() -> None:
        app = place.app()
        events = collect(app, obs_of(place, app, 4))
        async with running(place, app, topics("obs", partitions=4)) as log:
            headers = encode_headers([("trace", b"1")])
            await log.append([NewRecord("obs", 3, b"v", 1_700_000_000_125, b"k", headers)])
            (event,) = await take(events, 1)
            message = event.message
            assert (message.topic, message.partition, message.offset) == (place.name("obs"), 3, 0)
            assert (event.key, event.value, message.timestamp) == (b"k", b"v", 1_700_000_000.125)
            assert dict(event.headers) == {"trace": b"1"}

    run(scenario())


def test_without_a_partition_the_key_chooses_the_same_one(place: Place) -> None:
    async def scenario() -> None:
        app = place.app()
        topic = obs_of(place, app, 7)
        events = collect(app, topic)
        async with running(place, app, topics("obs", partitions=7)):
            keys = [f"street-{number}".encode() for number in range(20)]
            for key in keys:
                await (await topic.send(key=key, value=b""))
            partitions = {event.key: event.message.partition for event in await take(events, len(keys))}
            everything = list(range(7))
            assert partitions == {key: DefaultPartitioner()(key, everything, everything) for key in keys}

    run(scenario())


def test_the_commit_stays_before_the_first_record_that_is_not_acknowledged(place: Place) -> None:
    async def scenario() -> None:
        app = place.app()
        events = collect(app, obs_of(place, app))
        async with running(place, app, topics("obs")) as log:
            await log.append(numbered("obs", range(13)))
            got = await take(events, 13)
            await commit(app)
            assert (await place.committed(app)).get(OBS, 0) == 0
            for event in [*got[:10], got[11]]:
                event.ack()
            await commit(app)
            assert (await place.committed(app))[OBS] == 10
            got[12].ack()
            await commit(app)
            assert (await place.committed(app))[OBS] == 10
            got[10].ack()
            await commit(app)
            assert (await place.committed(app))[OBS] == 13

    run(scenario())


def test_a_restart_goes_on_at_the_committed_offset(place: Place) -> None:
    async def life(append: int, acknowledge: int, expect: int) -> list[int]:
        app = place.app()
        events = collect(app, obs_of(place, app))
        async with running(place, app, topics("obs")) as log:
            await log.append(numbered("obs", range(append)))
            got = await take(events, expect)
            for event in got[:acknowledge]:
                event.ack()
        return offsets(got)  # stopping commits

    assert run(life(5, 3, 5)) == [0, 1, 2, 3, 4]
    assert run(life(3, 0, 5)) == [3, 4, 5, 6, 7]


def test_a_record_whose_agent_raised_is_not_committed_and_comes_again(place: Place) -> None:
    async def life(poison: bytes, append: int) -> list[bytes]:
        app = place.app()
        done: asyncio.Queue[bytes] = asyncio.Queue()

        async def reduce(stream: Any) -> None:
            async for event in stream.noack().events():
                if event.value == poison:
                    raise ValueError("a mistake in the reducer")
                event.ack()
                done.put_nowait(event.value)

        app.agent(obs_of(place, app), name="reduce")(reduce)
        async with running(place, app, topics("obs")) as log:
            await log.append(numbered("obs", range(append)))
            return await take(done, 3)

    assert run(life(b"1", 4)) == [b"0", b"2", b"3"]
    assert run(life(b"none", 0)) == [b"1", b"2", b"3"]


def test_when_partitions_are_given_out_anew_nothing_is_lost_and_an_old_acknowledgement_counts_no_more(
    place: Place,
) -> None:
    async def scenario() -> None:
        app = place.app()
        events = collect(app, obs_of(place, app))
        async with running(place, app, topics("obs")) as log:
            await log.append(numbered("obs", range(4)))
            before = await take(events, 4)
            before[0].ack()
            await commit(app)
            await place.rebalance(app)
            again = await take(events, 3)
            assert offsets(again) == [1, 2, 3]
            for event in before[1:]:
                event.ack()
            await commit(app)
            assert (await place.committed(app))[OBS] == 1
            for event in again:
                event.ack()
            await commit(app)
            assert (await place.committed(app))[OBS] == 4

    run(scenario())


def test_a_full_stream_holds_a_bounded_number_of_records_and_no_other_stream_up(place: Place) -> None:
    async def scenario() -> None:
        app = place.app(stream_buffer_maxsize=16)
        go_on = asyncio.Event()
        seen: asyncio.Queue[int] = asyncio.Queue()

        async def slow(stream: Any) -> None:
            async for event in stream.noack().events():
                seen.put_nowait(event.message.offset)
                await go_on.wait()

        app.agent(obs_of(place, app), name="slow")(slow)
        alarms = collect(app, app.topic(place.name("alarms"), partitions=1, value_type=bytes))
        async with running(place, app, topics("obs", "alarms")) as log:
            await log.append(numbered("obs", range(400)))
            assert await take(seen, 1) == [0]
            for n in range(5):
                await log.append(numbered("alarms", [n]))
                assert offsets(await take(alarms, 1)) == [n]
            held: Any = app.consumer
            assert held._positions[(place.name("obs"), 0)] < 40
            go_on.set()
            assert await take(seen, 399) == list(range(1, 400))

    run(scenario())


def test_two_apps_read_the_same_log_and_each_gets_every_record(place: Place) -> None:
    async def scenario() -> None:
        apps = [place.app(name) for name in ("one", "two")]
        queues = [collect(app, obs_of(place, app)) for app in apps]
        async with running(place, apps[0], topics("obs")) as log, running(place, apps[1], topics("obs")):
            await log.append(numbered("obs", range(3)))
            for events in queues:
                assert offsets(await take(events, 3)) == [0, 1, 2]

    run(scenario())


def test_what_is_in_a_queue_survives_a_second_resume() -> None:
    async def scenario() -> None:
        control = FlowControl()
        queue: FlowControlQueue[int] = FlowControlQueue(flow_control=control, clear_on_resume=True)
        control.resume()
        queue.put_nowait(1)
        control.resume()  # Faust does so several times at the end of a rebalance
        assert queue.qsize() == 1
        control.suspend()
        control.resume()
        assert queue.empty(), "what was there before the partitions were given out anew comes again"

    run(scenario())


# --- tables ---


class _Row(msgspec.Struct, frozen=True):
    applied_offset: int


def revision(row: bytes) -> int:
    return msgspec.json.decode(row, type=_Row).applied_offset


def row(offset: int, note: str = "") -> bytes:
    return msgspec.json.encode({"applied_offset": offset, "note": note})


def watched(place: Place) -> tuple[Any, RowTable, list[NewTopic]]:
    app = place.app()
    collect(app, obs_of(place, app, 2))
    table = row_table(app, "zones", partitions=2, revision=revision)
    return app, table, [NewTopic("obs", 2), NewTopic(CHANGELOG, 2, is_compacted=True)]


def test_rows_are_back_after_a_restart_and_removed_ones_stay_away(place: Place) -> None:
    async def first() -> None:
        app, zones, made = watched(place)
        async with running(place, app, made) as log:
            for number in range(6):
                await write_row(log, zones, f"zone-{number}", row(number), partition=number % 2)
            await write_row(log, zones, "zone-3", row(11, "newer"), partition=1)
            await write_row(log, zones, "zone-4", None, partition=0)
            assert zones.rows().get("zone-3") == row(11, "newer")

    async def second() -> None:
        app, zones, made = watched(place)
        async with running(place, app, made):
            assert zones.rows().get("zone-3") == row(11, "newer")
            assert zones.rows().get("zone-4") is None
            assert set(zones.rows(partition=0)) == {"zone-0", "zone-2"}
            assert set(zones.rows(partition=1)) == {"zone-1", "zone-3", "zone-5"}
            assert zones.shadowed == set()

    run(first())
    run(second())


def test_an_old_row_that_a_thawed_worker_wrote_is_ignored_and_named_until_it_is_written_over(place: Place) -> None:
    async def scenario() -> None:
        async with place.opened() as log:
            await log.create_topics([NewTopic("obs", 2), NewTopic(CHANGELOG, 2, is_compacted=True)])
            late = [row(8, "true"), row(5, "what a thawed worker remembered"), row(8, "same again")]
            await log.append([NewRecord(CHANGELOG, 0, value, 1, b'"zone-1"') for value in late[:2]])
            await log.append([NewRecord(CHANGELOG, 1, value, 1, b'"zone-2"') for value in late])
        app, zones, made = watched(place)
        recovered: list[set[int]] = []
        zones.recovered = recovered.append
        async with running(place, app, made) as log:
            assert recovered == [{0, 1}]
            assert zones.rows().get("zone-1") == row(8, "true")
            assert zones.rows().get("zone-2") == row(8, "same again")
            assert zones.shadowed == {(0, "zone-1")}
            await write_row(log, zones, "zone-1", row(8, "true"), partition=0)
            assert zones.shadowed == set()

    run(scenario())


def test_a_global_table_is_recovered_and_follows_what_another_writes(place: Place) -> None:
    async def scenario() -> None:
        topic = "watch-places-changelog"
        made = [NewTopic("obs", 3), NewTopic(topic, 1, is_compacted=True)]
        async with place.opened() as other:
            await other.create_topics(made)
            await other.append([NewRecord(topic, 0, row(1), 1, b'"street"')])
            app = place.app()
            collect(app, obs_of(place, app, 3))
            places = row_table(app, "places", partitions=1, revision=revision, is_global=True)
            followed: asyncio.Queue[bytes | None] = asyncio.Queue()

            async def tell(event: Any) -> None:
                followed.put_nowait(event.message.value)

            places._on_changelog_event = tell
            async with running(place, app, made):
                assert places.row("street") == row(1)
                await take(followed, followed.qsize())
                await other.append([NewRecord(topic, 0, row(value), 1, b'"street"') for value in (2, 1, 3)])
                assert await take(followed, 3) == [row(2), row(1), row(3)]
                await other.append([NewRecord(topic, 0, row(9), 1, b'"bridge"')])
                await take(followed, 1)
                assert places.row("street") == row(3)

    run(scenario())


def test_records_that_waited_come_once_each_and_in_order_after_the_tables_are_back(place: Place) -> None:
    count = 1_000

    async def scenario() -> None:
        app, zones, made = watched(place)
        async with place.opened() as log:
            await log.create_topics(made)
            for partition in (0, 1):
                await log.append(numbered("obs", range(count // 2), partition))
                rows = [row(n) for n in range(100)]
                await log.append([NewRecord(CHANGELOG, partition, one, 1, b'"zone-%d"' % partition) for one in rows])
        app = place.app()
        events = collect(app, obs_of(place, app, 2))
        zones = row_table(app, "zones", partitions=2, revision=revision)
        async with running(place, app, made):
            assert zones.rows() == {"zone-0": row(99), "zone-1": row(99)}
            got = await take(events, count)
            for partition in (0, 1):
                mine = [event.message.offset for event in got if event.message.partition == partition]
                assert mine == list(range(count // 2))
            for event, _ in itertools.zip_longest(got, ()):
                event.ack()
            await commit(app)
            committed = await place.committed(app)
            assert (committed[OBS], committed[Partition("obs", 1)]) == (count // 2, count // 2)

    run(scenario())
