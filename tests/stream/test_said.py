"""What a device said in one message is decided together: as it would be one by one, and as older logs have it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from models.messages import Dropped, Fault, Lane, Payload, Quality, SelfTest
from models.thresholds import Override
from stream.records import (
    HistoryRecord,
    Located,
    ObservationRecord,
    Outcome,
    decode_history,
    decode_obs,
    encode,
    history_items,
)
from stream.zones.reducer import Reduced, ZoneRow, reduce_record
from stream.zones.rules import Rules
from tests.stream import builders as b
from tests.stream.builders import T0

NIGHT = Override(
    name="night", labels=("fire",), devices=("cam-1",), start=dt.time(18), end=dt.time(6), hint=0.3, alarm=0.35
)
DARK = Override(name="dark corner", labels=("fire",), devices=("cam-2",), hint=0.9, alarm=0.95)
RULES = b.rules(thresholds=b.thresholds(overrides=(NIGHT, DARK)))
PAYLOADS: dict[str, Payload] = {
    "smoke": b.detection(0.6, "smoke"),
    "unknown": b.detection(0.9, "unicorn"),
    "reading": b.reading(0.2),
    "fault": Fault(fault="dark"),
    "tamper": Fault(fault="tamper"),
    "canary": SelfTest(),
    "dropped": Dropped(lane=Lane.ALARM, ranges=((1, 2),)),
}
SEEN = st.tuples(
    st.sampled_from(["cam-1", "cam-1", "cam-2", "cam-9"]),
    st.sampled_from([0.0, 0.1, 0.1, 0.26, 0.46, 0.6, 0.9, *PAYLOADS]),
    st.integers(0, 4_000),
    st.sampled_from([Quality.LIVE, Quality.LIVE, Quality.LATE, Quality.REPLAYED]),
    st.sampled_from([0, 0, 0, 1]),  # how far back in its seqs: then it has come before
)
MESSAGES = st.lists(st.lists(SEEN, min_size=1, max_size=12), min_size=1, max_size=8)


def story(messages: Sequence[Sequence[tuple[Any, ...]]]) -> list[list[Located]]:
    """Return the observations of each record: what one device said in a row shares the time at which it came."""
    seen, now, seqs, records = b.Seen(), T0 + 5 * 3_600_000, dict[str, int](), []
    for message in messages:
        came_ms = now + sum(wait_ms for _, _, wait_ms, _, _ in message) + 50
        located = []
        for device, what, wait_ms, quality, back in message:
            now += wait_ms
            payload = PAYLOADS[what] if isinstance(what, str) else b.detection(what)
            seqs[device] = max(seqs.get(device, 0) + 1 - back, 1)
            zone = "z2" if device == "cam-9" else "z1"
            one = seen(device, payload, now, zone=zone, quality=quality, received_ms=came_ms, seq=seqs[device])
            located.append(one)
        records.append(located)
    return records


def decide(records: Sequence[ObservationRecord], rules: Rules = RULES) -> list[Reduced]:
    """Apply the records, one after the other."""
    rows: dict[str, ZoneRow] = {}
    found = []
    for offset, record in enumerate(records):
        found.append(reduce_record(rows, record, partition=0, offset=offset, rules=rules))
        rows.update(found[-1].rows)
    return found


@settings(max_examples=80, deadline=None)
@given(MESSAGES)
def test_together_it_is_decided_as_one_by_one(messages: list[list[tuple[Any, ...]]]) -> None:
    records = story(messages)
    together = decide([b.batch(*located) for located in records])
    one_by_one = [
        ObservationRecord(at_ms=max(one.received_ms for one in located), items=tuple(located)) for located in records
    ]
    assert together == decide(one_by_one)
    assert [b.batch(*located).located() for located in records] == records


@settings(max_examples=80, deadline=None)
@given(MESSAGES)
def test_what_is_seen_to_be_below_at_once_would_have_been_found_below(messages: list[list[tuple[Any, ...]]]) -> None:
    class Thorough(Rules):
        def floor(self, label: str, device_id: str, zone: str) -> float:
            return 0.0

    given_ = {name: getattr(RULES, name) for name in ("tenant", "thresholds", "catalogue", "places")}
    records = [b.batch(*located) for located in story(messages)]
    assert decide(records) == decide(records, Thorough(**given_))


def test_below_the_floor_no_hour_gives_a_detection_a_level() -> None:
    clear = RULES.thresholds.clear_below
    assert RULES.floor("fire", "cam-1", "z1") == pytest.approx(clear(0.3))  # by night
    assert RULES.floor("fire", "cam-2", "z1") == pytest.approx(clear(0.5))
    assert RULES.floor("unicorn", "cam-1", "z1") == 0.0


def test_a_record_of_an_older_log_says_the_same() -> None:
    (located,) = story([[("cam-1", 0.6, 0, Quality.LIVE, 0), ("cam-9", 0.1, 10, Quality.LATE, 0)]])
    old = (
        b'{"record":"observations","at_ms":1,"items":'
        + msgspec.json.encode([replace(one, inferred_ms=one.event_ms + 7) for one in located])
        + b"}"
    )
    record = decode_obs(old)
    assert isinstance(record, ObservationRecord)
    assert record.count == 2
    assert record.located() == [replace(one, inferred_ms=one.event_ms + 7) for one in located]


def test_the_history_holds_the_record_as_it_stands_and_the_decisions_beside_it() -> None:
    (located,) = story([[("cam-1", value, 0, Quality.LIVE, 0) for value in (0.1, 0.9, 0.1)]])
    record = HistoryRecord(
        at_ms=1,
        place=(3, 9),
        obs=msgspec.Raw(encode(b.batch(*located))),
        rule_version="r1",
        outcomes=(Outcome.BELOW, None, Outcome.HIT),
        signal_ids={2: "s1"},
    )
    kept = decode_history(encode(record))
    assert isinstance(kept, HistoryRecord)
    assert kept.count == 2
    first, second = history_items(encode(record))
    assert (first.located, first.outcome, first.signal_id, tuple(msgspec.to_builtins(first.origin))) == (
        *(located[0], Outcome.BELOW, None),
        (3, 9, 0),
    )
    assert (second.located, second.signal_id, second.origin.n) == (located[2], "s1", 2)
