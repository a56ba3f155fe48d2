"""One camera's loop: capture, detect, track, confirm, redact; what comes of it goes to the keeper."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge import confirm, evidence, health, moment
from edge.confirm import Choice, choose
from edge.evidence import Picture
from edge.moment import Moment
from edge.outbox import Draft, Entry
from edge.pulse import Pulse
from edge.sources import Frame, Source, masked, open_source
from edge.tracker import Track, Tracks, flicker, follow, growth
from models.config import Camera, Edge
from models.errors import SourceError
from models.messages import NO_FAULT, Detection, Fault, Lane

if TYPE_CHECKING:
    from models.detectors import Detector, Manifest

log = logging.getLogger(__name__)

FAILED_WAIT_S: Final = 5.0
"""After a failure of the detector: long enough not to fill the log, short enough to be back soon."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a camera loop works with.

    Attributes:
        folder: the config folder, which a relative source is seen from.
        started_mono_ms: when the first frame of a clip is, or was, due.
        detector: this loop's own; it is not for two threads at a time.
        put: hands an entry to the outbox; never blocks.
    """

    camera: Camera
    edge: Edge
    folder: Path
    boot_id: str
    started_mono_ms: int
    detector: Detector
    pulse: Pulse
    put: Callable[[Entry], None]


@dataclass(slots=True)
class Film:
    """How far a clip or folder came. `error` says why it did not come further."""

    device_id: str
    source: str
    frames: int = 0
    ended: bool = False
    error: str = ""


@dataclass(slots=True)
class _Seen:
    tracks: Tracks
    memory: confirm.Memory = field(default_factory=confirm.Memory)
    health: health.Health = field(default_factory=health.Health)


class CameraLoop:
    """Runs on a thread of its own; whatever happens here, the other cameras go on."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._device_id = scene.camera.device
        self._seen = _Seen(Tracks(scene.camera.device))
        self._source: Source | None = None
        self._failed = ""
        self._is_faulty = False
        self.film = Film(scene.camera.device, masked(scene.camera.source))

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. After the end of a clip only the heartbeat goes on."""
        self._open()
        period_ms = 1000.0 / self._scene.edge.detect_fps
        due_ms = float(moment.now().mono_ms)
        while True:
            now = moment.now()
            wait_s = self._step(now)
            self._scene.pulse.beat(now)
            if self._source is None or self.film.ended:
                wait_s = max(wait_s, self._scene.pulse.wait_ms(now) / 1000.0)
            elif self._source.paced and wait_s == 0.0:
                mono_ms = moment.now().mono_ms
                # A late tick is skipped, not caught up; a slow film is looked at when its next frame is due.
                due_ms = max(due_ms + period_ms, mono_ms, self._source.next_mono_ms)
                wait_s = (due_ms - mono_ms) / 1000.0
            if stop.wait(wait_s):
                break
        if self._source is not None:
            self._source.close()

    def _open(self) -> None:
        scene = self._scene
        fast_fps = scene.edge.detect_fps if scene.camera.pace == "fast" else None
        try:
            self._source = open_source(
                scene.camera.source, scene.folder, started_mono_ms=scene.started_mono_ms, fast_fps=fast_fps
            )
        except SourceError as exc:
            self._report_fault("no_source", str(exc), moment.now())
            self.film.error, self.film.ended = str(exc), True

    def _step(self, now: Moment) -> float:
        """Take one frame through the chain; return how many seconds to wait because something failed, or 0."""
        source = self._source
        if source is None or self.film.ended:
            return 0.0
        try:
            frame = source.read(now)
            if frame is not None:
                self._watch(frame)
                self.film.frames += 1
                self._failed = ""
        except SourceError as exc:
            self._report_fault("no_source", str(exc), now)
            self.film.error = str(exc)
        except Exception as exc:  # noqa: BLE001  # the outermost loop: a detector that fails must not end the camera
            return self._detector_failed(exc, now)
        if source.ended:
            self.film.ended = True
            log.info("%s: %s has ended after %d frames seen", self._device_id, self.film.source, self.film.frames)
        return 0.0

    def _watch(self, frame: Frame) -> None:
        scene, seen = self._scene, self._seen
        begun_ms = moment.now().mono_ms
        boxes = [box for box in scene.detector.detect(frame.image) if box.confidence >= scene.edge.floor]
        inferred = moment.now()
        scene.pulse.frame(frame.at, inferred.mono_ms - begun_ms)
        seen.tracks, tracks = follow(seen.tracks, boxes, frame.at)
        seen.memory, choices = choose(seen.memory, tracks, now_mono_ms=frame.at.mono_ms)
        if choices:
            scene.put(self._entry(frame, choices, inferred))
        seen.health, fault = health.look(seen.health, frame.image, now_mono_ms=frame.at.mono_ms)
        if fault is not None:
            self._report_fault(fault, f"{masked(scene.camera.source)}: check the camera and its lens", frame.at)
        elif self._is_faulty and health.is_well(seen.health, now_mono_ms=frame.at.mono_ms):
            self._scene.put(self._fault(NO_FAULT, "", frame.at))
            self._is_faulty = False

    def _entry(self, frame: Frame, choices: Sequence[Choice], inferred: Moment) -> Entry:
        drafts: list[Draft] = []
        pictures: list[Picture] = []
        for choice in choices:
            picture = self._picture(frame, choice.track) if choice.with_picture else None
            if picture is not None:
                pictures.append(picture)
            payload = detection(choice.track, self._scene.detector.manifest, picture.evidence_id if picture else None)
            drafts.append(Draft(self._device_id, Lane.ALARM, frame.at, payload, inferred.mono_ms))
        return Entry(tuple(drafts), tuple(pictures))

    def _picture(self, frame: Frame, track: Track) -> Picture:
        return evidence.take(
            frame.image,
            track.box,
            device_id=self._device_id,
            name=f"{self._scene.boot_id} {track.track_id} {track.hits}",
            captured_at_ms=frame.at.wall_ms,
            redaction=self._scene.edge.redaction,
            margin=self._scene.edge.evidence_margin,
        )

    def _detector_failed(self, exc: Exception, now: Moment) -> float:
        what = f"{type(exc).__name__}: {exc}"
        if what != self._failed:
            log.error("%s: the detector failed: %s", self._device_id, what, exc_info=exc)
            self._scene.put(self._fault("detector_failed", what, now))
        self._failed = what
        return FAILED_WAIT_S

    def _report_fault(self, fault: str, detail: str, now: Moment) -> None:
        log.error("%s: %s: %s", self._device_id, fault, detail)
        self._scene.put(self._fault(fault, detail, now))

    def _fault(self, fault: str, detail: str, now: Moment) -> Entry:
        self._is_faulty = True
        return Entry((Draft(self._device_id, Lane.ALARM, now, Fault(fault=fault, detail=detail[:500])),))


def detection(track: Track, manifest: Manifest, evidence_id: str | None) -> Detection:
    """Return what is said of `track` in one frame."""
    grown, flickers = growth(track), flicker(track)
    x1, y1, x2, y2 = (round(value, 4) for value in track.box)
    return Detection(
        detector=manifest.name,
        detector_version=manifest.version,
        label=track.label,
        confidence=round(min(max(track.confidence, 0.0), 1.0), 4),
        box=(x1, y1, x2, y2),
        track_id=track.track_id,
        hits=track.hits,
        first_seen_ms=track.first_seen_ms,
        growth=None if grown is None else round(grown, 4),
        flicker=None if flickers is None else round(flickers, 4),
        evidence_id=evidence_id,
    )
