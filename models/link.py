"""The one door to MQTT: a link that keeps itself up and says honestly whether it is.

- "Connected" means that the broker took the login; a refused login is an error with its reason, never a connection.
- Reconnects with jittered back-off, for ever; every connect subscribes and publishes the retained messages again.
- Never keeps a message for its sender: what must not be lost lives in an outbox or a log until it is acknowledged.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from models.config import Mqtt
from models.errors import ConfigError, Problem
from models.jitter import jittered
from models.packets import Client

log = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 0.2
LAST_RETRY_S: Final = 15.0
SESSION_EXPIRY_S: Final = 24 * 3600

OnMessage = Callable[[str, bytes, bool, Callable[[], None]], None]
"""(topic, payload, retained, ack): runs on the link's thread; must be quick and must not raise. `ack` may be called
later and from any thread; until then the broker keeps a QoS 1 message for us."""


class Link:
    """One MQTT connection on a thread of its own.

    Args:
        settings: the broker.
        client_id: unique on the broker; two links with one id throw each other out.
        on_message: gets every message of the `subscriptions`.
        subscriptions: topic filters, subscribed with QoS 1 on each connect.
        will: gives, for each connection, (topic, payload) that the broker publishes, retained, when we vanish.
        greetings: gives (topic, payload) pairs to publish, retained, on each connect.
        persistent: the broker keeps our session and its messages while we are away.
        on_change: told True after each accepted login and False after each loss, on the link's thread.
    """

    client_class: type[mqtt.Client] = Client

    def __init__(  # noqa: PLR0913  # a connection has that many independent properties, all but two optional
        self,
        settings: Mqtt,
        client_id: str,
        *,
        on_message: OnMessage | None = None,
        subscriptions: tuple[str, ...] = (),
        will: Callable[[], tuple[str, bytes]] | None = None,
        greetings: Callable[[], list[tuple[str, bytes]]] | None = None,
        persistent: bool = False,
        on_change: Callable[[bool], None] | None = None,
    ) -> None:
        self.refused: str | None = None
        """Why the broker refuses us, while it does."""
        self._settings = settings
        self._subscriptions = dict.fromkeys(subscriptions)
        self._greetings = greetings
        self._on_message = on_message
        self._on_change = on_change
        self._persistent = persistent
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._retry_s = FIRST_RETRY_S
        self._down = threading.Event()
        self._has_answer = False
        self._client_id = client_id
        self._will = will
        self._secret = self._password()
        self._client = self._make_client()
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{client_id}", daemon=True)

    def _make_client(self) -> mqtt.Client:
        """Return a client for one connection: nothing of an earlier one is left in it."""
        settings = self._settings
        five = settings.protocol == 5
        client = self.client_class(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion(settings.protocol),
            clean_session=None if five else not self._persistent,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(256)
        if settings.username is not None:
            client.username_pw_set(settings.username, self._secret)
        if settings.ca_file is not None:
            client.tls_set(ca_certs=settings.ca_file, cert_reqs=ssl.CERT_REQUIRED)
        if self._will is not None:
            topic, payload = self._will()
            client.will_set(topic, payload, qos=1, retain=True)
        client.on_connect = self._connect_answered
        client.on_disconnect = self._connection_lost
        client.on_socket_open = _send_at_once
        client.on_message = self._message_came
        return client

    def _password(self) -> str | None:
        if self._settings.password_file is None:
            return None
        path = Path(self._settings.password_file)
        try:
            return path.read_text().strip()
        except OSError as exc:
            raise ConfigError(
                [Problem(path, "-", f"cannot be read: {exc.strerror}", "put the password there")]
            ) from exc

    @property
    def connected(self) -> bool:
        """Whether the broker took the login and the connection still stands."""
        return self._connected.is_set()

    def wait_connected(self, timeout_s: float) -> bool:
        """Return whether the link came up within `timeout_s` seconds."""
        return self._connected.wait(timeout_s)

    def start(self) -> None:
        """Begin connecting; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Disconnect in order and end the thread. What the broker had not taken is still its sender's."""
        self._stopping.set()
        if self._client.disconnect() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._down.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def subscribe(self, topics: Iterable[str]) -> None:
        """Listen to more, now and after every reconnect; what is listened to already is passed over."""
        more = tuple(topic for topic in dict.fromkeys(topics) if topic not in self._subscriptions)
        if more:
            self._subscriptions = {**self._subscriptions, **dict.fromkeys(more)}  # the link's thread may be reading it
            self._client.subscribe([(topic, 1) for topic in more])

    def unsubscribe(self, topics: Iterable[str]) -> None:
        """Listen to these no longer."""
        gone = [topic for topic in topics if topic in self._subscriptions]
        if gone:
            self._subscriptions = dict.fromkeys(topic for topic in self._subscriptions if topic not in gone)
            self._client.unsubscribe(gone)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Hand `payload` to the connection; return False, having kept nothing, when there is none."""
        if not self._connected.is_set():
            return False
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        return info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    # --- the link's thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        settings = self._settings
        while True:
            self._has_answer = False
            self._down.clear()
            if self._stopping.is_set():
                return
            try:
                if settings.protocol == 4:
                    self._client.connect(settings.host, settings.port, settings.keepalive_s)
                else:
                    self._client.connect(
                        settings.host,
                        settings.port,
                        settings.keepalive_s,
                        clean_start=not self._persistent,
                        properties=self._connect_properties(),
                    )
                # A thread of paho's own, and no `loop_forever` on ours: only then are publishing and acknowledging
                # threads kept from writing beside the loop (packets overtake each other, and rumqttd closes at the
                # first acknowledgement out of order), and only then is the loop woken when there is something to write.
                self._client.loop_start()
                self._down.wait()
                if self._stopping.is_set():
                    self._client.disconnect()  # it may have come up after `stop` found nothing to disconnect
            except OSError as exc:
                self._say_once(f"{settings.host}:{settings.port} cannot be reached: {exc}")
            # Paho asks twice for its thread, which forgets itself as it ends.
            with contextlib.suppress(AttributeError):
                self._client.loop_stop()
            self._lost()
            self._client = self._make_client()
            self._stopping.wait(jittered(self._retry_s))
            self._retry_s = min(self._retry_s * 2, LAST_RETRY_S)

    def _connect_properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        if self._persistent:
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
        return properties

    def _connect_answered(
        self, client: mqtt.Client, _data: object, _flags: object, code: ReasonCode, _props: object
    ) -> None:
        self._has_answer = True
        if code.is_failure:
            self._say_once(f"the broker refuses the login: {code}; check mqtt.username and mqtt.password_file")
            return
        self.refused = None
        self._retry_s = FIRST_RETRY_S
        for topic in self._subscriptions:
            client.subscribe(topic, qos=1)
        for topic, payload in self._greetings() if self._greetings else ():
            client.publish(topic, payload, qos=1, retain=True)
        self._connected.set()
        log.info("connected to %s:%s", self._settings.host, self._settings.port)
        if self._on_change:
            self._on_change(True)

    def _connection_lost(
        self, _client: object, _data: object, _flags: object, code: ReasonCode, _props: object
    ) -> None:
        if code.is_failure and not self._has_answer:
            # A broker that closes before it answers (rumqttd does so on a wrong password) gives no better reason.
            self._say_once(f"the broker closed the connection before taking the login ({code}); check the password")
        self._lost()
        self._down.set()

    def _lost(self) -> None:
        if self._connected.is_set():
            self._connected.clear()
            if not self._stopping.is_set():
                log.warning("lost the connection to %s:%s", self._settings.host, self._settings.port)
            if self._on_change:
                self._on_change(False)

    def _say_once(self, why: str) -> None:
        if self.refused != why and not self._stopping.is_set():
            log.error("not connected: %s", why)
        self.refused = why

    def _message_came(self, client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        mid, qos = message.mid, message.qos

        def ack() -> None:
            if qos:
                client.ack(mid, qos)

        if self._on_message is None:
            ack()
            return
        self._on_message(message.topic, bytes(message.payload), message.retain, ack)


def _send_at_once(_client: mqtt.Client, _data: object, sock: object) -> None:
    assert isinstance(sock, socket.socket)
    # Else a small packet waits for the broker's TCP acknowledgement of the one before it: 40 ms on Linux.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
