"""``gridwarden up``: the whole chain on one machine, started, watched, and stopped in order."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec

from models import broker, clock, seal, topics
from models.config import FILE, Camera, Config, load, to_toml
from models.errors import ConfigError, GridwardenError, MessageError, Problem
from models.link import Link
from models.messages import Alert, decode
from models.supervise import Child, Supervisor, gridwarden, write_atomically

log = logging.getLogger(__name__)

START_S: Final = 300.0
QUIET_S: Final = 3.0
"""After the end of the clips: how long nothing may change before the run counts as settled."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says.

    Attributes:
        config: a config folder, or None for the sample city.
        clips: clip n plays as camera n, at its own speed.
        until: `alert`, `end`, or None to run until stopped.
        state: where the state goes; None: where the config says, or, with clips, a folder that is removed at the end.
    """

    config: Path | None = None
    clips: tuple[str, ...] = ()
    until: str | None = None
    timeout_s: float | None = None
    as_json: bool = False
    state: Path | None = None
    demo: bool = False


def run(options: Options) -> int:
    """Run the chain as `options` say; return 0 when the goal is met, 1 when the time is over."""
    with contextlib.ExitStack() as stack:
        state = options.state
        if state is None and (options.clips or options.config is None):
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gridwarden-")))
        config = effective_config(options, state)
        make_keys(config)
        return _Chain(config, options).run()


# --- the effective config ------------------------------------------------------------------------------------------


def effective_config(options: Options, state: Path | None) -> Config:
    """Return the config that the children get, written to ``<state>/gridwarden.toml``.

    Raises:
        ConfigError: what the config folder says, a clip that is not there, or more clips than cameras.
    """
    folder = options.config
    if folder is None:
        assert state is not None
        folder = _sample_city(state / "city")
    config = load(folder)
    if state is not None:
        config = msgspec.structs.replace(config, state_dir=str(state.absolute()))
    else:
        config = msgspec.structs.replace(config, state_dir=str(config.state.absolute()))
    if options.clips:
        config = msgspec.structs.replace(
            config, edge=msgspec.structs.replace(config.edge, cameras=_cameras(config, options))
        )
    if config.mqtt.embedded:
        port = config.mqtt.port if options.config and config.mqtt.port else broker.free_port()
        config = msgspec.structs.replace(config, mqtt=msgspec.structs.replace(config.mqtt, port=port))
    if options.config is None or options.demo:
        alerts = msgspec.structs.replace(
            config.alerts,
            demo_logins=options.demo or config.alerts.demo_logins,
            port=_port_if_free(config.alerts.host, config.alerts.port),
        )
        config = msgspec.structs.replace(config, alerts=alerts)
    config.state.mkdir(parents=True, exist_ok=True)
    write_atomically(config.state / FILE, to_toml(config))
    return config


def _cameras(config: Config, options: Options) -> tuple[Camera, ...]:
    where = Path(config.folder) / FILE
    have = config.edge.cameras
    problems = []
    if len(options.clips) > len(have):
        what = f"{len(options.clips)} clips for {len(have)} cameras"
        problems.append(Problem(where, "edge.cameras", what, "name at most one clip per camera, or add cameras"))
    cameras = []
    for camera, clip in zip(have, options.clips, strict=False):
        source = clip
        if not clip.isdigit() and "://" not in clip:
            path = Path(clip).absolute()
            source = str(path)
            if not path.exists():
                problems.append(Problem(clip, "--clip", "there is no such file", "check the path"))
        cameras.append(Camera(device=camera.device, source=source))
    if problems:
        raise ConfigError(problems)
    return tuple(cameras)


def _sample_city(folder: Path) -> Path:
    if not (folder / FILE).exists():
        subprocess.run(
            gridwarden("city", "--units", "135", "--out", str(folder)), check=True, stdout=subprocess.DEVNULL
        )
    return folder


def _port_if_free(host: str, port: int) -> int:
    """Return `port` if it can be had, else one that can: a second demo must not die of the first."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return broker.free_port(host)
    return port


def make_keys(config: Config) -> None:
    """Make a key for everybody who sends and has none yet: stream, alerts, devices, officers."""
    from models.check import check

    found = check(Path(config.folder), trust=True)
    if found.problems:
        raise ConfigError(found.problems)
    assert found.places is not None
    assert found.people is not None
    devices = [device.id for device in found.places.devices]
    persons = [person.id for person in found.people.persons]
    seal.make_keys(config.keys, [topics.STREAM, topics.ALERTS, *devices, *persons])


# --- the chain -----------------------------------------------------------------------------------------------------


class _Chain:
    """The running chain: five processes and, here, a recorder subscribed where the officers are."""

    def __init__(self, config: Config, options: Options) -> None:
        self.config = config
        self.options = options
        self.stopping = threading.Event()
        self.is_starting = False
        self.alerted = threading.Event()
        self._supervisor = Supervisor(self._children(), config.state / "up.json")
        self._recorder: Link | None = None

    def _children(self) -> list[Child]:
        state = self.config.state
        effective = str(state / FILE)
        children = []
        if self.config.mqtt.embedded:
            children.append(self._child("broker", ["broker", effective], ready=self._broker_answers))
        children.append(self._child("stream", ["stream", effective], state / "stream.json"))
        if self.config.history.influx is not None:
            # Nobody waits for a database: alerts come without it, and the log keeps what it has not taken.
            children.append(self._child("history", ["history", effective], ready=lambda: True))
        children.append(self._child("alerts", ["alerts", effective], state / "alerts.json"))
        if self.config.edge.cameras or self.config.edge.sensors:
            children.append(self._child("edge", ["edge", effective], ready=lambda: True))
        return children

    def _child(
        self, name: str, args: list[str], ready_file: Path | None = None, ready: Callable[[], bool] | None = None
    ) -> Child:
        if ready is None:
            assert ready_file is not None
            ready = ready_file.exists
        log_file = self.config.state / f"{name}.log"
        return Child(name, gridwarden(*args), ready_file=ready_file, ready=ready, log_file=log_file)

    def _broker_answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((self.config.mqtt.host, self.config.mqtt.port), 0.2),
        ):
            return True
        return False

    def run(self) -> int:
        """Start, watch until the goal is met or the time is over, stop; then report."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked_to_stop)
        met = False
        try:
            self.is_starting = True
            self._start()
            met = self._watch()
            report = self._report() if self.options.as_json else None
        finally:
            self.is_starting = False
            if self._recorder is not None:
                self._recorder.stop()
            self._supervisor.stop()
        if report is not None:
            print(json.dumps(report, ensure_ascii=False, indent=2))
        return 0 if met or (self.options.until is None and self.stopping.is_set()) else 1

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping.set()
        if self.is_starting:
            raise KeyboardInterrupt  # nobody looks at `stopping` while waiting for a process to be ready

    def _start(self) -> None:
        """Start the chain; the edge last, so that its clip begins when everybody listens."""
        self._say("starting the chain ...")
        everyone = self._supervisor.children
        self._supervisor.start(timeout_s=START_S, only=[child for child in everyone if child.name != "edge"])
        self._recorder = Link(
            self.config.mqtt,
            "up-recorder",
            on_message=self._message_came,
            subscriptions=(topics.alert(self.config.tenant, "+"),),
        )
        self._recorder.start()
        self._recorder.wait_connected(10.0)
        for child in everyone:
            if child.name == "edge":
                if self.options.clips:
                    child.command = [*child.command, "--clip-started-at", str(clock.now_ms())]
                self._supervisor.start(timeout_s=START_S, only=[child])
        alerts = msgspec.json.decode((self.config.state / "alerts.json").read_bytes())
        self.is_starting = False  # before it is said: whoever waits for the address may stop us from then on
        self._say(f"\n  Command center:  {alerts['seat_login']}\n\nCtrl-C stops everything.")

    def _say(self, text: str) -> None:
        """Print for the person in front; with --json, standard output belongs to the object alone."""
        print(text, file=sys.stderr if self.options.as_json else sys.stdout, flush=True)

    def _message_came(self, topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        ack()
        try:
            alert = decode(seal.split(payload)[0], Alert)
        except MessageError:
            return
        parsed = topics.parse(topic)
        if parsed is None or parsed.what != alert.post or self.alerted.is_set():
            return
        self._say(f"alert: {alert.headline_en}  ->  {alert.person} ({alert.post}, step {alert.step})")
        self.alerted.set()

    def _watch(self) -> bool:
        """Return True once the goal is met; False when stopped or out of time."""
        until = self.options.until
        deadline_s = time.monotonic() + (self.options.timeout_s or float("inf"))
        settled = _Settled(self.config)
        while not self.stopping.wait(0.05):
            self._supervisor.watch()
            if until == "alert" and self.alerted.is_set():
                return True
            if until == "end" and settled.now():
                return True
            if time.monotonic() > deadline_s:
                self._say(f"the time is over: {self.options.timeout_s:.0f} s")
                return False
        return False

    def _report(self) -> dict[str, Any]:
        """Return the JSON object of the issue: what `alerts` knows, and the counters of `stream`."""
        effective = str(self.config.state / FILE)
        done = subprocess.run(gridwarden("summary", effective, "--json"), capture_output=True, check=False, timeout=60)
        if done.returncode != 0:
            raise GridwardenError(f"gridwarden summary failed: {done.stderr.decode(errors='replace').strip()}")
        report: dict[str, Any] = json.loads(done.stdout)
        counters = msgspec.json.decode((self.config.state / "stream.json").read_bytes())["counters"]
        for name in ("observations", "dead_letters", "pre_alarms_cleared"):
            report[name] = counters[name]
        return report


class _Settled:
    """Whether every clip has ended, the outbox is empty, and nothing has changed in the stream for `QUIET_S`."""

    def __init__(self, config: Config) -> None:
        self._ended = config.state / f"edge-{config.edge.agent}.ended"
        self._stream = config.state / "stream.json"
        self._last = b""
        self._since_s = time.monotonic()

    def now(self) -> bool:
        if not self._ended.exists():
            return False
        counters = self._stream.read_bytes()
        if counters != self._last:
            self._last, self._since_s = counters, time.monotonic()
        return time.monotonic() - self._since_s > QUIET_S
