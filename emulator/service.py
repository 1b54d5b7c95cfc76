"""One shape for all services of the platform: a sans-IO core, and the adapter that gives it a socket and a clock.

A core takes data and the time and answers with actions; it opens nothing and sleeps never. `Service` runs one on a
datagram socket in an asyncio loop: reads with add_reader and drains (asyncio's datagram endpoint measured five times
slower), passes the kernel's stamps, counts the socket's own drops.
"""

from collections.abc import Mapping, Sequence
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
