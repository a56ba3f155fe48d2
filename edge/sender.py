"""The hop from the outbox to the stream: batches, seals, sends again until an acknowledgement names it, deletes then.

A `Sender` belongs to the thread of its outbox. It takes the time as an argument and never waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, Protocol

import msgspec

from edge.moment import Moment
from edge.outbox import Outbox, Row
from edge.window import FIRST_RETRY_MS, Window
from models import topics
from models.errors import MessageError
from models.jitter import jitter
from models.messages import (
    MAX_BATCH,
    MAX_PAYLOAD_BYTES,
    VERSION,
    Ack,
    Evidence,
    Observation,
    ObservationBatch,
    Quality,
    decode,
    encode,
)
from models.seal import Keyring

log = logging.getLogger(__name__)

OBSERVATIONS_IN_FLIGHT: Final = 256
PICTURES_IN_FLIGHT: Final = 4
BATCH_BYTES: Final = MAX_PAYLOAD_BYTES - 1024  # the rest is for the head of the batch and the seal
LATE_MS: Final = 30_000
"""A row that is sent when older than this is marked late: it comes from the backlog of an outage."""
LATE_BYTES: Final = 24
SILENCE_MS: Final = 5_000
"""An acknowledgement after such a silence says that the receiver is back: nothing waits for its back-off any longer."""
RECEIVERS: Final = frozenset({topics.STREAM, topics.ALERTS})


class Publisher(Protocol):
    """What is needed of a link."""

    @property
    def connected(self) -> bool:
        """Whether the broker took the login."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Hand `payload` over; return False if there is no connection."""


class Sender:
    """Sends what lies in `outbox` over `link`, and deletes what is acknowledged."""

    def __init__(
        self,
        outbox: Outbox,
        link: Publisher,
        keys: Keyring,
        *,
        tenant: str,
        jitter: Callable[[], float] = jitter,
    ) -> None:
        self._outbox = outbox
        self._link = link
        self._keys = keys
        self._tenant = tenant
        self._jitter = jitter
        self._rows: Window[int] = Window(OBSERVATIONS_IN_FLIGHT)
        self._pictures: Window[str] = Window(PICTURES_IN_FLIGHT)
        self._newest_sent = outbox.last_id
        self._answered_mono_ms = 0
        self._retired = outbox.is_retired
        if self._retired:
            self._say_retired()

    # --- out -------------------------------------------------------------------------------------------------------

    def pump(self, now: Moment) -> None:
        """Send what is new or due again, as far as the windows allow.

        Raises:
            StorageError: the outbox cannot be read.
        """
        if self._retired or not self._link.connected:
            return
        self._pump_rows(now)
        self._pump_pictures(now)

    def next_due_ms(self) -> int | None:
        """Return the boot clock at which `pump` has something to send again."""
        dues = [due for due in (self._rows.next_due_ms(), self._pictures.next_due_ms()) if due is not None]
        return min(dues, default=None) if self._link.connected and not self._retired else None

    def reconnected(self, now: Moment) -> None:
        """Make everything in flight due: what the lost connection held is gone."""
        self._rows.hasten(now_mono_ms=now.mono_ms, unanswered_ms=0)
        self._pictures.hasten(now_mono_ms=now.mono_ms, unanswered_ms=0)

    def _pump_rows(self, now: Moment) -> None:
        window = self._rows
        ids = window.due(now_mono_ms=now.mono_ms)
        new = self._outbox.new_alarm_ids(window.limit, after=self._newest_sent)
        window.make_room(len(new))
        if window.room > len(new):
            backlog = self._outbox.next_ids(window.room - len(new), skip={*window.flights, *new})
            ids += backlog
        found = self._outbox.rows({*ids, *new})
        window.forget(set(ids) - {row.id for row in found})
        observations = self._decode(found, now)
        readable = [row for row in found if row.id in observations]
        for device_id, rows in groupby(readable, key=lambda row: row.device_id):
            for batch in batches(list(rows)):
                if not self._send_batch(device_id, batch, observations, now):
                    return
        self._newest_sent = max([self._newest_sent, *new])

    def _decode(self, rows: Sequence[Row], now: Moment) -> dict[int, Observation]:
        """Return the observations by row id. What this version cannot read is given up: it would stop all others."""
        observations: dict[int, Observation] = {}
        for row in rows:
            try:
                observations[row.id] = self._mark(decode(row.body.encode(), Observation), row, now)
            except MessageError as exc:
                log.error("%s: %s seq %d cannot be read: %s", self._outbox.path, row.device_id, row.seq, exc)  # noqa: TRY400
                self._outbox.give_up(row, now_ms=now.wall_ms)
                self._rows.forget([row.id])
        return observations

    def _mark(self, observation: Observation, row: Row, now: Moment) -> Observation:
        """Return `observation`, marked late if it comes from the backlog of an outage."""
        is_ours = row.boot_id == self._outbox.boot_id
        # The wall clock of another boot may have been wrong: an age below zero is no proof of youth.
        age_ms = now.mono_ms - observation.observed_mono_ms if is_ours else now.wall_ms - row.queued_at_ms
        is_late = age_ms > LATE_MS or age_ms < 0
        if is_late and observation.quality is Quality.LIVE:
            return msgspec.structs.replace(observation, quality=Quality.LATE)
        return observation

    def _send_batch(
        self, device_id: str, rows: Sequence[Row], observations: Mapping[int, Observation], now: Moment
    ) -> bool:
        batch = ObservationBatch(
            v=VERSION,
            boot_id=self._outbox.boot_id,
            sent_at_ms=now.wall_ms,
            sent_mono_ms=now.mono_ms,
            observations=tuple(observations[row.id] for row in rows),
        )
        topic = topics.obs(self._tenant, device_id)
        if not self._link.publish(topic, self._keys.seal(topic, encode(batch), kid=device_id)):
            return False
        self._rows.sent((row.id for row in rows), now_mono_ms=now.mono_ms, jitter=self._jitter())
        return True

    def _pump_pictures(self, now: Moment) -> None:
        window = self._pictures
        ids = window.due(now_mono_ms=now.mono_ms)
        ids += self._outbox.next_pictures(window.room, skip=window.flights)
        for evidence_id in ids:
            picture = self._outbox.picture(evidence_id)
            if picture is None:
                window.forget([evidence_id])
                continue
            head = Evidence(
                v=VERSION,
                evidence_id=evidence_id,
                device_id=picture.device_id,
                sha256=picture.sha256,
                captured_at_ms=picture.captured_at_ms,
                redaction=picture.redaction,
                box=picture.box,
            )
            topic = topics.evidence(self._tenant, picture.device_id, evidence_id)
            payload = self._keys.seal(topic, encode(head), kid=picture.device_id, attachment=picture.jpeg)
            if not self._link.publish(topic, payload):
                return
            window.sent([evidence_id], now_mono_ms=now.mono_ms, jitter=self._jitter())

    # --- back ------------------------------------------------------------------------------------------------------

    def take_ack(self, topic: str, payload: bytes, now: Moment) -> None:
        """Delete exactly what a sealed acknowledgement names; anything else is ignored and said.

        Raises:
            StorageError: it could not be deleted; it will be sent again and acknowledged again.
        """
        parsed = topics.parse(topic)
        try:
            kid, line, _ = self._keys.open(topic, payload)
            ack = decode(line, Ack)
        except MessageError as exc:
            log.warning("ignored an acknowledgement on %s: %s", topic, exc)
            return
        if parsed is None or parsed.what != "ack" or kid not in RECEIVERS or ack.receiver != kid:
            log.warning("ignored an acknowledgement on %s: %s may not acknowledge as %s", topic, kid, ack.receiver)
            return
        self._heard(now)
        if ack.evidence:
            self._pictures.forget(
                evidence_id for evidence_id, sha256 in ack.evidence if self._outbox.ack_picture(evidence_id, sha256)
            )
        if ack.outbox_id == self._outbox.outbox_id:
            self._take_stored(parsed.who, ack, now)

    def _take_stored(self, device_id: str, ack: Ack, now: Moment) -> None:
        if ack.retired:
            self._retired = True
            self._outbox.retire()
            self._say_retired()
            return
        if ack.stored and ack.lane is not None:
            self._rows.forget(self._outbox.ack(device_id, ack.lane, ack.stored))

    def _heard(self, now: Moment) -> None:
        if now.mono_ms - self._answered_mono_ms > SILENCE_MS:
            self._rows.hasten(now_mono_ms=now.mono_ms, unanswered_ms=FIRST_RETRY_MS)
            self._pictures.hasten(now_mono_ms=now.mono_ms, unanswered_ms=FIRST_RETRY_MS)
        self._answered_mono_ms = now.mono_ms

    def _say_retired(self) -> None:
        log.error(
            "%s: outbox %s is retired: nothing of it is sent any more; move the file away and start again",
            self._outbox.path,
            self._outbox.outbox_id,
        )


def batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Cut the rows of one device into batches of at most 256 observations and 64 KiB."""
    batch: list[Row] = []
    size_bytes = 0
    for row in rows:
        row_bytes = len(row.body.encode()) + LATE_BYTES
        if batch and (len(batch) >= MAX_BATCH or size_bytes + row_bytes > BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(row)
        size_bytes += row_bytes
    if batch:
        yield batch
