"""The small init with real processes: signals, exit statuses, and that nothing is left whichever process is killed."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness import init

INIT = [sys.executable, "-I", "-S", init.__file__, "--"]
DEADLINE_S = 20.0
USER = 47110  # nobody's uid: the private user namespace needs no entry in /etc/passwd
AS_USER = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]


def _refusal(prefix: list[str]) -> str:
    done = subprocess.run([*prefix, *INIT, "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


ROOT = os.geteuid() == 0
WHO = [pytest.param([], id="root" if ROOT else "user")]
if ROOT:
    why_not = _refusal(AS_USER)
    WHO.append(pytest.param(AS_USER, id="user", marks=pytest.mark.skipif(bool(why_not), reason=why_not)))

pytestmark = pytest.mark.skipif(bool(_refusal([])), reason=_refusal([]) or "namespaces work")
each_user = pytest.mark.parametrize("prefix", WHO)


def _run(prefix: list[str], script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, *INIT, "sh", "-c", script], capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )


@contextmanager
def _running(prefix: list[str], script: str) -> Iterator[subprocess.Popen[str]]:
    """A worker that has said "ready" on its stdout."""
    command = [*prefix, *INIT, sys.executable, "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _namespace_members(namespace: str) -> list[int]:
    """Processes of this host that live in the PID namespace."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            ended = path.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z"  # its parent has to reap it
            if os.readlink(path / "ns/pid") == namespace and not ended:
                found.append(int(path.name))
    return found


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _ended(descriptors: list[int]) -> bool:
    """Whether all the processes behind these pidfds ended within the deadline."""
    end = time.monotonic() + DEADLINE_S
    poll = select.poll()
    waiting = set(descriptors)
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    while waiting and time.monotonic() < end:
        for descriptor, _ in poll.poll((end - time.monotonic()) * 1000):
            poll.unregister(descriptor)
            waiting.discard(descriptor)
    return not waiting


@each_user
@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)],
)
def test_exit_status_is_the_workers(prefix: list[str], script: str, status: int) -> None:
    assert _run(prefix, script).returncode == status


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--"], 4, "usage"),
        (["true"], 4, "usage"),
        (["--", "/no/such/command"], 127, "No such file"),
        (["--", "/etc/passwd"], 126, "Permission denied"),
    ],
)
def test_bad_calls_say_so_without_a_traceback(arguments: list[str], status: int, text: str) -> None:
    done = subprocess.run([*INIT[:-1], *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, text in done.stderr, "Traceback" in done.stderr) == (status, True, False)


@each_user
def test_what_the_worker_finds_inside(prefix: list[str]) -> None:
    script = """
    echo "pids $(ls /proc | grep -c '^[0-9]')"
    echo "links $(ls /sys/class/net)"
    echo "run $(ls /run | tr '\\n' ' ')"
    ip netns add one && ip netns exec one ip link set lo up && echo netns
    ip link add va0 type veth peer name vb0 && echo veth
    bash -c ': </dev/tcp/127.0.0.1/9' 2>&1 | grep -q refused && echo loopback
    """
    out = _run(prefix, script).stdout
    assert "links lo\n" in out
    assert {"netns", "racs-lab"} <= set(out.split("run ")[1].split("\n")[0].split())
    assert {"netns", "veth", "loopback"} <= set(out.split("\n"))
    assert int(out.split()[1]) < 8  # init, the shell and its pipeline; not the host's processes


@pytest.mark.skipif(not ROOT, reason="only root's lab needs the user libvirt-qemu")
def test_root_has_the_user_that_libvirt_looks_for() -> None:
    before = Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes()
    out = _run([], "getent passwd libvirt-qemu; getent group libvirt-qemu").stdout
    assert out.count("libvirt-qemu:x:") == 2
    assert (Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes()) == before


@each_user
def test_an_ordinary_user_stays_who_he_is(prefix: list[str]) -> None:
    expected = USER if prefix else os.geteuid()
    assert _run(prefix, "id -u").stdout == f"{expected}\n"


ORPHANS = """
import os, pathlib, select, sys, time
orphans = []
for _ in range(3):
    reader, writer = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            os.write(writer, str(os.getpid()).encode())
        os._exit(0)
    orphans.append(os.read(reader, 20).decode())
    os.wait()
end = time.monotonic() + 10
while any(pathlib.Path("/proc", pid).exists() for pid in orphans):
    select.select([], [], [], 0.01)
    if time.monotonic() > end:
        sys.exit("zombies left")
"""


@each_user
def test_orphans_are_reaped(prefix: list[str]) -> None:
    """A zombie that nobody reaps stays in /proc: libvirt waits a minute on one."""
    done = subprocess.run([*prefix, *INIT, sys.executable, "-c", ORPHANS], timeout=DEADLINE_S, check=False)
    assert done.returncode == 0


RECORD = """
import os, signal, sys
got = []
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, frame: got.append(number))
signal.signal(signal.SIGALRM, lambda *_: (print(*map(int, got), flush=True), os._exit(9)))
print("ready", flush=True)
while not got:
    signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0.3)
while True:
    signal.pause()
"""


@each_user
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_worker_once(prefix: list[str], number: signal.Signals) -> None:
    with _running(prefix, RECORD) as process:
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline() == f"{int(number)}\n"
        assert process.wait(DEADLINE_S) == 9


@each_user
def test_a_signal_to_the_whole_process_group_reaches_the_worker_once(prefix: list[str]) -> None:
    with _running(prefix, RECORD) as process:
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == f"{int(signal.SIGINT)}\n"


def test_ctrl_c_at_a_terminal_is_one_sigint_and_ctrl_z_none() -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(INIT[0], [*INIT, sys.executable, "-c", RECORD])
    modes = termios.tcgetattr(terminal)
    modes[3] &= ~termios.ECHO  # or the echo of the keys mixes with what the worker says
    termios.tcsetattr(terminal, termios.TCSANOW, modes)
    seen = b""
    for wanted, keys in ((b"ready\r\n", b"\x1a\x03"), (b"ready\r\n2\r\n", b"")):
        while wanted not in seen:
            assert select.select([terminal], [], [], DEADLINE_S)[0], seen
            seen += os.read(terminal, 1024)
        os.write(terminal, keys)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    os.close(terminal)


def test_a_signal_that_the_caller_ignores_stays_ignored() -> None:
    """nohup: the terminal's end must not end the run."""
    script = (
        "import signal, sys; print('ready', flush=True); sys.exit(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    )
    done = subprocess.run(["nohup", *INIT, sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 1


STAY = """
import subprocess, sys
child = subprocess.Popen(["setsid", "sleep", "1000"])
print("ready", flush=True)
child.wait()
"""


@each_user
@pytest.mark.parametrize("victim", ["keeper", "init", "worker"])
def test_sigkill_at_any_process_leaves_nothing(prefix: list[str], victim: str) -> None:
    with _running(prefix, STAY) as process:
        (first,) = _children(process.pid)
        (worker,) = _children(first)
        namespace = os.readlink(f"/proc/{first}/ns/pid")
        members = _namespace_members(namespace)
        assert len(members) >= 3
        pidfds = [os.pidfd_open(pid) for pid in members]
        os.kill({"keeper": process.pid, "init": first, "worker": worker}[victim], signal.SIGKILL)
        assert _ended(pidfds)
        assert process.wait(DEADLINE_S) == (-signal.SIGKILL if victim == "keeper" else 128 + signal.SIGKILL)
        assert _namespace_members(namespace) == []
        for descriptor in pidfds:
            os.close(descriptor)


def test_when_it_has_ended_everything_inside_has() -> None:
    """Also what the worker left running when it ended well."""
    done = _run([], "setsid sleep 1000 >/dev/null 2>&1 & readlink /proc/self/ns/pid")
    assert done.returncode == 0
    assert _namespace_members(done.stdout.strip()) == []


def test_mounts_and_links_of_the_host_stay_as_they_were() -> None:
    mounts, links = Path("/proc/self/mounts").read_text(), os.listdir("/sys/class/net")
    assert _run([], "mount -t tmpfs x /mnt && ip link add va0 type veth peer name vb0").returncode == 0
    assert (Path("/proc/self/mounts").read_text(), os.listdir("/sys/class/net")) == (mounts, links)


def test_inside_is_known_and_cannot_be_mistaken() -> None:
    ask = f"import sys; sys.path.insert(0, {str(Path(init.__file__).parents[1])!r}); from harness import init; "
    ask += "print(init.inside())"
    assert not init.inside()
    assert subprocess.run([*INIT, sys.executable, "-c", ask], capture_output=True, check=True).stdout == b"True\n"
    stale = f"echo elsewhere >{init.MARKER}; exec {sys.executable} -c '{ask}'".replace("'" + ask + "'", '"$0"')
    done = subprocess.run([*INIT, "sh", "-c", stale, ask], capture_output=True, check=True)
    assert done.stdout == b"False\n"


def test_enter_becomes_the_command_inside() -> None:
    ask = f"import sys; sys.path.insert(0, {str(Path(init.__file__).parents[1])!r}); from harness import init; "
    ask += "print('before'); init.enter(['sh', '-c', 'echo $$; exit 5'])"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (5, "before\n2\n")
