"""Real edge code on many cameras in turn: capture, detect, track, confirm, redact, outbox, link.

    python -m benchmarks.fires GRIDWARDEN_TOML CLIP DEVICE...

One line per camera on standard output: ``<device> <incident_id> <captured_ms>``: the frame that completes the
confirmation, and the id that its incident will have. Three cameras run at a time.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.load import HITS
from edge import moment
from edge.camera import CameraLoop, Scene
from edge.keeper import Keeper
from edge.machine import machine_hash
from edge.outbox import Entry, Outbox
from edge.pulse import Pulse, Voice
from models import ids, topics
from models.config import Camera, Config, load
from models.detectors import load as load_detector
from models.detectors import thresholds_of
from models.link import Link
from models.messages import Detection, Lane
from models.seal import Keyring, load_keys

AT_A_TIME = 3


@dataclass
class Watch:
    """Notes when the candidate of one label and one camera was captured that completes the confirmation."""

    hints: dict[str, float]
    put: Callable[[Entry], None]
    hits: dict[str, int] = field(default_factory=dict)
    first_seq: int | None = None
    drafts: int = 0
    captured_ms: int | None = None

    def take(self, entry: Entry) -> None:
        """Note what counts in `entry`, and hand it on."""
        for draft in entry.drafts:
            self.drafts += 1
            seen = draft.payload
            if not isinstance(seen, Detection) or seen.confidence < self.hints[seen.label]:
                continue
            self.first_seq = self.first_seq or self.drafts
            self.hits[seen.label] = self.hits.get(seen.label, 0) + 1
            if self.hits[seen.label] == HITS and self.captured_ms is None:
                self.captured_ms = draft.observed.wall_ms
        self.put(entry)


def main(path: Path, clip: str, devices: list[str]) -> None:
    config = load(path)
    keys = load_keys(config.keys, [*devices, topics.STREAM, topics.ALERTS])
    keeper, link, box = _hop(config, keys, devices)
    link.start()
    link.wait_connected(20)
    keeper.start()
    keeper.ready.wait(20)
    detectors = [load_detector(config.edge.detector) for _ in range(AT_A_TIME)]
    hints = {label: hint for label, (hint, _) in thresholds_of(config.edge.detector).items()}
    voice = Voice(link, keys, config.tenant, 15_000, "", lambda: keeper.backlog)

    def play(n: int) -> None:
        device = devices[n]
        watch = Watch(hints, keeper.put)
        camera = Camera(device=device, source=clip)
        edge = msgspec.structs.replace(config.edge, cameras=(camera,))
        start = moment.now().mono_ms
        scene = Scene(camera, edge, Path(), "boot-bench", start, free.pop(), Pulse(device, voice), watch.take)
        stop = threading.Event()
        loop = CameraLoop(scene)
        ender = threading.Timer(seconds, stop.set)
        ender.start()
        loop.run(stop)
        free.append(scene.detector)
        if watch.captured_ms is None or watch.first_seq is None:
            print(f"{device}: no confirmation in {seconds} s", file=sys.stderr)
            return
        incident = ids.incident_id(config.tenant, device, box[0].outbox_id, Lane.ALARM, watch.first_seq)
        print(device, incident, watch.captured_ms, flush=True)

    free, seconds = list(detectors), 4.0
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(play, range(len(devices))))
    sys.stdin.read()
    keeper.stop()
    link.stop()


def _hop(config: Config, keys: Keyring, devices: list[str]) -> tuple[Keeper, Link, list[Outbox]]:
    box: list[Outbox] = []

    def open_outbox() -> Outbox:
        path = config.state / "outbox-bench.sqlite"
        box.append(Outbox(path, machine=machine_hash(), boot_id="boot-bench", max_bytes=256 * 2**20))
        return box[0]

    def came(topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        keeper.ack_came(topic, payload)
        ack()

    acks = tuple(topics.ack(config.tenant, device) for device in devices)
    link = Link(config.mqtt, "bench-edge", on_message=came, subscriptions=acks)
    keeper = Keeper(open_outbox, link, keys, tenant=config.tenant, agent="edge-01")
    return keeper, link, box


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
