"""MQTT control packets on the wire: framing, primitive types, properties. Pure; OASIS MQTT 3.1.1 and MQTT 5.0.

Clauses are MQTT 5.0's; where 3.1.1 differs its clause stands beside it. What the guard needs of each packet is in
emulator/mqttpackets.py.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class PacketType(IntEnum):
    """MQTT control packet types (2.1.2)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class Reason(IntEnum):
    """MQTT 5 reason codes (2.4) that the guard sends."""

    SUCCESS = 0x00
    MALFORMED = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_VERSION = 0x84
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    BAD_AUTHENTICATION_METHOD = 0x8C
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95


# Fixed header flags (2.1.3): PUBLISH carries its own there, for the rest they are reserved with this value.
_FLAGS = {PacketType.PUBREL: 2, PacketType.SUBSCRIBE: 2, PacketType.UNSUBSCRIBE: 2}

TOPIC_ALIAS_MAXIMUM, TOPIC_ALIAS, AUTHENTICATION_METHOD = 0x22, 0x23, 0x15  # properties (2.2.2.2)


class ProtocolError(Exception):
    """A peer sent what MQTT forbids: the connection has to end. reason is a clause of a sentence, code MQTT 5's."""

    def __init__(self, reason: str, code: Reason = Reason.MALFORMED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


@dataclass(frozen=True, slots=True)
class Packet:
    """One control packet: data are its bytes as they came, body what follows the fixed header."""

    type: PacketType
    flags: int
    body: bytes
    data: bytes


class Framer:
    """Cuts a byte stream into control packets, whatever the sizes in which the stream arrives."""

    def __init__(self, packet_bytes_max: int) -> None:
        self._packet_bytes_max = packet_bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """The packets that data completes. Raises ProtocolError at the packet that is none, after those before it."""
        self._buffer += data
        while (header := self._header()) is not None:
            start, end = header
            if len(self._buffer) < end:
                return
            data = bytes(self._buffer[:end])
            del self._buffer[:end]
            yield Packet(PacketType(data[0] >> 4), data[0] & 15, data[start:], data)

    def _header(self) -> tuple[int, int] | None:
        """Where the body begins and the packet ends; None while the fixed header is not whole (2.1.4)."""
        buffer = self._buffer
        if not buffer:
            return None
        kind, flags = buffer[0] >> 4, buffer[0] & 15
        if kind == 0:
            raise ProtocolError("control packet type 0 is reserved")
        if kind != PacketType.PUBLISH and flags != _FLAGS.get(PacketType(kind), 0):
            raise ProtocolError(f"{PacketType(kind).name} with the reserved flags {flags:#x}")
        length = 0
        for index in range(1, 5):
            if index >= len(buffer):
                return None
            length |= (buffer[index] & 127) << 7 * (index - 1)
            if buffer[index] < 128:
                break
        else:
            raise ProtocolError("a remaining length of more than four bytes")
        end = index + 1 + length
        if end > self._packet_bytes_max:
            text = f"a packet of {end} bytes, over the limit of {self._packet_bytes_max}"
            raise ProtocolError(text, Reason.PACKET_TOO_LARGE)
        return index + 1, end


class Reader:
    """Reads primitive types (1.5) off a packet's body; every method raises ProtocolError where it is too short."""

    def __init__(self, body: bytes, what: str) -> None:
        self._body = body
        self._what = what
        self.position = 0

    @property
    def left(self) -> int:
        return len(self._body) - self.position

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self._body):
            raise ProtocolError(f"{self._what} is cut short")
        taken = self._body[self.position : end]
        self.position = end
        return taken

    def rest(self) -> bytes:
        return self.take(self.left)

    def byte(self) -> int:
        return self.take(1)[0]

    def two_bytes(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def four_bytes(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def variable(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ProtocolError(f"{self._what}: a variable byte integer of more than four bytes")

    def binary(self) -> bytes:
        return self.take(self.two_bytes())

    def text(self) -> str:
        """A UTF-8 string (1.5.4): ill-formed UTF-8, surrogates and U+0000 end the connection."""
        try:
            text = self.binary().decode()
        except UnicodeDecodeError as error:
            raise ProtocolError(f"{self._what}: a string that is no UTF-8") from error
        if "\0" in text:
            raise ProtocolError(f"{self._what}: a string with U+0000")
        return text

    def pair(self) -> tuple[str, str]:
        return self.text(), self.text()


_PROPERTY_TYPES: Mapping[int, Callable[[Reader], object]] = {  # MQTT 5, table 2-4
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), Reader.byte),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), Reader.two_bytes),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), Reader.four_bytes),
    0x0B: Reader.variable,
    **dict.fromkeys((0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F), Reader.text),
    **dict.fromkeys((0x09, 0x16), Reader.binary),
    0x26: Reader.pair,
}
_REPEATABLE = (0x0B, 0x26)  # Subscription Identifier (in what a server sends) and User Property


def read_properties(reader: Reader) -> Mapping[int, Any]:
    """MQTT 5 properties by identifier (2.2.2); of the repeatable ones the last."""
    end = reader.variable()
    end += reader.position
    found: dict[int, Any] = {}
    while reader.position < end:
        identifier = reader.variable()
        if identifier not in _PROPERTY_TYPES:
            raise ProtocolError(f"no property has the identifier {identifier:#x}")
        if identifier in found and identifier not in _REPEATABLE:
            raise ProtocolError(f"property {identifier:#x} stands there twice", Reason.PROTOCOL_ERROR)
        found[identifier] = _PROPERTY_TYPES[identifier](reader)
    if reader.position != end:
        raise ProtocolError("properties run over their declared length")
    return found


def encode(kind: PacketType, body: bytes, flags: int | None = None) -> bytes:
    """A control packet; flags are needed for PUBLISH only. Raises ValueError beyond 256 MB (2.1.4)."""
    length, encoded = len(body), bytearray()
    if length >= 1 << 28:
        raise ValueError("a packet body has less than 256 MB")
    while length >= 128:
        encoded.append(length & 127 | 128)
        length >>= 7
    encoded.append(length)
    return bytes([kind << 4 | (_FLAGS.get(kind, 0) if flags is None else flags)]) + bytes(encoded) + body


def encode_text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
