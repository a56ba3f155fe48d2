"""Which machine this is, so that a cloned card is found out."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

SOURCES: Final = (
    # A Pi's serial number is in its silicon; the machine id lies on the card and is cloned with it.
    Path("/proc/device-tree/serial-number"),
    Path("/etc/machine-id"),
    Path("/var/lib/dbus/machine-id"),
)


def machine_hash(sources: tuple[Path, ...] = SOURCES) -> str:
    """Return a hash of the first of `sources` that says something; of nothing where none does (a bare container)."""
    for path in sources:
        try:
            text = path.read_bytes().strip(b"\0 \n")
        except OSError:
            continue
        if text:
            return hashlib.sha256(b"gridwarden outbox\n" + text).hexdigest()[:32]
    return "unknown"


def temperature_c(path: Path = Path("/sys/class/thermal/thermal_zone0/temp")) -> float | None:
    """Return the temperature of the processor, where the kernel tells it."""
    try:
        return int(path.read_text()) / 1000.0
    except (OSError, ValueError):
        return None
