"""Deciding again what stands in a recorded log, with the real core, and saying whether the same came out.

The zones are fed from `obs`, the desk from `incidents` as recorded: the time at which a signal was appended is the
desk's time, and only the log knows it. A crash may have written an output twice; it counts once.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from stream.control import Contents
from stream.desk.machine import DeskMachine
from stream.log.engine import CONTROL_TOPIC
from stream.log.file import NewRecord
from stream.recorded import Recorded
from stream.records import OrderRecord, Origin, SignalRecord, decode_incidents, decode_order
from stream.zones.machine import ZoneMachine


class Order(Struct, frozen=True, kw_only=True):
    """An order in short."""

    incident_id: str
    revision: int
    category: str
    priority: str
    stage: str
    lead_post: str
    steps: int


class Replayed(Struct, frozen=True, kw_only=True):
    """What a replay found.

    Attributes:
        signals: of the zones, as decided again; `signals_differ`: origins of those that do not stand so in the log.
        orders: as decided again; `orders_differ`: (incident, revision) of those that do not stand so in the log.
    """

    incidents: tuple[str, ...]
    orders: tuple[Order, ...]
    signals: int
    signals_differ: tuple[Origin, ...]
    orders_differ: tuple[tuple[str, int], ...]

    @property
    def is_same(self) -> bool:
        """Whether the replay decided as the recording did."""
        return not self.signals_differ and not self.orders_differ


def replay(where: Path | str) -> Replayed:
    """Decide again what stands in the log at `where` (a file, or one on Kafka), from its first record on.

    Raises:
        StorageError: no such log.
    """
    recorded = Recorded(where)
    try:
        stored = {record.key: record.value for record in recorded.records(CONTROL_TOPIC)}
        contents = Contents(lambda version: stored.get(msgspec.json.encode(version)))
        heard = [decode_incidents(record.value or b"") for record in recorded.records("incidents")]
        signals = _by_origin(_signals(recorded, contents))
        signals_before = _by_origin(record for record in heard if isinstance(record, SignalRecord))
        orders = _by_revision(_orders(recorded, contents))
        orders_before = _by_revision(decode_order(record.value or b"") for record in recorded.records("orders"))
    finally:
        recorded.close()
    return Replayed(
        incidents=tuple(dict.fromkeys(incident for incident, _ in orders)),
        orders=tuple(map(_short, orders.values())),
        signals=len(signals),
        signals_differ=tuple(_differing(signals, signals_before)),
        orders_differ=tuple(_differing(orders, orders_before)),
    )


def _signals(recorded: Recorded, contents: Contents) -> Iterable[SignalRecord]:
    machine = ZoneMachine(lambda _partition: {}, contents)
    for partition in range(recorded.partitions("obs")):
        for record in recorded.records("obs", partition):
            outputs = machine.apply(partition, record.offset, record.value or b"", now_ms=record.at_ms)
            yield from (decode_incidents(output.value or b"") for output in _to("incidents", outputs))


def _orders(recorded: Recorded, contents: Contents) -> Iterable[OrderRecord]:
    machine = DeskMachine(dict, contents)
    for record in recorded.records("incidents"):
        outputs = machine.apply(0, record.offset, record.value or b"", now_ms=record.at_ms)
        yield from (decode_order(output.value or b"") for output in _to("orders", outputs))


def _to(topic: str, outputs: list[NewRecord]) -> Iterable[NewRecord]:
    return (output for output in outputs if output.topic == topic)


def _by_origin(signals: Iterable[SignalRecord]) -> dict[Origin, SignalRecord]:
    return {signal.origin: replace(signal, at_ms=0) for signal in signals}


def _by_revision(orders: Iterable[OrderRecord]) -> dict[tuple[str, int], OrderRecord]:
    return {(record.order.incident.incident_id, record.order.revision): replace(record, at_ms=0) for record in orders}


def _differing(now: dict[Any, Any], before: dict[Any, Any]) -> list[Any]:
    return [key for key in dict.fromkeys([*before, *now]) if now.get(key) != before.get(key)]


def _short(record: OrderRecord) -> Order:
    order, incident = record.order, record.order.incident
    return Order(
        incident_id=incident.incident_id,
        revision=order.revision,
        category=incident.category,
        priority=incident.priority,
        stage=incident.stage,
        lead_post=order.lead_post,
        steps=len(order.steps),
    )


def report(found: Replayed, *, as_json: bool) -> str:
    """Return `found` for a person, or as one JSON object."""
    if as_json:
        return msgspec.json.encode({**msgspec.to_builtins(found), "same": found.is_same}).decode()
    lines = ["  ".join(map(str, msgspec.structs.astuple(order))) for order in found.orders]
    lines.append(f"{len(found.incidents)} incidents, {len(found.orders)} orders, {found.signals} signals")
    lines += [f"signal {tuple(msgspec.to_builtins(origin))} differs" for origin in found.signals_differ]
    lines += [f"order {incident} revision {revision} differs" for incident, revision in found.orders_differ]
    lines.append("the same as recorded" if found.is_same else "NOT the same as recorded")
    return "\n".join(lines)
