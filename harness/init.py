"""The lab's private namespaces: ``python -I -S harness/init.py -- COMMAND ARG...`` runs COMMAND inside them.

Three processes, so that SIGKILL at any of them leaves nothing behind:

- the *keeper* stays outside, where the user's shell and terminal see it, passes TERM, INT and HUP on and ends with the
  command's exit status (128 + n when signal n killed it);
- *init* is PID 1 of the private PID namespace. It mounts what the lab needs, reaps whatever is orphaned (libvirt waits
  for a minute on a zombie that nobody reaps) and ends with the command. The kernel kills the whole PID namespace with
  it, and kills it with the keeper (PR_SET_PDEATHSIG). When the keeper has ended, every process inside has ended;
- the *worker* is COMMAND, in a session of its own: Ctrl-C at a terminal reaches the keeper alone, which passes it on,
  so that the worker sees exactly one SIGINT however it was sent. Ctrl-Z is ignored: a run that measures cannot be held.

Inside are private PID, mount, network and, for an ordinary user, user namespaces: /proc and /sys show these, /run is an
empty tmpfs with /run/netns (for ``ip netns``), loopback is up. As root /etc/passwd and /etc/group have the user
libvirt-qemu, which libvirt's driver looks for; an ordinary user stays who he is and keeps all capabilities inside.

Standard library only, and little of it: it starts in 30 ms. Error messages go to stderr, exit status 4.
"""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from typing import NoReturn

MARKER = "/run/racs-lab"
RUNTIME = "/run/user"  # the worker's XDG_RUNTIME_DIR: without one libvirt would leave files in the user's home
SYSTEM_PATH = ":/usr/sbin:/sbin"  # an ordinary user's PATH lacks them, and nft and dnsmasq are there
_MEND_MOUNTS = (
    "Run it outside a chroot or container, or with docker run --privileged: it mounts its own /proc, /sys and /run.\n"
)
USAGE = 4  # exit status: the call or the machine lacks something

# <linux/sched.h>, <linux/mount.h>, <linux/prctl.h>, <linux/capability.h>, <linux/sockios.h>, <linux/if.h>
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 47, 2
CAPABILITY_VERSION_3 = 0x20080522
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


class _Refused(Exception):
    """The kernel refused a step: what was tried and its reason."""


def inside() -> bool:
    """Whether this process already lives in the lab's namespaces (the marker names the PID namespace it is for)."""
    try:
        with open(MARKER, encoding="ascii") as marker:
            return marker.read() == os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


def enter(argv: Sequence[str]) -> NoReturn:
    """Become ``argv`` inside the lab's namespaces: replaces this process, so call it before any thread or socket.

    Raises OSError only where Python itself cannot be started again.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-I", "-S", os.path.abspath(__file__), "--", *argv])


def main() -> int:
    if len(sys.argv) < 3 or sys.argv[1] != "--":
        sys.stderr.write("usage: python -I -S harness/init.py -- COMMAND ARG...\n")
        return USAGE
    signals = {s for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if signal.getsignal(s) is not signal.SIG_IGN}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*signals, signal.SIGCHLD, signal.SIGTSTP})
    try:
        _unshare()
    except _Refused as refused:
        sys.stderr.write(f"racs: {refused}\n{_remedy()}")
        return USAGE
    alive, keeper = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(keeper)
        os._exit(_init(alive, signals, mask, sys.argv[2:]))
    return _attend(child, signals)


def _attend(child: int, signals: set[signal.Signals]) -> int:
    """Reap, pass signals on to the child, and return its exit status when it ends."""
    while True:
        got = signal.sigwait({*signals, signal.SIGCHLD})
        if got != signal.SIGCHLD:
            os.kill(child, got)
            continue
        while True:  # one SIGCHLD may stand for several children
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if pid == 0:
                break


def _init(alive: int, signals: set[signal.Signals], mask: set[int | signal.Signals], command: list[str]) -> int:
    """PID 1: the mounts, then the worker. alive is a pipe whose other end only the keeper holds."""
    _call("prctl", _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))
    os.set_blocking(alive, False)
    try:
        os.read(alive, 1)
        return 128 + signal.SIGKILL  # end of file: the keeper was killed before it could be watched
    except BlockingIOError:
        os.close(alive)
    os.setsid()
    try:
        _mount_private()
        _raise_loopback()
    except (_Refused, OSError) as error:
        sys.stderr.write(f"racs: cannot set up the lab's namespaces: {error}\n{_MEND_MOUNTS}")
        return USAGE
    worker = os.fork()
    if worker == 0:
        _run(signals, mask, command)
    return _attend(worker, signals)


def _run(signals: set[signal.Signals], mask: set[int | signal.Signals], command: list[str]) -> NoReturn:
    os.setsid()
    for number in (*signals, signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores the last two: undo that for the worker
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    path = os.environ.get("PATH", os.defpath) + SYSTEM_PATH
    try:
        os.execvpe(command[0], command, {**os.environ, "XDG_RUNTIME_DIR": RUNTIME, "PATH": path})
    except OSError as error:
        sys.stderr.write(f"racs: cannot run {command[0]}: {error.strerror}\n")
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _unshare() -> None:
    """New namespaces; PID 1 of the new PID namespace is the next child."""
    flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _call("a private PID, mount and network namespace", _libc.unshare(flags))
        return
    _call("a private user namespace", _libc.unshare(CLONE_NEWUSER | flags))
    # user_namespaces(7): one line that maps oneself; gid_map only after setgroups is given up. Not mapped to root:
    # libvirt's driver would then call setgroups
    for name, text in (("uid_map", f"{user} {user} 1"), ("setgroups", "deny"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    _keep_capabilities()


def _keep_capabilities() -> None:
    """Make all capabilities of the new user namespace ambient, or exec drops them (capabilities(7))."""
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    sets = ctypes.create_string_buffer(24)  # two of effective, permitted, inheritable: low words, then high words
    _call("capget", _libc.capget(header, sets))
    low_effective, low, _, high_effective, high, _ = struct.unpack("6I", sets.raw)
    wanted = struct.pack("6I", low_effective, low, low, high_effective, high, high)
    _call("capset", _libc.capset(header, wanted))
    for capability in range(64):
        if (high << 32 | low) >> capability & 1:
            _call("prctl", _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0))


def _mount_private() -> None:
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    restricted = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _mount("proc", "/proc", "proc", restricted)
    _mount("sysfs", "/sys", "sysfs", restricted)  # shows the network devices of the namespace in which it was mounted
    _mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    os.mkdir("/run/netns")
    os.mkdir(RUNTIME, 0o700)
    if os.geteuid() == 0:
        _add_name("passwd", "libvirt-qemu", "libvirt-qemu:x:64055:64055:libvirt QEMU:/nonexistent:/usr/sbin/nologin")
        _add_name("group", "libvirt-qemu", "libvirt-qemu:x:64055:")
    with open(MARKER, "w", encoding="ascii") as marker:
        marker.write(os.readlink("/proc/self/ns/pid"))


def _add_name(database: str, name: str, line: str) -> None:
    """One more line in /etc/passwd or /etc/group, in here only."""
    path, copy = f"/etc/{database}", f"/run/{database}"
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    if any(entry.startswith(f"{name}:") for entry in text.splitlines()):
        return
    with open(copy, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f"{text.rstrip()}\n{line}\n")
    _mount(copy, path, "", MS_BIND)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = bytearray(struct.pack("16sh22x", b"lo", 0))  # struct ifreq
        fcntl.ioctl(any_socket, SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("h", request, 16)
        struct.pack_into("h", request, 16, flags | IFF_UP)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _call(f"mounting {kind or source} on {target}", result)


def _call(what: str, result: int) -> None:
    if result != 0:
        raise _Refused(f"{what} was refused: {os.strerror(ctypes.get_errno())}")


def _remedy() -> str:
    if os.geteuid() == 0:
        return (
            "Root lacks CAP_SYS_ADMIN here, as in most containers: run it outside, or with docker run --privileged.\n"
        )
    return (
        "This machine does not let ordinary users make user namespaces. Run it with sudo, or ask the administrator:\n"
        "  sysctl user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1 "
        "kernel.apparmor_restrict_unprivileged_userns=0\n(the last two where they exist).\n"
    )


if __name__ == "__main__":
    sys.exit(main())
