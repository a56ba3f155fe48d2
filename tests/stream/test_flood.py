"""Many observations of one place: what is kept of them is bounded, and they are still one event."""

from __future__ import annotations

from models.places import DeviceKind
from stream.zones.reducer import ZoneRow, reduce_record
from stream.zones.row import MAX_HITS
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
