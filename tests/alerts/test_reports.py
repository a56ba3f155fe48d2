"""What people report: in the ledger first, then given to the stream until it says that it has it."""

from __future__ import annotations

from typing import Any

import msgspec

from alerts import reports
from alerts.admission import admit
from alerts.casebook import REPORTS_KEPT, Casebook
from alerts.entries import Kind
from alerts.ledger import Ledger
from alerts.reports import MOST, WITHIN_MS, Tip, is_too_many
from models.messages import Ack, DecisionKind, Observation, Position, Quality, Report
from tests.alerts.field import Field, Service
from tests.alerts.test_escalation import T0, Desk
from tests.alerts.test_staged import held
from tests.alerts.town import Town, chain, city_names, incident, order
from tests.conftest import wait_until

HERE = Position(lon_deg=106.5, lat_deg=29.5, radius_m=20.0)
TIP = Tip(category="fire.smoke.single", position=HERE, by="p-1", text="烟", mono_ms=5_000)


def stored(desk: Desk, lane: str, *seqs: int) -> None:
    ranges = tuple((seq, seq) for seq in seqs)
    desk.submit(Ack(v=1, receiver="stream", outbox_id=desk.book.ledger_id, lane=lane, stored=ranges))


def test_a_report_says_what_where_and_who_and_has_a_number_of_its_own() -> None:
    desk = Desk()
    desk.submit(TIP)
    desk.submit(TIP)
    one, two = desk.book.unstored_reports.values()
    assert (one.device_id, one.outbox_id, one.lane, one.seq, two.seq) == ("alerts", "led-1", "alarm", 1, 2)
    assert (one.reporter, one.position, one.payload) == ("p-1", HERE, Report(category="fire.smoke.single", text="烟"))
    assert (one.observed_at_ms, one.observed_mono_ms) == (T0, 5_000)


def test_the_streams_word_ends_exactly_what_it_names() -> None:
    desk = held()
    desk.decide(DecisionKind.ACKNOWLEDGE)
    desk.submit(TIP)
    desk.submit(TIP)
    stored(desk, "alarm", 1)
    assert (list(desk.book.unstored_reports), list(desk.book.unstored)) == ([2], [1])
    stored(desk, "decisions", 1)
    assert (list(desk.book.unstored_reports), list(desk.book.unstored)) == ([2], [])
    assert (
        admit(desk.book, Ack(v=1, receiver="stream", outbox_id="led-1", lane="alarm", stored=((1, 1),)), now_ms=T0)
        == []
    )


def test_a_restart_forgets_no_report_and_numbers_on() -> None:
    desk = Desk()
    desk.submit(TIP)
    again = Casebook()
    for entry in desk.entries:
        again.apply(entry)
    assert (again.unstored_reports, again.reports) == (desk.book.unstored_reports, 1)
    (draft,) = admit(again, TIP, now_ms=T0)
    assert isinstance(draft.body, Observation)
    assert draft.body.seq == 2


def test_what_has_waited_for_long_says_that_it_is_late() -> None:
    report = reports.observation(TIP, "led-1", 1, now_ms=T0)
    for age_ms, quality in ((60_000, Quality.LIVE), (60_001, Quality.LATE)):
        batch = reports.batch(report, now_ms=T0 + age_ms)
        assert [one.quality for one in batch.observations] == [quality]
        assert batch.boot_id == report.boot_id


def body(**changes: Any) -> dict[str, Any]:
    position = {"lon_deg": HERE.lon_deg, "lat_deg": HERE.lat_deg}
    return {"category": "fire.smoke.single", "position": position} | changes


def test_officer_and_seat_report_and_the_stream_is_told_until_it_says_stored(
    field: Field, service: Service, town: Town
) -> None:
    officer = city_names().people.persons[0].id
    post = city_names().people.posts[0].id
    with service.client(officer) as client:
        path = f"/officer/{officer}/api/reports"
        assert client.post(path, json=body(text="二楼冒烟")).status_code == 202
        assert client.post(path, json=body(category="no.such.thing")).status_code == 400
        assert client.post("/api/reports", json=body()).status_code == 401
    with service.client("seat") as seat:
        assert seat.post("/api/reports", json=body(reporter=post)).status_code == 202
        assert seat.post("/api/reports", json=body(reporter="nobody-known")).status_code == 400
        assert seat.post("/api/reports", json=body(position={"lon_deg": 200, "lat_deg": 0})).status_code == 400
        assert seat.post(f"/officer/{officer}/api/reports", json=body()).status_code == 401
    with service.client() as nobody:
        assert nobody.post("/api/reports", json=body()).status_code == 401
    wait_until(lambda: [one.seq for one in field.reports].count(1) >= 2)  # sent again, because nobody has said stored
    assert {one.seq: one.reporter for one in field.reports} == {1: officer, 2: post}
    service.kill()
    service.start()
    before = len(field.reports)
    wait_until(lambda: {one.seq for one in field.reports[before:]} == {1, 2})
    for report in {one.seq: one for one in field.reports}.values():
        field.take_report(report)
    ledger = Ledger.open_read_only(town.config)
    wait_until(lambda: [entry.kind for entry in ledger.read()].count(Kind.REPORT_STORED) == 2)
    ledger.close()
    assert len({(one.outbox_id, one.seq) for one in field.reports}) == 2


def test_whoever_has_reported_enough_waits_until_ten_minutes_are_over() -> None:
    earlier = [reports.observation(TIP, "led-1", n, now_ms=T0 + n) for n in range(1, MOST + 1)]
    assert not is_too_many(earlier[1:], MOST, now_ms=T0 + MOST)
    assert is_too_many(earlier, MOST, now_ms=T0 + WITHIN_MS)
    assert not is_too_many(earlier, MOST, now_ms=T0 + WITHIN_MS + 1)
    desk = Desk()
    for _ in range(REPORTS_KEPT + 3):
        desk.submit(TIP)
    assert [one.seq for one in desk.book.reports_of["p-1"]] == list(range(4, REPORTS_KEPT + 4))


def test_a_report_is_followed_to_the_incident_that_it_is_part_of() -> None:
    desk = Desk()
    desk.submit(TIP)
    report = desk.book.reports_of["p-1"][0]
    catalogue = city_names().catalogue

    def order_of(n: int, **changes: Any) -> str:
        fields: dict[str, Any] = {"family": "fire", "position": HERE} | changes
        at = incident(n, now_ms=T0, **fields)
        desk.submit(order(at, steps=chain(at, T0), seq=n))
        return at.incident_id

    order_of(1)  # nobody reported it
    order_of(2, reporters=("p-1",), position=msgspec.structs.replace(HERE, lat_deg=HERE.lat_deg + 0.01))
    order_of(3, reporters=("p-1",), family="gas")
    assert reports.incident_of(report, desk.book, catalogue) is None
    mine = order_of(4, reporters=("p-1", "p-2"))
    case = reports.incident_of(report, desk.book, catalogue)
    assert case is not None
    assert case.incident_id == mine
    other = order_of(5, reporters=("p-1",), opened_at_ms=T0 + 5)
    newest = reports.incident_of(report, desk.book, catalogue)
    assert newest is not None
    assert newest.incident_id == other
