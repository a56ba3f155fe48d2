from __future__ import annotations

import socket
import threading

import pytest
from paho.mqtt import _packet
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from models.packets import Client, Message, _message_at

FIVE = MQTTProtocolVersion.MQTTv5
VERSIONS = pytest.mark.parametrize("protocol", [FIVE, MQTTProtocolVersion.MQTTv311], ids=["mqtt5", "mqtt311"])


def published(header: int, topic: str, payload: bytes, protocol: MQTTProtocolVersion, note: str = "") -> bytes:
    """Return the packet, as a broker sends it; of MQTT 5 with a property."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if note:
        properties.UserProperty = ("note", note)
    body = len(topic.encode()).to_bytes(2, "big") + topic.encode()
    body += b"\x12\x34" * (header >> 1 & 1)
    body += properties.pack() if protocol is FIVE else b""  # type: ignore[no-untyped-call]
    body += payload
    size, length = len(body), bytearray()
    while size or not length:
        length.append(size & 0x7F | (0x80 if size > 0x7F else 0))
        size >>= 7
    return bytes([0x30 | header, *length]) + body


@VERSIONS
@pytest.mark.parametrize("header", [0b0000, 0b0001, 0b0010, 0b1011], ids=["qos 0", "retained", "qos 1", "all bits"])
@pytest.mark.parametrize("note", ["", "x" * 200], ids=["bare", "long properties"])
@pytest.mark.parametrize("payload", [b"", b"z" * 110, b"z" * 128, b"z" * 20_000], ids=["0", "110", "128", "20000"])
def test_a_message_is_taken_apart_as_paho_does(
    protocol: MQTTProtocolVersion, header: int, note: str, payload: bytes
) -> None:
    data = published(header, "gw/v1/t/摄像头/obs", payload, protocol, note)
    found = _message_at(b"before" + data + b"\x30", 6, has_properties=protocol is FIVE)
    assert found is not None
    message, end = found
    body = data[2 if len(data) < 130 else 3 if len(data) < 16_000 else 4 :]
    theirs = _packet.decode_publish(data[0], body, protocol)
    assert message == Message(theirs.topic.decode(), bytes(theirs.payload), theirs.retain, theirs.mid, theirs.qos)
    assert end == 6 + len(data)


@VERSIONS
def test_what_is_not_held_whole_yet_waits(protocol: MQTTProtocolVersion) -> None:
    data = published(0b0010, "a/b", b"z" * 300, protocol, "note")
    assert [cut for cut in range(len(data)) if _message_at(data[:cut], 0, has_properties=protocol is FIVE)] == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x40\x02\x00\x01",  # another kind
        b"\x34\x07\x00\x01a\x00\x01\x00z",  # QoS 2
        b"\x30\xff\xff\xff\xff\x01" + bytes(64),  # a length of five bytes
        b"\x30\x04\x00\x09ab" + bytes(64),  # a topic that is longer than its packet
        b"\x30\x04\x00\x01a\x09" + bytes(64),  # properties that are
        b"\x32\x03\x00\x01a" + bytes(64),  # no room for its number
        b"\x30\x00" + bytes(64),
    ],
)
def test_what_is_no_plain_message_is_left_to_paho(data: bytes) -> None:
    assert _message_at(data, 0, has_properties=True) is None


def test_what_is_queued_leaves_together_and_wakes_the_loop_once() -> None:
    client = Client(CallbackAPIVersion.VERSION2)
    client._thread = threading.current_thread()  # as if the loop ran on one
    client._sockpairR, client._sockpairW = socket.socketpair()
    client._sock, broker = socket.socketpair()
    packets = [published(0, "a/b", bytes([n]) * 50, FIVE) for n in range(5)]
    for some in (packets[:3], packets[3:]):
        for packet in some:
            client._packet_queue(0x30, packet, 0, 0)
        assert client._sockpairR.recv(10) == b"0"
        assert client._packet_write() is MQTTErrorCode.MQTT_ERR_SUCCESS
        assert broker.recv(10_000) == b"".join(some)
    for one in (client._sockpairR, client._sockpairW, client._sock, broker):
        one.close()
