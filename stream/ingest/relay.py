"""What a process that only takes observations does with them, and what it and the stream say to each other. Pure.

It takes what is plain: sealed observations of devices that we know, at the places where these stand. Everything else
(a letter for the dead, a report, what moves, what was retained) goes on as it came, to who has the whole city.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec import Struct

from models import topics
from models.config import Mqtt
from models.messages import Ack
from models.seal import Keyring
from stream.ingest.admission import Arrival, Gate, take
from stream.ingest.registry import Registry, Site
from stream.ingest.replies import acks_of
from stream.log.file import NewRecord
from stream.records import Said, encode

DELIVERY_ITEMS: Final = 1024
"""Observations of one delivery at most; it may hold one message more."""


class Begin(Struct, frozen=True, array_like=True, tag=True):
    """Connect."""

    mqtt: Mqtt
    client_id: str
    tenant: str
    partitions: int


class Admit(Struct, frozen=True, array_like=True, tag=True):
    """Judge by these devices and keys from here on."""

    sites: Mapping[str, Site]
    keys: Mapping[str, bytes]


class Stored(Struct, frozen=True, array_like=True, tag=True):
    """A delivery is on disk, all but those of its parts that are `refused`: their outboxes are retired.

    They are delivered again as they came: who has the whole city has an answer to that.
    """

    number: int
    refused: tuple[int, ...] = ()


Told = Begin | Admit | Stored


class Part(Struct, frozen=True, array_like=True, gc=False):
    """What one device said in one message.

    Attributes:
        partition: of `obs`.
        count: how many observations it is.
        outboxes: that the message comes from.
        said: a `Said`, as it stands in the log.
    """

    partition: int
    count: int
    outboxes: tuple[str, ...]
    said: bytes


class Delivery(Struct, frozen=True, array_like=True, gc=False):
    """What was taken together, to be stored together.

    Attributes:
        number: by which it is answered; None: there is nothing to be stored, the rest is news.
        connected: whether the broker has taken us.
        dropped: so far, as of `Inbox`.
        limited: likewise.
        others: what somebody else has to look at.
    """

    number: int | None
    connected: bool
    dropped: int
    limited: int
    parts: tuple[Part, ...] = ()
    others: tuple[Arrival | NewRecord, ...] = ()


decode_told = msgspec.msgpack.Decoder(Told).decode
decode_delivery = msgspec.msgpack.Decoder(Delivery).decode


def parts_of(said: Sequence[Said], registry: Registry) -> list[Part]:
    """Return what one message says, ready for the log."""
    outboxes = tuple({seen.outbox_id for one in said for seen in one.observations})
    return [Part(registry.partition_of_zone(one.zone), len(one.observations), outboxes, encode(one)) for one in said]


def admit(gate: Gate) -> Admit:
    """Return what of `gate` is needed to take what is plain."""
    heard = {device: site for device, site in gate.registry.sites.items() if device in gate.keys or site.agent}
    return Admit(heard, {kid: gate.keys[kid] for kid in (*heard, topics.STREAM) if kid in gate.keys})


def gate_of(told: Admit, tenant: str, partitions: int) -> Gate:
    """Return the gate of who was told that."""
    return Gate(tenant, Keyring(told.keys), Registry.of_sites(told.sites, partitions=partitions))


@dataclass(slots=True)
class Load:
    """A delivery in the making, and what is said once it is stored.

    Attributes:
        said: of each of the `parts`.
        came: likewise, the message.
    """

    parts: list[Part] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    came: list[Arrival] = field(default_factory=list)
    others: list[Arrival | NewRecord] = field(default_factory=list)
    items: int = 0

    def add(self, what: Arrival | NewRecord, gate: Gate) -> None:
        """Put in what a message says, or the message itself."""
        said = plain(what, gate) if isinstance(what, Arrival) else None
        if said is None or not isinstance(what, Arrival):
            self.pass_on(what)
            return
        self.parts += parts_of(said, gate.registry)
        self.said += said
        self.came += [what] * len(said)
        self.items += sum(len(one.observations) for one in said)

    def pass_on(self, what: Arrival | NewRecord) -> None:
        """Put in a message for somebody else to look at."""
        self.others.append(what)
        self.items += 1

    def replies(self, refused: Iterable[int]) -> list[tuple[str, Ack]]:
        """Return whom to tell what was stored, all but the parts that are refused."""
        without = frozenset(refused)
        return acks_of(said for n, said in enumerate(self.said) if n not in without)

    def refused(self, refused: Iterable[int]) -> Iterable[Arrival]:
        """Return the messages of these parts."""
        return dict.fromkeys(self.came[n] for n in refused)


def plain(arrival: Arrival, gate: Gate) -> list[Said] | None:
    """Return what a device says; None where this is not plain."""
    at = topics.parse(arrival.topic)
    if arrival.is_retained or at is None or at.what != "obs" or at.who == topics.ALERTS:
        return None
    try:
        taken = take(arrival, gate)
    except Exception:  # noqa: BLE001  # whatever is wrong with it is found out again where there is an answer to it
        return None
    if not isinstance(taken, list) or any(said.observations[0].position is not None for said in taken):
        return None
    return taken
