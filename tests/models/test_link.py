from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
import pytest

from models.broker import free_port
from models.config import Mqtt
from models.errors import ConfigError
from models.link import Link
from tests.conftest import embedded_broker, wait_until

VERSIONS = pytest.mark.parametrize("protocol", [5, 4], ids=["mqtt5", "mqtt311"])


def speak(settings: Mqtt, protocol: int) -> Mqtt:
    """The same broker, by the listener of that protocol version."""
    if protocol == 5:
        return settings
    assert settings.port_v3 is not None
    return msgspec.structs.replace(settings, protocol=4, port=settings.port_v3)


class Listener:
    """A link that keeps what it hears."""

    def __init__(self, settings: Mqtt, *filters: str) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self.link = Link(settings, "listener", on_message=self._hear, subscriptions=filters)
        self.link.start()
        assert self.link.wait_connected(10)

    def _hear(self, topic: str, payload: bytes, retained: bool, ack: Callable[[], None]) -> None:
        self.heard.append((topic, payload, retained))
        ack()

    def payloads(self, topic: str) -> list[bytes]:
        return [payload for heard, payload, _ in self.heard if heard == topic]


@VERSIONS
def test_a_message_arrives(mqtt_broker: Mqtt, protocol: int) -> None:
    settings = speak(mqtt_broker, protocol)
    listener = Listener(settings, "x/#")
    link = Link(settings, "sender")
    link.start()
    assert link.wait_connected(10)
    assert link.publish("x/1", b"z" * 60_000)
    wait_until(lambda: bool(listener.heard))
    assert listener.heard == [("x/1", b"z" * 60_000, False)]
    link.stop()
    listener.link.stop()


@VERSIONS
def test_a_burst_of_messages_of_all_sizes_comes_whole_and_in_order(mqtt_broker: Mqtt, protocol: int) -> None:
    settings = speak(mqtt_broker, protocol)
    listener = Listener(settings, "x/#")
    link = Link(settings, "sender")
    link.start()
    assert link.wait_connected(10)
    sizes = random.Random(5).choices([0, 1, 100, 127, 128, 5_000, 65_536, 90_000], k=300)
    payloads = [n.to_bytes(4, "big") + bytes(size) for n, size in enumerate(sizes)]
    for payload in payloads:
        assert link.publish("x/1", payload)
    wait_until(lambda: len(listener.heard) == len(payloads))
    assert listener.payloads("x/1") == payloads
    link.stop()
    listener.link.stop()


@VERSIONS
def test_what_is_not_subscribed_any_more_does_not_come(mqtt_broker: Mqtt, protocol: int) -> None:
    listener = Listener(speak(mqtt_broker, protocol), "x/kept")
    listener.link.subscribe(["x/gone", "x/kept"])
    listener.link.publish("x/gone", b"1")
    wait_until(lambda: listener.payloads("x/gone") == [b"1"])
    listener.link.unsubscribe({"x/gone", "x/never"})
    for topic in ("x/gone", "x/kept"):
        listener.link.publish(topic, b"2")
    wait_until(lambda: listener.payloads("x/kept") == [b"2"])
    assert listener.payloads("x/gone") == [b"1"]
    listener.link.stop()


@VERSIONS
def test_a_link_that_is_down_takes_nothing(protocol: int) -> None:
    link = Link(Mqtt(port=free_port(), protocol=5 if protocol == 5 else 4), "sender")
    link.start()
    assert not link.publish("x/1", b"lost")
    wait_until(lambda: link.refused is not None)
    assert not link.connected
    assert "cannot be reached" in str(link.refused)
    link.stop()


@VERSIONS
def test_the_last_will_is_published_when_a_link_vanishes_and_not_when_it_leaves(
    mqtt_broker: Mqtt, protocol: int
) -> None:
    settings = speak(mqtt_broker, protocol)
    listener = Listener(settings, "x/#")
    leaving = Link(settings, "leaving", will=lambda: ("x/leaving", b"gone"))
    vanishing = Link(settings, "vanishing", will=lambda: ("x/vanishing", b"gone"))
    for link in (leaving, vanishing):
        link.start()
        assert link.wait_connected(10)
    leaving.stop()
    sock = vanishing._client.socket()
    assert isinstance(sock, socket.socket)
    sock.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: listener.payloads("x/vanishing") == [b"gone"])
    assert listener.payloads("x/leaving") == []
    vanishing.stop()
    listener.link.stop()


@VERSIONS
def test_greetings_are_retained_and_come_again_after_a_broker_that_forgot_them(tmp_path: Path, protocol: int) -> None:
    ups: list[bool] = []
    wills: list[tuple[str, bytes]] = []

    def will() -> tuple[str, bytes]:
        wills.append(("x/status", b"gone %d" % len(wills)))
        return wills[-1]

    port, port_v3 = free_port(), free_port()
    with embedded_broker(tmp_path / "first", port=port, port_v3=port_v3) as settings:
        greeter = Link(
            speak(settings, protocol),
            "greeter",
            will=will,
            greetings=lambda: [("x/status", b"here, not %b" % wills[-1][1])],
            on_change=ups.append,
        )
        greeter.start()
        assert greeter.wait_connected(10)
    wait_until(lambda: not greeter.connected)
    with embedded_broker(tmp_path / "second", port=port, port_v3=port_v3) as settings:
        wait_until(lambda: greeter.connected)
        listener = Listener(speak(settings, protocol), "x/#")  # later than the greeting: hears what was retained
        wait_until(lambda: bool(listener.heard))
        assert wills[0] != wills[-1], "of each connection its own"
        assert ("x/status", b"here, not %b" % wills[-1][1]) in {(topic, said) for topic, said, _ in listener.heard}
        assert ups == [True, False, True]
        greeter.stop()
        listener.link.stop()


def test_a_link_comes_back_though_pahos_thread_ends_while_it_is_being_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []

    def stop(client: mqtt.Client) -> None:
        while client._thread is not None:
            time.sleep(0.001)
        ended.append(1)
        raise AttributeError("'NoneType' object has no attribute 'join'")  # as paho, which asks for it twice

    monkeypatch.setattr(mqtt.Client, "loop_stop", stop)
    port = free_port()
    with embedded_broker(tmp_path / "first", port=port) as settings:
        link = Link(settings, "sender")
        link.start()
        assert link.wait_connected(10)
    with embedded_broker(tmp_path / "second", port=port):
        wait_until(lambda: bool(ended) and link.connected)
    link.stop()


@VERSIONS
def test_a_wrong_password_is_never_connected_and_says_so(tmp_path: Path, protocol: int) -> None:
    with embedded_broker(tmp_path / "broker", username="edge", password="right") as broker:
        settings = speak(broker, protocol)
        wrong = tmp_path / "wrong"
        wrong.write_text("wrong\n")
        refused = Link(msgspec.structs.replace(settings, password_file=str(wrong)), "refused")
        refused.start()
        wait_until(lambda: refused.refused is not None)
        assert "password" in str(refused.refused)
        assert not refused.connected
        assert not refused.publish("x/1", b"lost")
        taken = Link(settings, "taken")
        taken.start()
        assert taken.wait_connected(10)
        refused.stop()
        taken.stop()


@pytest.mark.mosquitto
@VERSIONS
def test_mosquitto_refuses_a_wrong_password_and_takes_the_right_one(
    mosquitto: Mqtt, tmp_path: Path, protocol: int
) -> None:
    settings = msgspec.structs.replace(mosquitto, protocol=protocol)
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    refused = Link(msgspec.structs.replace(settings, password_file=str(wrong)), "refused")
    refused.start()
    wait_until(lambda: refused.refused is not None)
    assert "refuses the login" in str(refused.refused)
    assert "uthor" in str(refused.refused)
    assert not refused.connected
    taken = Link(settings, "taken")
    taken.start()
    assert taken.wait_connected(10)
    refused.stop()
    taken.stop()


def test_a_password_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        Link(Mqtt(username="edge", password_file=str(tmp_path / "nowhere")), "sender")
