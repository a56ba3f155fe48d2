"""What is wrong with the devices of a zone: faults, silence and clocks, told once each time (S10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.catalogue import Signal as Meaning
from models.messages import NO_FAULT, Stage
from stream.records import Said, SignalKind
from stream.zones import clocks, supervision
from stream.zones.annunciator import Annunciator
from stream.zones.row import ActiveSignal, Machine


class Trouble:
    """The devices of one zone, while one record is applied to it.

    Args:
        annunciator: of the zone; by it is said what is wrong.
    """

    __slots__ = ("_annunciator", "_row", "_rules")

    def __init__(self, annunciator: Annunciator) -> None:
        self._annunciator = annunciator
        self._row, self._rules = annunciator.row, annunciator.rules

    def is_alive(self, device_id: str, *, is_heartbeat: bool = False) -> None:
        """Take a device's word, whatever it says, for a sign of life."""
        device = self._rules.places.device_by_id.get(device_id)
        if device is None:
            return
        self._row.silent.pop(device_id, None)
        if device_id in self._row.missed_from or supervision.is_supervised(device, is_heartbeat=is_heartbeat):
            limit_ms = supervision.missed_after_ms(device, self._rules.places, self._rules.thresholds.supervision)
            self._row.missed_from[device_id] = self._row.clock_ms + limit_ms

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
        """Tell of a wall clock that has turned out wrong, or right again: once, and nothing is judged by it."""
        device_id = said.observations[0].device_id
        held = self._row.clocks.get(device_id)
        clock = clocks.weigh(held, said, fresh, self._rules.thresholds.supervision)
        if clock is held:
            return
        was_wrong, is_wrong = held is not None and held.is_wrong, clock is not None and clock.is_wrong
        if clock is None:
            del self._row.clocks[device_id]
        else:
            self._row.clocks[device_id] = clock
        if is_wrong != was_wrong:
            self._review_clocks(is_news=is_wrong)

    def review(self) -> None:
        """Tell which devices have failed, or that they are back; what was told already is not told again."""
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

    def _review_clocks(self, *, is_news: bool) -> None:
        wrong, signal = clocks.wrong(self._row.clocks), self._signal(clocks.FAMILY)
        if signal is None and is_news:
            meant = supervision.meaning_of_clocks(self._rules.catalogue)
            self._raise(clocks.FAMILY, Stage.PRE_ALARM, wrong, meant)
        elif signal is not None and not wrong:
            self._annunciator.clear(clocks.FAMILY, "CLOCKS_RIGHT")
        elif signal is not None and is_news:
            signal.sources = tuple(sorted({*signal.sources, *wrong}))
            self._annunciator.say(clocks.FAMILY, SignalKind.EVIDENCE, _codes(wrong))

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
