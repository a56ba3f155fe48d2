"""Readings from a file of JSON lines that is followed as it grows, or from standard input.

A line is ``{"property": "temperature", "value": 21.5, "unit": "Cel"}``, with ``"at_ms"`` if it was measured earlier.
Readings of what is an alarm by itself (`ALARM_PROPERTIES`) go in the alarm lane, all others in the telemetry lane: the
device knows no thresholds. Pure, but for `read_new`.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Final

import msgspec

from edge.moment import Moment
from edge.outbox import Draft
from models.errors import SourceError
from models.messages import Fault, Lane, Message, Ms, Reading

ALARM_PROPERTIES: Final = frozenset({"smoke", "heat_alarm", "gas", "gas_alarm", "co", "co_alarm", "water_leak"})
CHUNK_BYTES: Final = 256 * 1024
MAX_LINE_BYTES: Final = 4096
MAX_FAULTS: Final = 10
"""Faults per chunk: a file of another kind must not fill the outbox line by line."""


class Line(Message, frozen=True, kw_only=True):
    """One line of a sensor's file."""

    property: str
    value: float
    unit: str
    at_ms: Ms | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """How far a file was read. `file_id` is its inode: another file under the name is read from its start."""

    file_id: int = 0
    offset: int = 0
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file_id}:{self.offset}:{self.line}"

    @classmethod
    def parse(cls, text: str | None) -> Place:
        """Return the place that was written as `text`; the start for none."""
        return cls(*(int(part) for part in text.split(":"))) if text else cls()


def read_new(path: Path, place: Place) -> tuple[list[tuple[int, bytes]], Place]:
    """Return the complete new lines of `path` with their numbers, and the place behind them; at most 256 KiB.

    Raises:
        SourceError: the file is not there, cannot be read, or is no file but a pipe or a folder.
    """
    try:
        stat = path.stat()
        if not S_ISREG(stat.st_mode):  # opening a pipe would wait for its writer
            raise SourceError(f"{path}: is no regular file; check edge.sensors.source")
        if (stat.st_ino, stat.st_size) == (place.file_id, place.offset):
            return [], place  # nothing new, as nearly always: not worth opening it
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            if stat.st_ino != place.file_id or stat.st_size < place.offset:
                place = Place(file_id=stat.st_ino)
            file.seek(place.offset)
            data = file.read(CHUNK_BYTES)
    except OSError as exc:
        raise SourceError(f"{path}: {exc.strerror}; check edge.sensors.source") from exc
    end = data.rfind(b"\n") + 1
    if end == 0 and len(data) == CHUNK_BYTES:
        end = len(data)  # a line without an end is no line of ours: it is refused in pieces rather than waited for
    lines = data[:end].splitlines()
    numbered = list(enumerate(lines, start=place.line + 1))
    return numbered, Place(place.file_id, place.offset + end, place.line + len(lines))


def to_drafts(
    lines: list[tuple[int, bytes]], *, device_id: str, source: str, now: Moment
) -> tuple[tuple[Draft, ...], list[str]]:
    """Return the observations of `lines`, and what is wrong with the others: one sentence each, with a remedy."""
    drafts: list[Draft] = []
    complaints: list[str] = []
    for number, line in lines:
        if not line.strip():
            continue
        try:
            drafts.append(_draft(decode_line(line), device_id, now))
        except ValueError as exc:
            complaints.append(
                f'{source}:{number}: {exc}; write {{"property": "temperature", "value": 21.5, "unit": "Cel"}}'
            )
    faults = [Draft(device_id, Lane.ALARM, now, Fault(fault="bad_line", detail=c[:500])) for c in complaints]
    if len(faults) > MAX_FAULTS:
        more = Fault(fault="bad_line", detail=f"{source}: {len(faults) - MAX_FAULTS} more bad lines; see the log")
        faults = [*faults[:MAX_FAULTS], Draft(device_id, Lane.ALARM, now, more)]
    return (*drafts, *faults), complaints


def decode_line(line: bytes) -> Line:
    """Return one line.

    Raises:
        ValueError: why it is none.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"{len(line):,} bytes are too long for a line")
    try:
        found = msgspec.json.decode(line, type=Line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ValueError(f"no reading: {exc}") from exc
    if not math.isfinite(found.value):
        raise ValueError("the value is not finite")
    if not 0 < len(found.property) <= 64 or len(found.unit) > 16:
        raise ValueError("property has 1 to 64 characters, unit at most 16")
    return found


def _draft(line: Line, device_id: str, now: Moment) -> Draft:
    # A reading of the future is the writer's wrong clock; one from before this boot keeps its wall time only.
    age_ms = max(0, now.wall_ms - line.at_ms) if line.at_ms is not None else 0
    observed = Moment(now.wall_ms - age_ms, max(0, now.mono_ms - age_ms))
    lane = Lane.ALARM if line.property in ALARM_PROPERTIES else Lane.TELEMETRY
    return Draft(device_id, lane, observed, Reading(property=line.property, value=line.value, unit=line.unit))
