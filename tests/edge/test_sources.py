from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.moment import Moment
from edge.sources import Clip, Folder, Live, due_index, masked, open_source
from models.errors import SourceError
from tests.conftest import wait_until
from tests.edge.red import street, write_clip

T0 = Moment(1_800_000_000_000, 1_000_000)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds at 10 frames per second."""
    return write_clip(tmp_path / "clip.avi")


def test_at_its_own_speed_the_due_frame_is_given_once_and_those_between_are_skipped(clip: Path) -> None:
    source = Clip(clip, started_mono_ms=T0.mono_ms)
    frames = [source.read(T0.plus(ms)) for ms in (0, 20, 100, 750, 790)]
    assert [frame.index if frame else None for frame in frames] == [0, None, 1, 7, None]
    assert [frame.at.mono_ms - T0.mono_ms for frame in frames if frame] == [0, 100, 700]
    assert [frame.at.wall_ms - T0.wall_ms for frame in frames if frame] == [0, 100, 700]
    ended = [source.ended]
    assert source.read(T0.plus(2_000)) is None
    ended.append(source.ended)
    assert ended == [False, True]
    assert source.read(T0.plus(2_100)) is None
    source.close()


def test_a_clip_that_began_earlier_goes_on_at_wall_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "long.avi", seconds=20, red_from_s=9.95)
    for started_ms, index, redness in ((-9_900, 99, 0), (-10_000, 100, 200), (-1_000, 10, 0)):
        source = Clip(path, started_mono_ms=T0.mono_ms + started_ms)
        frame = source.read(T0)
        assert frame is not None
        assert frame.index == index
        assert (frame.image[144, 208, 2] >= 200) == (redness > 0)
        source.close()


def test_a_clip_that_was_over_before_has_ended_without_a_fault(clip: Path) -> None:
    source = Clip(clip, started_mono_ms=T0.mono_ms - 60_000)
    assert source.read(T0) is None
    assert source.ended
    source.close()


def test_as_fast_as_possible_every_nth_frame_is_given(clip: Path) -> None:
    source = Clip(clip, started_mono_ms=0, fps=5.0)
    indices = []
    while (frame := source.read(T0)) is not None:
        indices.append(frame.index)
    assert indices == list(range(0, 20, 2))
    assert source.ended
    assert not source.paced
    source.close()


@given(st.integers(0, 10**9), st.integers(0, 10**7), st.floats(1, 120))
def test_the_due_frame_is_on_screen_now(started_ms: int, elapsed_ms: int, fps: float) -> None:
    index = due_index(started_ms + elapsed_ms, started_mono_ms=started_ms, fps=fps)
    assert index * 1000 / fps <= elapsed_ms + 1
    assert (index + 1) * 1000 / fps >= elapsed_ms - 1
    assert due_index(started_ms - 1, started_mono_ms=started_ms, fps=fps) == -1


@pytest.mark.parametrize("content", [b"", b"no video" * 1000])
def test_a_clip_that_does_not_open_is_one_clear_error(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"broken\.mp4: is no video that can be opened; .*encode it anew"):
        Clip(path, started_mono_ms=0)
    assert capfd.readouterr() == ("", "")  # the libraries below keep quiet


def test_a_clip_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.mp4: there is no such clip; check edge\.cameras\.source"):
        open_source("gone.mp4", tmp_path, started_mono_ms=0, fast_fps=None)


def test_a_folder_gives_each_picture_once_and_passes_over_bad_ones(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "b.png"), street())
    (tmp_path / "a.jpg").touch()
    (tmp_path / "c.jpg").write_bytes(b"no picture")
    (tmp_path / "readme.txt").write_text("not looked at")
    cv2.imwrite(str(tmp_path / "d.jpg"), street())
    source = open_source(".", tmp_path, started_mono_ms=0, fast_fps=5.0)
    with pytest.raises(SourceError, match=r"a\.jpg: the picture has zero bytes"):
        source.read(T0)
    first = source.read(T0)
    with pytest.raises(SourceError, match=r"c\.jpg: is no picture"):
        source.read(T0)
    second = source.read(T0)
    assert [frame.index for frame in (first, second) if frame] == [1, 3]
    assert source.ended
    assert source.read(T0) is None
    source.close()


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no picture"):
        Folder(tmp_path, paced=True)


def test_a_single_picture_is_a_folder_of_one(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.jpg"), street())
    source = open_source("one.jpg", tmp_path, started_mono_ms=0, fast_fps=None)
    assert source.read(T0) is not None
    assert source.ended


def test_a_live_source_gives_the_newest_frame_and_says_an_outage_once(clip: Path) -> None:
    source = Live(str(clip))  # FFmpeg reads a path as it reads a URL: frames come, then no more, again and again
    wait_until(lambda: source._newest is not None and source._trouble is not None)
    with pytest.raises(SourceError, match="no more frames come"):
        source.read(T0)
    frame = source.read(T0)
    assert frame is not None
    assert frame.index == 19
    source.close()


def test_a_stream_that_cannot_be_opened_is_told_without_its_password() -> None:
    source = open_source("rtsp://user:secret@127.0.0.1:1/live", Path(), started_mono_ms=0, fast_fps=None)
    assert isinstance(source, Live)
    wait_until(lambda: source._trouble is not None)
    with pytest.raises(SourceError, match=r"rtsp://\*\*\*@127\.0\.0\.1:1/live: cannot be opened"):
        source.read(T0)
    assert source.read(T0) is None
    source.close()
    assert masked("rtsp://camera/live") == "rtsp://camera/live"


def test_a_picture_that_opencv_refuses_is_a_source_error(tmp_path: Path) -> None:
    # A PNG whose head claims 100,000 x 100,000 pixels.
    size = (100_000).to_bytes(4, "big") * 2
    head = b"IHDR" + size + bytes([8, 2, 0, 0, 0])
    chunk = (13).to_bytes(4, "big") + head + zlib.crc32(head).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + bytes(64))
    with pytest.raises(SourceError, match=r"bomb\.png: .*remove it"):
        Folder(tmp_path, paced=True).read(T0)
