"""Host facts, what is missing, and the meter: its rules by tables, its process for real."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from conformance.profile import load
from conformance.trace import faults
from harness import host, hostmeter


class Notes:
    """Events that were noted, each checked against the table of kinds; and a wait for a kind."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self._changed = threading.Condition()

    def note(self, kind: str, _at: float, fields: Mapping[str, Any]) -> None:
        assert faults(kind, fields) == ""
        with self._changed:
            self.events.append((kind, fields))
            self._changed.notify_all()

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    def wait_for(self, kind: str) -> Mapping[str, Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: kind in self.kinds(), 30), self.events
        return next(fields for seen, fields in self.events if seen == kind)


def _window(begin: float, *, lag: float = 0.001, steal: float = 0.0, difference: float = 1000.0) -> dict[str, float]:
    times = {"begin": begin, "end": begin + 1, "at": begin + 1}
    return {**times, "lag_p99_s": lag, "steal": steal, "realtime_minus_monotonic": difference}


@pytest.mark.parametrize(
    ("windows", "kinds"),
    [
        ([_window(0)], ["clock-pair"]),
        ([_window(0, lag=0.020)], ["clock-pair"]),
        ([_window(0, lag=0.021)], ["host-starved", "clock-pair"]),
        ([_window(0, steal=0.10)], ["clock-pair"]),
        ([_window(0, steal=0.11)], ["host-starved", "clock-pair"]),
        ([_window(0), _window(1, difference=1000.004)], ["clock-pair"]),
        ([_window(0), _window(1, difference=1000.006)], ["clock-pair", "clock-step", "clock-pair"]),
        ([_window(0), _window(1, difference=999.994)], ["clock-pair", "clock-step", "clock-pair"]),
        ([_window(n) for n in range(11)], ["clock-pair", "clock-pair"]),
    ],
)
def test_windows_become_events_by_the_profiles_limits(windows: list[dict[str, float]], kinds: list[str]) -> None:
    notes = Notes()
    judge = host.WindowJudge(load(), notes.note)
    for window in windows:
        judge.take(window)
    assert notes.kinds() == kinds


def test_a_starved_window_names_its_stretch() -> None:
    notes = Notes()
    host.WindowJudge(load(), notes.note).take(_window(5, lag=0.05))
    expected = {"what": "lag", "value": 0.05, "limit": 0.02, "begin": 5, "end": 6}
    assert notes.events[0] == ("host-starved", expected)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([1.0], 0.99, 1.0), (list(range(1, 101)), 0.99, 99), (list(range(1, 101)), 1.0, 100), ([3, 1, 2], 0.5, 2)],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert hostmeter.percentile(values, share) == expected


def test_a_stall_counts_as_many_late_wakeups_as_it_swallowed() -> None:
    late = hostmeter.late_wakeups(10.0, 10.0555)
    assert [round(lag, 4) for lag in late] == [0.0555, 0.0455, 0.0355, 0.0255, 0.0155, 0.0055]
    assert hostmeter.late_wakeups(10.0, 9.9999) == [0.0]
    assert hostmeter.percentile([0.0] * 94 + late, 0.99) > 0.02


def test_steal_is_a_share_of_all_cpu_time() -> None:
    before = [100, 0, 0, 1000, 0, 0, 0, 5]
    assert hostmeter.steal_share(before, [140, 0, 0, 1050, 0, 0, 0, 15]) == 0.1
    assert hostmeter.steal_share(before, before) == 0.0


def test_the_meter_measures_this_host_and_ends_with_its_block() -> None:
    notes = Notes()
    with host.HostMeter(load(), notes.note) as meter:
        pair = notes.wait_for("clock-pair")
        pid = meter.pid
    assert abs(pair["realtime_minus_monotonic"] - hostmeter.clock_pair()[1]) < 1
    assert not Path(f"/proc/{pid}").exists()
    assert "process-died" not in notes.kinds()


def test_a_stopped_host_is_starved() -> None:
    """Real stalls: the meter's process is held for a while, as a hypervisor would hold the whole host."""
    notes = Notes()
    with host.HostMeter(load(), notes.note) as meter:
        notes.wait_for("clock-pair")
        os.kill(meter.pid, signal.SIGSTOP)
        threading.Event().wait(0.3)  # the stall itself, not a synchronisation
        os.kill(meter.pid, signal.SIGCONT)
        assert notes.wait_for("host-starved")["value"] > 0.02


def test_a_killed_meter_is_told() -> None:
    notes = Notes()
    with host.HostMeter(load(), notes.note) as meter:
        os.kill(meter.pid, signal.SIGKILL)
        assert notes.wait_for("process-died")["status"] == -signal.SIGKILL


def test_the_meter_does_not_outlive_a_killed_harness() -> None:
    script = "import sys; from harness.host import *; from conformance.profile import load\n"
    script += "with HostMeter(load(), lambda *_: None) as m: print(m.pid, flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    root = Path(host.__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, cwd=root) as harness:
        assert harness.stdout is not None
        pidfd = os.pidfd_open(int(harness.stdout.readline()))
        harness.kill()
        assert select.select([pidfd], [], [], 20)[0]
        os.close(pidfd)


def test_facts_are_of_this_host() -> None:
    found = host.facts()
    assert found.cores >= 1
    assert found.memory_mib > 100
    assert found.kernel == os.uname().release


def test_missing_commands_name_their_package() -> None:
    lacks = host.missing({"no-such-command": "its-package", "sh": "dash"})
    assert [lack.what for lack in lacks if "no-such" in lack.what or lack.what == "sh"] == ["no-such-command"]
    assert "apt-get install --no-install-recommends its-package" in lacks[0].remedy
