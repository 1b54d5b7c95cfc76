"""No input makes a reader of packages raise, hang or take memory without end; what did is a case of the corpus."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fuzzing import CPU_S

TARGETS = ("package", "descriptor", "acl", "manifest", "certificate", "image", "rule")
HERE = Path(__file__).parent
ATHERIS = HERE.parents[1] / ".cache" / "peers" / "atheris"


def run(target: str, seed: int, count: int, folder: Path, program: str = "fuzzing.py") -> None:
    """So many inputs in a process of its own, whose memory is bounded and whom a hang kills."""
    command = [sys.executable, str(HERE / program), target, str(seed), str(count), str(folder)]
    told = {**os.environ, "PYTHONPATH": str(ATHERIS)}
    done = subprocess.run(command, env=told, check=False, capture_output=True, text=True, errors="replace")
    number = (folder / "number").read_text().split() if (folder / "number").exists() else ["none"]
    shown = f"input {number[0]} of: {' '.join(command[1:])}\nstatus {done.returncode} (-27: more than {CPU_S} s)\n"
    assert done.returncode == 0, shown + done.stderr[-4000:]


@pytest.mark.parametrize("target", TARGETS)
def test_readers_stand_what_they_are_given(target: str, tmp_path: Path) -> None:
    run(target, 1, 300, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("target", TARGETS)
def test_readers_stand_what_they_are_given_all_night(target: str, tmp_path: Path) -> None:
    """Other inputs each night; what fails names its seed."""
    run(target, int(f"{datetime.now(UTC):%Y%m%d}"), 15_000, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("target", TARGETS)
def test_readers_stand_what_leads_further(target: str, tmp_path: Path) -> None:
    """Guided by what code an input reaches."""
    assert (ATHERIS / ".complete").is_file(), "atheris is not there: requirements/install-peer atheris"
    run(target, int(f"{datetime.now(UTC):%Y%m%d}"), 15_000, tmp_path, "guided_fuzzing.py")
