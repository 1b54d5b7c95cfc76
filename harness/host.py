"""The machine that everything runs on: what it is, what it lacks, and whether it keeps up during a run."""

import glob
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from conformance.profile import Profile
from harness import accelerator, init
from harness.console import Note
from harness.options import CACHE

CLOCK_PAIR_S = 10.0  # between clock-pair events: host clocks are slewed by at most 0.5 ms a second
SOURCE_PROCESS = "host"
_LIBVIRT_DRIVER = "libvirt/connection-driver/libvirt_driver_qemu.so"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a report says of the host; a version is "" where the thing is not there."""

    kernel: str
    distribution: str
    cpu: str
    cores: int
    memory_mib: int
    qemu: str
    libvirt: str
    python: str


def facts() -> HostFacts:
    """Facts of this host; what cannot be read is empty or 0."""
    cpu = re.search(r"^model name\s*:\s*(.*)$", _text("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', _text("/etc/os-release"), re.MULTILINE)
    return HostFacts(
        kernel=platform.release(),
        distribution=name[1] if name else "",
        cpu=cpu[1] if cpu else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=int(memory[1]) // 1024 if memory else 0,
        qemu=accelerator.version(),
        libvirt=_libvirt_version(),
        python=platform.python_version(),
    )


def _libvirt_version() -> str:
    return _ask_libvirt("v = libvirt.getVersion(); print(v // 1000000, v // 1000 % 1000, v % 1000, sep='.')")


def _ask_libvirt(script: str) -> str:
    """Asked in a process of its own: libvirt initialises at its import, and the run wants its log elsewhere."""
    words = [sys.executable, "-c", f"import libvirt; {script}"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def _text(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(errors="replace")
    return ""


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that a run needs and this machine does not have, and how to mend it."""

    what: str
    remedy: str


# command: Debian's package; what a run calls by name
COMMANDS: Mapping[str, str] = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "xorriso": "xorriso",
    "ip": "iproute2",
    "nft": "nftables",
    "dnsmasq": "dnsmasq-base",
    "setpriv": "util-linux",
}
MOSQUITTO = CACHE / "peers" / "mosquitto" / "usr" / "sbin" / "mosquitto"  # unpacked: its installation starts a service


def missing(commands: Mapping[str, str] = COMMANDS) -> tuple[Lack, ...]:
    """What this machine lacks for a run, tried and not guessed. commands: what a run calls, with its package."""
    lacks = [Lack(command, _apt(package)) for command, package in commands.items() if not find(command)]
    if not os.access(MOSQUITTO, os.X_OK):
        lacks.append(Lack("mosquitto", "run ./racs once: it unpacks Debian's package into .cache/peers"))
    if not any(glob.glob(f"/usr/lib*/{middle}{_LIBVIRT_DRIVER}") for middle in ("", "*/")):
        lacks.append(Lack("libvirt's QEMU driver", _apt("libvirt-daemon-driver-qemu")))
    if not _libvirt_version():
        lacks.append(Lack("libvirt's Python binding", "run ./racs once: it installs libvirt-python from source"))
    with_namespaces = [sys.executable, "-I", "-S", init.__file__, "--", "true"]
    tried = subprocess.run(with_namespaces, capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        what, _, remedy = tried.stderr.strip().removeprefix("racs: ").partition("\n")
        lacks.append(Lack(what, remedy))
    reason = _no_tun()
    if reason:
        lacks.append(Lack(f"/dev/net/tun: {reason}", "run it with sudo, or once: sudo chmod 666 /dev/net/tun"))
    return tuple(lacks)


def unknown(profile: Profile) -> tuple[Lack, ...]:
    """What the profile asks for that libvirt or QEMU of this machine does not know, with what they know."""
    # libvirt's own test driver reads the same list of models as its QEMU driver does, and starts nothing
    models = _ask_libvirt("print(*libvirt.open('test:///default').getCPUModelNames('x86_64'))").split()
    return (
        *_unknown("machine.cpu", profile["machine.cpu"], accelerator.cpu_models().intersection(models)),
        *_unknown("machine.type", profile["machine.type"], accelerator.machine_types()),
    )


def _unknown(key: str, name: str, known: frozenset[str]) -> Iterator[Lack]:
    if not known or name in known:  # a machine that does not answer is not judged here
        return
    near = get_close_matches(name, sorted(known), 1)
    meant = f"do you mean {near[0]}? " if near else ""
    yield Lack(f"{key} {name} of the profile", f"{meant}libvirt and QEMU here know {', '.join(sorted(known))}")


def find(command: str) -> str:
    """Where a command is, "" for nowhere; as in the lab, /usr/sbin counts for ordinary users too."""
    return shutil.which(command, path=f"{os.environ.get('PATH', os.defpath)}{init.SYSTEM_PATH}") or ""


def _apt(package: str) -> str:
    return f"sudo apt-get install --no-install-recommends {package}"


def _no_tun() -> str:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.strerror or str(error)
    return ""


class HostMeter:
    """Watches the host while the ``with`` block lasts and notes host-starved, clock-step and clock-pair events.

    Measured each second by a process of its own (harness/hostmeter.py): the hypervisor's steal and the lag of timed
    wake-ups, against the profile's host.steal_max and host.lag_p99_max_ms, and steps of the realtime clock against
    host.clock_step_max_ms. That the app's QEMU keeps a CPU busy shows in neither: the scheduler still wakes others. Of
    QEMU itself, which `watch` names, it measures whether its threads can run: see `hostmeter.Withheld`.
    note is called from a thread of the meter's own; process-died is noted when the process ends by itself.
    """

    def __init__(self, profile: Profile, note: Note) -> None:
        self._judge = WindowJudge(profile, note)
        self._note = note
        self._closing = False

    def __enter__(self) -> "HostMeter":
        script = Path(__file__).with_name("hostmeter.py")
        command = [sys.executable, "-I", "-S", str(script)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
        self._thread = threading.Thread(target=self._read, name="host-meter", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._thread.join()
        self._process.wait()

    def watch(self, process: int) -> None:
        """From now on the machine is this process."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died, which is told
            os.write(self._process.stdin.fileno(), b"%d\n" % process)

    @property
    def pid(self) -> int:
        """The measuring process's."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._judge.take(json.loads(line))
        status = self._process.wait()
        if not self._closing:
            self._note("process-died", self._judge.end, {"process": "host meter", "status": status})


class WindowJudge:
    """The meter's rules without its process: windows in, events out. ``end`` is where the last window ended."""

    def __init__(self, profile: Profile, note: Note) -> None:
        withheld_max_s = profile.number("host.withheld_max_ms") / 1000
        self._limits = {
            "steal": profile.number("host.steal_max"),
            "lag": profile.number("host.lag_p99_max_ms") / 1000,
            "stopped": 0.0,  # no host does that by itself
            "blocked": withheld_max_s,
            "waiting": withheld_max_s,
        }
        self._step_max_s = profile.number("host.clock_step_max_ms") / 1000
        self._note = note
        self._pair: tuple[float, float] | None = None
        self._noted_at = float("-inf")
        self.end = 0.0

    def take(self, window: Mapping[str, Any]) -> None:
        """One window as harness/hostmeter.py writes it."""
        self.end = window["end"]
        for what, limit in self._limits.items():
            value = window["lag_p99_s" if what == "lag" else what]
            if value > limit:
                # a wait for a CPU is told when it is over, however long it took
                begin = min(window["begin"], self.end - value) if what == "waiting" else window["begin"]
                fields = {"what": what, "value": value, "limit": limit, "begin": begin, "end": self.end}
                self._note("host-starved", self.end, fields)
        self._take_pair(window["at"], window["realtime_minus_monotonic"])

    def _take_pair(self, at: float, difference: float) -> None:
        step_s = difference - self._pair[1] if self._pair else 0.0
        if self._pair and abs(step_s) > self._step_max_s:
            self._note("clock-step", at, {"step_s": step_s, "begin": self._pair[0], "end": at})
        if at - self._noted_at >= CLOCK_PAIR_S or abs(step_s) > self._step_max_s:
            self._note("clock-pair", at, {"process": SOURCE_PROCESS, "realtime_minus_monotonic": difference})
            self._noted_at = at
        self._pair = (at, difference)
