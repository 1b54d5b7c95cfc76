"""libvirt's QEMU driver inside this process (``qemu:///embed``): no daemon, no socket, nothing on the host.

What it takes: an event loop in a thread of its own, and one worker thread for every call, because QEMU runs in the
network namespace of the thread that starts it. The foreign API ends here: libvirt's errors leave as EnvironmentFault or
UsageError, its chatter goes to a file. libvirt is imported only when a hypervisor opens.
"""

import concurrent.futures
import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from conformance.errors import EnvironmentFault, UsageError

T = TypeVar("T")

CALL_DEADLINE_S = 60.0
_CLONE_NEWNET = 0x40000000

# conf of the embedded driver: nothing of the host's (no cgroups, security labels, ownership), no helper daemon for logs
_CONF = """\
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
namespaces = []
cgroup_controllers = []
max_core = 0
"""
_CONF_ROOT = 'user = "root"\ngroup = "root"\n'

_INSTALL = "apt-get install --no-install-recommends libvirt-daemon-driver-qemu qemu-system-x86"


class Hypervisor:
    """An open connection to the embedded driver, rooted in a short folder (its sockets must stay under 108 characters).

    ``with`` opens it; libvirt's own messages go to ``log`` (in a process, to the first one's); `call` runs a function
    of the libvirt connection in the worker thread. namespace is the network namespace (a file below /run/netns) in
    which domains run; None for the process's own. on_silence is called when libvirt does not answer: what it waits for
    has to end, or the worker thread never comes back.
    """

    def __init__(self, root: Path, log: Path, namespace: Path | None, on_silence: Callable[[], None]) -> None:
        self._root = root
        self._log = log.absolute()
        self._namespace = namespace
        self._on_silence = on_silence
        self._stopping = threading.Event()
        self._worker = concurrent.futures.ThreadPoolExecutor(1, "libvirt")
        self._loop = threading.Thread(target=self._run_loop, name="libvirt-events", daemon=True)

    def __enter__(self) -> "Hypervisor":
        self._libvirt = _import_libvirt(self._log)
        configuration = self._root / "etc"
        configuration.mkdir(parents=True, exist_ok=True)
        (configuration / "qemu.conf").write_text(_CONF + (_CONF_ROOT if os.geteuid() == 0 else ""))
        self._libvirt.virEventRegisterDefaultImpl()
        self._loop.start()
        try:
            self._submit(self._enter_namespace)
            self._connection = self._submit(lambda: self._libvirt.open(f"qemu:///embed?root={self._root}"))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._submit(self._connection.close)
        finally:
            self._stop()

    def call(self, function: Callable[[Any], T]) -> T:
        """``function(connection)`` in the worker thread. Raises EnvironmentFault or UsageError for libvirt's errors."""
        return self._submit(lambda: function(self._connection))

    def post(self, function: Callable[[Any], object]) -> None:
        """The same without waiting and without an answer: for libvirt's event thread, which must not call libvirt."""
        self._worker.submit(function, self._connection)

    def _submit(self, function: Callable[[], T]) -> T:
        future = self._worker.submit(function)
        try:
            return future.result(CALL_DEADLINE_S)
        except TimeoutError as error:
            self._on_silence()
            raise EnvironmentFault(f"libvirt did not answer within {CALL_DEADLINE_S:g} s ({self._log})") from error
        except self._libvirt.libvirtError as error:
            raise _translated(str(error), self._log) from error

    def _run_loop(self) -> None:
        while not self._stopping.is_set():
            self._libvirt.virEventRunDefaultImpl()

    def _stop(self) -> None:
        self._stopping.set()
        self._libvirt.virEventAddTimeout(0, lambda *_: None, None)  # wakes the loop, which then sees that it shall stop
        self._loop.join()
        self._worker.shutdown()

    def _enter_namespace(self) -> None:
        if self._namespace is None:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            with self._namespace.open("rb") as file:
                if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        except OSError as error:
            reason = f"cannot enter the network namespace {self._namespace}: {error.strerror}"
            raise EnvironmentFault(reason) from error


def _import_libvirt(log: Path) -> Any:
    """libvirt, which initialises at its import and takes the place of its log from the environment then."""
    variable = "LIBVIRT_LOG_OUTPUTS"
    before = os.environ.get(variable)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    # warnings and errors; libvirt splits the list at blanks, which the log's own path may have
    os.environ[variable] = f"3:file:/proc/self/fd/{descriptor}"
    try:
        import libvirt  # here: a package check needs no libvirt, and its import takes 30 ms
    except ImportError as error:
        raise UsageError(f"libvirt's Python binding does not load ({error}): run ./racs doctor") from error
    finally:
        os.close(descriptor)
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
    libvirt.registerErrorHandler(lambda *_: None, None)  # errors are raised: not printed besides
    return libvirt


def _translated(message: str, log: Path) -> Exception:
    if "/dev/net/tun" in message:
        return UsageError(f"QEMU may not open /dev/net/tun ({message}): run it with sudo, or chmod 666 /dev/net/tun")
    if "no connection driver" in message or "Cannot find suitable emulator" in message or "emulator" in message:
        return UsageError(f"libvirt cannot run QEMU ({message}): {_INSTALL}")
    return EnvironmentFault(f"libvirt: {message} (more in {log})")
