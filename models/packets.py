"""Paho's client for many packets: paho asks the system five times for each that comes and twice for each that goes.

Here the system is asked once for all there is, and what nearly all packets are (a message, an acknowledgement without a
reason) is taken apart without an object for each of its parts. Everything else is paho's.
"""

from __future__ import annotations

import contextlib
import time
from typing import Final, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MessageType, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

TOGETHER_BYTES: Final = 256 << 10
"""Received and sent together, at most or little more."""
_DONE: Final = ReasonCode(PacketTypes.PUBACK)
_NO_PROPERTIES: Final = Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]
_ACKNOWLEDGED: Final = bytes((MessageType.PUBACK, 2))


class Message(NamedTuple):
    """What paho's `MQTTMessage` tells as well."""

    topic: str
    payload: bytes
    retain: bool
    mid: int
    qos: int


class Client(mqtt.Client):
    """Of what was published with QoS 0 nobody is told that it is sent."""

    _held = b""
    _at = 0
    _is_woken = False

    # --- what comes ---

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read until nothing is held: of what is, the loop's `select` would not tell."""
        while True:
            code = super().loop_read(max_packets)
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS or self._at == len(self._held):
                return code

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._at == len(self._held):
            self._held, self._at = super()._sock_recv(max(bufsize, TOGETHER_BYTES)), 0
        data = self._held[self._at : self._at + bufsize]
        self._at += len(data)
        return data

    def _packet_read(self) -> MQTTErrorCode:
        if self._in_packet["command"] or not (self._read_whole() or (self._hold_more() and self._read_whole())):
            return super()._packet_read()
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _hold_more(self) -> bool:
        """Return whether more has come; what is wrong with the connection is for paho to find out."""
        with contextlib.suppress(OSError):
            more = super()._sock_recv(TOGETHER_BYTES)
            self._held, self._at = self._held[self._at :] + more, 0
            return bool(more)
        return False

    def _read_whole(self) -> bool:
        """Take the messages and acknowledgements that are held whole, up to anything else; return whether any was."""
        held, at = self._held, self._at
        while True:
            if held.startswith(_ACKNOWLEDGED, self._at) and len(held) >= self._at + 4:
                mid = int.from_bytes(held[self._at + 2 : self._at + 4], "big")
                self._at += 4
                with self._out_message_mutex:
                    if mid in self._out_messages:
                        self._do_on_publish(mid, _DONE, _NO_PROPERTIES)
            elif found := _message_at(held, self._at, has_properties=self._protocol == MQTTProtocolVersion.MQTTv5):
                message, self._at = found
                if self.on_message is not None:
                    self.on_message(self, None, message)  # type: ignore[arg-type]
            else:
                return self._at > at

    # --- what goes ---

    def _packet_queue(
        self, command: int, packet: bytes | bytearray, mid: int, qos: int, info: mqtt.MQTTMessageInfo | None = None
    ) -> MQTTErrorCode:
        if self._thread is None:
            return super()._packet_queue(command, packet, mid, qos, info)
        self._out_packet.append(_packet(command, packet, mid=mid, qos=qos, info=info))
        # To wake the loop for each costs more than to send it.
        if not self._is_woken and self._sockpairW is not None:
            self._is_woken = True
            with contextlib.suppress(BlockingIOError):
                self._sockpairW.send(b"0")
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _packet_write(self) -> MQTTErrorCode:
        self._is_woken = False  # before looking: what is queued after the look wakes it again
        waiting, data = self._out_packet, bytearray()
        while waiting and waiting[0]["command"] != MessageType.DISCONNECT and len(data) < TOGETHER_BYTES:
            packet = waiting.popleft()
            data += packet["packet"][packet["pos"] :]
        if data:
            waiting.appendleft(_packet(MessageType.PUBACK, data, mid=0, qos=1, info=None))
        return super()._packet_write()


def _packet(
    command: int, packet: bytes | bytearray, *, mid: int, qos: int, info: mqtt.MQTTMessageInfo | None
) -> mqtt._OutPacket:
    return {
        "command": command,
        "mid": mid,
        "qos": qos,
        "pos": 0,
        "to_process": len(packet),
        "packet": packet,
        "info": info,
    }


def _message_at(held: bytes, start: int, *, has_properties: bool) -> tuple[Message, int] | None:
    """Return the message that is held whole at `start`, and where it ends; None of anything else."""
    if start >= len(held) or held[start] & 0xF0 != MessageType.PUBLISH:
        return None
    at, end = _body_at(held, start + 1)
    qos = held[start] >> 1 & 3
    if end > len(held) or qos > 1:
        return None
    topic_at, at = at + 2, at + 2 + int.from_bytes(held[at : at + 2], "big")
    topic = held[topic_at:at].decode(errors="replace")
    mid = int.from_bytes(held[at : at + 2], "big") if qos else 0
    at += 2 * qos
    if has_properties and at < end:
        _, at = _body_at(held, at)
    if at > end:
        return None
    return Message(topic, held[at:end], bool(held[start] & 1), mid, qos), end


def _body_at(held: bytes, at: int) -> tuple[int, int]:
    """Return where something begins and ends, of which the length stands at `at`; beyond what is held if that does."""
    size = 0
    for n, byte in enumerate(held[at : at + 4]):
        size |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            return at + n + 1, at + n + 1 + size
    return at, len(held) + 1
