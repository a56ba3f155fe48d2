"""The messages that cross a process border: frozen, strict, plain values, JSON on the wire.

Times are int POSIX milliseconds UTC unless a name says ``mono``: then they count the sender's boot clock
(``CLOCK_BOOTTIME``), which never jumps and starts anew with each `boot_id`.

The hop contract is the same on every hop: a sender keeps a message until the receiver has said that it is stored; a
receiver may get it twice and does nothing the second time. `Ack` names exactly what was stored.

A change of meaning is a new version: `decode` refuses a version that it does not know.
"""

from __future__ import annotations

import enum
import re
from itertools import chain
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from models.errors import MessageError, Reason

VERSION: Final = 1
MAX_PAYLOAD_BYTES: Final = 64 * 1024
"""What ingest takes; the broker's own limit is far above, so that an offender is told apart from a dead link."""
MAX_BATCH: Final = 256
MAX_EVIDENCE_BYTES: Final = 512 * 1024

_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]*$"
Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=_ID)]
BatchId = Annotated[str, Meta(min_length=1, max_length=64, extra_json_schema={"pattern": _ID})]
"""An `Id` whose pattern `ObservationBatch` checks, once for all its observations: three for each took longer than all
else that decoding does, and a log has them checked already."""
_is_id: Final = re.compile(_ID).search
Ms = Annotated[int, Meta(ge=0, le=1 << 53)]
Seq = Annotated[int, Meta(ge=1, le=1 << 53)]
Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Finite = Annotated[float, Meta(ge=-1e12, le=1e12)]
"""JSON has no infinity: one that came in as 1e999 would go out as null, which nobody could read any more."""
Degrees = Annotated[float, Meta(ge=-180.0, le=180.0)]


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Base of everything here: frozen, keyword-only, unknown fields refused.

    Plain values make no cycles, so the garbage collector need not look at them: with a batch in memory it would look at
    little else.
    """


class Lane(enum.StrEnum):
    """The two lanes of an outbox: alarms go first and are dropped last."""

    ALARM = "alarm"
    TELEMETRY = "telemetry"


class Quality(enum.StrEnum):
    """How an observation came. `LATE` is a first delivery and may alarm; `REPLAYED` never does."""

    LIVE = "live"
    LATE = "late"
    REPLAYED = "replayed"
    TEST = "test"


class Stage(enum.StrEnum):
    """How far a signal has come."""

    PRE_ALARM = "pre_alarm"
    ALARM = "alarm"
    RESTORED = "restored"


class Response(enum.StrEnum):
    """How far the answer to an urgent alarm has come (S6 to S8).

    One source alone may be looked into before the neighbours are told, for a short while; every other alarm is
    `GENERAL` at once, and none ever goes back from there.
    """

    AWAITED = "awaited"
    ACKNOWLEDGED = "acknowledged"
    INVESTIGATING = "investigating"
    GENERAL = "general"


HELD: Final = frozenset({Response.AWAITED, Response.ACKNOWLEDGED, Response.INVESTIGATING})
"""While the answer has come so far, the alarm is not general."""


class Priority(enum.StrEnum):
    """P1 is the most urgent."""

    P1 = "P1"
    P2 = "P2"
    P3 = "P3"
    P4 = "P4"


# --- what devices send ---------------------------------------------------------------------------------------------


class Detection(Message, frozen=True, kw_only=True, tag_field="kind", tag="detection"):
    """What a detector saw in one frame.

    Attributes:
        box: x1 y1 x2 y2 in 0..1 of the frame.
        track_id: unique within one boot of the agent.
        hits: frames in which this track was seen above the publishing floor so far.
        first_seen_ms: wall time of the track's first frame.
        growth: relative growth of the box area per second.
        evidence_id: the picture sent beside it, if any.
    """

    detector: str
    detector_version: str
    label: Annotated[str, Meta(max_length=64)]
    confidence: Unit
    box: tuple[Unit, Unit, Unit, Unit]
    track_id: str
    hits: Annotated[int, Meta(ge=1)]
    first_seen_ms: Ms
    growth: Finite | None = None
    flicker: Finite | None = None
    dwell_s: Finite | None = None
    static: bool | None = None
    occupancy: Unit | None = None
    evidence_id: Id | None = None


class Reading(Message, frozen=True, kw_only=True, tag_field="kind", tag="reading"):
    """What a sensor measured. `unit` is UCUM (`Cel`, `ppm`, `1` for a plain yes/no or share)."""

    property: Annotated[str, Meta(max_length=64)]
    value: Finite
    unit: Annotated[str, Meta(max_length=16)]


class ButtonPress(Message, frozen=True, kw_only=True, tag_field="kind", tag="button"):
    """Somebody pressed a call point."""

    button: Annotated[str, Meta(max_length=64)] = "manual"


class Report(Message, frozen=True, kw_only=True, tag_field="kind", tag="report"):
    """A resident's or an officer's report; the reporter is a post or a person id, never a description."""

    category: Annotated[str, Meta(max_length=64)]
    text: Annotated[str, Meta(max_length=2000)] = ""


OFFLINE: Final = "offline"
"""The fault of a device of which another says that it is gone, such as a broker by its last will."""
NO_FAULT: Final = "none"
"""The fault of a device that had one and can do its duty again."""


class Fault(Message, frozen=True, kw_only=True, tag_field="kind", tag="fault"):
    """A device cannot do its duty: `frozen`, `dark`, `covered`, `no_source`, `detector_failed`, ...; or again can."""

    fault: Annotated[str, Meta(max_length=64)]
    detail: Annotated[str, Meta(max_length=500)] = ""


CANARY: Final = "canary"
"""Label of the self-test that goes the whole way, and the category of what comes of it."""


class SelfTest(Message, frozen=True, kw_only=True, tag_field="kind", tag="test"):
    """A drill or a canary: travels the whole chain and never alarms."""

    label: Annotated[str, Meta(max_length=64)] = CANARY


class Dropped(Message, frozen=True, kw_only=True, tag_field="kind", tag="dropped"):
    """The outbox was full: these seqs of its `lane` were dropped on purpose, so a drop is never taken for a loss.

    Attributes:
        ranges: inclusive (first, last) pairs.
    """

    lane: Lane
    ranges: tuple[tuple[Seq, Seq], ...]


Payload = Detection | Reading | ButtonPress | Report | Fault | SelfTest | Dropped


class Timeline(Message, frozen=True, kw_only=True):
    """Stage times of one alert, so that the latency of each real alert can be shown on its own page.

    `captured_ms` and `inferred_ms` are corrected to the receiver's clock; the rest are wall times of the stage.
    """

    captured_ms: Ms | None = None
    inferred_ms: Ms | None = None
    queued_ms: Ms | None = None
    sent_ms: Ms | None = None
    ingested_ms: Ms | None = None
    decided_ms: Ms | None = None
    matched_ms: Ms | None = None
    ordered_ms: Ms | None = None
    stored_ms: Ms | None = None
    notified_ms: Ms | None = None
    acked_ms: Ms | None = None


class Position(Message, frozen=True, kw_only=True):
    """A WGS-84 point with the radius in which the thing may really be."""

    lon_deg: Degrees
    lat_deg: Annotated[float, Meta(ge=-90.0, le=90.0)]
    radius_m: Annotated[float, Meta(ge=0.0, le=100_000.0)] = 15.0


class Observation(Message, frozen=True, kw_only=True):
    """One thing that a device saw, measured or was told.

    (`device_id`, `outbox_id`, `lane`, `seq`) names it for ever: seqs count per device and lane and are never reused.
    `inferred_mono_ms` is when the detector was done with the frame.
    """

    device_id: BatchId
    outbox_id: BatchId
    boot_id: BatchId
    lane: Lane
    seq: Seq
    observed_at_ms: Ms
    observed_mono_ms: Ms
    payload: Payload
    v: Literal[1] = 1
    quality: Quality = Quality.LIVE
    inferred_mono_ms: Ms | None = None
    position: Position | None = None
    reporter: Id | None = None


class ObservationBatch(Message, frozen=True, kw_only=True):
    """The payload of an `obs` topic: 1 to 256 observations of one device, at most 64 KiB in all.

    `sent_at_ms` and `sent_mono_ms` are read together, just before sending: the difference to an observation's mono
    time, within one boot, is its age, whatever the wall clock says.
    """

    v: int
    boot_id: Id
    sent_at_ms: Ms
    sent_mono_ms: Ms
    observations: Annotated[tuple[Observation, ...], Meta(min_length=1, max_length=MAX_BATCH)]

    def __post_init__(self) -> None:
        """Check the ids of the observations, each once.

        Raises:
            ValueError: one of them is none.
        """
        ids = {(one.device_id, one.outbox_id, one.boot_id) for one in self.observations}
        for name in set(chain.from_iterable(ids)):
            if not _is_id(name):
                raise ValueError(f"{name!r} is no id of an observation")


class Heartbeat(Message, frozen=True, kw_only=True):
    """Comes from the inference loop, so that a hung detector cannot look alive."""

    v: int
    device_id: Id
    at_ms: Ms
    frame_age_ms: int | None
    fps: Finite
    inference_p50_ms: Finite | None
    inference_p99_ms: Finite | None
    outbox_depth: int
    oldest_unsent_ms: int | None = None
    temperature_c: Finite | None = None
    config_version: str = ""


class Status(Message, frozen=True, kw_only=True):
    """Retained, and the last will: `online` false under another `connect_id` than the one held is ignored."""

    v: int
    device_id: Id
    connect_id: Id
    online: bool
    at_ms: Ms


class Evidence(Message, frozen=True, kw_only=True):
    """The head line of an evidence message: a JSON line and its seal, then the JPEG bytes as they are.

    `box` is what the picture is about, x1 y1 x2 y2 in 0..1, for the page to draw.
    """

    v: int
    evidence_id: Id
    device_id: Id
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    captured_at_ms: Ms
    redaction: str
    media_type: str = "image/jpeg"
    box: tuple[Unit, Unit, Unit, Unit] | None = None


class Ack(Message, frozen=True, kw_only=True):
    """What was stored, exactly; the sender deletes exactly that.

    Attributes:
        stored: inclusive (first, last) ranges of seqs of `outbox_id` and `lane`.
        evidence: (evidence_id, SHA-256) pairs.
        retired: this outbox is refused for ever: stop sending it and say so.
    """

    v: int
    receiver: Literal["stream", "alerts"]
    outbox_id: Id | None = None
    lane: str | None = None
    stored: tuple[tuple[Seq, Seq], ...] = ()
    evidence: tuple[tuple[Id, str], ...] = ()
    retired: bool = False


# --- what the stream decides ---------------------------------------------------------------------------------------


class Incident(Message, frozen=True, kw_only=True):
    """One real thing in one place.

    Attributes:
        incident_id: hash of the first evidence in log order; never changes, contains no time.
        aliases: ids of incidents that were merged into this one.
        areas: area codes by layer: `cell`, `node`, `line`, `exclusive`.
        evidence_ids: pictures, oldest first, at most 16.
        count: observations that count as evidence so far.
        sources: device ids that contributed.
        label: what was seen, as the detector or sensor names it (`fire`, `smoke`, `temperature`, ...).
        late: first evidence was older than `late_alarm_s`: for the command seat.
        reporters: ids of persons or posts that reported it: they are not asked to handle it.
        response: how far the answer to an urgent alarm has come; None for all else.
        general_by_ms: here an alarm that is held back becomes general, unless somebody says more.
        assistance: code of the flagged place for which it is one step more urgent than its category.
    """

    incident_id: Id
    category: str
    family: str
    priority: Priority
    stage: Stage
    position: Position
    areas: dict[str, str]
    opened_at_ms: Ms
    updated_at_ms: Ms
    label: str
    confidence: Unit
    count: int
    sources: tuple[Id, ...]
    evidence_ids: tuple[Id, ...] = ()
    aliases: tuple[Id, ...] = ()
    late: bool = False
    timeline: Timeline = Timeline()
    reporters: tuple[Id, ...] = ()
    response: Response | None = None
    general_by_ms: Ms | None = None
    assistance: str | None = None


class Candidate(Message, frozen=True, kw_only=True):
    """Somebody who may be asked at a step, and why he is in this place of the order.

    Attributes:
        duty_until_ms: end of the shift that makes him a candidate, exclusive.
        quiet_from_ms: of P3 and P4 alone: from then on he is not to be called, until
        quiet_until_ms: this moment; both 0: he may be called at any time.
        reasons: codes such as `INSIDE_CELL`, `DEPUTY`, `OVER_LOAD`.
    """

    post: Id
    person: Id
    duty_from_ms: Ms
    duty_until_ms: Ms
    quiet_from_ms: Ms = 0
    quiet_until_ms: Ms = 0
    reasons: tuple[str, ...] = ()


class OrderStep(Message, frozen=True, kw_only=True):
    """One step of the chain: who is told when, counted from the moment `alerts` stored the order.

    Attributes:
        step: 0..5 as in the catalogue's chain table; the command seat is step 0 with `seat` true.
        at_once: tell all candidates at the offset (P1), else one after the other.
    """

    step: int
    offset_ms: Ms
    mode: Literal["alert", "digest", "list"]
    candidates: tuple[Candidate, ...]
    at_once: bool = False
    seat: bool = False
    reasons: tuple[str, ...] = ()


class Versions(Message, frozen=True, kw_only=True):
    """What decided: hashes of the config in force and the detector.

    Attributes:
        roster: of the shifts and swaps alone, which change more often than the people do.
    """

    places: str
    people: str
    catalogue: str
    thresholds: str = ""
    roster: str = ""


class DispatchOrder(Message, frozen=True, kw_only=True):
    """An incident and everything `alerts` needs to act on it, self-contained.

    A higher `revision` replaces the steps; `alert_id`s do not depend on it, so nobody is told twice.
    (`outbox_id`, `seq`) is what `alerts` names in its `Ack`. `basis` is the rule by which `lead_unit` leads.
    """

    v: int
    outbox_id: Id
    seq: Seq
    revision: Annotated[int, Meta(ge=1)]
    incident: Incident
    lead_unit: str
    lead_post: str
    co_units: tuple[tuple[str, Literal["mandatory", "informed"]], ...]
    steps: tuple[OrderStep, ...]
    co_tellings: tuple[Candidate, ...] = ()
    plan_ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    versions: Versions
    ordered_at_ms: Ms
    basis: str = ""


class DecisionKind(enum.StrEnum):
    """What a person may decide about an incident."""

    CONFIRM = "confirm"
    CLEAR = "clear"
    ACKNOWLEDGE = "acknowledge"
    INVESTIGATE = "investigate"
    CORRECT = "correct"
    ASSIGN = "assign"
    CLOSE = "close"
    CANCEL = "cancel"
    REOPEN = "reopen"
    MERGE = "merge"
    SPLIT = "split"
    REMATCH = "rematch"


class Decision(Message, frozen=True, kw_only=True):
    """A person's decision on its way back into the log. (`outbox_id`, `seq`) is what `stream` names in its `Ack`.

    Attributes:
        into: of `merge`: the incident that takes this one over.
        signals: of `split`: ids, among the aliases, that become an incident of their own.
        category: of `correct`: what it really is, with
        priority: its priority where it is not the category's.
        post: of `assign`: who leads from now on.
    """

    v: int
    outbox_id: Id
    seq: Seq
    incident_id: Id
    expected_revision: int
    kind: DecisionKind
    by: Id
    at_ms: Ms
    reason: str = ""
    into: Id | None = None
    signals: tuple[Id, ...] = ()
    category: Annotated[str, Meta(max_length=64)] | None = None
    priority: Priority | None = None
    post: Id | None = None


class Load(Message, frozen=True, kw_only=True):
    """Open cases of a person, retained. `open` counts by priority."""

    v: int
    person: Id
    open: dict[Priority, int]
    at_ms: Ms


# --- what officers get and say -------------------------------------------------------------------------------------


class Alert(Message, frozen=True, kw_only=True):
    """One telling of one post and person at one step. A resend has the same `alert_id`."""

    v: int
    alert_id: Id
    incident_id: Id
    post: Id
    person: Id
    step: int
    reason: tuple[str, ...]
    channel: Literal["mqtt", "push", "email", "webhook", "sms", "robot"]
    priority: Priority
    stage: Stage
    category: str
    headline_zh: str
    headline_en: str
    position: Position
    areas: dict[str, str]
    evidence_ids: tuple[Id, ...]
    sent_at_ms: Ms
    expires_at_ms: Ms
    timeline: Timeline = Timeline()


class ReceiptKind(enum.StrEnum):
    """What an officer says, or his device for him."""

    DELIVERED = "delivered"
    READ = "read"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    ARRIVED = "arrived"
    DONE = "done"


class Receipt(Message, frozen=True, kw_only=True):
    """An officer's answer to an alert, on ``gw/v1/<tenant>/<person>/receipt`` or by the page."""

    v: int
    alert_id: Id
    kind: ReceiptKind
    by: Id
    at_ms: Ms
    reason: str = ""


class Command(Message, frozen=True, kw_only=True):
    """Something a device shall do; `counter` must grow."""

    v: int
    command_id: Id
    kind: Literal["look", "siren", "self_test", "logs", "reference_frame", "update"]
    counter: int
    expires_at_ms: Ms
    argument: str = ""


class DeadLetter(Message, frozen=True, kw_only=True):
    """What could not be taken: why, from where, and enough of it to recognise and replay it.

    Attributes:
        head_b64: the first 4 KiB, base64.
    """

    v: int
    reason: Reason
    detail: str
    source: str
    at_ms: Ms
    size_bytes: int
    sha256: str
    head_b64: str


WIRE: Final[tuple[type[Message], ...]] = (
    ObservationBatch,
    Heartbeat,
    Status,
    Evidence,
    Ack,
    DispatchOrder,
    Decision,
    Load,
    Alert,
    Receipt,
    Command,
    DeadLetter,
)
"""Everything that a JSON Schema is written of."""

M = TypeVar("M", bound=Message)
_encoder = msgspec.json.Encoder()
_decoders: dict[type[Message], msgspec.json.Decoder[Any]] = {}


class _Peek(Struct):
    v: int


_peek = msgspec.json.Decoder(_Peek)


def encode(message: Message) -> bytes:
    """Return `message` as one line of JSON."""
    return _encoder.encode(message)


def decode(data: bytes, kind: type[M]) -> M:
    """Return `data` as a `kind`.

    Raises:
        MessageError: not JSON, a version we do not know, or another shape; the reason says which.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        message: M = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise MessageError(_why(data), str(exc)[:300]) from exc
    version = getattr(message, "v", VERSION)
    if version != VERSION:
        raise MessageError(Reason.UNKNOWN_VERSION, f"version {version}, this program knows {VERSION}")
    return message


def _why(data: bytes) -> Reason:
    """Tell noise, an unknown version and a wrong shape apart; only ever called for what failed to decode."""
    try:
        version = _peek.decode(data).v
    except msgspec.ValidationError:
        return Reason.WRONG_SHAPE
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Reason.NOT_UTF8_JSON
    return Reason.WRONG_SHAPE if version == VERSION else Reason.UNKNOWN_VERSION
