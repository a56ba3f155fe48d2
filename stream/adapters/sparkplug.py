"""Sparkplug B: ``spBv1.0/<group>/<type>/<node>[/<device>]`` with protobuf payloads.

A birth says which metrics there are, under which aliases, and what they stand at: state, not news. An alias means
nothing before it; a death counts only for the birth that it belongs to, and takes the node's devices along.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from models.errors import MessageError, Reason
from models.messages import Quality
from stream.adapters.dialect import Ask, Faults, Heard, heard, is_test

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
"""and of all nodes."""
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


def _rebirth() -> bytes:
    command = Payload(timestamp=0)
    command.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=True)
    return bytes(command.SerializeToString())


REBIRTH: Final = _rebirth()
"""What makes a node say again which metrics it has."""


class Sparkplug:
    """All nodes of a group.

    Args:
        group: the group id; ``+``: all.
    """

    def __init__(self, group: str = "+") -> None:
        self._group = group
        self._faults = Faults()
        self._births: dict[str, int | None] = {}
        """By node, the bdSeq of the birth that is in force."""
        self._asked: frozenset[str] = frozenset()
        self._waiting: dict[str, list[tuple[str, Any]]] = {}
        self._aliases: dict[str, dict[int, str]] = {}

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters."""
        return tuple(f"{ROOT}/{self._group}/{kind}/#" for kind in _KINDS)

    @property
    def common(self) -> tuple[str, ...]:
        """The births."""
        return tuple(f"{ROOT}/{self._group}/{kind}/#" for kind in _KINDS if kind.endswith("BIRTH"))

    def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> list[Heard | Ask]:
        """Say what a message means; a node whose birth was missed is asked to be born again, once."""
        del now_ms
        levels = topic.split("/")
        if len(levels) not in (4, 5):
            raise MessageError(Reason.WRONG_SHAPE, f"{topic!r} names no node, or more than a device of one")
        _, group, kind, node, *device = levels
        source = "/".join((NAME, group, node, *device))
        try:
            message = Payload.FromString(payload)
        except DecodeError as exc:
            raise MessageError(Reason.WRONG_SHAPE, f"{topic}: not a Sparkplug B payload: {exc}") from exc
        owner = f"{NAME}/{group}/{node}"
        if kind.endswith("DEATH"):
            quality = Quality.REPLAYED if is_retained else Quality.LIVE
            return list(self._death(source, message, quality, is_node=kind == "NDEATH"))
        if kind.endswith("BIRTH"):
            self._born(source, owner, message, is_node=kind == "NBIRTH")
            waited = self._waiting.pop(owner, [])
            return [
                *self._said(source, message, is_state=True),
                *(one for source_, data in waited for one in self._news(source_, owner, data)),
            ]
        if is_retained:
            return list(self._said(source, message, is_state=True))
        return [*self._asks(source, owner, message, f"{ROOT}/{group}/NCMD/{node}"), *self._news(source, owner, message)]

    def _asks(self, source: str, owner: str, message: Any, topic: str) -> Iterator[Ask]:  # noqa: ANN401
        """Yield, once, what makes a node be born again of which the birth was missed, or that of one of its devices."""
        if owner not in self._asked and (owner not in self._births or not self._knows(source, message)):
            self._asked |= {owner}
            yield Ask(topic, REBIRTH)

    def _news(self, source: str, owner: str, message: Any) -> Iterator[Heard]:  # noqa: ANN401
        """Yield what data says; where a birth must first say what its aliases mean, it waits for that: it is no state.

        A birth that is asked for says again that there is smoke, but a birth is no news, and the smoke would be lost.
        """
        if self._knows(source, message):
            yield from self._said(source, message, is_state=False)
        elif sum(map(len, self._waiting.values())) < WAITING_IN_ALL:
            waiting = self._waiting.setdefault(owner, [])
            waiting += [(source, message)] if len(waiting) < WAITING else []

    def _knows(self, source: str, message: Any) -> bool:  # noqa: ANN401
        aliases = self._aliases.get(source, {})
        return all(metric.name or metric.alias in aliases for metric in message.metrics)

    def _born(self, source: str, owner: str, message: Any, *, is_node: bool) -> None:  # noqa: ANN401
        if is_node:
            self._births[owner] = _bd_seq(message)
            self._asked -= {owner}
        self._aliases[source] = {metric.alias: metric.name for metric in message.metrics if metric.HasField("alias")}
        list(self._faults.news(source, "offline", is_there=False))

    def _death(self, source: str, message: Any, quality: Quality, *, is_node: bool) -> Iterator[Heard]:  # noqa: ANN401
        bd_seq = _bd_seq(message)
        if is_node and self._births.get(source, bd_seq) != bd_seq:
            return  # the will of a connection that a newer one has replaced
        devices = [other for other in self._aliases if other.startswith(f"{source}/")] if is_node else []
        for gone in (source, *devices):
            yield from self._faults.news(gone, "offline", quality, is_there=True)

    def _said(self, source: str, message: Any, *, is_state: bool) -> Iterator[Heard]:  # noqa: ANN401
        aliases = self._aliases.get(source, {})
        names = [(metric.name or aliases.get(metric.alias, "")).rsplit("/", 1)[-1] for metric in message.metrics]
        named = [(name, one) for name, one in zip(names, message.metrics, strict=True) if not one.is_null]
        is_drill = is_test({name.lower(): _value(metric) for name, metric in named})
        for name, metric in named:
            quality = Quality.TEST if is_drill else Quality.LATE if metric.is_historical else Quality.LIVE
            observed_ms = metric.timestamp if metric.HasField("timestamp") else None
            said = {name: _value(metric)}
            yield from heard(source, said, self._faults, Quality.REPLAYED if is_state else quality, observed_ms)


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
