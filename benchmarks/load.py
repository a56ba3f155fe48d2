"""A load of sealed, distinct observations, by the hop contract: kept and sent again until acknowledged.

    python -m benchmarks.load GRIDWARDEN_TOML --rate 5000 --seconds 30 [--per-message 20] [--probes 90] DEVICE...

Devices in turn, one observation in ten above the threshold; of each device no more is on its way than an agent sends
before it is answered, the rest waits its turn. The last `--probes` devices send nothing of that: each
sends one fire of its own, spread over the time, so that the way to its order can be measured. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from models import thresholds, topics
from models.clock import mono_ms, now_ms
from models.config import load
from models.link import Link
from models.messages import Ack, Detection, Lane, Observation, ObservationBatch, decode, encode
from models.seal import load_keys, split

ABOVE = 0.1
RULES = thresholds.load()
HITS = RULES.labels.get("fire", thresholds.LabelRule()).min_hits or RULES.min_hits
HIT_MS = 300
"""A probe is so many sightings of one fire, so far apart: what the thresholds ask for."""
IN_FLIGHT = 256
"""Observations of one device at most, as of `edge.sender`."""
RESEND_S = 20.0
ANSWER_S = 300.0
"""What is not acknowledged so long after its end is given up."""
AHEAD_S = 0.002
ANY_SEQ = 10**15
"""In place of a seq, which is also how often it was seen: more digits than any other number of an observation."""
OUTBOX = "ob-load"
BOOT = "b-load"


class Load:
    """The sender; one thread makes and sends, the link's thread takes the acknowledgements."""

    def __init__(self, path: Path, devices: Sequence[str], per_message: int = 20) -> None:
        self.config = load(path)
        self.keys = load_keys(self.config.keys, [*devices, topics.STREAM])
        self.per_message = per_message
        self.seqs = dict.fromkeys(devices, 0)
        self.waiting: dict[tuple[str, int], tuple[float, str, bytes]] = {}
        """By (device, last seq) of a message: when it is sent again, who speaks, and the line."""
        self.in_flight = dict.fromkeys(devices, 0)
        """Messages of each device that are not acknowledged."""
        self.lock = threading.Lock()
        self.resent = 0
        acks = (topics.ack(self.config.tenant, "+"),)
        self.link = Link(self.config.mqtt, "bench-load", on_message=self.ack_came, subscriptions=acks)
        self.random = random.Random(7)

    def ack_came(self, topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        """Forget what the stream says it has stored."""
        ack()
        parsed = topics.parse(topic)
        if parsed is None or parsed.who not in self.seqs:
            return
        for first, last in decode(split(payload)[0], Ack).stored:
            with self.lock:
                stored = [self.waiting.pop((parsed.who, seq), None) for seq in range(first, last + 1)]
                self.in_flight[parsed.who] -= len(stored) - stored.count(None)

    def message(self, device: str) -> tuple[int, bytes]:
        """Return the last seq and the line of the next batch of `device`.

        Its observations differ in their numbers and in whether they are above: what is alike is written once, which
        takes half as long.
        """
        wall, mono, seq = now_ms(), mono_ms(), self.seqs[device]
        below, above = (
            encode(observation(device, ANY_SEQ, wall, mono, confidence)).replace(b"%d" % ANY_SEQ, b"%d")
            for confidence in (0.16, 0.97)
        )
        self.seqs[device] += self.per_message
        observations = b",".join(
            [(above if self.random.random() < ABOVE else below) % (n, n) for n in range(seq + 1, self.seqs[device] + 1)]
        )
        batch = ObservationBatch(v=1, boot_id=BOOT, sent_at_ms=wall, sent_mono_ms=mono, observations=())
        return self.seqs[device], encode(batch).replace(b"[]", b"[%b]" % observations)

    def probe(self, device: str) -> tuple[int, bytes]:
        """Return the last seq and the line of a fire."""
        return self.batch(device, [(0.97, HIT_MS * n) for n in reversed(range(HITS))])

    def batch(self, device: str, seen: Sequence[tuple[float, int]]) -> tuple[int, bytes]:
        """Return the last seq and the line of a batch of (confidence, age in ms)."""
        wall, mono, seq = now_ms(), mono_ms(), self.seqs[device]
        self.seqs[device] += len(seen)
        observations = tuple(
            observation(device, seq + n, wall - age_ms, mono - age_ms, confidence)
            for n, (confidence, age_ms) in enumerate(seen, 1)
        )
        batch = ObservationBatch(v=1, boot_id=BOOT, sent_at_ms=wall, sent_mono_ms=mono, observations=observations)
        return self.seqs[device], encode(batch)

    def send(self, device: str, last: int, line: bytes) -> None:
        """Seal and publish one batch, and keep it until it is acknowledged."""
        self.send_for(device, (device, last), line)

    def send_for(self, speaker: str, key: tuple[str, int], line: bytes) -> None:
        """Let `speaker` say what is acknowledged under `key`."""
        topic = topics.obs(self.config.tenant, speaker)
        with self.lock:
            self.in_flight[key[0]] += self.waiting.pop(key, None) is None
            self.waiting[key] = (time.monotonic() + RESEND_S, speaker, line)
        self.link.publish(topic, self.keys.seal(topic, line, kid=speaker))

    def run(self, rate: float, seconds: float, probes: Sequence[str]) -> dict[str, object]:
        """Offer `rate` observations per second for `seconds`, then wait until all are acknowledged."""
        self.link.start()
        self.link.wait_connected(20)
        devices = [device for device in self.seqs if device not in probes]
        begun_cpu_s, begun_s, begun_ms = time.process_time(), time.monotonic(), now_ms()
        messages = int(rate * seconds / self.per_message)
        probed: dict[str, int] = {}
        turns = itertools.cycle(devices)
        for n, due_s in _paced(messages, begun_s, self.per_message / rate):
            device = self.next_free(turns, len(devices))
            self.send(device, *self.message(device))
            while len(probed) < len(probes) and due_s - begun_s >= len(probed) * seconds / len(probes):
                device = probes[len(probed)]
                probed[device] = now_ms()
                self.send(device, *self.probe(device))
            if n % 512 == 0:
                self.resend()
        offered_s = time.monotonic() - begun_s
        deadline_s = time.monotonic() + ANSWER_S
        while self.waiting and time.monotonic() < deadline_s:
            time.sleep(0.02)
            self.resend()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.link.stop()
        return {
            "begun_ms": begun_ms,
            "sent": sum(self.seqs.values()),
            "unacknowledged": len(self.waiting),
            "offered_s": offered_s,
            "resent_messages": self.resent,
            "cpu_share": (usage.ru_utime + usage.ru_stime - begun_cpu_s) / (time.monotonic() - begun_s),
            "probed": probed,
        }

    def next_free(self, turns: Iterator[str], count: int) -> str:
        """Return whose turn it is of the `count` devices that have turns, once one of them may send."""
        while True:
            for device in itertools.islice(turns, count):
                if (self.in_flight[device] + 1) * self.per_message <= max(IN_FLIGHT, self.per_message):
                    return device
            time.sleep(AHEAD_S)
            self.resend()

    def resend(self) -> None:
        """Send again what has waited too long."""
        now_s = time.monotonic()
        with self.lock:
            soonest = self.waiting.items()  # in the order in which they were sent
            late = [(key, *kept[1:]) for key, kept in itertools.takewhile(lambda one: one[1][0] < now_s, soonest)]
        for key, speaker, line in late:
            self.resent += 1
            self.send_for(speaker, key, line)


def observation(device: str, seq: int, wall_ms: int, boot_ms: int, confidence: float) -> Observation:
    """Return one candidate, as a camera sends it."""
    seen = Detection(
        detector="load",
        detector_version="1",
        label="fire",
        confidence=confidence,
        box=(0.1, 0.1, 0.2, 0.2),
        track_id="t1",
        hits=seq,
        first_seen_ms=wall_ms,
    )
    return Observation(
        device_id=device,
        outbox_id=OUTBOX,
        boot_id=BOOT,
        lane=Lane.ALARM,
        seq=seq,
        observed_at_ms=wall_ms,
        observed_mono_ms=boot_ms,
        payload=seen,
    )


def _paced(count: int, begun_s: float, every_s: float) -> Iterator[tuple[int, float]]:
    """Yield (n, when it was due), each not before it is due: whoever is late hurries."""
    for n in range(count):
        due_s = begun_s + n * every_s
        ahead_s = due_s - time.monotonic()
        if ahead_s > AHEAD_S:
            time.sleep(ahead_s)
        yield n, due_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--per-message", type=int, default=20)
    parser.add_argument("--probes", type=int, default=0)
    parser.add_argument("devices", nargs="+")
    args = parser.parse_args()
    probes = args.devices[len(args.devices) - args.probes :]
    print(json.dumps(Load(args.config, args.devices, args.per_message).run(args.rate, args.seconds, probes)))


if __name__ == "__main__":
    main()
