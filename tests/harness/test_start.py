"""The first moments of a command: closed streams, and Ctrl-C before anything is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("racs-conformance")


def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", script, "sh", str(PROGRAM), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("words", "status"), [(("list",), 0), (("explain", "HBT-03"), 4), (("check", "no such"), 4)])
def test_a_closed_stream_changes_no_exit_status(closed: str, words: tuple[str, ...], status: int) -> None:
    done = run(f'exec "$@" {closed}', *words)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    if words == ("list",) and ">&-" not in closed.replace("2>&-", ""):
        assert "HBT-003" in done.stdout


def test_what_a_closed_stream_would_have_said_lands_in_no_file(tmp_path: Path) -> None:
    result = tmp_path / "list.json"
    done = run(f'exec "$@" --json "{result}" >&-', "rule", "proto==TCP")
    assert done.returncode == 0
    assert result.read_text().startswith("{")


def test_ctrl_c_at_once_is_an_interruption() -> None:
    """The interpreter's own start is nobody's to guard: the signal comes with the first import of ours."""
    code = "import sys, os, signal; sys.meta_path.insert(0, type('F', (), {'find_spec': staticmethod(lambda n, *a: "
    code += "os.kill(os.getpid(), signal.SIGINT) if n == 'click' else None)})); from harness.start import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "list"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
