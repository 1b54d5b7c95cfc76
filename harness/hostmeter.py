"""The host meter's own process: ``python -I -S harness/hostmeter.py``. Writes a JSON line for each second to stdout.

It wakes a hundred times a second and sees how late: a process of its own, because another thread's hold of the
interpreter in the harness would read as a starved host. Each wake-up that a long stall swallowed counts as a late one,
or one stall would be one sample. Ends when its stdin closes. Standard library only.
"""

import json
import math
import select
import signal
import sys
import time
from collections.abc import Sequence

PERIOD_S = 0.01
WINDOW_S = 1.0


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
    before, lags = read_cpu_times(), [0.0]
    while True:
        closed = stdin.poll(max(0.0, due + PERIOD_S - time.monotonic()) * 1000)
        now = time.monotonic()
        if now >= due + PERIOD_S:
            late = late_wakeups(due + PERIOD_S, now)
            lags += late
            due += PERIOD_S * len(late)
        if now - begin >= WINDOW_S or closed:
            after = read_cpu_times()
            at, difference = clock_pair()
            window = {"begin": begin, "end": now, "lag_p99_s": percentile(lags, 0.99)}
            window |= {"steal": steal_share(before, after), "at": at, "realtime_minus_monotonic": difference}
            sys.stdout.write(json.dumps(window) + "\n")
            sys.stdout.flush()
            begin, before, lags = now, after, [0.0]
        if closed:
            return


if __name__ == "__main__":
    main()
