"""MQTT packets: the standard's own examples, cut at every length, and noise."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator import mqttpackets
from emulator.mqtt import Framer, Packet, PacketType, ProtocolError, Reason, encode, encode_text
from emulator.mqttpackets import V5, V311

VECTORS: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "mqtt_vectors.toml").read_text())
LIMIT = 1 << 20


def frame(data: bytes) -> list[Packet]:
    return list(Framer(LIMIT).feed(data))


def read(packet: Packet, level: int) -> object:
    match packet.type:
        case PacketType.CONNECT:
            return mqttpackets.read_connect(packet)
        case PacketType.PUBLISH:
            return mqttpackets.read_publish(packet, level)
        case PacketType.SUBSCRIBE:
            return mqttpackets.read_subscribe(packet, level)
        case PacketType.CONNACK:
            return mqttpackets.read_topic_alias_maximum(packet, level)
    return mqttpackets.read_packet_id(packet)


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_vectors(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    (packet,) = frame(data)
    assert packet.data == data
    if "error" in vector:
        with pytest.raises(ProtocolError, match=vector["error"]):
            read(packet, vector["level"])
        return
    value = read(packet, vector["level"])
    for name, expected in vector["expected"].items():
        seen = getattr(value, name)
        assert (seen.hex() if isinstance(seen, bytes) else str(seen)) == str(expected), name


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_a_stream_cut_anywhere_is_the_same_packets(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    whole = data + bytes.fromhex("c000") + data
    for cut in range(len(whole) + 1):
        framer = Framer(LIMIT)
        packets = [*framer.feed(whole[:cut]), *framer.feed(whole[cut:])]
        assert [packet.data for packet in packets] == [data, b"\xc0\0", data]
    framer = Framer(LIMIT)
    assert b"".join(p.data for byte in whole for p in framer.feed(bytes([byte]))) == whole


@pytest.mark.parametrize("vector", [v for v in VECTORS.values() if "error" not in v])
def test_a_body_cut_short_is_an_error_or_a_shorter_payload(vector: dict[str, Any]) -> None:
    (packet,) = frame(bytes.fromhex(vector["hex"]))
    for length in range(len(packet.body)):
        cut = Packet(packet.type, packet.flags, packet.body[:length], b"")
        try:
            read(cut, vector["level"])
        except ProtocolError as error:
            assert error.reason
        else:
            assert packet.type is not PacketType.CONNECT or vector["expected"]["level"] == 3


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("0000", Reason.MALFORMED),
        ("1100", Reason.MALFORMED),
        ("8000", Reason.MALFORMED),
        ("30ffffffff", Reason.MALFORMED),
        ("3080808001", Reason.PACKET_TOO_LARGE),
        ("30ffff7f", Reason.PACKET_TOO_LARGE),
    ],
)
def test_what_is_no_packet(data: str, code: Reason) -> None:
    with pytest.raises(ProtocolError) as caught:
        frame(bytes.fromhex(data))
    assert caught.value.code == code


def test_packets_before_a_broken_one_are_kept() -> None:
    packets = Framer(LIMIT).feed(bytes.fromhex("c0000000"))
    assert next(packets).type is PacketType.PINGREQ
    with pytest.raises(ProtocolError):
        next(packets)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_remaining_length(length: int) -> None:
    data = encode(PacketType.PUBLISH, bytes(length), flags=0)
    (packet,) = Framer(1 << 22).feed(data)
    assert packet.body == bytes(length) and len(data) == length + 2 + (length > 127) + (length > 16_383) + (
        length > 2_097_151
    )


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50),
    st.binary(max_size=200),
    st.booleans(),
)
@settings(derandomize=True, max_examples=200)
def test_publish_is_read_as_written(topic: str, payload: bytes, retain: bool) -> None:
    (packet,) = frame(mqttpackets.publish(topic, payload, retain))
    value = mqttpackets.read_publish(packet, V311)
    assert (value.topic, value.payload, value.retain, value.qos) == (topic, payload, retain, 0)


@given(st.sampled_from(list(PacketType)), st.binary(max_size=60), st.sampled_from([V311, V5]), st.integers(0, 15))
@settings(derandomize=True, max_examples=1000)
def test_noise_is_a_protocol_error_or_a_packet(kind: PacketType, body: bytes, level: int, flags: int) -> None:
    try:
        read(Packet(kind, flags, body, b""), level)
    except ProtocolError as error:
        assert error.reason


@given(st.binary(max_size=20), st.binary(max_size=20), st.sampled_from([V311, V5]))
@settings(derandomize=True, max_examples=200)
def test_a_connect_without_its_will_is_the_same_connect(payload: bytes, password: bytes, level: int) -> None:
    properties = b"\x05\x18\0\0\0\x01" if level == V5 else b""  # Will Delay Interval
    empty = b"\0" if level == V5 else b""
    head = encode_text("MQTT") + bytes([level, 0b11101110, 0, 60]) + empty + encode_text("me")
    tail = encode_text("goon") + len(password).to_bytes(2, "big") + password
    will = properties + encode_text("app/goon/will") + len(payload).to_bytes(2, "big") + payload
    (packet,) = frame(encode(PacketType.CONNECT, head + will + tail))
    before = mqttpackets.read_connect(packet)
    assert before.will and before.will.payload == payload and before.will.qos == 1 and before.will.retain
    (without,) = frame(mqttpackets.without_will(packet, before.will))
    after = mqttpackets.read_connect(without)
    assert after.will is None
    assert (after.client_id, after.username, after.password) == ("me", "goon", password)
