"""The tools that build an image (apt, dpkg, e2fsprogs, mtools, syslinux, qemu-img): one way to call and to fail."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from conformance.errors import UsageError

BUILD_TIME_S = 1_700_000_000
"""The one time stamp in every image (seconds since 1970): the same inputs give the same bytes on any day."""

_PACKAGE_OF = {
    "apt-get": "apt",
    "dpkg": "dpkg",
    "dpkg-deb": "dpkg",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "mformat": "mtools",
    "mcopy": "mtools",
    "syslinux": "syslinux",
    "qemu-img": "qemu-utils",
}


def run_tool(
    argv: Sequence[str | Path], *, what: str, remedy: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one tool in a plain environment (no locale, UTC, fixed time stamps); its output is in stdout and stderr.

    Raises UsageError with the tool's last lines when it is missing or fails; `what` completes "could not ...".
    """
    plain = {
        "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": str(BUILD_TIME_S),
        "E2FSPROGS_FAKE_TIME": str(BUILD_TIME_S),
        "MTOOLSRC": os.devnull,
        "PYTHONHASHSEED": "0",
        # the way to a mirror stays the host's
        **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy") or name == "TMPDIR"},
        **(environment or {}),
    }
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            env=plain,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            umask=0o022,
            check=False,
        )
    except FileNotFoundError as error:
        package = _PACKAGE_OF.get(words[0], words[0])
        raise UsageError(f"could not {what}: {words[0]} is missing; install the package {package}") from error
    if done.returncode != 0:
        said = "; ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
        raise UsageError(f"could not {what}: {words[0]} said: {said}" + (f". {remedy}" if remedy else ""))
    return done
