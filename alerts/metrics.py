"""What people have open and whether every device can be heard, for a Prometheus."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from alerts.casebook import Case
from alerts.dispatcher import Dispatcher
from alerts.office import Office
from models.config import FILE, Config
from models.messages import Priority
from models.metrics import Figure, Metrics

EVERY_S: Final = 2.0


def figures_of(office: Office, dispatcher: Dispatcher) -> list[Figure]:
    """Return what is shown."""
    open_cases = Counter[Priority](case.order.incident.priority for case in office.book.cases.values() if _is_own(case))
    songs = dispatcher.canaries.songs(office.now_ms())
    entries = office.tail[-1].seq if office.tail else 0
    return [
        Figure("alerts_ledger_entries", "Entries of the ledger.", "counter", {(): entries}),
        Figure(
            *("alerts_open_cases", "Cases that are not closed.", "gauge"),
            {(priority.value,): open_cases[priority] for priority in Priority},
            ("priority",),
        ),
        Figure(
            *("alerts_canary_silent", "1: nothing of what the device sees may arrive here.", "gauge"),
            {(song.device_id,): song.is_silent for song in songs},
            ("device",),
        ),
        Figure(
            *("alerts_canary_latency_seconds", "How long the device's last canary took.", "gauge"),
            {(song.device_id,): song.latency_ms / 1000 for song in songs},
            ("device",),
        ),
    ]


def _is_own(case: Case) -> bool:
    return case.is_open and case.merged_into is None


async def tell(config: Config, office: Office, dispatcher: Dispatcher) -> None:
    """Answer a Prometheus for ever, where the config wants it.

    Raises:
        ConfigError: something else listens on the port.
    """
    port = config.alerts.metrics_port
    if port is None:
        return
    metrics = Metrics(port, (f"{config.folder}/{FILE}", "alerts.metrics_port"))
    try:
        while True:
            metrics.show(figures_of(office, dispatcher))
            await asyncio.sleep(EVERY_S)
    finally:
        metrics.close()
