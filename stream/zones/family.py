"""What a zone remembers of one family of events: its evidence, and the signal that it makes. Values only."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from models.catalogue import Signal as Meaning
from models.messages import Response, Stage, Timeline
from stream.zones.rules import Judgement, Level

MAX_HITS: Final = 64
"""Hits kept per device and label; more only where the rule asks for more."""
MAX_PICTURES: Final = 16
"""As many evidence pictures as an incident shows."""
RISE_SPAN_MS: Final = (30_000, 90_000)
"""A rise is told from samples that reach back at least so far and at most so far."""
MIN_SAMPLES: Final = 3
"""Fewer samples than these in the span, and the rise is not evaluable: slow reporters must not fake one."""


class Hit(Struct, frozen=True, array_like=True):
    """One observation at or above `hint`, with what names it for ever."""

    event_ms: int
    level: Level
    outbox_id: str
    lane: str
    seq: int
    evidence_id: str | None = None
    reporter: str | None = None


class Trip(Struct, frozen=True, array_like=True):
    """When a device last had enough hits, by event time, and when with one at alarm level among them."""

    event_ms: int
    alarm_ms: int | None


class Escalation(Struct, frozen=True, array_like=True):
    """The hit that made an alarm of a signal, and where in `obs` that was said: (offset, n), after so many moves."""

    at: tuple[int, int]
    reason: str
    device_id: str
    hit: Hit
    moves: int = 0


class ActiveSignal(Struct):
    """A pre-alarm or an alarm that is not over.

    Attributes:
        raised_event_ms: event time of the evidence that raised it.
        told_event_ms: highest event time that the desk has heard of.
        verify_by_ms: here a pre-alarm becomes an alarm.
        response: how far the answer to an urgent alarm has come; None for a pre-alarm, and for what is not urgent.
        alarm_ms: when it became an alarm that may be looked into first.
        general_by_ms: here that alarm is general.
        clear_by_ms: here it ends.
        tell_by_ms: here the desk hears of what is `untold`.
        untold: evidence counted since the last record.
    """

    signal_id: str
    stage: Stage
    meaning: Meaning
    label: str
    device_id: str
    confidence: float
    sources: tuple[str, ...]
    raised_event_ms: int
    told_event_ms: int
    lon_e7: int
    lat_e7: int
    radius_m: float
    areas: dict[str, str]
    timeline: Timeline
    late: bool = False
    untold: int = 0
    pictures: tuple[str, ...] = ()
    verify_by_ms: int | None = None
    clear_by_ms: int | None = None
    tell_by_ms: int | None = None
    escalation: Escalation | None = None
    reporters: tuple[str, ...] = ()
    response: Response | None = None
    alarm_ms: int = 0
    general_by_ms: int | None = None

    def deadlines(self) -> list[tuple[int, int]]:
        """Return (due_ms, rank): of two that are due together the one that fails safe comes first."""
        due = (self.verify_by_ms, self.general_by_ms, self.clear_by_ms, self.tell_by_ms)
        return [(at_ms, rank) for rank, at_ms in enumerate(due) if at_ms is not None]


class Machine(Struct):
    """The state machine of one family of a zone; no signal is state `normal`.

    Attributes:
        windows: hits in the order of arrival, by ``device|label``.
        trips: by device.
        states: a sensor's last value: its event time, and whether it is above the clear threshold; keyed alike.
        samples: (event_ms, value) where a rise is looked at; keyed alike.
    """

    windows: dict[str, tuple[Hit, ...]] = {}
    trips: dict[str, Trip] = {}
    states: dict[str, tuple[int, bool]] = {}
    samples: dict[str, tuple[tuple[int, float], ...]] = {}
    signal: ActiveSignal | None = None

    def copy(self) -> Machine:
        """Return one that can be changed while this one stays."""
        return Machine(
            windows=dict(self.windows),
            trips=dict(self.trips),
            states=dict(self.states),
            samples=dict(self.samples),
            signal=msgspec.structs.replace(self.signal) if self.signal else None,
        )

    def reset(self) -> None:
        """Forget evidence and signal: what comes next starts anew. What a sensor's value stands at is kept."""
        self.windows, self.trips, self.signal = {}, {}, None

    def add_hit(self, key: str, hit: Hit, judged: Judgement) -> tuple[Hit, ...]:
        """Put a hit in; return the hits, in order of arrival, that with it are enough, else none.

        Hits of one moment are one: three boxes in one frame do not persist.
        """
        held, most = self.windows.get(key, ()), max(MAX_HITS, 2 * judged.min_hits)
        at_ms, window_ms = hit.event_ms, judged.window_ms
        near = (*held, hit)
        moments = sorted({h.event_ms for h in near})
        if at_ms < moments[-1]:
            near = _near(near, at_ms, window_ms)
            self.windows[key] = _latest(near, most)
            return _enough(near, at_ms, judged)
        # Nearly always hits come in the order of their times: then what counts is at the end.
        if moments[0] < at_ms - window_ms:
            near = tuple([h for h in near if h.event_ms >= at_ms - window_ms])
        self.windows[key] = near if len(near) <= most else _latest(near, most)
        if len(moments) < judged.min_hits:
            return ()
        first_ms = moments[-judged.min_hits]
        return () if first_ms < at_ms - window_ms else tuple([h for h in near if h.event_ms >= first_ms])

    def add_trip(self, device_id: str, event_ms: int, level: Level) -> None:
        """Note that a device has had enough hits."""
        old = self.trips.get(device_id)
        alarm_ms = event_ms if level is Level.ALARM else None
        if old is None or event_ms >= old.event_ms:
            self.trips[device_id] = Trip(event_ms, old.alarm_ms if old and alarm_ms is None else alarm_ms)

    def agreeing(self, device_id: str, event_ms: int, level: Level, confirm_ms: int) -> int:
        """Count the devices, this one included, that had enough hits within `confirm_ms`: 0 if none at alarm level."""

        def is_near(at_ms: int | None) -> bool:
            return at_ms is not None and abs(event_ms - at_ms) <= confirm_ms

        others = [trip for other, trip in self.trips.items() if other != device_id]
        near = [trip for trip in others if is_near(trip.event_ms) or is_near(trip.alarm_ms)]
        is_alarm = level is Level.ALARM or any(is_near(trip.alarm_ms) for trip in near)
        return 1 + len(near) if is_alarm else 0

    def set_state(self, key: str, event_ms: int, *, is_above: bool) -> None:
        """Note a sensor's value; one that comes late does not replace a newer one."""
        if event_ms >= self.states.get(key, (0, False))[0]:
            self.states[key] = (event_ms, is_above)

    @property
    def is_standing(self) -> bool:
        """Whether some sensor's last value stands above its clear threshold."""
        return any(is_above for _, is_above in self.states.values())

    def rises(self, key: str, event_ms: int, value: float, rise_per_min: float) -> bool | None:
        """Put a sample in; return whether the value rose that fast, None where the samples are too few to tell."""
        least_ms, most_ms = RISE_SPAN_MS
        old = self.samples.get(key, ())
        samples = sorted({*old, (event_ms, value)})
        samples = [sample for sample in samples if samples[-1][0] - sample[0] <= most_ms][-MAX_HITS:]
        self.samples[key] = tuple(samples)
        (first_ms, first), (last_ms, last) = samples[0], samples[-1]
        if len(samples) < MIN_SAMPLES or last_ms - first_ms < least_ms:
            return None
        return (last - first) * 60_000 >= rise_per_min * (last_ms - first_ms)


def _near(hits: tuple[Hit, ...], at_ms: int, window_ms: int) -> tuple[Hit, ...]:
    """Return those that are near the newest, or near `at_ms`."""
    from_ms = max([h.event_ms for h in hits]) - window_ms
    return tuple([h for h in hits if h.event_ms >= from_ms or abs(h.event_ms - at_ms) <= window_ms])


def _enough(near: tuple[Hit, ...], at_ms: int, judged: Judgement) -> tuple[Hit, ...]:
    """Return the first hits, the one at `at_ms` among them, that are enough within the window."""
    moments = sorted({h.event_ms for h in near})
    for first, last in zip(moments, moments[judged.min_hits - 1 :], strict=False):
        if first <= at_ms <= last and last - first <= judged.window_ms:
            return tuple(h for h in near if first <= h.event_ms <= first + judged.window_ms)
    return ()


def _latest(hits: tuple[Hit, ...], most: int) -> tuple[Hit, ...]:
    """Return at most so many; of a flood the highest of each moment, or one moment would push all others out."""
    if len(hits) <= most:
        return hits
    if len({hit.event_ms for hit in hits}) == len(hits):
        return hits[-most:]
    kept: dict[int, Hit] = {}
    for hit in hits:
        if hit.event_ms not in kept or hit.level > kept[hit.event_ms].level:
            kept[hit.event_ms] = hit
    return tuple(kept.values())[-most:]
