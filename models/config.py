"""`gridwarden.toml`: what runs, and where. A strict, frozen tree; defaults live here; secrets do not.

Paths in the file are relative to the folder that holds it. Secrets come from files (`password_file`, the key folder).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from models.content import convert, duplicates, read_toml
from models.errors import ConfigError, Problem
from models.messages import Id

FILE: Final = "gridwarden.toml"
Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[float, Meta(gt=0)]

UNIT_GRID_M2: Final = (3_000.0, 30_000.0)
"""A unit grid has about 10,000 m2: no limits are given, and it follows streets and yards. A third to three times it."""


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every part of the file: an unknown key is a mistake, not a comment."""


class Mqtt(Section, frozen=True, kw_only=True):
    """The broker.

    Attributes:
        embedded: `gridwarden up` starts its own broker; false: `host` and `port` name one that is there.
        port: 0 lets `gridwarden up` choose a free one.
        protocol: MQTT 5, or 4 for MQTT 3.1.1.
        port_v3: where the embedded broker listens for MQTT 3.1.1 beside MQTT 5, if at all.
        max_payload_bytes: limit of the embedded broker; ingest's own limit is 64 KiB.
    """

    embedded: bool = True
    host: str = "127.0.0.1"
    port: Port = 1883
    protocol: Literal[4, 5] = 5
    port_v3: Port | None = None
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=600)] = 15
    max_payload_bytes: Annotated[int, Meta(ge=65536)] = 2 * 1024 * 1024


class Camera(Section, frozen=True, kw_only=True):
    """A picture source of this agent.

    Attributes:
        device: the device id, as in `places.geojson`.
        source: a clip, a folder of pictures, `rtsp://...`, or a number for a local camera.
        pace: `own` plays a file at its own speed; `fast` as fast as it can be read.
    """

    device: Id
    source: str
    pace: Literal["own", "fast"] = "own"


class Sensor(Section, frozen=True, kw_only=True):
    """A source of readings: a file of JSON lines that is followed as it grows, or `-` for standard input."""

    device: Id
    source: str


class Edge(Section, frozen=True, kw_only=True):
    """The edge agent.

    Attributes:
        detector: name in the zoo, or the path of a manifest, as seen from the config folder.
        precision: `fp32` or `int8`; without it, what the manifest names.
        provider: of ONNX Runtime: `cpu`, or what its build on this machine has beside it, such as `xnnpack` or `cuda`.
        threads: of ONNX Runtime within one picture; each camera has a thread of its own beside.
        detect_fps: frames per second and camera given to the detector at most.
        floor: candidates below this confidence are not published.
        max_outbox_mb: the outbox never grows beyond this.
        heartbeat_s: one heartbeat per camera and period.
        canary_s: each device sends one observation in so long that goes the whole way and tells nobody.
        redaction: `outside_box` pixelates everything but the detection; `none` needs a policy.
        evidence_margin: margin around the box that stays sharp, as a share of the box.
    """

    agent: Id = "edge-01"
    cameras: tuple[Camera, ...] = ()
    sensors: tuple[Sensor, ...] = ()
    detector: str = "fire_smoke"
    precision: Literal["fp32", "int8"] | None = None
    provider: str = "cpu"
    detect_fps: Positive = 5.0
    floor: Annotated[float, Meta(ge=0.01, le=1.0)] = 0.15
    max_outbox_mb: Annotated[int, Meta(ge=1)] = 512
    heartbeat_s: Positive = 15.0
    canary_s: Positive = 60.0
    redaction: Literal["outside_box", "none"] = "outside_box"
    evidence_margin: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.25
    threads: Annotated[int, Meta(ge=1, le=64)] = 1


class Adapter(Section, frozen=True, kw_only=True):
    """Devices of another make, on the same broker. The broker decides who may publish there: they do not seal.

    Attributes:
        base: the base topic of Zigbee2MQTT, the discovery prefix of Home Assistant, the group id of Sparkplug B, the
            prefix of ESPHome, the topic filter of plain JSON; empty: the usual one.
    """

    kind: Literal["zigbee2mqtt", "tasmota", "homeassistant", "sparkplug", "esphome", "json"]
    base: str = ""


class Stream(Section, frozen=True, kw_only=True):
    """The stream processor.

    Attributes:
        broker: `embedded` keeps the log in the state folder; `kafka://host:port,host:port` is Kafka.
        partitions: of `obs`; fixed once the log exists.
        retention_days: records of the log older than this may go, once everybody has done with them.
        max_log_mb: the embedded log never grows beyond this.
        standby_replicas: workers on Kafka that keep the state of a partition beside the one that owns it.
        late_alarm_s: a late observation alarms like a live one while younger than this.
        adapters: makes of devices beside our own that are listened to.
        metrics_port: Prometheus may ask there, on loopback; 0 chooses one, further workers take the ports after it.
            None: nobody may.
    """

    broker: str = "embedded"
    partitions: Annotated[int, Meta(ge=1, le=1024)] = 4
    retention_days: Positive = 14.0
    max_log_mb: Annotated[int, Meta(ge=16)] = 4096
    standby_replicas: Annotated[int, Meta(ge=0, le=3)] = 1
    late_alarm_s: Positive = 1800.0
    adapters: tuple[Adapter, ...] = ()
    metrics_port: Port | None = None


class Influx(Section, frozen=True, kw_only=True):
    """An InfluxDB 2.

    Attributes:
        token_file: holds a token that may read and write the bucket, and make it if it is not there.
    """

    url: str
    token_file: str
    org: str = "gridwarden"
    bucket: str = "gridwarden"


class History(Section, frozen=True, kw_only=True):
    """What became of every observation.

    Attributes:
        keep_days: older rows are let go of.
        influx: kept there, by a process of its own (`gridwarden history`); None: in the state folder.
        metrics_port: Prometheus may ask that process there, on loopback; 0 chooses one. None: nobody may.
    """

    keep_days: Annotated[int, Meta(ge=1, le=36_500)] = 90
    influx: Influx | None = None
    metrics_port: Port | None = None


class Alerts(Section, frozen=True, kw_only=True):
    """Casework and the command center.

    Attributes:
        host: loopback by default; anything else wants TLS in front.
        port: 0 lets the system choose; the address is printed.
        ledger: `embedded` keeps it in the state folder; else an SQLAlchemy URL.
        demo_logins: the seat's page links to the officers' pages, for trying it out alone. Never in the field.
        metrics_port: Prometheus may ask there, on loopback; 0 chooses one. None: nobody may.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    ledger: str = "embedded"
    demo_logins: bool = False
    metrics_port: Port | None = None


class Config(Section, frozen=True, kw_only=True):
    """The whole file. `folder` is where the other config files lie: by default, beside it.

    Attributes:
        max_file_mb: a larger `places.geojson` is refused before it is read, so that a wrong file takes no memory.
        unit_grid_m2: least and most area of a unit grid; `gridwarden check` remarks on others.
    """

    tenant: Id
    state_dir: str = "var"
    max_file_mb: Annotated[int, Meta(ge=1, le=4096)] = 256
    unit_grid_m2: tuple[Annotated[float, Meta(ge=0)], Positive] = UNIT_GRID_M2
    mqtt: Mqtt = Mqtt()
    edge: Edge = Edge()
    stream: Stream = Stream()
    history: History = History()
    alerts: Alerts = Alerts()
    folder: str = ""

    @property
    def state(self) -> Path:
        """Where logs, ledgers, outboxes and keys live."""
        return self.resolve(self.state_dir)

    @property
    def max_file_bytes(self) -> int:
        """The largest `places.geojson` that is read."""
        return self.max_file_mb * 2**20

    @property
    def keys(self) -> Path:
        """Where the key files live."""
        return self.state / "keys"

    def resolve(self, path: str) -> Path:
        """Return `path` as seen from the config folder."""
        return Path(self.folder) / path


def load(folder: Path) -> Config:
    """Return the config of `folder`, or of the file itself; files that it names are seen from the folder.

    A file that names a `folder` (as the effective config of `gridwarden up` does) is read as if it lay there.

    Raises:
        ConfigError: all that is wrong with it: unreadable, unknown keys, wrong values, a device that is named twice.
    """
    path = folder if folder.is_file() else folder / FILE
    problems: list[Problem] = []
    config = convert(read_toml(path), Config, file=path, path="", problems=problems)
    if config is None:
        raise ConfigError(problems)
    if not config.folder:
        config = replace(config, folder=str(path.parent.absolute()))
    files = {"password_file": config.mqtt.password_file, "ca_file": config.mqtt.ca_file}
    seen_from_here = {name: str(config.resolve(value)) for name, value in files.items() if value is not None}
    config = replace(config, mqtt=replace(config.mqtt, **seen_from_here))
    if Path(config.edge.detector).suffix:
        config = replace(config, edge=replace(config.edge, detector=str(config.resolve(config.edge.detector))))
    if influx := config.history.influx:
        influx = replace(influx, token_file=str(config.resolve(influx.token_file)))
        config = replace(config, history=replace(config.history, influx=influx))
    served = [(f"edge.cameras[{i}].device", camera.device) for i, camera in enumerate(config.edge.cameras)]
    served += [(f"edge.sensors[{i}].device", sensor.device) for i, sensor in enumerate(config.edge.sensors)]
    for i, device in duplicates([device for _, device in served]):
        problems.append(Problem(path, served[i][0], f"{device!r} is served twice", "give each device one source"))
    for i, adapter in enumerate(config.stream.adapters):
        if adapter.kind == "json" and not adapter.base:
            what, remedy = "plain JSON has no usual topic", 'give a topic filter, such as base = "sensors/+/state"'
            problems.append(Problem(path, f"stream.adapters[{i}].base", what, remedy))
    least_m2, most_m2 = config.unit_grid_m2
    if least_m2 >= most_m2:
        problems.append(Problem(path, "unit_grid_m2", "holds no area", "give the least area first, then the most"))
    if problems:
        raise ConfigError(problems)
    return config


def to_toml(config: Config) -> bytes:
    """Return `config` as TOML, for writing samples and the effective config of `gridwarden up`."""
    return msgspec.toml.encode(msgspec.to_builtins(config))
