"""The contract's machine for real: a tiny guest boots from the slice inside its file, under libvirt, in the lab."""

import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tiny_guest
from machine_stories import RTC_SHIFT_S

from conformance.profile import load
from harness import init

pytestmark = pytest.mark.live

STORY = Path(__file__).with_name("machine_stories.py")
DEADLINE_S = 300.0
USER = 47110
# an ordinary user on a machine whose /dev/net/tun is open to all, as on most: in a mount namespace of the test's own
AS_USER = [
    *("unshare", "--mount", "--propagation", "private", "sh", "-ec"),
    'mount -t tmpfs none /dev/net; mknod -m 666 /dev/net/tun c 10 200; exec "$@"',
    *("sh", "setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"),
]


@pytest.fixture(scope="session")
def guest() -> tiny_guest.TinyGuest:
    lacking = tiny_guest.missing()
    if lacking:
        pytest.skip(f"the tiny guest needs {', '.join(lacking)}")
    return tiny_guest.build(Path(__file__).parents[2] / ".cache" / "tiny-guest")


def _command(story: str, guest: tiny_guest.TinyGuest, folder: Path) -> list[str]:
    inside = [sys.executable, str(STORY), story, str(guest.ova), str(guest.offset), str(guest.size), str(folder)]
    return [sys.executable, "-I", "-S", init.__file__, "--", *inside]


def _tell(story: str, guest: tiny_guest.TinyGuest, folder: Path, prefix: list[str] | None = None) -> dict[str, Any]:
    before = hashlib.sha256(guest.ova.read_bytes()).hexdigest()
    command = [*(prefix or []), *_command(story, guest, folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # libvirt's chatter goes to its log
    assert hashlib.sha256(guest.ova.read_bytes()).hexdigest() == before, "the OVA was written to"
    told: dict[str, Any] = json.loads(done.stdout)
    assert [fields["wrong"] for _, _, fields in told["notes"] if fields["wrong"]] == []
    return told


def _states(told: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(f["state"], f["reason"], f["boot"]) for kind, _, f in told["notes"] if kind == "vm-state"]


def _facts(told: dict[str, Any], boot: int) -> list[str]:
    """What the guest said of itself, without the prefix."""
    lines = [f["text"] for kind, _, f in told["notes"] if kind == "console-line" and f["boot"] == boot]
    return [line.removeprefix("tiny: ") for line in lines if line.startswith("tiny: ")]


@pytest.fixture(scope="module")
def life(guest: tiny_guest.TinyGuest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _tell("live", guest, tmp_path_factory.mktemp("life" + "-of-a-long-path" * 8))


def test_every_change_of_state_is_noted_with_its_cause(life: dict[str, Any]) -> None:
    assert _states(life) == [
        ("defined", "harness", 0),
        ("started", "harness", 1),
        ("suspended", "harness", 1),
        ("resumed", "harness", 1),
        ("suspended", "harness", 1),
        ("reset", "supervision", 2),
        ("powered-off", "guest", 2),
        ("started", "harness", 3),
        ("destroyed", "harness", 3),
        ("undefined", "harness", 3),
        ("defined", "harness", 3),
        ("started", "harness", 4),
        ("destroyed", "harness", 4),
        ("undefined", "harness", 4),
    ]
    assert life["suspended"] == "suspended"
    assert life["powered_off"] is True
    assert life["after_reset"] == "running"


def test_the_disk_persists_from_define_to_undefine(life: dict[str, Any]) -> None:
    counters = [fact for boot in (1, 2, 3, 4) for fact in _facts(life, boot) if fact.startswith("boots=")]
    assert counters == ["boots=1", "boots=2", "boots=3", "boots=1"]
    assert life["overlay_bytes"] > 0


def test_nics_keep_their_order_and_their_addresses(life: dict[str, Any]) -> None:
    for boot in (1, 2, 3, 4):
        assert [fact for fact in _facts(life, boot) if fact.startswith("nic=")] == [
            "nic=eth0 52:54:00:00:00:09 0000:00:03.0",
            "nic=eth1 52:54:00:00:00:01 0000:00:04.0",
        ]


def test_the_environment_changes_at_the_next_start_or_reset(life: dict[str, Any]) -> None:
    assert "env=racs.drill=" in _facts(life, 1)
    assert "env=racs.drill=of-boot-2" in _facts(life, 2)
    assert "env=racs.nic.user-plane.mac=52:54:00:00:00:01" in _facts(life, 1)
    drills = [fields["drill"] for kind, _, fields in life["notes"] if kind == "vm-state"]
    assert drills[:6] == ["", "", "", "", "", "of-boot-2"]


def test_the_real_time_clock_is_shifted(life: dict[str, Any]) -> None:
    for boot in (1, 2, 3):
        (rtc,) = (int(fact.removeprefix("rtc=")) for fact in _facts(life, boot) if fact.startswith("rtc="))
        at = next(at for kind, at, f in life["notes"] if kind == "console-line" and f["text"] == f"tiny: rtc={rtc}")
        host = time.time() - time.monotonic() + at
        assert abs(rtc - host - RTC_SHIFT_S) < 60  # to tell a shift from none; a stopped guest's RTC runs on


def test_the_running_machine_is_the_contracts(life: dict[str, Any]) -> None:
    machine = next(fields for kind, _, fields in life["notes"] if kind == "machine")
    assert (machine["cpus"], machine["memory_mib"], machine["cpu_model"]) == (1, 1024, "Nehalem")
    assert not set(machine["devices"]) & set(load()["machine.forbidden"])
    assert {"disk", "cdrom", "virtio-scsi", "virtio-rng", "serial"} <= set(machine["devices"])
    assert machine["devices"].count("nic") == 2
    assert life["links"] == []  # offloads of the tap that are on


def test_the_button_is_noted_before_the_power_off(life: dict[str, Any]) -> None:
    kinds = [(kind, fields.get("state", fields.get("press"))) for kind, _, fields in life["notes"]]
    assert kinds.index(("power-button", 1)) < kinds.index(("vm-state", "powered-off"))


def test_nothing_is_left_after_undefine(life: dict[str, Any]) -> None:
    left = {"files": ["console.log", "libvirt.log"], "overlays": [], "sockets": [], "taps": [], "processes": [1, 2]}
    assert life["left"] == left
    assert life["left_at_the_end"] == left


def test_how_long_it_took(life: dict[str, Any]) -> None:
    """No limit; figures for the reader (pytest -s), in seconds from opening libvirt."""
    print({name: round(life[name], 3) for name in ("open_s", "first_line_s", "ready_s")})
    assert life["open_s"] < life["first_line_s"] < life["ready_s"]


def test_what_the_guest_does_of_itself(guest: tiny_guest.TinyGuest, tmp_path: Path) -> None:
    told = _tell("of_the_guest", guest, tmp_path)
    states = _states(told)
    assert ("reset", "guest", 2) in states
    panicked = told["panicked_in"]
    assert ("reset", "harness", panicked) in states
    assert ("reset", "guest", panicked + 1) in states
    assert states[-2][:2] == ("powered-off", "guest")
    assert states[-1][0] == "undefined"
    for verb in ("reset", "suspend", "press_button"):
        assert re.match(r"SubjectError: .*expected the app's machine running, saw it is off", told[verb])
    assert told["destroy"] == ""


def test_a_killed_qemu_is_a_crash(guest: tiny_guest.TinyGuest, tmp_path: Path) -> None:
    told = _tell("killed", guest, tmp_path)
    assert told["crashed"] is True
    assert ("crashed", "hypervisor", 1) in _states(told)
    assert told["again"] == "running"


@pytest.mark.parametrize(
    ("story", "why"), [("overgrown", r"wrote more than 8388608 bytes"), ("full", r"no space left on the host")]
)
def test_a_disk_that_fills_is_the_environments_fault(
    guest: tiny_guest.TinyGuest, tmp_path: Path, story: str, why: str
) -> None:
    told = _tell(story, guest, tmp_path)
    assert re.match(f"EnvironmentFault: .*{why}", told["wait"])
    assert re.match(f"EnvironmentFault: .*{why}", told["verb"])
    assert ("destroyed", "hypervisor", 1) in _states(told)


def test_what_the_lab_lacks_is_told_in_a_line_and_leaves_nothing(guest: tiny_guest.TinyGuest, tmp_path: Path) -> None:
    told = _tell("refused", guest, tmp_path)
    lacking = "cannot enter the network namespace /run/netns/nowhere: No such file or directory"
    assert told["namespace"] == "EnvironmentFault: " + lacking
    assert re.match("EnvironmentFault: libvirt: .*dev doesn't exist", told["tap"])
    assert re.match("EnvironmentFault: qemu-img: .*not in qcow2 format", told["image"], re.DOTALL)
    assert re.match("UsageError: QEMU may not open /dev/net/tun .*sudo", told["tun"])
    assert (told["left"]["overlays"], told["left"]["processes"]) == ([], [1, 2])


def test_the_machine_lives_in_the_namespace_of_its_taps(guest: tiny_guest.TinyGuest, tmp_path: Path) -> None:
    told = _tell("in_a_namespace", guest, tmp_path)
    assert (told["same"], told["harness"]) == (True, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user then")
def test_an_ordinary_user_can_do_the_same(guest: tiny_guest.TinyGuest, tmp_path: Path) -> None:
    folder = Path("/tmp") / f"racs-live-{os.getpid()}"
    folder.mkdir()
    os.chown(folder, USER, USER)
    try:
        told = _tell("live", guest, folder, AS_USER)
    finally:
        subprocess.run(["rm", "-r", str(folder)], check=True)
    assert [state for state, _, _ in _states(told)][:3] == ["defined", "started", "suspended"]
    assert told["left_at_the_end"]["overlays"] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_nothing(guest: tiny_guest.TinyGuest, tmp_path: Path, number: signal.Signals) -> None:
    command = _command("stay", guest, tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        namespace = json.loads(keeper.stdout.readline())["namespace"]
        members = _members(namespace)
        assert any("qemu" in name for _, name in members), members
        pidfds = [os.pidfd_open(pid) for pid, _ in members]
        worker = min(pid for pid, name in members if "machine_stories" in name and "init.py" not in name)
        os.kill(worker, number)
        keeper.wait(DEADLINE_S)
    for descriptor in pidfds:
        assert select.select([descriptor], [], [], 0)[0], "a process outlived the run"
        os.close(descriptor)
    assert sorted(os.listdir(tmp_path)) == ["console.log", "libvirt.log"]


def _members(namespace: str) -> list[tuple[int, str]]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(path / "ns/pid") == namespace:
                found.append((int(path.name), path.joinpath("cmdline").read_text().replace("\0", " ")))
    return found
