"""What the elements of the user plane hand to each other: batches of packets, and what became of those that ended.

An element is a sans-IO core: ``receive(buffer, segment_size, source, now) -> runs``. A buffer holds one packet or
several of equal size, the last may be shorter, as UDP_GRO hands them over and UDP_SEGMENT takes them; no object is made
for a packet that only crosses but the run that carries it.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Protocol

Address = tuple[str, int]


class Source(NamedTuple):
    """Where a buffer came from: a socket or TUN by its name in docs/interfaces.md, and the sender of a datagram."""

    port: str
    peer: Address | None = None


class Run(NamedTuple):
    """Packets that leave together by one port, to one peer (None for TUNs and vNICs)."""

    port: str
    peer: Address | None
    buffer: bytes
    segment_size: int


class Element(Protocol):
    """counters say, by reason, how many packets ended here: they explain a run, they are no evidence."""

    counters: Counter[str]

    def receive(self, buffer: bytes, segment_size: int, source: Source, now: float) -> Sequence[Run]: ...


def segments(buffer: bytes, segment_size: int) -> Sequence[bytes]:
    """The packets of a buffer."""
    if len(buffer) <= segment_size:
        return (buffer,)
    return [buffer[begin : begin + segment_size] for begin in range(0, len(buffer), segment_size)]


def source_address(packet: bytes) -> bytes:
    """Of an IPv4 packet its 4 bytes, else the 16 where IPv6 has them."""
    return packet[12:16] if packet[:1] < b"\x50" else packet[8:24]


def destination_address(packet: bytes) -> bytes:
    """As `source_address`."""
    return packet[16:20] if packet[:1] < b"\x50" else packet[24:40]
