"""Captures as pcapng files (IETF draft-ietf-opsawg-pcapng): bytes to `conformance.trace.Capture` and back. Pure.

One file holds one interface. Its stamps are the host's realtime clock in nanoseconds, as every reader of pcapng
expects; a trace wants monotonic seconds. So the difference of the two clocks stands in the file as a comment: in the
interface's description and again in each statistics block, and holds for the packets after it.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from conformance.errors import SubjectError
from conformance.trace import Capture, Frame

# draft-ietf-opsawg-pcapng 4.1, 4.2, 4.3, 4.6: block types
_SECTION, _INTERFACE, _PACKET, _STATISTICS = 0x0A0D0D0A, 1, 6, 5
_MAGIC = 0x1A2B3C4D
# option codes: 3.5 (all blocks), 4.2 (interface), 4.3 (packet), 4.6 (statistics)
_END, _COMMENT, _IF_NAME, _IF_TSRESOL, _EPB_FLAGS, _ISB_OSDROP = 0, 1, 2, 9, 2, 7
_INBOUND, _OUTBOUND = 1, 2  # epb_flags, bits 0 and 1
_LINKS = {"ethernet": 1, "ip": 101}  # LINKTYPE_ETHERNET, LINKTYPE_RAW
_NANOSECONDS = 9
_CLOCK = re.compile(r"realtime minus monotonic: (-?\d{1,20}) ns")


def encode_begin(interface: str, link: str, clock_ns: int) -> bytes:
    """Begin of a file; clock_ns is realtime minus monotonic."""
    section = _block(_SECTION, struct.pack("<IHHq", _MAGIC, 1, 0, -1))
    options = _option(_IF_NAME, interface.encode()) + _option(_IF_TSRESOL, bytes([_NANOSECONDS])) + _clock(clock_ns)
    return section + _block(_INTERFACE, struct.pack("<HHI", _LINKS[link], 0, 0) + options)


def encode_packet(data: bytes, length: int, realtime_ns: int, from_lab: bool) -> bytes:
    """One packet; length is the one it had on the link, data may be cut."""
    high, low = realtime_ns >> 32, realtime_ns & 0xFFFFFFFF
    head = struct.pack("<IIIII", 0, high, low, len(data), length)
    flags = struct.pack("<HHIHH", _EPB_FLAGS, 4, _OUTBOUND if from_lab else _INBOUND, _END, 0)
    return _block(_PACKET, head + _padded(data) + flags)


def encode_statistics(drops: int, realtime_ns: int, clock_ns: int) -> bytes:
    """How many packets were lost since the beginning, and the clocks' difference from here on."""
    head = struct.pack("<III", 0, realtime_ns >> 32, realtime_ns & 0xFFFFFFFF)
    return _block(_STATISTICS, head + _option(_ISB_OSDROP, struct.pack("<Q", drops)) + _clock(clock_ns))


def encode(capture: Capture, clock_ns: int = 0) -> bytes:
    """A whole file."""
    parts = [encode_begin(capture.interface, capture.link, clock_ns)]
    last = clock_ns
    for frame in capture.frames:
        last = round(frame.at * 1e9) + clock_ns
        parts.append(encode_packet(frame.data, len(frame.data), last, frame.from_lab))
    parts.append(encode_statistics(capture.drops, last, clock_ns))
    return b"".join(parts)


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _clock(clock_ns: int) -> bytes:
    return _option(_COMMENT, f"realtime minus monotonic: {clock_ns} ns".encode()) + struct.pack("<HH", _END, 0)


@dataclass(slots=True)
class _Reading:
    """What is known of a file up to the block that is being read."""

    order: str = "<"
    interface: str = ""
    link: str = ""
    tick_ns: float = 1000.0
    clock_ns: int = 0
    drops: int = 0
    frames: list[Frame] = field(default_factory=list)


def decode(data: bytes) -> Capture:
    """A capture from a file of ours, also after another tool has cut or filtered it (either byte order, microseconds).

    A file whose writer was killed ends inside a block: that packet counts as a drop. Raises SubjectError on what is no
    pcapng file, or has several interfaces.
    """
    reading = _Reading()
    for kind, body, offset in _blocks(data, reading):
        try:
            _take(kind, body, reading)
        except (struct.error, UnicodeDecodeError, IndexError) as error:
            raise SubjectError("a pcapng block that holds what its type says", str(error), f"byte {offset}") from error
    if not reading.link:
        raise SubjectError("a pcapng file with an interface", "none")
    return Capture(reading.interface, reading.link, tuple(reading.frames), reading.drops)


def _blocks(data: bytes, reading: _Reading) -> Iterator[tuple[int, bytes, int]]:
    offset = 0
    while len(data) - offset >= 12:
        if data[offset : offset + 4] == b"\x0a\x0d\x0d\x0a":
            little = struct.unpack_from("<I", data, offset + 8)[0] == _MAGIC
            reading.order = "<" if little else ">"
        elif offset == 0:
            raise SubjectError("a pcapng file", f"one that begins with {data[:4].hex()}")
        kind, length = struct.unpack_from(reading.order + "II", data, offset)
        if length < 12 or length % 4:
            raise SubjectError("the length of a pcapng block", str(length), f"byte {offset + 4}")
        if offset + length > len(data):
            break
        if struct.unpack_from(reading.order + "I", data, offset + length - 4)[0] != length:
            raise SubjectError(
                f"the block's length, {length}, at its end too", "another", f"byte {offset + length - 4}"
            )
        yield kind, data[offset + 8 : offset + length - 4], offset
        offset += length
    if offset < len(data):
        reading.drops += 1


def _take(kind: int, body: bytes, reading: _Reading) -> None:
    if kind == _INTERFACE:
        _take_interface(body, reading)
    elif kind == _PACKET:
        _take_packet(body, reading)
    elif kind == _STATISTICS:
        for code, value in _options(body, 12, reading.order):
            if code == _ISB_OSDROP:
                reading.drops = struct.unpack(reading.order + "Q", value)[0]
            elif code == _COMMENT:
                _read_clock(value, reading)


def _take_interface(body: bytes, reading: _Reading) -> None:
    if reading.link:
        raise SubjectError("one interface in a capture", "several", reading.interface)
    number = struct.unpack_from(reading.order + "H", body)[0]
    link = next((name for name, value in _LINKS.items() if value == number), None)
    if link is None:
        raise SubjectError("link type 1 (Ethernet) or 101 (raw IP)", str(number))
    reading.link = link
    for code, value in _options(body, 8, reading.order):
        if code == _IF_NAME:
            reading.interface = value.decode()
        elif code == _IF_TSRESOL:
            exponent = value[0] & 0x7F
            reading.tick_ns = 1e9 * (2.0**-exponent if value[0] & 0x80 else 10.0**-exponent)
        elif code == _COMMENT:
            _read_clock(value, reading)


def _take_packet(body: bytes, reading: _Reading) -> None:
    _, high, low, captured, _ = struct.unpack_from(reading.order + "IIIII", body)
    if not reading.link or 20 + captured > len(body):
        raise SubjectError("a packet of a described interface, inside its block", f"{captured} bytes")
    flags = 0
    for code, value in _options(body, 20 + captured + -captured % 4, reading.order):
        if code == _EPB_FLAGS:
            flags = struct.unpack(reading.order + "I", value)[0]
    ticks = high << 32 | low
    stamp_ns = ticks if reading.tick_ns == 1 else round(ticks * reading.tick_ns)
    at = (stamp_ns - reading.clock_ns) / 1e9
    reading.frames.append(Frame(at, body[20 : 20 + captured], flags & 3 == _OUTBOUND))


def _options(body: bytes, offset: int, order: str) -> Iterator[tuple[int, bytes]]:
    while offset + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, offset)
        if code == _END:
            return
        if offset + 4 + length > len(body):
            raise SubjectError("an option inside its block", f"{length} bytes of option {code}")
        yield code, body[offset + 4 : offset + 4 + length]
        offset += 4 + length + -length % 4


def _read_clock(value: bytes, reading: _Reading) -> None:
    found = _CLOCK.search(value.decode())
    if found:
        reading.clock_ns = int(found[1])
