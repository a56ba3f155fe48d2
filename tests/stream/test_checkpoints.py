"""What the zones know is kept once a day, so that what is left of the log can be decided again."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from models import clock
from models.config import Config, Mqtt
from models.errors import StorageError
from stream import checkpoints
from stream.checkpoints import EVERY_MS, Checkpoints
from stream.control import load
from stream.desk import machine as desk
from stream.log.engine import recorded_at
from stream.log.file import LogFile, NewRecord
from stream.recorded import Recorded
from stream.replay import replay
from stream.serve import serve
from stream.tune import content, versions
from stream.whatif import what_if
from stream.zones import machine as zones
from stream.zones.machine import CHECKPOINT, meta_key
from tests.conftest import wait_until
from tests.stream.rig import Listener, StreamProcess, TestDevice, make_folder

NOW_MS = 1_780_000_000_000


class _Runner:
    def __init__(self, *partitions: int) -> None:
        self.partitions = partitions

    async def settled_rows(self, partition: int) -> dict[str, bytes]:
        return {meta_key(partition): b"m", "z": b"z"} if partition else {}


def test_a_checkpoint_is_taken_once_a_day_of_each_partition_that_is_ours_and_knows_something() -> None:
    noted: dict[str, bytes] = {}
    stored: list[NewRecord] = []

    async def store(records: list[NewRecord]) -> None:
        stored.extend(records)

    async def note(rows: list[tuple[str, bytes | None]]) -> None:
        noted.update((key, value or b"") for key, value in rows)

    async def scenario() -> None:
        mine = Checkpoints(CHECKPOINT, _Runner(0, 1), noted.get, store, note)
        await mine.take(NOW_MS)
        assert [(one.partition, one.key, one.value, one.at_ms) for one in stored] == [
            (1, b"#1", b"m", NOW_MS),
            (1, b"z", b"z", NOW_MS),
            (1, None, b"2", NOW_MS),
        ]
        await mine.take(NOW_MS + EVERY_MS - 1)
        # Whoever is given the partition meanwhile goes on with the same day.
        await Checkpoints(CHECKPOINT, _Runner(1), noted.get, store, note).take(NOW_MS + EVERY_MS - 1)
        assert (len(stored), noted) == (3, {"checkpoint:1": b"%d" % NOW_MS})
        await mine.take(NOW_MS + EVERY_MS)
        assert len(stored) == 6

    asyncio.run(scenario())


def _empty(path: Path, topic: str) -> None:
    log = LogFile(path)
    for partition_id in log.topic(topic).ids:
        log._connection.execute("DELETE FROM record WHERE id >> 40 = ?", (partition_id,))
    log.close()


@pytest.fixture
def config(tmp_path: Path, mqtt_broker: Mqtt) -> Config:
    return make_folder(tmp_path / "city", mqtt_broker)


def test_a_stream_takes_them_while_it_runs_and_decides_again_from_there(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.app.TIDY_S", 0.2)
    monkeypatch.setattr(checkpoints, "EVERY_MS", 0)
    listener = Listener(config)
    device, worker = TestDevice(listener), StreamProcess(config)

    def kept() -> list[checkpoints.Checkpoint]:
        recorded = Recorded(recorded_at(config))
        try:
            return [one for n in range(config.stream.partitions) for one in checkpoints.whole(CHECKPOINT, recorded, n)]
        finally:
            recorded.close()

    async def scenario() -> int:
        serving = asyncio.create_task(serve(load(Path(config.folder))))
        await asyncio.to_thread(wait_until, worker.state_file.exists, 60.0)
        device.send(device.fires(3))
        await asyncio.to_thread(wait_until, lambda: any("zone-01" in one.rows for one in kept()), 30.0)
        cut_ms = clock.now_ms()
        device.send(device.fires(3))
        await asyncio.to_thread(wait_until, lambda: worker.counters()["decisions"] == 6)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 60.0)
        return cut_ms

    cut_ms = asyncio.run(scenario())
    listener.link.stop()
    recorded = Recorded(recorded_at(config))
    first = next(one for one in kept() if "zone-01" in one.rows)
    (version,) = versions(recorded)
    found = what_if(recorded, content(recorded, version.version), since_ms=first.at_ms)
    recorded.close()
    assert (found.is_exact, found.outcomes_differ) == (True, 0)
    assert 0 < found.observations <= 6
    log = LogFile(Path(recorded_at(config)))
    log._connection.execute(
        "DELETE FROM record WHERE at_ms < ? AND id >> 40 IN (SELECT partition.id FROM partition"
        " JOIN topic ON topic.id = topic_id WHERE NOT is_compacted)",
        (cut_ms,),
    )
    log.close()
    assert replay(recorded_at(config)).is_same
    for name in (zones.CHECKPOINT.topic, desk.CHECKPOINT.topic):
        _empty(Path(recorded_at(config)), name)
        with pytest.raises(StorageError, match="no checkpoint stands in it yet"):
            replay(recorded_at(config))
