"""The world around `alerts`, played over the real broker: the stream, the devices and the officers' devices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Self, TypeVar

import httpx

from models import topics
from models.clock import now_ms
from models.link import Link
from models.messages import (
    Ack,
    Alert,
    Decision,
    DispatchOrder,
    Evidence,
    Load,
    Message,
    Observation,
    ObservationBatch,
    Receipt,
    ReceiptKind,
    decode,
    encode,
)
from tests.alerts.town import Town
from tests.conftest import wait_until

M = TypeVar("M", bound=Message)


class Field:
    """Everybody else on the broker. Keeps every message that came, in order."""

    def __init__(self, town: Town, name: str = "field") -> None:
        self.town = town
        self.tenant = town.config.tenant
        self.came: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()
        root = f"{topics.ROOT}/{self.tenant}"
        wanted = (f"{root}/alerts/+", f"{root}/+/ack", f"{root}/decisions/+", f"{root}/load/+")
        self.link = Link(town.config.mqtt, name, on_message=self._on_message, subscriptions=wanted)

    def __enter__(self) -> Self:
        self.link.start()
        assert self.link.wait_connected(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.link.stop()

    def _on_message(self, topic: str, payload: bytes, _retained: bool, ack: Callable[[], None]) -> None:
        with self._lock:
            self.came.append((topic, payload))
        ack()

    def publish(self, topic: str, message: Message, kid: str, attachment: bytes = b"") -> None:
        payload = self.town.keys.seal(topic, encode(message), kid=kid, attachment=attachment)
        assert self.link.publish(topic, payload)

    def publish_raw(self, topic: str, payload: bytes) -> None:
        assert self.link.publish(topic, payload)

    def order(self, order: DispatchOrder) -> None:
        self.publish(topics.order(self.tenant, order.incident.incident_id), order, "stream")

    def picture(self, device: str, evidence_id: str, jpeg: bytes, **changes: Any) -> Evidence:
        head = Evidence(
            v=1,
            evidence_id=evidence_id,
            device_id=device,
            sha256=sha256(jpeg).hexdigest(),
            captured_at_ms=now_ms(),
            redaction="outside_box",
            **changes,
        )
        self.publish(topics.evidence(self.tenant, device, evidence_id), head, device, jpeg)
        return head

    def receipt(self, alert: Alert, kind: ReceiptKind, reason: str = "") -> None:
        receipt = Receipt(v=1, alert_id=alert.alert_id, kind=kind, by=alert.person, at_ms=now_ms(), reason=reason)
        self.publish(topics.receipt(self.tenant, alert.person), receipt, alert.person)

    def take_decision(self, decision: Decision) -> None:
        stored = ((decision.seq, decision.seq),)
        ack = Ack(v=1, receiver="stream", outbox_id=decision.outbox_id, lane="decisions", stored=stored)
        self.publish(topics.ack(self.tenant, "alerts"), ack, "stream")

    def _all(self, what: str, kind: type[M], *, kid: str) -> list[M]:
        with self._lock:
            came = list(self.came)
        found = []
        for topic, payload in came:
            parsed = topics.parse(topic)
            if parsed is None or parsed.what == "ack" or (parsed.what == "obs") != (what == "obs"):
                continue
            if what in (parsed.who, parsed.what):
                by, line, _ = self.town.keys.open(topic, payload)
                assert by == kid
                found.append(decode(line, kind))
        return found

    @property
    def alerts(self) -> list[Alert]:
        return self._all("alerts", Alert, kid="alerts")

    @property
    def reports(self) -> list[Observation]:
        batches = self._all("obs", ObservationBatch, kid="alerts")
        return [report for batch in batches for report in batch.observations]

    def take_report(self, report: Observation) -> None:
        ack = Ack(v=1, receiver="stream", outbox_id=report.outbox_id, lane=report.lane, stored=((report.seq,) * 2,))
        self.publish(topics.ack(self.tenant, "alerts"), ack, "stream")

    @property
    def decisions(self) -> list[Decision]:
        return self._all("decisions", Decision, kid="alerts")

    @property
    def loads(self) -> list[Load]:
        """The newest word of each person, in the order in which they came."""
        newest = {load.person: load for load in self._all("load", Load, kid="alerts")}
        return list(newest.values())

    def acks(self, sender: str) -> list[Ack]:
        topic = topics.ack(self.tenant, sender)
        with self._lock:
            came = [payload for t, payload in self.came if t == topic]
        return [decode(self.town.keys.open(topic, payload)[1], Ack) for payload in came]


class Service:
    """The `alerts` process itself, as `gridwarden alerts` starts it."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.process: subprocess.Popen[bytes] | None = None
        self.log = town.config.state / "alerts.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def start(self) -> None:
        ready = self.town.config.state / "alerts.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-P", "-m", "models.cli", "alerts", str(self.town.file)]
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                command, stdout=sink, stderr=sink, env={**os.environ, "PYTHONUNBUFFERED": "1"}
            )
        process = self.process
        wait_until(lambda: ready.exists() or process.poll() is not None, 40)
        assert ready.exists(), self.log.read_text()

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=10)

    @property
    def ready(self) -> dict[str, Any]:
        ready: dict[str, Any] = json.loads((self.town.config.state / "alerts.json").read_text())
        return ready

    @property
    def address(self) -> str:
        return str(self.ready["address"]).rstrip("/")

    def login(self, who: str) -> str:
        token = (self.town.config.state / "logins" / who).read_text().strip()
        return f"{self.address}/login?token={token}"

    def client(self, who: str | None = None) -> httpx.Client:
        """Return a client with the cookie of `who`; its POSTs come from our own page."""
        own_page = {"Origin": self.address}
        client = httpx.Client(base_url=self.address, headers=own_page, trust_env=False, timeout=10)
        if who is not None:
            answer = httpx.get(self.login(who), trust_env=False)
            assert answer.status_code == 303
            client.cookies = answer.cookies
        return client
