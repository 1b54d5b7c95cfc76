"""Captures of other tools, packet by packet: pcap and pcapng of any link type, read as a stream within bounds.

Formats: IETF draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. Our own evidence is read by `conformance.capture`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from conformance.errors import SubjectError

_PACKET_BYTES_MAX = 1 << 18  # what libpcap takes for the largest sane packet
_BLOCK_BYTES_MAX = 1 << 24
# pcap, 4: the magic number says byte order and the unit of time
_PCAP_TICK_NS = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}
# pcapng, 4.1 to 4.4 and A: block types and options
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_SECTION_MAGIC = 0x1A2B3C4D
_IF_TSRESOL, _IF_TSOFFSET = 9, 14


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """One packet of a capture: at_ns since 1970 (None where the file does not say), its link type, and its bytes.

    length is what it had on the link; data is shorter where the capture cut it.
    """

    number: int
    at_ns: int | None
    link: int
    data: bytes
    length: int


def read_capture(stream: BinaryIO) -> Iterator[CapturedFrame]:
    """All packets in order. Raises SubjectError on what is no capture, and where a file is damaged or ends too soon."""
    begin = stream.read(4)
    if begin == b"\x0a\x0d\x0d\x0a":
        yield from _PcapNg(stream).frames()
        return
    for order in ("<", ">"):
        if len(begin) == 4 and (tick_ns := _PCAP_TICK_NS.get(struct.unpack(order + "I", begin)[0])):
            yield from _pcap_frames(stream, order, tick_ns)
            return
    seen = f"one that begins with {begin.hex()}" if begin else "an empty one"
    remedy = (
        "unpack it first: gunzip FILE" if begin[:2] == b"\x1f\x8b" else "give a file that tcpdump -w or dumpcap wrote"
    )
    raise SubjectError("a capture file (pcap or pcapng)", seen, remedy=remedy)


def _pcap_frames(stream: BinaryIO, order: str, tick_ns: int) -> Iterator[CapturedFrame]:
    header = _whole(stream, 20, "its header")
    link = struct.unpack(order + "HHiIII", header)[5] & 0x0FFFFFFF  # above it: the length of a frame check sequence
    number = 0
    while head := stream.read(16):
        number += 1
        what = f"packet {number}"
        head += _whole(stream, 16 - len(head), what)
        seconds, ticks, captured, length = struct.unpack(order + "IIII", head)
        _bound(captured, _PACKET_BYTES_MAX, what)
        data = _whole(stream, captured, what)
        yield CapturedFrame(number, seconds * 10**9 + ticks * tick_ns, link, data, max(length, captured))


@dataclass(slots=True)
class _Interface:
    link: int
    snapshot: int
    tick_ns: float = 1000.0
    offset_ns: int = 0


class _PcapNg:
    """A pcapng file, its first four bytes read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._order = "<"
        self._interfaces: list[_Interface] = []
        self._number = 0

    def frames(self) -> Iterator[CapturedFrame]:
        begin = b"\x0a\x0d\x0d\x0a"
        while begin:
            begin += _whole(self._stream, 4 - len(begin), self._place)
            kind, body = self._block(begin)
            try:
                frame = self._take(kind, body)
            except (struct.error, IndexError) as error:
                expected, seen = "a pcapng block that holds what its type says", "one too short, or of no interface"
                raise SubjectError(expected, seen, self._place) from error
            if frame:
                yield frame
            begin = self._stream.read(4)

    @property
    def _place(self) -> str:
        return f"what follows packet {self._number}" if self._number else "its header"

    def _block(self, begin: bytes) -> tuple[int, bytes]:
        """Type and content of the block that begins so."""
        rest = _whole(self._stream, 8, self._place)
        section = begin == b"\x0a\x0d\x0d\x0a"  # the same in either order, which its magic number says (4.1)
        if section:
            self._order = "<" if struct.unpack_from("<I", rest, 4)[0] == _SECTION_MAGIC else ">"
            self._interfaces = []
        length = struct.unpack_from(self._order + "I", rest)[0]
        if length < 12 or length % 4:
            raise SubjectError("the length of a pcapng block", str(length), self._place)
        _bound(length, _BLOCK_BYTES_MAX, self._place)
        if length == 12:
            return struct.unpack(self._order + "I", begin)[0], b""
        body = rest[4:] + _whole(self._stream, length - 12, self._place)
        if struct.unpack_from(self._order + "I", body, len(body) - 4)[0] != length:
            raise SubjectError(f"the block's length, {length}, at its end too", "another", self._place)
        return struct.unpack(self._order + "I", begin)[0], body[:-4]

    def _take(self, kind: int, body: bytes) -> CapturedFrame | None:
        order = self._order
        if kind == _INTERFACE:
            self._interfaces.append(self._interface(body))
            return None
        if kind not in (_PACKET, _OLD_PACKET, _SIMPLE_PACKET):
            return None
        self._number += 1
        if kind == _SIMPLE_PACKET:
            length = struct.unpack_from(order + "I", body)[0]
            interface = self._interfaces[0]
            captured = min(length, interface.snapshot or length)
            return self._frame(interface, None, body[4 : 4 + captured], captured, length)
        if kind == _PACKET:
            index, high, low, captured, length = struct.unpack_from(order + "IIIII", body)
        else:
            index, _, high, low, captured, length = struct.unpack_from(order + "HHIIII", body)
        interface = self._interfaces[index]
        at_ns = round((high << 32 | low) * interface.tick_ns) + interface.offset_ns
        return self._frame(interface, at_ns, body[20 : 20 + captured], captured, length)

    def _frame(
        self, interface: _Interface, at_ns: int | None, data: bytes, captured: int, length: int
    ) -> CapturedFrame:
        if len(data) < captured:
            raise SubjectError(
                "a packet inside its block", f"{captured} bytes of {len(data)}", f"packet {self._number}"
            )
        return CapturedFrame(self._number, at_ns, interface.link, data, max(length, captured))

    def _interface(self, body: bytes) -> _Interface:
        link, _, snapshot = struct.unpack_from(self._order + "HHI", body)
        interface, offset = _Interface(link, snapshot), 8
        while offset + 4 <= len(body):
            code, length = struct.unpack_from(self._order + "HH", body, offset)
            value = body[offset + 4 : offset + 4 + length]
            if code == 0:
                break
            if code == _IF_TSRESOL:
                interface.tick_ns = 1e9 * (2.0 ** -(value[0] & 0x7F) if value[0] & 0x80 else 10.0 ** -value[0])
            elif code == _IF_TSOFFSET:
                interface.offset_ns = struct.unpack(self._order + "q", value)[0] * 10**9
            offset += 4 + length + -length % 4
        return interface


def _whole(stream: BinaryIO, count: int, what: str) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise SubjectError(
            "a whole capture file", f"one that ends inside {what}", remedy="capture anew: it was cut off"
        )
    return data


def _bound(size: int, most: int, what: str) -> None:
    if size > most:
        raise SubjectError(f"at most {most} bytes", str(size), what, "capture anew: the file is damaged")
