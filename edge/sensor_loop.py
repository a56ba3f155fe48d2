"""One sensor's loop: follows its file, or standard input, and hands the readings to the keeper."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from typing import Final

from edge import moment
from edge.keeper import Keeper
from edge.outbox import Draft, Entry
from edge.pulse import Pulse
from edge.sensors import Place, read_new, to_drafts
from models.config import Sensor
from models.errors import SourceError
from models.messages import Fault, Lane

log = logging.getLogger(__name__)

POLL_S: Final = 0.2


class SensorLoop:
    """Runs on a thread of its own. How far a file was read is committed together with the readings: each line once."""

    def __init__(self, sensor: Sensor, *, folder: Path, pulse: Pulse, keeper: Keeper) -> None:
        self._sensor = sensor
        self._folder = folder
        self._pulse = pulse
        self._keeper = keeper
        self._trouble = ""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        if self._sensor.source == "-":
            threading.Thread(target=self._read_stdin, name="stdin", daemon=True).start()
            while not stop.is_set():
                now = moment.now()
                self._pulse.beat(now)
                stop.wait(self._pulse.wait_ms(now) / 1000.0)
            return
        while not self._keeper.ready.wait(POLL_S):  # the place in the file lies in the outbox
            if stop.is_set():
                return
        path = self._folder / self._sensor.source
        place = Place.parse(self._keeper.bookmarks.get(self._sensor.device))
        while not stop.is_set():
            place, has_more = self._follow(path, place)
            self._pulse.beat(moment.now())
            if not has_more:
                stop.wait(POLL_S)

    def _follow(self, path: Path, place: Place) -> tuple[Place, bool]:
        try:
            lines, new_place = read_new(path, place)
        except SourceError as exc:
            if self._trouble != str(exc):
                self._trouble = str(exc)
                log.error("%s: %s", self._sensor.device, exc)  # noqa: TRY400  # the sentence says it all
                fault = Fault(fault="no_source", detail=str(exc)[:500])
                self._keeper.put(Entry((Draft(self._sensor.device, Lane.ALARM, moment.now(), fault),)))
            return place, False
        self._trouble = ""
        if lines:
            self._take(lines, str(path), {self._sensor.device: str(new_place)})
        return new_place, bool(lines)

    def _read_stdin(self) -> None:
        for number, line in enumerate(sys.stdin.buffer, start=1):
            self._take([(number, line)], "<stdin>", {})
        log.info("%s: standard input has ended", self._sensor.device)

    def _take(self, lines: list[tuple[int, bytes]], source: str, bookmarks: dict[str, str]) -> None:
        drafts, complaints = to_drafts(lines, device_id=self._sensor.device, source=source, now=moment.now())
        for complaint in complaints:
            log.error("%s: %s", self._sensor.device, complaint)
        self._keeper.put(Entry(drafts, (), bookmarks))
