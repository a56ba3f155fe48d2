"""The pages in a real browser, fed by real sealed orders over the real broker."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from alerts.reports import MOST
from alerts.web import assets
from models.clock import now_ms
from models.config import to_toml
from models.messages import Alert, OrderStep, Position, Response, Stage
from models.places.geojson import dump
from tests.alerts.field import Field, Service
from tests.alerts.test_map import large
from tests.alerts.test_service import dispatch
from tests.alerts.town import Town, chain, city_names, holders, incident, order
from tests.conftest import embedded_broker, wait_until

pytestmark = pytest.mark.browser

# The smallest JPEG that a browser draws: 1 x 1 px, white.
JPEG = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300080606070605080707070909080a0c140d0c0b0b0c1912130f141d1a1f1e1d1a1c"
    "1c20242e2720222c231c1c2837292c30313434341f27393d38323c2e333432ffc0000b080001000101011100ffc4001f000001050101010101010000"
    "0000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d01020300041105122131410613516107227114328191"
    "a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a73"
    "7475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9da"
    "e1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffda0008010100003f00fbd3ffd9"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        pytest.skip("Chromium is not installed: apt-get install chromium fonts-noto-cjk")
    assets.fetch()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield running
        running.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1500, "height": 900}, locale="en-GB")
    made.set_default_timeout(15_000)
    yield made
    made.close()


def open_page(context: BrowserContext, address: str) -> Page:
    """Open a page and wait until it is live. A page that says anything to the console fails its test."""
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page failed: {error}"))
    page.goto(address)
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    return page


@pytest.fixture
def seat(context: BrowserContext, service: Service) -> Page:
    return open_page(context, service.ready["seat_login"])


def row(page: Page, incident_id: str) -> str:
    return f'[data-incident="{incident_id}"]'


def test_an_alert_appears_without_reload_and_one_click_acknowledges_it(
    field: Field, service: Service, seat: Page
) -> None:
    seat.evaluate("window.same = true")
    expect(seat.locator("#cases li")).to_have_count(0)
    alert = dispatch(field)
    shown = seat.locator(row(seat, alert.incident_id))
    expect(shown).to_contain_text("P2")
    expect(shown).to_contain_text("Suspected smoke")
    expect(seat.locator("#announce")).to_contain_text("New alert")
    expect(seat.locator("#told")).to_contain_text("inside their cell")
    expect(seat.locator("#timeline tr")).to_have_count(9)
    expect(seat.locator(".pin")).to_have_count(1)
    seat.click("#acknowledge")
    expect(seat.locator("#acknowledge")).to_have_text("Acknowledged")
    wait_until(lambda: [d.kind.value for d in field.decisions][:1] == ["acknowledge"])
    assert seat.evaluate("window.same")


def test_an_alarm_of_one_source_alone_can_be_looked_into_until_it_is_general(
    field: Field, service: Service, seat: Page
) -> None:
    general_by_ms = now_ms() + 15_000
    alarm = incident(now_ms=now_ms(), stage=Stage.ALARM, response=Response.AWAITED, general_by_ms=general_by_ms)
    field.order(order(alarm, steps=chain(alarm, now_ms())))
    expect(seat.locator(row(seat, alarm.incident_id))).to_have_count(1)
    expect(seat.locator("#investigate")).to_be_enabled()
    seat.keyboard.press("i")
    wait_until(lambda: [d.kind.value for d in field.decisions][:1] == ["investigate"])
    expect(seat.locator("#acknowledge")).to_have_text("Acknowledged")
    general = msgspec.structs.replace(alarm, response=Response.GENERAL, general_by_ms=None)
    field.order(order(general, steps=chain(alarm, now_ms()), revision=2, seq=2, reasons=("GENERAL",)))
    expect(seat.locator("#investigate")).to_be_hidden()


def test_one_key_acknowledges_and_arrows_select(field: Field, service: Service, seat: Page) -> None:
    first, second = dispatch(field, 1), dispatch(field, 2, device="cam-02")
    expect(seat.locator("#cases li")).to_have_count(2)
    seat.keyboard.press("ArrowDown")
    seat.keyboard.press("a")
    expect(seat.locator("#acknowledge")).to_have_text("Acknowledged")
    wait_until(lambda: len(field.decisions) >= 1)
    assert {d.incident_id for d in field.decisions} <= {first.incident_id, second.incident_id}


def test_the_officer_accepts_on_his_page_and_the_seat_sees_it(
    field: Field, service: Service, seat: Page, browser: Browser
) -> None:
    alert = dispatch(field)
    phone = browser.new_context(viewport={"width": 390, "height": 844}, locale="zh-CN")
    page = open_page(phone, service.login(alert.person))
    expect(page.locator(".card")).to_contain_text("疑似烟雾")
    page.get_by_role("button", name="接受任务").click()
    expect(page.get_by_role("button", name="我已到达")).to_be_visible()
    expect(seat.locator("#told .telling.accepted")).to_have_count(1)
    expect(seat.locator(row(seat, alert.incident_id))).to_contain_text("Accepted")
    phone.close()


def test_an_officer_who_declines_sees_the_next_one_take_it(
    field: Field, service: Service, seat: Page, browser: Browser
) -> None:
    alert = dispatch(field)
    phone = browser.new_context(viewport={"width": 390, "height": 844}, locale="en-GB")
    page = open_page(phone, service.login(alert.person))
    page.get_by_role("button", name="Decline").click()
    page.get_by_role("button", name="too far away").click()
    expect(page.locator(".cardhead .chip")).to_have_text("declined")
    expect(seat.locator("#told .telling")).to_have_count(2)
    expect(seat.locator("#told .telling").first).to_contain_text("too far away")
    phone.close()


def test_after_a_dropped_connection_the_page_says_so_and_gets_what_it_missed(
    field: Field, service: Service, context: BrowserContext, seat: Page
) -> None:
    first = dispatch(field, 1)
    expect(seat.locator(row(seat, first.incident_id))).to_be_visible()
    context.set_offline(True)
    expect(seat.locator("#stale")).to_be_visible()
    missed = [dispatch(field, n, device="cam-02").incident_id for n in (2, 3)]
    expect(seat.locator("#cases li")).to_have_count(1)
    context.set_offline(False)
    for incident_id in missed:
        expect(seat.locator(row(seat, incident_id))).to_be_visible()
    expect(seat.locator("#stale")).to_be_hidden()


def test_a_killed_service_is_visible_and_its_page_goes_on_after_the_restart(
    field: Field, service: Service, seat: Page
) -> None:
    port = service.address.rpartition(":")[2]
    service.kill()
    expect(seat.locator("#stale")).to_be_visible()
    text = service.town.file.read_text()
    service.town.file.write_text(text.replace("[alerts]", "[alerts]", 1).replace("port = 0", f"port = {port}"))
    at = incident(5, now_ms=now_ms())
    field.order(order(at, steps=chain(at, now_ms()), seq=5))  # the broker keeps it
    service.start()
    expect(seat.locator(row(seat, at.incident_id))).to_be_visible()
    expect(seat.locator("#stale")).to_be_hidden()


def test_the_evidence_picture_shows_its_box(field: Field, service: Service, seat: Page) -> None:
    dispatch(field, evidence_ids=("ev-1",))
    expect(seat.locator("#pictures")).to_contain_text("on its way")
    field.picture("cam-01", "ev-1", JPEG, box=(0.25, 0.5, 0.75, 1.0))
    expect(seat.locator("#pictures .box")).to_have_count(1)
    wait_until(lambda: bool(seat.evaluate("document.querySelector('#pictures img')?.naturalWidth")))
    assert seat.evaluate("document.querySelector('#pictures .box').style.left") == "25%"


def test_closing_asks_for_a_reason_and_both_languages_are_there(field: Field, service: Service, seat: Page) -> None:
    alert = dispatch(field)
    expect(seat.locator(row(seat, alert.incident_id))).to_be_visible()
    seat.keyboard.press("l")
    expect(seat.locator("#acknowledge")).to_contain_text("确认收到")
    seat.keyboard.press("z")
    seat.get_by_role("button", name="现场已处置").click()
    expect(seat.locator(row(seat, alert.incident_id))).to_contain_text("已结案")
    wait_until(lambda: any(d.reason == "现场已处置" for d in field.decisions))
    seat.reload()
    expect(seat.locator("h1")).to_contain_text("指挥席")


def test_in_a_demo_the_seat_opens_the_page_of_an_officer_with_one_click(
    field: Field, service: Service, context: BrowserContext, seat: Page
) -> None:
    alert: Alert = dispatch(field)
    with context.expect_page() as opened:
        seat.get_by_role("link", name="Open their page").click()
    page = opened.value
    expect(page.locator(".card")).to_have_count(1)
    assert page.url.endswith(f"/officer/{alert.person}/")
    seat.reload()
    expect(seat.locator("#link")).to_have_attribute("data-state", "live")  # still logged in as the seat


def test_a_broker_that_is_gone_cannot_look_like_a_quiet_day(
    town: Town, tmp_path: Path, context: BrowserContext
) -> None:
    with embedded_broker(tmp_path / "short-lived") as mqtt:
        config = msgspec.structs.replace(town.config, mqtt=mqtt)
        town.file.write_bytes(to_toml(config))
        service = Service(Town(config, town.keys))
        service.start()
        page = open_page(context, service.ready["seat_login"])
        wait_until(lambda: "connected to" in service.log.read_text())
        expect(page.locator("#stale")).to_be_hidden()
    with service.client("seat") as seat:
        wait_until(lambda: not seat.get("/api/health").json()["broker_up"])
    expect(page.locator("#stale")).to_contain_text("broker is down", timeout=12_000)
    page.close()
    assert service.stop() == 0


def test_both_pages_say_by_which_rule_a_unit_leads_who_may_settle_it_and_where_help_is_needed(
    field: Field, service: Service, seat: Page, browser: Browser
) -> None:
    home = city_names().places.nodes[0]
    at = incident(now_ms=now_ms(), assistance=home.code)
    first, *rest = chain(at, now_ms())
    one = msgspec.structs.replace(first.candidates[0], reasons=("MAY_SETTLE",))
    first = msgspec.structs.replace(first, candidates=(one, *first.candidates[1:]))
    field.order(order(at, steps=(first, *rest), basis="样例责任清单：应急处置"))
    expect(seat.locator("#head .basis")).to_contain_text("Legal basis sample list of duties: emergency response")
    expect(seat.locator("#head .assistance")).to_have_text(f"People may need help: {home.name_en}")
    expect(seat.locator("#told")).to_contain_text("may settle it on the spot")
    phone = browser.new_context(viewport={"width": 390, "height": 844}, locale="zh-CN")
    page = open_page(phone, service.login(one.person))
    expect(page.locator(".facts")).to_contain_text("职责依据")
    expect(page.locator(".facts")).to_contain_text("样例责任清单：应急处置")
    expect(page.locator(".facts")).to_contain_text("可当场处置")
    expect(page.locator(".facts .assistance")).to_have_text(home.name)
    phone.close()


def test_pages_say_which_duty_a_case_falls_under_and_what_the_post_looks_after(
    field: Field, service: Service, seat: Page, browser: Browser
) -> None:
    post = next(post for post in city_names().people.posts if post.id.startswith("exclusive-"))
    at = incident(now_ms=now_ms(), category="green.damaged", family="green")
    (one, *_) = holders(post.id)
    first = OrderStep(step=0, offset_ms=0, mode="alert", candidates=(one,))
    field.order(order(at, steps=(first, *chain(at, now_ms())[1:])))
    expect(seat.locator("#head .basis")).to_have_text("Duty Green spaces")
    expect(seat.locator("#head")).not_to_contain_text("null")
    expect(seat.locator("#told .reasons").first).to_contain_text("not a duty of the post")
    phone = browser.new_context(viewport={"width": 390, "height": 844}, locale="zh-CN")
    page = open_page(phone, service.login(one.person))
    expect(page.locator(".facts")).to_contain_text("职责领域园林绿化")
    expect(page.locator(".facts")).not_to_contain_text("不在岗位职责内")  # for the seat to weigh
    page.click("#posts summary")
    expect(page.locator("#held")).to_have_text(f"{post.name} · 环境卫生、市容秩序、市政设施、安全")
    page.screenshot(path=os.environ.get("GRIDWARDEN_SHOT", os.devnull), type="png")
    page.get_by_role("link", name="上报事件").click()
    expect(page.locator("#category optgroup[label='园林绿化'] option")).to_have_count(2)
    phone.close()


def report_page(context: BrowserContext, address: str) -> Page:
    page = open_page(context, address)
    page.get_by_role("link", name="Report").or_(page.get_by_role("link", name="上报事件")).click()
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    return page


def test_an_officer_reports_on_the_map_and_sees_how_his_report_stands(
    field: Field, service: Service, context: BrowserContext, browser: Browser
) -> None:
    person = city_names().people.persons[0].id
    phone = browser.new_context(viewport={"width": 420, "height": 1500}, locale="zh-CN")
    page = report_page(phone, service.login(person))
    expect(page.locator("#empty")).to_be_visible()
    assert page.locator("#category option[value='device.fault']").count() == 0  # a machine tells that, nobody else
    page.select_option("#category", "order.vendor")
    page.locator("#spot .leaflet-container, #spot.leaflet-container").click(position={"x": 150, "y": 120})
    page.fill("#text", "占道经营 <b>两处</b>")
    page.click("#send")
    expect(page.locator("#reports li")).to_have_count(1)
    expect(page.locator("#reports li")).to_contain_text("正在送达系统")
    expect(page.locator("#reports q")).to_have_text("占道经营 <b>两处</b>")
    wait_until(lambda: bool(field.reports))
    report = field.reports[0]
    assert report.position
    assert (report.reporter, report.position.radius_m) == (person, 20.0)
    field.take_report(report)
    expect(page.locator("#reports li")).to_contain_text("已受理")
    at = incident(
        now_ms=now_ms(), category="order.vendor", family="order", position=report.position, reporters=(person,)
    )
    field.order(order(at, steps=chain(at, now_ms())))
    expect(page.locator("#reports .chip").first).to_have_text("已派单")
    page.click("#lang")
    expect(page.locator("#reports .chip").first).to_have_text("Dispatched")
    expect(page.locator("#send")).to_have_text("Send")
    page.screenshot(path=os.environ.get("GRIDWARDEN_SHOT", os.devnull), type="png")
    phone.close()


def test_whoever_reports_too_much_is_told_to_call_and_the_seat_reports_for_callers(
    service: Service, context: BrowserContext
) -> None:
    person = city_names().people.persons[0].id
    with service.client(person) as client:
        said = {"category": "order.vendor", "position": {"lon_deg": 106.5, "lat_deg": 29.5}}
        codes = [client.post(f"/officer/{person}/api/reports", json=said).status_code for _ in range(MOST)]
        assert codes == [202] * MOST
        page = report_page(context, service.login(person))
        expect(page.locator("#reports li")).to_have_count(MOST)
        page.select_option("#category", "order.vendor")
        page.fill("#lon", "106.5")
        page.fill("#lat", "29.5")
        page.click("#send")
        expect(page.locator("#problem")).to_contain_text("call the command seat")
        assert len(client.get(f"/officer/{person}/api/reports").json()["reports"]) == MOST
    page = report_page(context, service.ready["seat_login"])
    page.select_option("#category", "fire.smoke.single")
    page.fill("#lon", "106.5")
    page.fill("#lat", "29.5")
    page.click("#send")
    expect(page.locator("#reports li")).to_have_count(1)
    with service.client() as nobody:
        for path in ("/report", f"/officer/{person}/report", "/api/reports", f"/officer/{person}/api/reports"):
            assert nobody.get(path).status_code == 401


def test_of_a_large_city_the_seat_sees_the_streets_and_around_an_alarm_every_building(
    town: Town, context: BrowserContext
) -> None:
    Path(town.config.folder, "places.geojson").write_bytes(dump(large()))
    code = city_names().places.device_by_id["cam-01"].cell
    lon_e7, lat_e7 = large().cell_by_code[code].polygons.array.mean(0).tolist()
    there = Position(lon_deg=lon_e7 / 1e7, lat_deg=lat_e7 / 1e7, radius_m=15.0)
    with Field(town) as field, Service(town) as service:
        seat = open_page(context, service.ready["seat_login"])
        expect(seat.locator("#map")).to_have_attribute("data-drawn", re.compile("^[1-9]"))
        assert int(seat.locator("#map").get_attribute("data-drawn") or 0) < len(large().cells)
        with (
            seat.expect_response(lambda answer: "codes=" in answer.url) as named,
            seat.expect_response(lambda answer: "bbox=" in answer.url) as near,
        ):
            dispatch(field, position=there)
        assert code in {one["properties"]["code"] for one in named.value.json()["features"]}
        drawn = [one["properties"]["layer"] for one in near.value.json()["features"]]
        assert {"cell", "node", "line"} <= set(drawn)
        assert "area" not in drawn
        expect(seat.locator(".leaflet-tooltip.who").first).to_be_visible()
        with seat.expect_response(lambda answer: "bbox=" in answer.url) as far:
            seat.click("#whole")
        assert {one["properties"]["layer"] for one in far.value.json()["features"]} >= {"area", "line"}
