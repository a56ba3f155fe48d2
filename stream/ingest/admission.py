"""Who may say what, and when it was: from an MQTT payload to what was said, when and where.

Pure. The seal is believed, not the broker; the device's boot clock is believed, not its wall clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from msgspec.structs import replace

from models import messages, topics
from models.errors import MessageError, Reason
from models.geo import PointE7, point_e7
from models.messages import (
    MAX_PAYLOAD_BYTES,
    Ack,
    Decision,
    Heartbeat,
    Load,
    Observation,
    ObservationBatch,
    Position,
    Quality,
    Report,
    Status,
)
from models.seal import Keyring
from stream.ingest.foreign import Foreign
from stream.ingest.registry import FIXED_RADIUS_M, Registry, Site
from stream.records import Said, TimeSource

MAX_AHEAD_MS: Final = 5 * 60_000
"""A device's own time further ahead of ours than this is not believed."""
BEGINNING_MS: Final = 1_577_836_800_000
"""2020-01-01: an earlier time is that of a clock that has started in 1970 and was not set yet."""
TRANSIT_MS: Final = 2_000
"""A sending time that lies no further back than this is believed: a clock that is right and a message that was on its
way. If arrival alone counted, a slow hop would make events look younger and their latency better than it was."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as it came from the broker."""

    topic: str
    payload: bytes
    received_ms: int
    is_retained: bool = False


class RetiredError(MessageError):
    """A message of an outbox that is refused for ever: that of a card that was cloned, or of a device replaced."""

    def __init__(self, device_id: str, outbox_id: str) -> None:
        self.device_id, self.outbox_id = device_id, outbox_id
        super().__init__(Reason.RETIRED_OUTBOX, f"outbox {outbox_id!r} of {device_id!r} was retired")


@dataclass(frozen=True, slots=True)
class Gate:
    """What is needed to judge an arrival.

    Attributes:
        is_retired: whether an outbox is refused for ever.
    """

    tenant: str
    keys: Keyring
    registry: Registry
    foreign: Foreign = field(default_factory=Foreign)
    is_retired: Callable[[str], bool] = lambda _outbox: False


_OF_ITSELF: Final[dict[str, type[Heartbeat | Status]]] = {"hb": Heartbeat, "status": Status}
"""What a device says of itself, by the last level of the topic."""
Taken = list[Said] | Decision | Load | Ack | Heartbeat | Status


def take(arrival: Arrival, gate: Gate) -> Taken:
    """Return what `arrival` says.

    It is observations, heartbeat or status of a device; decision, load, report or ack of `alerts`.

    Observations that carry a position of their own have no `areas` yet: see `locate_moving`.

    Raises:
        MessageError: it may not be taken; the reason says why.
    """
    check_size(arrival)
    at = topics.parse(arrival.topic)
    if at is None:
        return gate.foreign.take(
            arrival.topic,
            arrival.payload,
            gate.registry,
            is_retained=arrival.is_retained,
            now_ms=arrival.received_ms,
        )
    if at.tenant != gate.tenant:
        raise MessageError(Reason.FOREIGN_TENANT, f"tenant {at.tenant!r}, this is {gate.tenant!r}")
    if at.who == "decisions":
        decision = messages.decode(_line_of(topics.ALERTS, arrival, gate), Decision)
        if decision.incident_id != at.what:
            raise MessageError(Reason.WRONG_SHAPE, f"a decision on {decision.incident_id!r} came on {arrival.topic!r}")
        return decision
    if at.who == "load":
        load = messages.decode(_line_of(topics.ALERTS, arrival, gate), Load)
        if load.person != at.what:
            raise MessageError(Reason.WRONG_SHAPE, f"a load of {load.person!r} came on {arrival.topic!r}")
        return load
    if at.who == topics.STREAM and at.what == "ack":
        return messages.decode(_line_of(topics.ALERTS, arrival, gate), Ack)
    if kind := _OF_ITSELF.get(at.what):
        return _of_itself(at.who, arrival, gate, kind)
    return _reports(arrival, gate) if at.who == topics.ALERTS else _observations(at.who, arrival, gate)


def check_size(arrival: Arrival) -> None:
    """Refuse what is too large to be looked at.

    Raises:
        MessageError: it is.
    """
    if len(arrival.payload) > MAX_PAYLOAD_BYTES:
        raise MessageError(Reason.TOO_LARGE, f"{len(arrival.payload)} bytes, at most {MAX_PAYLOAD_BYTES} are taken")


def _line_of(sender: str, arrival: Arrival, gate: Gate) -> bytes:
    """Return the first line of a payload that `sender` has sealed."""
    kid, line, _ = gate.keys.open(arrival.topic, arrival.payload)
    if kid != sender:
        raise MessageError(Reason.FOREIGN_DEVICE, f"{kid!r} speaks on {arrival.topic!r}")
    return line


def _observations(device: str, arrival: Arrival, gate: Gate) -> list[Said]:
    if device not in gate.registry.sites:
        raise MessageError(Reason.UNKNOWN_DEVICE, f"{device!r} is no device of places.geojson")
    batch = messages.decode(_line_of(device, arrival, gate), ObservationBatch)
    for device_id, outbox_id in {(seen.device_id, seen.outbox_id) for seen in batch.observations}:
        if gate.is_retired(outbox_id):
            raise RetiredError(device_id, outbox_id)
    return _said(batch, arrival, lambda seen: _site_of(seen, device, gate.registry))


def _reports(arrival: Arrival, gate: Gate) -> list[Said]:
    """Return what people have reported to `alerts`, which vouches for them."""
    batch = messages.decode(_line_of(topics.ALERTS, arrival, gate), ObservationBatch)
    for one in batch.observations:
        if one.device_id != topics.ALERTS or not isinstance(one.payload, Report):
            raise MessageError(Reason.FOREIGN_DEVICE, f"{topics.ALERTS!r} speaks for {one.device_id!r}")
        if one.position is None or one.reporter is None:
            raise MessageError(Reason.WRONG_SHAPE, f"report {one.seq} names no position or no reporter")
    return _said(batch, arrival, lambda one: _site_of_report(one, gate.registry))


def _of_itself(device: str, arrival: Arrival, gate: Gate, kind: type[Heartbeat | Status]) -> Heartbeat | Status:
    if device not in gate.registry.sites:
        raise MessageError(Reason.UNKNOWN_DEVICE, f"{device!r} is no device of places.geojson")
    said = messages.decode(_line_of(device, arrival, gate), kind)
    if said.device_id != device:
        raise MessageError(Reason.FOREIGN_DEVICE, f"{device!r} speaks for {said.device_id!r}")
    return said


def _site_of(observation: Observation, speaker: str, registry: Registry) -> Site:
    site = registry.sites.get(observation.device_id)
    if site is None or speaker not in {site.device_id, site.agent}:
        raise MessageError(Reason.FOREIGN_DEVICE, f"{speaker!r} speaks for {observation.device_id!r}")
    return site


def _site_of_report(report: Observation, registry: Registry) -> Site:
    assert report.position is not None
    return registry.site_of_report(_point_of(report.position))


def _said(batch: ObservationBatch, arrival: Arrival, site_of: Callable[[Observation], Site]) -> list[Said]:
    """Return what a batch says, by device and place: nearly always all of it together.

    Raises:
        MessageError: from `site_of`: the sender may not say that.
    """
    received_ms = arrival.received_ms
    sent_ms = sending_time(batch, received_ms)
    found = []

    boot_id, sent_mono_ms = batch.boot_id, batch.sent_mono_ms
    ahead_ms = sent_ms - sent_mono_ms

    def shared(seen: Observation) -> tuple[str, Position | None, bool]:
        """Its time can be told from its age where it is of this boot, and not from after the sending."""
        is_mono = seen.boot_id == boot_id and 0 <= sent_mono_ms - seen.observed_mono_ms <= sent_ms
        return seen.device_id, seen.position, is_mono

    for (_, position, is_mono), together in groupby(batch.observations, shared):
        seen = tuple(together)
        site = site_of(seen[0])
        if arrival.is_retained:
            # State that the broker kept is not news, whatever its sender called it.
            seen = tuple(replace(one, quality=Quality.REPLAYED) for one in seen)
        point, radius_m, areas = site.point, FIXED_RADIUS_M, site.areas
        if position is not None:
            point, radius_m, areas = _point_of(position), position.radius_m, {}
        said = Said(
            observations=seen,
            zone=site.zone,
            event_ms=tuple([one.observed_mono_ms + ahead_ms if is_mono else device_time(one, sent_ms) for one in seen]),
            time_source=TimeSource.MONO if is_mono else TimeSource.DEVICE,
            received_ms=received_ms,
            lon_e7=point[0],
            lat_e7=point[1],
            radius_m=radius_m,
            areas=areas,
            sent_ms=sent_ms,
            inferred_ms=_inferred_ms(seen, ahead_ms) if is_mono else (),
            skew_ms=batch.sent_at_ms - received_ms,
        )
        found.append(said)
    return found


def _inferred_ms(seen: Sequence[Observation], ahead_ms: int) -> tuple[int | None, ...]:
    inferred = [one.inferred_mono_ms for one in seen]
    if inferred.count(None) == len(inferred):
        return ()
    return tuple(None if mono_ms is None else max(mono_ms + ahead_ms, 0) for mono_ms in inferred)


def _point_of(position: Position) -> PointE7:
    return point_e7(position.lon_deg, position.lat_deg)


def sending_time(batch: ObservationBatch, received_ms: int) -> int:
    """Return when `batch` was sent, by our clock: its own word where that can be true, else when it came."""
    return batch.sent_at_ms if 0 <= received_ms - batch.sent_at_ms <= TRANSIT_MS else received_ms


def device_time(seen: Observation, sent_ms: int) -> int:
    """Return the event time where the age cannot be told: the device's own, where that can be true."""
    return seen.observed_at_ms if BEGINNING_MS <= seen.observed_at_ms <= sent_ms + MAX_AHEAD_MS else sent_ms


def locate_moving(parts: Sequence[Said], registry: Registry) -> list[Said]:
    """Return `parts`, those with a position of their own located: in one call, whatever their number."""
    moving = [i for i, said in enumerate(parts) if said.observations[0].position is not None]
    located = list(parts)
    if moving:
        points: list[PointE7] = [(parts[i].lon_e7, parts[i].lat_e7) for i in moving]
        for i, areas in zip(moving, registry.locate(points), strict=True):
            located[i] = replace(parts[i], areas=areas)
    return located
