"""The stream processor: builds the Faust app, wires it to the broker, runs it until it is told to stop.

::

    MQTT -> Ingest -> obs -> Runner(ZoneMachine) -> incidents -> Runner(DeskMachine) -> orders -> Egress -> MQTT
                                    |                                                      ^
                                    +-> history -> Historian -> history.db      MQTT acks -+
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

import faust
from faust.types import StreamT, TopicT

from models import clock, seal, topics
from models.errors import StorageError
from models.seal import Keyring
from stream.control import INCIDENTS, OBS, Contents, Loaded, control_records
from stream.desk.machine import DeskMachine, desk_revision
from stream.egress import Egress
from stream.history import FILE as HISTORY_FILE
from stream.history import Historian, History
from stream.ingest.admission import Gate
from stream.ingest.registry import Registry
from stream.ingest.service import Ingest
from stream.locate import Locator, warm
from stream.log.append import Appender
from stream.log.engine import faust_app
from stream.log.file import Partition
from stream.log.rows import row_table, write_row
from stream.log.sqlite import SqliteLog
from stream.runner import Runner
from stream.status import FILE as STATE_FILE
from stream.status import Counters, StateFile
from stream.zones import machine as zone_machine
from stream.zones.machine import ZoneMachine

log = logging.getLogger(__name__)

Read = Callable[[faust.Stream[Any]], Coroutine[Any, Any, None]]
TICK_S: Final = 0.1
REPORT_S: Final = 0.5
COMPACT_S: Final = 10.0
STOP_S: Final = 2.0
"""Within this what was taken is written at the end, else it is taken again after the next start."""


def _no_revision(_content: bytes) -> int:
    return 0  # what stands under its own hash never changes


def keyring(loaded: Loaded) -> Keyring:
    """Return the keys of all who may speak. A device that has none yet is named, and stays unheard.

    Raises:
        ConfigError: our own key or that of `alerts` is missing, or one is not a key.
    """
    folder = loaded.config.keys
    seal.load_keys(folder, [topics.STREAM, topics.ALERTS])
    keys = seal.load_keys(folder)
    keyless = [device.id for device in loaded.places.devices if device.id not in keys]
    if keyless:
        log.warning("%s devices have no key and are not heard: %s", len(keyless), ", ".join(keyless[:10]))
    return keys


class StreamApp:
    """One worker. Made, started and stopped inside one event loop.

    Args:
        loaded: the config folder; an embedded log and the history go into its state folder.
    """

    def __init__(self, loaded: Loaded) -> None:
        config = loaded.config
        self._loaded = loaded
        self._keys = keyring(loaded)
        self._state_file = StateFile(config.state / STATE_FILE)
        self._historian = Historian(History(config.state / HISTORY_FILE))
        self.app = faust_app(config)
        partitions = config.stream.partitions
        self._zone_rows = row_table(self.app, "zones", partitions=partitions, revision=zone_machine.revision)
        self._desk_rows = row_table(self.app, "desk", partitions=1, revision=desk_revision)
        self._contents_rows = row_table(self.app, "control", partitions=1, revision=_no_revision, is_global=True)
        self._contents = Contents(self._contents_rows.row)
        warm()
        self._registry = Registry(loaded.places, Locator(loaded.places).areas_many, partitions=partitions)
        self._zones = ZoneMachine(self._zone_rows.rows, self._contents)
        self._desk = DeskMachine(self._desk_rows.rows, self._contents, self._registry.partition_of_zone)
        self._readers: dict[str, Read] = {}
        self._is_serving = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        for name, count in {"obs": partitions, "incidents": 1, "orders": 1, "history": partitions}.items():
            self.app.agent(self._topic(name, count), name=name)(self._reader(name))

    def _topic(self, name: str, partitions: int) -> TopicT:
        return self.app.topic(name, partitions=partitions, key_type=bytes, value_type=bytes)

    def _reader(self, name: str) -> Callable[[StreamT[Any]], Coroutine[Any, Any, None]]:
        async def read(stream: StreamT[Any]) -> None:
            # Faust starts its agents by itself: none begins before everything that it needs is there.
            await self._is_serving.wait()
            await self._readers[name](cast("faust.Stream[Any]", stream))

        return read

    @property
    def log(self) -> SqliteLog:
        """The embedded log."""
        transport: Any = self.app.transport
        opened: SqliteLog = transport.log
        return opened

    async def start(self) -> None:
        """Recover, put the config in force, and serve."""
        config = self._loaded.config
        self.app.finalize()
        await self.app.start()
        await self._topic("dead", 1).maybe_declare()
        await self._write_shadowed()
        appender = Appender(self.log)
        self._zone_runner = Runner("zones", self._zones, self._zone_rows, appender)
        self._desk_runner = Runner("desk", self._desk, self._desk_rows, appender)
        self._ingest = Ingest(config.mqtt, "0", Gate(config.tenant, self._keys, self._registry), appender)
        self._egress = Egress(config.tenant, self._keys, self.log.log_id, self._ingest.link.publish)
        await self._put_in_force(appender)
        self._readers |= {
            "obs": self._zone_runner.take,
            "incidents": self._desk_runner.take,
            "orders": self._egress.carry,
            "history": self._historian.take,
        }
        self._is_serving.set()
        self._ingest.start(self._egress)
        for endless in (
            *(self._zone_runner.store_outputs, self._zone_runner.flush_rows),
            *(self._desk_runner.store_outputs, self._desk_runner.flush_rows),
            *(self._historian.run, self._egress.run, self._ingest.run, self._tick, self._report, self._compact),
        ):
            self._tasks.append(asyncio.create_task(endless(), name=endless.__qualname__))

    async def _put_in_force(self, appender: Appender) -> None:
        """Store the contents that the log does not have, and say from where on they decide, where others do."""
        contents = self._loaded.contents
        for content in contents.values():
            self._contents.put(content)
            if self._contents_rows.row(content.version) is None:
                await write_row(self._contents_rows, content.version, content.to_bytes(), partition=0)
        now_ms = clock.now_ms()
        about_zones = {what: contents[what] for what in OBS}
        about_incidents = {what: contents[what] for what in INCIDENTS}
        records = list(control_records("incidents", 0, about_incidents, self._desk.in_force, now_ms=now_ms))
        for partition in range(self._loaded.config.stream.partitions):
            in_force = functools.partial(self._zones.in_force, partition)
            records += control_records("obs", partition, about_zones, in_force, now_ms=now_ms)
        await appender.store(records)

    async def _write_shadowed(self) -> None:
        """Write the rows again that an older one follows in the changelog: compaction keeps the last of each key."""
        for table in (self._zone_rows, self._desk_rows):
            for partition in range(table.partitions or 0):
                for key in table.shadowed & table.rows(partition).keys():
                    await write_row(table, key, table.row(key), partition)

    async def failed(self) -> None:
        """Return when the app can not go on by itself.

        Raises:
            StorageError: with what has ended it.
        """
        crashed = asyncio.create_task(self.app.wait_until_stopped())
        done, _ = await asyncio.wait([*self._tasks, crashed], return_when=asyncio.FIRST_COMPLETED)
        crashed.cancel()
        for task in done:
            if not task.cancelled() and (exc := task.exception()) is not None:
                raise exc
        raise StorageError(f"the stream has ended: {self.app.crash_reason}")

    async def stop(self) -> None:
        """Take nothing more, write and commit what was taken, and close everything."""
        if self._tasks:
            await asyncio.to_thread(self._ingest.link.stop)
            taking = {self._ingest.run.__qualname__, self._tick.__qualname__}
            await self._cancel([task for task in self._tasks if task.get_name() in taking])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._zone_runner.flush()
                    await self._desk_runner.flush()
            await self._cancel(self._tasks)
        await self.app.stop()
        self._historian.close()

    async def _cancel(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- endless ---

    async def _tick(self) -> None:
        """Append a tick wherever a deadline has passed without traffic."""
        while True:
            await asyncio.sleep(TICK_S)
            now_ms = clock.now_ms()
            self._zone_runner.put(list(self._zones.ticks(now_ms)))
            self._desk_runner.put(list(self._desk.ticks(now_ms)))

    async def _compact(self) -> None:
        """Let go of rows that newer ones have replaced; a little at a time, as the log's reader waits meanwhile."""
        while True:
            await asyncio.sleep(COMPACT_S)
            for table in (self._zone_rows, self._desk_rows):
                await self.log.compact(table.changelog_topic.get_topic_name())

    async def _report(self) -> None:
        """Write the state file, from when the broker has taken us."""
        is_ready = False
        while True:
            is_ready = is_ready or self._ingest.link.connected
            if is_ready:
                self._state_file.write(self._counters())
            await asyncio.sleep(REPORT_S if is_ready else TICK_S)

    def _counters(self) -> Counters:
        counted = self._zones.counted()
        return Counters(
            observations=counted.observations,
            decisions=self._historian.rows,
            duplicates=counted.duplicates,
            pre_alarms_cleared=counted.pre_alarms_cleared,
            dead_letters=self.log.known_head(Partition("dead", 0)),
            orders=self.log.known_head(Partition("orders", 0)),
            dropped=self._ingest.dropped,
        )


async def serve(loaded: Loaded) -> None:
    """Run until SIGTERM or SIGINT, then stop in order.

    Raises:
        GridwardenError: it could not start, or could not go on.
    """
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    stream = StreamApp(loaded)
    try:
        await stream.start()
        waiting = [asyncio.create_task(told.wait()), asyncio.create_task(stream.failed())]
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            task.result()
    finally:
        await stream.stop()
