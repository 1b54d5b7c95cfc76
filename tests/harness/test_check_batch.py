"""A process each: order kept, one crash is one end without a result, nothing outlives the parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from harness.package.batch import judge_each

DEADLINE_S = 60.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


def there(pid: int) -> bool:
    """Whether a process is there, and no mere entry that waits to be reaped."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return False


def test_results_come_in_order_whatever_ends_first(tmp_path: Path) -> None:
    def judge(number: int) -> int:
        if number == 0:  # the first ends last
            wait_until(lambda: len(list(tmp_path.iterdir())) == 9, "the others' end")
        (tmp_path / str(number)).touch()
        return number * 10

    assert [ended.result for ended in judge_each(10, 3, judge)] == [number * 10 for number in range(10)]


def test_no_more_than_so_many_run_at_once() -> None:
    def judge(number: int) -> int:
        parent = os.getppid()
        return len(Path(f"/proc/{parent}/task/{parent}/children").read_text().split())

    assert {ended.result for ended in judge_each(20, 2, judge)} <= {1, 2}


def test_results_wait_for_the_first_within_bounds(tmp_path: Path) -> None:
    """Far more to judge than may be held: while the first is away, only so many others are started."""

    def judge(number: int) -> int:
        (tmp_path / str(number)).touch()
        if number == 0:
            wait_until(lambda: len(list(tmp_path.iterdir())) == 64, "as many starts as may be ahead")
            os.stat(tmp_path / "63")
            return len(list(tmp_path.iterdir()))
        return number

    results = [ended.result for ended in judge_each(80, 2, judge)]
    assert results == [64, *range(1, 80)]


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
        (lambda: os.kill(os.getpid(), signal.SIGXCPU), "was killed by SIGXCPU"),
        (lambda: os._exit(7), "ended with status 7"),
        (lambda: 1 // 0, "ended with status 1"),
    ],
)
def test_a_crash_is_an_end_of_that_one_only(
    end: Callable[[], object], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def judge(number: int) -> int:
        if number == 1:
            end()
        return number

    ends = list(judge_each(3, 2, judge))
    assert [ended.result for ended in ends] == [0, None, 2]
    assert why in ends[1].why


def test_closing_it_ends_what_runs_and_what_that_started(tmp_path: Path) -> None:
    def judge(number: int) -> int:
        if number:
            with subprocess.Popen(["sleep", "1000"]) as sleeper:
                (tmp_path / "new").write_text(f"{os.getpid()} {sleeper.pid}")
                (tmp_path / "new").rename(tmp_path / "pids")
        wait_until((tmp_path / "pids").exists, "the second's start")
        return number

    with closing(judge_each(2, 2, judge)) as ends:
        assert next(ends).result == 0
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    wait_until(lambda: not any(map(there, pids)), "their end")


PROGRAM = """
    import os, sys, time
    from pathlib import Path
    from harness.package.batch import judge_each

    def judge(number):
        Path(sys.argv[1], f"new{number}").write_text(str(os.getpid()))
        Path(sys.argv[1], f"new{number}").rename(Path(sys.argv[1], f"pid{number}"))
        time.sleep(1000)

    list(judge_each(2, 2, judge))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_it_however_it_ends(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as parent:
        wait_until(lambda: len(list(tmp_path.glob("pid*"))) == 2, "the start of both")
        pids = [int(path.read_text()) for path in tmp_path.glob("pid*")]
        parent.send_signal(number)
        parent.wait(DEADLINE_S)
    wait_until(lambda: not any(map(there, pids)), "their end")
