"""Which accelerator can boot a guest here: found out by booting one, not by asking the device node.

/dev/kvm may exist, open and answer while a guest hangs in it for ever, and a ROM without firmware runs even there. So
the probe goes through SeaBIOS (protected mode, timers, interrupts) to a boot sector that writes to the serial port and
ends QEMU by isa-debug-exit. TCG answers within 0.1 s; both are asked at once.
"""

import json
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from conformance.errors import EnvironmentFault, UsageError

QEMU = "qemu-system-x86_64"
INSTALL = "apt-get install --no-install-recommends qemu-system-x86"
KVM_DEADLINE_S = 1.5  # 16 times what TCG takes on an idle host
TCG_DEADLINE_S = 20.0
DISK_BYTES = 32768

_ANSWER = b"K"
_EXIT_STATUS = 0x10 << 1 | 1  # what isa-debug-exit makes of the value written
_CODE = (
    b"\xba\xf8\x03"  # mov dx, 0x3f8: COM1
    b"\xb0\x4b"  # mov al, 'K': the answer
    b"\xee"  # out dx, al
    b"\xb0\x10"  # mov al, 0x10: the exit value
    b"\xe6\xf4"  # out 0xf4, al: isa-debug-exit
    b"\xf4\xeb\xfd"  # hlt; jmp to hlt
)
BOOT_SECTOR = _CODE.ljust(510, b"\0") + b"\x55\xaa"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What guests run under, and in one sentence why."""

    name: Literal["kvm", "tcg"]
    reason: str


@dataclass(slots=True)
class _Guest:
    """A booting probe: elapsed_s is None until QEMU ended by itself."""

    process: subprocess.Popen[bytes]
    descriptor: int
    elapsed_s: float | None = None
    serial: bytes = b""
    complaint: str = ""

    @property
    def passed(self) -> bool:
        return self.process.returncode == _EXIT_STATUS and self.serial == _ANSWER

    def finish(self, elapsed_s: float) -> None:
        """QEMU has ended: what it said."""
        self.serial, errors = self.process.communicate()
        self.elapsed_s = elapsed_s
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        self.complaint = last or f"QEMU ended with {self.process.returncode}, the guest said {self.serial!r}"


def probe(cache: Path | None = None, qemu: str = QEMU) -> Accelerator:
    """The accelerator of this host: kvm where a guest boots in it within its deadline, else tcg.

    The answer is remembered in the folder ``cache`` for this boot of the host and this QEMU. Raises UsageError where
    there is no QEMU, EnvironmentFault where not even TCG boots.
    """
    path = shutil.which(qemu)
    if path is None:
        raise UsageError(f"{qemu} is not installed: {INSTALL}")
    key = _key(path)
    remembered = _recall(cache, key)
    if remembered is None:
        remembered = _boot(path)
        _remember(cache, key, remembered)
    return remembered


def version(qemu: str = QEMU) -> str:
    """QEMU's version, "7.2.22 (Debian ...)"; empty where there is none."""
    return re.sub(r"^QEMU emulator version ", "", next(iter(_ask(qemu, "--version")), ""))


def cpu_models(qemu: str = QEMU) -> frozenset[str]:
    """The CPU models that QEMU knows, each version apart too; none where there is no QEMU."""
    lines = (line.split() for line in _ask(qemu, "-cpu", "help"))
    return frozenset(words[1] for words in lines if len(words) > 1 and words[0] == "x86")


def machine_types(qemu: str = QEMU) -> frozenset[str]:
    """The machine types that QEMU knows; none where there is no QEMU."""
    return frozenset(line.split()[0] for line in _ask(qemu, "-machine", "help")[1:] if line.strip())


def _ask(qemu: str, *words: str) -> list[str]:
    try:
        done = subprocess.run([qemu, *words], capture_output=True, text=True, timeout=TCG_DEADLINE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


def _key(path: str) -> Mapping[str, str]:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    usable = str(os.access("/dev/kvm", os.R_OK | os.W_OK))  # another user may not be let in, or may be by now
    return {"boot": boot, "qemu": f"{path} {version(path)}", "kvm_usable": usable}


def _recall(cache: Path | None, key: Mapping[str, str]) -> Accelerator | None:
    if cache is None:
        return None
    try:
        stored = json.loads((cache / "accelerator.json").read_text())
        if stored["key"] == key and stored["name"] in ("kvm", "tcg"):
            return Accelerator(stored["name"], str(stored["reason"]))
    except (OSError, ValueError, TypeError, KeyError):
        pass  # none yet, or half written by another version: probing again is cheap
    return None


def _remember(cache: Path | None, key: Mapping[str, str], found: Accelerator) -> None:
    if cache is None:
        return
    text = json.dumps({"key": key, "name": found.name, "reason": found.reason})
    try:
        cache.mkdir(parents=True, exist_ok=True)
        temporary = cache / f"accelerator.json.{os.getpid()}"
        temporary.write_text(text)
        temporary.replace(cache / "accelerator.json")
    except OSError:
        pass  # a cache that cannot be written costs the next run one probe, nothing else


def _boot(path: str) -> Accelerator:
    why_not = _no_kvm_device()
    with ExitStack() as stack:
        tcg = _start(path, "tcg", stack)
        kvm = None if why_not else _start(path, "kvm", stack)
        _await(tcg, kvm)
        if kvm is not None and kvm.passed:
            return Accelerator("kvm", f"a boot sector ran under KVM in {kvm.elapsed_s:.2f} s")
        if kvm is not None:
            hung = f"a boot sector hung under KVM for {KVM_DEADLINE_S:g} s"
            why_not = hung if kvm.elapsed_s is None else f"KVM does not start: {kvm.complaint}"
        if not tcg.passed:
            seen = f"none within {TCG_DEADLINE_S:g} s" if tcg.elapsed_s is None else tcg.complaint
            raise EnvironmentFault(f"{path} boots no guest: {why_not}; under TCG: {seen}")
        return Accelerator("tcg", f"{why_not}; under TCG it ran in {tcg.elapsed_s:.2f} s")


def _no_kvm_device() -> str:
    if not Path("/dev/kvm").exists():
        return "there is no /dev/kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm is not open to this user (the group kvm is)"
    return ""


def _start(path: str, accelerator: str, stack: ExitStack) -> _Guest:
    image = os.memfd_create(f"probe-{accelerator}")
    stack.callback(os.close, image)
    os.write(image, BOOT_SECTOR)
    os.ftruncate(image, DISK_BYTES)
    # setpriv (util-linux): a guest that hangs must not outlive us, not even when we are killed
    command = ["setpriv", "--pdeathsig", "KILL", path]
    command += ["-machine", f"pc,accel={accelerator}", "-m", "16", "-nodefaults", "-no-user-config", "-no-reboot"]
    command += ["-display", "none", "-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    command += ["-drive", f"file=/dev/fd/{image},format=raw,if=ide"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, pass_fds=(image,), start_new_session=True
    )
    stack.enter_context(process)  # closes the pipes and waits
    stack.callback(process.kill)  # so kill first; after its end this does nothing
    descriptor = os.pidfd_open(process.pid)
    stack.callback(os.close, descriptor)
    return _Guest(process, descriptor)


def _await(tcg: _Guest, kvm: _Guest | None) -> None:
    """Until both ended, or TCG did and KVM had its deadline (a starved host gives KVM as long as TCG took)."""
    begin = time.monotonic()
    poll = select.poll()
    running = {guest.descriptor: guest for guest in (tcg, kvm) if guest is not None}
    for descriptor in running:
        poll.register(descriptor, select.POLLIN)
    while running:
        limit_s = TCG_DEADLINE_S if tcg.elapsed_s is None else KVM_DEADLINE_S
        left_s = begin + limit_s - time.monotonic()
        ended = poll.poll(max(0.0, left_s) * 1000)
        if not ended:
            break
        for descriptor, _ in ended:
            guest = running.pop(descriptor)
            guest.finish(time.monotonic() - begin)
            poll.unregister(descriptor)
    for guest in running.values():
        guest.process.kill()
