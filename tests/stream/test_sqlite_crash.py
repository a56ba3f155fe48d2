"""What is left of the embedded log after a crash: a prefix without half records, and all that was acknowledged."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.log.file import LogFile, NewRecord, Partition, Record
from tests.stream.crash_writer import GROUP, value_of, write

KILLS = 200
CUTS = 500
WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24


def _records(file: LogFile, partition: Partition, offset: int = 0) -> list[Record]:
    return file.read(partition, offset, max_records=1_000_000, max_bytes=1 << 40)


class _Witness:
    """Knows what was read so far, and checks what has come since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = {Partition("obs", 0): 0, Partition("obs", 1): 0}

    def check(self, life: int, told: list[tuple[int, int]]) -> None:
        """Find everything that the process of this life was told is stored, in order and in whole groups."""
        file = LogFile(self._path)
        found: set[int] = set()
        for place, start in self._next.items():
            records = _records(file, place, start)
            assert [record.offset for record in records] == list(range(start, start + len(records)))
            assert file.heads()[place] == start + len(records)
            assert len(records) % GROUP == 0
            numbers = [int((record.value or b"").split(b":")[1]) for record in records[::GROUP]]
            assert numbers == list(range(place.number, place.number + 2 * len(numbers), 2))
            parts = [value_of(life, number, part) for number in numbers for part in range(GROUP)]
            assert [record.value for record in records] == parts
            found.update(numbers)
            self._next[place] = start + len(records)
        assert found >= {number for number, _ in told}
        assert found == set(range(len(found))), "a prefix: none is there of which an earlier one is missing"
        if found:
            assert _records(file, Partition("rows", 0))[-1].value == b"%d:%d" % (life, max(found))
        assert all(offset <= self._next[place] for place, offset in file.committed("group").items())
        file.close()


@pytest.mark.timeout(180)
def test_killed_200_times_at_any_instant_it_keeps_a_prefix_without_half_records(tmp_path: Path) -> None:
    chance = random.Random(20_261_122)
    path = tmp_path / "log.db"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.stream.crash_writer"])
    witness = _Witness(path)
    awaited = 0
    for life in range(KILLS):
        receiver, sender = context.Pipe(duplex=False)
        writer = context.Process(target=write, args=(path, life, sender))
        writer.start()
        sender.close()
        told = [receiver.recv() for _ in range(chance.randrange(4))]
        time.sleep(chance.random() * 0.02)  # the seeded instant
        writer.kill()
        writer.join()
        while receiver.poll():
            try:
                told.append(receiver.recv())
            except (EOFError, OSError):  # killed in the middle of telling
                break
        receiver.close()
        witness.check(life, told)
        awaited += len(told)
    assert awaited > KILLS


def _fill(path: Path, groups: int) -> list[list[bytes]]:
    """Write a log whose last `groups` appends stand in the write-ahead log alone, and return their values."""
    file = LogFile(path)
    with file.transaction():
        file.create_topic("obs", 1)
    file._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file._connection.execute("PRAGMA wal_autocheckpoint = 0")
    identifier = file.partition_id(Partition("obs", 0))
    values = [[value_of(0, number, part) for part in range(GROUP)] for number in range(groups)]
    for number, group in enumerate(values):
        with file.transaction():
            start = number * GROUP
            file.insert([(identifier, start + n, NewRecord("obs", 0, value, 1)) for n, value in enumerate(group)])
            file.set_next_offsets({identifier: start + GROUP})
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{path}{suffix}.kept")
    file.close()
    return values


def _commits(wal: bytes, page_bytes: int) -> list[int]:
    """Where each transaction of a write-ahead log ends: the frames that carry the size of the database."""
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    starts = range(WAL_HEADER_BYTES, len(wal), frame_bytes)
    return [start + frame_bytes for start in starts if struct.unpack_from(">I", wal, start + 4)[0]]


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, where there is one: 700 recoveries need no disk that flushes."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


def test_a_write_ahead_log_cut_anywhere_leaves_whole_appends_up_to_the_cut(memory: Path) -> None:
    path = memory / "log.db"
    values = _fill(path, 60)
    database, wal = (Path(f"{path}{suffix}.kept").read_bytes() for suffix in ("", "-wal"))
    page_bytes = struct.unpack_from(">I", wal, 8)[0]
    commits = _commits(wal, page_bytes)
    assert len(commits) == len(values)
    borders = range(WAL_HEADER_BYTES, len(wal) + 1, FRAME_HEADER_BYTES + page_bytes)
    chance = random.Random(7)
    for cut in (*borders, *(chance.randrange(len(wal)) for _ in range(CUTS))):
        path.write_bytes(database)
        Path(f"{path}-wal").write_bytes(wal[:cut])
        Path(f"{path}-shm").unlink(missing_ok=True)
        file = LogFile(path)
        whole = sum(end <= cut for end in commits)
        found = [record.value for record in _records(file, Partition("obs", 0))]
        assert found == [value for group in values[:whole] for value in group], f"cut at byte {cut}"
        assert file.heads()[Partition("obs", 0)] == whole * GROUP
        file.close()
