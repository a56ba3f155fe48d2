"""Sparkplug B: ``spBv1.0/<group>/<type>/<node>[/<device>]`` with protobuf payloads.

A birth says which metrics there are, under which aliases, and what they stand at: state, not news, but for an alarm
that was not there when the node was last heard: what told of it was lost, or the node was away. An alias means nothing
before it; a death counts only for the birth that it belongs to, and takes the node's devices along. Where the numbers
of a node's messages tell that one is missing, it is asked to be born again.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from models.errors import MessageError, Reason
from models.messages import OFFLINE, Quality
from stream.adapters.dialect import ALARMS, Ask, Dialect, Faults, Heard, heard, is_test, truth
from stream.adapters.names import Host, Names

NAME: Final = "sparkplug"
ROOT: Final = "spBv1.0"
_FIELD = descriptor_pb2.FieldDescriptorProto
_METRIC: Final = (
    ("name", 1, _FIELD.TYPE_STRING),
    ("alias", 2, _FIELD.TYPE_UINT64),
    ("timestamp", 3, _FIELD.TYPE_UINT64),
    ("datatype", 4, _FIELD.TYPE_UINT32),
    ("is_historical", 5, _FIELD.TYPE_BOOL),
    ("is_transient", 6, _FIELD.TYPE_BOOL),
    ("is_null", 7, _FIELD.TYPE_BOOL),
    ("int_value", 10, _FIELD.TYPE_UINT32),
    ("long_value", 11, _FIELD.TYPE_UINT64),
    ("float_value", 12, _FIELD.TYPE_FLOAT),
    ("double_value", 13, _FIELD.TYPE_DOUBLE),
    ("boolean_value", 14, _FIELD.TYPE_BOOL),
    ("string_value", 15, _FIELD.TYPE_STRING),
)
_VALUES: Final = tuple(name for name, _, _ in _METRIC if name.endswith("_value"))
WAITING: Final = 16
"""Messages of a node that wait for its birth, at most,"""
WAITING_IN_ALL: Final = 512
"""and of all nodes that nobody has admitted."""
SEQS: Final = 256
"""A node numbers its messages from 0 to 255 and over again."""
UNKNOWN_AGAIN_MS: Final = 10_000
"""A node whose data cannot be understood is asked for its birth at most once in so long,"""
GAP_AGAIN_MS: Final = 60_000
"""and one of which only something is missing."""
_KINDS: Final = ("NBIRTH", "NDEATH", "NDATA", "DBIRTH", "DDEATH", "DDATA")
_SIGNED: Final = {1: 32, 2: 32, 3: 32, 4: 64}
"""Data types of signed integers, to the bits of the unsigned ones as which they travel."""


def _payload_class() -> Any:  # noqa: ANN401  # made at run time
    """Build the message class from the field numbers of the specification; what is not needed is skipped as unknown."""
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="gridwarden.sparkplug", syntax="proto2")
    metric = file.message_type.add(name="Metric")
    for name, number_, kind in _METRIC:
        metric.field.add(name=name, number=number_, type=kind, label=_FIELD.LABEL_OPTIONAL)
    payload = file.message_type.add(name="Payload")
    payload.field.add(name="timestamp", number=1, type=_FIELD.TYPE_UINT64, label=_FIELD.LABEL_OPTIONAL)
    payload.field.add(
        name="metrics",
        number=2,
        type=_FIELD.TYPE_MESSAGE,
        label=_FIELD.LABEL_REPEATED,
        type_name=".gridwarden.sparkplug.Metric",
    )
    payload.field.add(name="seq", number=3, type=_FIELD.TYPE_UINT64, label=_FIELD.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("gridwarden.sparkplug.Payload"))


Payload: Final = _payload_class()
"""The message class: ``Payload.FromString(raw)``."""


class _As(enum.Enum):
    """As what a message is taken: `BIRTH` is state, but for an alarm that is new; `KEPT`, by the broker, is no news."""

    NEWS = enum.auto()
    BIRTH = enum.auto()
    KEPT = enum.auto()


def _rebirth() -> bytes:
    command = Payload(timestamp=0)
    command.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=True)
    return bytes(command.SerializeToString())


REBIRTH: Final = _rebirth()
"""What makes a node say again which metrics it has."""


@dataclass(slots=True)
class _Node:
    """What is remembered of a node.

    Attributes:
        name: as a source.
        is_born: whether its birth was heard.
        bd_seq: of the birth that is in force.
        seq: of its last message.
        asked_ms: when it was asked to be born again.
        aliases: what each means, by source: of the node and of its devices.
        alarms: whether each alarm was there when it was last heard of, by source and name.
        waiting: data that only a birth can explain, with its source.
    """

    name: str
    is_born: bool = False
    bd_seq: int | None = None
    seq: int | None = None
    asked_ms: int | None = None
    aliases: dict[str, dict[int, str]] = field(default_factory=dict)
    alarms: dict[tuple[str, str], bool] = field(default_factory=dict)
    waiting: list[tuple[str, Any]] = field(default_factory=list)

    def knows(self, source: str, message: Any) -> bool:  # noqa: ANN401
        """Whether it is known what the metrics of a message are."""
        aliases = self.aliases.get(source, {})
        return all(metric.name or metric.alias in aliases for metric in message.metrics)

    def is_new_alarm(self, source: str, name: str, value: object) -> bool:
        """Take what a metric stands at; return whether that is an alarm that was not there when it was heard last."""
        name, is_there = name.lower(), truth(value)
        if name not in ALARMS or is_there is None:
            return False
        was_there = self.alarms.get((source, name))
        self.alarms[source, name] = is_there
        return is_there and was_there is False

    def misses(self, message: Any, *, is_birth: bool) -> bool:  # noqa: ANN401
        """Whether something before this message has not come; a birth begins anew.

        One that has the number of the last is said twice, or comes from a node that does not count.
        """
        if not message.HasField("seq"):
            return False
        before, self.seq = self.seq, message.seq
        return not is_birth and before is not None and message.seq not in (before, (before + 1) % SEQS)


class Sparkplug(Dialect):
    """All nodes of a group.

    Args:
        group: the group id; ``+``: all.
        host: who listens.
        hears_all: whether every message of a node comes here: several workers divide them, and then nobody can count.

    Attributes:
        gaps: how often messages of a node were missing.
    """

    def __init__(self, group: str = "+", host: Host | None = None, *, hears_all: bool = True) -> None:
        self.gaps = 0
        self._host = host or Host()
        self._group = group
        self._hears_all = hears_all
        self._faults = Faults(self._host)
        self._nodes: Names[_Node] = Names(self._host)

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters."""
        return tuple(f"{ROOT}/{self._group}/{kind}/#" for kind in _KINDS)

    @property
    def common(self) -> tuple[str, ...]:
        """The births."""
        return tuple(f"{ROOT}/{self._group}/{kind}/#" for kind in _KINDS if kind.endswith("BIRTH"))

    def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> list[Heard | Ask]:
        """Say what a message means; a node of which something was missed is asked to be born again, not too often."""
        levels = topic.split("/")
        if len(levels) not in (4, 5):
            raise MessageError(Reason.WRONG_SHAPE, f"{topic!r} names no node, or more than a device of one")
        _, group, kind, name, *device = levels
        owner = f"{NAME}/{group}/{name}"
        source = "/".join((owner, *device))
        try:
            message = Payload.FromString(payload)
        except DecodeError as exc:
            raise MessageError(Reason.WRONG_SHAPE, f"{topic}: not a Sparkplug B payload: {exc}") from exc
        node = self._nodes.get(owner) or _Node(owner)
        self._nodes.put(owner, node, source=owner)
        if is_retained:
            return list(self._state(node, source, kind, message))
        is_gap = self._hears_all and node.misses(message, is_birth=kind == "NBIRTH")
        self.gaps += is_gap
        again = _asks(node, source, kind, message, is_gap=is_gap, now_ms=now_ms)
        asks = [Ask(f"{ROOT}/{group}/NCMD/{name}", REBIRTH)] if again else []
        if kind.endswith("DEATH"):
            gone = self._death(node, source, Quality.LIVE, of=_bd_seq(message), is_node=kind == "NDEATH")
            return [*asks, *gone]
        if kind.endswith("BIRTH"):
            return [*asks, *self._born(node, source, message, _As.BIRTH, is_node=kind == "NBIRTH")]
        return [*asks, *self._news(node, source, message)]

    def _state(self, node: _Node, source: str, kind: str, message: Any) -> Iterator[Heard]:  # noqa: ANN401
        """Yield what a broker has kept, though it should not: no news, and nothing can be counted by it."""
        if kind.endswith("DEATH"):
            yield from self._death(node, source, Quality.REPLAYED, of=_bd_seq(message), is_node=kind == "NDEATH")
        elif kind.endswith("BIRTH"):
            yield from self._born(node, source, message, _As.KEPT, is_node=kind == "NBIRTH")
        else:
            yield from self._said(node, source, message, _As.KEPT)

    def _news(self, node: _Node, source: str, message: Any) -> Iterator[Heard]:  # noqa: ANN401
        """Yield what data says; where a birth must first say what its aliases mean, it waits for that: it is no state.

        A birth that is asked for says again that there is smoke, but a birth is no news, and the smoke would be lost.
        """
        if node.knows(source, message):
            yield from self._said(node, source, message, _As.NEWS)
        elif len(node.waiting) < WAITING and (self._host.is_admitted(node.name) or self._is_room()):
            node.waiting.append((source, message))

    def _is_room(self) -> bool:
        return sum(len(node.waiting) for node in self._nodes.others) < WAITING_IN_ALL

    def _born(self, node: _Node, source: str, message: Any, as_: _As, *, is_node: bool) -> Iterator[Heard]:  # noqa: ANN401
        if is_node:
            node.is_born, node.bd_seq = True, _bd_seq(message)
        node.aliases[source] = {metric.alias: metric.name for metric in message.metrics if metric.HasField("alias")}
        quality = Quality.REPLAYED if as_ is _As.KEPT else Quality.LIVE
        yield from self._faults.news(source, OFFLINE, quality, is_there=False)
        yield from self._said(node, source, message, as_)
        waited, node.waiting = node.waiting, []
        for source_, data in waited:
            yield from self._news(node, source_, data)

    def _death(self, node: _Node, source: str, quality: Quality, *, of: int | None, is_node: bool) -> Iterator[Heard]:
        """Yield who is gone by the death that belongs to the birth `of`."""
        if is_node and node.is_born and node.bd_seq != of:
            return  # the will of a connection that a newer one has replaced
        devices = [other for other in node.aliases if other.startswith(f"{source}/")] if is_node else []
        for gone in (source, *devices):
            yield from self._faults.news(gone, OFFLINE, quality, is_there=True)

    def _said(self, node: _Node, source: str, message: Any, as_: _As) -> Iterator[Heard]:  # noqa: ANN401
        aliases = node.aliases.get(source, {})
        names = [(metric.name or aliases.get(metric.alias, "")).rsplit("/", 1)[-1] for metric in message.metrics]
        named = [(name, one) for name, one in zip(names, message.metrics, strict=True) if not one.is_null]
        is_drill = is_test({name.lower(): _value(metric) for name, metric in named})
        for name, metric in named:
            quality = Quality.TEST if is_drill else Quality.LATE if metric.is_historical else Quality.LIVE
            is_now = quality is Quality.LIVE and as_ is not _As.KEPT
            is_new = is_now and node.is_new_alarm(source, name, _value(metric)) and self._hears_all
            if as_ is not _As.NEWS and not is_new:
                quality = Quality.REPLAYED
            observed_ms = metric.timestamp if metric.HasField("timestamp") else None
            yield from heard(source, {name: _value(metric)}, self._faults, quality, observed_ms)


def _asks(node: _Node, source: str, kind: str, message: Any, *, is_gap: bool, now_ms: int) -> bool:  # noqa: ANN401
    """Whether a node is to be asked to be born again, and take it as asked.

    Soon again where its data cannot be understood: it may be smoke that waits. Less soon where only something was lost.
    """
    is_unknown = kind.endswith("DATA") and not (node.is_born and node.knows(source, message))
    if not (is_unknown or is_gap):
        return False
    if node.asked_ms is not None and now_ms - node.asked_ms < (UNKNOWN_AGAIN_MS if is_unknown else GAP_AGAIN_MS):
        return False
    node.asked_ms = now_ms
    return True


def _bd_seq(message: Any) -> int | None:  # noqa: ANN401
    found = (metric.long_value or metric.int_value for metric in message.metrics if metric.name == "bdSeq")
    return next(found, None)


def _value(metric: Any) -> object:  # noqa: ANN401
    field = next((field for field in _VALUES if metric.HasField(field)), None)
    if field is None:
        return None
    value = getattr(metric, field)
    bits = _SIGNED.get(metric.datatype)
    if bits and isinstance(value, int) and value >= 1 << (bits - 1):
        value -= 1 << bits
    return value
