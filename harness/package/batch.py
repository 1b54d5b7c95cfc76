"""Several things to judge at once: a process for each, as many at a time as may be, results in the order given.

What crashes one process is an end without a result for that one only. None outlives this process, however it ends.
"""

import ctypes
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Generic, TypeVar, cast

from harness.interrupts import SIGNALS

Result = TypeVar("Result")
_AHEAD_MAX = 64  # results that wait for an earlier one: memory stays bounded, however many are to be judged
_GRACE_S = 2.0
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@dataclass(frozen=True, slots=True)
class Ended(Generic[Result]):
    """How one process ended: with its result, or without any and why."""

    result: Result | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Running:
    number: int
    process: ForkProcess


def judge_each(count: int, processes: int, judge: Callable[[int], Result]) -> Generator[Ended[Result], None, None]:
    """judge(number) for 0 to count - 1, each in a process of its own, so many at a time; yielded in order.

    judge goes through a fork, its result through a pipe. Closing the iterator ends what still runs, within seconds.
    """
    running: dict[Connection, _Running] = {}
    ended: dict[int, Ended[Result]] = {}
    started = shown = 0
    try:
        while shown < count:
            while started < min(count, shown + _AHEAD_MAX) and len(running) < processes:
                with _uninterrupted():
                    channel, process = _start(judge, started)
                    running[channel] = _Running(started, process)
                started += 1
            for channel in cast("list[Connection]", wait(list(running))):
                with _uninterrupted():
                    one = running.pop(channel)
                    ended[one.number] = _receive(channel, one.process)
            while shown in ended:
                yield ended.pop(shown)
                shown += 1
    finally:
        with _uninterrupted():
            _end([one.process for one in running.values()])


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """What ends us waits, for moments: a process that is started and not noted yet, or not ended yet, would be lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(judge: Callable[[int], Result], number: int) -> tuple[Connection, ForkProcess]:
    context = get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(os.getpid(), sending, judge, number))
    process.start()
    sending.close()
    return receiving, process


def _work(parent: int, channel: Connection, judge: Callable[[int], Result], number: int) -> None:
    """The process: gone with its parent, and in a group of its own together with all that it starts."""
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) or os.getppid() != parent:
        os._exit(1)
    os.setpgid(0, 0)  # the terminal's Ctrl-C is the parent's to take
    with suppress(KeyboardInterrupt):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        channel.send(judge(number))


def _receive(channel: Connection, process: ForkProcess) -> Ended[Result]:
    """What a process has sent that has sent something or ended."""
    try:
        ended: Ended[Result] = Ended(channel.recv())
    except EOFError:
        ended = Ended(None)
    channel.close()
    _bury(process, _GRACE_S)
    code = process.exitcode or 0
    if ended.result is None:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        ended = Ended(None, f"the process that judged it {how}")
    return ended


def _end(processes: list[ForkProcess]) -> None:
    """Ask what still runs to end, and see that it does."""
    for process in processes:
        os.kill(process.pid or 0, signal.SIGINT)
    deadline = time.monotonic() + _GRACE_S
    for process in processes:
        _bury(process, max(0.0, deadline - time.monotonic()))


def _bury(process: ForkProcess, timeout_s: float) -> None:
    """Wait for its end; then end it, and what it started, with force. Its number stays taken until it is joined."""
    wait([process.sentinel], timeout_s)
    process.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
