"""The embedded MQTT broker: rumqttd, compiled into the wheel of `iotcore`, tamed by a generated config file.

Left to itself it listens on 0.0.0.0, takes 20 KiB payloads and keeps up to a gigabyte of log segments in memory.
It keeps nothing on disk and has no access list per topic: the chain relies on it for neither (acknowledgements and
seals are ours).
"""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Final

from models.config import Config, Mqtt
from models.errors import ConfigError, Problem

log = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 8 * 1024 * 1024
SEGMENTS: Final = 4


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def rumqttd_toml(settings: Mqtt, password: str | None = None) -> str:
    """Return the rumqttd config for `settings`: bound to its host, with limits on payloads and memory."""
    listeners = [(5 if settings.protocol == 5 else 4, settings.port)]
    if settings.port_v3 is not None:
        listeners.append((4, settings.port_v3))
    return _ROUTER + "".join(_listener(settings, version, port, password) for version, port in listeners)


_ROUTER = f"""\
id = 0

[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = {SEGMENT_BYTES}
max_segment_count = {SEGMENTS}
"""


def _listener(settings: Mqtt, version: int, port: int, password: str | None) -> str:
    auth = f'auth = {{ "{settings.username}" = "{password}" }}\n' if settings.username and password else ""
    return f"""
[v{version}.1]
name = "v{version}-1"
listen = "{settings.host}:{port}"
next_connection_delay_ms = 1

[v{version}.1.connections]
connection_timeout_ms = 60000
max_payload_size = {settings.max_payload_bytes}
max_inflight_count = 256
dynamic_filters = true
{auth}"""


def run(config: Config) -> None:
    """Serve until killed, in this process: it has no children that could outlive it.

    Raises:
        ConfigError: the port is taken.
    """
    from iotcore.iotcore import IotCoreBroker

    settings = config.mqtt
    password = None
    if settings.password_file is not None:
        password = Path(settings.password_file).read_text().strip()
    path = config.state / "rumqttd.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(rumqttd_toml(settings, password))
    broker = IotCoreBroker(config_path=str(path))
    try:
        broker.check_ports()
    except OSError as exc:
        where = Path(config.folder) / "gridwarden.toml"
        what = f"{settings.host}:{settings.port} is taken"
        raise ConfigError([Problem(where, "mqtt.port", what, "name a free port, or 0 to have one chosen")]) from exc
    for name in ("rumqttd", "tracing", "iotcore"):
        # It reports its every step at level ERROR, through Python's logging and so under the GIL.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    log.info("broker listening on %s:%s", settings.host, settings.port)
    broker.run_forever()
