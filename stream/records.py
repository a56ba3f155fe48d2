"""What stands in the logs: every record that changes a decision, so that a replay of the same log gives the same ids.

::

    obs        ObservationRecord | HeartbeatRecord | ControlRecord | TickRecord | VerdictRecord
                                                                                   partition: the street of the zone
    incidents  SignalRecord | DecisionRecord | LoadRecord | ControlRecord | TickRecord     one partition per tenant
    orders     OrderRecord                                                         one partition
    history    HistoryRecord | OrderedRecord | HeartbeatRecord                     partition as in `obs`
    dead       models.messages.DeadLetter

`at_ms` is stamped once, by the shell that appends the record. The core never looks at a clock: its time is the highest
`at_ms` so far of the log that it reads.
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec
from msgspec import Struct

from models.messages import Decision, DispatchOrder, Heartbeat, Load, Observation, Priority, Response, Stage, Timeline


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="record", gc=False):
    """Base of all records."""

    at_ms: int


class TimeSource(enum.StrEnum):
    """Where an event time comes from; `DEVICE` is its own word and is flagged."""

    MONO = "mono"
    DEVICE = "device"


class Located(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An observation with its event time and its place, both computed once, at ingest.

    Attributes:
        event_ms: sent minus age, by our clock, within one boot; else the device's own time.
        skew_ms: the device's wall clock minus ours, when it can be told.
        zone: the device's zone; `areas`: the area codes by layer at `position`.
    """

    observation: Observation
    zone: str
    event_ms: int
    time_source: TimeSource
    received_ms: int
    lon_e7: int
    lat_e7: int
    radius_m: float
    areas: dict[str, str]
    sent_ms: int | None = None
    inferred_ms: int | None = None
    skew_ms: int | None = None


class ObservationRecord(Record, frozen=True, kw_only=True, tag="observations"):
    """A batch for one partition: 1 to 512 observations in the order of arrival."""

    items: tuple[Located, ...]


class ControlRecord(Record, frozen=True, kw_only=True, tag="control"):
    """From here on, this version is in force. The content stands under `version` in the compacted `control` topic."""

    what: Literal["thresholds", "places", "people", "catalogue", "settings"]
    version: str


class TickRecord(Record, frozen=True, kw_only=True, tag="tick"):
    """Time has come without traffic: a deadline is due.

    Attributes:
        zones: in `obs`, the zones it is due for, in byte order: the tick is applied to exactly these.
    """

    zones: tuple[str, ...] = ()


Verdict = Literal["confirm", "clear", "close", "acknowledge", "investigate"]


class VerdictRecord(Record, frozen=True, kw_only=True, tag="verdict"):
    """What a person decided about a zone's signal, sent back by the desk.

    Attributes:
        origin: (offset, n) in `incidents`: a replayed desk says it again, and it counts once.
        seen: (offset, n) in `obs` of the last word of this signal that the desk had heard. An alarm after it is not
            closed by this verdict.
    """

    zone: str
    signal_id: str
    verdict: Verdict
    origin: tuple[int, int]
    seen: tuple[int, int] = (-1, -1)


class Origin(Struct, frozen=True, array_like=True, gc=False):
    """Where in `obs` something comes from. A crash makes the same origin twice; that counts once.

    `n` is the index of the observation in its record; of a signal, that times `MAX_OUTPUTS`, and a count.
    """

    partition: int
    offset: int
    n: int


class SignalKind(enum.StrEnum):
    """What a zone's state machine says."""

    RAISED = "raised"
    ESCALATED = "escalated"
    EVIDENCE = "evidence"
    CLEARED = "cleared"
    CANARY = "canary"


class SignalRecord(Record, frozen=True, kw_only=True, tag="signal"):
    """A zone's state machine speaks to the desk.

    Attributes:
        signal_id: id of the incident that this signal makes, if the desk does not merge it into another.
        category: what it is at this stage, by the catalogue that the zone knew.
        family: `fire`, `gas`, ...: what may be merged with what.
        count: observations that counted as evidence since the last record of this signal.
        reporters: ids of persons or posts that reported it.
        response: how far the answer to an alarm has come; `general_by_ms`: here it is general by itself.
        reasons: why, as codes (`MIN_HITS`, `SECOND_DEVICE`, `VERIFY_EXPIRED`, `CONFIRMED`, `SINGLE_OK`, ...).
    """

    origin: Origin
    signal_id: str
    kind: SignalKind
    stage: Stage
    zone: str
    category: str
    family: str
    label: str
    confidence: float
    device_id: str
    sources: tuple[str, ...]
    count: int
    event_ms: int
    lon_e7: int
    lat_e7: int
    radius_m: float
    areas: dict[str, str]
    evidence_ids: tuple[str, ...] = ()
    late: bool = False
    rule_version: str = ""
    reasons: tuple[str, ...] = ()
    timeline: Timeline = Timeline()
    reporters: tuple[str, ...] = ()
    response: Response | None = None
    general_by_ms: int | None = None


class DecisionRecord(Record, frozen=True, kw_only=True, tag="decision"):
    """A person's decision, back from `alerts`."""

    decision: Decision


class LoadRecord(Record, frozen=True, kw_only=True, tag="load"):
    """How much some persons have on their hands, from `alerts`."""

    loads: tuple[Load, ...]


class OrderRecord(Record, frozen=True, kw_only=True, tag="order"):
    """An order on its way out. Egress puts the log's id and this record's offset into `outbox_id` and `seq`."""

    order: DispatchOrder


class Outcome(enum.StrEnum):
    """What became of one observation, for the history."""

    BELOW = "below"
    HIT = "hit"
    PRE_ALARM = "pre_alarm"
    ALARM = "alarm"
    EVIDENCE = "evidence"
    NEVER_ALARMS = "never_alarms"
    RECORDED = "recorded"


class HistoryItem(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One observation that was not a duplicate, and the decision on it."""

    origin: Origin
    outcome: Outcome
    rule_version: str
    located: Located
    signal_id: str | None = None


class HistoryRecord(Record, frozen=True, kw_only=True, tag="history"):
    """The decisions on one record of `obs`."""

    items: tuple[HistoryItem, ...]


class OrderedRecord(Record, frozen=True, kw_only=True, tag="ordered"):
    """One revision of one order, for the history: what it was about, and how long the way there took.

    Attributes:
        origin: (offset, n) in `incidents`: a crash may make the same order twice; that counts once.
    """

    origin: tuple[int, int]
    incident_id: str
    revision: int
    category: str
    priority: Priority
    stage: Stage
    lead_unit: str
    lead_post: str
    timeline: Timeline

    @property
    def latency_ms(self) -> int | None:
        """From the moment the device saw it to the order in the log; None where the timeline does not tell."""
        captured, matched = self.timeline.captured_ms, self.timeline.matched_ms
        return None if captured is None or matched is None else matched - captured


class HeartbeatRecord(Record, frozen=True, kw_only=True, tag="heartbeat"):
    """What devices said of themselves, with the zones that they stand in."""

    heartbeats: tuple[Heartbeat, ...]
    zones: tuple[str, ...]


def ordered(order: DispatchOrder, origin: tuple[int, int], at_ms: int) -> OrderedRecord:
    """Return what the history keeps of an order that came into the log at `at_ms`."""
    incident = order.incident
    return OrderedRecord(
        at_ms=at_ms,
        origin=origin,
        incident_id=incident.incident_id,
        revision=order.revision,
        category=incident.category,
        priority=incident.priority,
        stage=incident.stage,
        lead_unit=order.lead_unit,
        lead_post=order.lead_post,
        timeline=msgspec.structs.replace(incident.timeline, matched_ms=at_ms),
    )


HistoryLog = HistoryRecord | OrderedRecord | HeartbeatRecord
ObsLog = ObservationRecord | ControlRecord | TickRecord | VerdictRecord | HeartbeatRecord
IncidentsLog = SignalRecord | DecisionRecord | LoadRecord | ControlRecord | TickRecord

_encoder = msgspec.json.Encoder()
encode = _encoder.encode
decode_obs = msgspec.json.Decoder(ObsLog).decode
decode_incidents = msgspec.json.Decoder(IncidentsLog).decode
decode_order = msgspec.json.Decoder(OrderRecord).decode
decode_history = msgspec.json.Decoder(HistoryLog).decode


def history_items(value: bytes) -> tuple[HistoryItem, ...]:
    """Return the decisions in a record of `history`; none in one of another kind."""
    record = decode_history(value)
    return record.items if isinstance(record, HistoryRecord) else ()
