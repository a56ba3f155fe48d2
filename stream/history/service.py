"""``gridwarden history``: the history in InfluxDB, by a consumer of its own.

It reads the `history` log in a group of its own, in a process of its own: while the database is slow or gone, the log
keeps what it has not taken, nobody else waits, and when it is back everything follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import Any, Final, cast

import faust

from models.config import FILE, Config
from models.errors import ConfigError, Problem, StorageError
from models.supervise import write_atomically
from stream.history.historian import Historian
from stream.history.influx import InfluxHistory
from stream.history.store import Here, Store
from stream.log.engine import StreamLog, close_log, declared, faust_app, open_log, topic_name, worker_name
from stream.metrics import HistoryMetrics, lag_of

log = logging.getLogger(__name__)

APP_ID: Final = "history"
READY_FILE: Final = "history.json"
RETRY_S: Final = 2.0
TELL_S: Final = 1.0


def open_store(config: Config) -> Store:
    """Return the InfluxDB that the config names.

    Raises:
        ConfigError: it names none, or one that refuses us.
        StorageError: it cannot be reached.
    """
    if config.history.influx is None:
        problem = Problem(f"{config.folder}/{FILE}", "history.influx", "is missing", "add it; SQLite needs no process")
        raise ConfigError([problem])
    return InfluxHistory(config.history.influx, keep_days=config.history.keep_days)


class HistoryApp:
    """One worker. Made, started and stopped inside one event loop.

    Args:
        store: where the history goes.
    """

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._historian = Historian(Here(store), config.history.keep_days)
        self.app = faust_app(config, worker_name(config), app_id=APP_ID)
        topic = self.app.topic(
            topic_name(config, "history"), partitions=config.stream.partitions, key_type=bytes, value_type=bytes
        )
        self.app.agent(topic, name="history")(self._take)

    async def _take(self, stream: faust.StreamT[Any]) -> None:
        await self._historian.take(cast("faust.Stream[Any]", stream))

    async def run(self, told: asyncio.Event) -> None:
        """Write what comes until `told`.

        Raises:
            StorageError: the log cannot be opened, or the app has ended by itself.
        """
        self.app.finalize()
        opened = await open_log(self.app, self._config)
        try:
            await opened.create_topics(declared(self._config, {}))
            await self.app.start()
            write_atomically(self._config.state / READY_FILE, b'{"ready": true}')
            tasks = [asyncio.create_task(work()) for work in (self._historian.run, self._historian.trim)]
            if (port := self._config.history.metrics_port) is not None:
                tasks.append(asyncio.create_task(self._tell(HistoryMetrics(self._config, port), opened)))
            crashed = asyncio.create_task(self.app.wait_until_stopped())
            asked = asyncio.create_task(told.wait())
            done, pending = await asyncio.wait([*tasks, crashed, asked], return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            if asked not in done:
                why = self.app.crash_reason or next(iter(done)).exception()
                raise StorageError(f"the history has ended: {why}")
        finally:
            await self.app.stop()
            await close_log(self.app, opened)
            self._historian.close()

    async def _tell(self, metrics: HistoryMetrics, opened: StreamLog) -> None:
        """Answer a Prometheus, for ever."""
        try:
            while True:
                with contextlib.suppress(StorageError, TimeoutError):  # the log is away: what was shown still stands
                    async with asyncio.timeout(TELL_S):
                        lag = lag_of(self.app, {"history"}, topic_name(self._config, ""), await opened.heads())
                        metrics.show(self._historian.rows, lag)
                await asyncio.sleep(TELL_S)
        finally:
            metrics.close()


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT. A database that is not there yet is waited for; one that refuses us is not.

    Raises:
        GridwardenError: it could not start, or could not go on.
    """
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    store = await _opened(config, told)
    if store is not None:
        await HistoryApp(config, store).run(told)


async def _opened(config: Config, told: asyncio.Event) -> Store | None:
    failing = False
    while not told.is_set():
        try:
            return await asyncio.to_thread(open_store, config)
        except StorageError as exc:
            if not failing:
                log.error("%s; trying again", exc)  # noqa: TRY400
            failing = True
            await asyncio.sleep(RETRY_S)
    return None
