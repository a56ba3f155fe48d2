from __future__ import annotations

import time
from typing import Any

import pytest

from alerts.entries import Draft, Kind, Stored
from alerts.ledger import Ledger
from alerts.summary import summary
from models import topics
from models.clock import now_ms
from models.messages import Alert, ReceiptKind, Stage
from tests.alerts.field import Field, Service
from tests.alerts.town import Town, chain, incident, order
from tests.conftest import wait_until

JPEG = b"\xff\xd8\xff\xe0" + b"not looked into" * 40 + b"\xff\xd9"


def stored(field: Field, seq: int) -> bool:
    return any(first <= seq <= last for ack in field.acks("stream") for first, last in ack.stored)


def dispatch(field: Field, n: int = 1, **changes: Any) -> Alert:
    """Send order `n` and return the first alert about it."""
    at = incident(n, now_ms=now_ms(), **changes)
    field.order(order(at, steps=chain(at, now_ms()), seq=n))
    wait_until(lambda: any(alert.incident_id == at.incident_id for alert in field.alerts))
    return next(alert for alert in field.alerts if alert.incident_id == at.incident_id)


def test_an_order_becomes_an_alert_to_a_named_officer_and_is_acknowledged(
    field: Field, service: Service, town: Town
) -> None:
    alert = dispatch(field)
    wait_until(lambda: stored(field, 1))
    assert alert.person.startswith("p-")
    assert alert.stage is Stage.PRE_ALARM
    assert alert.timeline.notified_ms is not None
    assert "·" in alert.headline_zh
    wait_until(lambda: bool(summary(town.config).alerts))
    told = summary(town.config)
    assert told.alerts[0].alert_id == alert.alert_id
    assert told.alerts[0].to.person == alert.person
    assert told.timeline_ms.keys() >= {"captured", "ordered", "stored", "notified"}


def test_an_order_that_comes_twice_is_acknowledged_twice_and_told_once(field: Field, service: Service) -> None:
    at = incident(now_ms=now_ms())
    twice = order(at, steps=chain(at, now_ms()))
    field.order(twice)
    wait_until(lambda: len(field.acks("stream")) == 1)
    field.order(twice)
    wait_until(lambda: len(field.acks("stream")) == 2)
    assert len({alert.alert_id for alert in field.alerts}) == 1


def test_a_decline_over_mqtt_asks_the_next_candidate(field: Field, service: Service) -> None:
    first = dispatch(field)
    field.receipt(first, ReceiptKind.DECLINED, "on another case")
    wait_until(lambda: len({alert.person for alert in field.alerts}) == 2)


def test_evidence_is_stored_then_acknowledged_by_id_and_hash(field: Field, service: Service) -> None:
    head = field.picture("cam-01", "ev-1", JPEG)
    wait_until(lambda: bool(field.acks("cam-01")))
    assert field.acks("cam-01")[0].evidence == (("ev-1", head.sha256),)
    with service.client("seat") as seat:
        answer = seat.get("/api/evidence/ev-1")
    assert answer.content == JPEG
    assert answer.headers["content-type"] == "image/jpeg"


def test_a_killed_process_tells_nobody_under_another_id_and_forgets_nobody(
    field: Field, service: Service, town: Town
) -> None:
    at = incident(now_ms=now_ms())
    service.kill()
    field.order(order(at, steps=chain(at, now_ms())))  # the broker keeps it for us
    service.start()
    wait_until(lambda: stored(field, 1))
    wait_until(lambda: bool(field.alerts))
    service.kill()
    service.start()
    wait_until(lambda: len(field.alerts) >= 2)
    assert len({alert.alert_id for alert in field.alerts}) == 1
    service.stop()
    ledger = Ledger.open_read_only(town.config)
    assert ledger.verify().broken is None
    ledger.close()


def test_noise_and_forgeries_are_counted_and_nothing_stops(field: Field, service: Service) -> None:
    at = incident(now_ms=now_ms())
    good = order(at, steps=chain(at, now_ms()))
    topic = topics.order(field.tenant, at.incident_id)
    field.publish_raw(topic, b"\x00" * 200_000)
    field.publish_raw(topic, b"{}")
    field.publish_raw(topic, b'{"v":1}\n{"kid":"stream","mac":"00"}')
    field.publish(topic, good, "cam-01")
    field.publish(topics.order(field.tenant, "inc-other"), good, "stream")
    field.publish(topics.receipt(field.tenant, "p-0001"), good, "p-0001")
    field.order(good)
    wait_until(lambda: stored(field, 1))
    log = service.log.read_text()
    for reason in ("too_large", "no_seal", "wrong_seal", "foreign_device", "rule_failed", "wrong_shape"):
        assert f": {reason}: " in log
    assert "Traceback" not in log


def test_a_decision_goes_to_the_stream_until_it_says_stored(field: Field, service: Service) -> None:
    alert = dispatch(field)
    with service.client("seat") as seat:
        done = seat.post(f"/api/incidents/{alert.incident_id}/decisions", json={"kind": "acknowledge"})
        assert done.status_code == 200, done.text
        assert done.json()["unstored_decisions"] == 1
        wait_until(lambda: len(field.decisions) >= 2)  # sent again, because nobody has said stored
        assert len({(d.outbox_id, d.seq) for d in field.decisions}) == 1
        field.take_decision(field.decisions[0])
        wait_until(lambda: seat.get(f"/api/incidents/{alert.incident_id}").json()["unstored_decisions"] == 0)


def test_the_load_of_who_is_asked_is_said_and_kept_by_the_broker(field: Field, service: Service, town: Town) -> None:
    alert = dispatch(field)
    wait_until(lambda: any(load.person == alert.person and load.open for load in field.loads))
    assert next(load for load in field.loads if load.person == alert.person).open == {alert.priority: 1}
    with Field(town, "latecomer") as latecomer:
        wait_until(lambda: any(load.person == alert.person for load in latecomer.loads))
    field.receipt(alert, ReceiptKind.DECLINED)
    wait_until(lambda: any(load.person == alert.person and not load.open for load in field.loads))


def test_sigterm_ends_it_in_order_though_a_page_is_listening(field: Field, service: Service) -> None:
    with service.client("seat") as seat, seat.stream("GET", "/api/feed?cursor=0") as listening:
        next(listening.iter_lines())
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 10
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize("port", ["taken"])
def test_a_port_that_is_taken_is_named_with_its_remedy(service: Service, town: Town, port: str) -> None:
    held = int(service.address.rpartition(":")[2])
    text = town.file.read_text().replace("port = 0", f"port = {held}")
    town.file.write_text(text)
    second = Service(town)
    with pytest.raises(AssertionError, match=r"alerts\.port: .* cannot be listened on"):
        second.start()


def test_a_ledger_that_cannot_be_written_ends_the_process_with_one_sentence(
    field: Field, service: Service, town: Town
) -> None:
    rival = Ledger.open(f"sqlite:///{town.config.state / 'alerts.db'}", now_ms=now_ms())
    rival.append([Draft(kind=Kind.DECISION_STORED, body=Stored(ranges=()))], now_ms())
    rival.close()
    at = incident(now_ms=now_ms())
    field.order(order(at, steps=chain(at, now_ms())))
    assert service.process is not None
    assert service.process.wait(timeout=15) == 1
    assert "gridwarden: the ledger cannot be written" in service.log.read_text()
    assert not stored(field, 1)
    assert not field.alerts
