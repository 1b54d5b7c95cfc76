"""GTP-U, TS 29.281: reading and writing its messages. Pure.

What the user plane needs (5.1 header, 5.2 extension headers, 7 messages): G-PDU, echo, error indication, end marker.
A G-PDU that is only passed on is never written anew: it crosses as the same bytes.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, ip_address

PORT = 2152  # 4.4.2

_HEADER = struct.Struct("!BBHI")
_OPTIONAL = struct.Struct("!HBB")
_PLAIN_G_PDU = b"\x30\xff"  # without optional fields, as nearly all are
_OPTIONAL_FLAGS = 0x07  # E, S and PN: one of them set, and all three optional fields are there (5.1)


class MessageType(IntEnum):
    """6.1, table 6.1-1."""

    ECHO_REQUEST = 1
    ECHO_RESPONSE = 2
    ERROR_INDICATION = 26
    SUPPORTED_EXTENSION_HEADERS = 31
    END_MARKER = 254
    G_PDU = 255


class MalformedMessage(ValueError):
    """The bytes are no GTPv1-U message; the message says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class ExtensionHeader:
    """5.2.1: type and content, which fills whole units of 4 bytes together with its length and next-type octets."""

    type: int
    content: bytes

    @property
    def must_be_understood(self) -> bool:
        """By the end point of the tunnel: figure 5.2.1-3, bit 8."""
        return self.type >= 0x80


@dataclass(frozen=True, slots=True)
class Message:
    """One message. payload is the inner packet of a G-PDU, else the information elements; sequence and n_pdu are None
    when they are not there."""

    type: int
    teid: int
    payload: bytes
    sequence: int | None = None
    n_pdu: int | None = None
    extensions: tuple[ExtensionHeader, ...] = ()


def decode(data: bytes) -> Message:
    """Read one datagram. Raises MalformedMessage where it is no GTPv1-U or its lengths do not fit the bytes."""
    if len(data) < 8:
        raise MalformedMessage(f"{len(data)} bytes, the header has 8")
    flags, kind, length, teid = _HEADER.unpack_from(data)
    if flags >> 5 != 1 or not flags & 0x10:
        raise MalformedMessage(f"version {flags >> 5}, protocol type {flags >> 4 & 1}: not GTPv1-U")
    if length != len(data) - 8:
        raise MalformedMessage(f"length {length} of {len(data) - 8} bytes behind the header")
    if not flags & _OPTIONAL_FLAGS:
        return Message(kind, teid, data[8:])
    if length < 4:
        raise MalformedMessage("cut off in the optional fields")
    sequence, n_pdu, next_type = _OPTIONAL.unpack_from(data, 8)
    extensions, offset = _extensions(data, next_type if flags & 4 else 0)
    return Message(kind, teid, data[offset:], sequence if flags & 2 else None, n_pdu if flags & 1 else None, extensions)


def _extensions(data: bytes, next_type: int) -> tuple[tuple[ExtensionHeader, ...], int]:
    """The chain of extension headers behind the optional fields, and where it ends."""
    found = []
    offset = 12
    while next_type:
        size = data[offset] * 4 if offset < len(data) else 0
        if not size or offset + size > len(data):
            raise MalformedMessage(f"extension header {next_type:#04x} with a length of {size} bytes")
        found.append(ExtensionHeader(next_type, data[offset + 1 : offset + size - 1]))
        next_type = data[offset + size - 1]
        offset += size
    return tuple(found), offset


def encode(message: Message) -> bytes:
    """The inverse of `decode`. Raises ValueError on an extension header whose content does not fill its units."""
    flags = 0x30 | (4 if message.extensions else 0)
    flags |= (2 if message.sequence is not None else 0) | (1 if message.n_pdu is not None else 0)
    body = message.payload
    if flags & _OPTIONAL_FLAGS:
        types = [*(header.type for header in message.extensions), 0]
        chain = b"".join(
            _extension(header, following) for header, following in zip(message.extensions, types[1:], strict=True)
        )
        body = _OPTIONAL.pack(message.sequence or 0, message.n_pdu or 0, types[0]) + chain + body
    return _HEADER.pack(flags, message.type, len(body), message.teid) + body


def _extension(header: ExtensionHeader, following: int) -> bytes:
    size = len(header.content) + 2
    if size % 4 or size > 255 * 4:
        raise ValueError(f"extension header {header.type:#04x} with {len(header.content)} bytes of content")
    return bytes([size // 4]) + header.content + bytes([following])


def encode_g_pdu(teid: int, packet: bytes) -> bytes:
    """A G-PDU without optional fields around an inner IP packet: what eNB and EPC send."""
    return _HEADER.pack(0x30, MessageType.G_PDU, len(packet), teid) + packet


def g_pdu_offset(data: bytes) -> int:
    """Where the inner packet of a G-PDU begins that we may open, 0 for all else: the cheap question of the fast path.

    Extension headers are skipped unless one must be understood (5.2.1): we understand none.
    """
    if data[:2] == _PLAIN_G_PDU:
        return 8 if int.from_bytes(data[2:4]) == len(data) - 8 else 0
    if data[1:2] != _PLAIN_G_PDU[1:]:
        return 0
    try:
        message = decode(data)
    except MalformedMessage:
        return 0
    if any(header.must_be_understood for header in message.extensions):
        return 0
    return len(data) - len(message.payload)


def echo_response(request: Message) -> bytes:
    """7.2.2: the same sequence number, a Recovery element (8.2) of value 0, TEID 0."""
    return encode(Message(MessageType.ECHO_RESPONSE, 0, b"\x0e\x00", sequence=request.sequence or 0))


def error_indication(teid: int, address: str) -> bytes:
    """7.3.1: no bearer has this TEID at this address. Elements: TEID Data I (8.3), GTP-U Peer Address (8.4).

    It carries the S flag with sequence number 0, which 5.1 asks for in this message.
    """
    peer = ip_address(address).packed
    elements = struct.pack("!BI", 16, teid) + struct.pack("!BH", 133, len(peer)) + peer
    return encode(Message(MessageType.ERROR_INDICATION, 0, elements, sequence=0))


def supported_extension_headers() -> bytes:
    """7.2.3, the answer to an extension header that we had to understand: a list (8.5) of none."""
    return encode(Message(MessageType.SUPPORTED_EXTENSION_HEADERS, 0, b"\x8d\x00", sequence=0))


def end_marker(teid: int) -> bytes:
    """7.3.2: the last packet of a path before a handover."""
    return encode(Message(MessageType.END_MARKER, teid, b""))


@dataclass(frozen=True, slots=True)
class ErrorIndication:
    teid: int
    address: str


def read_error_indication(message: Message) -> ErrorIndication:
    """The elements of an error indication. Raises MalformedMessage where one of the two is missing."""
    elements = _elements(message.payload)
    teid = next((value for kind, value in elements if kind == 16), b"")
    peer = next((value for kind, value in elements if kind == 133), b"")
    if len(teid) != 4 or len(peer) not in (4, 16):
        raise MalformedMessage("error indication without TEID Data I and GTP-U Peer Address")
    return ErrorIndication(int.from_bytes(teid), str(IPv4Address(peer) if len(peer) == 4 else ip_address(peer)))


_FIXED_ELEMENTS = {14: 1, 16: 4}  # 8.1: types below 128 have a fixed length (TV), the others say theirs (TLV)


def _elements(data: bytes) -> Sequence[tuple[int, bytes]]:
    found = []
    offset = 0
    while offset < len(data):
        kind = data[offset]
        begin = offset + (1 if kind < 128 else 3)
        length = _FIXED_ELEMENTS.get(kind) if kind < 128 else int.from_bytes(data[offset + 1 : offset + 3])
        if length is None or begin + length > len(data):
            raise MalformedMessage(f"information element {kind} does not fit")
        found.append((kind, data[begin : begin + length]))
        offset = begin + length
    return found
