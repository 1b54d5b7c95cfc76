"""The serial console of a running lab, for terminals outside it.

A lab lives in private namespaces, so the way in is a socket that is made before they are entered. It has an abstract
name (unix(7)), in the network namespace of the user's shell: nothing of it lies in a folder, and it is gone with the
last process that holds it, also after SIGKILL. The name tells the lab's process and app, so that /proc/net/unix lists
the labs that run.
"""

import os
import select
import selectors
import socket
import struct
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import UsageError

LEAVE = b"\x1d"  # Ctrl-], as telnet and virsh have it
_PREFIX = "racs-lab/"
_LISTENS = 0x10000  # __SO_ACCEPTCON of <linux/net.h>, in the Flags column of /proc/net/unix
_READ_BYTES = 65536
_REPLAYED_BYTES = 4096


@dataclass(frozen=True, slots=True)
class RunningLab:
    """pid is the lab's process that the user's shell sees (the keeper of harness/init.py)."""

    pid: int
    app: str

    @property
    def address(self) -> str:
        return f"\0{_PREFIX}{self.pid}/{self.app}"


def listen(app: str) -> socket.socket:
    """The listener of a lab that this process will enter; it outlives exec."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(RunningLab(os.getpid(), app).address)
    listener.listen()
    listener.set_inheritable(True)
    return listener


def adopt(descriptor: int) -> socket.socket:
    """The listener that came through exec. Raises UsageError for a descriptor that is none."""
    try:
        listener = socket.socket(fileno=descriptor)
        lab_of(listener)
    except (OSError, ValueError) as error:
        raise UsageError("--terminals is racs' own, between its processes: leave it out") from error
    listener.set_inheritable(False)
    return listener


def lab_of(listener: socket.socket) -> RunningLab:
    """Which lab a listener is of."""
    _, pid, app = listener.getsockname().decode().split("/")
    return RunningLab(int(pid), app)


def running_labs() -> tuple[RunningLab, ...]:
    """The labs of this machine's users that run now, whoever started them."""
    found = []
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        for line in table:
            columns = line.split(maxsplit=7)
            if len(columns) < 8 or not columns[7].startswith(f"@{_PREFIX}"):
                continue
            _, pid, app = columns[7].strip().split("/")
            if int(columns[3], 16) & _LISTENS:
                found.append(RunningLab(int(pid), app))
    return tuple(found)


class Relay:
    """Joins any number of terminals with the guest's serial port while the ``with`` block lasts.

    port is the socket at which QEMU serves the serial port, log the file that has all it wrote: a new terminal is shown
    its end. The port is always read at once; a terminal that does not keep up loses bytes, the guest never waits for
    it. When the machine is off the terminals are sent away.
    """

    def __init__(self, listener: socket.socket, port: Path, log: Path) -> None:
        self._listener = listener
        self._path = port
        self._log = log
        self._terminals: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._run, name="terminals", daemon=True)

    def __enter__(self) -> "Relay":
        with ExitStack() as stack:
            self._port = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            self._port.connect(str(self._path))
            self._stop, theirs = socket.socketpair()
            stack.enter_context(self._stop)
            self._stopped = stack.enter_context(theirs)
            for opened in (self._port, self._listener):
                opened.setblocking(False)
            self._thread.start()
            stack.callback(self._thread.join)
            stack.callback(self._stop.shutdown, socket.SHUT_WR)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as ready:
            for opened in (self._stopped, self._port, self._listener):
                ready.register(opened, selectors.EVENT_READ)
            while self._serve(ready):
                pass
            self._listener.shutdown(socket.SHUT_RDWR)  # other processes of the lab hold it too
            for terminal in self._terminals:
                terminal.close()

    def _serve(self, ready: selectors.BaseSelector) -> bool:
        for key, _ in ready.select():
            opened = key.fileobj
            assert isinstance(opened, socket.socket)
            if opened is self._stopped:
                return False
            if opened is self._listener:
                self._admit(ready)
                continue
            data = _receive(opened)
            if opened is self._port:
                if not data:
                    return False  # the machine is off
                for terminal in self._terminals:
                    _offer(terminal, data)
            elif data:
                _offer(self._port, data)
            else:
                ready.unregister(opened)
                self._terminals.remove(opened)
                opened.close()
        return True

    def _admit(self, ready: selectors.BaseSelector) -> None:
        with suppress(OSError):  # who came has gone again
            terminal, _ = self._listener.accept()
            credentials = terminal.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            _, user, _ = struct.unpack("3i", credentials)
            if user not in (0, os.geteuid()):
                terminal.close()
                return
            terminal.setblocking(False)
            with self._log.open("rb") as log:
                log.seek(max(0, self._log.stat().st_size - _REPLAYED_BYTES))
                _offer(terminal, log.read())
            self._terminals.add(terminal)
            ready.register(terminal, selectors.EVENT_READ)


def _receive(opened: socket.socket) -> bytes:
    try:
        return opened.recv(_READ_BYTES)
    except OSError:
        return b""


def _offer(opened: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # full, or gone: it says so itself when it is read
        opened.send(data)


def follow_console(which: str = "") -> int:
    """Show the serial console of a running lab and type into it, until Ctrl-] or the machine's end; the exit status.

    which is a lab's process or app; "" takes the only one. Raises UsageError where it names none, or several.
    """
    lab = _choose(which)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as port:
        try:
            port.connect(lab.address)
        except OSError as error:
            raise UsageError(f"the lab of {lab.app} has ended just now") from error
        print(f"racs: serial console of {lab.app} (process {lab.pid}); Ctrl-] leaves it", file=sys.stderr, flush=True)
        with _raw(sys.stdin.fileno()):
            left = _exchange(port)
    print(f"\nracs: {'left the console' if left else 'the machine is off'}", file=sys.stderr)
    return 0


def _choose(which: str) -> RunningLab:
    labs = running_labs()
    matching = [lab for lab in labs if which in ("", str(lab.pid), lab.app)]
    if len(matching) == 1:
        return matching[0]
    rows = "".join(f"\n  racs lab console {lab.pid}   {lab.app}" for lab in labs)
    if not labs:
        raise UsageError("no lab runs on this machine: start one with racs lab app.ova, in another terminal")
    if not matching:
        raise UsageError(f"no lab {which!r} runs on this machine; these do:{rows}")
    raise UsageError(f"{len(matching)} labs run here: say which{rows}")


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """A terminal gives each key as it is pressed; what is no terminal is left as it is."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _exchange(port: socket.socket) -> bool:
    """Keys to the guest, its words to the terminal; whether the user left (else the other end did)."""
    keys, screen = sys.stdin.fileno(), sys.stdout.fileno()
    poll = select.poll()
    poll.register(port, select.POLLIN)
    poll.register(keys, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == keys:
                typed = os.read(keys, _READ_BYTES)
                if not typed:
                    poll.unregister(keys)  # a file or a pipe has ended: what the guest says is still shown
                    continue
                typed, leaves, _ = typed.partition(LEAVE)
                with suppress(OSError):  # the other end has gone: reading says so
                    port.sendall(typed)
                if leaves:
                    return True
            else:
                said = _receive(port)
                if not said:
                    return False
                _write(screen, said)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
