from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from models import topics
from models.config import Camera, Config, Edge, Mqtt, Sensor, to_toml
from models.link import Link
from models.messages import VERSION, Ack, Evidence, Heartbeat, Observation, ObservationBatch, decode, encode
from models.seal import Keyring, load_keys, make_keys
from models.seqset import to_ranges
from tests.edge.red import write_detector

KIDS = ["edge-01", "cam-01", "cam-02", "smoke-01", "stream", "alerts"]


class Stream:
    """The other end of the hop: opens what the agent seals, keeps it, and acknowledges while `acks` is true."""

    def __init__(self, settings: Mqtt, keys: Keyring, *, name: str = "stream") -> None:
        self.acks = True
        self.observations: list[Observation] = []
        self.batches: list[ObservationBatch] = []
        self.heartbeats: list[Heartbeat] = []
        self.pictures: list[tuple[Evidence, bytes]] = []
        self.statuses: list[bytes] = []
        self._keys = keys
        filters = tuple(f"gw/v1/t/+/{what}" for what in ("obs", "hb", "status", "evidence/+"))
        self.link = Link(settings, name, on_message=self._take, subscriptions=filters)

    def _take(self, topic: str, payload: bytes, _retained: bool, done: Callable[[], None]) -> None:
        kid, line, attachment = self._keys.open(topic, payload)
        parsed = topics.parse(topic)
        assert parsed is not None
        assert parsed.who == kid
        done()
        if parsed.what == "obs":
            self._take_batch(kid, decode(line, ObservationBatch))
        elif parsed.what == "hb":
            self.heartbeats.append(decode(line, Heartbeat))
        elif parsed.what == "status":
            self.statuses.append(line)
        else:
            self._take_picture(kid, decode(line, Evidence), attachment)

    def _take_batch(self, device: str, batch: ObservationBatch) -> None:
        self.batches.append(batch)
        self.observations += batch.observations
        if self.acks:
            for lane in {observation.lane for observation in batch.observations}:
                seqs = to_ranges(o.seq for o in batch.observations if o.lane == lane)
                outbox_id = batch.observations[0].outbox_id
                ack = Ack(v=VERSION, receiver="stream", outbox_id=outbox_id, lane=lane, stored=seqs)
                self.say(device, encode(ack), kid="stream")

    def _take_picture(self, device: str, head: Evidence, jpeg: bytes) -> None:
        assert hashlib.sha256(jpeg).hexdigest() == head.sha256
        self.pictures.append((head, jpeg))
        if self.acks:
            ack = Ack(v=VERSION, receiver="alerts", evidence=((head.evidence_id, head.sha256),))
            self.say(device, encode(ack), kid="alerts")

    def say(self, device: str, line: bytes, *, kid: str) -> None:
        """Publish `line` where `device` listens for acknowledgements."""
        topic = topics.ack("t", device)
        self.link.publish(topic, self._keys.seal(topic, line, kid=kid))

    def by_device(self, device: str) -> list[Observation]:
        """What came of one device, without the copies."""
        found = {(o.lane, o.seq): o for o in self.observations if o.device_id == device}
        return [found[key] for key in sorted(found)]


@pytest.fixture
def keys(tmp_path: Path) -> Keyring:
    """Keys of everybody, in the state folder."""
    make_keys(tmp_path / "var" / "keys", KIDS)
    return load_keys(tmp_path / "var" / "keys")


@contextmanager
def serving(settings: Mqtt, keys: Keyring, *, acks: bool = True, name: str = "stream") -> Iterator[Stream]:
    """A connected `Stream`."""
    other = Stream(settings, keys, name=name)
    other.acks = acks
    other.link.start()
    assert other.link.wait_connected(10)
    yield other
    other.link.stop()


@pytest.fixture
def stream(mqtt_broker: Mqtt, keys: Keyring) -> Iterator[Stream]:
    """The other end of the hop."""
    with serving(mqtt_broker, keys) as other:
        yield other


def write_config(
    folder: Path, settings: Mqtt, *, cameras: tuple[Camera, ...] = (), sensors: tuple[Sensor, ...] = ()
) -> Config:
    """Write a config folder with the detector that sees red; return the config."""
    edge = Edge(
        cameras=cameras, sensors=sensors, detector=str(write_detector(folder)), detect_fps=10.0, heartbeat_s=0.5
    )
    config = Config(tenant="t", mqtt=settings, edge=edge)
    (folder / "gridwarden.toml").write_bytes(to_toml(config))
    return msgspec.structs.replace(config, folder=str(folder))
