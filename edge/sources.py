"""Where pictures come from: the door to OpenCV's capture.

A source gives the newest frame there is, never a queue of old ones. `read` takes the time as an argument and does not
wait; a live source reads on a thread of its own and holds one frame only.
"""

from __future__ import annotations

import logging
import math
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # one clear error of ours, not ten of FFmpeg's

import cv2
import numpy as np

from edge import moment
from edge.evidence import Image
from edge.moment import Moment
from models.errors import SourceError
from models.jitter import jittered

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
log = logging.getLogger(__name__)

PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
FALLBACK_FPS: Final = 25.0
BEHIND_S: Final = 4.0
"""A decoder that is further behind than this jumps, as it would never catch up frame by frame."""
TIMEOUT_MS: Final = 5_000
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture and when it was taken: (h, w, 3) uint8, blue green red. `index` counts the source's frames."""

    image: Image
    at: Moment
    index: int


class Source(Protocol):
    """What a camera loop reads from."""

    @property
    def ended(self) -> bool:
        """Whether no frame will ever come again."""

    @property
    def paced(self) -> bool:
        """Whether the loop asks at its own rate; if not, every frame is taken, one right after the other."""

    @property
    def next_mono_ms(self) -> int:
        """The boot clock before which there is surely no new frame; 0 where nobody knows."""

    def read(self, now: Moment) -> Frame | None:
        """Return the newest frame since the last call, or None.

        Raises:
            SourceError: what was due could not be read; the next call goes on.
        """

    def close(self) -> None:
        """Let go of it."""


class Clip:
    """A video file.

    At its own speed, the frame that is due is given and those between are skipped: the clip goes on like a street
    does, however slow the reader is. As fast as possible, every n-th frame is given, so that `fps` frames make a second
    of film.
    """

    def __init__(self, path: Path, *, started_mono_ms: int, fps: float | None = None) -> None:
        """Open `path`, whose first frame was or is due at `started_mono_ms`; `fps` None plays at its own speed.

        Raises:
            SourceError: it is not there, or no video.
        """
        if not path.is_file():
            raise SourceError(f"{path}: there is no such clip; check edge.cameras.source")
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise SourceError(f"{path}: is no video that can be opened; play it elsewhere, or encode it anew as MP4")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = rate if 1.0 <= rate <= 1000.0 else FALLBACK_FPS
        self._path = path
        self._started_mono_ms = started_mono_ms
        self._stride = None if fps is None else max(1, round(self.fps / fps))
        self._next = 0  # index of the frame that the decoder gives next
        self.ended = False
        self.paced = fps is None

    @property
    def next_mono_ms(self) -> int:
        """When the next frame of the film is due."""
        return self._started_mono_ms + math.ceil(self._next * 1000.0 / self.fps)

    def read(self, now: Moment) -> Frame | None:
        """Return the frame that is due, or None if it was given already, or if the clip has ended."""
        if self.ended:
            return None
        if self._stride is not None:
            wanted, at = self._next + (self._stride - 1 if self._next else 0), now
        else:
            wanted = due_index(now.mono_ms, started_mono_ms=self._started_mono_ms, fps=self.fps)
            due_ms = self._started_mono_ms + round(wanted * 1000.0 / self.fps)
            at = now.plus(due_ms - now.mono_ms)
        if wanted < self._next:
            return None
        image = self._decode(wanted)
        if image is None:
            self.ended = True
            if self._next == 0:
                raise SourceError(f"{self._path}: not one frame can be decoded; encode it anew as MP4")
            return None
        return Frame(image, at, wanted)

    def _decode(self, wanted: int) -> Image | None:
        if wanted - self._next > BEHIND_S * self.fps:
            frames = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
            if 0 < frames <= wanted:
                self._next = wanted + 1
                return None
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, wanted)
            self._next = wanted
        while self._next <= wanted:
            if not self._capture.grab():
                return None
            self._next += 1
        try:
            done, image = self._capture.retrieve()
        except cv2.error as exc:
            raise SourceError(f"{self._path}: frame {wanted}: {exc.err}; encode it anew as MP4") from exc
        return np.asarray(image, np.uint8) if done else None

    def close(self) -> None:
        """Let go of the file."""
        self._capture.release()


def due_index(now_mono_ms: int, *, started_mono_ms: int, fps: float) -> int:
    """Return the index of the frame that is shown at `now_mono_ms`; -1 before the first."""
    # Half a millisecond: a frame due at 33.33 ms is due at the tick 33.
    return int((now_mono_ms - started_mono_ms + 0.5) * fps / 1000.0) if now_mono_ms >= started_mono_ms else -1


class Folder:
    """The pictures of a folder in the order of their names, or one picture, each given once."""

    def __init__(self, path: Path, *, paced: bool) -> None:
        """List `path`.

        Raises:
            SourceError: there is no picture.
        """
        listed = sorted(path.iterdir()) if path.is_dir() else [path]
        self._paths = [entry for entry in listed if entry.suffix.lower() in PICTURES and entry.is_file()]
        if not self._paths:
            raise SourceError(f"{path}: holds no picture ({', '.join(sorted(PICTURES))}); check edge.cameras.source")
        self._next = 0
        self.paced = paced
        self.next_mono_ms = 0

    @property
    def ended(self) -> bool:
        """Whether every picture was given."""
        return self._next >= len(self._paths)

    def read(self, now: Moment) -> Frame | None:
        """Return the next picture.

        Raises:
            SourceError: it is empty, or no picture; it is passed over.
        """
        if self.ended:
            return None
        path, index = self._paths[self._next], self._next
        self._next += 1
        if path.stat().st_size == 0:
            raise SourceError(f"{path}: the picture has zero bytes; copy it anew, or remove it")
        try:
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        except cv2.error as exc:
            raise SourceError(f"{path}: OpenCV refuses it: {exc.err}; make it smaller, or remove it") from exc
        if image is None:
            raise SourceError(f"{path}: is no picture that can be read; save it anew as JPEG or PNG, or remove it")
        return Frame(np.asarray(image, np.uint8), now, index)

    def close(self) -> None:
        """Nothing is held open."""


class Live:
    """A local camera or a stream. A thread reads it, keeps the newest frame only, and reconnects for ever."""

    ended = False
    paced = True
    next_mono_ms = 0

    def __init__(self, target: int | str) -> None:
        """Begin to connect to a camera number, a device file or a URL; returns at once."""
        self._target = target
        self._lock = threading.Lock()
        self._newest: Frame | None = None
        self._trouble: SourceError | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"grab-{masked(str(target))}", daemon=True)
        self._thread.start()

    def read(self, now: Moment) -> Frame | None:
        """Return the newest frame, once.

        Raises:
            SourceError: the connection was lost or cannot be made; once per outage.
        """
        with self._lock:
            trouble, self._trouble = self._trouble, None
            if trouble is not None:
                raise trouble
            frame, self._newest = self._newest, None
        return frame

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        was_up = True
        while not self._stopping.is_set():
            frames = self._read_until_lost()
            if frames:
                retry_s, was_up = FIRST_RETRY_S, True
            if was_up:
                what = "no more frames come" if frames else "cannot be opened"
                self._report(f"{masked(str(self._target))}: {what}; check the cable, the address and the password")
                was_up = False
            self._stopping.wait(jittered(retry_s))
            retry_s = min(retry_s * 2, LAST_RETRY_S)

    def _read_until_lost(self) -> int:
        if isinstance(self._target, int):
            capture = cv2.VideoCapture(self._target)
        else:
            timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
            capture = cv2.VideoCapture(self._target, cv2.CAP_FFMPEG, timeouts)
        frames = 0
        while not self._stopping.is_set():
            try:
                done, image = capture.read()
            except cv2.error:  # a driver that gives what OpenCV cannot convert
                break
            if not done:
                break
            frame = Frame(np.asarray(image, np.uint8), moment.now(), frames)
            frames += 1
            with self._lock:
                self._newest = frame
        capture.release()
        return frames

    def _report(self, what: str) -> None:
        with self._lock:
            self._trouble = SourceError(what)


def masked(source: str) -> str:
    """Return `source` without the user name and password that a URL may carry."""
    return re.sub(r"//[^@/]*@", "//***@", source)


def open_source(source: str, folder: Path, *, started_mono_ms: int, fast_fps: float | None) -> Source:
    """Return what `edge.cameras.source` names; see `models.config.Camera`.

    Args:
        source: a number, a URL, `/dev/...`, or a path as seen from `folder`.
        folder: the config folder.
        started_mono_ms: when the first frame of a clip is, or was, due.
        fast_fps: None for a clip's own speed, else as fast as possible with that many frames of a second of film.

    Raises:
        SourceError: a clip or folder that cannot be opened.
    """
    if source.isdecimal():
        return Live(int(source))
    if "://" in source or source.startswith("/dev/"):
        return Live(source)
    path = folder / source
    if path.is_dir() or path.suffix.lower() in PICTURES:
        return Folder(path, paced=fast_fps is None)
    return Clip(path, started_mono_ms=started_mono_ms, fps=fast_fps)
