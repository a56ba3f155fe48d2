from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.dispatcher import Dispatcher, Health
from alerts.ledger import Ledger
from alerts.office import Office
from alerts.web.app import make_litestar
from alerts.web.center import Center
from alerts.web.logins import Logins
from alerts.web.places import Map
from models.config import Config
from models.messages import Status
from models.seal import Keyring
from tests.alerts.field import Field, Service
from tests.alerts.test_service import JPEG, dispatch
from tests.alerts.town import Town, city_names
from tests.conftest import wait_until


def events(response: httpx.Response) -> Iterator[tuple[int, Any]]:
    """Yield (id, data) of each event as it comes; heartbeats are passed over."""
    cursor = -1
    for line in response.iter_lines():
        if line.startswith("id: "):
            cursor = int(line[4:])
        elif line.startswith("data: "):
            yield cursor, json.loads(line[6:])


def test_without_a_login_nothing_answers_but_the_login_page(field: Field, service: Service) -> None:
    alert = dispatch(field)
    field.picture("cam-01", "ev-1", JPEG)
    wait_until(lambda: bool(field.acks("cam-01")))
    officer = f"/officer/{alert.person}"
    with service.client() as nobody:
        for path in (
            "/",
            "/api/incidents",
            f"/api/incidents/{alert.incident_id}",
            "/api/feed",
            "/api/places",
            "/api/health",
            "/api/summary",
            "/api/evidence/ev-1",
            f"/demo/officer/{alert.person}",
            f"{officer}/",
            f"{officer}/api/alerts",
            f"{officer}/api/feed",
            f"{officer}/api/places",
            f"{officer}/api/evidence/ev-1",
            "/login?token=wrong",
            "/login",
        ):
            assert nobody.get(path).status_code == 401, path
        for path in (
            f"/api/incidents/{alert.incident_id}/decisions",
            f"{officer}/api/alerts/{alert.alert_id}/receipts",
        ):
            assert nobody.post(path, json={"kind": "accepted"}).status_code == 401, path
        assert nobody.get("/schema").status_code in {401, 404}
        assert nobody.get("/static/app.css").status_code == 200


def test_a_login_link_gives_a_cookie_that_no_script_and_no_other_site_can_use(service: Service) -> None:
    with service.client() as browser:
        answer = browser.get(service.login("seat"))
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert answer.headers["cache-control"] == "no-store"


def test_secrets_are_readable_by_the_owner_alone(service: Service, town: Town) -> None:
    for path in (town.config.state / "alerts.json", town.config.state / "logins" / "seat"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((town.config.state / "logins").stat().st_mode) == 0o700
    assert "token=" not in service.log.read_text()


@pytest.mark.parametrize("path", ["/", "/static/seat.js", "/api/incidents", "/api/nothing"])
def test_every_answer_carries_the_security_headers(service: Service, path: str) -> None:
    with service.client("seat") as seat:
        headers = seat.get(path).headers
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "cache-control" in headers


def test_a_post_from_another_site_is_refused(field: Field, service: Service) -> None:
    alert = dispatch(field)
    path = f"/api/incidents/{alert.incident_id}/decisions"
    with service.client("seat") as seat:
        for origin in ("https://evil.example", "null", service.address + ".evil.example", ""):
            answer = seat.post(path, json={"kind": "acknowledge"}, headers={"Origin": origin})
            assert answer.status_code == 403, origin
        assert seat.post(path, json={"kind": "acknowledge"}).status_code == 200


def test_an_officer_sees_his_own_alerts_and_nothing_else(field: Field, service: Service) -> None:
    first, second = dispatch(field, 1), dispatch(field, 2, device="cam-02", evidence_ids=("ev-2",))
    field.picture("cam-02", "ev-2", JPEG)
    wait_until(lambda: bool(field.acks("cam-02")))
    assert first.person != second.person
    with service.client(first.person) as officer:
        own = officer.get(f"/officer/{first.person}/api/alerts").json()
        assert [alert["alert_id"] for alert in own["alerts"]] == [first.alert_id]
        assert officer.get(f"/officer/{second.person}/api/alerts").status_code == 401
        assert officer.get("/api/incidents").status_code == 401
        assert officer.get(f"/officer/{first.person}/api/evidence/ev-2").status_code == 404
        stolen = officer.post(
            f"/officer/{first.person}/api/alerts/{second.alert_id}/receipts", json={"kind": "accepted"}
        )
        assert stolen.status_code == 400
    with service.client(second.person) as officer:
        assert officer.get(f"/officer/{second.person}/api/evidence/ev-2").content == JPEG


def test_a_decline_at_the_page_asks_the_next_candidate(field: Field, service: Service) -> None:
    alert = dispatch(field)
    with service.client(alert.person) as officer:
        path = f"/officer/{alert.person}/api/alerts/{alert.alert_id}/receipts"
        answer = officer.post(path, json={"kind": "declined", "reason": "far away"})
        assert answer.json()["telling"]["answer"] == "declined"
    wait_until(lambda: len({told.person for told in field.alerts}) == 2)
    with service.client("seat") as seat:
        tellings = seat.get(f"/api/incidents/{alert.incident_id}").json()["tellings"]
    assert [reason["code"] for reason in tellings[1]["reasons"]][-1] == "DECLINED_BEFORE"
    assert tellings[1]["reasons"][-1]["text"] == {"zh": "前一位已拒绝", "en": "the one before declined"}


def test_a_decision_about_an_older_revision_is_refused(field: Field, service: Service) -> None:
    alert = dispatch(field)
    path = f"/api/incidents/{alert.incident_id}/decisions"
    with service.client("seat") as seat:
        stale = {"kind": "close", "reason": "settled", "expected_revision": 7}
        assert seat.post(path, json=stale).status_code == 409
        assert seat.post(path, json={"kind": "close"}).status_code == 400  # without a reason
        assert seat.post(path, json={"kind": "merge", "reason": "x"}).status_code == 400
        assert seat.post(path, json={"kind": "close", "resaon": "typo"}).status_code == 400
        closed = seat.post(path, json={"kind": "close", "reason": "settled", "expected_revision": 1}).json()
        assert (closed["state"], closed["waits"]) == ("closed", [])
        assert seat.post(path, json={"kind": "acknowledge"}).status_code == 400


def test_the_feed_gives_everything_missed_in_order_after_a_drop(field: Field, service: Service) -> None:
    with service.client("seat") as seat:
        cursor = seat.get("/api/incidents").json()["cursor"]
        with seat.stream("GET", f"/api/feed?cursor={cursor}") as feed:
            dispatch(field, 1)
            seen, news = next(events(feed))
            assert {case["incident_id"] for case in news["cases"]}
        missed = [dispatch(field, n, device="cam-02").incident_id for n in (2, 3, 4)]
        with seat.stream("GET", "/api/feed", headers={"Last-Event-ID": str(seen)}) as feed:
            entries: list[dict[str, Any]] = []
            for _, news in events(feed):
                entries += news["entries"]
                if set(missed) <= {entry["incident_id"] for entry in entries}:
                    break
    seqs = [entry["seq"] for entry in entries]
    assert seqs == list(range(seen + 1, seen + 1 + len(seqs)))
    orders = [entry["incident_id"] for entry in entries if entry["kind"] == "order_stored"]
    assert orders == missed


def test_a_merge_is_told_for_the_case_that_is_gone_too(field: Field, service: Service) -> None:
    first = dispatch(field, 1)
    with service.client("seat") as seat:
        cursor = seat.get("/api/incidents").json()["cursor"]
        dispatch(field, 2, device="cam-02", aliases=(first.incident_id,))
        with seat.stream("GET", f"/api/feed?cursor={cursor}") as feed:
            states: dict[str, str] = {}
            for _, news in events(feed):
                states |= {case["incident_id"]: case["state"] for case in news["cases"]}
                if first.incident_id in states:
                    break
    assert states[first.incident_id] == "merged"


def test_the_feed_goes_on_from_its_cursor_after_a_restart_of_the_service(field: Field, service: Service) -> None:
    first = dispatch(field, 1)
    with service.client("seat") as seat, seat.stream("GET", "/api/feed?cursor=0") as feed:
        seen, _ = next(events(feed))
    service.kill()
    service.start()
    second = dispatch(field, 2, device="cam-02")
    with service.client("seat") as seat, seat.stream("GET", f"/api/feed?cursor={seen}") as feed:
        ids: set[str] = set()
        for _, news in events(feed):
            ids |= {case["incident_id"] for case in news["cases"]}
            if second.incident_id in ids:
                break
    assert first.incident_id != second.incident_id


def test_the_map_is_the_city_of_the_config(service: Service) -> None:
    with service.client("seat") as seat:
        features = seat.get("/api/places").json()["features"]
    layers = [feature["properties"]["layer"] for feature in features]
    kinds = [feature["properties"]["kind"] for feature in features if feature["properties"]["layer"] == "cell"]
    assert kinds.count("base") == 135
    assert {"exclusive", "micro"} <= set(kinds)
    assert {"line", "node", "device"} <= set(layers)
    camera = next(f for f in features if f["properties"]["code"] == "cam-01")
    assert camera["geometry"]["type"] == "Point"
    assert camera["properties"]["fov_deg"] > 0


def test_too_large_a_body_is_refused(service: Service) -> None:
    with service.client("seat") as seat:
        answer = seat.post("/api/incidents/inc-1/decisions", content=b"x" * 200_000)
    assert answer.status_code in {400, 413}


def test_every_route_says_for_whom_it_is(tmp_path: Path) -> None:
    async def audiences() -> dict[str, object]:
        office = Office(Ledger.open(f"sqlite:///{tmp_path / 'a.db'}", now_ms=1), city_names())
        dispatcher = Dispatcher(Config(tenant="t"), Keyring({}), office)
        center = Center(office, dispatcher, Logins({}), Map(city_names().places), demo_logins=False)
        app = make_litestar(center)
        office.ledger.close()
        handlers = [(route, handler) for route in app.routes for handler in getattr(route, "route_handlers", [])]
        ours = [(route, handler) for route, handler in handlers if handler.http_methods != {"OPTIONS"}]
        return {f"{route.path} {handler.handler_name}": handler.opt.get("for") for route, handler in ours}

    found = asyncio.run(audiences())
    assert set(found.values()) <= {"public", "seat", "officer"}
    public = {path.split()[0] for path, audience in found.items() if audience == "public"}
    assert public <= {"/login", "/static/{file_path:path}", "/vendor/{file_path:path}"}
    assert len(found) >= 15


def test_the_late_last_will_of_a_replaced_connection_is_ignored() -> None:
    health = Health()
    health.heard(Status(v=1, device_id="edge-01", connect_id="c-1", online=True, at_ms=1))
    health.heard(Status(v=1, device_id="edge-01", connect_id="c-2", online=True, at_ms=2))
    health.heard(Status(v=1, device_id="edge-01", connect_id="c-1", online=False, at_ms=3))
    assert health.status is not None
    assert health.status.online
