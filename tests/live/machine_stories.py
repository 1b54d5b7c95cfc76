"""What test_machine.py has done inside the lab's namespaces: ``machine_stories.py STORY OVA OFFSET SIZE FOLDER``.

A story drives a real machine and writes what it noted and found as one JSON object to stdout.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from conformance.application import Application
from conformance.errors import EnvironmentFault, SubjectError, UsageError
from conformance.profile import Profile, load
from conformance.trace import faults
from harness.disk import ImageSlice, Start, environment_xml, write_iso
from harness.domain_xml import MachineSpec, Nic
from harness.machine import Machine, State

BOOT_S = 120.0  # a deadline, not a wait
RTC_SHIFT_S = 1800
APP = Application("goon", "terminating", "V", "P", "1.0", 1.0, ("service", "user-plane"))
NICS = (Nic("service", "tap0", "52:54:00:00:00:09"), Nic("user-plane", "tap1", "52:54:00:00:00:01"))


@dataclass
class Story:
    """The lab of one story, and what comes out of it."""

    spec: MachineSpec
    folder: Path
    notes: list[tuple[str, float, Mapping[str, Any]]] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, kind: str, at: float, fields: Mapping[str, Any]) -> None:
        with self.changed:
            self.notes.append((kind, at, {**fields, "wrong": faults(kind, fields)}))
            self.changed.notify_all()

    def lines(self, boot: int) -> list[str]:
        return [fields["text"] for kind, _, fields in self.notes if kind == "console-line" and fields["boot"] == boot]

    def wait_for_line(self, text: str, boot: int) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: any(text in line for line in self.lines(boot)), BOOT_S):
                raise RuntimeError(f"no {text!r} in boot {boot}: {self.lines(boot)[-5:]}")

    def wait_for_reset(self, count: int) -> None:
        def resets() -> int:
            return sum(kind == "vm-state" and fields["state"] == "reset" for kind, _, fields in self.notes)

        with self.changed:
            if not self.changed.wait_for(lambda: resets() >= count, BOOT_S):
                raise RuntimeError(f"{resets()} resets")

    def environment(self, drill: str = "") -> Path:
        iso = Path(f"/run/env-{drill}.iso")
        start = Start({nic.network: nic.mac for nic in NICS}, ("192.0.2.9",), ("192.0.2.1",), drill=drill)
        write_iso(environment_xml(APP, start, load()), iso)
        return iso


def live(story: Story) -> None:
    """Every verb once."""
    begin = time.monotonic()
    with Machine(story.spec, story.note) as machine:
        story.found["open_s"] = time.monotonic() - begin
        machine.define()
        machine.insert_environment(story.environment(), "")
        machine.start()
        story.wait_for_line("tiny: ready", 1)
        story.found["links"] = _offloads("tap0")
        machine.suspend()
        story.found["suspended"] = machine.state()
        machine.resume()
        machine.insert_environment(story.environment("of-boot-2"), "of-boot-2")
        machine.suspend()
        machine.reset("supervision")
        story.found["after_reset"] = machine.state()
        story.wait_for_line("tiny: ready", 2)
        machine.press_button()
        story.found["powered_off"] = machine.wait_for(State.OFF, BOOT_S)
        story.found["overlay_bytes"] = machine.overlay_bytes()
        machine.start()
        story.wait_for_line("tiny: ready", 3)
        machine.destroy()
        machine.undefine()
        story.found["left"] = _left(story)
        machine.define()
        machine.start()
        story.wait_for_line("tiny: ready", 4)
    story.found["left_at_the_end"] = _left(story)
    first = next(at for kind, at, fields in story.notes if kind == "console-line" and fields["boot"] == 1)
    story.found["first_line_s"] = first - begin
    ready = next(at for kind, at, fields in story.notes if kind == "console-line" and "tiny: ready" in fields["text"])
    story.found["ready_s"] = ready - begin


def of_the_guest(story: Story) -> None:
    """What the guest does of itself, and verbs that come too late."""
    with Machine(story.spec, story.note) as machine:
        machine.define()
        machine.insert_environment(story.environment("reboot"), "reboot")
        machine.start()
        story.wait_for_reset(1)
        story.wait_for_line("tiny: ready", 2)
        machine.insert_environment(story.environment("panic"), "panic")
        machine.reset()
        story.wait_for_line("sysrq: Trigger a crash", machine.boot)
        story.found["panicked_in"] = machine.boot
        story.wait_for_line("tiny: ready", machine.boot + 1)  # panic=-1: the kernel reboots by itself
        machine.insert_environment(story.environment("poweroff"), "poweroff")
        machine.reset()
        machine.wait_for(State.OFF, BOOT_S)
        for verb in (machine.reset, machine.suspend, machine.press_button):
            story.found[verb.__name__] = _raised(verb)
        story.found["destroy"] = _raised(machine.destroy)


def killed(story: Story) -> None:
    """Something kills QEMU."""
    with Machine(story.spec, story.note) as machine:
        machine.define()
        machine.start()
        os.kill(_qemu(), signal.SIGKILL)
        story.found["crashed"] = machine.wait_for(State.CRASHED, BOOT_S)
        machine.start()
        story.found["again"] = machine.state()


def overgrown(story: Story) -> None:
    """The guest writes more than the profile admits."""
    tables = {**story.spec.profile.tables, "host": {**story.spec.profile.tables["host"], "overlay_bytes_max": 8 << 20}}
    _fill(story, replace(story.spec, profile=Profile(tables, "")))


def full(story: Story) -> None:
    """The host's disk is full."""
    small = story.folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(small)], check=True)
    _fill(story, replace(story.spec, folder=small))


def _fill(story: Story, spec: MachineSpec) -> None:
    with Machine(spec, story.note) as machine:
        machine.define()
        machine.insert_environment(story.environment("fill"), "fill")
        machine.start()
        story.found["wait"] = _raised(lambda: machine.wait_for(State.OFF, BOOT_S))
        story.found["verb"] = _raised(machine.reset)


def refused(story: Story) -> None:
    """A namespace and a tap that are not there, a tap that nobody may open."""

    def run(spec: MachineSpec) -> None:
        with Machine(spec, story.note) as machine:
            machine.define()
            machine.start()

    spec = story.spec
    story.found["namespace"] = _raised(lambda: run(replace(spec, namespace=Path("/run/netns/nowhere"))))
    story.found["tap"] = _raised(lambda: run(replace(spec, nics=(replace(NICS[0], tap="nosuchtap"),))))
    image = replace(spec.image, offset=0)
    story.found["image"] = _raised(lambda: run(replace(spec, image=image)))
    subprocess.run(["mount", "-t", "tmpfs", "none", "/dev/net"], check=True)
    story.found["tun"] = _raised(lambda: run(spec))
    story.found["left"] = _left(story)


def in_a_namespace(story: Story) -> None:
    """The domain lives where its taps are."""
    subprocess.run(["ip", "netns", "add", "racs"], check=True)
    for nic in NICS:
        subprocess.run(["ip", "link", "set", nic.tap, "netns", "racs"], check=True)
    with Machine(replace(story.spec, namespace=Path("/run/netns/racs")), story.note) as machine:
        machine.define()
        machine.start()
        story.found["same"] = os.stat(f"/proc/{_qemu()}/ns/net").st_ino == os.stat("/run/netns/racs").st_ino
        story.found["harness"] = os.stat("/proc/self/ns/net").st_ino != os.stat("/run/netns/racs").st_ino
        story.wait_for_line("tiny: ready", 1)


def stay(story: Story) -> None:
    """Runs until it is killed."""
    with Machine(story.spec, story.note) as machine:
        machine.define()
        machine.start()
        story.wait_for_line("tiny: ready", 1)
        print(json.dumps({"namespace": os.readlink("/proc/self/ns/pid")}), flush=True)
        signal.pause()


STORIES: Mapping[str, Callable[[Story], None]] = {
    story.__name__: story for story in (live, of_the_guest, killed, overgrown, full, refused, in_a_namespace, stay)
}


def _raised(verb: Callable[[], object]) -> str:
    try:
        verb()
    except (EnvironmentFault, SubjectError, UsageError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _qemu() -> int:
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(path / "exe").endswith("qemu-system-x86_64"):
                return int(path.name)
    raise RuntimeError("no QEMU")


def _left(story: Story) -> dict[str, Any]:
    processes = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    deleted = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _open(name)]
    return {
        "processes": sorted(processes),
        "files": sorted(os.listdir(story.folder)),
        "overlays": [name for name in deleted if "overlay" in name],
        "sockets": [str(path) for path in Path("/run/racs").rglob("*") if path.is_socket()],
        "taps": [nic.tap for nic in NICS if _carrier(nic.tap)],
    }


def _open(name: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{name}")


def _carrier(tap: str) -> bool:
    """Whether someone holds the tap."""
    return Path(f"/sys/class/net/{tap}/carrier").read_text().strip() == "1"


def _offloads(tap: str) -> list[str]:
    """Offloads of the tap that are on, by ethtool; empty where there is no ethtool."""
    ethtool = shutil.which("ethtool")
    if ethtool is None:
        return []
    out = subprocess.run([ethtool, "-k", tap], capture_output=True, text=True, check=True).stdout
    wanted = ("tx-checksumming", "tcp-segmentation-offload")
    return [line.strip() for line in out.splitlines() if line.startswith(wanted) and line.endswith(": on")]


def main() -> None:
    name, ova, offset, size, folder = sys.argv[1:]
    for nic in NICS:
        subprocess.run(["ip", "tuntap", "add", "mode", "tap", "dev", nic.tap], check=True)
        subprocess.run(["ip", "link", "set", nic.tap, "up"], check=True)
    image = ImageSlice(Path(ova), int(offset), int(size))
    console = Path(folder, "console.log")
    spec = MachineSpec("goon", image, NICS, load(), "tcg", Path(folder), console, RTC_SHIFT_S)
    story = Story(spec, Path(folder))
    STORIES[name](story)
    print(json.dumps({"notes": story.notes, **story.found}), flush=True)


if __name__ == "__main__":
    main()
