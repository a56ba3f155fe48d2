"""What stands where `alerts` would: takes the orders, says that they are stored, and notes when each first came.

    python -m benchmarks.receiver GRIDWARDEN_TOML

Prints ``ready``, and at the end of its standard input one JSON object.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from models import seal, topics
from models.clock import now_ms
from models.config import load
from models.link import Link
from models.messages import Ack, encode
from models.seqset import to_ranges

ACK_S = 0.02


class _Incident(Struct):
    incident_id: str
    sources: tuple[str, ...]
    count: int


class _Order(Struct):
    outbox_id: str
    seq: int
    incident: _Incident


class Receiver:
    """The link's thread takes, the main thread acknowledges, many at once."""

    def __init__(self, path: Path) -> None:
        config = load(path)
        self.incidents: set[str] = set()
        self.most = 0
        """The highest count of evidence that an incident came with."""
        self.first: dict[str, int] = {}
        self.seqs: set[int] = set()
        self._keys = seal.load_keys(config.keys, [topics.ALERTS])
        self._decode = msgspec.json.Decoder(_Order).decode
        self._waiting: list[_Order] = []
        self._ack_topic = topics.ack(config.tenant, topics.STREAM)
        orders = (topics.order(config.tenant, "+"),)
        self.link = Link(config.mqtt, "bench-receiver", on_message=self._came, subscriptions=orders)

    def _came(self, _topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        received_ms = now_ms()
        ack()
        order = self._decode(seal.split(payload)[0])
        incident = order.incident
        self.seqs.add(order.seq)
        self._waiting.append(order)
        self.incidents.add(incident.incident_id)
        self.most = max(self.most, incident.count)
        for device in incident.sources:
            self.first.setdefault(device, received_ms)

    def run(self, ended: threading.Event) -> None:
        """Acknowledge, until `ended`."""
        while not ended.wait(ACK_S):
            taken, self._waiting = self._waiting, []
            if taken:
                stored = to_ranges(order.seq for order in taken)
                ack = Ack(v=1, receiver="alerts", outbox_id=taken[0].outbox_id, stored=stored)
                self.link.publish(self._ack_topic, self._keys.seal(self._ack_topic, encode(ack), kid=topics.ALERTS))


def main(path: Path) -> None:
    receiver = Receiver(path)
    receiver.link.start()
    receiver.link.wait_connected(20)
    print("ready", flush=True)
    ended = threading.Event()
    running = threading.Thread(target=receiver.run, args=(ended,))
    running.start()
    for line in sys.stdin:  # how far it is, each time somebody asks
        del line
        print(len(receiver.incidents), len(receiver.first), receiver.most, flush=True)
    ended.set()
    running.join()
    receiver.link.stop()
    found = {"orders": len(receiver.seqs), "incidents": len(receiver.incidents), "most": receiver.most}
    print(json.dumps({**found, "first": receiver.first, "cpu_s": time.process_time()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
