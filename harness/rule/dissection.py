"""From a frame of a capture to the IP packet that an offload rule would see: link header, tunnel, what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass

from conformance.gtpu import PORT, MalformedMessage, MessageType, decode, g_pdu_offset
from conformance.packet import ARP, IPV4, IPV6, UDP, WITH_PORTS, MalformedPacket, Packet, parse, reassemble
from harness.rule.capturefile import CapturedFrame

# tcpdump.org "Link-layer header types": where the protocol stands, and how long the header is
_ETHERNET, _RAW, _OLD_RAW, _IPV4, _IPV6, _COOKED, _COOKED_2 = 1, 101, 12, 228, 229, 113, 276
_HEADERS: Mapping[int, tuple[int, int]] = {_ETHERNET: (12, 14), _COOKED: (14, 16), _COOKED_2: (0, 20)}
_WITHOUT_HEADER = (_RAW, _OLD_RAW, _IPV4, _IPV6)
UNREAD_LINK = "a link type that is not read (Ethernet, raw IP and Linux cooked are)"
READABLE_LINKS = frozenset((*_HEADERS, *_WITHOUT_HEADER))
_TAGS = (0x8100, 0x88A8, 0x9100)  # IEEE 802.1Q, and what switches wrote for stacked ones before it
_GTPU_HEADER_BYTES = 8  # TS 29.281 5.1, without its optional fields
_PENDING_MAX = 256  # datagrams of which fragments are waited for

FragmentKey = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Dissected:
    """packet is what a rule sees, None where there is none: `why` says so then.

    teid is that of the tunnel it was found in. certain is False where the capture has cut off what a rule may ask for.
    """

    packet: Packet | None
    why: str = ""
    teid: int | None = None
    certain: bool = True

    @property
    def key(self) -> FragmentKey | None:
        """The same for all fragments of one packet, None for whole ones."""
        packet = self.packet
        if packet is None or not packet.is_fragment:
            return None
        return packet.src, packet.dst, packet.proto, packet.identification, self.teid or 0


class Dissector:
    """Reads one frame after the other: tunnelled packets whose datagram was fragmented are put together."""

    def __init__(self) -> None:
        self._pending: dict[tuple[int, int, int], list[Packet]] = {}

    def dissect(self, frame: CapturedFrame) -> Dissected:
        """What a rule sees of a frame; never raises."""
        cut = frame.length > len(frame.data)
        if frame.link in _WITHOUT_HEADER:
            return self._ip(frame.data, cut)
        if frame.link not in _HEADERS:
            return Dissected(None, f"link type {frame.link}: {UNREAD_LINK}")
        at, size = _HEADERS[frame.link]
        kind = int.from_bytes(frame.data[at : at + 2])
        while kind in _TAGS:
            kind, size = int.from_bytes(frame.data[size + 2 : size + 4]), size + 4
        if len(frame.data) < size:
            return Dissected(None, "cut off inside the link's header", certain=not cut)
        if kind in (IPV4, IPV6):
            return self._ip(frame.data[size:], cut)
        return Dissected(None, "ARP" if kind == ARP else f"no IP: ethertype {kind:#06x}")

    def _ip(self, data: bytes, cut: bool) -> Dissected:
        outer = _packet(data, cut)
        packet = outer.packet
        if packet is None:
            return outer
        if packet.is_fragment and packet.version == 4 and not cut:  # what is put together has no holes
            pieces = self._pieces(packet)
            whole = reassemble(pieces)
            if any(map(_to_tunnel, pieces)):
                if whole is None:
                    return Dissected(None, "a fragment of a GTP-U datagram, looked into with its last one")
                del self._pending[_datagram(packet)]
                return _inner(whole, len(whole.data), cut) or outer
        return (_inner(packet, len(data), cut) if _to_tunnel(packet) else None) or outer

    def _pieces(self, packet: Packet) -> list[Packet]:
        """The fragments of its datagram that came so far."""
        key = _datagram(packet)
        if key not in self._pending and len(self._pending) >= _PENDING_MAX:
            del self._pending[next(iter(self._pending))]
        pieces = self._pending.setdefault(key, [])
        pieces.append(packet)
        return pieces


def _datagram(packet: Packet) -> tuple[int, int, int]:
    return packet.src, packet.dst, packet.identification


def _to_tunnel(packet: Packet) -> bool:
    return packet.proto == UDP and packet.dst_port == PORT


def _inner(outer: Packet, captured: int, cut: bool) -> Dissected | None:
    """What is inside a datagram to the GTP-U port; None where that is no GTP-U."""
    datagram, seen = outer.payload, captured - outer.payload_offset
    offset = g_pdu_offset(datagram)
    if cut and seen < max(offset, _GTPU_HEADER_BYTES):
        return Dissected(outer, "cut off inside its GTP-U header", certain=False)
    if offset:
        inside = _packet(datagram[offset:seen], cut)
        return Dissected(inside.packet, inside.why, int.from_bytes(datagram[4:8]), inside.certain)
    try:
        message = decode(datagram)
    except MalformedMessage:
        return Dissected(outer, "cut off: nobody knows whether it is GTP-U", certain=False) if cut else None
    if message.type == MessageType.G_PDU:
        why = "a packet in GTP-U, with an extension header that must be understood (TS 29.281 5.2.1): it is not opened"
        return Dissected(None, why, message.teid)
    known = message.type in set(MessageType)
    name = MessageType(message.type).name.lower().replace("_", " ") if known else f"message {message.type}"
    return Dissected(None, f"GTP-U {name}: no packet of a user that may be opened", message.teid)


def _packet(data: bytes, cut: bool) -> Dissected:
    """An IP packet; where the capture has cut it, what is left of it, its missing bytes taken as zeros."""
    if cut and data and len(data) >= (40 if data[0] >> 4 == 6 else 20):
        length = 40 + int.from_bytes(data[4:6]) if data[0] >> 4 == 6 else int.from_bytes(data[2:4])
    else:
        length = len(data)
    try:
        packet = parse(data.ljust(length, b"\0"))
    except MalformedPacket as error:
        return Dissected(None, f"{'cut off' if cut else 'malformed'}: {error}", certain=not cut)
    needed = packet.header_length + (4 if packet.proto in WITH_PORTS and not packet.fragment_offset else 0)
    certain = needed <= len(data)
    return Dissected(packet, "" if certain else "cut off before its ports", certain=certain)
