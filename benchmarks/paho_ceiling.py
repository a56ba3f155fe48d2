"""What paho itself moves, one sealed observation a message, QoS 1, and what our client does, which is paho with its
packets taken together (`models/packets.py`): a publisher and a subscriber, a process each.

    python -m benchmarks.paho_ceiling NAME PORT SECONDS      the publisher

The subscriber does nothing but acknowledge: no ingest written on the same client takes more messages than this.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import paho.mqtt.client as paho

from benchmarks.load import OUTBOX, observation
from benchmarks.streaming import line
from models.clock import mono_ms, now_ms
from models.config import Mqtt
from models.link import Link
from models.messages import ObservationBatch, encode
from models.seal import seal

TOPIC: Final = "bench/ceiling"
SAID: Final = "bench/said"
EVERY: Final = 100
OUTSTANDING: Final = 2_000


class PahoLink(Link):
    """The link on paho as it comes."""

    client_class = paho.Client


LINKS: Final[dict[str, type[Link]]] = {"paho": PahoLink, "ours": Link}


def run(mqtt: Mqtt, seconds: float) -> None:
    """Print how many messages a second arrive on paho, and on ours beside it."""
    theirs, _ = arriving("paho", mqtt, seconds)
    value, cores = arriving("ours", mqtt, seconds)
    case = {"per_message": 1, "qos": 1}
    line({"peer": "paho", **case}, "messages_per_s", theirs, "1/s")
    figures = {"peer": "paho", "peer_value": round(theirs, 1), "ratio": round(value / theirs, 3)}
    line({"client": "ours", **case}, "messages_per_s", value, "1/s", subscriber_cores=cores, **figures)


def arriving(name: str, mqtt: Mqtt, seconds: float) -> tuple[float, float]:
    """Return how many messages a second arrive, and how much of a core the subscriber takes."""
    times: list[float] = []

    def came(_topic: str, _payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        ack()
        times.append(time.monotonic())
        if len(times) % EVERY == 0:
            link.publish(SAID, b"", qos=0)

    link = LINKS[name](mqtt, "bench-ceiling", on_message=came, subscriptions=(TOPIC,))
    link.start()
    link.wait_connected(20)
    cpu_s = time.process_time()
    command = [sys.executable, "-P", "-m", "benchmarks.paho_ceiling", name, str(mqtt.port), str(seconds)]
    subprocess.run(command, check=True)
    time.sleep(0.5)
    link.stop()
    took_s = times[-1] - times[0]
    return len(times) / took_s, round((time.process_time() - cpu_s) / took_s, 3)


def publish(name: str, port: int, seconds: float) -> None:
    """Publish as fast as they arrive."""
    room = threading.Semaphore(OUTSTANDING)

    def said(_topic: str, _payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        ack()
        room.release(EVERY)

    link = LINKS[name](Mqtt(embedded=False, port=port), "bench-publisher", on_message=said, subscriptions=(SAID,))
    link.start()
    link.wait_connected(20)
    wall, mono = now_ms(), mono_ms()
    seen = (observation("cam-0000", 1, wall, mono, 0.16),)
    batch = ObservationBatch(v=1, boot_id=OUTBOX, sent_at_ms=wall, sent_mono_ms=mono, observations=seen)
    payload = seal(TOPIC, encode(batch), kid="cam-0000", key=bytes(32))
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if room.acquire(timeout=0.5):
            link.publish(TOPIC, payload)
    link.stop()


if __name__ == "__main__":
    publish(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
