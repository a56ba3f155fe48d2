"""An officer's API: his own alerts, live, and his answers. He sees nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from litestar import Request, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, JSONBody
from litestar.response import File, Response, Stream
from msgspec import Meta, Struct

from alerts.admission import told
from alerts.casebook import Case, Telling
from alerts.entries import Entry
from alerts.names import Names
from alerts.office import Office
from alerts.web import pictures, places
from alerts.web.center import TheCenter
from alerts.web.feed import Cursor, cursor_of, feed
from alerts.web.pages import page
from alerts.web.views import AlertView, Text, View, alert_view, text
from models.messages import VERSION, Receipt, ReceiptKind

Http = Request[object, object, State]


class Answer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A receipt as the page sends it."""

    kind: ReceiptKind
    reason: Annotated[str, Meta(max_length=500)] = ""


class PostView(View, frozen=True, kw_only=True):
    """A post that an officer holds, and what he looks after in it."""

    name: Text
    duties: tuple[Text, ...]


class AlertList(View, frozen=True, kw_only=True):
    """An officer's posts, and his alerts, newest first."""

    cursor: int
    now_ms: int
    name: Text
    posts: tuple[PostView, ...]
    alerts: tuple[AlertView, ...]


class AlertNews(View, frozen=True, kw_only=True):
    """One event of an officer's feed: his alerts that changed."""

    now_ms: int
    alerts: tuple[AlertView, ...]


def _own(office: Office, person: str, cases: Sequence[Case]) -> Iterator[AlertView]:
    for case in cases:
        for telling in case.tellings.values():
            if telling.intent.person == person:
                yield alert_view(case, telling, office.book, office.names)


def _posts(names: Names, person: str) -> Iterator[PostView]:
    for held in names.people.posts_of.get(person, ()):
        yield PostView(name=text(names.post(held.id)), duties=tuple(map(text, names.duties(held.id))))


@get("/", opt={"for": "officer"})
async def officer_page() -> File:
    """Return the officer's page."""
    return page("officer.html")


@get("/api/alerts", opt={"for": "officer"})
async def alerts(center: TheCenter, person: FromPath[str]) -> AlertList:
    """Return the officer's alerts."""
    office = center.office
    own = sorted(
        _own(office, person, list(office.book.cases.values())),
        key=lambda alert: alert.telling.intended_ms,
        reverse=True,
    )
    return AlertList(
        cursor=office.stored_seq,
        now_ms=office.now_ms(),
        name=text(office.names.person(person)),
        posts=tuple(_posts(office.names, person)),
        alerts=tuple(own[:200]),
    )


@get("/api/feed", opt={"for": "officer"})
async def officer_feed(request: Http, center: TheCenter, person: FromPath[str], cursor: Cursor = None) -> Stream:
    """Return everything that concerns the officer after the cursor, then what happens."""
    office = center.office

    def render(entries: Sequence[Entry]) -> AlertNews | None:
        own = tuple(_own(office, person, office.touched(entries)))
        return AlertNews(now_ms=office.now_ms(), alerts=own) if own else None

    return feed(office, cursor_of(request, cursor), render)


@post("/api/alerts/{alert_id:str}/receipts", opt={"for": "officer"}, status_code=200)
async def answer(
    center: TheCenter, person: FromPath[str], alert_id: FromPath[str], data: JSONBody[Answer]
) -> AlertView:
    """Store what the officer says; a decline has asked the next one when this returns."""
    office = center.office
    receipt = Receipt(
        v=VERSION, alert_id=alert_id, kind=data.kind, by=person, at_ms=office.now_ms(), reason=data.reason
    )
    outcome = (await office.submit([receipt]))[0]
    if outcome.refusal is not None:
        raise outcome.refusal
    case, telling = told(office.book, alert_id, person)
    return alert_view(case, telling, office.book, office.names)


@get("/api/evidence/{evidence_id:str}", opt={"for": "officer"})
async def officer_evidence(center: TheCenter, person: FromPath[str], evidence_id: FromPath[str]) -> Response[bytes]:
    """Return a picture of an incident that this officer was told of; any other is not there."""
    office = center.office
    case = office.book.cases.get(office.book.case_of_evidence.get(evidence_id, ""))
    if case is None or not any(_is_his(telling, person) for telling in case.tellings.values()):
        raise NotFoundException("there is no such picture")
    return await pictures.respond(office, evidence_id)


@get("/api/places", opt={"for": "officer"})
async def officer_places(center: TheCenter, bbox: places.Asked = None, codes: places.Asked = None) -> Response[bytes]:
    """Return the map of a box or of some places, else of the whole city, as GeoJSON."""
    return await places.answer(center.city, bbox, codes)


def _is_his(telling: Telling, person: str) -> bool:
    return telling.intent.person == person


router = Router(
    "/officer/{person:str}",
    route_handlers=[officer_page, alerts, officer_feed, answer, officer_evidence, officer_places],
)
