"""What a machine could leave behind: looked for before it is defined and after it is undefined (LIF-005)."""

from contextlib import suppress
from pathlib import Path


def look(evidence: Path) -> frozenset[str]:
    """QEMU's processes, mounts, links and disks that are there now, each named."""
    processes = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it may end meanwhile
                command = (folder / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
                if "qemu" in Path(command).name:
                    processes.add(f"process {folder.name} ({command})")
    mounts = {f"mount {line.split()[4]}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    links = {f"link {path.name}" for path in Path("/sys/class/net").iterdir()}
    disks = {f"file {path.name}" for path in evidence.iterdir() if path.name.startswith("overlay")}
    return frozenset(processes | mounts | links | disks)
