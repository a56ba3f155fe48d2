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
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, NoReturn, Protocol

import faust

from models import clock
from stream.control import MissingContentError
from stream.log.append import Appender, Outflow
from stream.log.file import NewRecord
from stream.log.rows import RowTable

log = logging.getLogger(__name__)

FLUSH_S: Final = 1.0
WAITING_BYTES: Final = 16 << 20
"""Events applied and not yet acknowledged, and outputs not yet stored: beyond this the rows are written before the
second is over."""
CONTENT_S: Final = 30.0
"""A content that is in force and not here yet is on its way from the worker that put it in force: so long at most."""
LOOK_S: Final = 0.02
TURN_MS: Final = 5
"""After so long the others have their turn: while records wait, a stream of Faust's goes on to the next by itself."""
EXIT_CODE: Final = 70


class Row(NamedTuple):
    """A row to be written; None removes it. Rows of a lower `stage` are on disk before those of a higher are sent."""

    key: str
    value: bytes | None
    partition: int
    stage: int = 0


class Machine(Protocol):
    """What a `Runner` runs."""

    def own(self, partitions: Collection[int]) -> None:
        """Forget everything, and go on with `partitions` as their rows stand in the table."""

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

    Attributes:
        partitions: of the topic, that are this worker's.
    """

    def __init__(self, name: str, machine: Machine, table: RowTable, appender: Appender) -> None:
        self._name = name
        self._machine = machine
        self._table = table
        self._appender = appender
        self._outflow = Outflow(appender)
        self._applied: list[Any] = []
        self._applied_bytes = 0
        self._assignment = 0
        self.partitions: Collection[int] = ()
        self._flushing = asyncio.Lock()
        table.lost, table.recovered = self.lose, self.own

    def lose(self) -> None:
        """Forget everything: the partitions are given out anew, and what is not acknowledged comes again."""
        self.own(())

    def own(self, partitions: Collection[int]) -> None:
        """Go on with `partitions`, as their rows stand in the table."""
        self._assignment += 1
        self.partitions = partitions
        self._applied, self._applied_bytes = [], 0
        self._machine.own(partitions)

    async def take(self, stream: faust.Stream[Any]) -> None:
        """Apply the records of the log one after the other. The agent."""
        turn_ms = clock.mono_ms()
        async for event in stream.noack().events():
            message = event.message
            try:
                outputs = await self._apply(message.partition, message.offset, event.value)
            except Exception as exc:  # noqa: BLE001  # the outermost loop: what the machine could not set aside
                self.give_up(f"{message.topic}/{message.partition}/{message.offset}", exc)
            if outputs is None:
                continue
            self._outflow.put(outputs)
            self._applied.append(event)
            self._applied_bytes += len(event.value or b"")
            if self._applied_bytes + self._outflow.waiting_bytes >= WAITING_BYTES:
                await self.flush()
            if clock.mono_ms() - turn_ms >= TURN_MS:
                await asyncio.sleep(0)
                turn_ms = clock.mono_ms()

    async def _apply(self, partition: int, offset: int, value: bytes) -> list[NewRecord] | None:
        """Return the outputs; None where the partition was given out anew while a content was waited for."""
        assignment = self._assignment
        end_ms = clock.mono_ms() + CONTENT_S * 1000
        while assignment == self._assignment:
            try:
                return self._machine.apply(partition, offset, value, now_ms=clock.now_ms())
            except MissingContentError:
                if clock.mono_ms() > end_ms:
                    raise
                await asyncio.sleep(LOOK_S)
        return None

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
            applied, self._applied, self._applied_bytes = self._applied, [], 0
            rows = self._machine.changed()
            await self._outflow.settled()
            for stage in sorted({row.stage for row in rows}):
                staged = [row for row in rows if row.stage == stage]
                await self._appender.store([self._table.record(row.key, row.value, row.partition) for row in staged])
                for row in staged:
                    self._table.hold(row.key, row.value, row.partition)
            for event in applied:
                event.ack()

    async def settled_rows(self, partition: int) -> dict[str, bytes]:
        """Return the rows of a partition as they stand together: not in the middle of writing them."""
        async with self._flushing:
            return dict(self._table.rows(partition))

    async def store_outputs(self) -> None:
        """Store what the machine says, for ever."""
        await self._outflow.run()

    async def flush_rows(self) -> None:
        """Flush once a second, for ever."""
        while True:
            await asyncio.sleep(FLUSH_S)
            if self._applied:
                await self.flush()
            await self._write_shadowed()

    async def _write_shadowed(self) -> None:
        """Write our rows again that an older one follows in the changelog: compaction keeps the last of each key."""
        if not self._table.shadowed:
            return
        shadowed = [
            Row(key, row, partition)
            for partition in self.partitions
            for key, row in self._table.rows(partition).items()
            if (partition, key) in self._table.shadowed
        ]
        await self._appender.store([self._table.record(row.key, row.value, row.partition) for row in shadowed])
        for row in shadowed:
            self._table.hold(row.key, row.value, row.partition)

    def put(self, outputs: Sequence[NewRecord]) -> None:
        """Append `outputs` that time has made, not a record."""
        self._outflow.put(outputs)
