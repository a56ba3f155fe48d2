"""The Faust app on its log, set up as design.md 5 found that it must be."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import faust

from models.config import FILE, Config
from models.errors import ConfigError, Problem

APP_ID: Final = "stream"
LOG_FILE: Final = "log.db"
CONTROL_TOPIC: Final = f"{APP_ID}-control-changelog"
"""Where the config contents stand, by their hash."""


def broker_url(config: Config) -> str:
    """Return where the log is, for Faust.

    Raises:
        ConfigError: on a broker for which this program cannot make topics yet.
    """
    broker = config.stream.broker
    if broker == "embedded":
        return f"sqlite://{(config.state / LOG_FILE).absolute()}"
    if not broker.startswith("sqlite://"):
        where = Path(config.folder) / FILE
        problem = Problem(where, "stream.broker", f"{broker!r} is not served yet", 'use "embedded"')
        raise ConfigError([problem])
    return broker


def faust_app(config: Config) -> faust.App:
    """Return the app, without topics and agents.

    Raises:
        ConfigError: as `broker_url`.
    """
    return faust.App(
        APP_ID,
        broker=broker_url(config),
        store="memory://",
        datadir=str(config.state / "faust"),
        web_enabled=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        stream_buffer_maxsize=256,  # records, that is batches: bounds memory
        broker_commit_interval=0.5,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=2.0,
        value_serializer="raw",
    )
