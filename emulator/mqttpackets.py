"""What the guard and the platform's own publisher read and write of MQTT packets. Pure; clauses are MQTT 5.0's."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from emulator.mqtt import (
    AUTHENTICATION_METHOD,
    TOPIC_ALIAS,
    TOPIC_ALIAS_MAXIMUM,
    Packet,
    PacketType,
    ProtocolError,
    Reader,
    Reason,
    encode,
    encode_text,
    read_properties,
)

V311, V5 = 4, 5
CONNECTED = b"\x20\x02\x00\x00"  # CONNACK of 3.1.1: no session present, accepted
CLEAN_FLAG, WILL_FLAG, WILL_QOS, WILL_RETAIN, PASSWORD_FLAG, USER_NAME_FLAG = 0x02, 0x04, 0x18, 0x20, 0x40, 0x80


@dataclass(frozen=True, slots=True)
class Will:
    """The message that the bus publishes when the client is lost; begin and end are where it stands in the body."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Connect:
    """CONNECT (3.1). level is the protocol level; a level other than 4 or 5 leaves all else empty."""

    level: int
    client_id: str = ""
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None
    authentication_method: str = ""
    clean_start: bool = True


@dataclass(frozen=True, slots=True)
class Publish:
    """PUBLISH (3.3); topic is empty where only an alias stands for it, alias 0 where there is none."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet_id: int
    alias: int


@dataclass(frozen=True, slots=True)
class Filter:
    """A topic filter of a SUBSCRIBE with its options byte."""

    topic: str
    options: int

    @property
    def qos(self) -> int:
        return self.options & 3


@dataclass(frozen=True, slots=True)
class Subscribe:
    """SUBSCRIBE (3.8); head is the body up to the first filter: packet identifier and properties."""

    packet_id: int
    head: bytes
    filters: tuple[Filter, ...]


def read_connect(packet: Packet) -> Connect:
    """Raises ProtocolError on what 3.1.2 and 3.1.3 forbid."""
    reader = Reader(packet.body, "CONNECT")
    name, level = reader.text(), reader.byte()
    if (name, level) not in (("MQTT", V311), ("MQTT", V5)):
        if name not in ("MQTT", "MQIsdp"):
            raise ProtocolError(f"CONNECT names the protocol {name[:32]!r}", Reason.UNSUPPORTED_VERSION)
        return Connect(level)
    flags = reader.byte()
    _check_connect_flags(flags, level)
    reader.two_bytes()  # keep alive: the broker keeps it
    properties = read_properties(reader) if level == V5 else {}
    client_id = reader.text()
    will = _read_will(reader, flags, level) if flags & WILL_FLAG else None
    username = reader.text() if flags & USER_NAME_FLAG else None
    password = reader.binary() if flags & PASSWORD_FLAG else None
    if reader.left:
        raise ProtocolError(f"CONNECT has {reader.left} bytes after its payload")
    method = properties.get(AUTHENTICATION_METHOD, "")
    return Connect(level, client_id, username, password, will, method, bool(flags & CLEAN_FLAG))


def _check_connect_flags(flags: int, level: int) -> None:
    if flags & 1:
        raise ProtocolError("CONNECT sets the reserved flag")
    if flags & WILL_QOS == WILL_QOS or (not flags & WILL_FLAG and flags & (WILL_QOS | WILL_RETAIN)):
        raise ProtocolError("CONNECT sets will flags that do not fit")
    if level == V311 and flags & PASSWORD_FLAG and not flags & USER_NAME_FLAG:  # MQTT 3.1.1 3.1.2.9
        raise ProtocolError("CONNECT has a password and no user name")


def _read_will(reader: Reader, flags: int, level: int) -> Will:
    begin = reader.position
    if level == V5:
        read_properties(reader)
    topic, payload = reader.text(), reader.binary()
    return Will(topic, payload, (flags & WILL_QOS) >> 3, bool(flags & WILL_RETAIN), begin, reader.position)


def without_will(packet: Packet, will: Will) -> bytes:
    """The same CONNECT, its will taken out."""
    body = bytearray(packet.body)
    del body[will.begin : will.end]
    body[7] &= ~(WILL_FLAG | WILL_QOS | WILL_RETAIN)  # the connect flags follow the name's 6 bytes and the level
    return encode(PacketType.CONNECT, bytes(body))


def read_publish(packet: Packet, level: int) -> Publish:
    """Raises ProtocolError on what 3.3 forbids, wildcards apart: whether the topic is a good name is not looked at."""
    qos = packet.flags >> 1 & 3
    if qos == 3 or (qos == 0 and packet.flags & 8):
        raise ProtocolError(f"PUBLISH with the flags {packet.flags:#x}")
    reader = Reader(packet.body, "PUBLISH")
    topic = reader.text()
    packet_id = reader.two_bytes() if qos else 0
    if qos and packet_id == 0:
        raise ProtocolError("PUBLISH with packet identifier 0", Reason.PROTOCOL_ERROR)
    properties = read_properties(reader) if level == V5 else {}
    alias = int(properties.get(TOPIC_ALIAS, 0))
    if TOPIC_ALIAS in properties and alias == 0:
        raise ProtocolError("PUBLISH with topic alias 0", Reason.TOPIC_ALIAS_INVALID)
    return Publish(topic, reader.rest(), qos, bool(packet.flags & 1), packet_id, alias)


def read_subscribe(packet: Packet, level: int) -> Subscribe:
    """Raises ProtocolError on what 3.8 forbids."""
    reader = Reader(packet.body, "SUBSCRIBE")
    packet_id = reader.two_bytes()
    if level == V5:
        read_properties(reader)
    head = packet.body[: reader.position]
    filters = []
    while reader.left:
        filters.append(Filter(reader.text(), reader.byte()))
    if packet_id == 0 or not filters:
        raise ProtocolError("SUBSCRIBE without packet identifier or filters", Reason.PROTOCOL_ERROR)
    reserved = 0xC0 if level == V5 else 0xFC  # 3.8.3.1; MQTT 3.1.1 3.8.3
    if any(item.options & reserved or item.qos == 3 for item in filters):
        raise ProtocolError("SUBSCRIBE with reserved option bits")
    return Subscribe(packet_id, head, tuple(filters))


def read_packet_id(packet: Packet) -> int:
    """The identifier that SUBSCRIBE, PUBREL and all acknowledgements begin with."""
    return Reader(packet.body, packet.type.name).two_bytes()


def read_topic_alias_maximum(packet: Packet, level: int) -> int:
    """How many aliases the CONNACK (3.2.2.3.8) lets the client use."""
    if level != V5:
        return 0
    reader = Reader(packet.body, "CONNACK")
    reader.two_bytes()
    return int(read_properties(reader).get(TOPIC_ALIAS_MAXIMUM, 0))


def connack(code: int, level: int) -> bytes:
    """A refusing CONNACK; code is a return code of 3.1.1 (3.2.2.3 there) or an MQTT 5 reason code."""
    return encode(PacketType.CONNACK, bytes([0, code]) + (b"\0" if level == V5 else b""))


def connect(client_id: str) -> bytes:
    """A 3.1.1 CONNECT with a clean session, without credentials and keep alive."""
    return encode(PacketType.CONNECT, encode_text("MQTT") + bytes([V311, 2, 0, 0]) + encode_text(client_id))


def publish(topic: str, payload: bytes, retain: bool) -> bytes:
    """A 3.1.1 PUBLISH with QoS 0."""
    return encode(PacketType.PUBLISH, encode_text(topic) + payload, flags=int(retain))


def acknowledge(kind: PacketType, packet_id: int, code: int = Reason.SUCCESS) -> bytes:
    """PUBACK, PUBREC or PUBCOMP; a code other than 0 exists in MQTT 5 only (3.4.2)."""
    return encode(kind, packet_id.to_bytes(2, "big") + (bytes([code]) if code else b""))


def subscribe(head: bytes, filters: Iterable[Filter]) -> bytes:
    """A SUBSCRIBE with the head of another one and some of its filters."""
    return encode(PacketType.SUBSCRIBE, head + b"".join(encode_text(f.topic) + bytes([f.options]) for f in filters))


def suback(head: bytes, codes: Iterable[int]) -> bytes:
    """head is the packet identifier and, in MQTT 5, the properties."""
    return encode(PacketType.SUBACK, head + bytes(codes))


def disconnect(code: Reason) -> bytes:
    """MQTT 5's DISCONNECT from the server (3.14); 3.1.1 has none."""
    return encode(PacketType.DISCONNECT, bytes([code]))
