"""What one record does to one zone's row: the order in which the zone's parts hear of it (domain reference 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from models.messages import NO_FAULT, OFFLINE, Detection, Dropped, Fault, Quality, Reading, SelfTest
from stream.records import (
    ConnectionRecord,
    HeartbeatRecord,
    Located,
    ObsLog,
    Origin,
    Outcome,
    Said,
    SignalRecord,
    VerdictRecord,
)
from stream.zones import canary, verdicts
from stream.zones.annunciator import Annunciator
from stream.zones.fusion import Decided, Fusion
from stream.zones.row import ZoneRow
from stream.zones.rules import Rules
from stream.zones.trouble import Trouble

_RECORDED: Final[Decided] = (Outcome.RECORDED, None)
_NEVER_ALARMS: Final[Decided] = (Outcome.NEVER_ALARMS, None)
_STATES: Final = frozenset((OFFLINE, NO_FAULT))
"""Faults that a broker may have kept: it is gone still, or back."""
_NEVER_ALARM: Final = frozenset((Quality.TEST, Quality.REPLAYED))


class Turn:
    """One record at work on one zone's row.

    Args:
        row: is changed.
        record: where it stands is `origin`, with the index of its first item for this zone.
        rules: in force there.

    Attributes:
        outcomes: what became of each observation that had not come before, by its place in the record.
        signal_ids: of the signals to which they belong.
    """

    def __init__(self, row: ZoneRow, record: ObsLog, origin: Origin, rules: Rules) -> None:
        self.row, self._record, self._rules = row, record, rules
        self._offset = origin.offset
        self._annunciator = Annunciator(row, record, origin, rules)
        self._trouble = Trouble(self._annunciator)
        self._fusion = Fusion(self._annunciator, self._trouble)
        self._floors: dict[tuple[str, str], float] = {}
        """By device and label, from the first detection below on: under this, another one changes nothing more."""
        self.outcomes: dict[int, Outcome] = {}
        self.signal_ids: dict[int, str] = {}
        self.duplicates = 0

    @property
    def signals(self) -> list[SignalRecord]:
        """What the zone says to the desk."""
        return self._annunciator.signals

    def run(self, parts: Iterable[tuple[int, Said]]) -> None:
        """Apply the record to `row`; what comes of it stands in the attributes.

        Args:
            parts: what was said in this zone, each with the index of its first observation.
        """
        row = self.row
        row.applied_offset = self._offset
        row.clock_ms = max(row.clock_ms, self._record.at_ms)
        verdicts.pass_deadlines(self._annunciator)
        if isinstance(self._record, HeartbeatRecord):
            for beat, zone in zip(self._record.heartbeats, self._record.zones, strict=True):
                if zone == row.zone:
                    self._trouble.is_alive(beat.device_id, is_heartbeat=True)
        if isinstance(self._record, ConnectionRecord):
            for connection in self._record.connections:
                if connection.zone == row.zone:
                    self._trouble.hear_of_connection(connection)
        self._trouble.miss()
        if isinstance(self._record, VerdictRecord):
            verdicts.hear(self._annunciator, self._record)
        for first, said in parts:
            self._take(first, said)
            self._annunciator.turn_to(first + len(said.observations) - 1)
        self._trouble.review()

    def _take(self, first: int, said: Said) -> None:
        """Decide what came for the first time, the first of it standing at `first` in the record.

        Most of it is like what was found below just before, in a zone that this has not changed: that is seen at once.
        """
        fresh = _fresh(self.row, said)
        self.duplicates += len(said.observations) - len(fresh)
        if not fresh:
            return
        device, turn_to = said.observations[0].device_id, self._annunciator.turn_to
        self._trouble.is_alive(device, is_said=_is_said(said, fresh))
        turn_to(first + fresh[0])
        self._trouble.weigh_clock(said, fresh)
        faults, floors, outcomes, below = self.row.faults, self._floors, self.outcomes, Outcome.BELOW
        for k in fresh:
            seen = said.observations[k]
            payload = seen.payload
            if (
                isinstance(payload, Detection)
                and payload.confidence < floors.get((device, payload.label), 0.0)
                and (seen.quality is Quality.LIVE or seen.quality not in _NEVER_ALARM)
                and device not in faults
            ):
                outcomes[first + k] = below
                continue
            turn_to(first + k)
            outcomes[first + k], signal_id = self._decide(said.located(k))
            if signal_id is not None:
                self.signal_ids[first + k] = signal_id
            if outcomes[first + k] is Outcome.BELOW and isinstance(payload, Detection):
                floors[device, payload.label] = self._rules.floor(payload.label, device, said.zone)

    def _decide(self, located: Located) -> Decided:
        seen = located.observation
        if isinstance(seen.payload, (Detection, Reading)) and seen.quality not in _NEVER_ALARM:
            return self._weigh(located)
        if canary.is_canary(located) and seen.quality is not Quality.REPLAYED:
            self._annunciator.say_canary(located)
        is_state = isinstance(seen.payload, Fault) and seen.payload.fault in _STATES
        is_kept = seen.quality is Quality.REPLAYED and not is_state
        if is_kept or seen.quality is Quality.TEST or isinstance(seen.payload, SelfTest):
            return _NEVER_ALARMS
        if isinstance(seen.payload, Fault):
            self._trouble.hear_of_fault(seen.device_id, seen.payload.fault)
            return _RECORDED
        if isinstance(seen.payload, Dropped):
            self.row.drop(seen.device_id, seen.outbox_id, seen.payload)
            return _RECORDED
        return self._weigh(located)

    def _weigh(self, located: Located) -> Decided:
        judged = self._rules.judge(located)
        if judged is None:
            return _RECORDED
        self._trouble.is_over(located.observation.device_id)
        return self._fusion.weigh(judged, located)


def _is_said(said: Said, fresh: Iterable[int]) -> bool:
    """Whether a device says this itself, and now: no broker or bridge that has kept it, or that misses the device."""
    for k in fresh:
        seen = said.observations[k]
        is_gone = isinstance(seen.payload, Fault) and seen.payload.fault == OFFLINE
        if seen.quality is not Quality.REPLAYED and not is_gone:
            return True
    return False


def _fresh(row: ZoneRow, said: Said) -> Sequence[int]:
    """Return which observations have not come before, and take them as having come."""
    first, seqs = said.observations[0], [seen.seq for seen in said.observations]
    outbox, lane = first.outbox_id, first.lane
    others = [seen for seen in said.observations if seen.outbox_id != outbox or seen.lane is not lane]
    if not others and row.seen_of(first.device_id, outbox, lane).add_next(seqs):  # nearly always
        return range(len(seqs))
    add = row.seen_of(first.device_id, outbox, lane).add
    fresh = []
    for k, seen in enumerate(said.observations):
        if seen.outbox_id != outbox or seen.lane is not lane:
            outbox, lane = seen.outbox_id, seen.lane
            add = row.seen_of(seen.device_id, outbox, lane).add
        if add(seen.seq):
            fresh.append(k)
    return fresh
