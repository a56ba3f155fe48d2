"""Payloads as nobody should send them: valid sealed ones, changed in every way that comes to mind, and plain noise.

    python -m tests.faults.noise --count 1000000

takes that many through ingest's own decoding and says what became of them. Each comes from its seed alone.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from models import topics
from models.errors import MessageError
from models.messages import Detection, Lane, Observation, ObservationBatch, Reading, encode
from models.places import Device, DeviceKind, Places, Zone
from models.seal import Keyring
from stream.ingest.admission import Arrival, Gate, take
from stream.ingest.registry import Registry

NOW_MS: Final = 1_780_000_000_000
TENANT: Final = "t"
DEVICES: Final = ("cam-01", "cam-02")
KEYS: Final = Keyring({kid: secrets.token_bytes(32) for kid in (*DEVICES, "stream", "alerts")})
JUNK: Final[tuple[Any, ...]] = (
    *(
        None,
        True,
        -1,
        0,
        1 << 31,
        1 << 63,
        1 << 70,
        -(1 << 70),
        1e308,
        -0.5,
        "",
        "x",
        "\x00",
        "\ud83d\ude00",
        "a" * 5_000,
    ),
    *([], {}, [[]], {"": {}}, [None] * 300, "2026-01-01", "cam-02", "../../etc/passwd", "${jndi}", "gw/v1/+/#"),
)


def gate(tenant: str = TENANT, keys: Keyring = KEYS) -> Gate:
    """Return a gate that knows two cameras."""
    zone = Zone(id="z", name="x", name_en="x", cell="c", street="s")
    devices = tuple(
        Device(id=name, kind=DeviceKind.CAMERA, name="x", name_en="x", cell="c", point=(0, 0), zone="z")
        for name in DEVICES
    )
    registry = Registry(Places(zones=(zone,), devices=devices), lambda points: [{} for _ in points], partitions=4)
    return Gate(tenant, keys, registry)


class Noise:
    """A stream of arrivals.

    Args:
        seed: the same seed gives the same arrivals, up to the keys.
    """

    def __init__(self, seed: int, *, tenant: str = TENANT, keys: Keyring = KEYS) -> None:
        self._random = random.Random(seed)
        self._tenant, self._keys = tenant, keys
        self._seq = 0
        self._last = b""

    def __iter__(self) -> Iterator[Arrival]:
        """Yield arrivals for ever."""
        kinds: tuple[Callable[[], Arrival], ...] = (
            *(self._changed_value, self._changed_value, self._flipped, self._cut, self._other_seal, self._other_topic),
            *(self._again, self._nested, self._noise, self._valid),
        )
        while True:
            yield self._random.choice(kinds)()

    def _batch(self) -> dict[str, Any]:
        self._seq += 1
        payload: Any = Reading(property="smoke", value=self._random.random(), unit="1")
        if self._random.random() < 0.5:
            payload = Detection(
                detector="d",
                detector_version="1",
                label="fire",
                confidence=self._random.random(),
                box=(0.1, 0.1, 0.2, 0.2),
                track_id="t",
                hits=1,
                first_seen_ms=NOW_MS,
            )
        seen = Observation(
            device_id="cam-01",
            outbox_id="box",
            boot_id="boot",
            lane=Lane.ALARM,
            seq=self._seq,
            observed_at_ms=NOW_MS,
            observed_mono_ms=1_000,
            payload=payload,
        )
        batch = ObservationBatch(v=1, boot_id="boot", sent_at_ms=NOW_MS, sent_mono_ms=1_100, observations=(seen,))
        made: dict[str, Any] = msgspec.json.decode(encode(batch))
        return made

    def _sealed(self, line: bytes, topic: str | None = None, kid: str = "cam-01") -> Arrival:
        topic = topic or topics.obs(self._tenant, "cam-01")
        self._last = self._keys.seal(topic, line, kid=kid)
        return Arrival(topic, self._last, NOW_MS)

    def _valid(self) -> Arrival:
        return self._sealed(msgspec.json.encode(self._batch()))

    def _changed_value(self) -> Arrival:
        """A rightly sealed message with one value, key or element replaced, added or removed."""
        batch = self._batch()
        place: Any = batch
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = self._random.choice(keys)
            inner = place[key]
            if isinstance(inner, dict | list) and inner and self._random.random() < 0.7:
                place = inner
                continue
            match self._random.randrange(4):
                case 0 if isinstance(place, dict):
                    del place[key]
                case 1 if isinstance(place, dict):
                    place[self._random.choice(("v", "x", "device_id", "person", ""))] = self._random.choice(JUNK)
                case _:
                    place[key] = self._random.choice(JUNK)
            break
        try:
            line = msgspec.json.encode(batch)
        except (OverflowError, UnicodeEncodeError):  # a number or a text that no JSON of ours can hold
            return self._noise()
        return self._sealed(line)

    def _flipped(self) -> Arrival:
        arrival = self._valid()
        raw = bytearray(arrival.payload)
        for _ in range(self._random.randint(1, 3)):
            raw[self._random.randrange(len(raw))] ^= 1 << self._random.randrange(8)
        return Arrival(arrival.topic, bytes(raw), NOW_MS)

    def _cut(self) -> Arrival:
        arrival = self._valid()
        return Arrival(arrival.topic, arrival.payload[: self._random.randrange(len(arrival.payload))], NOW_MS)

    def _other_seal(self) -> Arrival:
        """Right in itself, and sealed by another: a device that lies about its id."""
        return self._sealed(msgspec.json.encode(self._batch()), kid="cam-02")

    def _other_topic(self) -> Arrival:
        """Sealed for one topic and sent on another: of another device, another tenant, or of nobody."""
        arrival = self._valid()
        others = (
            topics.obs(self._tenant, "cam-02"),
            topics.obs("other", "cam-01"),
            "gw/v1/t",
            "x",
            "gw/v2/t/cam-01/obs",
        )
        return Arrival(self._random.choice(others), arrival.payload, NOW_MS)

    def _again(self) -> Arrival:
        """An old batch, once more: taken, and told by its seqs later on."""
        return Arrival(topics.obs(self._tenant, "cam-01"), self._last or b"{}", NOW_MS)

    def _nested(self) -> Arrival:
        deep = self._random.choice((50, 2_000, 30_000))
        opening, closing = self._random.choice(((b"[", b"]"), (b'{"a":', b"}")))
        return self._sealed(opening * deep + b"1" + closing * deep)

    def _noise(self) -> Arrival:
        size = self._random.choice((0, 1, 40, 400, 4_000, 70_000))
        return Arrival(topics.obs(self._tenant, "cam-01"), self._random.randbytes(size), NOW_MS)


def run(count: int, seed: int) -> Counter[str]:
    """Take `count` arrivals; return how many were refused for which reason, and how many taken.

    Raises:
        Exception: an arrival was neither taken nor refused.
    """
    outcomes: Counter[str] = Counter()
    judge = gate()
    arrivals = iter(Noise(seed))
    started_s = time.monotonic()
    for n in range(count):
        arrival = next(arrivals)
        try:
            take(arrival, judge)
        except MessageError as exc:
            outcomes[exc.reason] += 1
        else:
            outcomes["taken"] += 1
        if sys.stderr.isatty() and n % 20_000 == 0:
            sys.stderr.write(f"\r{n} of {count}, {n / (time.monotonic() - started_s + 1e-9):.0f}/s")
    return outcomes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for reason, number in run(arguments.count, arguments.seed).most_common():
        sys.stdout.write(f"{number:>9}  {reason}\n")
