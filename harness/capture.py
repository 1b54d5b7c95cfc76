"""The capture process: ``python -m harness.capture CONTROL_FD`` writes what crosses the lab's links to pcapng files.

Frames come through a ring shared with the kernel (packet_mmap.rst, TPACKET_V2): no system call and no copy each, room
for bursts whatever rmem_max says, and a frame can be read as soon as the kernel has it, so `flush` is exact.

    down  setup {"files": {interface: [path, link]}, "bytes_max": N} with an AF_PACKET socket each
    down  {"command": "flush", "id": N}     up  {"answer": N, "drops": {...}, "unwritten": {...}}
"""

import json
import mmap
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence

from conformance import capture
from emulator.control import MESSAGE_BYTES_MAX, receive_setup

# linux/if_packet.h
_SOL_PACKET, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 263, 5, 6, 10
_TPACKET_V2 = 1
_STATUS_KERNEL, _STATUS_USER, _STATUS_VLAN, _STATUS_VLAN_TPID = 0, 1, 1 << 4, 1 << 6
_HEADER = struct.Struct("=IIIHHIIHH")  # struct tpacket2_hdr without its padding
_PACKET_TYPE_OFFSET = 32 + 10  # sll_pkttype of the sockaddr_ll after the header
_PACKET_OUTGOING = 4

_SLOT_BYTES = 2048  # header, address and a frame of the S1-U's 1,614 bytes
_SLOTS = 4096
_BLOCK_BYTES = 1 << 16

_PAUSE_MS = 20  # frames gather in the rings meanwhile: one wake-up for many; a command ends it at once
_CLOCK_STEP_NS = 100_000  # a change of realtime against monotonic worth a note in the file


class Budget:
    """Bytes that all captures of a run together may still write (profile evidence.bytes_max)."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int) -> bool:
        if count > self.left:
            self.left = 0  # a capture with a hole is no evidence: nothing after it either
            return False
        self.left -= count
        return True


class Tap:
    """One interface's ring and file. drops: the ring was full; unwritten: the budget or the disk was exhausted."""

    def __init__(self, opened: socket.socket, path: str, budget: Budget) -> None:
        self._socket = opened
        self._budget = budget
        opened.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        blocks = _SLOTS * _SLOT_BYTES // _BLOCK_BYTES
        request = struct.pack("IIII", _BLOCK_BYTES, blocks, _SLOT_BYTES, _SLOTS)
        opened.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
        self._ring = mmap.mmap(opened.fileno(), _SLOTS * _SLOT_BYTES)
        self._slot = 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self.drops = 0
        self.unwritten = 0
        self._clock_ns = _clock_ns()

    def write_begin(self, interface: str, link: str) -> None:
        self._write(capture.encode_begin(interface, link, self._clock_ns))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Write all frames that the kernel has put into the ring."""
        parts = []
        clock_ns = _clock_ns()
        if abs(clock_ns - self._clock_ns) > _CLOCK_STEP_NS:
            self._clock_ns = clock_ns
            parts.append(capture.encode_statistics(self.lost, time.time_ns(), clock_ns))
        count = 0
        for _ in range(_SLOTS):
            packet = self._next()
            if packet is None:
                break
            parts.append(packet)
            count += 1
        if parts and not self._write(b"".join(parts)):
            self.unwritten += count

    def note_statistics(self) -> None:
        """Write how much was lost so far, and the clocks."""
        self._clock_ns = _clock_ns()
        _, drops = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))  # reading clears
        self.drops += drops
        statistics = capture.encode_statistics(self.lost, time.time_ns(), self._clock_ns)
        self._budget.left = max(self._budget.left, len(statistics))  # the loss itself is always told
        self._write(statistics)

    @property
    def lost(self) -> int:
        return self.drops + self.unwritten

    def _next(self) -> bytes | None:
        start = self._slot * _SLOT_BYTES
        status, length, captured, mac, _, seconds, nanoseconds, tag, tag_type = _HEADER.unpack_from(self._ring, start)
        if not status & _STATUS_USER:
            return None
        data = self._ring[start + mac : start + mac + captured]
        if status & _STATUS_VLAN:  # the kernel took the tag out of the frame (IEEE 802.1Q): back to where it was
            kind = tag_type if status & _STATUS_VLAN_TPID else 0x8100
            data = data[:12] + struct.pack(">HH", kind, tag) + data[12:]
            length += 4
        from_lab = self._ring[start + _PACKET_TYPE_OFFSET] == _PACKET_OUTGOING
        struct.pack_into("=I", self._ring, start, _STATUS_KERNEL)
        self._slot = (self._slot + 1) % _SLOTS
        return capture.encode_packet(data, length, seconds * 1_000_000_000 + nanoseconds, from_lab)

    def _write(self, data: bytes) -> bool:
        """Append it whole. False when it did not fit: the file still ends with a whole block."""
        if not self._budget.take(len(data)):
            return False
        size = os.lseek(self._file, 0, os.SEEK_CUR)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:  # the disk is full: what the file cannot hold counts as lost, and the lab goes on
            os.ftruncate(self._file, size)
            os.lseek(self._file, size, os.SEEK_SET)
            self._budget.left = 0
            return False
        return True


def _clock_ns() -> int:
    """Realtime minus monotonic: of three readings the one that was interrupted least."""
    best, clock = None, 0
    for _ in range(3):
        before, realtime, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if best is None or after - before < best:
            best, clock = after - before, realtime - (before + after) // 2
    return clock


def serve(channel: socket.socket, taps: Mapping[str, Tap]) -> None:
    """Drain and answer until the harness closes the channel."""
    everything, commands = select.poll(), select.poll()
    commands.register(channel, select.POLLIN)
    everything.register(channel, select.POLLIN)
    for tap in taps.values():
        everything.register(tap, select.POLLIN)
    while True:
        everything.poll()
        if commands.poll(_PAUSE_MS):
            message = _receive(channel)
            for tap in taps.values():
                tap.drain()
                tap.note_statistics()
            if not message:
                return
            channel.send(json.dumps(_answer(message, taps)).encode())
        else:
            for tap in taps.values():
                tap.drain()


def _receive(channel: socket.socket) -> bytes:
    """The next command; empty when the harness is gone."""
    try:
        return channel.recv(MESSAGE_BYTES_MAX)
    except ConnectionResetError:
        return b""


def _answer(message: bytes, taps: Mapping[str, Tap]) -> Mapping[str, object]:
    drops = {name: tap.drops for name, tap in taps.items()}
    unwritten = {name: tap.unwritten for name, tap in taps.items()}
    return {"answer": json.loads(message)["id"], "drops": drops, "unwritten": unwritten}


def main(arguments: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the harness ends us when it is done
    channel = socket.socket(fileno=int(arguments[0]))
    setup = receive_setup(channel)
    budget = Budget(setup.config["bytes_max"])
    files = setup.config["files"]
    taps = {}
    for name, (path, link) in files.items():
        taps[name] = Tap(setup.socket(name), path, budget)
        taps[name].write_begin(name, link)
    channel.send(json.dumps({"event": "ready"}).encode())
    serve(channel, taps)


if __name__ == "__main__":
    main(sys.argv[1:])
