"""The platform's NTP server (contract 4) without a socket: NTPv3 and NTPv4, stratum 2, on the platform's shifted clock.

RFC 5905 7.3 (header), 7.4 (kiss-o'-death), 9.2 (a server answers mode 3 with mode 4); RFC 1305 for version 3.
"""

import struct
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from conformance.ntp import PACKET_BYTES, SERVER, request_fault, short, timestamp
from emulator.platform import PlatformClock
from emulator.service import Action, Address, Note, Send

STRATUM = 2
PRECISION = -20  # about a microsecond, as log2 of seconds
ROOT_DELAY_S = 0.002  # to an imaginary primary server; contract 4 bounds both by 50 ms
ROOT_DISPERSION_S = 0.003
PRIMARY = IPv4Address("10.200.255.1")  # reference id of stratum 2: its server's address, none of the lab's, so no loop
POLL_GRAIN_S = 64  # reference time stamp: when our clock was last set, at most so long ago
KISS = b"RATE"


class NtpCore:
    """Answers client requests; notes every datagram as ``ntp-request``.

    The core's `now` is the kernel's stamp of arrival, `read_clock` gives monotonic seconds when the answer leaves.
    """

    def __init__(self, clock: PlatformClock, read_clock: Callable[[], float]) -> None:
        self._clock = clock
        self._read_clock = read_clock
        self._away = False
        self._kissing = False

    def pause(self) -> None:
        """The server is away: nothing is answered, all is noted."""
        self._away = True

    def resume(self) -> None:
        self._away = False

    def kiss(self, active: bool) -> None:
        """Answer with kiss-o'-death RATE instead of the time, or no more."""
        self._kissing = active

    def receive(self, data: bytes, source: Address, now: float) -> Sequence[Action]:
        fault = request_fault(data)
        reason = fault or ("outage" if self._away else "kiss-o'-death RATE" if self._kissing else "")
        note = Note(
            "ntp-request",
            now,
            {"data": data.hex(), "address": source[0], "port": source[1], "answered": not reason, "reason": reason},
        )
        if fault or self._away:
            return [note]
        return [Send(self._answer(data, now), source), note]

    def wake(self, now: float) -> Sequence[Action]:
        return ()

    def next_wake(self) -> float | None:
        return None

    def _answer(self, request: bytes, arrival: float) -> bytes:
        version, poll, origin = request[0] >> 3 & 7, request[2:3], request[40:48]
        received = self._clock.time(arrival)
        leap, stratum, reference = 0, STRATUM, PRIMARY.packed
        if self._kissing:
            leap, stratum, reference = 3, 0, KISS  # RFC 5905 7.4: stratum 0, the code in the reference id
        head = struct.pack("!BB1sb", leap << 6 | version << 3 | SERVER, stratum, poll, PRECISION)
        set_at = received - received % POLL_GRAIN_S
        left = self._clock.time(max(self._read_clock(), arrival))
        answer = (
            head
            + short(ROOT_DELAY_S)
            + short(ROOT_DISPERSION_S)
            + reference
            + timestamp(set_at)
            + origin
            + timestamp(received)
            + timestamp(left)
        )
        assert len(answer) == PACKET_BYTES
        return answer
