"""Sparkplug B: ``spBv1.0/<group>/<type>/<node>[/<device>]`` with protobuf payloads.

A birth says which metrics there are, under which aliases, and what they stand at: state, not news. An alias means
nothing before it; a death counts only for the birth that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from models.errors import MessageError, Reason
from models.messages import Fault, Quality
from stream.adapters.dialect import Ask, Faults, Heard, celsius, number, payloads

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
        self._aliases: dict[str, dict[int, str]] = {}

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters."""
        return tuple(f"{ROOT}/{self._group}/{kind}/#" for kind in _KINDS)

    def hear(self, topic: str, payload: bytes, *, is_retained: bool, now_ms: int) -> list[Heard | Ask]:
        """Say what a message means; a node whose birth was missed is asked to be born again, once."""
        del now_ms
        _, group, kind, node, *device = topic.split("/")
        source = "/".join((NAME, group, node, *device))
        try:
            message = Payload.FromString(payload)
        except DecodeError as exc:
            raise MessageError(Reason.WRONG_SHAPE, f"{topic}: not a Sparkplug B payload: {exc}") from exc
        owner = f"{NAME}/{group}/{node}"
        if kind.endswith("DEATH"):
            return list(self._death(source, owner, message, is_node=kind == "NDEATH"))
        if kind.endswith("BIRTH"):
            self._born(source, owner, message, is_node=kind == "NBIRTH")
        elif owner not in self._births:
            is_asked, self._asked = owner in self._asked, self._asked | {owner}
            return [] if is_asked else [Ask(f"{ROOT}/{group}/NCMD/{node}", REBIRTH)]
        is_state = is_retained or kind.endswith("BIRTH")
        return list(self._said(source, message, is_state=is_state))

    def _born(self, source: str, owner: str, message: Any, *, is_node: bool) -> None:  # noqa: ANN401
        if is_node:
            self._births[owner] = _bd_seq(message)
            self._asked -= {owner}
        self._aliases[source] = {metric.alias: metric.name for metric in message.metrics if metric.HasField("alias")}
        self._faults.news(source, "offline", is_there=False)

    def _death(self, source: str, owner: str, message: Any, *, is_node: bool) -> Iterator[Heard]:  # noqa: ANN401
        if is_node and self._births.get(owner) != _bd_seq(message):
            return  # the will of a connection that a newer one has replaced
        if self._faults.news(source, "offline", is_there=True):
            yield Heard(source, Fault(fault="offline"))

    def _said(self, source: str, message: Any, *, is_state: bool) -> Iterator[Heard]:  # noqa: ANN401
        for metric in message.metrics:
            if metric.is_null:
                continue
            name = metric.name or self._aliases.get(source, {}).get(metric.alias, "")
            quality = Quality.REPLAYED if is_state else Quality.LATE if metric.is_historical else Quality.LIVE
            observed_ms = metric.timestamp if metric.HasField("timestamp") else None
            last = name.rsplit("/", 1)[-1]
            for said in payloads(source, {last: _value(metric, last)}, self._faults):
                yield Heard(source, said, quality, observed_ms)


def _bd_seq(message: Any) -> int | None:  # noqa: ANN401
    found = (metric.long_value or metric.int_value for metric in message.metrics if metric.name == "bdSeq")
    return next(found, None)


def _value(metric: Any, name: str) -> object:  # noqa: ANN401
    field = next((field for field in _VALUES if metric.HasField(field)), None)
    if field is None:
        return None
    value = getattr(metric, field)
    bits = _SIGNED.get(metric.datatype)
    if bits and isinstance(value, int) and value >= 1 << (bits - 1):
        value -= 1 << bits
    if name.lower() == "temperature" and (measured := number(value)) is not None:
        return celsius(measured, "C")
    return value
