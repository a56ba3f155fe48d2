"""What is wrong with the devices of a zone: faults, silence, notices; each told once until it changes (S10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.catalogue import Signal as Meaning
from models.messages import NO_FAULT, Stage
from models.places import DeviceKind
from stream.records import Connection, Said, SignalKind
from stream.zones import clocks, density, supervision
from stream.zones.annunciator import Annunciator
from stream.zones.family import ActiveSignal, Machine
from stream.zones.notices import Held, Notice
from stream.zones.row import Connected


class Trouble:
    """The devices of one zone, while one record is applied to it.

    Args:
        annunciator: of the zone; by it is said what is wrong.
    """

    __slots__ = ("_annunciator", "_row", "_rules")

    def __init__(self, annunciator: Annunciator) -> None:
        self._annunciator = annunciator
        self._row, self._rules = annunciator.row, annunciator.rules

    def is_alive(self, device_id: str, *, is_heartbeat: bool = False, is_said: bool = True) -> None:
        """Take a device's word, whatever it says, for a sign of life; what was only kept of it begins the watch."""
        if not is_said and (device_id in self._row.missed_from or device_id in self._row.silent):
            return
        device = self._rules.places.device_by_id.get(device_id)
        if device is None or (self._row.moved and self._row.is_elsewhere(device_id)):
            return
        self._row.silent.pop(device_id, None)
        if device_id in self._row.missed_from or supervision.is_supervised(device, is_heartbeat=is_heartbeat):
            limit_ms = supervision.missed_after_ms(device, self._rules.places, self._rules.thresholds.supervision)
            self._row.missed_from[device_id] = self._row.clock_ms + limit_ms

    def hear_of_connection(self, told: Connection) -> None:
        """Miss a device sooner whose connection has ended, unless another follows: then it is as if nothing had been.

        The last will of a connection that another has replaced says nothing, and what was heard already is no news.
        """
        row, device_id = self._row, told.device_id
        held = row.connections.get(device_id)
        if device_id not in self._rules.places.device_by_id or row.is_elsewhere(device_id):
            return
        if told.is_online:
            if held is not None and not held.is_online:
                self._is_back(device_id, held.due_ms)
            row.connections[device_id] = Connected(told.connect_id, is_online=True)
        elif held is None or held.is_online == (held.connect_id == told.connect_id):
            row.connections[device_id] = Connected(told.connect_id, is_online=False, due_ms=self._due_ms(device_id))
            self._is_gone(device_id, is_agent=device_id == told.agent)

    def _is_gone(self, device_id: str, *, is_agent: bool) -> None:
        """Bring the moment nearer at which a device is missed, if it would be; an agent is, though never heard."""
        missed_from, gone_ms = self._row.missed_from, round(self._rules.thresholds.supervision.gone_s * 1000)
        if device_id in missed_from or (is_agent and device_id not in self._row.silent):
            by_ms = self._row.clock_ms + gone_ms
            missed_from[device_id] = min(missed_from.get(device_id, by_ms), by_ms)

    def _is_back(self, device_id: str, due_ms: int | None) -> None:
        missed_from = self._row.missed_from
        if device_id not in missed_from:
            return
        if due_ms is None:
            del missed_from[device_id]
        else:
            missed_from[device_id] = max(missed_from[device_id], due_ms)

    def _due_ms(self, device_id: str) -> int | None:
        """Return when a device is missed if it says nothing, whatever became of its connection."""
        held, due_ms = self._row.connections.get(device_id), self._row.missed_from.get(device_id)
        if held is None or held.due_ms is None or due_ms is None:
            return due_ms
        return max(due_ms, held.due_ms)

    def miss(self) -> None:
        """Take the devices that should have spoken by now for silent."""
        row = self._row
        for device_id, due_ms in list(row.missed_from.items()):
            if due_ms <= row.clock_ms:
                del row.missed_from[device_id]
                if device_id in self._rules.places.device_by_id:
                    row.silent[device_id] = due_ms

    def hear_of_fault(self, device_id: str, fault: str) -> None:
        """Take what a device says of itself; what only a person ends stays."""
        faults = self._row.faults
        if faults.get(device_id) in supervision.LASTING:
            return
        if fault == NO_FAULT:
            faults.pop(device_id, None)
        else:
            faults[device_id] = fault

    def is_over(self, device_id: str) -> None:
        """Take what a device has measured for the end of a fault that it said before, if that passes by itself."""
        faults = self._row.faults
        if faults and faults.get(device_id) not in supervision.LASTING:
            faults.pop(device_id, None)

    def weigh_clock(self, said: Said, fresh: Sequence[int]) -> None:
        """Tell of a wall clock that has turned out wrong, or right again; nothing is judged by it."""
        device_id = said.observations[0].device_id
        held = self._row.clocks.get(device_id)
        now = clocks.weigh(held, said, fresh, self._rules.thresholds.supervision)
        if now is not held:
            self._hold(clocks.WRONG, device_id, now)

    def weigh_density(self, device_id: str, event_ms: int, *, is_evaluable: bool) -> None:
        """Tell of a heat detector whose samples are too few to tell a fast rise, or that they are enough again."""
        device = self._rules.places.device_by_id.get(device_id)
        if device is not None and device.kind is DeviceKind.HEAT:
            held = self._row.coarse.get(device_id)
            self._hold(density.COARSE, device_id, density.weigh(held, is_evaluable, event_ms))

    def review(self) -> None:
        """Tell which devices have failed, or that they are back; what was told already is not told again."""
        for notice in (clocks.WRONG, density.COARSE):
            if notice.family in self._row.machines:
                self._tell(notice, is_news=False)  # a device of which it was so may have left the zone
        stage, signal = supervision.stage_of(self._row, self._rules.places), self._signal(supervision.FAMILY)
        if stage is None:
            if signal is not None:
                self._annunciator.clear(supervision.FAMILY, "DEVICES_BACK")
            return
        failed = supervision.failed(self._row)
        if signal is None:
            self._raise(supervision.FAMILY, stage, failed, supervision.meaning(self._rules.catalogue))
        elif stage is Stage.ALARM and signal.stage is Stage.PRE_ALARM:
            signal.sources = tuple(sorted(failed))
            self._annunciator.escalate(supervision.FAMILY, "UNPROTECTED")
        elif not set(failed) <= set(signal.sources):
            signal.sources = tuple(sorted({*signal.sources, *failed}))
            self._annunciator.say(supervision.FAMILY, SignalKind.EVIDENCE, _codes(failed))

    def _held(self, notice: Notice) -> dict[str, Held]:
        return self._row.clocks if notice is clocks.WRONG else self._row.coarse

    def _hold(self, notice: Notice, device_id: str, now: Held | None) -> None:
        all_held = self._held(notice)
        held = all_held.get(device_id)
        if now is held:
            return
        if now is None:
            del all_held[device_id]
        else:
            all_held[device_id] = now
        is_so = now is not None and now.is_so
        if is_so != (held is not None and held.is_so):
            self._tell(notice, is_news=is_so)

    def _tell(self, notice: Notice, *, is_news: bool) -> None:
        """Say of which devices it is so; where a person has closed it, only news are said."""
        known, signal = self._rules.places.device_by_id, self._signal(notice.family)
        bad = {one: notice.fault for one, held in self._held(notice).items() if held.is_so and one in known}
        if signal is None and is_news:
            self._raise(notice.family, Stage.PRE_ALARM, bad, notice.meaning(self._rules.catalogue))
        elif signal is not None and not bad:
            self._annunciator.clear(notice.family, notice.over)
        elif signal is not None and is_news:
            signal.sources = tuple(sorted({*signal.sources, *bad}))
            self._annunciator.say(notice.family, SignalKind.EVIDENCE, _codes(bad))

    def _raise(self, family: str, stage: Stage, bad: Mapping[str, str], meant: Meaning | None) -> None:
        signal_id = self._annunciator.id_of_trouble(family)
        signal = supervision.raised(self._row, self._rules.places, bad, stage, meant, signal_id)
        if signal is not None:
            self._row.machines.setdefault(family, Machine()).signal = signal
            self._annunciator.say(family, SignalKind.RAISED, _codes(bad))

    def _signal(self, family: str) -> ActiveSignal | None:
        machine = self._row.machines.get(family)
        return machine.signal if machine else None


def _codes(bad: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({fault.upper() for fault in bad.values()}))
