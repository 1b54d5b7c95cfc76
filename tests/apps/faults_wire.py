"""Faults in what a transparent app sends on."""

import itertools
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

PORTS = (80, 8080)


def on_the_wire(change: Callable[[bytearray, int], Iterable[bytes]]) -> Callable[[Any], None]:
    """A fault in forwarding: `change` gets each IP packet with a TCP header and its number, and gives what is sent."""

    def fault(app: Any) -> None:
        send, count = app.Wire.send, itertools.count()

        def bent(self: Any) -> None:
            packet = bytearray(self.buffer[14 : self.length])
            header = bytes(self.buffer[:14])
            plain = packet[0] == 0x45 and packet[9] == 6 and not packet[6] & 0x3F and len(packet) >= 40
            for sent in change(packet, next(count)) if plain else [bytes(packet)]:
                self.length = 14 + len(sent)
                self.buffer[: self.length] = header + sent
                send(self)

        app.Wire.send = bent

    return fault


def is_uplink(packet: bytearray) -> bool:
    return int.from_bytes(packet[22:24], "big") in PORTS


def mended(packet: bytearray) -> bytes:
    """The packet with right checksums of IP (RFC 791) and TCP (RFC 9293)."""
    packet[10:12] = packet[36:38] = bytes(2)
    packet[10:12] = checksum(packet[:20])
    packet[36:38] = checksum(packet[12:20] + struct.pack("!HH", 6, len(packet) - 20) + packet[20:])
    return bytes(packet)


def checksum(data: bytes | bytearray) -> bytes:
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", bytes(data) + b"\0" * (len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def dropped(packet: bytearray, number: int) -> Iterable[bytes]:
    return [] if is_uplink(packet) and number % 4 == 0 else [bytes(packet)]


def swallowed(packet: bytearray, number: int) -> Iterable[bytes]:
    return []


def doubled(packet: bytearray, number: int) -> Iterable[bytes]:
    return [bytes(packet)] * (2 if number % 4 == 0 else 1)


def renumbered(packet: bytearray, number: int) -> Iterable[bytes]:
    """Uplink leaves from the next source port, and downlink goes back to the right one: only the server can tell."""
    at, by = (20, 1) if is_uplink(packet) else (22, -1)
    packet[at : at + 2] = struct.pack("!H", (int.from_bytes(packet[at : at + 2], "big") + by) % 65536)
    return [mended(packet)]


def corrupted(packet: bytearray, number: int) -> Iterable[bytes]:
    """The last payload byte of downlink segments, with a right checksum: nothing on the way notices."""
    if not is_uplink(packet) and len(packet) > 20 + (packet[32] >> 4) * 4:
        packet[-1] ^= 1
        return [mended(packet)]
    return [bytes(packet)]


def leaked(packet: bytearray, number: int) -> Iterable[bytes]:
    if number % 10:
        return [bytes(packet)]
    foreign = bytearray(packet)
    foreign[12:16] = socket.inet_aton("10.77.0.1")
    return [bytes(packet), mended(foreign)]


def two_hops(packet: bytearray, number: int) -> Iterable[bytes]:
    packet[8] = max(packet[8] - 2, 1)
    return [mended(packet)]
