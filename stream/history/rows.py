"""What the history keeps of an observation, and the figures that it gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from models.messages import ButtonPress, Detection, Dropped, Fault, Payload, Reading, Report, SelfTest


def describe(payload: Payload) -> tuple[str, str, float | None, float | None]:  # noqa: PLR0911  # one a kind
    """Return kind, label, confidence and value of what a device said."""
    match payload:
        case Detection():
            return "detection", payload.label, payload.confidence, None
        case Reading():
            return "reading", payload.property, None, payload.value
        case ButtonPress():
            return "button", payload.button, None, None
        case Report():
            return "report", payload.category, None, None
        case Fault():
            return "fault", payload.fault, None, None
        case SelfTest():
            return "test", payload.label, None, None
        case Dropped():
            return "dropped", payload.lane, None, float(sum(last - first + 1 for first, last in payload.ranges))


class Latency(Struct, frozen=True, kw_only=True):
    """How long it took, in ms."""

    count: int
    p50_ms: int
    p95_ms: int
    p99_ms: int


def percentiles(sorted_ms: Sequence[int]) -> Latency:
    """Return the percentiles of values in rising order, of which there is at least one: each a value that occurred."""
    at = [sorted_ms[min(len(sorted_ms) - 1, math.ceil(share * len(sorted_ms)) - 1)] for share in (0.5, 0.95, 0.99)]
    return Latency(count=len(sorted_ms), p50_ms=at[0], p95_ms=at[1], p99_ms=at[2])
