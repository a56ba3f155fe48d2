"""Heartbeats: said by the loop that works, so that a hung detector cannot look alive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge.keeper import Backlog
from edge.machine import temperature_c
from edge.moment import Moment
from edge.sender import Publisher
from models import topics
from models.messages import VERSION, Heartbeat, encode
from models.seal import Keyring


@dataclass(frozen=True, slots=True)
class Voice:
    """What every heartbeat of an agent needs."""

    link: Publisher
    keys: Keyring
    tenant: str
    period_ms: int
    config_version: str
    backlog: Callable[[], Backlog]


class Pulse:
    """The heartbeat of one device. Belongs to that device's loop."""

    def __init__(self, device_id: str, voice: Voice) -> None:
        self.device_id = device_id
        self._voice = voice
        self._frame_mono_ms: int | None = None
        self._inference_ms: deque[float] = deque(maxlen=1024)
        self._frames = 0
        self._said_mono_ms: int | None = None

    def frame(self, taken: Moment, inference_ms: float) -> None:
        """Note that a frame went through the detector."""
        self._frame_mono_ms = taken.mono_ms
        self._inference_ms.append(inference_ms)
        self._frames += 1

    def wait_ms(self, now: Moment) -> int:
        """Return how long it is until the next heartbeat."""
        if self._said_mono_ms is None:
            return 0
        return max(0, self._said_mono_ms + self._voice.period_ms - now.mono_ms)

    def beat(self, now: Moment) -> None:
        """Publish a heartbeat if one is due. With the link down it is not kept: the next one says more."""
        if self.wait_ms(now) > 0:
            return
        since_ms = now.mono_ms - self._said_mono_ms if self._said_mono_ms is not None else 0
        self._said_mono_ms = now.mono_ms
        message = self._message(now, since_ms, self._voice.backlog())
        self._frames = 0
        self._inference_ms.clear()
        topic = topics.heartbeat(self._voice.tenant, self.device_id)
        payload = self._voice.keys.seal(topic, encode(message), kid=self.device_id)
        self._voice.link.publish(topic, payload, qos=0)

    def _message(self, now: Moment, since_ms: int, backlog: Backlog) -> Heartbeat:
        p50_ms, p99_ms = np.percentile(self._inference_ms, (50, 99)) if self._inference_ms else (None, None)
        return Heartbeat(
            v=VERSION,
            device_id=self.device_id,
            at_ms=now.wall_ms,
            frame_age_ms=None if self._frame_mono_ms is None else max(0, now.mono_ms - self._frame_mono_ms),
            fps=round(self._frames * 1000.0 / since_ms, 2) if since_ms > 0 else 0.0,
            inference_p50_ms=None if p50_ms is None else round(float(p50_ms), 1),
            inference_p99_ms=None if p99_ms is None else round(float(p99_ms), 1),
            outbox_depth=backlog.depth,
            oldest_unsent_ms=backlog.oldest_ms,
            temperature_c=temperature_c(),
            config_version=self._voice.config_version,
        )
