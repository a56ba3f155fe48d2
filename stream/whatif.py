"""What other thresholds would have done: the real reducer over the recorded log, with another control record.

With the thresholds that were in force the replay must give what stands in the log; that is checked first, on every
run, so that a difference is the thresholds' and nobody else's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from models.messages import Stage
from models.thresholds import Thresholds
from stream.checkpoints import Checkpoint, beginning
from stream.control import Contents
from stream.inforce import InForce
from stream.log.engine import CONTROL_TOPIC
from stream.log.file import Record
from stream.recorded import Recorded
from stream.records import (
    HistoryItem,
    Origin,
    ParcelRecord,
    SignalKind,
    SignalRecord,
    VerdictRecord,
    decode_obs,
    encode,
    history_items,
    signals_of,
)
from stream.zones.machine import CHECKPOINT, ZoneMachine
from stream.zones.rules import Rules

Progress = Callable[[int], None]
VERDICT: Final = b'{"record":"verdict"'
"""How a person's verdict begins in the log; most records are none, and need not be decoded twice."""
PARCEL: Final = b'{"record":"parcel"'
ALWAYS: Final = (1 << 62, 0)
"""A place in the log after all others, whatever has been moved: a verdict that has seen everything."""


class Alert(Struct, frozen=True, kw_only=True):
    """One pre-alarm or alarm of a zone, from its first word to its last.

    Attributes:
        device_id: that raised it, with
        label: the label it did so by.
        stage: the highest it reached.
        until_ms: when it cleared or was closed; None: not in this log.
    """

    zone: str
    family: str
    device_id: str
    label: str
    raised_ms: int
    stage: Stage
    confidence: float
    until_ms: int | None = None

    def overlaps(self, other: Alert) -> bool:
        """Whether the two are of the same zone, family and time: then they are the same event, seen sooner or later."""
        return (
            (self.zone, self.family) == (other.zone, other.family)
            and (other.until_ms is None or self.raised_ms <= other.until_ms)
            and (self.until_ms is None or other.raised_ms <= self.until_ms)
        )


class Tally(Struct, kw_only=True):
    """Alerts of one device and label."""

    before: int = 0
    after: int = 0
    added: int = 0
    removed: int = 0


class WhatIf(Struct, frozen=True, kw_only=True):
    """What would have been different.

    Attributes:
        since_ms: from here on the other thresholds are in force.
        until_ms: time of the last record.
        observations: judged since then; `outcomes_differ`: of them, those that another outcome.
        differs_from_log: origins on which even the thresholds in force did not give what stands in the log: none, or
            nothing here can be relied on.
        raised: in both, but at a lower stage before; `lowered`: at a lower stage now.
        by: ``device label`` to its figures.
    """

    since_ms: int
    until_ms: int
    version: str
    observations: int
    outcomes_differ: int
    differs_from_log: tuple[Origin, ...]
    added: tuple[Alert, ...]
    removed: tuple[Alert, ...]
    raised: tuple[tuple[Alert, Alert], ...]
    lowered: tuple[tuple[Alert, Alert], ...]
    by: dict[str, Tally]

    @property
    def is_exact(self) -> bool:
        """Whether the replay with the thresholds in force gave the log."""
        return not self.differs_from_log


class _Instead(Contents):
    """Contents of which the thresholds can be exchanged."""

    def __init__(self, stored: Callable[[str], bytes | None]) -> None:
        super().__init__(stored)
        self.thresholds: Thresholds | None = None
        self._kept: tuple[Rules, Rules] | None = None

    def rules(self, in_force: InForce, offset: int) -> Rules:
        """Return the rules in force at `offset`, with the other thresholds where they are set."""
        rules = super().rules(in_force, offset)
        if self.thresholds is None:
            return rules
        if self._kept is None or self._kept[0] is not rules:
            self._kept = rules, dataclasses.replace(rules, thresholds=self.thresholds)
        return self._kept[1]


@dataclass
class _Side:
    """One of the two passes: a reducer, and the alerts that came of it so far."""

    machine: ZoneMachine
    signals: dict[Origin, SignalRecord] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)
    families: dict[str, str] = field(default_factory=dict)
    parcels: dict[tuple[str, str, str | None], bytes] = field(default_factory=dict)
    _open: dict[str, int] = field(default_factory=dict)
    _standing: dict[tuple[str, str], str] = field(default_factory=dict)

    def apply(self, partition: int, record: Record, value: bytes) -> list[HistoryItem]:
        """Apply a record of `obs`; return the decisions on it."""
        items: list[HistoryItem] = []
        for output in self.machine.apply(partition, record.offset, value, now_ms=record.at_ms):
            if output.topic == "incidents":
                for signal in signals_of(output.value or b""):
                    self._hear(signal)
            elif output.topic == "obs" and (output.value or b"").startswith(PARCEL):
                self.parcels[_parcel(output.value or b"")] = output.value or b""
            elif output.topic == "history":
                items += history_items(output.value or b"")
        return items

    def end(self, zone: str, signal_id: str, at_ms: int) -> None:
        """Take that an alert is over."""
        at = self._open.pop(signal_id, None)
        if at is not None:
            self.alerts[at] = replace(self.alerts[at], until_ms=at_ms)
            self._standing.pop((zone, self.alerts[at].family), None)

    def standing(self, zone: str, family: str | None) -> str | None:
        """Give the alert of this family that stands in a zone."""
        return self._standing.get((zone, family or ""))

    def _hear(self, signal: SignalRecord) -> None:
        self.signals[signal.origin] = replace(signal, at_ms=0)
        if signal.kind is SignalKind.RAISED:
            self._standing[signal.zone, signal.family] = signal.signal_id
            self.families[signal.signal_id] = signal.family
            self._open[signal.signal_id] = len(self.alerts)
            self.alerts.append(_alert(signal))
        at = self._open.get(signal.signal_id)
        if at is None:
            return
        if signal.kind is SignalKind.CLEARED:
            self.end(signal.zone, signal.signal_id, signal.at_ms)
        elif signal.stage is Stage.ALARM:
            higher = max(self.alerts[at].confidence, signal.confidence)
            self.alerts[at] = replace(self.alerts[at], stage=Stage.ALARM, confidence=higher)


@dataclass
class _Count:
    """Figures that grow with each record."""

    progress: Progress
    records: int = 0
    last_ms: int = 0
    observations: int = 0
    outcomes_differ: int = 0
    differs: list[Origin] = field(default_factory=list)

    def add(self, before: list[HistoryItem], after: list[HistoryItem], at_ms: int, *, since_ms: int) -> None:
        """Count one record."""
        self.records += 1
        self.last_ms = max(self.last_ms, at_ms)
        self.progress(self.records)
        if at_ms >= since_ms:
            outcomes = {item.origin: item.outcome for item in after}
            self.observations += len(before)
            self.outcomes_differ += sum(outcomes.get(item.origin) != item.outcome for item in before)


def what_if(
    recorded: Recorded, thresholds: Thresholds, *, since_ms: int, progress: Progress = lambda _n: None
) -> WhatIf:
    """Say what `thresholds` would have done, had they come into force at `since_ms`.

    A verdict of a person stands: it is given to whatever stands in the zone then, since an alert that was raised sooner
    has another id. An alarm that nobody answered in the log latches here too, to its end.

    What stands before the last checkpoint before `since_ms` is not decided again.

    Args:
        recorded: the log; it is only read.
        thresholds: resolved.
        since_ms: record time; later where the log has let go of what came before.
        progress: told how many records of `obs` are done.

    Raises:
        StorageError: a version that was in force is not in the log.
    """
    stored = {record.key: record.value for record in recorded.records(CONTROL_TOPIC)}
    contents = [_Instead(lambda version: stored.get(msgspec.json.encode(version))) for _ in range(2)]
    begun = [beginning(CHECKPOINT, recorded, partition, since_ms) for partition in range(recorded.partitions("obs"))]
    since_ms = max([since_ms, *(one.at_ms for one in begun)])
    before, after = (_Side(ZoneMachine(lambda n: dict(begun[n].rows), content)) for content in contents)
    count = _Count(progress)
    histories = [_History(recorded, partition, one.offset) for partition, one in enumerate(begun)]
    changed: set[int] = set()
    for partition, record in _in_order(recorded, before, begun):
        if record.at_ms >= since_ms:
            changed.add(partition)
        contents[1].thresholds = thresholds if partition in changed else None
        value = record.value or b""
        decided = before.apply(partition, record, value)
        otherwise = after.apply(partition, record, _heard(value, record.at_ms, before, after))
        count.differs += histories[partition].differing(decided)
        count.add(decided, otherwise, record.at_ms, since_ms=since_ms)
    for history in histories:
        count.differs += history.left()
    count.differs += _unequal_signals(recorded, before, begun)
    return _compared(before, after, count, thresholds.version, since_ms)


def _in_order(recorded: Recorded, side: _Side, begun: Sequence[Checkpoint]) -> Iterator[tuple[int, Record]]:
    """Yield the records of `obs`: of each partition in their order, and a parcel after `side` has given it away.

    One of which the log no longer has where it came from is yielded when nothing else is left to go on with.
    """
    left = {n: recorded.records("obs", n, one.offset + 1) for n, one in enumerate(begun)}
    held: dict[int, Record] = {}
    while left:
        is_stuck = held.keys() == left.keys() and not any(_is_given(record, side) for record in held.values())
        for partition, records in list(left.items()):
            record = held.pop(partition, None) or next(records, None)
            while record is not None and (is_stuck or _is_given(record, side)):
                yield partition, record
                is_stuck = False
                record = next(records, None)
            if record is None:
                del left[partition]
            else:
                held[partition] = record


def _is_given(record: Record, side: _Side) -> bool:
    value = record.value or b""
    return not value.startswith(PARCEL) or _parcel(value) in side.parcels


def _parcel(value: bytes) -> tuple[str, str, str | None]:
    """Return what names a parcel."""
    parcel = decode_obs(value)
    assert isinstance(parcel, ParcelRecord)
    return parcel.move, parcel.zone, parcel.device


def _heard(value: bytes, at_ms: int, before: _Side, after: _Side) -> bytes:
    """Give a person's verdict to the alert of the same zone and family that stands on the other side.

    What a zone took along when it was moved is that of the other side.
    """
    if value.startswith(PARCEL):
        return after.parcels.get(_parcel(value), value)
    if not value.startswith(VERDICT):
        return value
    verdict = decode_obs(value)
    assert isinstance(verdict, VerdictRecord)
    family = before.families.get(verdict.signal_id)
    standing = after.standing(verdict.zone, family)
    redirected = verdict
    if standing is not None and standing != verdict.signal_id:
        redirected = replace(verdict, signal_id=standing, seen=ALWAYS, moves=ALWAYS[0])
    if verdict.verdict == "close":
        before.end(verdict.zone, verdict.signal_id, at_ms)
        after.end(verdict.zone, redirected.signal_id, at_ms)
    return encode(redirected)


class _History:
    """The decisions in the log, compared in step with those made again. A crash may have written one twice.

    Args:
        after: offset of the last record of `obs` that is not decided again.
    """

    def __init__(self, recorded: Recorded, partition: int, after: int) -> None:
        self._items = (
            item
            for record in recorded.records("history", partition)
            for item in history_items(record.value or b"")
            if item.origin.offset > after
        )
        self._next: HistoryItem | None = next(self._items, None)
        self._place: tuple[int, int] = (-1, -1)

    def differing(self, items: Iterable[HistoryItem]) -> Iterator[Origin]:
        """Yield the origins of `items`, decided again, that do not stand so in the log."""
        for item in items:
            place = (item.origin.offset, item.origin.n)
            yield from self._skip_to(place)
            if self._next is None:  # what was not yet written when the log was read
                return
            if self._next != item:
                yield item.origin
            self._advance(place)

    def left(self) -> Iterator[Origin]:
        """Yield what stands in the log beyond all that was decided again."""
        yield from self._skip_to((1 << 62, 0))

    def _skip_to(self, place: tuple[int, int]) -> Iterator[Origin]:
        while self._next is not None and (at := (self._next.origin.offset, self._next.origin.n)) < place:
            if at > self._place:
                yield self._next.origin
            self._advance(max(at, self._place))

    def _advance(self, place: tuple[int, int]) -> None:
        self._place, self._next = place, next(self._items, None)


def _alert(signal: SignalRecord) -> Alert:
    return Alert(
        zone=signal.zone,
        family=signal.family,
        device_id=signal.device_id,
        label=signal.label,
        raised_ms=signal.event_ms,
        stage=signal.stage,
        confidence=signal.confidence,
    )


def _compared(before: _Side, after: _Side, count: _Count, version: str, since_ms: int) -> WhatIf:
    old = [alert for alert in before.alerts if alert.until_ms is None or alert.until_ms >= since_ms]
    new = [alert for alert in after.alerts if alert.until_ms is None or alert.until_ms >= since_ms]
    # A zone and family have few alerts: each is compared with those of its own place alone.
    old_at, new_at = _by_place(old), _by_place(new)
    removed = tuple(alert for alert in old if not _partner(alert, new_at))
    added = tuple(alert for alert in new if not _partner(alert, old_at))
    pairs = [(alert, partner) for alert in old if (partner := _partner(alert, new_at))]
    return WhatIf(
        since_ms=since_ms,
        until_ms=count.last_ms,
        version=version,
        observations=count.observations,
        outcomes_differ=count.outcomes_differ,
        differs_from_log=tuple(count.differs),
        added=added,
        removed=removed,
        raised=tuple(pair for pair in pairs if (pair[0].stage, pair[1].stage) == (Stage.PRE_ALARM, Stage.ALARM)),
        lowered=tuple(pair for pair in pairs if (pair[0].stage, pair[1].stage) == (Stage.ALARM, Stage.PRE_ALARM)),
        by=_tallies(old, new, added, removed),
    )


def _by_place(alerts: Iterable[Alert]) -> dict[tuple[str, str], list[Alert]]:
    places: dict[tuple[str, str], list[Alert]] = {}
    for alert in alerts:
        places.setdefault((alert.zone, alert.family), []).append(alert)
    return places


def _partner(alert: Alert, others: dict[tuple[str, str], list[Alert]]) -> Alert | None:
    return next((other for other in others.get((alert.zone, alert.family), ()) if alert.overlaps(other)), None)


def _tallies(
    old: Iterable[Alert], new: Iterable[Alert], added: Iterable[Alert], removed: Iterable[Alert]
) -> dict[str, Tally]:
    tallies: dict[str, Tally] = {}
    for name, alerts in (("before", old), ("after", new), ("added", added), ("removed", removed)):
        for alert in alerts:
            tally = tallies.setdefault(f"{alert.device_id} {alert.label}", Tally())
            setattr(tally, name, getattr(tally, name) + 1)
    return dict(sorted(tallies.items()))


def _unequal_signals(recorded: Recorded, before: _Side, begun: Sequence[Checkpoint]) -> Iterator[Origin]:
    """Yield the origins of signals in the log that were not decided so again."""
    for record in recorded.records("incidents"):
        for signal in signals_of(record.value or b""):
            is_decided = signal.origin.offset > begun[signal.origin.partition].offset
            if is_decided and before.signals.get(signal.origin) != replace(signal, at_ms=0):
                yield signal.origin
