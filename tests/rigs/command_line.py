"""The command line as a user runs it: a process, its exit status and what it said; and a package to give it."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from guest_images import write_guest

from harness.packaging.building import PackageParts, write_package
from harness.packaging.ca import make_ca

REPOSITORY = Path(__file__).parents[2]
RACS = str(Path(sys.executable).with_name("racs-conformance"))
DEADLINE_S = 120


@dataclass(frozen=True, slots=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, typed: str | None = None
) -> Ended:
    """Run to the end in that folder, all three streams pipes. Whatever happened: no traceback, no escape codes."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "XDG_CONFIG_HOME": str(folder / "no-configuration"), **(environment or {})},
        input=typed or "",
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    ended = Ended(done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in ended.said and "INTERNALERROR" not in ended.said, ended.said
    assert "\x1b" not in ended.said, ended.said
    return ended


def run_in_terminal(
    command: Sequence[str], folder: Path, columns: int = 80, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run to the end on a terminal of so many columns; out is all that it showed."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    variables = {**os.environ, "TERM": "xterm", **(environment or {})}
    seen = b""
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, cwd=folder, env=variables
    ) as process:
        os.close(terminal)
        try:
            while data := os.read(screen, 65536):
                seen += data
        except OSError:
            pass  # EIO: the other end is closed
    os.close(screen)
    return Ended(process.returncode, seen.decode().replace("\r\n", "\n"), "")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a vendor hands in: a package and the root to trust; and the files that it was made from."""

    ova: Path
    root: Path
    parts: PackageParts


def deliver(folder: Path) -> Delivery:
    """A package in which nothing is wrong but that its image does not boot: GoOn's descriptor, another's files."""
    authority = make_ca(folder / "ca", "Test", datetime.now(UTC))
    image, ova = folder / "guest.qcow2", folder / "goon.ova"
    write_guest(image, 2 << 30)
    app = REPOSITORY / "examples" / "goon"
    parts = PackageParts(app / "goon.ovf", image, authority.key, authority.certificate)
    write_package(parts, ova)
    return Delivery(ova, authority.root, parts)
