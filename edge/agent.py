"""The edge agent: puts cameras, sensors, outbox and link together, watches over them, and stops them in order."""

from __future__ import annotations

import hashlib
import logging
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from edge import moment
from edge.camera import CameraLoop, Film, Scene
from edge.keeper import Keeper
from edge.machine import machine_hash
from edge.outbox import Draft, Entry, Outbox
from edge.pulse import Pulse, Voice
from edge.sensor_loop import SensorFile, SensorFiles, SensorInput, together
from models import topics
from models.config import FILE, Config
from models.link import Link
from models.messages import VERSION, Lane, SelfTest, Status, encode
from models.seal import load_keys
from models.supervise import write_atomically

if TYPE_CHECKING:
    from models.detectors import Detector

log = logging.getLogger(__name__)

WATCH_S: Final = 0.25
JOIN_S: Final = 8.0
MEBIBYTE: Final = 1024 * 1024


def outbox_path(config: Config) -> Path:
    """Return where the agent's outbox lies."""
    return config.state / f"outbox-{config.edge.agent}.sqlite"


def ended_path(config: Config) -> Path:
    """Return the file that appears when every clip has ended and every observation was acknowledged."""
    return config.state / f"edge-{config.edge.agent}.ended"


class Agent:
    """One per process. `run` returns after an orderly stop.

    Args:
        config: the whole config; `config.edge` says what is served.
        load_detector: called once for each camera.
        clip_started_at_ms: wall time of the clips' first frames, so that a restarted agent goes on in the middle;
            None: they start with the agent.
    """

    def __init__(
        self, config: Config, load_detector: Callable[[], Detector], *, clip_started_at_ms: int | None = None
    ) -> None:
        self._config = config
        self._boot_id = f"boot-{uuid.uuid4().hex[:16]}"
        edge = config.edge
        self._devices = [edge.agent, *(c.device for c in edge.cameras), *(s.device for s in edge.sensors)]
        self._keys = load_keys(config.keys, [*self._devices, topics.STREAM, topics.ALERTS])
        self._clip_started_at_ms = clip_started_at_ms
        self._detectors = [load_detector() for _ in edge.cameras]
        self._link = self._make_link()
        self._keeper = Keeper(self._open_outbox, self._link, self._keys, tenant=config.tenant, agent=edge.agent)
        self._voice = Voice(
            link=self._link,
            keys=self._keys,
            tenant=config.tenant,
            period_ms=round(edge.heartbeat_s * 1000),
            config_version=_version(Path(config.folder)),
            backlog=lambda: self._keeper.backlog,
        )

    def run(self, stop: threading.Event) -> int:
        """Serve every camera and sensor until `stop` is set; then commit, say goodbye, close, and return the exit code.

        The code is 1 if the agent had to stop because its outbox thread failed.
        """
        marker = ended_path(self._config)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
        self._link.start()
        self._keeper.start()
        loops = self._camera_loops()
        threads = [threading.Thread(target=loop.run, args=(stop,), name=loop.film.device_id) for loop in loops]
        threads += [
            threading.Thread(target=loop.run, args=(stop,), name="sensor", daemon=True) for loop in self._sensor_loops()
        ]
        for thread in threads:
            thread.daemon = True  # a camera driver that hangs must not keep the process from ending
            thread.start()
        self._watch([loop.film for loop in loops], stop)
        for thread in threads:
            thread.join(timeout=JOIN_S)
        self._keeper.stop()
        self._link.publish(*self._status(is_online=False), retain=True)
        self._link.stop()
        code = 1 if self._keeper.failed.is_set() else 0
        log.info("edge agent %s stopped; %d observations wait", self._config.edge.agent, self._keeper.backlog.depth)
        return code

    def _watch(self, films: list[Film], stop: threading.Event) -> None:
        """Say the agent's own heartbeat, and once that all clips have ended, if all sources are clips."""
        pulse = Pulse(self._config.edge.agent, self._voice)
        has_said = not films
        period_ms = round(self._config.edge.canary_s * 1000)
        canary_mono_ms = moment.now().mono_ms + period_ms
        while not stop.is_set():
            now = moment.now()
            pulse.beat(now)
            if now.mono_ms >= canary_mono_ms:
                canary_mono_ms += period_ms
                self._keeper.put(Entry(tuple(Draft(one, Lane.ALARM, now, SelfTest()) for one in self._devices)))
            if self._keeper.failed.is_set():
                stop.set()
            if not has_said and all(film.ended for film in films) and self._keeper.is_drained:
                has_said = True
                self._say_ended(films)
            stop.wait(WATCH_S)

    def _say_ended(self, films: list[Film]) -> None:
        said = {"at_ms": moment.now().wall_ms, "clips": films, "pictures_waiting": self._keeper.backlog.pictures}
        path = ended_path(self._config)
        write_atomically(path, msgspec.json.encode(said))
        log.info("every clip has ended and every observation is acknowledged: %s", path)

    def _camera_loops(self) -> list[CameraLoop]:
        now = moment.now()
        started_at_ms = now.wall_ms if self._clip_started_at_ms is None else self._clip_started_at_ms
        return [
            CameraLoop(
                Scene(
                    camera=camera,
                    edge=self._config.edge,
                    folder=Path(self._config.folder),
                    boot_id=self._boot_id,
                    started_mono_ms=now.mono_ms - (now.wall_ms - started_at_ms),
                    detector=detector,
                    pulse=Pulse(camera.device, self._voice),
                    put=self._keeper.put,
                )
            )
            for camera, detector in zip(self._config.edge.cameras, self._detectors, strict=True)
        ]

    def _sensor_loops(self) -> list[SensorInput | SensorFiles]:
        inputs, files = list[SensorInput](), list[SensorFile]()
        for sensor in self._config.edge.sensors:
            pulse = Pulse(sensor.device, self._voice)
            if sensor.source == "-":
                inputs.append(SensorInput(pulse, self._keeper))
            else:
                files.append(SensorFile(Path(self._config.folder) / sensor.source, pulse, self._keeper))
        return [*inputs, *together(files, self._keeper)]

    def _open_outbox(self) -> Outbox:
        return Outbox(
            outbox_path(self._config),
            machine=machine_hash(),
            boot_id=self._boot_id,
            max_bytes=self._config.edge.max_outbox_mb * MEBIBYTE,
        )

    def _make_link(self) -> Link:
        tenant, agent = self._config.tenant, self._config.edge.agent
        return Link(
            self._config.mqtt,
            f"gw-{tenant}-{agent}",
            on_message=self._message_came,
            subscriptions=tuple(topics.ack(tenant, device) for device in self._devices),
            will=self._last_will,
            greetings=lambda: [self._status(is_online=True)],
            on_change=lambda is_up: self._keeper.connected() if is_up else None,
        )

    def _message_came(self, topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        self._keeper.ack_came(topic, payload)
        ack()

    def _last_will(self) -> tuple[str, bytes]:
        """Return the last will of a connection that is about to be made; it names that one and no other."""
        self._connect_id = f"conn-{uuid.uuid4().hex[:16]}"
        return self._status(is_online=False)

    def _status(self, *, is_online: bool) -> tuple[str, bytes]:
        agent = self._config.edge.agent
        topic = topics.status(self._config.tenant, agent)
        status = Status(
            v=VERSION,
            device_id=agent,
            connect_id=self._connect_id,
            online=is_online,
            at_ms=moment.now().wall_ms,
        )
        return topic, self._keys.seal(topic, encode(status), kid=agent)


def _version(folder: Path) -> str:
    """Return a short hash of the config file in force."""
    try:
        return hashlib.sha256((folder / FILE).read_bytes()).hexdigest()[:12]
    except OSError:
        return ""
