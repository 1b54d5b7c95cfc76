"""One shape for all services of the platform: a sans-IO core, and the adapter that gives it a socket and a clock.

A core takes data and the time and answers with actions; it opens nothing and sleeps never. `Service` runs one on a
datagram socket in an asyncio loop: reads with add_reader and drains (asyncio's datagram endpoint measured five times
slower), passes the kernel's stamps, counts the socket's own drops.
"""

import asyncio
import heapq
import math
import random
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Send:
    """Send a datagram from the core's socket."""

    data: bytes
    to: Address


@dataclass(frozen=True, slots=True)
class Note:
    """Record an event of the trace; at is the event's own time (monotonic seconds)."""

    kind: str
    at: float
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restart:
    """Supervision wants the app's virtual machine reset."""

    why: str


@dataclass(frozen=True, slots=True)
class Bypass:
    """Supervision wants UE traffic to bypass the app (or to pass through it again)."""

    active: bool
    why: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """Toward the network manager; raised or cleared."""

    app: str
    severity: str
    time: float
    cause: str
    cleared: bool


Action = Send | Note | Restart | Bypass | Alarm


class Core(Protocol):
    """A service without a socket. now is monotonic seconds; for received data the kernel's stamp, converted."""

    def receive(self, data: bytes, source: Address, now: float) -> Sequence[Action]: ...

    def wake(self, now: float) -> Sequence[Action]: ...

    def next_wake(self) -> float | None:
        """When `wake` wants to be called, in monotonic seconds; None for never."""


# Python has no names for these
SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_RXQ_OVFL = 33, 35, 40  # <asm-generic/socket.h>
IP_PKTINFO = 8  # <linux/in.h>
RECEIVE_BUFFER_BYTES = 8 << 20  # more than the host's cap is cut to it
_DATAGRAM_BYTES_MAX = 65535
_DRAIN_MAX = 64  # datagrams a turn of the loop, so that a flood on one socket does not starve the others
_BACKLOG_MAX = 4096  # datagrams before a timer is served
_ANCILLARY_BYTES = socket.CMSG_SPACE(16) + socket.CMSG_SPACE(4)


class Service:
    """Runs a core on a bound datagram socket inside the running asyncio loop; ``with`` starts and stops it.

    The service owns the socket. What the core wants sent is sent; every other action is handed to `perform`. Datagrams
    that the socket lost become ``drop`` events. name says in them which service it was.
    """

    def __init__(self, name: str, core: Core, sock: socket.socket, perform: Callable[[Action], None]) -> None:
        self._name = name
        self._core = core
        self._socket = sock
        self._perform = perform
        self._lost = 0
        self._last_received = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> "Service":
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        enlarge_receive_buffer(self._socket)
        self._last_received = time.monotonic()
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        self._arm()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        if self._timer:
            self._timer.cancel()
        self._socket.close()

    def run(self, actions: Sequence[Action]) -> None:
        """Carry out what a command made the core decide."""
        self._carry_out(actions)
        self._arm()

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._send(action)
            else:
                self._perform(action)

    def _readable(self) -> None:
        for _ in range(_DRAIN_MAX):
            if not self._receive():
                break
        self._arm()

    def _receive(self) -> bool:
        """Hand one waiting datagram to the core; False when none waits."""
        try:
            data, ancillary, _, source = self._socket.recvmsg(_DATAGRAM_BYTES_MAX, _ANCILLARY_BYTES)
        except BlockingIOError:
            return False
        at = time.monotonic()
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                at = monotonic_at(value)
            elif level == socket.SOL_SOCKET and kind == SO_RXQ_OVFL:
                self._note_losses(struct.unpack("=I", value)[0], at)
        self._last_received = at
        self._carry_out(self._core.receive(data, source, at))
        return True

    def _note_losses(self, lost: int, at: float) -> None:
        count = (lost - self._lost) % (1 << 32)
        if count:
            self._lost = lost
            begin = min(self._last_received, at)
            self._perform(Note("drop", at, {"where": self._name, "count": count, "begin": begin, "end": at}))

    def _wake(self) -> None:
        # What the kernel already holds came in time: the core must not miss it because this process was slow.
        for _ in range(_BACKLOG_MAX):
            if not self._receive():
                break
        self.run(self._core.wake(time.monotonic()))

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        due = self._core.next_wake()
        if due is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(loop.time() + max(0.0, due - time.monotonic()), self._wake)

    def _send(self, action: Send) -> None:
        try:
            self._socket.sendto(action.data, action.to)
        except OSError:  # a full queue, a port or link that went away: the lab's own loss, said so
            now = time.monotonic()
            self._perform(Note("drop", now, {"where": f"{self._name} (sending)", "count": 1, "begin": now, "end": now}))


def enlarge_receive_buffer(sock: socket.socket) -> None:
    """As much as the host grants: a small buffer's losses would read as the app's."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)


def monotonic_at(stamp: bytes) -> float:
    """The kernel's CLOCK_REALTIME stamp (struct timespec) of something that just came, in monotonic seconds."""
    seconds, nanoseconds = struct.unpack("@qq", stamp)
    at = (seconds * 1_000_000_000 + nanoseconds - _clock_difference_ns()) * 1e-9
    return min(float(at), time.monotonic())


def realtime_minus_monotonic() -> float:
    """The pair of a ``clock-pair`` event, in seconds."""
    return _clock_difference_ns() * 1e-9


def _clock_difference_ns() -> int:
    """Both clocks read together: of a few tries the tightest, for this process may be put aside between two reads."""
    best, width = 0, math.inf
    for _ in range(5):
        before, realtime, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if after - before < width:
            best, width = realtime - (before + after) // 2, after - before
        if width < 5_000:
            break
    return best


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong with the datagrams that a service sends: probabilities, seconds, further copies."""

    loss: float = 0.0
    corruption: float = 0.0
    delay_s: float = 0.0
    copies: int = 0


class Faulty:
    """A core with faults: for broken labs and for apps that must bear a bad network. Itself a core, so faults compose.

    seed draws what is hit; the same seed hits the same datagrams.
    """

    def __init__(self, core: Core, faults: Faults, seed: int) -> None:
        self._core = core
        self._faults = faults
        self._chance = random.Random(seed)
        self._delayed: list[tuple[float, int, Send]] = []
        self._count = 0

    def receive(self, data: bytes, source: Address, now: float) -> Sequence[Action]:
        return [*self._released(now), *self._spoil(self._core.receive(data, source, now), now)]

    def wake(self, now: float) -> Sequence[Action]:
        inner = self._core.next_wake()
        actions = self._core.wake(now) if inner is not None and inner <= now else ()
        return [*self._released(now), *self._spoil(actions, now)]

    def next_wake(self) -> float | None:
        times = [self._core.next_wake(), self._delayed[0][0] if self._delayed else None]
        return min((time for time in times if time is not None), default=None)

    def _spoil(self, actions: Sequence[Action], now: float) -> Sequence[Action]:
        kept: list[Action] = []
        for action in actions:
            if not isinstance(action, Send):
                kept.append(action)
            elif self._chance.random() >= self._faults.loss:
                kept.extend([self._corrupt(action)] * (1 + self._faults.copies))
        if not self._faults.delay_s:
            return kept
        for action in kept:
            if isinstance(action, Send):
                self._count += 1
                heapq.heappush(self._delayed, (now + self._faults.delay_s, self._count, action))
        return [action for action in kept if not isinstance(action, Send)]

    def _corrupt(self, action: Send) -> Send:
        if not action.data or self._chance.random() >= self._faults.corruption:
            return action
        spoiled = bytearray(action.data)
        spoiled[self._chance.randrange(len(spoiled))] ^= 1 << self._chance.randrange(8)
        return Send(bytes(spoiled), action.to)

    def _released(self, now: float) -> Sequence[Send]:
        due = []
        while self._delayed and self._delayed[0][0] <= now:
            due.append(heapq.heappop(self._delayed)[2])
        return due
