"""What a zone says to the desk: signals, each with the place in the log that it comes from."""

from __future__ import annotations

from typing import Final

from models import ids
from models.messages import Stage
from stream.records import Located, ObsLog, Origin, SignalKind, SignalRecord
from stream.zones import canary, response, supervision
from stream.zones.family import ActiveSignal, Escalation, Hit
from stream.zones.row import ZoneRow
from stream.zones.rules import Rules
from stream.zones.signals import source_of

MAX_OUTPUTS: Final = 256
"""Signals that one observation may cause at most: `Origin.n` is index x this + k, whatever other zones do."""


class Annunciator:
    """The words of one zone about one record.

    Args:
        row: of the zone; its signals are changed by what is said of them.
        record: that is applied to it.
        origin: where that stands, with the index of its first item for this zone.
        rules: in force there.

    Attributes:
        signals: what was said so far.
    """

    __slots__ = ("_at_ms", "_index", "_k", "_offset", "_partition", "row", "rules", "signals")

    def __init__(self, row: ZoneRow, record: ObsLog, origin: Origin, rules: Rules) -> None:
        self.row, self.rules = row, rules
        self.signals: list[SignalRecord] = []
        self._at_ms = record.at_ms
        self._partition, self._offset, self._index = origin.partition, origin.offset, origin.n
        self._k = 0

    def turn_to(self, index: int) -> None:
        """Take that what is said from here on comes of the observation at `index` of the record."""
        if index != self._index:
            self._index, self._k = index, 0

    def signal(self, family: str) -> ActiveSignal:
        """Return the signal of `family`, which there is."""
        signal = self.row.machines[family].signal
        assert signal is not None
        return signal

    def escalate(
        self, family: str, reason: str, *, by: tuple[Located, Hit] | None = None, pictures: tuple[str, ...] = ()
    ) -> None:
        """Make an alarm of a pre-alarm, and say so."""
        signal = self.signal(family)
        signal.stage = Stage.ALARM
        signal.verify_by_ms = signal.clear_by_ms = None
        if family != supervision.FAMILY:
            sources = {*self.row.machines[family].trips, *([source_of(by[0].observation)] if by else ())}
            response.begin(signal, family, reason, sources, self.rules, self.row.clock_ms)
        if by:
            located, hit = by
            device = located.observation.device_id
            signal.escalation = Escalation((self._offset, self._n), reason, device, hit, self.row.moves)
        self.say(family, SignalKind.ESCALATED, (reason,), located=by[0] if by else None, pictures=pictures)

    def generalise(
        self, family: str, reason: str, *, located: Located | None = None, pictures: tuple[str, ...] = ()
    ) -> None:
        """Hold an alarm back no longer, and say so."""
        response.make_general(self.signal(family))
        self.say(family, SignalKind.ESCALATED, ("GENERAL", reason), located=located, pictures=pictures)

    def clear(self, family: str, reason: str) -> None:
        """Say that a signal is over, and end it."""
        self.say(family, SignalKind.CLEARED, (reason,))
        self.row.machines[family].reset()

    def id_of_trouble(self, family: str) -> str:
        """Return the id of a signal that no evidence names: the record that found it does."""
        outbox = f"supervision.{self._partition}"
        return ids.incident_id(self.rules.tenant, self.row.zone, outbox, family, self._offset)

    def say(
        self,
        family: str,
        kind: SignalKind,
        reasons: tuple[str, ...] = (),
        *,
        located: Located | None = None,
        pictures: tuple[str, ...] = (),
    ) -> None:
        """Say what the signal of `family` is now; what it had not told is told by that."""
        signal = self.signal(family)
        event_ms = located.event_ms if located else signal.told_event_ms
        record = SignalRecord(
            at_ms=self._at_ms,
            origin=self._origin,
            signal_id=signal.signal_id,
            kind=kind,
            stage=Stage.RESTORED if kind is SignalKind.CLEARED else signal.stage,
            zone=self.row.zone,
            category=signal.meaning.category_at(signal.stage),
            family=family,
            label=signal.label,
            confidence=signal.confidence,
            device_id=located.observation.device_id if located else signal.device_id,
            sources=signal.sources,
            count=signal.untold,
            event_ms=event_ms,
            lon_e7=signal.lon_e7,
            lat_e7=signal.lat_e7,
            radius_m=signal.radius_m,
            areas=signal.areas,
            evidence_ids=pictures,
            late=signal.late,
            rule_version=self.rules.version,
            reasons=reasons,
            timeline=signal.timeline,
            reporters=signal.reporters,
            response=signal.response,
            general_by_ms=signal.general_by_ms,
            moves=self.row.moves,
        )
        self.signals.append(record)
        self._k += 1
        signal.untold, signal.tell_by_ms = 0, None
        signal.told_event_ms = max(signal.told_event_ms, event_ms)

    def say_canary(self, located: Located) -> None:
        """Say that a canary has come so far."""
        self.signals.append(canary.signal_of(located, self._origin, self.rules.tenant, at_ms=self._at_ms))
        self._k += 1

    @property
    def _origin(self) -> Origin:
        return Origin(self._partition, self._offset, self._n)

    @property
    def _n(self) -> int:
        return self._index * MAX_OUTPUTS + self._k
