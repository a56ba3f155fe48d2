"""What a zone's word makes of an incident: pure functions, without log, order or clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from models.catalogue import Catalogue, Category
from models.geo import PointE7, distance_m, point_e7, to_degrees
from models.messages import Incident, Position, Response, Stage, Timeline
from stream.assistance import REASON as ASSISTANCE
from stream.assistance import urgency
from stream.desk.row import Case, Member
from stream.records import SignalKind, SignalRecord
from stream.world import World

MAX_PICTURES: Final = 16
_ANSWERED: Final = frozenset({Response.ACKNOWLEDGED, Response.INVESTIGATING, Response.GENERAL})
URGENCY: Final = (Stage.RESTORED, Stage.PRE_ALARM, Stage.ALARM)


def first_incident(signal: SignalRecord, category: Category, clock_ms: int, world: World) -> Incident:
    """Return the incident that a signal opens: it has the signal's id."""
    flagged = world.assistance.at((signal.lon_e7, signal.lat_e7))
    return Incident(
        incident_id=signal.signal_id,
        category=category.key,
        family=signal.family,
        priority=urgency(category.priority_at(signal.stage), flagged),
        stage=signal.stage,
        position=Position(
            lon_deg=to_degrees(signal.lon_e7), lat_deg=to_degrees(signal.lat_e7), radius_m=signal.radius_m
        ),
        areas=signal.areas,
        opened_at_ms=clock_ms,
        updated_at_ms=clock_ms,
        label=signal.label,
        confidence=signal.confidence,
        count=signal.count,
        sources=tuple(sorted(set(signal.sources))),
        evidence_ids=signal.evidence_ids[:MAX_PICTURES],
        late=signal.late,
        timeline=_timeline(signal),
        reporters=signal.reporters,
        response=signal.response,
        general_by_ms=signal.general_by_ms,
        assistance=flagged,
    )


def member(signal: SignalRecord, before: Member | None = None) -> Member:
    """Return what an incident keeps of a signal, after another word of it."""
    return Member(
        raised=before.raised if before else signal,
        stage=signal.stage,
        heard=(signal.origin.offset, signal.origin.n),
        count=signal.count + (before.count if before else 0),
        confidence=max(signal.confidence, before.confidence if before else 0.0),
        sources=tuple(sorted({*signal.sources, *(before.sources if before else ())})),
        last_event_ms=max(signal.event_ms, before.last_event_ms if before else signal.event_ms),
        is_active=signal.kind is not SignalKind.CLEARED,
        reporters=tuple(sorted({*signal.reporters, *(before.reporters if before else ())})),
        response=signal.response,
        general_by_ms=signal.general_by_ms,
        moves=signal.moves,
    )


def place_of(case: Case) -> PointE7:
    """Return where an incident is: its place never changes."""
    return _place(case.order.incident)


def _place(incident: Incident) -> PointE7:
    return point_e7(incident.position.lon_deg, incident.position.lat_deg)


def flag_of(incident: Incident, world: World) -> str | None:
    """Return the flagged place that makes an incident more urgent; one that has done so stays."""
    return incident.assistance or world.assistance.at(_place(incident))


def newly_flagged(before: Incident | None, after: Incident) -> tuple[str, ...]:
    """Give the reason of an order that a flagged place has made more urgent: once, however often it is matched."""
    return (ASSISTANCE,) if after.assistance and not (before and before.assistance) else ()


def urged(case: Case, incident: Incident, world: World) -> Incident:
    """Return an incident, one step up if its place was flagged since and no person has said how urgent it is."""
    if incident.assistance or case.corrected:
        return incident
    flagged = flag_of(incident, world)
    return replace(incident, priority=urgency(incident.priority, flagged), assistance=flagged)


def near(cases: Iterable[Case], signal: SignalRecord, catalogue: Catalogue) -> Case | None:
    """Return the open incident, of these of its family, that a new signal belongs to: the nearest, then the oldest."""
    merge_ms = catalogue.merge_s * 1000
    found = []
    for case in cases:
        if not case.first_event_ms - merge_ms <= signal.event_ms <= case.last_event_ms + merge_ms:
            continue
        away_m = distance_m(place_of(case), (signal.lon_e7, signal.lat_e7))
        if away_m <= catalogue.merge_m:
            incident = case.order.incident
            found.append((away_m, incident.opened_at_ms, incident.incident_id, case))
    return min(found, key=lambda one: one[:3])[3] if found else None


def joined(case: Case, signal: SignalRecord) -> Case:
    """Return a case with a signal's evidence in it; what was told stays as it is."""
    return replace(
        case,
        count=case.count + signal.count,
        confidence=max(case.confidence, signal.confidence),
        sources=tuple(sorted({*case.sources, *signal.sources})),
        members=case.members | {signal.signal_id: member(signal, case.members.get(signal.signal_id))},
        first_event_ms=min(case.first_event_ms, signal.event_ms),
        last_event_ms=max(case.last_event_ms, signal.event_ms),
    )


def counted(case: Case, clock_ms: int) -> Incident:
    """Return the incident as it is to be told now, as far as mere counts go."""
    return replace(
        case.order.incident,
        count=case.count,
        confidence=case.confidence,
        sources=case.sources,
        reporters=reporters_of(case.members.values()),
        updated_at_ms=clock_ms,
    )


def reporters_of(members: Iterable[Member]) -> tuple[str, ...]:
    """Return who reported any of the signals."""
    return tuple(sorted({reporter for member in members for reporter in member.reporters}))


def answer_of(members: Iterable[Member], before: Response | None = None) -> tuple[Response | None, int | None]:
    """Return how far the answer to an incident's alarm has come, and when it is general by itself.

    Two signals need no second look (S8), whatever each zone still waits for; and what was general stays so.
    """
    active = [member for member in members if member.is_active]
    alarms = [member for member in active if member.response]
    others = [member for member in active if not member.response and not member.raised.late]
    is_general = before is Response.GENERAL or any(member.response is Response.GENERAL for member in alarms)
    if is_general or len(alarms) > 1 or (alarms and others):
        return Response.GENERAL, None
    return (alarms[0].response, alarms[0].general_by_ms) if alarms else (None, None)


def turned(case: Case, signal: SignalRecord, world: World, clock_ms: int) -> Incident:
    """Return the incident of a `joined` case: its stage and priority rise, and the stage falls only to `RESTORED`."""
    incident = case.order.incident
    stage, category = incident.stage, incident.category
    timeline, priority, flagged = incident.timeline, incident.priority, incident.assistance
    if signal.kind is SignalKind.CLEARED:
        is_over = not any(member.is_active for member in case.members.values())
        stage = Stage.RESTORED if is_over and stage is Stage.PRE_ALARM else stage
    elif URGENCY.index(signal.stage) > URGENCY.index(stage):
        now = world.category(case.corrected[0] if case.corrected else signal.category, signal.family)
        stage, category, timeline = signal.stage, now.key, _timeline(signal)
        # What a person has said it is, is not made more urgent by more of the same evidence.
        flagged = flagged if case.corrected else flag_of(incident, world)
        priority = case.corrected[1] if case.corrected else min(priority, urgency(now.priority_at(stage), flagged))
    pictures = tuple(dict.fromkeys((*incident.evidence_ids, *signal.evidence_ids)))[:MAX_PICTURES]
    is_alias = signal.signal_id not in (incident.incident_id, *incident.aliases)
    response, general_by_ms = answer_of(case.members.values(), incident.response)
    return replace(
        counted(case, clock_ms),
        stage=stage,
        category=category,
        priority=priority,
        evidence_ids=pictures,
        aliases=(*incident.aliases, signal.signal_id) if is_alias else incident.aliases,
        late=incident.late and signal.late,
        timeline=timeline,
        response=response,
        general_by_ms=general_by_ms,
        assistance=flagged,
    )


def changes(before: Incident, after: Incident, signal: SignalRecord) -> tuple[str, ...]:
    """Return what is worth telling at once, as codes; nothing where only counts have changed."""
    is_up = URGENCY.index(after.stage) > URGENCY.index(before.stage) or after.priority < before.priority
    worth = {
        "MERGED": after.aliases != before.aliases,
        "RAISED": is_up,
        "RESTORED": after.stage is Stage.RESTORED and before.stage is not Stage.RESTORED,
        "CLEARED": signal.kind is SignalKind.CLEARED,
        "EVIDENCE": after.evidence_ids != before.evidence_ids,
        "FRESH": before.late and not after.late,
        "REPORTED": after.reporters != before.reporters,
    }
    answered = (after.response.name,) if after.response in _ANSWERED and after.response is not before.response else ()
    return (*(name for name, is_so in worth.items() if is_so), *answered, *newly_flagged(before, after))


def needs_new_chain(before: Incident, after: Incident) -> bool:
    """Whether others may have to be told than before."""
    now, then = (
        (one.priority, one.category, one.late, one.reporters, one.response is Response.GENERAL)
        for one in (after, before)
    )
    return now != then


def is_weighty(before: Incident, after: Incident) -> bool:
    """Whether a person who decided before would have to decide again."""
    then, now = ((one.stage, one.priority, one.aliases, one.response is Response.GENERAL) for one in (before, after))
    return then != now


def _timeline(signal: SignalRecord) -> Timeline:
    return replace(signal.timeline, decided_ms=signal.at_ms)
