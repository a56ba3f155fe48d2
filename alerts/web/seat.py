"""The command seat's API: every case, live; the map; decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from litestar import Request, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, JSONBody
from litestar.response import File, Redirect, Response, Stream
from litestar.status_codes import HTTP_303_SEE_OTHER
from msgspec import Meta, Struct

from alerts.admission import Wish
from alerts.casebook import Case
from alerts.entries import Entry
from alerts.office import Office
from alerts.summary import Summary, summarise
from alerts.web import pictures, places
from alerts.web.center import TheCenter
from alerts.web.feed import Cursor, cursor_of, feed
from alerts.web.logins import SEAT, home
from alerts.web.pages import page
from alerts.web.views import CaseView, HealthView, View, case_view, device_view
from models.messages import DecisionKind, Id, Priority

Http = Request[object, object, State]
MAX_CLOSED: Final = 200
"""Closed cases in the list; older ones are asked for by id."""


class Decide(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A decision as the page sends it."""

    kind: DecisionKind
    expected_revision: Annotated[int, Meta(ge=0)] = 0
    reason: Annotated[str, Meta(max_length=500)] = ""
    into: Id | None = None
    signals: tuple[Id, ...] = ()
    category: Annotated[str, Meta(max_length=64)] | None = None
    priority: Priority | None = None
    post: Id | None = None


class CaseList(View, frozen=True, kw_only=True):
    """All open cases and the newest closed ones; `cursor` is where the feed goes on from here."""

    cursor: int
    now_ms: int
    demo: bool
    cases: tuple[CaseView, ...]


class Happened(View, frozen=True, kw_only=True):
    """One ledger record, for the log of the page."""

    seq: int
    at_ms: int
    kind: str
    incident_id: str
    actor: str


class News(View, frozen=True, kw_only=True):
    """One event of the feed: what happened, in order, and the cases as they are now."""

    now_ms: int
    entries: tuple[Happened, ...]
    cases: tuple[CaseView, ...]


def _view(office: Office, case: Case) -> CaseView:
    return case_view(case, office.book, office.names, office.plan(case, office.now_ms()))


@get("/", opt={"for": "seat"})
async def seat_page() -> File:
    """Return the seat's page."""
    return page("seat.html")


@get("/api/incidents", opt={"for": "seat"})
async def incidents(center: TheCenter) -> CaseList:
    """Return the cases, newest first."""
    office = center.office
    cases = sorted(office.book.cases.values(), key=lambda case: case.revisions[0][1], reverse=True)
    closed = [case for case in cases if not case.is_open][:MAX_CLOSED]
    shown = [case for case in cases if case.is_open] + closed
    return CaseList(
        cursor=office.stored_seq,
        now_ms=office.now_ms(),
        demo=center.demo_logins,
        cases=tuple(_view(office, case) for case in shown),
    )


@get("/api/incidents/{incident_id:str}", opt={"for": "seat"})
async def incident(center: TheCenter, incident_id: FromPath[str]) -> CaseView:
    """Return one case."""
    office = center.office
    case = office.book.cases.get(incident_id)
    if case is None:
        raise NotFoundException(f"there is no incident {incident_id}")
    return _view(office, case)


@post("/api/incidents/{incident_id:str}/decisions", opt={"for": "seat"}, status_code=200)
async def decide(center: TheCenter, incident_id: FromPath[str], data: JSONBody[Decide]) -> CaseView:
    """Store a decision; it is on its way to the stream when this returns. Twice the same acknowledge is one."""
    office = center.office
    wish = Wish(
        incident_id=incident_id,
        kind=data.kind,
        by=SEAT,
        reason=data.reason,
        expected_revision=data.expected_revision,
        into=data.into,
        signals=data.signals,
        category=data.category,
        priority=data.priority,
        post=data.post,
    )
    outcome = (await office.submit([wish]))[0]
    if outcome.refusal is not None:
        raise outcome.refusal
    return _view(office, office.book.cases[incident_id])


@get("/api/feed", opt={"for": "seat"})
async def seat_feed(request: Http, center: TheCenter, cursor: Cursor = None) -> Stream:
    """Return everything that happened after the cursor, then what happens."""
    office = center.office

    def render(entries: Sequence[Entry]) -> News:
        return News(
            now_ms=office.now_ms(),
            entries=tuple(
                Happened(seq=e.seq, at_ms=e.at_ms, kind=e.kind, incident_id=e.incident_id, actor=e.actor)
                for e in entries
            ),
            cases=tuple(_view(office, case) for case in office.touched(entries)),
        )

    return feed(office, cursor_of(request, cursor), render)


@get("/api/evidence/{evidence_id:str}", opt={"for": "seat"})
async def seat_evidence(center: TheCenter, evidence_id: FromPath[str]) -> Response[bytes]:
    """Return a picture."""
    return await pictures.respond(center.office, evidence_id)


@get("/api/places", opt={"for": "seat"})
async def seat_places(center: TheCenter, bbox: places.Asked = None, codes: places.Asked = None) -> Response[bytes]:
    """Return the map of a box or of some places, else of the whole city, as GeoJSON."""
    return await places.answer(center.city, bbox, codes)


@get("/api/health", opt={"for": "seat"})
async def health(center: TheCenter) -> HealthView:
    """Return whether anything can come in at all, and what the devices last said of themselves."""
    heard = sorted(center.dispatcher.health.items())
    return HealthView(
        now_ms=center.office.now_ms(),
        broker_up=center.dispatcher.link.connected,
        refused=sum(center.dispatcher.refused.values()),
        devices=tuple(device_view(device_id, health) for device_id, health in heard),
        canaries=center.dispatcher.canaries.songs(center.office.now_ms()),
    )


@get("/api/summary", opt={"for": "seat"})
async def summary(center: TheCenter) -> Summary:
    """Return what `gridwarden summary --json` prints."""
    office = center.office
    return summarise(office.book, office.names)


@get("/demo/officer/{person:str}", opt={"for": "seat"})
async def demo_officer(center: TheCenter, person: FromPath[str]) -> Redirect:
    """Log the seat's browser in as an officer too, where `alerts.demo_logins` allows it: for trying it out alone."""
    if not center.demo_logins:
        raise NotFoundException("alerts.demo_logins is off")
    try:
        cookie = center.logins.cookie(person)
    except KeyError as exc:
        raise NotFoundException(f"nobody is called {person}") from exc
    return Redirect(home(person), status_code=HTTP_303_SEE_OTHER, cookies=[cookie])


router = Router(
    "/",
    route_handlers=[
        seat_page,
        incidents,
        incident,
        decide,
        seat_feed,
        seat_evidence,
        seat_places,
        health,
        summary,
        demo_officer,
    ],
)
