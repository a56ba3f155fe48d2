"""Has a running stream move what stands elsewhere in new places, and waits until it has arrived (`zones.migration`).

Which places it is done for stands in the control topic until they are in force: a stream that ends half-way finds there
where things may be, and the next reload, that of its start included, brings them to where they belong then.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from models import clock
from models.check import PLACES
from models.errors import ConfigError, Problem
from models.places import Places
from stream.contents import content_of, rows_of
from stream.ingest.registry import Homes, homes_of
from stream.log.append import Appender, new
from stream.records import Home, MoveRecord, encode
from stream.zones.migration import arrived_key

MOVING: Final = "moving"
"""The key under which the versions of the places stand that things are moved for, or were when a stream ended."""
ARRIVE_S: Final = 60.0
"""A worker that is gone is replaced within 10 s: what takes longer than this is not taken for on its way."""
LOOK_S: Final = 0.02


class Move(NamedTuple):
    """What is to go where.

    Attributes:
        at: where it is, or was last: from there it is passed on.
        device: None: the whole zone.
    """

    at: Home
    to: Home
    device: str | None = None


def moves(held: Homes, begun: Sequence[Homes], wanted: Homes) -> tuple[list[Move], list[Move]]:
    """Return which devices change their zone, and then which zones change their partition.

    Args:
        held: where ingest has everything.
        begun: where things may be because it was begun to move them there, and not brought to an end.
        wanted: where they are to be.
    """
    known = [held, *begun]
    stands = {zone: p for homes in (wanted, *reversed(known)) for zone, p in homes.partition_of_zone.items()}
    devices = [
        Move(Home(found[0], stands[found[0]]), Home(zone, stands[zone]), device)
        for device, zone in wanted.zone_of_device.items()
        if (found := [homes.zone_of_device[device] for homes in known if device in homes.zone_of_device])
        and set(found) != {zone}
    ]
    zones = [
        Move(Home(zone, stands[zone]), Home(zone, partition))
        for zone, partition in wanted.partition_of_zone.items()
        if {homes.partition_of_zone.get(zone, partition) for homes in known} != {partition}
    ]
    return devices, zones


class Migration:
    """Carries moves out.

    Args:
        partitions: of `obs`.
        row: returns what stands under a key of the control topic.
        write: puts rows there; None removes one.
    """

    def __init__(
        self,
        partitions: int,
        appender: Appender,
        row: Callable[[str], bytes | None],
        write: Callable[[Sequence[tuple[str, bytes | None]]], Awaitable[None]],
    ) -> None:
        self._partitions = partitions
        self._appender = appender
        self._row = row
        self._write = write

    @property
    def is_begun(self) -> bool:
        """Whether things are being moved, or were when a stream ended."""
        return self._row(MOVING) is not None

    def is_needed(self, held: Places, wanted: Places) -> bool:
        """Whether anything stands elsewhere than `wanted` has it."""
        return any(self._moves(held, wanted))

    async def run(self, held: Places, wanted: Places) -> tuple[str, ...]:
        """Return when everything is where `wanted` has it, with what moved; call `end` once that is in force.

        Raises:
            ConfigError: something has not arrived in time.
        """
        devices, zones = await asyncio.to_thread(self._moves, held, wanted)
        if not devices and not zones:
            return ()
        await self._note(wanted)
        # Devices first: what they bring goes on with the zone that they come to, should that move as well.
        for those in (devices, zones):
            await self._carry_out(those)
        return tuple(_named(one) for one in (*devices, *zones))

    async def end(self) -> None:
        """Take it that the places are in force that things were moved for."""
        if self.is_begun:
            await self._write([(MOVING, None)])

    async def _note(self, wanted: Places) -> None:
        begun = self._begun()
        if wanted.version not in begun:
            for row in await asyncio.to_thread(rows_of, wanted):
                if self._row(row[0]) is None:
                    await self._write([row])
            await self._write([(MOVING, " ".join([*begun, wanted.version]).encode())])

    def _begun(self) -> list[str]:
        return (self._row(MOVING) or b"").decode().split()

    def _moves(self, held: Places, wanted: Places) -> tuple[list[Move], list[Move]]:
        found = [content_of(version, self._row) for version in self._begun()]
        begun = [homes_of(Places.from_bytes(raw), self._partitions) for raw in found if raw]
        return moves(homes_of(held, self._partitions), begun, homes_of(wanted, self._partitions))

    async def _carry_out(self, those: Iterable[Move]) -> None:
        move, now_ms = os.urandom(8).hex(), clock.now_ms()
        waited = {arrived_key(move, one.to.zone, one.device): one for one in those}
        records = [
            (one.at.partition, MoveRecord(at_ms=now_ms, move=move, zone=one.at.zone, to=one.to, device=one.device))
            for one in waited.values()
        ]
        await self._appender.store([new("obs", partition, encode(record), now_ms) for partition, record in records])
        end_ms = clock.mono_ms() + ARRIVE_S * 1000
        while missing := [key for key in waited if self._row(key) is None]:
            if clock.mono_ms() > end_ms:
                raise ConfigError(list(_late(waited[key] for key in missing)))
            await asyncio.sleep(LOOK_S)
        await self._write([(key, None) for key in waited])


def _named(one: Move) -> str:
    return f"device {one.device} to zone {one.to.zone}" if one.device else f"zone {one.to.zone} to {one.to.partition}"


def _late(missing: Iterable[Move]) -> Iterator[Problem]:
    for one in missing:
        path = f"devices.{one.device}.zone" if one.device else f"zones.{one.to.zone}.street"
        told = f"{_named(one)} has not arrived within {ARRIVE_S:.0f} s"
        yield Problem(
            PLACES, path, told, "reload again once every worker of the stream is up; nothing is lost till then"
        )
