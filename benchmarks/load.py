"""A load of sealed, distinct observations, by the hop contract: kept and sent again until acknowledged.

    python -m benchmarks.load GRIDWARDEN_TOML --rate 5000 --seconds 30 DEVICE...

Twenty observations per message, devices in turn, one in ten above the threshold. Prints one JSON object at its end.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

from models import topics
from models.clock import mono_ms, now_ms
from models.config import load
from models.link import Link
from models.messages import Ack, Detection, Lane, Observation, ObservationBatch, decode, encode
from models.seal import load_keys

PER_MESSAGE = 20
ABOVE = 0.1
RESEND_S = 5.0
OUTBOX = "ob-load"


class Load:
    """The sender; one thread makes and sends, the link's thread takes the acknowledgements."""

    def __init__(self, path: Path, devices: list[str]) -> None:
        self.config = load(path)
        self.keys = load_keys(self.config.keys, [*devices, topics.STREAM])
        self.devices = devices
        self.seqs = dict.fromkeys(devices, 0)
        self.waiting: dict[tuple[str, int], tuple[float, bytes]] = {}
        self.lock = threading.Lock()
        self.resent = 0
        acks = tuple(topics.ack(self.config.tenant, device) for device in devices)
        self.link = Link(self.config.mqtt, "bench-load", on_message=self.ack_came, subscriptions=acks)
        self.random = random.Random(7)

    def ack_came(self, topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        """Forget what the stream says it has stored."""
        ack()
        parsed = topics.parse(topic)
        assert parsed is not None
        stored = decode(self.keys.open(topic, payload)[1], Ack).stored
        with self.lock:
            for first, last in stored:
                for seq in range(first, last + 1):
                    if seq % PER_MESSAGE == 0:
                        self.waiting.pop((parsed.who, seq), None)

    def message(self, device: str) -> tuple[int, bytes]:
        """Return the last seq and the line of the next batch of `device`."""
        wall, mono, first = now_ms(), mono_ms(), self.seqs[device] + 1
        self.seqs[device] += PER_MESSAGE
        observations = tuple(self.observation(device, first + n, wall, mono) for n in range(PER_MESSAGE))
        batch = ObservationBatch(v=1, boot_id="b-load", sent_at_ms=wall, sent_mono_ms=mono, observations=observations)
        return self.seqs[device], encode(batch)

    def observation(self, device: str, seq: int, wall: int, mono: int) -> Observation:
        """Return one candidate; one in ten is above every threshold."""
        confidence = 0.97 if self.random.random() < ABOVE else 0.16
        seen = Detection(
            detector="load",
            detector_version="1",
            label="fire",
            confidence=confidence,
            box=(0.1, 0.1, 0.2, 0.2),
            track_id="t1",
            hits=seq,
            first_seen_ms=wall,
        )
        return Observation(
            device_id=device,
            outbox_id=OUTBOX,
            boot_id="b-load",
            lane=Lane.ALARM,
            seq=seq,
            observed_at_ms=wall,
            observed_mono_ms=mono,
            payload=seen,
        )

    def send(self, device: str, last: int, line: bytes) -> None:
        """Seal and publish one batch."""
        topic = topics.obs(self.config.tenant, device)
        self.link.publish(topic, self.keys.seal(topic, line, kid=device))

    def run(self, rate: float, seconds: float) -> dict[str, float]:
        """Offer `rate` observations per second for `seconds`, then wait until all are acknowledged."""
        self.link.start()
        self.link.wait_connected(20)
        begun_s, begun_ms = time.monotonic(), now_ms()
        messages = int(rate * seconds / PER_MESSAGE)
        for n in range(messages):
            device = self.devices[n % len(self.devices)]
            last, line = self.message(device)
            with self.lock:
                self.waiting[device, last] = (time.monotonic() + RESEND_S, line)
            self.send(device, last, line)
            ahead_s = begun_s + (n + 1) * PER_MESSAGE / rate - time.monotonic()
            if ahead_s > 0.002:
                time.sleep(ahead_s)
            if n % 512 == 0:
                self.resend()
        offered_s = time.monotonic() - begun_s
        deadline_s = time.monotonic() + 120
        while self.waiting and time.monotonic() < deadline_s:
            time.sleep(0.02)
            self.resend()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.link.stop()
        return {
            "begun_ms": begun_ms,
            "sent": messages * PER_MESSAGE,
            "unacknowledged": len(self.waiting) * PER_MESSAGE,
            "offered_s": offered_s,
            "resent_messages": self.resent,
            "cpu_share": (usage.ru_utime + usage.ru_stime) / (time.monotonic() - begun_s),
        }

    def resend(self) -> None:
        """Send again what has waited too long."""
        now_s = time.monotonic()
        with self.lock:
            late = [(key, line) for key, (due_s, line) in self.waiting.items() if due_s < now_s]
            for key, line in late:
                self.waiting[key] = (now_s + RESEND_S, line)
        for (device, last), line in late:
            self.resent += 1
            self.send(device, last, line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("devices", nargs="+")
    args = parser.parse_args()
    print(json.dumps(Load(args.config, args.devices).run(args.rate, args.seconds)))
