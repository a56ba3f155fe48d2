"""The Faust app and its log, on Kafka or embedded, set up as design.md 5 found that they must be."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, cast

import faust
from faust.types import TransportT
from mode.utils.queues import FlowControlEvent

from models.config import FILE, Config
from models.errors import ConfigError, Problem, StorageError
from stream.log.append import Log
from stream.log.file import NewTopic, Partition
from stream.log.kafka import KafkaLog, prefix_of, servers_of
from stream.log.kafka_transport import Transport as KafkaTransport
from stream.log.sqlite import SqliteLog

APP_ID: Final = "stream"
LOG_FILE: Final = "log.db"
CONTROL: Final = "control"


def changelog(table: str) -> str:
    """Return the topic that the rows of a table stand in."""
    return f"{APP_ID}-{table}-changelog"


CONTROL_TOPIC: Final = changelog(CONTROL)
"""Where the config contents stand, by their hash."""
_KAFKA: Final = "kafka://"
_DAY_MS: Final = 86_400_000


class StreamLog(Log, Protocol):
    """What both kinds of log can do."""

    @property
    def log_id(self) -> str:
        """Made with the log and never changed."""

    async def create_topics(self, topics: Sequence[NewTopic]) -> None:
        """Make those that are not there."""

    async def heads(self) -> dict[Partition, int]:
        """Return the offset that the next record will get, of every partition."""

    async def starts(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the lowest offset still in the log."""

    async def tidy(self, compacted: Iterable[str], *, now_ms: int) -> dict[Partition, int]:
        """Compact these topics and let go of what is too old; return how much was lost unread."""


class FlowControl(FlowControlEvent):
    """Lets records flow into the queues of streams and tables, or not.

    Faust calls `resume` several times at the end of a rebalance, and mode empties the queues each time: rows of a
    standby, and records that were handed over in between, would be lost without a trace.
    """

    def resume(self) -> None:
        """Let records flow; what was in the queues before they were stopped is forgotten, once."""
        if not self.is_active():
            super().resume()


class App(faust.App):
    """A Faust app that reads Kafka through our consumer, and loses nothing between two resumes."""

    @cached_property
    def flow_control(self) -> FlowControl:
        """What suspends and resumes the app's queues."""
        return FlowControl(loop=self.loop)

    def _new_transport(self) -> TransportT:
        urls = self.conf.broker_consumer
        return KafkaTransport(urls, self) if urls[0].scheme == "kafka" else super()._new_transport()


def is_kafka(config: Config) -> bool:
    """Whether several workers can share the log."""
    return config.stream.broker.startswith(_KAFKA)


def worker_name(config: Config) -> str:
    """Return a name that no other worker has, by which the brokers know this one."""
    return f"{socket.gethostname()}-{os.getpid()}" if is_kafka(config) else "0"


def broker_url(config: Config) -> str:
    """Return where the log is, for Faust.

    Raises:
        ConfigError: on a broker of another kind.
    """
    broker = config.stream.broker
    if broker == "embedded":
        limit_bytes = config.stream.max_log_mb << 20
        return f"sqlite://{(config.state / LOG_FILE).absolute()}?limit_bytes={limit_bytes}"
    if not broker.startswith(("sqlite://", _KAFKA)):
        where = Path(config.folder) / FILE
        problem = Problem(where, "stream.broker", f"{broker!r} is no log", 'use "embedded" or kafka://host:port')
        raise ConfigError([problem])
    return ";".join(f"{_KAFKA}{server}" for server in servers_of(broker).split(",")) if is_kafka(config) else broker


def recorded_at(config: Config) -> Path | str:
    """Return where the log of a config lies, for `stream.recorded`."""
    return f"{config.stream.broker}/{config.tenant}" if is_kafka(config) else config.state / LOG_FILE


def topic_name(config: Config, name: str) -> str:
    """Return what Faust calls the topic `name`."""
    return f"{prefix_of(config.tenant)}{name}" if is_kafka(config) else name


def declared(config: Config, tables: dict[str, int]) -> list[NewTopic]:
    """Return every topic of the app. `tables`: partitions by the name of the table."""
    retention_ms = round(config.stream.retention_days * _DAY_MS)
    by_street = dict.fromkeys(("obs", "history", "checkpoint"), config.stream.partitions)
    counts = {**by_street, **dict.fromkeys(("incidents", "checkpoint-desk", "orders"), 1)}
    return [
        *(NewTopic(name, count, retention_ms=retention_ms) for name, count in {**counts, "dead": 1}.items()),
        *(NewTopic(changelog(name), count, is_compacted=True) for name, count in tables.items()),
    ]


def faust_app(config: Config, worker: str, *, app_id: str = APP_ID) -> faust.App:
    """Return the app, without topics and agents.

    Args:
        config: where the log is.
        worker: see `worker_name`.
        app_id: whose positions it keeps: another app reads the same log for itself.

    Raises:
        ConfigError: as `broker_url`.
    """
    return App(
        topic_name(config, app_id),
        broker=broker_url(config),
        store="memory://",
        datadir=str(config.state / f"faust-{app_id}"),
        web_enabled=False,
        canonical_url=f"http://{worker}",  # by which the assignor tells the workers apart; nobody listens there
        broker_client_id=f"gridwarden-{worker}",
        topic_disable_leader=True,
        table_standby_replicas=config.stream.standby_replicas,
        stream_wait_empty=False,
        stream_buffer_maxsize=64,  # records, that is batches of up to 512: bounds memory
        broker_commit_interval=0.5,
        # A killed worker's streets are blind until its session is over and the others have heard of it.
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        value_serializer="raw",
    )


async def open_log(app: faust.App, config: Config) -> StreamLog:
    """Return the log, opened.

    Raises:
        StorageError: it cannot be opened; the message says why.
    """
    if is_kafka(config):
        return await KafkaLog.open(servers_of(config.stream.broker), config.tenant)
    return cast("StreamLog", cast("Any", app.transport).opening.acquire())


@contextlib.asynccontextmanager
async def log_of(config: Config) -> AsyncIterator[StreamLog]:
    """Give the log of a config, whether or not its stream is running.

    Raises:
        StorageError: there is none.
    """
    if is_kafka(config):
        log: KafkaLog | SqliteLog = await KafkaLog.open(servers_of(config.stream.broker), config.tenant, patience_s=0.0)
    else:
        path = Path(broker_url(config).removeprefix("sqlite://").partition("?")[0])
        if not path.is_file():
            raise StorageError(f"{path}: there is no log yet; start the stream first")
        log = SqliteLog(path)
    try:
        yield log
    finally:
        await log.close()


async def close_log(app: faust.App, log: StreamLog) -> None:
    """Let go of what `open_log` returned."""
    if isinstance(log, KafkaLog):
        await log.close()
    else:
        await cast("Any", app.transport).opening.release()
