"""Reading IP packets and Ethernet frames: what rules, captures and the user plane need of them. Pure.

RFC 791 and 8200 (IP), 9293 (TCP), 768 (UDP), 1071 (checksum); IEEE 802.3 (frames).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD

WITH_PORTS = frozenset({TCP, UDP, 33, 132, 136})  # DCCP, SCTP and UDP-Lite begin with the two ports as well
_FRAGMENT = 44
_EXTENSIONS = frozenset({0, 43, _FRAGMENT, 51, 60, 135, 139, 140})  # RFC 8200 4, IANA "IPv6 Extension Header Types"
_IPV4 = struct.Struct("!BBHHHBBHII")
_PORTS = struct.Struct("!HH")


class MalformedPacket(ValueError):
    """The bytes are no packet of the protocol; the message says what is wrong with them."""


class Packet(NamedTuple):
    """An IP packet's fields; a tuple because captures hold many and it is made four times faster than a dataclass.

    data is the packet without what follows it (Ethernet padding). src and dst are the addresses as numbers, see
    `source` and `destination` for text. length, header_length (IP header with extensions), payload_offset (behind a
    TCP or UDP header, else behind the IP header) and fragment_offset are bytes. proto is the last next header of IPv6.
    Ports and tcp_flags are None where the packet has none: other protocols, later fragments, cut headers.
    """

    data: bytes
    version: int
    proto: int
    src: int
    dst: int
    src_port: int | None
    dst_port: int | None
    dscp: int
    length: int
    ttl: int
    identification: int
    fragment_offset: int
    more_fragments: bool
    header_length: int
    payload_offset: int
    tcp_flags: int | None

    @property
    def source(self) -> str:
        return address_text(self.version, self.src)

    @property
    def destination(self) -> str:
        return address_text(self.version, self.dst)

    @property
    def payload(self) -> bytes:
        """What the transport carries; all behind the IP header for later fragments and other protocols."""
        return self.data[self.payload_offset :]

    @property
    def is_fragment(self) -> bool:
        return self.more_fragments or self.fragment_offset > 0


def address_text(version: int, number: int) -> str:
    """An address in its usual notation."""
    return str(IPv4Address(number) if version == 4 else IPv6Address(number))


def parse(data: bytes) -> Packet:
    """Read an IPv4 or IPv6 packet. Raises MalformedPacket where its own lengths do not fit the bytes."""
    if not data:
        raise MalformedPacket("no bytes")
    version = data[0] >> 4
    if version == 4:
        return _parse_ipv4(data)
    if version == 6:
        return _parse_ipv6(data)
    raise MalformedPacket(f"IP version {version}")


def _parse_ipv4(data: bytes) -> Packet:
    if len(data) < 20:
        raise MalformedPacket(f"{len(data)} bytes, an IPv4 header has 20")
    first, service, length, identification, fragment, ttl, proto, _, src, dst = _IPV4.unpack_from(data)
    header = (first & 15) * 4
    if not 20 <= header <= length <= len(data):
        raise MalformedPacket(f"IPv4 header of {header} bytes, length {length}, in {len(data)} bytes")
    offset = (fragment & 0x1FFF) * 8
    source_port, target_port, payload, flags = _transport(data, proto, offset, header, length)
    return Packet(
        data if len(data) == length else data[:length],
        4, proto, src, dst, source_port, target_port,
        service >> 2, length, ttl, identification, offset, bool(fragment & 0x2000), header, payload, flags,
    )  # fmt: skip


def _parse_ipv6(data: bytes) -> Packet:
    if len(data) < 40:
        raise MalformedPacket(f"{len(data)} bytes, an IPv6 header has 40")
    word, payload_length, proto, ttl = struct.unpack_from("!IHBB", data)
    length = 40 + payload_length
    if length > len(data):
        raise MalformedPacket(f"IPv6 length {length} in {len(data)} bytes")
    header, identification, offset, more = 40, 0, 0, False
    while proto in _EXTENSIONS and offset == 0:  # behind the header of a later fragment comes its piece, no header
        if header + 8 > length:
            raise MalformedPacket("IPv6 extension header cut off")
        if proto == _FRAGMENT:
            proto, _, fragment, identification = struct.unpack_from("!BBHI", data, header)
            offset, more, size = fragment & 0xFFF8, bool(fragment & 1), 8
        else:
            size = (data[header + 1] + 2) * 4 if proto == 51 else (data[header + 1] + 1) * 8  # 51: RFC 4302 2.2
            proto = data[header]
        header += size
    if header > length:
        raise MalformedPacket("IPv6 extension header cut off")
    source_port, target_port, payload, flags = _transport(data, proto, offset, header, length)
    return Packet(
        data if len(data) == length else data[:length],
        6, proto, int.from_bytes(data[8:24]), int.from_bytes(data[24:40]), source_port, target_port,
        (word >> 22) & 63, length, ttl, identification, offset, more, header, payload, flags,
    )  # fmt: skip


def _transport(
    data: bytes, proto: int, fragment_offset: int, start: int, end: int
) -> tuple[int | None, int | None, int, int | None]:
    """Ports, offset of the payload, TCP flags."""
    if proto not in WITH_PORTS or fragment_offset or end - start < 4:
        return None, None, start, None
    source, target = _PORTS.unpack_from(data, start)
    if proto == TCP and end - start >= 20:
        return source, target, min(start + (data[start + 12] >> 4) * 4, end), data[start + 13]
    if proto == UDP and end - start >= 8:
        return source, target, start + 8, None
    return source, target, start, None


def internet_checksum(data: bytes) -> int:
    """RFC 1071 over the bytes: 0 when they hold their own right checksum."""
    number = int.from_bytes(data + b"\0" if len(data) % 2 else data)
    folded = number % 0xFFFF  # 2**16 is 1 modulo 0xFFFF: the one's complement sum in one division
    return 0xFFFF - folded if folded or not number else 0


def wrong_checksum(packet: Packet) -> str:
    """Which checksum of a packet is wrong: "IPv4 header", "TCP", "UDP", "ICMP", "ICMPv6"; "" when all are right.

    The transport's is looked at in whole packets only; a UDP checksum of zero over IPv4 means none (RFC 768).
    """
    data, start = packet.data, packet.header_length
    if packet.version == 4 and internet_checksum(data[:start]):
        return "IPv4 header"
    names = {TCP: "TCP", UDP: "UDP", ICMP: "ICMP", ICMPV6: "ICMPv6"}
    if packet.is_fragment or packet.proto not in names:
        return ""
    segment = data[start:]
    if packet.proto == UDP and packet.version == 4 and segment[6:8] == b"\0\0":
        return ""
    if packet.proto == ICMP:
        return names[ICMP] if internet_checksum(segment) else ""
    addresses = data[12:20] if packet.version == 4 else data[8:40]
    pseudo = addresses + struct.pack("!II", len(segment), packet.proto)  # the same sum as IPv4's own layout
    return names[packet.proto] if internet_checksum(pseudo + segment) else ""


@dataclass(frozen=True, slots=True)
class EthernetFrame:
    """destination and source are 6 bytes each, see `mac_text`; the payload may end in padding."""

    destination: bytes
    source: bytes
    ethertype: int
    payload: bytes


def ethernet(data: bytes) -> EthernetFrame:
    """Read an Ethernet II frame without FCS. Raises MalformedPacket below 14 bytes."""
    if len(data) < 14:
        raise MalformedPacket(f"{len(data)} bytes, an Ethernet header has 14")
    return EthernetFrame(data[:6], data[6:12], int.from_bytes(data[12:14]), data[14:])


def mac_text(mac: bytes) -> str:
    """52:54:00:… in lower case, as in the trace."""
    return mac.hex(":")


def mac_bytes(text: str) -> bytes:
    """The inverse of `mac_text`; upper case is taken too."""
    return bytes.fromhex(text.replace(":", ""))


def reassemble(fragments: Sequence[Packet]) -> Packet | None:
    """The IPv4 packet of these fragments, which share source, destination, protocol and identification (RFC 791 2.3).

    None while a piece is missing or two disagree in length. Its header is the first fragment's, made whole.
    """
    pieces: dict[int, bytes] = {}
    end = None
    for piece in fragments:
        pieces[piece.fragment_offset] = piece.data[piece.header_length :]
        if not piece.more_fragments:
            end = piece.fragment_offset + len(pieces[piece.fragment_offset])
    body = b""
    while len(body) in pieces and pieces[len(body)]:
        body += pieces[len(body)]
    if end is None or len(body) != end:
        return None
    first = next(piece for piece in fragments if piece.fragment_offset == 0)
    header = bytearray(first.data[: first.header_length])
    header[2:4] = (len(header) + len(body)).to_bytes(2)
    header[6] &= 0x40  # of flags and offset only DF stays
    header[7] = 0
    header[10:12] = bytes(2)
    header[10:12] = internet_checksum(bytes(header)).to_bytes(2)
    return parse(bytes(header) + body)
