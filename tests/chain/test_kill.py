"""Kill -9 of each process in the middle of a running clip: nothing lost, nothing twice, one incident, each told once.

The oracle stands outside the code under test, see `oracle.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edge.machine import machine_hash
from edge.outbox import Outbox
from models.supervise import gridwarden
from tests.chain import oracle
from tests.chain.conftest import Up


def waiting(chain: Up) -> int:
    return oracle.count(chain.outbox, "outbox")


@contextmanager
def standing_still(chain: Up, name: str) -> Iterator[None]:
    """Stop `name` (SIGSTOP), and let it go on after, unless it was killed meanwhile."""
    pid = chain.pid(name)
    chain.signal(name, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kill(chain: Up, name: str, *, unacknowledged: int) -> None:
    """Kill `name`, and wait until it runs again; what is `unacknowledged` at that moment must not be nothing."""
    assert unacknowledged > 0
    pid = chain.pid(name)
    os.kill(pid, signal.SIGKILL)
    chain.until(lambda: chain.pid(name) != pid, f"{name} is started again")


def seen(chain: Up) -> int:
    return oracle.count(chain.outbox, "audit")


def more_seen(chain: Up, rows: int) -> None:
    """Wait until the edge has put `rows` more into its outbox."""
    before = seen(chain)
    chain.until(lambda: seen(chain) >= before + rows, f"the edge sees {rows} more")


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
        with standing_still(chain, "alerts"):
            chain.until(lambda: oracle.unacknowledged(chain.log, "orders") > 0, "an order waits for alerts")
            kill(chain, "alerts", unacknowledged=oracle.unacknowledged(chain.log, "orders"))
        with oracle.locked(chain.log):
            # The stream takes messages and cannot store them: whoever acknowledges now loses them by the kill.
            more_seen(chain, 4)
            kill(chain, "stream", unacknowledged=waiting(chain))
        settle(chain)
        with standing_still(chain, "broker"):
            more_seen(chain, 2)
            kill(chain, "broker", unacknowledged=waiting(chain))
        settle(chain)
        with standing_still(chain, "stream"):
            more_seen(chain, 2)
            kill(chain, "edge", unacknowledged=waiting(chain))
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
