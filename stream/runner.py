"""Runs a pure machine over a log: outputs go out at once, rows once a second, and only then is the log acknowledged.

::

    event -> machine.apply -> outputs -> logs          at once, in order, never awaited by the next event
    every second: outputs stored -> changed rows stored -> events acknowledged, in the order of their offsets

So a crash repeats at most the last second: rows remember the last offset applied to them, and outputs that come twice
have the same origin.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NoReturn, Protocol

import faust

from models import clock
from models.errors import StorageError
from stream.log.append import Appender, Outflow
from stream.log.file import NewRecord
from stream.log.rows import RowTable, write_row

log = logging.getLogger(__name__)

FLUSH_S: Final = 1.0
RETRY_S: Final = 1.0
WAITING_EVENTS: Final = 2_000
"""Events applied and not yet acknowledged: beyond this the rows are written before the second is over."""
EXIT_CODE: Final = 70


class Row(NamedTuple):
    """A row to be written; None removes it. Rows of a lower `stage` are on disk before those of a higher are sent."""

    key: str
    value: bytes | None
    partition: int
    stage: int = 0


class Machine(Protocol):
    """What a `Runner` runs."""

    def apply(self, partition: int, offset: int, value: bytes, *, now_ms: int) -> list[NewRecord]:
        """Apply a record and return what is to be appended; whatever a rule does, it is dealt with inside."""

    def may_write(self) -> bool:
        """Whether what `changed` returns may be written now; if not, nothing is acknowledged."""

    def changed(self) -> list[Row]:
        """Return the rows that changed since the last call."""


class Runner:
    """The shell of one machine: the agent of its topic.

    Args:
        name: for the log messages.
        table: where the machine's rows are kept.
    """

    def __init__(self, name: str, machine: Machine, table: RowTable, appender: Appender) -> None:
        self._name = name
        self._machine = machine
        self._table = table
        self._outflow = Outflow(appender)
        self._applied: list[Any] = []
        self._flushing = asyncio.Lock()

    async def take(self, stream: faust.Stream[Any]) -> None:
        """Apply the records of the log one after the other. The agent."""
        async for event in stream.noack().events():
            message = event.message
            try:
                outputs = self._machine.apply(message.partition, message.offset, event.value, now_ms=clock.now_ms())
            except Exception as exc:  # noqa: BLE001  # the outermost loop: what the machine could not set aside
                self.give_up(f"{message.topic}/{message.partition}/{message.offset}", exc)
            self._outflow.put(outputs)
            self._applied.append(event)
            if len(self._applied) >= WAITING_EVENTS:
                await self.flush()

    def give_up(self, where: str, exc: Exception) -> NoReturn:
        """End the process at once: nothing more is committed, and the record comes again after the restart."""
        log.critical("%s: cannot go on at %s, ending without a commit", self._name, where, exc_info=exc)
        logging.shutdown()
        os._exit(EXIT_CODE)

    async def flush(self) -> None:
        """Write what changed and acknowledge what was applied up to this call."""
        async with self._flushing:
            if not self._machine.may_write():
                return
            applied, self._applied = self._applied, []
            rows = self._machine.changed()
            await self._outflow.settled()
            for stage in sorted({row.stage for row in rows}):
                await asyncio.gather(*(self._write(row) for row in rows if row.stage == stage))
            for event in applied:
                event.ack()

    async def _write(self, row: Row) -> None:
        failing = False
        while True:
            try:
                await write_row(self._table, row.key, row.value, row.partition)
            except StorageError as exc:
                if not failing:
                    log.error("%s: row %s cannot be stored, trying again: %s", self._name, row.key, exc)  # noqa: TRY400
                failing = True
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def store_outputs(self) -> None:
        """Store what the machine says, for ever."""
        await self._outflow.run()

    async def flush_rows(self) -> None:
        """Flush once a second, for ever."""
        while True:
            await asyncio.sleep(FLUSH_S)
            if self._applied:
                await self.flush()

    def put(self, outputs: Sequence[NewRecord]) -> None:
        """Append `outputs` that time has made, not a record."""
        self._outflow.put(outputs)
