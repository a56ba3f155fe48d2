"""What the pages are told: plain values made from cases, with names in both languages beside every code."""

from __future__ import annotations

from msgspec import Struct

from alerts.canaries import Song
from alerts.casebook import Case, Casebook, Telling
from alerts.dispatcher import Health
from alerts.escalation import Plan
from alerts.names import Names
from models.messages import DecisionKind, Incident, Priority, Response, Stage, Timeline
from models.words import REASONS, Words


class View(Struct, frozen=True, kw_only=True):
    """Base of everything a page gets."""


class Text(View, frozen=True, kw_only=True):
    """The same in both languages."""

    zh: str
    en: str


class Reason(View, frozen=True, kw_only=True):
    """A code, and what it means."""

    code: str
    text: Text


class PictureView(View, frozen=True, kw_only=True):
    """An evidence picture that is here and can be fetched."""

    evidence_id: str
    device_id: str
    captured_at_ms: int
    redaction: str
    box: tuple[float, float, float, float] | None


class MarkView(View, frozen=True, kw_only=True):
    """A receipt."""

    kind: str
    at_ms: int
    reason: str


class TellingView(View, frozen=True, kw_only=True):
    """Who was told, why, and what he said; `beside_duty`: the case falls under no duty of his post."""

    alert_id: str
    step: int
    seat: bool
    post: str
    post_name: Text
    person: str
    person_name: Text
    scope: tuple[str, ...]
    duties: tuple[Text, ...]
    beside_duty: bool
    reasons: tuple[Reason, ...]
    intended_ms: int
    sent_ms: int | None
    answer: str | None
    marks: tuple[MarkView, ...]


class DecisionView(View, frozen=True, kw_only=True):
    """What a person decided."""

    kind: DecisionKind
    by: str
    at_ms: int
    reason: str
    seq: int
    stored: bool


class WaitView(View, frozen=True, kw_only=True):
    """What is waited for, until when, and on whom."""

    clock: str
    until_ms: int
    on: tuple[Text, ...]
    overdue_ms: int | None


class CaseView(View, frozen=True, kw_only=True):
    """Everything the seat sees of a case; `basis` is the rule by which `lead_unit` leads."""

    incident_id: str
    seq: int
    revision: int
    state: str
    is_open: bool
    is_acknowledged: bool
    merged_into: str | None
    priority: Priority
    stage: Stage
    response: Response | None
    general_by_ms: int | None
    category: str
    category_name: Text
    domain: Text
    label: str
    headline: Text
    place: Text
    lon_deg: float
    lat_deg: float
    radius_m: float
    areas: dict[str, str]
    area_names: dict[str, Text]
    opened_at_ms: int
    updated_at_ms: int
    confidence: float
    count: int
    sources: tuple[str, ...]
    late: bool
    evidence: tuple[PictureView, ...]
    evidence_missing: int
    lead_post: Text
    lead_unit: Text
    basis: Text
    assistance: Text | None
    order_reasons: tuple[Reason, ...]
    tellings: tuple[TellingView, ...]
    decisions: tuple[DecisionView, ...]
    timeline: Timeline
    waits: tuple[WaitView, ...]
    unstored_decisions: int


class AlertView(View, frozen=True, kw_only=True):
    """What an officer sees of one alert of his."""

    alert_id: str
    incident_id: str
    is_open: bool
    state: str
    priority: Priority
    stage: Stage
    headline: Text
    category_name: Text
    domain: Text
    place: Text
    lon_deg: float
    lat_deg: float
    radius_m: float
    areas: dict[str, str]
    area_names: dict[str, Text]
    opened_at_ms: int
    evidence: tuple[PictureView, ...]
    telling: TellingView
    taken_by: tuple[Text, ...]
    lead_unit: Text
    basis: Text
    assistance: Text | None


class DeviceView(View, frozen=True, kw_only=True):
    """What a device last said of itself."""

    device_id: str
    online: bool | None
    heard_ms: int | None
    fps: float | None
    frame_age_ms: int | None
    outbox_depth: int | None


class HealthView(View, frozen=True, kw_only=True):
    """How the way in is.

    Attributes:
        broker_up: false: no new alert can arrive, however calm the page looks.
        refused: messages that were not taken, of all reasons.
        canaries: how the way from each device to here is, as last tried.
    """

    now_ms: int
    broker_up: bool
    refused: int
    devices: tuple[DeviceView, ...]
    canaries: tuple[Song, ...]


def device_view(device_id: str, health: Health) -> DeviceView:
    """Return the health of a device as the map shows it."""
    beat, status = health.heartbeat, health.status
    heard = [message.at_ms for message in (beat, status) if message is not None]
    return DeviceView(
        device_id=device_id,
        online=status.online if status else None,
        heard_ms=max(heard, default=None),
        fps=beat.fps if beat else None,
        frame_age_ms=beat.frame_age_ms if beat else None,
        outbox_depth=beat.outbox_depth if beat else None,
    )


def text(words: Words) -> Text:
    """Return `words` as the pages get them."""
    return Text(zh=words.zh, en=words.en)


def case_view(case: Case, book: Casebook, names: Names, plan: Plan) -> CaseView:
    """Return `case` as the seat sees it."""
    order, incident = case.order, case.order.incident
    evidence = _pictures(case, book)
    return CaseView(
        incident_id=case.incident_id,
        seq=case.last_seq,
        revision=order.revision,
        state=case.state,
        is_open=case.is_open,
        is_acknowledged=case.is_acknowledged,
        merged_into=case.merged_into,
        priority=incident.priority,
        stage=incident.stage,
        response=incident.response,
        general_by_ms=incident.general_by_ms,
        category=incident.category,
        category_name=text(names.category(incident.category, incident.label)),
        domain=text(names.domain(incident.category)),
        label=incident.label,
        headline=text(names.headline(incident)),
        place=text(names.place(incident)),
        lon_deg=incident.position.lon_deg,
        lat_deg=incident.position.lat_deg,
        radius_m=incident.position.radius_m,
        areas=incident.areas,
        area_names={code: text(names.area(code)) for code in incident.areas.values()},
        opened_at_ms=incident.opened_at_ms,
        updated_at_ms=incident.updated_at_ms,
        confidence=incident.confidence,
        count=incident.count,
        sources=incident.sources,
        late=incident.late,
        evidence=evidence,
        evidence_missing=len(incident.evidence_ids) - len(evidence),
        lead_post=text(names.post(case.lead_post)),
        lead_unit=text(names.unit(order.lead_unit)),
        basis=text(names.basis(order.basis)),
        assistance=_flagged(incident, names),
        order_reasons=_reasons(order.reasons),
        tellings=tuple(telling_view(telling, names, incident.category) for telling in case.tellings.values()),
        decisions=_decisions(case, book),
        timeline=case.timeline,
        waits=_waits(plan, names),
        unstored_decisions=sum(decision.seq in book.unstored for _, decision in case.decisions),
    )


def _flagged(incident: Incident, names: Names) -> Text | None:
    """Return the name of the place whose flag has made an incident more urgent."""
    return text(names.area(incident.assistance)) if incident.assistance else None


def _decisions(case: Case, book: Casebook) -> tuple[DecisionView, ...]:
    return tuple(
        DecisionView(
            kind=decision.kind,
            by=decision.by,
            at_ms=at_ms,
            reason=decision.reason,
            seq=decision.seq,
            stored=decision.seq not in book.unstored,
        )
        for at_ms, decision in case.decisions
    )


def _waits(plan: Plan, names: Names) -> tuple[WaitView, ...]:
    return tuple(
        WaitView(
            clock=wait.clock,
            until_ms=wait.until_ms,
            on=tuple(text(_waited_on(who, names)) for who in wait.on),
            overdue_ms=wait.overdue_ms,
        )
        for wait in plan.wait
    )


def alert_view(case: Case, telling: Telling, book: Casebook, names: Names) -> AlertView:
    """Return one alert as the officer sees it who got it."""
    incident = case.order.incident
    others = (other for other in case.tellings.values() if other.accepted and other is not telling)
    return AlertView(
        alert_id=telling.intent.alert_id,
        incident_id=case.incident_id,
        is_open=case.is_open,
        state=case.state,
        priority=incident.priority,
        stage=incident.stage,
        headline=text(names.headline(incident)),
        category_name=text(names.category(incident.category, incident.label)),
        domain=text(names.domain(incident.category)),
        place=text(names.place(incident)),
        lon_deg=incident.position.lon_deg,
        lat_deg=incident.position.lat_deg,
        radius_m=incident.position.radius_m,
        areas=incident.areas,
        area_names={code: text(names.area(code)) for code in incident.areas.values()},
        opened_at_ms=incident.opened_at_ms,
        evidence=_pictures(case, book),
        telling=telling_view(telling, names, incident.category),
        taken_by=tuple(text(names.person(other.intent.person)) for other in others),
        lead_unit=text(names.unit(case.order.lead_unit)),
        basis=text(names.basis(case.order.basis)),
        assistance=_flagged(incident, names),
    )


def telling_view(telling: Telling, names: Names, category: str) -> TellingView:
    """Return one telling with its names."""
    intent = telling.intent
    duties = names.duties(intent.post)
    return TellingView(
        alert_id=intent.alert_id,
        step=intent.step,
        seat=intent.seat,
        post=intent.post,
        post_name=text(names.post(intent.post)),
        person=intent.person,
        person_name=text(names.person(intent.person)),
        scope=names.scope(intent.post),
        duties=tuple(map(text, duties)),
        beside_duty=bool(duties) and names.domain(category) not in duties,
        reasons=_reasons(intent.reasons),
        intended_ms=telling.intended_ms,
        sent_ms=telling.sent_ms,
        answer=telling.answer,
        marks=tuple(MarkView(kind=mark.kind, at_ms=mark.at_ms, reason=mark.reason) for mark in telling.marks),
    )


def _reasons(codes: tuple[str, ...]) -> tuple[Reason, ...]:
    return tuple(Reason(code=code, text=text(REASONS.get(code, Words(code, code)))) for code in dict.fromkeys(codes))


def _pictures(case: Case, book: Casebook) -> tuple[PictureView, ...]:
    held = (book.evidence.get(evidence_id) for evidence_id in case.order.incident.evidence_ids)
    return tuple(
        PictureView(
            evidence_id=head.evidence_id,
            device_id=head.device_id,
            captured_at_ms=head.captured_at_ms,
            redaction=head.redaction,
            box=head.box,
        )
        for head in held
        if head is not None
    )


def _waited_on(who: str, names: Names) -> Words:
    return REASONS["SEAT"] if who == "seat" else names.person(who)
