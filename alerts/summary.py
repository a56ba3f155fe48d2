"""What happened so far, in short: read from the ledger alone, by whoever may read its file."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import asdict

from alerts.casebook import Casebook
from alerts.ledger import Ledger
from alerts.names import Names
from models.config import Config
from models.messages import Priority, Stage


class IncidentSummary(Struct, frozen=True, kw_only=True):
    """One incident, of whatever stage."""

    incident_id: str
    category: str
    stage: Stage
    priority: Priority
    cell: str | None
    evidence_count: int
    state: str


class Addressee(Struct, frozen=True, kw_only=True):
    """Who was told."""

    post: str
    person: str
    name: str
    name_en: str


class AlertSummary(Struct, frozen=True, kw_only=True):
    """One alert that was sent."""

    alert_id: str
    incident_id: str
    to: Addressee
    step: int
    reason: tuple[str, ...]


class Summary(Struct, frozen=True, kw_only=True):
    """Incidents and alerts in the order in which they came, and the stage times of the first alert in ms.

    Attributes:
        timeline_ms: POSIX ms by stage (`captured`, `inferred`, ..., `notified`, `acked`); what has no time is left out.
    """

    incidents: tuple[IncidentSummary, ...]
    alerts: tuple[AlertSummary, ...]
    timeline_ms: dict[str, int]


def summary(config: Config) -> Summary:
    """Return the summary of the ledger of `config`, which is opened for reading only.

    Raises:
        StorageError: there is no ledger.
        ConfigError: the names cannot be read.
    """
    ledger = Ledger.open_read_only(config)
    book = Casebook()
    try:
        for entry in ledger.read():
            book.apply(entry)
    finally:
        ledger.close()
    return summarise(book, Names.load(config))


def summarise(book: Casebook, names: Names) -> Summary:
    """Return the summary of `book`."""
    incidents, alerts = [], []
    first: tuple[int, str] | None = None
    for case in book.cases.values():
        incident = case.order.incident
        incidents.append(
            IncidentSummary(
                incident_id=incident.incident_id,
                category=incident.category,
                stage=incident.stage,
                priority=incident.priority,
                cell=incident.areas.get("cell"),
                evidence_count=incident.count,
                state=case.state,
            )
        )
        for telling in case.tellings.values():
            if telling.sent_ms is None:
                continue
            intent, name = telling.intent, names.person(telling.intent.person)
            to = Addressee(post=intent.post, person=intent.person, name=name.zh, name_en=name.en)
            alert = AlertSummary(
                alert_id=intent.alert_id,
                incident_id=case.incident_id,
                to=to,
                step=intent.step,
                reason=intent.reasons,
            )
            alerts.append((telling.sent_ms, alert))
            first = min(first or (telling.sent_ms, case.incident_id), (telling.sent_ms, case.incident_id))
    alerts.sort(key=lambda pair: pair[0])
    times = asdict(book.cases[first[1]].timeline) if first else {}
    return Summary(
        incidents=tuple(incidents),
        alerts=tuple(alert for _, alert in alerts),
        timeline_ms={stage.removesuffix("_ms"): at_ms for stage, at_ms in times.items() if at_ms is not None},
    )
