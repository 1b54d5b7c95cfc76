"""What the live tests share: real peers, the sample app, and the proof that a test leaves nothing behind.

Third-party peers are never installed: they are unpacked below .cache/peers, as the launcher does.
"""

import fcntl
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from dispositions import usual_signals

from harness.packaging.building import Sample, build_sample

__all__ = ["usual_signals"]  # a fixture for every test here

PEERS = Path(__file__).parents[2] / ".cache" / "peers"


@pytest.fixture(scope="session")
def peer() -> Callable[[str], Path]:
    """peer("chrony") is the root folder of that Debian package's files, fetched once and kept."""
    return _unpacked


@pytest.fixture(scope="session")
def goon() -> Sample:
    """GoOn's package and its root; the image comes from the cache."""
    return build_sample("goon")


VANISH_DEADLINE_S = 10.0


@pytest.fixture
def nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment for a test's processes: once it has ended, all of them must be gone, and all that they made.

    A process is known by a variable of its own, so that other tests may run meanwhile; with the last one go the lab's
    namespaces and its abstract socket. Mounts, links, named network namespaces, /run and /dev/shm are the host's,
    compared before and after; TMPDIR is a folder of the test's own.
    """
    mark, temporary = uuid.uuid4().hex, tmp_path_factory.mktemp("temporary")
    before = _host_state()
    yield {"RACS_TEST_MARK": mark, "TMPDIR": str(temporary)}
    deadline = time.monotonic() + VANISH_DEADLINE_S
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == {}
    assert _host_state() == before
    assert list(temporary.iterdir()) == []


def _marked(mark: str) -> dict[int, str]:
    """Processes of a mark, in whatever namespace: number and command line."""
    found = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if f"RACS_TEST_MARK={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes()
                found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def _host_state() -> dict[str, frozenset[str]]:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    state = {"mounts": {line.split()[4] for line in mounts}}
    for folder in ("/sys/class/net", "/run", "/run/netns", "/dev/shm"):
        state[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    return {name: frozenset(values) for name, values in state.items()}


def _unpacked(package: str) -> Path:
    target = PEERS / package
    PEERS.mkdir(parents=True, exist_ok=True)
    with (PEERS / f".{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two workers of one run want it at the same time
        if not (target / ".complete").exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            subprocess.run(["apt-get", "-qq", "download", package], cwd=target, check=True, timeout=300)
            (deb,) = target.glob("*.deb")
            subprocess.run(["dpkg", "-x", deb, target], check=True, timeout=60)
            deb.unlink()
            (target / ".complete").touch()
    return target


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The workers of a parallel run take whole files, whose tests share what boots; but each known-bad app alone."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
