"""`racs lab` and its console, as two terminals: the app lives until Ctrl-C, is reached from outside, leaves nothing."""

import os
import re
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import command_line
import pytest
from command_line import RACS

from harness.packaging.building import Sample

pytestmark = pytest.mark.live

DEADLINE_S = 180


class Terminal:
    """A command of ours with its three streams; what it says is read as it comes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.said = {"stdout": b"", "stderr": b""}

    def await_words(self, stream: str, pattern: str) -> re.Match[str]:
        """Until it has said something that matches."""
        deadline = time.monotonic() + DEADLINE_S
        while (found := re.search(pattern, self.said[stream].decode(errors="replace"))) is None:
            pipes = {name: getattr(self.process, name) for name in self.said}
            ready, _, _ = select.select(pipes.values(), [], [], max(0, deadline - time.monotonic()))
            read = {name: os.read(pipe.fileno(), 65536) for name, pipe in pipes.items() if pipe in ready}
            assert any(read.values()), f"{pattern} never came: {self.said}"
            for name, data in read.items():
                self.said[name] += data
        return found

    def type(self, keys: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(keys)
        self.process.stdin.flush()

    def end(self) -> int:
        out, err = self.process.communicate(timeout=DEADLINE_S)
        self.said["stdout"] += out
        self.said["stderr"] += err
        assert b"Traceback" not in self.said["stdout"] + self.said["stderr"], self.said
        return self.process.returncode


@contextmanager
def terminal(folder: Path, environment: Mapping[str, str], *words: str) -> Iterator[Terminal]:
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [RACS, *words], cwd=folder, env={**os.environ, **environment}, stdin=pipe, stdout=pipe, stderr=pipe
    )
    with process:
        try:
            yield Terminal(process)
        finally:
            process.kill()


def test_an_app_lives_in_a_lab_until_ctrl_c(goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path) -> None:
    with terminal(tmp_path, nothing_left, "lab", str(goon.ova), f"--root={goon.root}") as lab:
        lab.await_words("stderr", r"beat from 10\.199\.0\.10: .*running")
        said = lab.await_words("stdout", r"racs lab console (\d+)")
        assert int(said[1]) == lab.process.pid
        reach = lab.await_words("stdout", r"(nsenter .* ip netns exec ue0) bash")
        ask = "exec 3<>/dev/udp/192.0.2.10/7; echo hi >&3; head -c 3 <&3"
        command = ["timeout", "10", *shlex.split(reach[1]), "bash", "-c", ask]
        echoed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert echoed.stdout == "hi\n", echoed.stderr
        with terminal(tmp_path, nothing_left, "lab", "console", said[1]) as console:
            console.await_words("stdout", r"\S")  # the end of what was on it
            console.type(b"hello, guest\r")
            console.await_words("stdout", "hello, guest")  # the guest's own terminal has echoed it
            console.type(b"\x1d")
            assert console.end() == 0
            assert f"console of goon (process {lab.process.pid})".encode() in console.said["stderr"]
        with terminal(tmp_path, nothing_left, "lab", "console", said[1]) as follower:
            follower.await_words("stdout", r"\S")
            lab.process.send_signal(signal.SIGINT)
            assert lab.end() == 0, lab.said
            assert follower.end() == 0  # it sees the machine's end
            assert b"the machine is off" in follower.said["stderr"]
    assert b"machine powered-off by guest" in lab.said["stderr"]
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-goon-lab")
    kept = (folder / "evidence" / "console.log").read_bytes()
    assert follower.said["stdout"][-200:] in kept and b"Linux version" in kept


def test_a_second_ctrl_c_cuts_the_power(goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path) -> None:
    with terminal(tmp_path, nothing_left, "lab", str(goon.ova), f"--root={goon.root}") as lab:
        lab.await_words("stderr", "machine started by harness")
        lab.process.send_signal(signal.SIGINT)
        lab.await_words("stderr", "press the power button")
        lab.process.send_signal(signal.SIGINT)
        assert lab.end() == 0
    assert b"the lab is gone" in lab.said["stderr"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_lab_that_is_killed_leaves_nothing(
    number: int, goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path
) -> None:
    with terminal(tmp_path, nothing_left, "lab", str(goon.ova), f"--root={goon.root}") as lab:
        lab.await_words("stderr", "machine started by harness")
        lab.process.send_signal(number)
        assert lab.end() == (0 if number == signal.SIGTERM else -number)  # SIGTERM is Ctrl-C: it powers the app off
    ended = command_line.run([RACS, "lab", "console", str(lab.process.pid)], tmp_path, nothing_left)
    assert ended.status == 4


def test_a_package_that_cannot_be_trusted_gets_no_lab(
    goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.ova"
    cut.write_bytes(goon.ova.read_bytes()[:100_000])
    ended = command_line.run([RACS, "lab", str(cut), f"--root={goon.root}"], tmp_path, nothing_left)
    assert (ended.status, "nothing of it was booted; racs check says what is wrong" in ended.err) == (1, True)
    assert list(tmp_path.iterdir()) == [cut]


def test_several_labs_are_told_apart(nothing_left: Mapping[str, str], tmp_path: Path) -> None:
    """Two listeners stand for two labs: only who is meant is in question."""
    script = "import sys; from harness.terminal import listen; listener = listen(sys.argv[1]); "
    script += "print('ready', flush=True); sys.stdin.read()"
    command = [str(Path(RACS).with_name("python")), "-c", script]
    environment = {**os.environ, **nothing_left}
    pipe = subprocess.PIPE
    with (
        subprocess.Popen([*command, "one"], stdin=pipe, stdout=pipe, env=environment) as one,
        subprocess.Popen([*command, "two"], stdin=pipe, stdout=pipe, env=environment) as two,
    ):
        for process in (one, two):
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        ended = command_line.run([RACS, "lab", "console"], tmp_path, nothing_left)
        assert ended.status == 4
        assert f"racs lab console {one.pid}   one" in ended.err and f"racs lab console {two.pid}   two" in ended.err
        other = command_line.run([RACS, "lab", "console", "three"], tmp_path, nothing_left)
        assert other.status == 4 and "no lab 'three' runs on this machine" in other.err
        for process in (one, two):
            process.communicate()
