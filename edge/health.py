"""Whether a camera still sees: frozen, dark and covered pictures are faults, not silence. Pure.

Honest and simple: a frozen stream repeats its pixels exactly, which a living sensor never does; a dark or covered lens
has no light, or no contrast. Dirt, defocus and a turned camera are not found here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from edge.evidence import Image

STEP: Final = 8
"""Every eighth pixel of every eighth row is looked at."""
AFTER_MS: Final = 10_000
"""How long a picture must be bad to be a fault: headlights and lorries pass."""
AGAIN_MS: Final = 300_000
DARK: Final = 10.0
FLAT: Final = 3.0


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of one camera's pictures.

    Attributes:
        sample: the latest picture, thinned out, as bytes.
        suspicion: `frozen`, `dark`, `covered`, or empty.
        since_mono_ms: since when.
        told_mono_ms: when it was last reported, if it was.
    """

    sample: bytes = b""
    suspicion: str = ""
    since_mono_ms: int = 0
    told_mono_ms: int | None = None


def look(health: Health, image: Image, *, now_mono_ms: int) -> tuple[Health, str | None]:
    """Return the health after one more frame, and the fault to report now, if any; again every five minutes."""
    thin = image[::STEP, ::STEP]
    sample = thin.tobytes()
    suspicion = _suspect(thin, is_same=sample == health.sample)
    if suspicion != health.suspicion:
        return Health(sample, suspicion, now_mono_ms), None
    told_mono_ms = health.told_mono_ms
    is_fault = bool(suspicion) and now_mono_ms - health.since_mono_ms >= AFTER_MS
    if is_fault and (told_mono_ms is None or now_mono_ms - told_mono_ms >= AGAIN_MS):
        return Health(sample, suspicion, health.since_mono_ms, now_mono_ms), suspicion
    return Health(sample, suspicion, health.since_mono_ms, told_mono_ms), None


def is_well(health: Health, *, now_mono_ms: int) -> bool:
    """Whether the pictures have been good for as long as bad ones must be bad to be a fault."""
    return not health.suspicion and now_mono_ms - health.since_mono_ms >= AFTER_MS


def _suspect(thin: Image, *, is_same: bool) -> str:
    if float(np.mean(thin)) < DARK:
        return "dark"
    if float(np.std(thin)) < FLAT:
        return "covered"
    return "frozen" if is_same else ""
