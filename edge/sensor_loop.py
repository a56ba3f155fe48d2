"""The sensors' loops: follow their files, or standard input, and hand the readings to the keeper."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from edge import moment
from edge.keeper import Keeper
from edge.outbox import Draft, Entry
from edge.pulse import Pulse
from edge.sensors import Place, read_new, to_drafts
from models.errors import SourceError
from models.messages import Fault, Lane

log = logging.getLogger(__name__)

POLL_S: Final = 0.2
TOGETHER: Final = 32
"""Files that one thread follows: a thread for each would keep a small computer busy with nothing but looking, and one
for all would be held up by a single file that hangs, on a network share that is gone."""


class SensorInput:
    """Takes what a sensor writes to our standard input. Runs on a thread of its own."""

    def __init__(self, pulse: Pulse, keeper: Keeper) -> None:
        self._pulse = pulse
        self._keeper = keeper

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        threading.Thread(target=self._read, name="stdin", daemon=True).start()
        while not stop.is_set():
            now = moment.now()
            self._pulse.beat(now)
            stop.wait(self._pulse.wait_ms(now) / 1000.0)

    def _read(self) -> None:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            self._keeper.put(_entry([(number, line)], self._pulse.device_id, "<stdin>", {}))
        log.info("%s: standard input has ended", self._pulse.device_id)


class SensorFile:
    """One sensor's file. How far it was read is committed together with the readings: each line once."""

    def __init__(self, path: Path, pulse: Pulse, keeper: Keeper) -> None:
        self._path = path
        self._pulse = pulse
        self._keeper = keeper
        self._place: Place | None = None
        self._trouble = ""

    def look(self) -> bool:
        """Take what is new, at most 256 KiB; return whether there may be more. Only when the keeper is ready."""
        self._pulse.beat(moment.now())
        device = self._pulse.device_id
        if self._place is None:
            self._place = Place.parse(self._keeper.bookmarks.get(device))
        try:
            lines, self._place = read_new(self._path, self._place)
        except SourceError as exc:
            if self._trouble != str(exc):
                self._trouble = str(exc)
                log.error("%s: %s", device, exc)  # noqa: TRY400  # the sentence says it all
                fault = Fault(fault="no_source", detail=str(exc)[:500])
                self._keeper.put(Entry((Draft(device, Lane.ALARM, moment.now(), fault),)))
            return False
        self._trouble = ""
        if lines:
            self._keeper.put(_entry(lines, device, str(self._path), {device: str(self._place)}))
        return bool(lines)


class SensorFiles:
    """Follows the files of some sensors in turn, on one thread."""

    def __init__(self, files: Sequence[SensorFile], keeper: Keeper) -> None:
        self._files = files
        self._keeper = keeper

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        while not self._keeper.ready.wait(POLL_S):  # the places in the files lie in the outbox
            if stop.is_set():
                return
        while not stop.is_set():
            have_more = [file.look() for file in self._files]
            if not any(have_more):
                stop.wait(POLL_S)


def together(files: Sequence[SensorFile], keeper: Keeper) -> Iterable[SensorFiles]:
    """Give what follows `files`, so many to a thread."""
    for start in range(0, len(files), TOGETHER):
        yield SensorFiles(files[start : start + TOGETHER], keeper)


def _entry(lines: list[tuple[int, bytes]], device: str, source: str, bookmarks: dict[str, str]) -> Entry:
    drafts, complaints = to_drafts(lines, device_id=device, source=source, now=moment.now())
    for complaint in complaints:
        log.error("%s: %s", device, complaint)
    return Entry(drafts, (), bookmarks)
