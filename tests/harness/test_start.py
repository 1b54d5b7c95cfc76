"""The first moments of a command: closed streams, what ends it before anything is loaded, and how a run is ended."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.interrupts import SIGNALS

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


@pytest.mark.parametrize("number", SIGNALS)
def test_what_ends_a_command_at_once_is_an_interruption(number: signal.Signals) -> None:
    """The interpreter's own start is nobody's to guard: the signal comes with the first import of ours."""
    code = "import sys, os; sys.meta_path.insert(0, type('F', (), {'find_spec': staticmethod(lambda n, *a: "
    code += (
        f"os.kill(os.getpid(), {int(number)}) if n == 'click' else None)}})); from harness.start import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "list"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


RUN = """
import os, signal, sys, time
from harness.interrupts import Interrupts, hold
me, interrupts = os.getpid(), Interrupts()
def wait(seconds):
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(left)
def take():
    hold()
    interrupts.take()
"""


def ended(script: str, number: signal.Signals, words: tuple[str, ...] = ()) -> tuple[int, str]:
    code = RUN + script.replace("NUMBER", str(int(number)))
    command = [*words, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


ENDINGS = {
    "what was held is raised when it is taken": (
        """
hold()
os.kill(me, NUMBER)
print("held", flush=True)
try:
    interrupts.take()
except KeyboardInterrupt:
    print("raised")
""",
        0,
        "held\nraised\n",
    ),
    "one cancellation that comes several times is one": (
        """
take()
try:
    os.kill(me, NUMBER)
except KeyboardInterrupt:
    interrupts.end()
for _ in range(3):
    os.kill(me, NUMBER)
print("reported")
""",
        0,
        "reported\n",
    ),
    "a second one does not wait for the report": (
        """
take()
try:
    os.kill(me, NUMBER)
except KeyboardInterrupt:
    interrupts.end()
wait(1.1)
print("reporting", flush=True)
os.kill(me, NUMBER)
print("reported")
""",
        2,
        "reporting\n",
    ),
    "an exception that was dropped is raised again": (
        """
take()
try:
    os.kill(me, NUMBER)
except KeyboardInterrupt:
    pass
try:
    wait(30)
except KeyboardInterrupt:
    print("again")
""",
        0,
        "again\n",
    ),
    "a run that had ended already reports as it would have": (
        """
take()
interrupts.end()
os.kill(me, NUMBER)
print("reported")
""",
        0,
        "reported\n",
    ),
}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_is_ended_once(ending: str, number: signal.Signals) -> None:
    script, status, said = ENDINGS[ending]
    assert ended(script, number) == (status, said)


def test_what_nohup_ignores_stays_ignored() -> None:
    script = "take(); os.kill(me, NUMBER); print('heard nothing')"
    assert ended(script, signal.SIGHUP, ("nohup",)) == (0, "heard nothing\n")
    assert ended(
        "from harness.interrupts import as_ctrl_c; as_ctrl_c(); os.kill(me, NUMBER)", signal.SIGHUP, ("nohup",)
    ) == (0, "")


def test_a_closed_terminal_is_a_reader_that_has_gone() -> None:
    code = "import sys; from harness.screen import show\nsys.stdin.read()\n"
    code += "for stream in (sys.stdout, sys.stdout, sys.stderr): show('a line', stream)\nsys.exit(7)"
    screen, terminal = pty.openpty()
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        os.close(screen)
        process.communicate(timeout=60)
    assert process.returncode == 7
