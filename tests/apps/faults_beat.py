"""Faults of the heartbeat, of the hang drill and of the clock."""

import contextlib
import importlib
import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from faults_later import later

# they lie beside this file in the image only
heartbeat: Any = importlib.import_module("heartbeat")
ntp: Any = importlib.import_module("ntp")

PLATFORM = "10.199.0.1"
AFTER = 3  # beats before a passing fault shows: the app is up and known by then

Beat = dict[str, Any]
Edit = Callable[[Beat, int], Iterable[bytes | Beat]]


class Tampered:
    """The heartbeat's socket: what the app sends goes through `edit`, with the number of the beat."""

    def __init__(self, real: Any, edit: Edit) -> None:
        self.real, self.edit, self.count = real, edit, 0

    def sendto(self, data: bytes, address: Any) -> None:
        for message in self.edit(json.loads(data), self.count):
            self.real.sendto(message if isinstance(message, bytes) else json.dumps(message).encode(), address)
        self.count += 1


def with_heart(bend: Callable[[Any], None]) -> Callable[[Any], None]:
    """A fault that bends the app's Heartbeat as soon as it is made."""

    def fault(app: Any) -> None:
        made = heartbeat.Heartbeat.__init__

        def make(self: Any, *arguments: Any) -> None:
            made(self, *arguments)
            bend(self)

        heartbeat.Heartbeat.__init__ = make

    return fault


def edited(edit: Edit) -> Callable[[Any], None]:
    def bend(heart: Any) -> None:
        heart.socket = Tampered(heart.socket, edit)

    return with_heart(bend)


def seq_shifted(shift: Callable[[int], int]) -> Callable[[Any], None]:
    return edited(lambda beat, count: [{**beat, "seq": beat["seq"] + shift(count)}])


def of_another_app(beat: Beat, count: int) -> Iterable[Beat]:
    return [{**beat, "app": "someone-else"}]


def cut_now_and_then(beat: Beat, count: int) -> Iterable[bytes | Beat]:
    return [json.dumps(beat).encode()[:-1]] if count % 5 == 4 else [beat]


def silent(beat: Beat, count: int) -> Iterable[Beat]:
    return []


def silent_for_a_while(beat: Beat, count: int) -> Iterable[Beat]:
    """Nothing for five beats, and nothing wrong with the numbers around them."""
    if count < AFTER:
        return [beat]
    return [] if count < AFTER + 5 else [{**beat, "seq": beat["seq"] - 5}]


def flooding(beat: Beat, count: int) -> Iterable[Beat]:
    if count < AFTER:
        return [beat]
    if count > AFTER:
        return [{**beat, "seq": beat["seq"] + 29}]
    return [{**beat, "seq": beat["seq"] + extra} for extra in range(30)]


def beat_elsewhere(heart: Any) -> None:
    def edit(beat: Beat, count: int) -> Iterable[Beat]:
        heart.socket.real.sendto(json.dumps(beat).encode(), (PLATFORM, 7401))
        return [beat]

    heart.socket = Tampered(heart.socket, edit)


def jittery(heart: Any) -> None:
    send = heart.send

    def late(state: str) -> None:
        time.sleep(random.uniform(0, 0.6))
        send(state)

    heart.send = late


def slow(heart: Any) -> None:
    heart.interval *= 1.25


def without_stopping(heart: Any) -> None:
    heart.stop = lambda: None


def hang_keeps_beating(app: Any) -> None:
    hearts: list[Any] = []
    with_heart(hearts.append)(app)

    def hang() -> None:
        while True:
            time.sleep(hearts[0].remaining())
            hearts[0].beat()

    app.hang = hang


def no_clock(app: Any) -> None:
    ntp.follow = lambda host, synchronised=None: None


def bad_ntp(app: Any) -> None:
    """The clock is kept by good requests; beside each goes one that is none (mode 4, cut short)."""
    query = ntp.query

    def both(address: str, timeout: float = 1.0) -> Any:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"\x24" + bytes(39), (address, 123))
        return query(address, timeout)

    ntp.query = both


def other_ntp(app: Any) -> None:
    def ask() -> None:
        while True:
            with contextlib.suppress(OSError):  # to have asked is the fault
                socket.gethostbyname("pool.ntp.org")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"\x23" + bytes(39) + os.urandom(8), ("203.0.113.123", 123))
            time.sleep(5)

    later(3, ask)


def clock_off(app: Any) -> None:
    step = ntp.correct
    ntp.correct = lambda by, step_=True, **words: step(by + 0.3, step=True)


def clock_back(app: Any) -> None:
    later(30, lambda: time.clock_settime(time.CLOCK_REALTIME, time.time() - 0.4))
