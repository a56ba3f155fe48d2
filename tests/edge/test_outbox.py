from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.evidence import Picture
from edge.moment import Moment
from edge.outbox import Draft, Entry, Outbox
from models.errors import StorageError
from models.messages import Dropped, Fault, Lane, Observation, Reading, decode
from models.seqset import to_ranges

MIB = 1024 * 1024
AT = Moment(1_800_000_000_000, 5_000)


def open_outbox(path: Path, *, machine: str = "m1", boot_id: str = "boot-1", max_bytes: int = 64 * MIB) -> Outbox:
    return Outbox(path, machine=machine, boot_id=boot_id, max_bytes=max_bytes)


def reading(device: str = "d1", lane: Lane = Lane.TELEMETRY, value: float = 1.0) -> Draft:
    return Draft(device, lane, AT, Reading(property="temperature", value=value, unit="Cel"))


def entry(*drafts: Draft) -> Entry:
    return Entry(drafts)


def picture(name: str, size: int = 1000) -> Picture:
    return Picture(f"ev-{name}", "d1", name[0] * 64, AT.wall_ms, "outside_box", (0.1, 0.2, 0.3, 0.4), bytes(size))


def everything(outbox: Outbox) -> list[Observation]:
    ids = outbox.next_ids(1_000_000, skip=())
    return [decode(row.body.encode(), Observation) for row in outbox.rows(ids)]


def test_the_body_names_itself_and_lanes_count_apart(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "o.sqlite")
    outbox.append([entry(reading(), reading(lane=Lane.ALARM), reading())], now_ms=AT.wall_ms)
    found = everything(outbox)
    assert [(o.lane, o.seq) for o in found] == [("alarm", 1), ("telemetry", 1), ("telemetry", 2)]
    assert {(o.outbox_id, o.boot_id, o.observed_at_ms, o.observed_mono_ms) for o in found} == {
        (outbox.outbox_id, "boot-1", AT.wall_ms, AT.mono_ms)
    }


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.sampled_from(["d1", "d2"]), st.sampled_from(list(Lane))),
            st.tuples(st.just("ack"), st.integers(1, 12), st.integers(0, 6)),
            st.tuples(st.just("reopen"), st.none(), st.none()),
        ),
        max_size=40,
    )
)
def test_a_seq_is_never_used_twice_and_an_ack_deletes_exactly_what_it_names(
    steps: list[tuple[str, object, object]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "o.sqlite"
        outbox = open_outbox(path)
        held: dict[tuple[str, Lane], set[int]] = {}
        made: dict[tuple[str, Lane], int] = {}
        for what, a, b in steps:
            if what == "append":
                key = (str(a), Lane(str(b)))
                outbox.append([entry(reading(*key))], now_ms=0)
                made[key] = made.get(key, 0) + 1
                held.setdefault(key, set()).add(made[key])
            elif what == "ack":
                first, last = int(str(a)), int(str(a)) + int(str(b))
                key = ("d1", Lane.ALARM)
                gone = outbox.ack(*key, [(first, last)])
                named = held.get(key, set()) & set(range(first, last + 1))
                assert len(gone) == len(named)
                held[key] = held.get(key, set()) - named
            else:
                outbox.close()
                outbox = open_outbox(path)
        found: dict[tuple[str, Lane], set[int]] = {}
        for o in everything(outbox):
            found.setdefault((o.device_id, o.lane), set()).add(o.seq)
        assert found == {key: seqs for key, seqs in held.items() if seqs}
        outbox.close()


def test_a_seq_is_not_used_again_when_its_row_is_gone_nor_after_a_restart(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "o.sqlite")
    outbox.append([entry(reading(), reading())], now_ms=0)
    assert len(outbox.ack("d1", "telemetry", [(1, 2)])) == 2
    outbox.close()
    outbox = open_outbox(tmp_path / "o.sqlite")
    outbox.append([entry(reading())], now_ms=0)
    assert [o.seq for o in everything(outbox)] == [3]


def test_alarms_come_first_and_the_newest_can_be_had_before_the_backlog(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "o.sqlite")
    outbox.append([entry(reading(), reading(lane=Lane.ALARM), reading(lane=Lane.ALARM))], now_ms=0)
    outbox.close()
    outbox = open_outbox(tmp_path / "o.sqlite", boot_id="boot-2")
    outbox.append([entry(reading(lane=Lane.ALARM), reading(lane=Lane.ALARM))], now_ms=0)
    assert outbox.last_id == 3
    assert outbox.new_alarm_ids(10, after=outbox.last_id) == [5, 4]
    assert outbox.next_ids(10, skip=()) == [2, 3, 4, 5, 1]
    assert outbox.next_ids(2, skip={2, 4}) == [3, 5]


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["d1", "d2"]), st.sampled_from(list(Lane))), min_size=30, max_size=60))
def test_every_seq_is_held_acknowledged_or_named_as_dropped(kinds: list[tuple[str, Lane]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "o.sqlite"
        outbox = open_outbox(path, max_bytes=MIB)
        for device, lane in kinds:
            filler = Fault(fault="x", detail="y" * 300)
            outbox.append([entry(*[Draft(device, lane, AT, filler)] * 100)], now_ms=0)
        accounted: dict[tuple[str, str], set[int]] = {}
        for o in everything(outbox):
            accounted.setdefault((o.device_id, o.lane), set()).add(o.seq)
            if isinstance(o.payload, Dropped):
                for first, last in o.payload.ranges:
                    accounted.setdefault((o.device_id, o.payload.lane), set()).update(range(first, last + 1))
        for seqs in accounted.values():
            assert to_ranges(seqs) == ((1, max(seqs)),)
        assert path.stat().st_size <= MIB
        outbox.close()


def test_telemetry_is_dropped_before_pictures_and_these_before_alarms(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "o.sqlite", max_bytes=MIB)
    outbox.append([Entry((reading(lane=Lane.ALARM),), (picture("a", 100_000),))], now_ms=0)
    for _ in range(20):
        outbox.append([entry(*[reading()] * 200)], now_ms=0)
    assert outbox.pictures() == 1
    kept = everything(outbox)
    assert [o.seq for o in kept if isinstance(o.payload, Reading) and o.lane is Lane.ALARM] == [1]
    assert any(isinstance(o.payload, Dropped) and o.payload.lane is Lane.TELEMETRY for o in kept)
    for _ in range(20):
        outbox.append([entry(*[reading(lane=Lane.ALARM)] * 200)], now_ms=0)
    assert outbox.pictures() == 0
    newest = max(o.seq for o in everything(outbox) if o.lane is Lane.ALARM and isinstance(o.payload, Reading))
    assert newest >= 4_000


def test_a_picture_that_cannot_fit_is_left_out_and_the_observation_stays(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "o.sqlite", max_bytes=MIB)
    outbox.append([Entry((reading(),), (picture("a", 600_000),))], now_ms=0)
    assert (outbox.depth(), outbox.pictures()) == (1, 0)


def test_a_picture_goes_by_id_and_hash_only(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "o.sqlite")
    outbox.append([Entry((), (picture("a"), picture("b")))], now_ms=0)
    assert outbox.next_pictures(10, skip=()) == ["ev-b", "ev-a"]
    assert not outbox.ack_picture("ev-a", "b" * 64)
    assert outbox.ack_picture("ev-a", "a" * 64)
    assert outbox.next_pictures(10, skip=()) == ["ev-b"]
    assert outbox.picture("ev-b") == picture("b")
    assert outbox.picture("ev-a") is None


def test_bookmarks_are_committed_with_their_readings(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "o.sqlite")
    outbox.append([Entry((reading(),), (), {"s1": "1:2:3"}), Entry((), (), {"s1": "1:9:4"})], now_ms=0)
    outbox.close()
    assert open_outbox(tmp_path / "o.sqlite").bookmarks() == {"s1": "1:9:4"}


def test_a_cloned_card_gets_a_new_outbox_and_the_old_one_is_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    first = open_outbox(path)
    first.append([entry(reading())], now_ms=0)
    first.close()
    cloned = open_outbox(path, machine="m2")
    assert cloned.outbox_id != first.outbox_id
    assert cloned.depth() == 0
    aside = tmp_path / f"o.sqlite.foreign-{first.outbox_id}"
    back = open_outbox(aside)
    assert (back.outbox_id, back.depth()) == (first.outbox_id, 1)


def test_a_damaged_file_is_kept_aside_and_the_edge_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    path.write_bytes(b"no database at all " * 100)
    outbox = open_outbox(path)
    outbox.append([entry(reading())], now_ms=0)
    assert outbox.depth() == 1
    assert (tmp_path / "o.sqlite.damaged").read_bytes().startswith(b"no database")


def test_a_locked_file_is_a_storage_error_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.outbox_file.BUSY_S", 0.01)
    outbox = open_outbox(tmp_path / "o.sqlite")
    outbox.append([entry(reading())], now_ms=0)
    other = sqlite3.connect(tmp_path / "o.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"o\.sqlite.*locked"):
        outbox.append([entry(reading())], now_ms=0)
    other.execute("ROLLBACK")
    other.close()
    outbox.append([entry(reading())], now_ms=0)
    assert [o.seq for o in everything(outbox)] == [1, 2]


def test_a_full_disk_is_a_storage_error_and_changes_nothing(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "o.sqlite")
    outbox.append([entry(reading())], now_ms=0)
    outbox._db.execute("PRAGMA max_page_count = 1")  # SQLite then lets the file grow no further
    with pytest.raises(StorageError, match=r"o\.sqlite.*full; check free space"):
        outbox.append([entry(*[reading()] * 500)], now_ms=0)
    outbox._db.execute("PRAGMA max_page_count = 10000")
    outbox.append([entry(reading())], now_ms=0)
    assert [o.seq for o in everything(outbox)] == [1, 2]


def test_retired_is_remembered(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "o.sqlite")
    assert not outbox.is_retired
    outbox.retire()
    outbox.close()
    assert open_outbox(tmp_path / "o.sqlite").is_retired


def test_a_trigger_from_outside_sees_every_row_once(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "o.sqlite")
    other = sqlite3.connect(tmp_path / "o.sqlite")
    other.executescript(
        "CREATE TABLE audit (device_id, lane, seq, body);"
        "CREATE TRIGGER audited AFTER INSERT ON outbox BEGIN"
        " INSERT INTO audit VALUES (NEW.device_id, NEW.lane, NEW.seq, NEW.body); END;"
    )
    outbox.append([entry(reading(), reading())], now_ms=0)
    outbox.ack("d1", "telemetry", [(1, 1)])
    outbox.append([entry(reading())], now_ms=0)
    rows = other.execute("SELECT device_id, lane, seq, json_extract(body, '$.payload.kind') FROM audit").fetchall()
    assert rows == [("d1", "telemetry", seq, "reading") for seq in (1, 2, 3)]
    other.close()


_INSERT = """
import sys
from pathlib import Path
from tests.edge.test_outbox import entry, open_outbox, reading
outbox = open_outbox(Path(sys.argv[1]))
while True:
    outbox.append([entry(reading(), reading())], now_ms=0)
    print(outbox.depth(), flush=True)
"""


@pytest.fixture
def inserting(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-c", _INSERT, str(tmp_path / "o.sqlite")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_what_was_committed_survives_a_kill_in_the_middle_of_inserts(
    tmp_path: Path, inserting: subprocess.Popen[str]
) -> None:
    assert inserting.stdout is not None
    for _ in range(20):
        said = int(inserting.stdout.readline())
    inserting.send_signal(signal.SIGKILL)
    inserting.wait()
    outbox = open_outbox(tmp_path / "o.sqlite", boot_id="boot-2")
    seqs = [o.seq for o in everything(outbox)]
    assert len(seqs) >= said >= 40
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) % 2 == 0  # a commit is whole or not there
    outbox.append([entry(reading())], now_ms=0)
    assert everything(outbox)[-1].seq == len(seqs) + 1
    assert json.loads(outbox.rows([len(seqs)])[0].body)["boot_id"] == "boot-1"
