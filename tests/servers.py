"""Real servers for tests and benchmarks: Kafka, InfluxDB and Mosquitto as processes on free ports of this machine.

`make services` gets them; none of them needs a container. Each is a context: started, answering, and gone afterwards.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.broker import free_port
from models.config import Mqtt

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gridwarden" / "services"
KAFKA: Final = CACHE / "kafka-4.1.0" / "lib"
INFLUXD: Final = CACHE / "influxdb-2.7.12" / "influxd"
MOSQUITTO: Final = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
START_S: Final = 90.0

_KAFKA_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""


def missing() -> dict[str, str]:
    """Return which servers are not there, and how to get each."""
    there = {
        "Kafka": KAFKA.is_dir() and shutil.which("java") is not None,
        "InfluxDB": INFLUXD.exists(),
        "Mosquitto": MOSQUITTO is not None,
    }
    return {name: f"{name} is not there; get it: make services" for name, is_there in there.items() if not is_there}


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


class Server:
    """A process that can be stopped, killed, frozen and started again, on the same port and with the same data.

    Attributes:
        command: its command line, for who runs it by another's means.
        is_up: whether it answers.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path, is_up: Callable[[], bool]) -> None:
        self.log_file = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.command, self.is_up = command, is_up
        self._name = name

    def start(self) -> None:
        """Start it, and return when it answers."""
        with self.log_file.open("ab") as sink:
            self.process = subprocess.Popen(self.command, stdout=sink, stderr=sink)
        end_s = time.monotonic() + START_S
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > end_s:
                raise RuntimeError(f"{self._name} did not start:\n{self.log_file.read_text()[-3000:]}")
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP freezes it and SIGCONT thaws it."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def _running(server: Server) -> Iterator[None]:
    try:
        server.start()
        yield
    finally:
        server.kill()


# --- Kafka ---------------------------------------------------------------------------------------------------------


class Kafka(Server):
    """One Apache Kafka in KRaft mode: broker and controller in one process.

    Args:
        folder: for its data and log.
        advertised: the port that it tells its clients; another than its own where a proxy stands before it.

    Attributes:
        port: where it listens.
        url: for `stream.broker`.
    """

    def __init__(self, folder: Path, *, advertised: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"kafka://127.0.0.1:{advertised or self.port}"
        self._properties = folder / "server.properties"
        ports = {"port": self.port, "controller": free_port(), "advertised": advertised or self.port}
        self._properties.write_text(_KAFKA_PROPERTIES.format(folder=folder, **ports))
        command = [*_java("-Xmx512m", "-XX:TieredStopAtLevel=1"), "kafka.Kafka", str(self._properties)]
        super().__init__("kafka", command, folder, lambda: answers(self.port))

    def format(self) -> None:
        """Make the data folder."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        tool = [*_java(), "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c"]
        subprocess.run([*tool, str(self._properties)], check=True, capture_output=True)


def _java(*options: str) -> list[str]:
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ["java", "-XX:+UseSerialGC", "-Xshare:auto", quiet, *options, "-cp", f"{KAFKA}/*"]


@contextlib.contextmanager
def kafka(folder: Path, *, advertised: int | None = None) -> Iterator[Kafka]:
    """Run a Kafka of one's own: 6 to 10 s to start."""
    server = Kafka(folder, advertised=advertised)
    server.format()
    with _running(server):
        yield server


# --- InfluxDB ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InfluxAccess:
    """How to reach an InfluxDB: what an `InfluxDBClient` wants."""

    url: str
    org: str
    bucket: str
    token: str


class Influx(Server):
    """One InfluxDB 2.7, set up with an organisation, a bucket and a token: see `access`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.access = InfluxAccess(f"http://127.0.0.1:{self.port}", "gridwarden", "gridwarden", uuid.uuid4().hex)
        paths = {"bolt": "influxd.bolt", "engine": "engine", "sqlite": "influxd.sqlite"}
        command = [str(INFLUXD), "--http-bind-address", f"127.0.0.1:{self.port}", "--reporting-disabled"]
        command += [part for name, path in paths.items() for part in (f"--{name}-path", str(folder / path))]
        super().__init__("influxd", command, folder, self._is_ready)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.access.url}/health", timeout=1.0) as answer:
                return bool(json.load(answer)["status"] == "pass")
        except (OSError, ValueError):
            return False

    def set_up(self) -> None:
        """Make user, organisation, bucket and token, once."""
        wanted = {"username": "gridwarden", "password": uuid.uuid4().hex, "org": self.access.org}
        body = json.dumps({**wanted, "bucket": self.access.bucket, "token": self.access.token}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.access.url}/api/v2/setup", data=body, headers=headers)
        urllib.request.urlopen(request, timeout=10.0).close()


@contextlib.contextmanager
def influxdb(folder: Path) -> Iterator[Influx]:
    """Run an InfluxDB of one's own: about a second to start."""
    server = Influx(folder)
    with _running(server):
        server.set_up()
        yield server


# --- Mosquitto -----------------------------------------------------------------------------------------------------


class Mosquitto(Server):
    """One Mosquitto. `mqtt` is the section of the config that reaches it."""

    def __init__(self, folder: Path, *, username: str = "", password: str = "", lines: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        passwords, config, password_file = folder / "passwords", folder / "mosquitto.conf", folder / "password"
        # Run by root it would become the user `mosquitto`, who may not read a temporary folder of ours.
        settings = [f"listener {port} 127.0.0.1", "user root", "max_queued_messages 0", *lines]
        if username:
            password_file.write_text(password + "\n")
            passwords.touch(mode=0o600)
            subprocess.run(["mosquitto_passwd", "-b", str(passwords), username, password], check=True)
            settings += [f"password_file {passwords}", "allow_anonymous false"]
            self.mqtt = Mqtt(embedded=False, port=port, username=username, password_file=str(password_file))
        else:
            settings.append("allow_anonymous true")
            self.mqtt = Mqtt(embedded=False, port=port)
        config.write_text("\n".join(settings) + "\n")
        super().__init__("mosquitto", [str(MOSQUITTO), "-c", str(config)], folder, lambda: answers(port))


@contextlib.contextmanager
def mosquitto(
    folder: Path, *, username: str = "", password: str = "", lines: Sequence[str] = ()
) -> Iterator[Mosquitto]:
    """Run a Mosquitto of one's own, for everybody or for one user."""
    server = Mosquitto(folder, username=username, password=password, lines=lines)
    with _running(server):
        yield server
