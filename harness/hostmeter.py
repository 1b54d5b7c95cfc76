"""The host meter's own process: ``python -I -S harness/hostmeter.py``. Writes a JSON line for each second to stdout.

It wakes a hundred times a second and sees how late: a process of its own, because another thread's hold of the
interpreter in the harness would read as a starved host. Each wake-up that a long stall swallowed counts as a late one,
or one stall would be one sample. Twenty times a second it looks at the threads of QEMU, whose process number is a line
on stdin. Ends when its stdin closes. Standard library only.
"""

import json
import math
import os
import select
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

PERIOD_S = 0.01
WINDOW_S = 1.0
LOOK_S = 0.05  # 0.1 ms of CPU time each


class Thread(NamedTuple):
    """A thread at one look (proc(5), Documentation/scheduler/sched-stats.rst): its state's letter, how often it got a
    CPU so far, and for how long it waited for one though it was ready to run."""

    state: str
    turns: int
    waited_s: float


class Withheld(NamedTuple):
    """Seconds that a thread could not run though the app's guest may have wanted it to.

    stopped: by a signal or a debugger. blocked: in one sleep of the kernel's that no signal ends, for a disk or for
    memory. waiting: for a CPU, also below a limit of its cgroup. Two looks without a turn between them are one sleep:
    a busy disk's many short ones are none of these, and neither is a guest that has nothing to do.
    """

    stopped: float = 0.0
    blocked: float = 0.0
    waiting: float = 0.0

    def plus(self, other: "Withheld") -> "Withheld":
        return Withheld(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def withheld(before: Thread, after: Thread, seconds: float) -> Withheld:
    """What a thread could not do between two looks, so many seconds apart."""
    waiting = after.waited_s - before.waited_s
    if before.turns != after.turns or before.state != after.state:
        return Withheld(waiting=waiting)
    return Withheld(seconds if after.state in "Tt" else 0.0, seconds if after.state == "D" else 0.0, waiting)


def parse_thread(stat: str, schedstat: str) -> Thread:
    """From /proc/PID/task/TID/stat and schedstat; the thread's name, in parentheses, may hold anything."""
    _, delay_ns, turns = schedstat.split()
    return Thread(stat.rpartition(")")[2].split()[0], int(turns), int(delay_ns) * 1e-9)


def read_threads(process: int) -> dict[str, Thread]:
    """The threads of a process by their numbers; none of one that is gone."""
    found, tasks = {}, f"/proc/{process}/task"
    with suppress(OSError):
        for number in os.listdir(tasks):
            with suppress(OSError):  # of a pool: they come and go
                found[number] = parse_thread(_read(f"{tasks}/{number}/stat"), _read(f"{tasks}/{number}/schedstat"))
    return found


def _read(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.read(4096).decode(errors="replace")


class Guest:
    """QEMU's threads, from look to look; process is 0 as long as there is none."""

    def __init__(self) -> None:
        self.process = 0
        self._threads: Mapping[str, Thread] = {}
        self._at = -math.inf
        self._sums: dict[str, Withheld] = defaultdict(Withheld)

    def look(self, now: float) -> None:
        """Once in LOOK_S; does nothing in between."""
        if not self.process or now - self._at < LOOK_S:
            return
        threads = read_threads(self.process)
        for number, thread in threads.items():
            if number in self._threads:
                seconds = withheld(self._threads[number], thread, now - self._at)
                self._sums[number] = self._sums[number].plus(seconds)
        self._threads, self._at = threads, now

    def take(self) -> Withheld:
        """Of each kind the most that one thread could not run since the last call."""
        worst = Withheld(*map(max, zip(Withheld(), *self._sums.values(), strict=True)))
        self._sums.clear()
        return worst


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that share of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def steal_share(before: Sequence[int], after: Sequence[int]) -> float:
    """The share of all CPU time that the hypervisor below this host took, between two readings of /proc/stat."""
    spent = [late - early for early, late in zip(before, after, strict=True)]
    return max(0, spent[7]) / max(1, sum(spent))


def read_cpu_times() -> list[int]:
    """user, nice, system, idle, iowait, irq, softirq, steal of all CPUs, in ticks (proc(5))."""
    with open("/proc/stat", encoding="ascii") as file:
        return [int(word) for word in file.readline().split()[1:9]]


def clock_pair() -> tuple[float, float]:
    """(monotonic seconds, realtime minus monotonic), the closest of three readings."""
    readings = []
    for _ in range(3):
        before, real, after = time.monotonic(), time.time(), time.monotonic()
        readings.append((after - before, before, real - (before + after) / 2))
    _, at, difference = min(readings)
    return at, difference


def late_wakeups(due: float, now: float) -> list[float]:
    """How late each wake-up is that was due from ``due`` until now, a period apart, in seconds; at least one."""
    count = int(max(0.0, now - due) / PERIOD_S) + 1
    return [max(0.0, now - due - index * PERIOD_S) for index in range(count)]


def main() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody reads any more: end without a word
    stdin = select.poll()
    stdin.register(sys.stdin, select.POLLIN | select.POLLHUP)
    begin = due = time.monotonic()
    before, lags, guest = read_cpu_times(), [0.0], Guest()
    closed = False
    while not closed:
        if stdin.poll(max(0.0, due + PERIOD_S - time.monotonic()) * 1000):
            closed = not (said := os.read(0, select.PIPE_BUF))
            guest.process = guest.process if closed else int(said.split()[-1])
        now = time.monotonic()
        if now >= due + PERIOD_S:
            late = late_wakeups(due + PERIOD_S, now)
            lags += late
            due += PERIOD_S * len(late)
        guest.look(now)
        if now - begin >= WINDOW_S or closed:
            after = read_cpu_times()
            at, difference = clock_pair()
            window = {"begin": begin, "end": now, "lag_p99_s": percentile(lags, 0.99), **guest.take()._asdict()}
            window |= {"steal": steal_share(before, after), "at": at, "realtime_minus_monotonic": difference}
            sys.stdout.write(json.dumps(window) + "\n")
            sys.stdout.flush()
            begin, before, lags = now, after, [0.0]


if __name__ == "__main__":
    main()
