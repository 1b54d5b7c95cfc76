"""The launcher, with stand-ins for the programs that would change the machine: what it asks of them, and when."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOOLS = (
    "sh",
    "cat",
    "cmp",
    "cp",
    "dirname",
    "env",
    "flock",
    "grep",
    "mkdir",
    "readlink",
    "rm",
    "sed",
    "tail",
    "touch",
    "tr",
)
COMMAND_LINE = '#!/bin/sh\nfor word; do printf "<%s>" "$word"; done\nexit 6\n'
# Makes the folder that it shall install into, and something in it.
PIP = 'while [ "$1" != --target ]; do shift; done; mkdir -p "$2"; : >"$2/program"'


@dataclass(frozen=True, slots=True)
class Machine:
    """A copy of the launcher in a folder of its own, on a PATH of its own; asked is what stand-ins were called with."""

    folder: Path
    programs: Path
    asked: Path

    def stand_in(self, name: str, body: str = "") -> None:
        script = f'#!/bin/sh\necho "{name} $*" >>{self.asked}\n{body}\n'
        (self.programs / name).write_text(script)
        (self.programs / name).chmod(0o755)

    def has_python(self, pip: str = PIP) -> None:
        """As after a set-up: the lock's packages are in .venv, in this place. pip is what a stand-in for it does."""
        folder = self.folder / ".venv" / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("racs-conformance", COMMAND_LINE),
            ("pip", f'#!/bin/sh\necho "pip $*" >>{self.asked}\n{pip}\n'),
        ):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        shutil.copy(self.folder / "requirements" / "lock.txt", self.folder / ".venv" / "racs-lock.txt")
        (self.folder / ".venv" / "racs-path.txt").write_text(f"{self.folder}\n")

    def run(self, *words: str, launcher: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(launcher or self.folder / "racs"), *words]
        environment = {"PATH": str(self.programs)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def calls(self) -> list[str]:
        lines = self.asked.read_text().splitlines() if self.asked.exists() else []
        self.asked.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Root's, with every package there."""
    folder = (tmp_path / "a place").resolve()
    shutil.copytree(REPOSITORY / "requirements", folder / "requirements")
    shutil.copy(REPOSITORY / "racs", folder / "racs")
    made = Machine(folder, tmp_path / "bin", tmp_path / "asked")
    made.programs.mkdir()
    for tool in TOOLS:
        (made.programs / tool).symlink_to(str(shutil.which(tool)))
    made.stand_in("id", "echo 0")
    made.stand_in("dpkg-query", "echo ii")
    made.stand_in("apt-get", 'if [ "$2" = download ]; then : >"$3.deb"; fi')
    made.stand_in("dpkg")
    return made


def packages(name: str) -> list[str]:
    lines = (REPOSITORY / "requirements" / name).read_text().splitlines()
    return [word for line in lines for word in line.partition("#")[0].split()]


def test_what_is_set_up_is_asked_for_nothing(machine: Machine, tmp_path: Path) -> None:
    machine.has_python()
    assert machine.run("list").returncode == 6
    assert machine.calls()
    link = tmp_path / "elsewhere"
    link.symlink_to(machine.folder / "racs")
    done = machine.run("certify", "my app.ova", "", "--json", "-", launcher=link)
    assert (done.returncode, done.stdout, done.stderr) == (6, "<certify><my app.ova><><--json><->", "")
    assert machine.calls() == []


def test_a_list_that_changed_is_looked_through_again(machine: Machine) -> None:
    machine.has_python()
    machine.run("list")
    machine.calls()
    (machine.folder / "requirements" / "apt-run.txt").write_text("one  # why\n\n# two\nthree\n")
    assert machine.run("list").returncode == 6
    assert [call.split()[-1] for call in machine.calls() if call.startswith("dpkg-query")] == ["one", "three"]


def test_tests_need_more_than_runs_do(machine: Machine) -> None:
    machine.has_python()
    machine.run("certify")
    asked = [call.split()[-1] for call in machine.calls() if call.startswith("dpkg-query")]
    assert asked == packages("apt-run.txt")
    machine.run("test")
    assert set(packages("apt-test.txt")) <= {call.split()[-1] for call in machine.calls()}


def test_without_root_and_sudo_it_tells_the_one_command(machine: Machine) -> None:
    machine.has_python()
    machine.stand_in("id", "echo 1000")
    machine.stand_in("dpkg-query", 'case "$*" in *-qemu*|*dnsmasq*) exit 1 ;; esac; echo ii')
    done = machine.run("certify")
    missing = [name for name in packages("apt-run.txt") if "-qemu" in name or "dnsmasq" in name]
    assert missing
    assert (done.returncode, done.stdout) == (4, "")
    command = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(missing)}"
    assert done.stderr.splitlines()[-1] == command
    assert not [call for call in machine.calls() if call.startswith("apt-get")]


@pytest.mark.parametrize("user", ["0", "1000"])
def test_only_what_is_missing_is_installed(machine: Machine, user: str) -> None:
    machine.has_python()
    machine.stand_in("id", f"echo {user}")
    machine.stand_in("sudo", '"$@"')
    machine.stand_in("dpkg-query", 'case "$*" in *dnsmasq*) exit 1 ;; esac; echo ii')
    assert machine.run("certify").returncode == 6
    calls = machine.calls()
    missing = " ".join(name for name in packages("apt-run.txt") if "dnsmasq" in name)
    assert f"apt-get -qq install -y --no-install-recommends {missing}" in calls
    assert any(call.startswith("sudo") for call in calls) == (user != "0")


def test_what_apt_could_not_do_is_told_and_tried_again(machine: Machine) -> None:
    machine.has_python()
    machine.stand_in("dpkg-query", "exit 1")
    machine.stand_in("apt-get", 'case "$*" in *install*) echo "E: no such disk"; exit 100 ;; esac')
    for _ in range(2):
        done = machine.run("certify")
        assert done.returncode == 4
        assert "E: no such disk" in done.stderr
        assert str(machine.folder / ".cache" / "apt.log") in done.stderr
    assert len([call for call in machine.calls() if "install" in call]) == 2


def cot_of(machine: Machine) -> Path:
    return machine.folder / ".cache" / "peers" / "cot"


def pip_calls(machine: Machine) -> list[str]:
    return [call for call in machine.calls() if call.startswith("pip ")]


def test_tests_get_the_peers_of_pypi_once_and_runs_none(machine: Machine) -> None:
    machine.has_python()
    assert machine.run("certify").returncode == 6
    assert pip_calls(machine) == []
    assert machine.run("test").returncode == 6
    (call,) = pip_calls(machine)
    assert "--no-deps --require-hashes" in call and call.endswith("requirements/peers-cot.txt")
    assert (cot_of(machine) / "program").exists()
    assert machine.run("test").returncode == 6
    assert machine.calls() == []


def test_peers_whose_list_changed_are_brought_anew(machine: Machine) -> None:
    machine.has_python()
    machine.run("test")
    (cot_of(machine) / "left over").touch()
    (machine.folder / "requirements" / "peers-cot.txt").write_text("cot==9 --hash=sha256:00\n")
    machine.calls()
    assert machine.run("test").returncode == 6
    assert len(pip_calls(machine)) == 1
    assert sorted(path.name for path in cot_of(machine).iterdir()) == [".complete", "program"]


@pytest.mark.parametrize("end", ["exit 1", "kill -9 $PPID"], ids=["no network", "killed"])
def test_peers_that_did_not_come_are_told_and_brought_the_next_time(machine: Machine, end: str) -> None:
    machine.has_python(f"{PIP}; {end}")
    done = machine.run("test")
    assert done.returncode != 6 and done.stdout == ""
    if end == "exit 1":
        assert done.returncode == 4
        assert done.stderr.splitlines()[-1] == (
            "racs: pip could not bring what requirements/peers-cot.txt names; mend the network or disk and run again"
        )
    machine.has_python()
    machine.calls()
    assert machine.run("test").returncode == 6
    assert len(pip_calls(machine)) == 1


def test_every_peer_s_list_is_locked_by_digests() -> None:
    """And names what its own list of wishes names."""
    for wishes in (REPOSITORY / "requirements").glob("peers-*.in"):
        names = [line.partition("#")[0].strip().partition("<")[0] for line in wishes.read_text().splitlines()]
        locked = wishes.with_suffix(".txt").read_text()
        entries = re.findall(r"^([\w-]+)==\S+ \\\n(    --hash=sha256:[0-9a-f]{64})", locked, re.MULTILINE)
        assert len(entries) == len(re.findall(r"^\w", locked, re.MULTILINE)) > 0
        assert {name for name in names if name} <= {name for name, _ in entries}
