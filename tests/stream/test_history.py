"""The history: the same cases against SQLite and against a real InfluxDB."""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from models import config
from models.clock import now_ms
from models.errors import ConfigError, StorageError
from models.messages import (
    ButtonPress,
    Dropped,
    Fault,
    Heartbeat,
    Lane,
    Observation,
    Payload,
    Priority,
    Reading,
    Report,
    SelfTest,
    Stage,
    Timeline,
)
from stream import history
from stream.history import History, Store, describe, percentiles
from stream.history.apart import Apart
from stream.history.influx import InfluxHistory
from stream.history.schema import SPAN_MS
from stream.history.store import Here
from stream.records import (
    HeartbeatRecord,
    HistoryItem,
    HistoryRecord,
    Located,
    ObservationRecord,
    OrderedRecord,
    OrderedRecords,
    Origin,
    Outcome,
    TimeSource,
    encode,
    history_items,
    said_of,
)
from tests.servers import Influx
from tests.stream.rig import detection

NOW_MS = 1_780_000_000_000
DAY_MS = 86_400_000


def item(
    offset: int,
    n: int = 0,
    *,
    seq: int = 1,
    payload: Payload | None = None,
    event_ms: int = NOW_MS,
    device: str = "cam-01",
    lane: Lane = Lane.ALARM,
    outcome: Outcome = Outcome.HIT,
) -> HistoryItem:
    observation = Observation(
        device_id=device,
        outbox_id="outbox-1",
        boot_id="boot-1",
        lane=lane,
        seq=seq,
        observed_at_ms=event_ms,
        observed_mono_ms=1,
        payload=payload or detection(0.7),
    )
    located = Located(
        observation=observation,
        zone="zone-01",
        event_ms=event_ms,
        time_source=TimeSource.MONO,
        received_ms=event_ms + 5,
        lon_e7=0,
        lat_e7=0,
        radius_m=15.0,
        areas={"cell": "500199001001003"},
    )
    return HistoryItem(origin=Origin(2, offset, n), outcome=outcome, rule_version="r1", located=located)


def record(*items: HistoryItem) -> HistoryRecord:
    """Make the record of decisions on one record of `obs`, of which the places that are not named have none.

    Those on several stand together only in older logs.
    """
    if len({one.origin.offset for one in items}) > 1:
        return HistoryRecord(at_ms=NOW_MS, items=items)
    outcomes: list[Outcome | None] = [None] * (1 + max(one.origin.n for one in items))
    located = [items[0].located] * len(outcomes)
    for one in items:
        outcomes[one.origin.n], located[one.origin.n] = one.outcome, one.located
    return HistoryRecord(
        at_ms=NOW_MS,
        place=(2, items[0].origin.offset),
        obs=msgspec.Raw(encode(ObservationRecord(at_ms=NOW_MS, said=tuple(map(said_of, located))))),
        rule_version="r1",
        outcomes=tuple(outcomes),
    )


def order(offset: int, latency_ms: int | None, priority: Priority = Priority.P1, n: int = 0) -> OrderedRecord:
    captured_ms = None if latency_ms is None else NOW_MS - latency_ms
    return OrderedRecord(
        at_ms=NOW_MS,
        origin=(offset, n),
        incident_id=f"inc-{offset}-{n}",
        revision=1,
        category="fire.flame.confirmed",
        priority=priority,
        stage=Stage.ALARM,
        lead_unit="emergency",
        lead_post="grid-1",
        timeline=Timeline(captured_ms=captured_ms, matched_ms=NOW_MS),
    )


def heartbeat(at_ms: int) -> HeartbeatRecord:
    beat = Heartbeat(
        v=1,
        device_id="cam-01",
        at_ms=at_ms,
        frame_age_ms=None,
        fps=4.5,
        inference_p50_ms=8.0,
        inference_p99_ms=None,
        outbox_depth=3,
    )
    return HeartbeatRecord(at_ms=at_ms, heartbeats=(beat,), zones=("zone-01",))


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[History]:
    opened = History(tmp_path / "history.db")
    yield opened
    opened.close()


def settings(server: Influx, folder: Path) -> config.Influx:
    token_file = folder / "influx.token"
    token_file.write_text(server.access.token + "\n")
    return config.Influx(
        url=server.access.url, token_file=str(token_file), org=server.access.org, bucket=f"b-{uuid.uuid4().hex}"
    )


@pytest.fixture
def influx(influxdb: Influx, tmp_path: Path) -> Iterator[InfluxHistory]:
    opened = InfluxHistory(settings(influxdb, tmp_path), keep_days=36_000)
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", pytest.param("influx", marks=pytest.mark.influxdb)])
def store(request: pytest.FixtureRequest) -> Store:
    kept: Store = request.getfixturevalue(request.param)
    return kept


# --- both -------------------------------------------------------------------------------------------------------------


def test_a_record_that_is_read_again_is_kept_once(store: Store) -> None:
    first = record(*(item(7, n, seq=n + 1) for n in range(3)))
    for _ in range(3):
        store.write([first, record(item(8, seq=4))])
    assert store.count() == 4


def test_observations_of_one_series_in_one_millisecond_do_not_overwrite_each_other(store: Store) -> None:
    items = [item(seq, n, seq=seq, lane=lane) for seq in range(1, 2_001) for n, lane in enumerate(Lane)]
    for _ in range(2):
        store.write([record(*items)])
    assert store.count() == len(items) == 4_000
    assert store.outcomes(NOW_MS, NOW_MS + 1) == {("cam-01", "fire", "hit"): 4_000}


def test_what_became_of_everything_is_counted_by_device_and_label(store: Store) -> None:
    smoke = Reading(property="smoke", value=1.0, unit="1")
    store.write(
        [
            record(item(1, 0, seq=1), item(1, 1, seq=2, outcome=Outcome.BELOW)),
            record(item(2, seq=9, device="smoke-1", payload=smoke, outcome=Outcome.ALARM, event_ms=NOW_MS + 7)),
            record(item(3, seq=3, event_ms=NOW_MS + DAY_MS)),
        ]
    )
    assert store.outcomes(NOW_MS, NOW_MS + DAY_MS) == {
        ("cam-01", "fire", "below"): 1,
        ("cam-01", "fire", "hit"): 1,
        ("smoke-1", "smoke", "alarm"): 1,
    }


def test_what_a_device_saw_is_told_in_order_and_in_full(store: Store) -> None:
    heat = Reading(property="temperature", value=57.5, unit="Cel")
    items = [item(n, seq=10 - n, event_ms=NOW_MS + n // 2, payload=heat if n % 2 else None) for n in range(6)]
    store.write([record(*items), record(item(9, device="cam-02"))])
    seen = store.seen("cam-01", NOW_MS, NOW_MS + 2, limit=3)
    assert [(one.event_ms - NOW_MS, one.seq, one.label) for one in seen] == [
        (0, 9, "temperature"),
        (0, 10, "fire"),
        (1, 7, "temperature"),
    ]
    assert (seen[0].value, seen[0].confidence) == (57.5, None)
    assert (seen[1].value, seen[1].confidence) == (None, 0.7)
    assert {one.outbox_id for one in seen} == {"outbox-1"}


def test_latencies_are_told_by_priority(store: Store) -> None:
    store.write([order(n, 100 - n) for n in range(3)])
    store.write([order(7, None), order(8, 40, Priority.P2), order(8, 30, Priority.P2, n=1)])
    assert store.latencies_ms(NOW_MS, NOW_MS + 1) == {"P1": [98, 99, 100], "P2": [30, 40]}
    assert store.latencies_ms(NOW_MS + 1, NOW_MS + 2) == {}


def test_heartbeats_are_kept_beside(store: Store) -> None:
    assert store.write([heartbeat(NOW_MS), heartbeat(NOW_MS + 1)]) == 0
    assert store.count() == 0


# --- SQLite alone -----------------------------------------------------------------------------------------------------


def test_a_duplicate_that_slipped_into_the_log_shows(sqlite: History) -> None:
    sqlite.write([record(item(7, seq=1)), record(item(9, seq=1))])
    rows = sqlite._connection.execute("SELECT seq, count(*) FROM history GROUP BY device_id, outbox_id, lane, seq")
    assert rows.fetchall() == [(1, 2)]


def test_as_many_as_come_are_written_once(sqlite: History) -> None:
    assert sqlite.write([record(*(item(7, seq=n + 1, n=n) for n in range(803)))]) == 803
    assert sqlite.write([record(*(item(7, seq=n + 1, n=n) for n in range(805)))]) == 2
    assert sqlite.count() == 805


def message(offset: int, event_ms: Sequence[int], outcomes: Sequence[Outcome | None]) -> HistoryRecord:
    """Make the record of decisions on what one device said in one message, after a repeat of another one."""
    located = item(offset).located
    seen = tuple(replace(located.observation, seq=n + 1, outbox_id=f"outbox-{n}") for n in range(len(event_ms)))
    other = item(offset, device="cam-02").located
    said = (said_of(other), replace(said_of(located), observations=seen, event_ms=tuple(event_ms)))
    return HistoryRecord(
        at_ms=NOW_MS,
        place=(2, offset),
        obs=msgspec.Raw(encode(ObservationRecord(at_ms=NOW_MS, said=said))),
        rule_version="r1",
        outcomes=(None, *outcomes),
        signal_ids={2: "s2"},
    )


def test_what_was_said_together_is_one_row_and_is_told_one_by_one(sqlite: History) -> None:
    asked = "SELECT n, device_id, outbox_id, seq, event_ms - ?, outcome, signal_id, quality FROM history ORDER BY n"
    together = message(7, [NOW_MS, NOW_MS + 1, NOW_MS + 9], [Outcome.HIT, Outcome.ALARM, None])
    assert [sqlite.write([together]) for _ in range(2)] == [2, 0]
    assert sqlite._connection.execute("SELECT count(*), sum(decisions) FROM message").fetchone() == (1, 2)
    assert sqlite._connection.execute(asked, (NOW_MS,)).fetchall() == [
        (1, "cam-01", "outbox-0", 1, 0, "hit", None, "live"),
        (2, "cam-01", "outbox-1", 2, 1, "alarm", "s2", "live"),
    ]


def test_what_was_said_together_of_a_long_time_is_found_by_each_time(sqlite: History) -> None:
    days = [NOW_MS + n * DAY_MS for n in range(3)]
    assert sqlite.write([message(7, days, [Outcome.HIT, Outcome.ALARM, Outcome.BELOW])]) == 3
    told = [[one.outcome for one in sqlite.seen("cam-01", day_ms, day_ms + DAY_MS, 9)] for day_ms in days]
    assert told == [["hit"], ["alarm"], ["below"]]
    sqlite.trim(days[1])
    assert sqlite.count() == 2


def test_what_lies_on_both_sides_of_a_time_is_found_on_each_and_kept_while_the_later_is(sqlite: History) -> None:
    ends = [NOW_MS - SPAN_MS // 2, NOW_MS + SPAN_MS // 2]
    sqlite.write([message(7, ends, [Outcome.HIT, Outcome.ALARM])])
    sqlite.trim(NOW_MS)
    assert sqlite.outcomes(NOW_MS - DAY_MS, NOW_MS) == {("cam-01", "fire", "hit"): 1}
    assert sqlite.outcomes(NOW_MS, NOW_MS + DAY_MS) == {("cam-01", "fire", "alarm"): 1}


def test_a_record_of_an_older_log_is_kept_as_well(sqlite: History) -> None:
    items = (item(7, 0, seq=1), replace(item(7, 2, seq=2), signal_id="s1"))
    old = HistoryRecord(at_ms=NOW_MS, items=items)
    assert (old.count, sqlite.write([old]), sqlite.write([record(*items)])) == (2, 2, 0)
    assert history_items(encode(old)) == items


def test_orders_that_came_of_one_record_are_kept_one_by_one(sqlite: History) -> None:
    orders = OrderedRecords(at_ms=NOW_MS, orders=(order(1, 30), order(1, 20, n=1)))
    assert Here(sqlite).keep([encode(orders), encode(orders)]) == 0
    assert sqlite.latencies_ms(0, NOW_MS + 1) == {"P1": [20, 30]}


def test_the_file_may_be_written_by_a_process_of_its_own(tmp_path: Path) -> None:
    apart = Apart(tmp_path / "history.db")
    values = [encode(record(item(7, seq=1), item(7, 1, seq=2))), b"noise"]
    assert (apart.count(), apart.keep(values), apart.keep(values), apart.count()) == (0, 2, 0, 2)
    assert apart._child is not None
    apart._child.kill()
    with pytest.raises(StorageError, match="has ended with -9"):
        apart.keep(values)
    assert apart.count() == 2  # by another one
    apart.trim(NOW_MS + 1)
    assert apart.count() == 0
    apart.close()


def test_a_process_that_cannot_open_the_file_says_why(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_bytes(b"no database at all, and long enough to be seen to be none" * 20)
    apart = Apart(tmp_path / "history.db")
    with pytest.raises(StorageError, match="cannot be opened: file is not a database"):
        apart.keep([])
    apart.close()


def test_nothing_of_a_batch_is_written_when_one_row_cannot_be(sqlite: History) -> None:
    bad = replace(item(7, 1), located=replace(item(7, 1).located, event_ms=1 << 70))
    with pytest.raises(OverflowError):
        sqlite.write([record(item(7), bad)])
    assert sqlite.count() == 0
    assert sqlite.write([record(item(7))]) == 1


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (detection(0.7), ("detection", "fire", 0.7, None)),
        (Reading(property="gas", value=12.5, unit="%"), ("reading", "gas", None, 12.5)),
        (ButtonPress(), ("button", "manual", None, None)),
        (Report(category="fire"), ("report", "fire", None, None)),
        (Fault(fault="dark"), ("fault", "dark", None, None)),
        (SelfTest(), ("test", "canary", None, None)),
        (Dropped(lane=Lane.ALARM, ranges=((3, 5), (9, 9))), ("dropped", "alarm", None, 4.0)),
    ],
)
def test_every_kind_of_observation_has_a_row(
    sqlite: History, payload: Payload, expected: tuple[str, str, float | None, float | None]
) -> None:
    assert describe(payload) == expected
    sqlite.write([record(item(1, payload=payload))])
    assert sqlite._connection.execute("SELECT kind, label, confidence, value FROM history").fetchone() == expected


def test_what_is_older_than_it_is_kept_is_let_go_of(sqlite: History, monkeypatch: pytest.MonkeyPatch) -> None:
    old = [item(n, seq=n, event_ms=NOW_MS - DAY_MS) for n in range(10)]
    sqlite.write([record(*old), record(item(99, seq=99)), heartbeat(NOW_MS - DAY_MS), order(1, 5)])
    sqlite.trim(NOW_MS)
    assert sqlite.count() == 1
    counts = [sqlite._connection.execute(f"SELECT count(*) FROM {t}").fetchone() for t in ("heartbeat", "dispatch")]
    assert counts == [(0,), (1,)]


def test_what_is_no_history_is_named(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StorageError, match=r"history\.db"):
        History(path)


def test_a_history_of_an_earlier_release_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    History(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE dispatch")
    opened = History(path)
    opened.write([order(1, 5)])
    assert opened.latencies_ms(NOW_MS, NOW_MS + 1) == {"P1": [5]}
    opened.close()


def test_the_rows_of_a_release_that_had_one_for_each_observation_are_taken_over(tmp_path: Path) -> None:
    told = "SELECT * FROM history ORDER BY n"
    made = History(tmp_path / "made.db")
    kinds: tuple[Payload, ...] = (detection(0.7), Reading(property="gas", value=12.5, unit="%"), ButtonPress())
    decided = replace(
        record(*(item(7, n, seq=n + 1, payload=one) for n, one in enumerate(kinds))), signal_ids={1: "s1"}
    )
    made.write([decided])
    rows = made._connection.execute(told).fetchall()
    made.close()
    path = tmp_path / "history.db"
    with closing(sqlite3.connect(path)) as earlier, earlier:
        earlier.execute(
            """CREATE TABLE history (partition, "offset", n, device_id, outbox_id, lane, seq, event_ms, received_ms,
            time_source, skew_ms, kind, label, confidence, value, quality, outcome, rule_version, zone, cell, signal_id,
            payload, PRIMARY KEY (partition, "offset", n)) WITHOUT ROWID"""
        )
        earlier.executemany(f"INSERT INTO history VALUES ({', '.join('?' * 22)})", [row[:22] for row in rows])
    opened = History(path)
    assert opened._connection.execute(told).fetchall() == rows
    assert (opened.write([decided]), opened.count()) == (0, 3)
    opened.close()


# --- InfluxDB alone ---------------------------------------------------------------------------------------------------


def test_a_wrong_token_is_refused_with_what_to_do(influxdb: Influx, tmp_path: Path) -> None:
    wrong = settings(influxdb, tmp_path)
    Path(wrong.token_file).write_text("not-the-token")
    with pytest.raises(ConfigError, match=r"history\.influx: InfluxDB at .* refuses: 401 Unauthorized; correct it"):
        InfluxHistory(wrong, keep_days=7)


def test_nobody_there_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")
    nobody = config.Influx(url="http://127.0.0.1:1", token_file=str(tmp_path / "token"))
    with pytest.raises(StorageError, match="InfluxDB cannot be reached"):
        InfluxHistory(nobody, keep_days=7)


def test_what_is_older_than_the_buckets_retention_is_counted_and_does_not_stop_the_rest(
    influxdb: Influx, tmp_path: Path
) -> None:
    opened = InfluxHistory(settings(influxdb, tmp_path), keep_days=1)
    opened.write([record(item(1, seq=1, event_ms=1), item(1, 1, seq=2, event_ms=now_ms()))])
    assert (opened.count(), opened.too_old) == (1, 1)
    opened.close()


# --- figures ----------------------------------------------------------------------------------------------------------


def test_percentiles_are_values_that_occurred() -> None:
    figures = percentiles(list(range(1, 101)))
    assert (figures.count, figures.p50_ms, figures.p95_ms, figures.p99_ms) == (100, 50, 95, 99)
    assert percentiles([7]).p99_ms == 7
    assert Counter(percentiles([1, 2]).__struct_fields__) == Counter(["count", "p50_ms", "p95_ms", "p99_ms"])


# --- the dashboard ----------------------------------------------------------------------------------------------------


def test_every_panel_of_the_dashboard_asks_what_influxdb_understands(influx: InfluxHistory) -> None:
    reading = Reading(property="temperature", value=21.5, unit="Cel")
    items = (item(1, seq=1, event_ms=now_ms()), item(1, 1, seq=2, payload=reading, event_ms=now_ms()))
    beat = replace(heartbeat(now_ms()).heartbeats[0], frame_age_ms=80)
    beats = HeartbeatRecord(at_ms=now_ms(), heartbeats=(beat,), zones=("zone-01",))
    influx.write([record(*items), beats, replace(order(1, 80), at_ms=now_ms())])
    board = msgspec.json.decode((Path(history.__file__).parent / "grafana.json").read_bytes())
    for panel in board["panels"]:
        (target,) = panel["targets"]
        query = target["query"].replace("${bucket}", influx._settings.bucket)
        for name, value in (("timeRangeStart", "-1h"), ("timeRangeStop", "now()"), ("windowPeriod", "1m")):
            query = query.replace(f"v.{name}", value)
        tables = influx._run(query, {})
        assert [row for table in tables for row in table.records], panel["title"]
