"""What a machine could leave behind: looked for before it is defined and after it is undefined (LIF-005)."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import BrokenLab
from conformance.verdict import counted


@dataclass(frozen=True, slots=True)
class Look:
    """there names what is there now; told says what was gone through for it, with figures."""

    there: frozenset[str]
    told: tuple[str, str, str, str]


def look(evidence: Path) -> Look:
    """QEMU's processes, mounts, links and disks that are there now."""
    commands = _commands()
    qemu = {f"process {number} ({name})" for number, name in commands.items() if "qemu" in Path(name).name}
    mounts = {f"mount {line.split()[4]}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    links = {f"link {path.name}" for path in Path("/sys/class/net").iterdir()}
    files = {f"file {path.name}" for path in evidence.iterdir()}
    disks = {name for name in files if name.startswith("file overlay")}
    told = (
        f"{len(commands)} processes, {len(qemu) or 'none'} of QEMU's",
        counted(len(mounts), "mount"),
        counted(len(links), "network link"),
        f"{counted(len(files), 'file')} of evidence, {counted(len(disks), 'overlay') if disks else 'no overlay'}",
    )
    return Look(frozenset(qemu | mounts | links | disks), told)


def _commands() -> dict[str, str]:
    """The first word of each process's command line by its number; "" of the kernel's."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it may end meanwhile
                found[folder.name] = (folder / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    return found


def require_none(before: Look, after: Look) -> None:
    """Raises BrokenLab with the names of what is there that was not there before."""
    left = after.there - before.there
    if left:
        raise BrokenLab(f"left behind: {', '.join(sorted(left))}")
