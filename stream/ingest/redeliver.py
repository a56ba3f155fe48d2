"""Saying dead letters again, once what kept them from being taken is mended: under their names, and as old as they are.

What was seen hours ago must not alarm as if it were seen now. So what a device of ours said is sealed anew, with its
age; a device of another make gives no age, and is left out: what still is so it says again by itself.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from models import clock, seal, topics
from models.config import load
from models.errors import DeliveryError, MessageError
from models.link import Link
from models.messages import VERSION, DeadLetter, Observation, ObservationBatch, Quality, decode, encode
from models.seal import Keyring

CONNECT_S: Final = 10.0
_PLACE: Final = re.compile(r"^obs/\d+/\d+")
"""A letter that came out of the log names its place there, one that came from the broker its topic."""


class Again(NamedTuple):
    """What is said again; `payload` None where it cannot be: the letter holds too little of it, or nobody's age."""

    topic: str
    payload: bytes | None


def again(letters: Iterable[DeadLetter], tenant: str, keys: Keyring, *, now_ms: int) -> Iterator[Again]:
    """Yield what each letter says; observations are sealed for their sender anew, as old as they are now.

    A seq that was never applied counts; what was taken meanwhile is a duplicate, and counts once.
    """
    for letter in letters:
        head = base64.b64decode(letter.head_b64)
        is_whole = hashlib.sha256(head).hexdigest() == letter.sha256
        if _PLACE.match(letter.source):
            yield _anew(head, tenant, keys, now_ms) if is_whole else Again(letter.source, None)
        elif is_whole and topics.parse(letter.source):
            yield Again(letter.source, _aged(letter.source, head, now_ms - letter.at_ms, keys, now_ms))
        else:
            yield Again(letter.source, None)


def _aged(topic: str, payload: bytes, age_ms: int, keys: Keyring, now_ms: int) -> bytes:
    """Return a batch as its sender would send it now; anything else as it came."""
    try:
        kid, line, _ = keys.open(topic, payload)
        batch = decode(line, ObservationBatch)
    except MessageError:
        return payload
    aged = replace(
        batch,
        sent_at_ms=now_ms,
        sent_mono_ms=batch.sent_mono_ms + max(0, age_ms),
        observations=tuple(map(_late, batch.observations)),
    )
    return keys.seal(topic, encode(aged), kid=kid)


def _late(seen: Observation) -> Observation:
    return replace(seen, quality=Quality.LATE) if seen.quality is Quality.LIVE else seen


def _anew(raw: bytes, tenant: str, keys: Keyring, now_ms: int) -> Again:
    try:
        seen = decode(raw, Observation)
    except MessageError:  # a whole record that could not be read: there is nothing to say of it
        return Again("obs", None)
    age_ms = max(0, now_ms - seen.observed_at_ms)
    batch = ObservationBatch(
        v=VERSION,
        boot_id=seen.boot_id,
        sent_at_ms=now_ms,
        sent_mono_ms=seen.observed_mono_ms + age_ms,
        observations=(_late(seen),),
    )
    topic = topics.obs(tenant, seen.device_id)
    return Again(topic, keys.seal(topic, encode(batch), kid=seen.device_id))


def redeliver(values: Iterable[bytes], folder: Path) -> str:
    """Say letters again to the broker of a config folder; return what was done, as a sentence.

    Raises:
        DeliveryError: the broker cannot be reached.
        ConfigError: of the folder.
    """
    config = load(folder)
    link = Link(config.mqtt, "stream-again", on_message=lambda *_: None)
    link.start()
    try:
        if not link.wait_connected(CONNECT_S):
            where = f"{config.mqtt.host}:{config.mqtt.port}"
            raise DeliveryError(f"no broker at {where} within {CONNECT_S:.0f} s: {link.refused or 'is it running?'}")
        letters = (decode(value, DeadLetter) for value in values)
        said = cut = 0
        for one in again(letters, config.tenant, seal.load_keys(config.keys), now_ms=clock.now_ms()):
            if one.payload is None:
                cut += 1
            else:
                while not link.publish(one.topic, one.payload):
                    threading.Event().wait(0.1)
                said += 1
    finally:
        link.stop()
    why = "longer than the 4 KiB that the log holds, or of devices of other makes, which say again what still is so"
    return f"{said} said again, {cut} left out: {why}"
