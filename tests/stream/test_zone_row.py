"""What a zone remembers of its hits, against the definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.catalogue import Signal
from stream.zones.family import MAX_HITS, Hit, Machine
from stream.zones.rules import Judgement, Level

MEANING = Signal(pre_alarm="p", alarm="a")


def _judged(min_hits: int, window_ms: int) -> Judgement:
    return Judgement("fire", "fire", MEANING, Level.HINT, 0.5, min_hits, window_ms, False, False, False, None, 2)


def _by_definition(held: list[Hit], hit: Hit, judged: Judgement) -> tuple[list[Hit], tuple[Hit, ...]]:
    """Return what is kept, and the hits that are enough."""
    hits = [*held, hit]
    newest, window_ms = max(one.event_ms for one in hits), judged.window_ms
    near = [one for one in hits if one.event_ms >= newest - window_ms or abs(one.event_ms - hit.event_ms) <= window_ms]
    moments = sorted({one.event_ms for one in near})
    enough: tuple[Hit, ...] = ()
    for n in range(len(moments) - judged.min_hits + 1):
        first, last = moments[n], moments[n + judged.min_hits - 1]
        if first <= hit.event_ms <= last and last - first <= window_ms:
            enough = tuple(one for one in near if first <= one.event_ms <= first + window_ms)
            break
    most = max(MAX_HITS, 2 * judged.min_hits)
    if len(near) > most:
        of_moment: dict[int, Hit] = {}
        for one in near:
            held_one = of_moment.get(one.event_ms)
            of_moment[one.event_ms] = one if held_one is None or one.level > held_one.level else held_one
        near = list(of_moment.values())[-most:]
    return near, enough


TIMES = st.lists(st.tuples(st.integers(0, 40), st.sampled_from((Level.HINT, Level.ALARM))), min_size=1, max_size=120)
FLOOD = st.lists(st.tuples(st.integers(0, 3), st.sampled_from((Level.HINT, Level.ALARM))), min_size=70, max_size=160)


@given(TIMES | FLOOD, st.booleans(), st.integers(1, 5), st.integers(0, 60))
def test_hits_are_enough_and_kept_as_defined_in_whatever_order_they_come(
    given_hits: list[tuple[int, Level]], in_order: bool, min_hits: int, window_ms: int
) -> None:
    judged, machine = _judged(min_hits, window_ms), Machine()
    held: list[Hit] = []
    passed_ms = 0
    for seq, (ms, level) in enumerate(given_hits):
        passed_ms += ms
        hit = Hit(passed_ms if in_order else ms, level, "outbox", "alarm", seq)
        held, enough = _by_definition(held, hit, judged)
        assert machine.add_hit("cam|fire", hit, judged) == enough
        assert machine.windows["cam|fire"] == tuple(held)
