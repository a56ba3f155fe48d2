from __future__ import annotations

import pytest
from msgspec.structs import replace

from models.broker import free_port
from models.clock import now_ms
from models.config import to_toml
from models.messages import CANARY, Timeline
from tests.alerts.field import Field, Service
from tests.alerts.town import Town, chain, incident, order
from tests.conftest import wait_until
from tests.stream.test_metrics import scrape


@pytest.mark.slow
def test_a_prometheus_gets_open_cases_and_canaries(town: Town, field: Field) -> None:
    port = free_port()
    config = replace(town.config, alerts=replace(town.config.alerts, metrics_port=port))
    town.file.write_bytes(to_toml(config))
    with Service(town) as service:
        wait_until(lambda: scrape(port).get(("gridwarden_alerts_open_cases", (("priority", "P2"),))) == 0)
        at = incident(now_ms=now_ms())
        field.order(order(at, steps=chain(at, now_ms())))
        sung = replace(at, category=CANARY, sources=("cam-01",), timeline=Timeline(captured_ms=now_ms() - 100))
        field.order(order(sung, steps=(), seq=2, reasons=("CANARY",)))
        cam = (("device", "cam-01"),)
        wait_until(lambda: ("gridwarden_alerts_canary_silent", cam) in scrape(port))
        wait_until(lambda: scrape(port)["gridwarden_alerts_open_cases", (("priority", at.priority.value),)] == 1)
        found = scrape(port)
        assert found["gridwarden_alerts_canary_silent", cam] == 0
        assert found["gridwarden_alerts_canary_latency_seconds", cam] >= 0.1
        assert found["gridwarden_alerts_ledger_entries_total", ()] >= 2
        assert service.stop() == 0
