"""Reporting something: an officer from where he stands, the seat for whoever has called."""

from __future__ import annotations

from typing import Annotated

from litestar import Router, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from alerts.office import Office
from alerts.reports import Tip
from alerts.web.center import TheCenter
from alerts.web.logins import SEAT
from alerts.web.views import View
from models import clock
from models.errors import MessageError, Reason
from models.messages import Id, Position


class Tell(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A report as the page sends it; `reporter` is who told the seat, a post or person that the city knows."""

    category: Annotated[str, Meta(max_length=64)]
    position: Position
    text: Annotated[str, Meta(max_length=2000)] = ""
    reporter: Id | None = None


class Told(View, frozen=True, kw_only=True):
    """The report is stored, and on its way to the stream."""

    stored_at_ms: int


@post("/api/reports", opt={"for": "seat"}, status_code=202)
async def report_by_seat(center: TheCenter, data: JSONBody[Tell]) -> Told:
    """Store what somebody has told the seat, or what the seat itself has seen."""
    return await _store(center.office, data, data.reporter or SEAT)


@post("/officer/{person:str}/api/reports", opt={"for": "officer"}, status_code=202)
async def report_by_officer(center: TheCenter, person: FromPath[str], data: JSONBody[Tell]) -> Told:
    """Store what the officer has seen; he reports for nobody else."""
    return await _store(center.office, data, person)


async def _store(office: Office, data: Tell, by: str) -> Told:
    people = office.names.people
    if data.category not in office.names.catalogue.category_by_key:
        raise MessageError(Reason.RULE_FAILED, f"no category {data.category!r}; name one of catalogue.toml")
    if by != SEAT and by not in people.person_by_id and by not in people.post_by_id:
        raise MessageError(Reason.RULE_FAILED, f"{by!r} is no person or post of people.toml; leave the reporter out")
    tip = Tip(category=data.category, position=data.position, by=by, text=data.text, mono_ms=clock.mono_ms())
    outcome = (await office.submit([tip]))[0]
    if outcome.refusal is not None:
        raise outcome.refusal
    return Told(stored_at_ms=office.now_ms())


router = Router("/", route_handlers=[report_by_seat, report_by_officer])
