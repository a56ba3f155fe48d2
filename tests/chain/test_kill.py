"""Kill -9 of each process in the middle of a running clip: nothing lost, nothing twice, one incident, each told once.

The oracle stands outside the code under test, see `oracle.py`.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.machine import machine_hash
from edge.outbox import Outbox
from models.supervise import gridwarden
from tests.chain import oracle
from tests.chain.conftest import Up


def waiting(chain: Up) -> int:
    return oracle.count(chain.outbox, "outbox")


def kill_with_unacknowledged(chain: Up, name: str, *, hold: str, something: Callable[[], int]) -> None:
    """Kill `name` while something is unacknowledged: `hold` is stopped until there is, so that it cannot be chance."""
    chain.signal(hold, signal.SIGSTOP)
    chain.until(lambda: something() > 0, f"something is unacknowledged while {hold} stands still")
    pid = chain.pid(name)
    assert something() > 0
    chain.signal(name, signal.SIGKILL)
    if hold != name:
        chain.until(lambda: chain.pid(name) != pid, f"{name} is started again")
        chain.signal(hold, signal.SIGCONT)
    chain.until(lambda: chain.pid(name) != pid, f"{name} is started again")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killing_each_process_loses_nothing_and_doubles_nothing(
    up: Callable[..., Up], burning_street: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    city = state / "city"
    subprocess.run(gridwarden("city", "--units", "135", "--out", str(city)), check=True, capture_output=True)
    outbox = state / "outbox-edge-01.sqlite"
    Outbox(outbox, machine=machine_hash(), boot_id="before", max_bytes=1 << 29).close()
    oracle.plant_audit(outbox)

    chain = up("--clip", str(burning_street), "--until-end", "--timeout", "240", "--json", state=state)
    chain.pid("edge")
    recorder = oracle.Recorder(chain.config.mqtt, chain.config.tenant)
    try:
        kill_with_unacknowledged(
            chain, "alerts", hold="alerts", something=lambda: oracle.unacknowledged(chain.log, "orders")
        )
        kill_with_unacknowledged(chain, "stream", hold="stream", something=lambda: waiting(chain))
        settle(chain)
        kill_with_unacknowledged(chain, "broker", hold="broker", something=lambda: waiting(chain))
        settle(chain)
        kill_with_unacknowledged(chain, "edge", hold="stream", something=lambda: waiting(chain))
        report = chain.report(200)
    finally:
        recorder.stop()

    audit = [(row[0], row[1], row[2]) for row in oracle.query(outbox, "SELECT device_id, lane, seq FROM audit")]
    history = oracle.query(state / "history.db", "SELECT device_id, lane, seq FROM history")
    assert len(audit) > 30, "the clip made too few observations to mean anything"
    assert Counter(history) == Counter(audit), "each row is in the history exactly once"
    boots = oracle.query(outbox, "SELECT DISTINCT boot_id FROM audit")
    assert len(boots) == 2, "the restarted edge speaks under a new boot id"
    assert len(report["incidents"]) == 1
    assert {alert.incident_id for alert in recorder.alerts} == {report["incidents"][0]["incident_id"]}
    per_step: dict[tuple[str, int], set[str]] = {}
    for alert in recorder.alerts:
        per_step.setdefault((alert.person, alert.step), set()).add(alert.alert_id)
    assert per_step
    assert {step: ids for step, ids in per_step.items() if len(ids) > 1} == {}, "one alert id per officer and step"
    restarts = {name: child["restarts"] for name, child in json.loads((state / "up.json").read_text()).items()}
    assert restarts == {"broker": 1, "stream": 1, "alerts": 1, "edge": 1}


def settle(chain: Up) -> None:
    """Wait until the backlog of the last kill is gone: the next one shall stand for itself."""
    chain.until(lambda: waiting(chain) == 0, "the outbox is drained", 60)
