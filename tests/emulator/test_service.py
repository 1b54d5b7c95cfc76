"""The adapter that gives a core a socket and a clock, over loopback; and faults, seed by seed."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.service import (
    Action,
    Address,
    Bypass,
    Core,
    Faults,
    Faulty,
    Note,
    Send,
    Service,
    realtime_minus_monotonic,
)

DEADLINE_S = 20.0
CLIENT = ("127.0.0.1", 9)


@dataclass
class Echo:
    """Sends back what it gets, notes when it came, and wants to be woken once."""

    due: float | None = None
    arrivals: list[float] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def receive(self, data: bytes, source: Address, now: float) -> Sequence[Action]:
        self.arrivals.append(now)
        self.calls.append("receive")
        return [Send(data, source), Note("beat", now)]

    def wake(self, now: float) -> Sequence[Action]:
        assert self.due is not None and now >= self.due
        self.due = None
        self.calls.append("wake")
        return [Bypass(True, "time is up")]

    def next_wake(self) -> float | None:
        return self.due


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the service did not get there"
        await asyncio.sleep(0.001)


def serve(core: Core, drive: Callable[[Address, socket.socket], None], condition: Callable[[], object]) -> list[Action]:
    """Run a core until the condition holds; drive gets its address and a client's socket, before the loop turns."""
    performed: list[Action] = []

    async def run() -> None:
        sock = bound()
        with bound() as client, Service("echo", core, sock, performed.append):
            drive(sock.getsockname(), client)
            await until(condition)

    asyncio.run(run())
    return performed


def test_datagrams_are_answered_and_stamped_by_the_kernel() -> None:
    core, begin = Echo(), time.monotonic()

    def drive(address: Address, client: socket.socket) -> None:
        for n in range(200):
            client.sendto(bytes([n]), address)

    performed = serve(core, drive, lambda: len(core.arrivals) == 200)
    assert all(isinstance(action, Note) for action in performed)
    assert core.arrivals == sorted(core.arrivals)
    assert begin - 0.001 <= core.arrivals[0] <= core.arrivals[-1] <= time.monotonic()


def test_the_answer_goes_back_to_who_asked() -> None:
    core, got = Echo(), []

    def drive(address: Address, client: socket.socket) -> None:
        client.setblocking(False)
        client.sendto(b"ping", address)
        asyncio.get_running_loop().add_reader(client, lambda: got.append(client.recv(9)))

    serve(core, drive, lambda: got)
    assert got == [b"ping"]


def test_a_timer_wakes_the_core_and_what_came_before_it_is_heard_first() -> None:
    core = Echo(due=time.monotonic())

    def drive(address: Address, client: socket.socket) -> None:
        client.sendto(b"x", address)

    performed = serve(core, drive, lambda: "wake" in core.calls)
    assert core.calls == ["receive", "wake"]
    assert Bypass(True, "time is up") in performed


def test_what_the_socket_lost_is_said() -> None:
    core, performed, sent = Echo(), list[Action](), 1500

    def told() -> bool:
        return any(isinstance(action, Note) and action.kind == "drop" for action in performed)

    async def run() -> None:
        sock = bound()
        with bound() as client, Service("echo", core, sock, performed.append):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            for _ in range(sent):
                client.sendto(bytes(60_000), sock.getsockname())
            await until(lambda: core.arrivals)
            client.sendto(b"x", sock.getsockname())  # the kernel tells of losses with the next datagram that it keeps
            await until(told)

    asyncio.run(run())
    drop = next(action for action in performed if isinstance(action, Note) and action.kind == "drop")
    assert drop.fields["where"] == "echo"
    assert 0 < drop.fields["count"] <= sent - 1
    assert drop.fields["begin"] <= drop.fields["end"] == drop.at


def test_what_could_not_be_sent_is_said() -> None:
    performed: list[Action] = []

    async def run() -> None:
        with Service("echo", Echo(), bound(), performed.append) as service:
            service.run([Send(b"x", ("127.0.0.1", 0))])

    asyncio.run(run())
    (note,) = performed
    assert isinstance(note, Note) and note.kind == "drop" and note.fields["where"] == "echo (sending)"


def test_leaving_closes_the_socket_and_the_timer() -> None:
    async def run() -> socket.socket:
        sock = bound()
        with Service("echo", Echo(due=time.monotonic() + 1000), sock, lambda _: None):
            pass
        assert not [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]  # no public way to see timers
        return sock

    assert asyncio.run(run()).fileno() == -1


def test_the_clocks_are_read_together() -> None:
    readings = [realtime_minus_monotonic() for _ in range(100)]
    assert max(readings) - min(readings) < 0.05


def sent(core: Core, data: bytes, now: float = 0.0) -> list[bytes]:
    return [action.data for action in core.receive(data, CLIENT, now) if isinstance(action, Send)]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [(Faults(), [b"abc"]), (Faults(loss=1.0), []), (Faults(copies=2), [b"abc"] * 3), (Faults(delay_s=0.5), [])],
)
def test_faults(faults: Faults, expected: list[bytes]) -> None:
    assert sent(Faulty(Echo(), faults, seed=1), b"abc") == expected


def test_corruption_turns_one_bit() -> None:
    (data,) = sent(Faulty(Echo(), Faults(corruption=1.0), seed=1), b"abc")
    assert len(data) == 3
    assert sum((a ^ b).bit_count() for a, b in zip(data, b"abc", strict=True)) == 1


def test_delay_keeps_the_order_and_the_cores_own_wish() -> None:
    core = Faulty(Echo(due=0.7), Faults(delay_s=0.5), seed=1)
    core.receive(b"a", CLIENT, 0.0)
    core.receive(b"b", CLIENT, 0.1)
    assert core.next_wake() == 0.5
    assert core.wake(0.55) == [Send(b"a", CLIENT)]
    assert core.next_wake() == 0.6
    assert core.wake(0.8) == [Send(b"b", CLIENT), Bypass(True, "time is up")]
    assert core.next_wake() is None


@settings(derandomize=True, max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32),
    st.builds(Faults, st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.0, 0.2]), st.integers(0, 3)),
    st.lists(st.binary(min_size=1, max_size=8), max_size=20),
)
def test_faults_follow_their_seed_and_hide_no_event(seed: int, faults: Faults, datagrams: list[bytes]) -> None:
    def history() -> list[Action]:
        core = Faulty(Faulty(Echo(), faults, seed), Faults(copies=1), seed + 1)
        actions = [action for n, data in enumerate(datagrams) for action in core.receive(data, CLIENT, float(n))]
        return [*actions, *core.wake(1000.0)]

    first = history()
    assert first == history()
    assert sum(isinstance(action, Note) for action in first) == len(datagrams)
    count = sum(isinstance(action, Send) for action in first)
    assert count % 2 == 0 and count <= 2 * (1 + faults.copies) * len(datagrams)
