"""A whole disk from its parts: boot code and partition table, boot partition, ext4 root; then a compressed qcow2."""

import shlex
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

from conformance.errors import UsageError
from harness.appimage.boot import BOOT_MIB
from harness.appimage.command import run_tool
from harness.appimage.root import Entry

_FIRST_MIB = 1  # partitions on 1 MiB borders
_IDENTITY = "52414353-2d72-4f6f-8174-2d6669786564"  # fixed, so that two builds agree; a guest knows its root as vda2
_BOOT_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")


def write_disk(boot: Path, root: Mapping[str, Entry] | None, size_mib: int, raw: Path) -> None:
    """Write the raw disk: MBR, active boot partition, the rest as ext4 with these entries (None: no such partition)."""
    root_mib = size_mib - _FIRST_MIB - BOOT_MIB
    if root is not None and root_mib < 16:
        raise UsageError(f"disk_mib = {size_mib} is too small, {_FIRST_MIB + BOOT_MIB + 16} is the least")
    try:
        code = _BOOT_CODE.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{_BOOT_CODE} cannot be read ({error.strerror}); install the package syslinux-common"
        ) from error
    partitions = _partition(0x80, 0x0E, _FIRST_MIB, BOOT_MIB)
    if root is not None:
        partitions += _partition(0, 0x83, _FIRST_MIB + BOOT_MIB, root_mib)
    with raw.open("wb") as disk:
        disk.write(code.ljust(440, b"\0") + b"RACS\0\0" + partitions.ljust(64, b"\0") + b"\x55\xaa")
        disk.seek(_FIRST_MIB << 20)
        disk.write(boot.read_bytes())
        disk.truncate(size_mib << 20)
    if root is not None:
        _write_ext4(root, raw, (_FIRST_MIB + BOOT_MIB) << 20, root_mib)


def _partition(flag: int, kind: int, start_mib: int, length_mib: int) -> bytes:
    """One entry of the MBR's table; cylinders, heads and sectors say "look at the LBA fields"."""
    chs = b"\xfe\xff\xff"
    return struct.pack("<B3sB3sII", flag, chs, kind, chs, start_mib << 11, length_mib << 11)


def _write_ext4(root: Mapping[str, Entry], raw: Path, offset: int, size_mib: int) -> None:
    """Make the file system and fill it with debugfs: no root, no loop device, owner 0:0, and, unlike `mke2fs -d`,
    no time stamps and no order of names of the host's (e2fsprogs 1.47.0 keeps the host's ctime)."""
    extended = f"offset={offset},hash_seed={_IDENTITY},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0"
    options = ["-t", "ext4", "-b", "4096", "-m", "0", "-L", "root", "-U", _IDENTITY, "-E", extended]
    run_tool(["mke2fs", "-q", "-F", *options, raw, f"{size_mib}M"], what="make the root file system")
    script = raw.with_name("debugfs")
    script.write_text("".join(_commands(root)))
    done = run_tool(["debugfs", "-w", "-f", script, f"{raw}?offset={offset}"], what="fill the root file system")
    script.unlink()
    # debugfs ends with 0 whatever happens; its first line is its version
    complaints = [line for line in done.stderr.splitlines() if line and not line.startswith("debugfs 1.")]
    if complaints:
        raise UsageError(f"could not fill the root file system: {complaints[0]}; is disk_mib large enough?")


def _commands(root: Mapping[str, Entry]) -> list[str]:
    commands = []
    for name, entry in sorted(root.items()):
        place, source = _quoted(name), _quoted(str(entry.source))
        if stat.S_ISLNK(entry.mode):
            commands.append(f"symlink {place} {_quoted(entry.target)}\n")
            continue
        make = f"mkdir {place}" if stat.S_ISDIR(entry.mode) else f"write {source} {place}"
        commands.append(f"{make}\nset_inode_field {place} mode 0{entry.mode:o}\n")
        commands += [
            f"set_inode_field {place} {field} {owner}\n"
            for field, owner in (("uid", entry.uid), ("gid", entry.gid))
            if owner
        ]
    return commands


def _quoted(name: str) -> str:
    if '"' in name or "\n" in name:
        raise UsageError(f"an image cannot hold the name {shlex.quote(name)}: no quotes, no line feeds")
    return f'"{name}"'


def write_qcow2(raw: Path, output: Path) -> None:
    """Compress the raw disk; clusters in order, so the same disk gives the same bytes."""
    run_tool(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, output], what="compress the image")
