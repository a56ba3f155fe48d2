"""Many observations of one place: what is kept of them is bounded, and they are still one event. And one who floods."""

from __future__ import annotations

from collections import Counter

import pytest

from models import clock, topics
from models.messages import MAX_PAYLOAD_BYTES
from models.places import DeviceKind
from stream.ingest.admission import Arrival
from stream.ingest.inbox import MESSAGES_PER_S, WAITING_BYTES, Inbox
from stream.zones.family import MAX_HITS
from stream.zones.reducer import ZoneRow, reduce_record
from tests.stream import builders as b

FLOOD = 3 * MAX_HITS


def test_a_flood_in_one_moment_does_not_push_the_other_moments_out() -> None:
    seen, row, said = b.Seen(), ZoneRow(zone="z1"), 0
    rules = b.rules(places=b.places(devices=(b.device("cam-1", DeviceKind.CAMERA),)))
    for n in range(5):
        items = [seen("cam-1", b.detection(0.9), b.T0 + 500 * n) for _ in range(FLOOD)]
        reduced = reduce_record({"z1": row}, b.batch(*items), partition=0, offset=n, rules=rules)
        row = reduced.rows["z1"]
        said += len({signal.signal_id for signal in reduced.signals})
        assert all(len(hits) <= MAX_HITS for machine in row.machines.values() for hits in machine.windows.values())
    assert said >= 1
    assert row.machines["fire"].signal is not None


@pytest.mark.parametrize("size_bytes", [300, MAX_PAYLOAD_BYTES])
def test_a_flood_of_one_device_is_held_back_and_starves_nobody(
    monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    monkeypatch.setattr(clock, "now_ms", lambda: b.T0)  # no time passes: the loud one gets its burst
    acks, taken, waiting = Counter[str](), Counter[str](), Inbox(lambda: None)
    for n in range(3_000):
        for device in ("cam-1", *(("cam-2",) if n % 100 == 0 else ())):
            topic = topics.obs("demo", device)
            waiting.put(topic, bytes(size_bytes), False, lambda topic=topic: acks.update([topic]))  # type: ignore[misc]
    while one := waiting.take():
        assert isinstance(one.what, Arrival)
        taken[one.what.topic] += 1
        one.ack()
    loud, calm = (topics.obs("demo", device) for device in ("cam-1", "cam-2"))
    assert taken[calm] == 30
    assert taken[loud] <= 3 * MESSAGES_PER_S
    assert taken[loud] * size_bytes < WAITING_BYTES / 2
    assert (waiting.limited, waiting.dropped) == (3_000 - taken[loud], 0)
    assert acks == {loud: 3_000, calm: 30}, "the broker keeps nothing back for it"
