"""A separate officer client: writes down when which incident's first alert arrived.

    python -m benchmarks.officer GRIDWARDEN_TOML

One line per incident on standard output: ``<incident_id> <received_ms>``. Ends with its standard input.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from models import seal, topics
from models.clock import now_ms
from models.config import load
from models.errors import MessageError
from models.link import Link
from models.messages import Alert, decode


def main(path: Path) -> None:
    config = load(path)
    seen: set[str] = set()

    def came(_topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        received_ms = now_ms()
        ack()
        try:
            alert = decode(seal.split(payload)[0], Alert)
        except MessageError:
            return  # an acknowledgement to `alerts`, on the topic beside
        if alert.incident_id not in seen:
            seen.add(alert.incident_id)
            print(alert.incident_id, received_ms, flush=True)

    link = Link(config.mqtt, "bench-officer", on_message=came, subscriptions=(topics.alert(config.tenant, "+"),))
    link.start()
    link.wait_connected(20)
    print("ready", flush=True)
    sys.stdin.read()
    link.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
