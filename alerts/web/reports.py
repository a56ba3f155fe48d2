"""Reporting something: an officer from where he stands, the seat for whoever has called; and what became of it."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import Router, get, post
from litestar.exceptions import TooManyRequestsException
from litestar.params import FromPath, JSONBody
from litestar.response import File
from msgspec import Meta, Struct

from alerts.casebook import Case
from alerts.names import Names
from alerts.office import Office
from alerts.reports import MOST, MOST_OF_SEAT, WITHIN_MS, Tip, incident_of, is_too_many
from alerts.web.center import TheCenter
from alerts.web.logins import SEAT
from alerts.web.pages import page
from alerts.web.views import Text, View, text
from models import clock
from models.errors import MessageError, Reason
from models.messages import Id, Observation, Position, Priority, Report, Stage

OF_DEVICES: Final = frozenset({"device", "clock", "rise", "seat"})
"""Families of what only our own machines can see of themselves."""
SHOWN: Final = 20


class Tell(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A report as the page sends it; `reporter` is who told the seat, a post or person that the city knows."""

    category: Annotated[str, Meta(max_length=64)]
    position: Position
    text: Annotated[str, Meta(max_length=2000)] = ""
    reporter: Id | None = None


class Told(View, frozen=True, kw_only=True):
    """The report is stored, and on its way to the stream."""

    stored_at_ms: int


class Choice(View, frozen=True, kw_only=True):
    """A category that can be reported, under the duty it falls under."""

    key: str
    name: Text
    domain: Text


class Followed(View, frozen=True, kw_only=True):
    """What a reporter is told of the incident that his report is part of: how it stands, and nothing of anybody."""

    incident_id: str
    state: str
    stage: Stage
    priority: Priority
    category_name: Text
    place: Text
    updated_at_ms: int


class ReportView(View, frozen=True, kw_only=True):
    """A report of one's own.

    Attributes:
        taken: the stream has it.
        incident: None as long as none is known.
    """

    seq: int
    at_ms: int
    category_name: Text
    lon_deg: float
    lat_deg: float
    text: str
    taken: bool
    incident: Followed | None


class ReportPage(View, frozen=True, kw_only=True):
    """What the page shows: who reports, what can be reported, and what has become of the newest reports."""

    now_ms: int
    name: Text
    categories: tuple[Choice, ...]
    reports: tuple[ReportView, ...]


@get("/report", opt={"for": "seat"})
async def seat_report_page() -> File:
    """Return the page on which the seat reports."""
    return page("report.html")


@get("/officer/{person:str}/report", opt={"for": "officer"})
async def officer_report_page() -> File:
    """Return the page on which an officer reports."""
    return page("report.html")


@get("/api/reports", opt={"for": "seat"})
async def reports_of_seat(center: TheCenter) -> ReportPage:
    """Return what the seat has reported itself."""
    return _page(center.office, SEAT, Text(zh="指挥席", en="Command seat"))


@get("/officer/{person:str}/api/reports", opt={"for": "officer"})
async def reports_of_officer(center: TheCenter, person: FromPath[str]) -> ReportPage:
    """Return what the officer has reported."""
    return _page(center.office, person, text(center.office.names.person(person)))


@post("/api/reports", opt={"for": "seat"}, status_code=202)
async def report_by_seat(center: TheCenter, data: JSONBody[Tell]) -> Told:
    """Store what somebody has told the seat, or what the seat itself has seen."""
    return await _store(center.office, data, data.reporter or SEAT, MOST_OF_SEAT)


@post("/officer/{person:str}/api/reports", opt={"for": "officer"}, status_code=202)
async def report_by_officer(center: TheCenter, person: FromPath[str], data: JSONBody[Tell]) -> Told:
    """Store what the officer has seen; he reports for nobody else."""
    return await _store(center.office, data, person, MOST)


async def _store(office: Office, data: Tell, by: str, most: int) -> Told:
    people = office.names.people
    if data.category not in office.names.catalogue.category_by_key:
        raise MessageError(Reason.RULE_FAILED, f"no category {data.category!r}; name one of catalogue.toml")
    if by != SEAT and by not in people.person_by_id and by not in people.post_by_id:
        raise MessageError(Reason.RULE_FAILED, f"{by!r} is no person or post of people.toml; leave the reporter out")
    if is_too_many(office.book.reports_of.get(by, ()), most, now_ms=office.now_ms()):
        raise TooManyRequestsException(f"{most} reports within {WITHIN_MS // 60_000} minutes; please call the seat")
    tip = Tip(category=data.category, position=data.position, by=by, text=data.text, mono_ms=clock.mono_ms())
    outcome = (await office.submit([tip]))[0]
    if outcome.refusal is not None:
        raise outcome.refusal
    return Told(stored_at_ms=office.now_ms())


def _page(office: Office, by: str, name: Text) -> ReportPage:
    newest = list(office.book.reports_of.get(by, ()))[: -SHOWN - 1 : -1]
    return ReportPage(
        now_ms=office.now_ms(),
        name=name,
        categories=tuple(
            Choice(key=one.key, name=Text(zh=one.name, en=one.name_en), domain=text(office.names.domain(one.key)))
            for one in office.names.catalogue.categories
            if one.family not in OF_DEVICES
        ),
        reports=tuple(_view(office, report) for report in newest),
    )


def _view(office: Office, report: Observation) -> ReportView:
    said, position, names = report.payload, report.position, office.names
    assert isinstance(said, Report)
    assert position is not None
    case = incident_of(report, office.book, names.catalogue)
    return ReportView(
        seq=report.seq,
        at_ms=report.observed_at_ms,
        category_name=text(names.category(said.category)),
        lon_deg=position.lon_deg,
        lat_deg=position.lat_deg,
        text=said.text,
        taken=report.seq not in office.book.unstored_reports,
        incident=_followed(case, names) if case else None,
    )


def _followed(case: Case, names: Names) -> Followed:
    incident = case.order.incident
    return Followed(
        incident_id=case.incident_id,
        state=case.state,
        stage=incident.stage,
        priority=incident.priority,
        category_name=text(names.category(incident.category, incident.label)),
        place=text(names.place(incident)),
        updated_at_ms=incident.updated_at_ms,
    )


router = Router(
    "/",
    route_handlers=[
        seat_report_page,
        officer_report_page,
        reports_of_seat,
        reports_of_officer,
        report_by_seat,
        report_by_officer,
    ],
)
