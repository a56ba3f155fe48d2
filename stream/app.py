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
import gc
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import faust
from faust.types import StreamT, TopicT

from models import clock, seal, topics
from models.content import Content
from models.errors import StorageError
from models.places import Places
from models.seal import Keyring
from stream.checkpoints import Checkpoints
from stream.contents import rows_of
from stream.control import INCIDENTS, OBS, Contents, Loaded, What, control_records
from stream.desk import machine as desk_machine
from stream.desk.machine import DeskMachine, desk_revision
from stream.egress import Egress
from stream.history import FILE as HISTORY_FILE
from stream.history import Historian
from stream.history.apart import Apart
from stream.ingest.admission import Gate
from stream.ingest.foreign import foreign_of, greetings_of
from stream.ingest.registry import Registry
from stream.ingest.service import Ingest
from stream.log.append import Appender
from stream.log.engine import (
    CONTROL,
    StreamLog,
    close_log,
    declared,
    faust_app,
    is_kafka,
    open_log,
    topic_name,
    worker_name,
)
from stream.log.file import Partition
from stream.log.rows import row_table
from stream.matcher import warm
from stream.metrics import lag_of, metrics_of
from stream.migrate import Migration
from stream.reloader import Ends, Reloader
from stream.retire import retired_key
from stream.runner import Runner
from stream.status import Counters, StateFile, file_of
from stream.watchdog import StuckError, Watchdog
from stream.world import World
from stream.zones import machine as zone_machine
from stream.zones.machine import ZoneMachine

log = logging.getLogger(__name__)

Read = Callable[[faust.Stream[Any]], Coroutine[Any, Any, None]]
TICK_S: Final = 0.1
REPORT_S: Final = 0.5
TIDY_S: Final = 10.0
WATCH_S: Final = 1.0
START_S: Final = 60.0
IN_FORCE: Final = "in-force:"
"""Begins the keys under which the version of each content stands that is in force, beside the contents."""
GARBAGE: Final = (10_000, 20, 20)
"""After how many objects, and how many searches among the newer ones, the collector looks for garbage. What a storm
leaves in the rows is plain values without cycles: to walk all of it again and again holds every alarm up for 0.1 s."""
STOP_S: Final = 2.0
"""Within this what was taken is written at the end, else it is taken again after the next start."""


def _no_revision(_content: bytes) -> int:
    return 0  # what stands under its own hash never changes


def keyring(folder: Path, places: Places) -> Keyring:
    """Return the keys of all who may speak. A device of `places` that has none yet is named, and stays unheard.

    Raises:
        ConfigError: one of them is not a key.
    """
    keys = seal.load_keys(folder)
    keyless = [device.id for device in places.devices if device.id not in keys]
    if keyless:
        log.warning("%s devices have no key and are not heard: %s", len(keyless), ", ".join(keyless[:10]))
    return keys


class StreamApp:
    """One worker. Made, started and stopped inside one event loop.

    Args:
        loaded: the config folder; an embedded log and the history go into its state folder. Without contents, those
            that the log has in force stay.
        worker: one of several that share the folder; None: the only one.
        restarts: how often the watchdog has started this worker anew.

    Attributes:
        log: open between `start` and `stop`.
    """

    log: StreamLog

    def __init__(self, loaded: Loaded, worker: str | None = None, *, restarts: int = 0) -> None:
        config = loaded.config
        self._loaded = loaded
        self._worker = worker or worker_name(config)
        self._restarts = restarts
        self._lost = 0
        self._keys = seal.load_keys(config.keys, [topics.STREAM, topics.ALERTS])
        self._state_file = StateFile(config.state / file_of(worker))
        self._metrics = metrics_of(config)
        self._historian: Historian | None = None  # with InfluxDB it is a process of its own
        if config.history.influx is None:
            self._historian = Historian(Apart(config.state / HISTORY_FILE), config.history.keep_days)
        self.app = faust_app(config, self._worker)
        partitions = config.stream.partitions
        self._zone_rows = row_table(self.app, "zones", partitions=partitions, revision=zone_machine.revision)
        self._desk_rows = row_table(self.app, "desk", partitions=1, revision=desk_revision)
        self._contents_rows = row_table(self.app, CONTROL, partitions=1, revision=_no_revision, is_global=True)
        self._contents = Contents(self._contents_rows.row)
        warm()
        self._registry = Registry(Places(), lambda _points: [], partitions=partitions)
        self._zones = ZoneMachine(self._zone_rows.rows, self._contents)
        self._desk = DeskMachine(self._desk_rows.rows, self._contents)
        self._foreign = foreign_of(config, Places(), f"{self._worker}.{clock.now_ms():x}")
        self._readers: dict[str, Read] = {}
        self._is_serving = asyncio.Event()
        self._is_open = False
        self._tasks: list[asyncio.Task[None]] = []
        read = {"obs": partitions, "incidents": 1, "orders": 1}
        for name, count in (read | {"history": partitions} if self._historian else read).items():
            self.app.agent(self._topic(name, count), name=name)(self._reader(name))

    def _topic(self, name: str, partitions: int) -> TopicT:
        named = topic_name(self._loaded.config, name)
        return self.app.topic(named, partitions=partitions, key_type=bytes, value_type=bytes)

    def _reader(self, name: str) -> Callable[[StreamT[Any]], Coroutine[Any, Any, None]]:
        async def read(stream: StreamT[Any]) -> None:
            # Faust starts its agents by itself: none begins before everything that it needs is there.
            await self._is_serving.wait()
            await self._readers[name](cast("faust.Stream[Any]", stream))

        return read

    async def start(self) -> None:
        """Recover, put the config in force, and serve.

        Raises:
            StorageError: the log cannot be opened, or the workers do not come to terms about its partitions.
        """
        config = self._loaded.config
        self.app.finalize()
        self.log = await open_log(self.app, config)
        self._is_open = True
        tables = (self._zone_rows, self._desk_rows, self._contents_rows)
        # Before the app: a consumer that knows nothing of a topic is assigned nothing of it for minutes.
        await self.log.create_topics(declared(config, {table.name: table.partitions or 1 for table in tables}))
        appender = Appender(self.log)
        self._zone_runner = Runner("zones", self._zones, self._zone_rows, appender)
        self._desk_runner = Runner("desk", self._desk, self._desk_rows, appender)
        gate = Gate(config.tenant, self._keys, self._registry, self._foreign, self._is_retired)
        self._ingest = Ingest(
            config.mqtt,
            self._worker,
            gate,
            appender,
            partitions=config.stream.partitions,
            is_shared=is_kafka(config),
        )
        self._egress = Egress(config.tenant, self._keys, self.log.log_id, self._ingest.link.publish, appender)
        self._contents_rows.lost = self._egress.lose  # all tables hear of it
        await self.app.start()
        await self._recovered()
        write = functools.partial(self._write_contents, appender)
        kinds = ((zone_machine.CHECKPOINT, self._zone_runner), (desk_machine.CHECKPOINT, self._desk_runner))
        self._checkpoints = [
            Checkpoints(kind, runner, self._contents_rows.row, appender.store, write) for kind, runner in kinds
        ]
        migration = Migration(config.stream.partitions, appender, self._contents_rows.row, write)
        ends = Ends(self._held, migration, functools.partial(self._put_in_force, appender), self._admit)
        self._reloader = Reloader(self._loaded, self._worker, self._contents, ends)
        await self._reloader.begin()
        self._readers |= {
            "obs": self._zone_runner.take,
            "incidents": self._desk_runner.take,
            "orders": self._egress.carry,
        }
        if self._historian:
            self._readers["history"] = self._historian.take
        self._serve()

    def _serve(self) -> None:
        """Let the readers read, and begin what goes on for ever."""
        gc.collect()
        gc.set_threshold(*GARBAGE)
        gc.freeze()  # what is in force lives long, and is large: the collector need not walk it again and again
        self._is_serving.set()
        self._ingest.start(self._egress)
        for endless in (
            *(self._zone_runner.store_outputs, self._zone_runner.flush_rows),
            *(self._desk_runner.store_outputs, self._desk_runner.flush_rows),
            *((self._historian.run, self._historian.trim) if self._historian else ()),
            *(self._egress.run, self._ingest.run),
            *(self._tick, self._report, self._tidy, self._watch, self._reloader.run),
        ):
            self._tasks.append(asyncio.create_task(endless(), name=endless.__qualname__))

    async def _recovered(self) -> None:
        try:
            async with asyncio.timeout(START_S):
                await self.app.tables.wait_until_recovery_completed()
        except TimeoutError as exc:
            raise StuckError(f"no partitions were given out within {START_S:.0f} s") from exc

    async def _put_in_force(self, appender: Appender, contents: Mapping[What, Content]) -> None:
        """Store those of `contents` that are not in force, and say in every partition that they are from here on.

        Which are in force stands beside them, for all workers: a partition that changes hands changes no rules.
        """
        rows = self._contents_rows
        changed = {
            what: content
            for what, content in contents.items()
            if rows.row(f"{IN_FORCE}{what}") != content.version.encode()
        }
        for content in changed.values():
            self._contents.put(content)
            if rows.row(content.version) is None:
                for row in await asyncio.to_thread(rows_of, content):
                    await self._write_contents(appender, [row])
        now_ms = clock.now_ms()
        nothing: dict[What, str] = {}
        about_incidents = {what: content for what, content in changed.items() if what in INCIDENTS}
        about_zones = {what: content for what, content in changed.items() if what in OBS}
        records = list(control_records("incidents", 0, about_incidents, nothing.get, now_ms=now_ms))
        for partition in range(self._loaded.config.stream.partitions):
            records += control_records("obs", partition, about_zones, nothing.get, now_ms=now_ms)
        await appender.store(records)
        for what, content in changed.items():
            await self._write_contents(appender, [(f"{IN_FORCE}{what}", content.version.encode())])

    def _held(self, what: What) -> str | None:
        version = self._contents_rows.row(f"{IN_FORCE}{what}")
        return None if version is None else version.decode()

    def _admit(self, world: World) -> None:
        """Let ingest go by the places of `world`, and by the keys as they are now."""
        config = self._loaded.config
        partitions = config.stream.partitions
        self._registry = Registry(world.places, world.locator.areas_many, partitions=partitions)
        keys = keyring(config.keys, world.places)
        for topic, payload in self._foreign.greet(greetings_of(config, world.places)):
            self._ingest.link.publish(topic, payload, retain=True)
        self._ingest.admit(Gate(config.tenant, keys, self._registry, self._foreign, self._is_retired))

    def _is_retired(self, outbox_id: str) -> bool:
        return self._contents_rows.row(retired_key(outbox_id)) is not None

    async def _write_contents(self, appender: Appender, rows: Sequence[tuple[str, bytes | None]]) -> None:
        await appender.store([self._contents_rows.record(key, value, 0) for key, value in rows])
        for key, value in rows:
            self._contents_rows.hold(key, value, 0)

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
            await asyncio.to_thread(self._ingest.stop)
            taking = {self._ingest.run.__qualname__, self._tick.__qualname__}
            await self._cancel([task for task in self._tasks if task.get_name() in taking])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._zone_runner.flush()
                    await self._desk_runner.flush()
            await self._cancel(self._tasks)
        await self.app.stop()
        if self._is_open:
            await close_log(self.app, self.log)
        if self._historian:
            self._historian.close()
        if self._metrics:
            await asyncio.to_thread(self._metrics.close)

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

    async def _tidy(self) -> None:
        """Let go of rows that newer ones have replaced and of records that are too old, a little at a time.

        Before, what zones and desk know is kept once a day: else what is left of the log could not be decided again.
        """
        while True:
            await asyncio.sleep(TIDY_S)
            for each in self._checkpoints:
                await each.take(clock.now_ms())
            changelogs = [table.changelog for table in (self._zone_rows, self._desk_rows)]
            try:
                lost = await self.log.tidy(changelogs, now_ms=clock.now_ms())
            except StorageError as exc:
                log.warning("the log cannot be tidied up now: %s", exc)
            else:
                self._lost += sum(lost.values())

    async def _watch(self) -> None:
        """Compare where the consumer is with where the log ends, for ever.

        Raises:
            StuckError: it has stopped reading.
        """
        watchdog = Watchdog()
        while True:
            await asyncio.sleep(WATCH_S)
            positions = self._positions()
            try:
                async with asyncio.timeout(WATCH_S):
                    heads = await self.log.heads()
                    behind = [place for place, offset in positions.items() if offset < heads.get(place, 0)]
                    starts = await self.log.starts(behind) if behind else {}
            except (StorageError, TimeoutError):  # it cannot be told: then it is not the consumer
                watchdog.forget()
                continue
            positions |= {place: max(positions[place], start) for place, start in starts.items()}
            is_settling = self.app.rebalancing or self.app.in_recovery
            watchdog.look(positions, heads, is_settling=is_settling, now_ms=clock.mono_ms())

    def _positions(self) -> dict[Partition, int]:
        """Return the next offset of every partition of ours that is read now, or should be."""
        consumer: Any = self.app.consumer
        prefix = topic_name(self._loaded.config, "")
        return {
            Partition(tp.topic.removeprefix(prefix), tp.partition): offset
            for tp, offset in consumer.positions().items()
        }

    async def _report(self) -> None:
        """Write the state file, from when the broker has taken us."""
        is_ready = False
        heads: Mapping[Partition, int] = {}
        while True:
            is_ready = is_ready or self._ingest.connected
            if is_ready:
                with contextlib.suppress(StorageError, TimeoutError):
                    async with asyncio.timeout(WATCH_S):
                        heads = await self.log.heads()
                counters = self._counters(heads)
                self._state_file.write(counters)
                if self._metrics:
                    prefix = topic_name(self._loaded.config, "")
                    lag = lag_of(self.app, self._readers, prefix, heads)
                    self._metrics.show(counters, lag, self._egress.latencies_ms())
            await asyncio.sleep(REPORT_S if is_ready else TICK_S)

    def _counters(self, heads: Mapping[Partition, int]) -> Counters:
        counted = self._zones.counted()
        return Counters(
            observations=counted.observations,
            decisions=self._historian.rows if self._historian else counted.observations - counted.duplicates,
            duplicates=counted.duplicates,
            pre_alarms_cleared=counted.pre_alarms_cleared,
            dead_letters=heads.get(Partition("dead", 0), 0),
            orders=heads.get(Partition("orders", 0), 0),
            dropped=self._ingest.dropped,
            limited=self._ingest.limited,
            unlettered=self._ingest.unlettered,
            partitions=len(self._zone_runner.partitions),
            restarts=self._restarts,
            lost=self._lost,
            reloads=self._reloader.applied,
            reloads_refused=self._reloader.refused,
            foreign_gaps=self._foreign.gaps,
            foreign_forgotten=self._foreign.forgotten,
        )
