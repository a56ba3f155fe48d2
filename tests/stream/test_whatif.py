from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from models.content import Content
from models.errors import StorageError
from models.messages import Stage
from models.thresholds import LabelRule, Override, Thresholds, load
from stream import checkpoints, tune
from stream.control import OBS, Contents, Settings, What
from stream.log.engine import CONTROL_TOPIC
from stream.log.file import LogFile, NewRecord, Partition
from stream.recorded import Recorded
from stream.records import (
    ControlRecord,
    Home,
    MoveRecord,
    ObsLog,
    TickRecord,
    VerdictRecord,
    decode_obs,
    encode,
    signals_of,
)
from stream.whatif import WhatIf, what_if
from stream.zones.machine import CHECKPOINT, ZoneMachine
from tests.stream.builders import CATALOGUE, T0, Seen, batch, detection, places, thresholds

SECOND = 1_000
MINUTE = 60_000


class Recording:
    """A log file as the stream writes it: `obs` decided by the real machine, outputs beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = LogFile(path)
        self.stored: dict[str, bytes] = {}
        self.rows: dict[tuple[int, str], bytes] = {}
        self.machine = ZoneMachine(lambda _partition: {}, Contents(self.stored.get))
        with self.file.transaction():
            for topic in ("obs", "incidents", "history", "checkpoint", CONTROL_TOPIC):
                partitions = 2 if topic in ("obs", "history", "checkpoint") else 1
                self.file.create_topic(topic, partitions, is_compacted=topic == CONTROL_TOPIC)

    def append(self, topic: str, value: bytes, at_ms: int, key: bytes | None = None, partition: int = 0) -> int:
        with self.file.transaction():
            partition_id = self.file.partition_id(Partition(topic, partition))
            offset = self.file.next_offset(partition_id)
            self.file.insert([(partition_id, offset, NewRecord(topic, partition, value, at_ms, key))])
            self.file.set_next_offsets({partition_id: offset + 1})
        return offset

    def put(self, record: ObsLog, partition: int = 0) -> list[str]:
        """Append a record of `obs` and what comes of it; return the ids of signals it speaks of."""
        offset = self.append("obs", encode(record), record.at_ms, partition=partition)
        signals = []
        for output in self.machine.apply(partition, offset, encode(record), now_ms=record.at_ms):
            if output.topic == "obs":
                signals += self.put(decode_obs(output.value or b""), output.partition)
                continue
            self.append(output.topic, output.value or b"", record.at_ms, output.key, output.partition)
            if output.topic == "incidents":
                signals += [signal.signal_id for signal in signals_of(output.value or b"")]
        return signals

    def put_in_force(self, what: What, content: Content, at_ms: int) -> None:
        self.stored[content.version] = content.to_bytes()
        self.append(CONTROL_TOPIC, content.to_bytes(), at_ms, key=msgspec.json.encode(content.version))
        for partition in (0, 1):
            self.put(ControlRecord(at_ms=at_ms, what=what, version=content.version), partition)


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    made = Recording(tmp_path / "log.db")
    contents: dict[What, Content] = {
        "places": places(),
        "catalogue": CATALOGUE,
        "thresholds": thresholds(),
        "settings": Settings(tenant="demo", late_alarm_s=1800.0),
    }
    for what in OBS:
        made.put_in_force(what, contents[what], T0 - MINUTE)
    yield made
    made.file.close()


def ask(recording: Recording, other: Thresholds, since_ms: int = T0) -> WhatIf:
    recorded = Recorded(recording.path)
    try:
        return what_if(recorded, other, since_ms=since_ms)
    finally:
        recorded.close()


def with_fire(hint: float, alarm: float) -> Thresholds:
    base = thresholds()
    return msgspec.structs.replace(base, labels={**base.labels, "fire": LabelRule(hint=hint, alarm=alarm)})


def sees(
    recording: Recording,
    seen: Seen,
    score: float,
    at_ms: int,
    *,
    device: str = "cam-1",
    count: int = 3,
    partition: int = 0,
) -> list[str]:
    zone = places().device_by_id[device].zone or device
    ids = []
    for n in range(count):
        ids += recording.put(batch(seen(device, detection(score), at_ms + n * SECOND, zone=zone)), partition)
    return ids


def test_with_the_thresholds_in_force_nothing_differs(recording: Recording) -> None:
    seen = Seen()
    (first, *_) = sees(recording, seen, 0.6, T0)
    recording.put(
        VerdictRecord(at_ms=T0 + 10_000, zone="z1", signal_id=first, verdict="close", origin=(1, 0), seen=(99, 0))
    )
    recording.put_in_force("thresholds", with_fire(0.2, 0.9), T0 + 20_000)
    sees(recording, seen, 0.3, T0 + 30_000)
    recording.put(TickRecord(at_ms=T0 + 5 * MINUTE, zones=("z1",)))
    found = ask(recording, with_fire(0.2, 0.9), since_ms=T0 + 20_000)
    assert found.is_exact
    assert (found.added, found.removed, found.outcomes_differ) == ((), (), 0)
    assert found.observations == 3
    assert found.until_ms == T0 + 5 * MINUTE


def test_looser_and_tighter_thresholds_add_and_remove_alerts_by_camera(recording: Recording) -> None:
    seen = Seen()
    sees(recording, seen, 0.45, T0)
    sees(recording, seen, 0.6, T0 + MINUTE, device="cam-9")
    looser = ask(recording, with_fire(0.4, 0.7))
    assert looser.is_exact
    assert [(alert.device_id, alert.label) for alert in looser.added] == [("cam-1", "fire")]
    assert looser.removed == ()
    assert looser.by["cam-1 fire"].added == 1
    assert (looser.by["cam-9 fire"].before, looser.by["cam-9 fire"].after) == (1, 1)
    tighter = ask(recording, with_fire(0.65, 0.7))
    assert [alert.raised_ms for alert in tighter.removed] == [T0 + MINUTE + 2 * SECOND]
    assert set(tighter.by) == {"cam-9 fire"}
    assert tighter.outcomes_differ == 3


def checkpoint(recording: Recording, at_ms: int) -> None:
    """Keep what the zones know, as the stream does once a day."""
    for partition in (0, 1):
        recording.rows |= {(row.partition, row.key): row.value or b"" for row in recording.machine.changed()}
        rows = {key: row for (place, key), row in recording.rows.items() if place == partition}
        for one in checkpoints.records_of(CHECKPOINT, rows, partition, at_ms):
            recording.append(one.topic, one.value or b"", at_ms, one.key, partition)


def let_go(recording: Recording, before_ms: int, *topics: str) -> None:
    """Let go of what is older, as retention does; checkpoints of that time go as well."""
    for topic in topics or ("obs", "incidents", "history", CHECKPOINT.topic):
        for partition_id in recording.file.topic(topic).ids:
            span = (partition_id << 40, (partition_id + 1) << 40)
            recording.file._connection.execute(
                "DELETE FROM record WHERE at_ms < ? AND id >= ? AND id < ?", (before_ms, *span)
            )


def test_a_log_that_has_let_go_of_its_beginning_is_decided_again_from_a_checkpoint(recording: Recording) -> None:
    seen = Seen()
    sees(recording, seen, 0.6, T0)  # a pre-alarm that still stands
    checkpoint(recording, T0 + 3 * SECOND)
    recording.put(TickRecord(at_ms=T0 + 2 * MINUTE, zones=("z1",)))
    checkpoint(recording, T0 + 10 * MINUTE)
    sees(recording, seen, 0.6, T0 + 20 * MINUTE)  # of the alarm that still stands
    sees(recording, seen, 0.45, T0 + 20 * MINUTE, device="cam-9")
    recording.put(batch(seen("cam-1", detection(0.6), T0 + MINUTE, seq=1)))  # a duplicate of what is gone
    let_go(recording, T0 + 2 * SECOND)
    for since_ms, begins_ms in ((0, T0 + 3 * SECOND), (T0 + 15 * MINUTE, T0 + 15 * MINUTE)):
        same = ask(recording, thresholds(), since_ms)
        assert (same.is_exact, same.since_ms, same.outcomes_differ) == (True, begins_ms, 0)
        looser = ask(recording, with_fire(0.4, 0.7), since_ms)
        assert (looser.is_exact, [alert.device_id for alert in looser.added]) == (True, ["cam-9"])
    (version,) = tune.versions(Recorded(recording.path))
    assert (version.version, version.since_ms) == (thresholds().version, T0 + 3 * SECOND)
    let_go(recording, T0 + 5 * MINUTE, "obs")  # what follows the first checkpoint is gone as well
    found = ask(recording, thresholds(), 0)
    assert (found.is_exact, found.since_ms) == (True, T0 + 10 * MINUTE)


def test_without_a_checkpoint_a_log_that_has_let_go_of_its_beginning_is_refused(
    recording: Recording,
) -> None:
    sees(recording, Seen(), 0.6, T0)
    checkpoint(recording, T0 + 3 * SECOND)
    recording.file._connection.execute("DELETE FROM record WHERE at_ms = ? AND key IS NULL", (T0 + 3 * SECOND,))
    let_go(recording, T0)  # what was cut off by a crash is no checkpoint
    with pytest.raises(StorageError, match="obs/0: the log has let go of its beginning"):
        ask(recording, thresholds(), 0)


def test_before_the_moment_asked_for_the_past_stays_as_it_was(recording: Recording) -> None:
    seen = Seen()
    sees(recording, seen, 0.45, T0)
    found = ask(recording, with_fire(0.4, 0.7), since_ms=T0 + MINUTE)
    assert (found.added, found.observations) == ((), 0)


def test_a_verdict_ends_what_stands_in_its_zone_also_under_another_id(recording: Recording) -> None:
    seen = Seen()
    sees(recording, seen, 0.45, T0, count=1)  # what would raise it sooner, and so give it another id
    (first, *_) = sees(recording, seen, 0.6, T0 + SECOND)
    recording.put(
        VerdictRecord(at_ms=T0 + 8_000, zone="z1", signal_id=first, verdict="close", origin=(1, 0), seen=(99, 0))
    )
    sees(recording, seen, 0.6, T0 + MINUTE)
    found = ask(recording, with_fire(0.4, 0.7))
    assert found.by["cam-1 fire"].before == found.by["cam-1 fire"].after == 2
    assert (found.added, found.removed) == ((), ())


def test_an_override_for_one_camera_by_night_changes_that_camera_alone(recording: Recording) -> None:
    seen = Seen()
    for device in ("cam-1", "cam-9"):
        sees(recording, seen, 0.45, T0, device=device)
    override = Override(name="dark corner", labels=("fire",), devices=("cam-9",), hint=0.4)
    found = ask(recording, msgspec.structs.replace(thresholds(), overrides=(override,)))
    assert [(alert.device_id, alert.zone) for alert in found.added] == [("cam-9", "z2")]


def test_an_alarm_that_would_be_a_pre_alarm_is_said(recording: Recording) -> None:
    seen = Seen()
    sees(recording, seen, 0.75, T0)
    sees(recording, seen, 0.75, T0 + 3 * SECOND, device="cam-2")
    assert ask(recording, thresholds()).added == ()
    found = ask(recording, msgspec.structs.replace(thresholds(), confirm_s=1.0))
    assert found.is_exact
    assert [(old.stage, new.stage) for old, new in found.lowered] == [(Stage.ALARM, Stage.PRE_ALARM)]


def test_a_log_that_says_otherwise_is_told_apart_from_thresholds_that_do(recording: Recording) -> None:
    sees(recording, Seen(), 0.6, T0)
    recording.file._connection.execute(
        "UPDATE record SET value = CAST(replace(CAST(value AS TEXT), '\"pre_alarm\"', '\"below\"') AS BLOB)"
        'WHERE CAST(value AS TEXT) LIKE \'{"record":"history%\''
    )
    found = ask(recording, thresholds())
    assert len(found.differs_from_log) == 1
    assert any("WARNING" in line for line in tune.what_if_lines(found))


def arguments(recording: Recording, **given: object) -> argparse.Namespace:
    names = {"config": recording.path.parent, "log": recording.path, "what_if": None, "versions": False, "diff": None}
    return argparse.Namespace(**(names | {"roll_back": None, "since": "7d", "json": False} | given))


def test_versions_are_listed_compared_and_rolled_back(recording: Recording) -> None:
    folder = recording.path.parent
    (folder / "gridwarden.toml").write_text('tenant = "demo"\n')
    (folder / "thresholds.toml").write_text("[labels.fire]\nhint = 0.2\nalarm = 0.9\n")
    recording.put_in_force("thresholds", with_fire(0.2, 0.9), T0)
    old, new = (version.version for version in tune.versions(Recorded(recording.path)))
    assert (old, new) == (thresholds().version, with_fire(0.2, 0.9).version)
    said: list[str] = []
    assert tune.run(arguments(recording, versions=True), said.append) == 0
    assert [line.split()[0] for line in said] == [old[:12], new[:12]]
    said.clear()
    assert tune.run(arguments(recording, diff=[old[:12], new[:12]]), said.append) == 0
    assert {"labels.fire.hint: 0.5 -> 0.2", "labels.fire.alarm: 0.7 -> 0.9"} <= set(said)
    assert tune.run(arguments(recording, roll_back=old[:12]), said.append) == 0
    restored = load(folder / "thresholds.toml")
    assert restored.version == old
    assert (folder / "thresholds.toml.before").read_text().startswith("[labels.fire]")


def test_a_version_that_is_not_there_is_named_with_those_that_are(recording: Recording) -> None:
    with pytest.raises(Exception, match=f"0 versions begin with 'ffff'; there are: {thresholds().version[:12]}"):
        tune.content(Recorded(recording.path), "ffff")


@pytest.mark.parametrize(("text", "ago_ms"), [("7d", 7 * 86_400_000), ("12h", 12 * 3_600_000), ("90s", 90_000)])
def test_a_length_of_time_is_counted_back_from_now(text: str, ago_ms: int) -> None:
    assert tune.since(text, now_ms=T0) == T0 - ago_ms


def test_a_time_is_taken_as_it_stands_and_nonsense_is_refused() -> None:
    assert tune.since("2026-11-22T08:00+08:00", now_ms=T0) == 1_795_305_600_000
    with pytest.raises(Exception, match="--since: yesterday: is no length of time"):
        tune.since("yesterday", now_ms=T0)


@pytest.mark.parametrize(("old", "new"), [(0, 1), (1, 0)])
def test_a_zone_that_moved_takes_along_what_it_would_have_known(recording: Recording, old: int, new: int) -> None:
    seen = Seen()
    sees(recording, seen, 0.4, T0, partition=old)
    sees(recording, seen, 0.6, T0 + 4 * SECOND, device="smoke-1", count=1, partition=old)
    recording.put(MoveRecord(at_ms=T0 + 5 * SECOND, move="m", zone="z1", to=Home("z1", new)), old)
    sees(recording, seen, 0.4, T0 + 6 * SECOND, partition=old)  # passed on
    sees(recording, seen, 0.4, T0 + 9 * SECOND, partition=new)
    same = ask(recording, thresholds())
    assert (same.is_exact, same.outcomes_differ, same.added, same.removed) == (True, 0, (), ())
    looser = ask(recording, with_fire(0.3, 0.7))
    assert (looser.is_exact, len(looser.added), looser.removed) == (True, 1, ())
    assert looser.added[0].raised_ms == T0 + 2 * SECOND
    assert looser.by["cam-1 fire"].added == 1
