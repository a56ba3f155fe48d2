"""The two storms, spoken by one agent for all its cameras.

    python -m benchmarks.storm GRIDWARDEN_TOML --rate 1000 [--one 10000] DEVICE...

Without `--one` each device sees a fire of its own, so many a second; with it the first device alone sends so many
observations of one fire. Prints one JSON object, once all is acknowledged.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.load import ANSWER_S, BOOT, HIT_MS, HITS, Load, observation
from models.clock import mono_ms, now_ms
from models.messages import Observation, ObservationBatch, encode

AGENT: Final = "edge-01"
IN_MESSAGE: Final = 150
"""Observations: about 50 KiB."""


class Storm(Load):
    """The agent: its seqs are each device's own."""

    def run_storm(self, devices: Sequence[str], rate: float, one: int) -> dict[str, object]:
        """Send it at `rate` fires a second, or observations where `one` is set, and wait for the acknowledgements."""
        self.link.start()
        self.link.wait_connected(20)
        begun_s, begun_ms = time.monotonic(), now_ms()
        sent = 0
        parts = _parts([devices[0]] * one, IN_MESSAGE) if one else _parts(devices, IN_MESSAGE // HITS)
        for part in parts:
            ahead_s = begun_s + sent / rate - time.monotonic()
            time.sleep(max(0.0, ahead_s))
            sent += len(part)
            self._send_part(part, 1 if one else HITS)
        offered_s = time.monotonic() - begun_s
        deadline_s = time.monotonic() + ANSWER_S
        while self.waiting and time.monotonic() < deadline_s:
            time.sleep(0.02)
            self.resend()
        self.link.stop()
        observations = sum(self.seqs.values())
        return {"begun_ms": begun_ms, "sent": observations, "offered_s": offered_s, "resent_messages": self.resent}

    def _send_part(self, devices: Sequence[str], hits: int) -> None:
        wall, mono = now_ms(), mono_ms()
        seen: list[Observation] = []
        for device in devices:
            for n in range(hits):
                self.seqs[device] += 1
                age_ms = HIT_MS * (hits - 1 - n)
                seen.append(observation(device, self.seqs[device], wall - age_ms, mono - age_ms, 0.97))
        batch = ObservationBatch(v=1, boot_id=BOOT, sent_at_ms=wall, sent_mono_ms=mono, observations=tuple(seen))
        self.send_for(AGENT, (devices[-1], self.seqs[devices[-1]]), encode(batch))


def _parts(devices: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (devices[start : start + size] for start in range(0, len(devices), size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--one", type=int, default=0)
    parser.add_argument("devices", nargs="+")
    args = parser.parse_args()
    print(json.dumps(Storm(args.config, [*args.devices, AGENT]).run_storm(args.devices, args.rate, args.one)))


if __name__ == "__main__":
    main()
