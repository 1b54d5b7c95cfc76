"""`racs doctor`: what this machine has, what it lacks for a run and how to mend it. Needs no root, changes nothing."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from conformance.errors import EnvironmentFault, UsageError
from conformance.exitstatus import ExitStatus
from conformance.profile import Profile
from conformance.profile import load as load_profile
from harness import accelerator, host
from harness.options import CACHE, TRUST_PROFILES, trust_folder
from harness.packaging.ca import load_roots
from harness.screen import show

SPARE_MIB = 1024  # memory that the lab takes beside the guest's own
EXPIRES_SOON = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: a run needs what it lacks, and takes place in spite of a note."""

    state: Literal["ok", "note", "lacks"]
    what: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.state:<6} {self.what:<18} {self.found}".rstrip()
        return f"{line}\n{'':<6} {'':<18} mend: {self.remedy}" if self.remedy else line


def examine_machine() -> int:
    """Print the table and what it comes to; exit status 0 when a run can take place here, else 4."""
    profile, lacks = load_profile(), 0
    for row in examine(profile, Path.cwd()):
        show(str(row), sys.stdout)
        lacks += row.state == "lacks"
    if lacks:
        show(f"\nno run can take place here: {lacks} lacking; racs check needs none of it", sys.stdout)
        return ExitStatus.USAGE
    show("\na run can take place here", sys.stdout)
    return ExitStatus.PASS


def examine(profile: Profile, folder: Path) -> Iterator[Row]:
    """The table; folder is where runs would leave their evidence."""
    yield from _machine(profile)
    yield _disk(profile, folder)
    yield from (Row("lacks", *_parted(lack.what), remedy=lack.remedy) for lack in host.missing())
    yield _accelerator()
    yield from _receive_buffers()
    for trust in TRUST_PROFILES:
        yield from _trust(trust)


def _machine(profile: Profile) -> Iterator[Row]:
    facts = host.facts()
    yield Row("ok", "system", f"{facts.distribution}, kernel {facts.kernel}, Python {facts.python}")
    slow = "" if facts.cores > 1 else "a run on one core is slow: expect inconclusive verdicts"
    yield Row("note" if slow else "ok", "processor", f"{facts.cores} cores of {facts.cpu}", slow)
    needed_mib = int(profile["resources.memory_mib"]) + SPARE_MIB
    meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    available = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo, re.MULTILINE)
    free_mib = int(available[1]) // 1024 if available else 0
    found = f"{free_mib} of {facts.memory_mib} MiB available"
    if free_mib < needed_mib:
        yield Row("lacks", "memory", found, f"make {needed_mib} MiB available: the guest and the lab take so much")
    else:
        yield Row("ok", "memory", found)
    for what, version in (("QEMU", facts.qemu), ("libvirt", facts.libvirt)):
        if version:
            yield Row("ok", what, version)
    for command in host.COMMANDS:
        if path := host.find(command):
            yield Row("ok", command, path)
    if os.access(host.MOSQUITTO, os.X_OK):
        yield Row("ok", "mosquitto", str(host.MOSQUITTO))


def _disk(profile: Profile, folder: Path) -> Row:
    needed, free = int(profile["evidence.bytes_max"]), shutil.disk_usage(folder).free
    found = f"{free >> 20} MiB free in {folder}"
    if free < needed:
        return Row("lacks", "disk", found, f"make {needed >> 20} MiB free, or give --runs another folder")
    return Row("ok", "disk", found)


def _parted(what: str) -> tuple[str, str]:
    name, _, found = what.partition(": ")
    return name, found or "not there"


def _accelerator() -> Row:
    try:
        found = accelerator.probe(CACHE)
    except (UsageError, EnvironmentFault) as error:
        return Row("lacks", "accelerator", str(error), "install QEMU, or read what it said")
    return Row("ok", "accelerator", f"{found.name}: {found.reason}")


def _receive_buffers() -> Iterator[Row]:
    granted = int(Path("/proc/sys/net/core/rmem_max").read_text(encoding="ascii"))
    if os.geteuid() != 0 and granted < 1 << 20:
        found = f"the kernel grants {granted >> 10} KiB: a burst may be lost here, and its verdict be inconclusive"
        yield Row("note", "receive buffers", found, "sudo sysctl net.core.rmem_max=4194304")


def _trust(trust: str) -> Iterator[Row]:
    what, folder = f"trust {trust}", trust_folder(trust)
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        files = []
    if not files:
        mend = "racs ca makes an R&D root and puts it there" if trust == "rd" else f"put the roots into {folder}"
        yield Row("note", what, f"no root in {folder}: give each run --root", mend)
    for file in files:
        yield _root(what, file)


def _root(what: str, file: Path) -> Row:
    try:
        roots = load_roots([file])
    except UsageError as error:
        return Row("note", what, str(error), f"remove {file}: no run without --root works until then")
    ends = min(root.not_valid_after_utc for root in roots)
    names = ", ".join(root.subject.rfc4514_string() for root in roots)
    found = f"{file.name}: {names}, until {ends:%Y-%m-%d}"
    if ends < datetime.now(UTC):
        return Row("note", what, found, "it has expired: packages under it fail PKG-007")
    if ends < datetime.now(UTC) + EXPIRES_SOON:
        return Row("note", what, found, "it expires soon: packages under it fail PKG-007 then")
    return Row("ok", what, found)
