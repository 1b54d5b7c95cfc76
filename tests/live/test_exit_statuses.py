"""What a machine lacks, and a run that cannot go on: one clear line, the right status, nothing left behind."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import command_line
import pytest
from command_line import RACS, Ended

from harness.packaging.building import Sample

pytestmark = pytest.mark.live

# With a /dev/net/tun of its own that is closed, as it is on some machines only.
NOBODY = (
    *("unshare", "--mount", "--propagation=private", "sh", "-ec"),
    'mount -t tmpfs -o mode=755 none /dev/net; mknod -m 600 /dev/net/tun c 10 200; exec "$@"',
    *("sh", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
)


def certify(goon: Sample, folder: Path, environment: Mapping[str, str], *words: str, wrap: Sequence[str] = ()) -> Ended:
    command = [*wrap, RACS, "certify", str(goon.ova), f"--root={goon.root}", *words]
    return command_line.run(command, folder, environment)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that every user may write to; pytest's own are the user's."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


def everything_but(folder: Path, *missing: str) -> str:
    """A PATH of links to all that is in PATH, but for these commands."""
    for place in [*os.environ["PATH"].split(":"), "/usr/sbin", "/sbin"]:
        for path in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / path.name
            if path.name not in missing and not link.is_symlink():
                link.symlink_to(path)
    return str(folder)


@pytest.mark.parametrize(
    ("command", "package"),
    [("qemu-system-x86_64", "qemu-system-x86"), ("qemu-img", "qemu-utils"), ("xorriso", "xorriso")],
)
def test_a_missing_command_is_named_with_its_package(
    command: str, package: str, goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path
) -> None:
    commands = tmp_path / "commands"
    commands.mkdir()
    environment = {**nothing_left, "PATH": everything_but(commands, command)}
    ended = certify(goon, tmp_path, environment)
    assert ended.status == 4, ended.said
    assert ended.err.strip().splitlines() == [
        "ERROR: racs: this machine lacks what a run needs:",
        f"  {command}: sudo apt-get install --no-install-recommends {package}",
    ]
    assert not (tmp_path / "runs").exists()
    doctor = command_line.run([RACS, "doctor"], tmp_path, environment)
    assert doctor.status == 4, doctor.said
    assert f"mend: sudo apt-get install --no-install-recommends {package}" in doctor.out


@pytest.mark.parametrize("command", ["certify", "lab"])
def test_a_cpu_that_nobody_knows_is_told_before_anything_starts(
    command: str, goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path
) -> None:
    shipped = (command_line.REPOSITORY / "conformance/data/profiles/racs-1.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(shipped.replace('cpu = "Nehalem"', 'cpu = "Nehalm"'))
    words = [RACS, command, str(goon.ova), f"--root={goon.root}", f"--profile={own}"]
    ended = command_line.run(words, tmp_path, nothing_left)
    assert ended.status == 4, ended.said
    assert "machine.cpu Nehalm of the profile: do you mean Nehalem? libvirt and QEMU here know " in ended.err
    assert list(tmp_path.iterdir()) == [own]


def test_the_doctor_finds_a_machine_that_can_run(nothing_left: Mapping[str, str], tmp_path: Path) -> None:
    ended = command_line.run([RACS, "doctor"], tmp_path, nothing_left)
    assert ended.status == 0, ended.said
    assert ended.out.splitlines()[-1] == "a run can take place here"
    assert "lacks" not in ended.out


def test_an_ordinary_user_is_told_what_an_administrator_has_to_do(
    goon: Sample, nothing_left: Mapping[str, str], elsewhere: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    package, root = (str(shutil.copy(file, elsewhere)) for file in (goon.ova, goon.root))
    if command_line.run([*NOBODY, "test", "-x", RACS], elsewhere).status:
        pytest.skip("this checkout is not readable for others")
    copied = Sample(Path(package), Path(root))
    environment = {**nothing_left, "HOME": str(elsewhere), "TMPDIR": str(elsewhere)}
    checked = command_line.run([*NOBODY, RACS, "check", package, f"--root={root}"], elsewhere, environment)
    assert checked.status == 0, checked.said
    ended = certify(copied, elsewhere, environment, wrap=NOBODY)
    assert ended.status == 4, ended.said
    assert "/dev/net/tun: Permission denied: run it with sudo, or once: sudo chmod 666 /dev/net/tun" in ended.err
    doctor = command_line.run([*NOBODY, RACS, "doctor"], elsewhere, environment)
    assert doctor.status == 4 and "sudo chmod 666 /dev/net/tun" in doctor.out


@pytest.mark.parametrize("room_kib", [4, 400, 4000])
def test_a_full_disk_is_told_in_a_line(
    room_kib: int, goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = f'mount -t tmpfs -o size={room_kib}k none {small} && exec "$@"'
    privately = ("unshare", "-m", "--propagation=private", "sh", "-c", mount, "sh")
    ended = certify(goon, tmp_path, nothing_left, f"--runs={small}/runs", wrap=privately)
    if room_kib == 4000 and ended.status == 3:  # it filled behind the start of the machine: there is none for reports
        assert "a report could not be written: [Errno 28] No space left on device" in ended.out, ended.said
    else:
        assert ended.status == 4, ended.said
        (line,) = (line for line in ended.err.splitlines() if line.startswith("racs: "))
        assert "No space left on device" in line and "make room and run again" in line
    assert ended.out.splitlines()[-1].startswith("ERROR goon")
    assert list(tmp_path.iterdir()) == [small]


@pytest.mark.parametrize(("select", "status"), [("PKG-001", 0), ("HBT and PKG", 5)])
def test_a_selection_starts_no_more_than_it_needs(
    select: str, status: int, goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path
) -> None:
    ended = certify(goon, tmp_path, nothing_left, "-k", select)
    assert ended.status == status, ended.said
    assert "scope selection" in ended.out.splitlines()[-1]
    assert [path.name for path in (tmp_path / "runs" / "latest" / "evidence").iterdir()] == ["profile.toml"]


def test_a_reader_of_the_progress_that_goes_away_changes_nothing(
    goon: Sample, nothing_left: Mapping[str, str], tmp_path: Path
) -> None:
    pipe = ("sh", "-c", '{ "$@" 2>&1; echo $? >status; } | head -n 1', "sh")
    ended = certify(goon, tmp_path, nothing_left, "-k", "PKG or BUS-003", wrap=pipe)
    assert len(ended.out.splitlines()) == 1 and ended.err == ""
    assert (tmp_path / "status").read_text() == "0\n"
