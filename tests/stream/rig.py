"""A real stream process on a folder of its own, and, around it, test devices and a listener where `alerts` would be."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from models import city, clock, seal, topics
from models.config import FILE, Config, Mqtt, load, to_toml
from models.link import Link
from models.messages import (
    Ack,
    Decision,
    DecisionKind,
    Detection,
    DispatchOrder,
    Lane,
    Message,
    Observation,
    ObservationBatch,
    Payload,
    Reading,
    Status,
    decode,
    encode,
)
from models.seqset import to_ranges
from stream.log.file import Record
from stream.recorded import Recorded
from stream.status import file_of
from tests.conftest import wait_until

M = TypeVar("M", bound=Message)
COMMAND = """
import argparse, logging, sys
from models.errors import GridwardenError
from stream.commands import register
logging.basicConfig(level="INFO", stream=sys.stderr)
parser = argparse.ArgumentParser()
register(parser.add_subparsers())
arguments = parser.parse_args()
try:
    sys.exit(arguments.run(arguments))
except GridwardenError as exc:
    sys.exit(f"{exc}")
"""
THRESHOLDS = """
min_hits = 3
window_s = 10
verify_s = 90
[labels.fire]
hint = 0.3
alarm = 0.6
[labels.smoke]
hint = 0.3
alarm = 0.6
[properties.smoke]
unit = "1"
hint = 0.5
alarm = 0.5
"""


def make_folder(
    folder: Path, mqtt: Mqtt, *, units: int = 8, broker: str = "embedded", tenant: str = "sample"
) -> Config:
    """Write a config folder with a small city, keys for everybody, and the state inside it.

    On a Kafka that others use as well, a `tenant` of one's own has topics of its own.
    """
    generated = city.generate(units)
    city.write(generated, folder)
    (folder / "thresholds.toml").write_text(THRESHOLDS)
    config = replace(load(folder), mqtt=mqtt, tenant=tenant)
    config = replace(config, stream=replace(config.stream, broker=broker))
    (folder / FILE).write_bytes(to_toml(config))
    seal.make_keys(config.keys, [topics.STREAM, topics.ALERTS, *(device.id for device in generated.places.devices)])
    return config


class StreamProcess:
    """The stream processor as `gridwarden stream` runs it: the only worker, or one of several on Kafka."""

    def __init__(self, config: Config, worker: str | None = None) -> None:
        self.config = config
        self.worker = worker
        self.log_file = config.state / file_of(worker).replace(".json", ".log")
        self.state_file = config.state / file_of(worker)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.state_file.unlink(missing_ok=True)
        self.spawn()
        self.wait(self.state_file.exists, 100.0)

    def spawn(self) -> None:
        """Start the process without waiting until it serves."""
        named = ["--worker", self.worker] if self.worker else []
        with self.log_file.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, "stream", self.config.folder, *named], stdout=sink, stderr=sink
            )

    def wait(self, is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Wait for `is_so`; when it does not come, fail with what the process said."""
        end_s = time.monotonic() + timeout_s
        while not is_so():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > end_s:
                pytest.fail(f"exit code {self.process.poll()}:\n{self.log_file.read_text()[-5000:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(15.0)

    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = msgspec.json.decode(self.state_file.read_bytes())["counters"]
        return counters

    def history(self, columns: str = "device_id, outbox_id, lane, seq") -> list[tuple[Any, ...]]:
        """The rows of the history, as its file has them now."""
        with sqlite3.connect(self.config.state / "history.db") as connection:
            return connection.execute(f"SELECT {columns} FROM history ORDER BY 1, 2, 3, 4").fetchall()

    def records(self, topic: str, partition: int = 0) -> list[Record]:
        """What stands in the log."""
        recorded = Recorded(self.log)
        try:
            return list(recorded.records(topic, partition))
        finally:
            recorded.close()

    @property
    def log(self) -> str:
        """Where the log is, for `Recorded` and `replay`."""
        broker = self.config.stream.broker
        return str(self.config.state / "log.db") if broker == "embedded" else f"{broker}/{self.config.tenant}"


@contextmanager
def running(config: Config, worker: str | None = None) -> Iterator[StreamProcess]:
    """Run the stream; whatever happens it is gone afterwards."""
    stream = StreamProcess(config, worker)
    try:
        stream.start()
        yield stream
    finally:
        if stream.process is not None and stream.process.poll() is None:
            stream.kill()


class Listener:
    """Subscribed where `alerts` and the devices listen. Keeps everything, answers nothing by itself."""

    def __init__(self, config: Config, name: str = "listener") -> None:
        self.config = config
        self.keys = seal.load_keys(config.keys)
        self.messages: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()
        self.tenant = config.tenant
        filters = (f"{topics.ROOT}/{self.tenant}/orders/+", f"{topics.ROOT}/{self.tenant}/+/ack")
        self.link = Link(config.mqtt, name, on_message=self._came, subscriptions=filters)
        self.link.start()
        assert self.link.wait_connected(10.0)

    def _came(self, topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        with self._lock:
            self.messages.append((topic, payload))
        ack()

    def _decoded(self, what: str, kind: type[M]) -> list[tuple[str, M]]:
        with self._lock:
            messages = list(self.messages)
        found = []
        for topic, payload in messages:
            if what in topic.split("/"):
                kid, line, _ = self.keys.open(topic, payload)
                if kid == topics.STREAM:
                    found.append((topic, decode(line, kind)))
        return found

    def orders(self) -> list[DispatchOrder]:
        return [order for _, order in self._decoded("orders", DispatchOrder)]

    def acks(self, sender: str) -> list[Ack]:
        return [ack for topic, ack in self._decoded("ack", Ack) if topic == topics.ack(self.tenant, sender)]

    def acked(self, sender: str, lane: str = "alarm") -> set[int]:
        """The seqs that the stream has said to have stored."""
        return {
            seq
            for ack in self.acks(sender)
            if ack.lane == lane
            for first, last in ack.stored
            for seq in range(first, last + 1)
        }

    def send(self, topic: str, message: Message, kid: str) -> None:
        self.publish(topic, self.keys.seal(topic, encode(message), kid=kid))

    def publish(self, topic: str, payload: bytes) -> None:
        wait_until(lambda: self.link.publish(topic, payload))

    def store(self, *orders: DispatchOrder) -> None:
        """Say that these orders are stored, as `alerts` does."""
        ranges = to_ranges(order.seq for order in orders)
        ack = Ack(v=1, receiver="alerts", outbox_id=orders[0].outbox_id, stored=ranges)
        self.send(topics.ack(self.tenant, topics.STREAM), ack, topics.ALERTS)

    def decide(self, order: DispatchOrder, kind: DecisionKind, seq: int) -> None:
        """Decide about an incident, as `alerts` passes it on."""
        incident_id = order.incident.incident_id
        decision = Decision(
            v=1,
            outbox_id="ledger",
            seq=seq,
            incident_id=incident_id,
            expected_revision=order.revision,
            kind=kind,
            by="p-0001",
            at_ms=clock.now_ms(),
        )
        self.send(topics.decision(self.tenant, incident_id), decision, topics.ALERTS)


class TestDevice:
    """A device that seals and sends what it is told to, and forgets it."""

    __test__ = False

    def __init__(self, listener: Listener, device_id: str = "cam-01", boot_id: str = "boot-1") -> None:
        self.device_id = device_id
        self.boot_id = boot_id
        self.outbox_id = f"outbox-{device_id}"
        self.seq = 0
        self._listener = listener

    def observe(
        self, payload: Payload, *, lane: Lane = Lane.ALARM, age_ms: int = 0, clock_off_ms: int = 0
    ) -> Observation:
        self.seq += 1
        return Observation(
            device_id=self.device_id,
            outbox_id=self.outbox_id,
            boot_id=self.boot_id,
            lane=lane,
            seq=self.seq,
            observed_at_ms=clock.now_ms() - age_ms + clock_off_ms,
            observed_mono_ms=clock.mono_ms() - age_ms,
            inferred_mono_ms=clock.mono_ms() - age_ms + 20,
            payload=payload,
        )

    def fires(self, count: int, *, confidence: float = 0.8, apart_ms: int = 300) -> list[Observation]:
        """`count` sightings of one fire, the last of them just now."""
        return [self.observe(detection(confidence), age_ms=apart_ms * (count - 1 - i)) for i in range(count)]

    def batch(self, observations: list[Observation], *, clock_off_ms: int = 0) -> ObservationBatch:
        return ObservationBatch(
            v=1,
            boot_id=self.boot_id,
            sent_at_ms=clock.now_ms() + clock_off_ms,
            sent_mono_ms=clock.mono_ms(),
            observations=tuple(observations),
        )

    def send(self, observations: list[Observation], *, clock_off_ms: int = 0) -> None:
        batch = self.batch(observations, clock_off_ms=clock_off_ms)
        self._listener.send(topics.obs(self._listener.tenant, self.device_id), batch, self.device_id)

    def send_raw(self, payload: bytes) -> None:
        self._listener.publish(topics.obs(self._listener.tenant, self.device_id), payload)


def vanish(config: Config, device_id: str) -> None:
    """Connect as a device, and be gone without a word but the last will."""
    status = Status(v=1, device_id=device_id, connect_id=f"conn-{uuid.uuid4().hex}", online=False, at_ms=clock.now_ms())
    topic = topics.status(config.tenant, device_id)
    sealed = seal.load_keys(config.keys).seal(topic, encode(status), kid=device_id)
    link = Link(config.mqtt, device_id, will=lambda: (topic, sealed))
    link.start()
    assert link.wait_connected(10.0)
    sock = link._client.socket()
    assert isinstance(sock, socket.socket)
    link._stopping.set()
    sock.shutdown(socket.SHUT_RDWR)
    link.stop()


def detection(confidence: float = 0.8, label: str = "fire") -> Detection:
    return Detection(
        detector="fire_smoke",
        detector_version="1",
        label=label,
        confidence=confidence,
        box=(0.1, 0.1, 0.4, 0.5),
        track_id="t1",
        hits=3,
        first_seen_ms=clock.now_ms(),
    )


def reading(value: float, name: str = "smoke", unit: str = "1") -> Reading:
    return Reading(property=name, value=value, unit=unit)
