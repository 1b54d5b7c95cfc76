"""Host facts, what is missing, and the meter: its rules by tables, its process for real."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conformance.profile import load
from conformance.trace import faults
from harness import accelerator, host, hostmeter


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

    def wait_for(self, kind: str, what: str = "") -> Mapping[str, Any]:
        def found() -> list[Mapping[str, Any]]:
            return [fields for seen, fields in self.events if seen == kind and what in ("", fields.get("what"))]

        with self._changed:
            assert self._changed.wait_for(found, 30), self.events
        return found()[0]


def _window(begin: float, *, lag: float = 0.001, difference: float = 1000.0, **measured: float) -> dict[str, float]:
    times = {"begin": begin, "end": begin + 1, "at": begin + 1}
    nothing = {"steal": 0.0, "stopped": 0.0, "blocked": 0.0, "waiting": 0.0}
    return {**times, **nothing, "lag_p99_s": lag, "realtime_minus_monotonic": difference, **measured}


@pytest.mark.parametrize(
    ("windows", "kinds"),
    [
        ([_window(0)], ["clock-pair"]),
        ([_window(0, lag=0.020)], ["clock-pair"]),
        ([_window(0, lag=0.021)], ["host-starved", "clock-pair"]),
        ([_window(0, steal=0.10)], ["clock-pair"]),
        ([_window(0, steal=0.11)], ["host-starved", "clock-pair"]),
        ([_window(0, stopped=0.1)], ["host-starved", "clock-pair"]),
        ([_window(0, blocked=0.5, waiting=0.5)], ["clock-pair"]),
        ([_window(0, blocked=0.6)], ["host-starved", "clock-pair"]),
        ([_window(0, waiting=0.6)], ["host-starved", "clock-pair"]),
        ([_window(0, blocked=0.6, waiting=0.6)], ["host-starved", "host-starved", "clock-pair"]),
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


def test_a_wait_for_a_cpu_reaches_back_as_long_as_it_took() -> None:
    """The kernel tells it when it is over."""
    notes = Notes()
    judge = host.WindowJudge(load(), notes.note)
    judge.take(_window(20, waiting=8.0))
    judge.take(_window(21, waiting=0.7))
    starved = [fields for kind, fields in notes.events if kind == "host-starved"]
    assert [(fields["what"], fields["begin"], fields["end"]) for fields in starved] == [
        ("waiting", 13.0, 21),
        ("waiting", 21, 22),
    ]


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


T = hostmeter.Thread


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (T("T", 7, 1.0), T("T", 7, 1.0), (0.1, 0, 0)),
        (T("t", 7, 1.0), T("t", 7, 1.0), (0.1, 0, 0)),  # a debugger
        (T("S", 7, 1.0), T("T", 8, 1.0), (0, 0, 0)),  # since when, nobody knows
        (T("T", 7, 1.0), T("T", 9, 1.0), (0, 0, 0)),  # it ran in between
        (T("D", 7, 1.0), T("D", 7, 1.0), (0, 0.1, 0)),
        (T("D", 7, 1.0), T("D", 9, 1.0), (0, 0, 0)),  # two short sleeps: a busy disk
        (T("S", 7, 1.0), T("S", 7, 1.0), (0, 0, 0)),  # nothing to do
        (T("R", 7, 1.0), T("R", 7, 1.0), (0, 0, 0)),  # runs all the time, or waits: told when it runs
        (T("R", 7, 1.0), T("R", 8, 5.0), (0, 0, 4.0)),
        (T("R", 7, 1.0), T("T", 8, 1.5), (0, 0, 0.5)),
    ],
)
def test_what_a_thread_could_not_do(
    before: hostmeter.Thread, after: hostmeter.Thread, expected: tuple[float, float, float]
) -> None:
    assert hostmeter.withheld(before, after, 0.1) == pytest.approx(expected)


def test_a_thread_is_read_whatever_its_name() -> None:
    found = hostmeter.parse_thread("12 (a) R (b) T 1 2 3", "5000 2500000000 42\n")
    assert found == ("T", 42, 2.5)
    assert found.state == "T"


def test_threads_of_a_process_that_is_gone_are_none() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
        assert hostmeter.read_threads(process.pid) == {}
    assert str(os.getpid()) in hostmeter.read_threads(os.getpid())


@contextmanager
def python(*words: str) -> Iterator[int]:
    """A process of these words, killed at the end."""
    with subprocess.Popen([sys.executable, "-c", *words]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


BUSY = "while True: pass"


def starvation(notes: Notes, what: str) -> list[Mapping[str, Any]]:
    return [fields for kind, fields in notes.events if kind == "host-starved" and fields["what"] == what]


def test_a_stopped_machine_is_seen() -> None:
    notes = Notes()
    with python(BUSY) as busy, host.HostMeter(load(), notes.note) as meter:
        meter.watch(busy)
        notes.wait_for("clock-pair")  # and a window without a stop
        assert not starvation(notes, "stopped")
        os.kill(busy, signal.SIGSTOP)
        notes.wait_for("host-starved", "stopped")
    assert all(fields["value"] > fields["limit"] == 0 for fields in starvation(notes, "stopped"))


def test_a_machine_that_waits_for_a_cpu_is_seen() -> None:
    """Four that want the same CPU get a quarter each."""
    notes, cpu = Notes(), {min(os.sched_getaffinity(0))}
    with ExitStack() as stack:
        busy = [stack.enter_context(python(BUSY)) for _ in range(4)]
        for one in busy:
            os.sched_setaffinity(one, cpu)
        meter = stack.enter_context(host.HostMeter(load(), notes.note))
        meter.watch(busy[0])
        notes.wait_for("host-starved", "waiting")


def test_a_machine_that_is_blocked_in_the_kernel_is_seen(tmp_path: Path) -> None:
    """The parent of a vfork sleeps uninterruptibly until its child has become another program (vfork(2)), and this one
    opens a FIFO before that."""
    fifo, notes = tmp_path / "fifo", Notes()
    os.mkfifo(fifo)
    spawn = "import os, sys; os.posix_spawn('/bin/true', ['true'], {}, "
    spawn += "file_actions=[(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)])"
    with python(spawn, str(fifo)) as blocked, host.HostMeter(load(), notes.note) as meter:
        try:
            meter.watch(blocked)
            notes.wait_for("host-starved", "blocked")
        finally:
            os.close(os.open(fifo, os.O_WRONLY))


def test_machines_come_and_go() -> None:
    """The one that is watched last is the one that counts; one that has ended stops nothing."""
    guest = hostmeter.Guest()
    guest.look(0.0)
    assert guest.take() == hostmeter.Withheld()
    with subprocess.Popen(["sleep", "60"]) as other:
        guest.process = other.pid
        os.kill(other.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)
        for at in (1.0, 1.02, 2.0, 3.0):
            guest.look(at)
        assert guest.take().stopped == pytest.approx(2.0)
        assert guest.take() == hostmeter.Withheld()
        other.kill()
    guest.look(4.0)
    guest.look(5.0)
    assert guest.take().stopped == 0
    guest.process = os.getpid()
    guest.look(6.0)
    guest.look(7.0)
    assert guest.take().stopped == 0


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


def test_what_the_shipped_profile_asks_for_is_known_here() -> None:
    assert host.unknown(load()) == ()


@pytest.mark.skipif(shutil.which(accelerator.QEMU) is None, reason=accelerator.INSTALL)
@pytest.mark.parametrize(
    ("key", "name", "meant"),
    [
        ("cpu", "Nehalm", "do you mean Nehalem? "),
        ("cpu", "Nehalem-v1", "do you mean Nehalem? "),  # QEMU's own name, not libvirt's
        ("cpu", "zzz", ""),
        ("type", "pc-q35-99.9", "do you mean pc-q35-"),
    ],
)
def test_what_libvirt_and_qemu_do_not_know_is_told_with_what_they_know(key: str, name: str, meant: str) -> None:
    profile = load()
    tables = {**profile.tables, "machine": {**profile.tables["machine"], key: name}}
    (lack,) = host.unknown(replace(profile, tables=tables))
    assert lack.what == f"machine.{key} {name} of the profile"
    assert lack.remedy.startswith(meant) and "libvirt and QEMU here know " in lack.remedy
    assert str(profile[f"machine.{key}"]) in re.split("[ ,?]+", lack.remedy)
