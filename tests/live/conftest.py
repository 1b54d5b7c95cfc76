"""Real third-party peers for the live tests, never installed: unpacked below .cache/peers, as the launcher does."""

import fcntl
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[2] / ".cache" / "peers"


@pytest.fixture(scope="session")
def peer() -> Callable[[str], Path]:
    """peer("chrony") is the root folder of that Debian package's files, fetched once and kept."""
    return _unpacked


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
