"""What stands in the logs: every record that changes a decision, so that a replay of the same log gives the same ids.

::

    obs        ObservationRecord | HeartbeatRecord | ConnectionRecord | ControlRecord | TickRecord | VerdictRecord
               | MoveRecord | ParcelRecord                                         partition: the street of the zone
    incidents  SignalRecord | SignalsRecord | DecisionRecord | LoadRecord | ControlRecord | TickRecord
                                                                                   one partition per tenant
    orders     OrderRecord                                                         one partition
    history    HistoryRecord | OrderedRecord | OrderedRecords | HeartbeatRecord    partition as in `obs`
    dead       models.messages.DeadLetter

`at_ms` is stamped once, by the shell that appends the record. The core never looks at a clock: its time is the highest
`at_ms` so far of the log that it reads.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Literal, NamedTuple

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


class Said(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one device said in one message: what its observations share stands here once. The rest is as of `Located`.

    Attributes:
        observations: at least one, all of one device.
        event_ms: of each of them.
        inferred_ms: of each of them; empty where it is known of none.
    """

    zone: str
    time_source: TimeSource
    received_ms: int
    lon_e7: int
    lat_e7: int
    radius_m: float
    areas: dict[str, str]
    observations: tuple[Observation, ...]
    event_ms: tuple[int, ...]
    sent_ms: int | None = None
    inferred_ms: tuple[int | None, ...] = ()
    skew_ms: int | None = None

    def located(self, k: int) -> Located:
        """Return one of its observations by itself."""
        return Located(
            observation=self.observations[k],
            zone=self.zone,
            event_ms=self.event_ms[k],
            time_source=self.time_source,
            received_ms=self.received_ms,
            lon_e7=self.lon_e7,
            lat_e7=self.lat_e7,
            radius_m=self.radius_m,
            areas=self.areas,
            sent_ms=self.sent_ms,
            inferred_ms=self.inferred_ms[k] if self.inferred_ms else None,
            skew_ms=self.skew_ms,
        )


def said_of(located: Located) -> Said:
    """Return an observation as all that its device said."""
    return Said(
        observations=(located.observation,),
        zone=located.zone,
        event_ms=(located.event_ms,),
        time_source=located.time_source,
        received_ms=located.received_ms,
        lon_e7=located.lon_e7,
        lat_e7=located.lat_e7,
        radius_m=located.radius_m,
        areas=located.areas,
        sent_ms=located.sent_ms,
        inferred_ms=() if located.inferred_ms is None else (located.inferred_ms,),
        skew_ms=located.skew_ms,
    )


class ObservationRecord(Record, frozen=True, kw_only=True, tag="observations"):
    """A batch for one partition: 1 to 512 observations in the order of arrival. Their places in it count from 0.

    Attributes:
        said: by message and device.
        items: one by one, as an older log has them.
    """

    said: tuple[Said, ...] = ()
    items: tuple[Located, ...] = ()

    @property
    def count(self) -> int:
        """How many observations these are."""
        return sum(len(said.observations) for said in self.said) + len(self.items)

    def parts(self) -> tuple[Said, ...]:
        """Return all of it by message and device."""
        return (*self.said, *map(said_of, self.items)) if self.items else self.said

    def located(self) -> list[Located]:
        """Return all of it one by one."""
        return [said.located(k) for said in self.parts() for k in range(len(said.observations))]


class GatheredRecord(Record, frozen=True, kw_only=True, tag="observations"):
    """An `ObservationRecord` whose parts are written already: in the log it is the same."""

    said: tuple[msgspec.Raw, ...]


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
        moves: how often the zone had moved before that word: offsets of two partitions do not compare.
        partition: of `obs`, where the signal was raised; if the zone has moved since, it is passed on from there.
    """

    zone: str
    signal_id: str
    verdict: Verdict
    origin: tuple[int, int]
    seen: tuple[int, int] = (-1, -1)
    moves: int = 0
    partition: int = 0


class Home(Struct, frozen=True, array_like=True, gc=False):
    """Where something is remembered: in the row of a zone, in a partition of `obs`."""

    zone: str
    partition: int


class MoveRecord(Record, frozen=True, kw_only=True, tag="move"):
    """What a zone, or one device of it, is remembered by goes elsewhere from here on (`stream.zones.migration`).

    Attributes:
        move: names the move: nothing is moved twice by one.
        zone: whose row is to give it away.
        device: None: the whole zone goes.
        to: where it goes.
    """

    move: str
    zone: str
    to: Home
    device: str | None = None


class ParcelRecord(Record, frozen=True, kw_only=True, tag="parcel"):
    """What was given away, where it goes.

    Attributes:
        zone: whose row takes it in; of a device, that is another zone than it came from.
        row: a `stream.zones.row.ZoneRow`, as it is stored.
    """

    move: str
    zone: str
    row: bytes
    device: str | None = None


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
        moves: how often the zone has moved (`VerdictRecord.moves`).
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
    moves: int = 0


class SignalsRecord(Record, frozen=True, kw_only=True, tag="signals"):
    """What the zones say of one record of `obs`, in the order of its origins: the desk hears one after the other."""

    signals: tuple[SignalRecord, ...]


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
    """What became of one observation, for the history.

    `NOT_EVALUABLE` is below, too, but a fast rise would have counted, and the samples are too few to tell one.
    """

    BELOW = "below"
    NOT_EVALUABLE = "not_evaluable"
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
    """The decisions on one record of `obs`.

    Attributes:
        place: its partition and offset.
        obs: the record as it stands there.
        rule_version: by which it was decided.
        outcomes: of each of its observations; None of one that had come before, or was set aside.
        signal_ids: of the signals to which observations belong, by their places in the record.
        items: one by one, as an older log has them.
    """

    place: tuple[int, int] = (-1, -1)
    obs: msgspec.Raw = msgspec.Raw(b"null")
    rule_version: str = ""
    outcomes: tuple[Outcome | None, ...] = ()
    signal_ids: dict[int, str] = {}
    items: tuple[HistoryItem, ...] = ()

    @property
    def count(self) -> int:
        """How many decisions these are."""
        return len(self.items) + len(self.outcomes) - self.outcomes.count(None)

    def decided(self) -> Iterator[Decided]:
        """Give the decisions in the order of the observations."""
        for item in self.items:
            yield Decided(item.origin, item.rule_version, said_of(item.located), 0, item.outcome, item.signal_id)
        if not self.outcomes:
            return
        observed = decode_obs(self.obs)
        assert isinstance(observed, ObservationRecord)
        outcomes, signal_id_at = self.outcomes, self.signal_ids.get
        partition, offset = self.place
        n = 0
        for said in observed.parts():
            for k in range(len(said.observations)):
                if (outcome := outcomes[n]) is not None:
                    yield Decided(Origin(partition, offset, n), self.rule_version, said, k, outcome, signal_id_at(n))
                n += 1


class Decided(NamedTuple):
    """The decision on one observation, the `k`-th of what was `said`, of a record at `origin`."""

    origin: Origin
    rule_version: str
    said: Said
    k: int
    outcome: Outcome
    signal_id: str | None

    def item(self) -> HistoryItem:
        """Return it as it stands by itself."""
        return HistoryItem(
            origin=self.origin,
            outcome=self.outcome,
            rule_version=self.rule_version,
            located=self.said.located(self.k),
            signal_id=self.signal_id,
        )


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


class OrderedRecords(Record, frozen=True, kw_only=True, tag="all_ordered"):
    """The orders that came of one record of `incidents`, for the history."""

    orders: tuple[OrderedRecord, ...]


class HeartbeatRecord(Record, frozen=True, kw_only=True, tag="heartbeat"):
    """What devices said of themselves, with the zones that they stand in."""

    heartbeats: tuple[Heartbeat, ...]
    zones: tuple[str, ...]


class Connection(Struct, frozen=True, array_like=True, gc=False):
    """Over which connection a device is heard, and whether that still stands.

    Attributes:
        agent: whose connection it is: the device itself, or who speaks for it.
    """

    device_id: str
    zone: str
    agent: str
    connect_id: str
    is_online: bool


class ConnectionRecord(Record, frozen=True, kw_only=True, tag="connection"):
    """What agents, or their last wills, have said of their connections: of each device that is heard over one.

    Each worker hears all of it and says it, so that it comes several times: a zone's row knows what it has heard.
    """

    connections: tuple[Connection, ...]


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
ObsLog = (
    ObservationRecord
    | ControlRecord
    | TickRecord
    | VerdictRecord
    | HeartbeatRecord
    | ConnectionRecord
    | MoveRecord
    | ParcelRecord
)
IncidentsLog = SignalRecord | SignalsRecord | DecisionRecord | LoadRecord | ControlRecord | TickRecord

_encoder = msgspec.json.Encoder()
encode = _encoder.encode
decode_obs = msgspec.json.Decoder(ObsLog).decode
decode_incidents = msgspec.json.Decoder(IncidentsLog).decode
decode_order = msgspec.json.Decoder(OrderRecord).decode
decode_history = msgspec.json.Decoder(HistoryLog | OrderedRecords).decode


def history_items(value: bytes) -> tuple[HistoryItem, ...]:
    """Return the decisions in a record of `history`; none in one of another kind."""
    record = decode_history(value)
    return tuple(decided.item() for decided in record.decided()) if isinstance(record, HistoryRecord) else ()


def signals_of(value: bytes) -> tuple[SignalRecord, ...]:
    """Return the signals in a record of `incidents`; none in one of another kind."""
    record = decode_incidents(value)
    if isinstance(record, SignalsRecord):
        return record.signals
    return (record,) if isinstance(record, SignalRecord) else ()
