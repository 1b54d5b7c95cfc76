"""Whose fault it is: a starved host or a process of the lab that dies ends in 6, a broken lab in 3; never in 1."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from known_bad import LIMIT_S, REPOSITORY, SHORT, Run, Workshop, certify, command, processes_of, read_run

from conformance.catalogue import load as load_catalogue

pytestmark = pytest.mark.live

MARK = "RACS_TEST_RUN"  # of the environment that every process of a run inherits but QEMU, which names the package
CYCLE_S, STOPPED_S = 1.0, 0.92
STANDSTILL_S = 8.0  # more than the three heartbeats that may be missing


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("labs"))


@pytest.fixture
def untouched(tmp_path: Path) -> Iterator[None]:
    """Mounts, links and namespaces of the host are afterwards what they were, and no disk of a VM is left."""
    before = host_state()
    yield
    assert host_state() == before
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith("overlay")]


def host_state() -> tuple[tuple[str, ...], ...]:
    mounts = tuple(Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines())
    links = tuple(sorted(path.name for path in Path("/sys/class/net").iterdir()))
    named = Path("/run/netns")
    return mounts, links, tuple(sorted(path.name for path in named.iterdir()) if named.exists() else ())


class Disturbed:
    """`racs certify` under way: its output line by line, and its processes."""

    def __init__(self, words: list[str], runs: Path) -> None:
        self._runs, self._begin, self._lines = runs, time.monotonic(), list[str]()
        self._mark = f"{MARK}={uuid.uuid4()}"
        self._ova = words[2]
        runs.mkdir(parents=True, exist_ok=True)
        name, value = self._mark.split("=")
        self._process = subprocess.Popen(
            words,
            cwd=runs,
            env={**os.environ, name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

        self._watchdog = threading.Timer(LIMIT_S, self._process.kill)
        self._watchdog.start()

    def read_to(self, text: str) -> None:
        """Wait until the run says so."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if text in line:
                return
        raise AssertionError(f"it never said {text!r}:\n{''.join(self._lines)}")

    def processes(self) -> Mapping[int, str]:
        return {pid: line for mark in (self._mark, self._ova) for pid, line in processes_of(mark).items()}

    def end(self) -> Run:
        """Wait for its end; then no process of it is left."""
        assert self._process.stdout is not None
        with self._process.stdout:
            rest = self._process.stdout.read()
        self._process.wait()
        self._watchdog.cancel()
        left = self.processes()
        assert not left, left
        output = "".join(self._lines) + rest
        return read_run(self._runs, self._process.returncode, output, time.monotonic() - self._begin)

    @contextmanager
    def starved(self) -> Iterator[None]:
        """Its processes get the CPU for a twelfth of the time, all at once, as guests of an overcommitted host do."""
        over = threading.Event()
        thread = threading.Thread(target=self._starve, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _starve(self, over: threading.Event) -> None:
        while not over.is_set() and self._process.poll() is None:
            pids = [pid for pid in self.processes() if pid != self._process.pid]
            for sign, pause_s in ((signal.SIGSTOP, STOPPED_S), (signal.SIGCONT, CYCLE_S - STOPPED_S)):
                for pid in pids:
                    try:
                        os.kill(pid, sign)
                    except ProcessLookupError:
                        continue
                over.wait(pause_s)


def disturb(workshop: Workshop, runs: Path, *options: str) -> Disturbed:
    return Disturbed(command(workshop.package("goon"), workshop.root, runs, "--profile", str(SHORT), *options), runs)


@pytest.mark.usefixtures("untouched")
def test_a_starved_host_is_never_the_apps_fault(workshop: Workshop, tmp_path: Path) -> None:
    run = disturb(workshop, tmp_path, "-k", "HBT-001 or HBT-004 or HBT-005")
    run.read_to("await the first heartbeat")
    with run.starved():
        done = run.end()
    assert done.status == 6, done.explain()
    assert done.report["verdict"] == "inconclusive"
    assert not done.verdicts("fail"), done.explain()
    assert "the host could not tell: host starved" in done.output, done.explain()


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("again", [True, False], ids=["for a while", "for good"])
@pytest.mark.parametrize(
    "moment",
    [
        "observe until",
        pytest.param("await the first heartbeat", marks=pytest.mark.nightly),
        pytest.param("use what the app serves", marks=pytest.mark.nightly),
        pytest.param("press the power button", marks=pytest.mark.nightly),
    ],
)
def test_a_machine_that_someone_stops_is_never_the_apps_fault(
    moment: str, again: bool, workshop: Workshop, tmp_path: Path
) -> None:
    """QEMU alone stands still, for longer than a heartbeat may be away; the rest of the host is well."""
    run = disturb(workshop, tmp_path)
    run.read_to(moment)
    (qemu,) = (pid for pid, line in run.processes().items() if line.startswith("/usr/bin/qemu-system"))
    os.kill(qemu, signal.SIGSTOP)
    if again:
        threading.Event().wait(STANDSTILL_S)  # the standstill itself, not a synchronisation
        os.kill(qemu, signal.SIGCONT)
    done = run.end()
    # but for the heartbeat, limits leave time enough for it
    assert done.status == 6 or (again and moment != "observe until" and done.status == 0), done.explain()
    assert not {one for one in done.verdicts("fail") if load_catalogue()[one].level == "MUST"}, done.explain()
    said = ("QEMU was stopped", "QEMU did not answer")
    assert done.status == 0 or any(one in done.output for one in said), done.explain()


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "role",
    [
        "time",
        "userplane",
        pytest.param("bus", marks=pytest.mark.nightly),
        pytest.param("backends", marks=pytest.mark.nightly),
    ],
)
def test_a_process_of_the_emulator_that_dies_is_named(role: str, workshop: Workshop, tmp_path: Path) -> None:
    run = disturb(workshop, tmp_path, "-k", "HBT-004 or OTT-002 or RES-005")
    run.read_to("observe until")
    (pid,) = (pid for pid, line in run.processes().items() if line.split()[-3:-1] == ["emulator.process", role])
    os.kill(pid, signal.SIGKILL)
    done = run.end()
    assert done.status == 6, done.explain()
    assert not done.verdicts("fail") | done.verdicts("pass"), done.explain()
    assert f"emulator.{role} of the lab died (status -9)" in done.output, done.explain()
    assert done.seconds < 60


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("way", "app", "requirement"),
    [("firewall", "goon", "FWD-003"), ("user-plane", "lens", "OFT-002"), ("bus", "goon", "BUS-003")],
)
def test_a_broken_lab_is_no_fault_of_the_app(
    way: str, app: str, requirement: str, workshop: Workshop, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "pytest", REPOSITORY / "suites", f"--rootdir={REPOSITORY}", "-p", "broken_lab"]
    words += ["-c", REPOSITORY / "pyproject.toml", "--break", way, "--ova", workshop.package(app)]
    words += ["--root", workshop.root, "--runs", tmp_path, "--json", tmp_path / "result.json", "-k", requirement]
    path = {"PYTHONPATH": str(Path(__file__).parent)}
    run = certify([str(word) for word in words], tmp_path, path)
    assert run.status == 3, run.explain()
    assert run.report["verdict"] == "error"
    assert run.verdicts("fail") == {requirement}, run.explain()
    assert "the lab is broken" in run.output, run.explain()
