"""Deciding again what stands in a recorded log, with the real core, and saying whether the same came out.

The zones are fed from `obs`, the desk from `incidents` as recorded: the time at which a signal was appended is the
desk's time, and only the log knows it. A crash may have written an output twice; it counts once. What was decided in
the last second of a recording may not be in it yet: it differs only where the rows say that it was stored. Of a log
that has let go of its beginning, what stands behind the oldest checkpoint is decided again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from stream.checkpoints import Checkpoint, beginning
from stream.control import Contents
from stream.desk import machine as desks
from stream.desk.machine import DeskMachine, desk_revision
from stream.log.engine import CONTROL_TOPIC, changelog
from stream.log.file import NewRecord
from stream.recorded import Recorded
from stream.records import OrderRecord, Origin, SignalRecord, decode_order, signals_of
from stream.zones import machine as zones
from stream.zones.machine import ZoneMachine, revision

K = TypeVar("K")
V = TypeVar("V")


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
        unstored: signals and orders that are decided, and that the stream has still to store.
    """

    incidents: tuple[str, ...]
    orders: tuple[Order, ...]
    signals: int
    signals_differ: tuple[Origin, ...]
    orders_differ: tuple[tuple[str, int], ...]
    unstored: int = 0

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
        begun = [beginning(zones.CHECKPOINT, recorded, n, 0) for n in range(recorded.partitions("obs"))]
        heard = (signal for record in recorded.records("incidents") for signal in signals_of(record.value or b""))
        signals = _Compared(_signals(recorded, contents, begun))
        signals_differ = signals.differing(
            _by_origin(one) for one in heard if one.origin.offset > begun[one.origin.partition].offset
        )
        desk = beginning(desks.CHECKPOINT, recorded, 0, 0)
        orders = _Compared(_orders(recorded, contents, desk))
        sent = (decode_order(record.value or b"") for record in recorded.records("orders"))
        # What the desk had decided by then was stored by then.
        orders_differ = orders.differing(map(_by_revision, (one for one in sent if one.at_ms > desk.at_ms)))
    finally:
        recorded.close()
    return Replayed(
        incidents=tuple(dict.fromkeys(incident for incident, _ in orders.decided)),
        orders=tuple(map(_short, orders.decided.values())),
        signals=len(signals.decided),
        signals_differ=tuple(signals_differ),
        orders_differ=tuple(orders_differ),
        unstored=len(signals.unstored) + len(orders.unstored),
    )


class _Compared(Generic[K, V]):
    """Outputs as decided again, each under its key, to be compared with those that stand in the log.

    Args:
        outputs: (key, output, whether the rows say that it was stored).
    """

    def __init__(self, outputs: Iterable[tuple[K, V, bool]]) -> None:
        self.decided: dict[K, V] = {}
        self.unstored: set[K] = set()
        for key, output, is_stored in outputs:
            self.decided[key] = output
            if not is_stored:
                self.unstored.add(key)

    def differing(self, recorded: Iterable[tuple[K, V]]) -> list[K]:
        """Return the keys under which something else stands in the log, or nothing that has to stand there."""
        before = dict(recorded)
        self.unstored -= before.keys()
        keys = dict.fromkeys([*before, *self.decided])
        return [key for key in keys if key not in self.unstored and self.decided.get(key) != before.get(key)]


def _signals(
    recorded: Recorded, contents: Contents, begun: Sequence[Checkpoint]
) -> Iterable[tuple[Origin, SignalRecord, bool]]:
    machine = ZoneMachine(lambda partition: dict(begun[partition].rows), contents)
    for partition, one in enumerate(begun):
        stored = _stored_up_to(recorded, "zones", partition, revision)
        for record in recorded.records("obs", partition, one.offset + 1):
            outputs = machine.apply(partition, record.offset, record.value or b"", now_ms=record.at_ms)
            for output in _to("incidents", outputs):
                for signal in signals_of(output.value or b""):
                    yield *_by_origin(signal), record.offset <= stored


def _orders(
    recorded: Recorded, contents: Contents, begun: Checkpoint
) -> Iterable[tuple[tuple[str, int], OrderRecord, bool]]:
    machine = DeskMachine(lambda: dict(begun.rows), contents)
    stored = _stored_up_to(recorded, "desk", 0, desk_revision)
    for record in recorded.records("incidents", 0, begun.offset + 1):
        outputs = machine.apply(0, record.offset, record.value or b"", now_ms=record.at_ms)
        for output in _to("orders", outputs):
            yield *_by_revision(decode_order(output.value or b"")), record.offset <= stored


def _stored_up_to(recorded: Recorded, table: str, partition: int, revision_of: Callable[[bytes], int]) -> int:
    """Return the last offset that a row remembers: a row is written when the outputs up to it are stored."""
    rows = (record.value for record in recorded.records(changelog(table), partition))
    return max((revision_of(row) for row in rows if row is not None), default=-1)


def _to(topic: str, outputs: list[NewRecord]) -> Iterable[NewRecord]:
    return (output for output in outputs if output.topic == topic)


def _by_origin(signal: SignalRecord) -> tuple[Origin, SignalRecord]:
    return signal.origin, replace(signal, at_ms=0)


def _by_revision(record: OrderRecord) -> tuple[tuple[str, int], OrderRecord]:
    return (record.order.incident.incident_id, record.order.revision), replace(record, at_ms=0)


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
    if found.unstored:
        lines.append(
            f"{found.unstored} of these not recorded yet: the recording ends before, and the stream goes on there"
        )
    lines += [f"signal {tuple(msgspec.to_builtins(origin))} differs" for origin in found.signals_differ]
    lines += [f"order {incident} revision {revision} differs" for incident, revision in found.orders_differ]
    lines.append("the same as recorded" if found.is_same else "NOT the same as recorded")
    return "\n".join(lines)
