"""Images of guests, made without root by the tools that make them in the field, and what the look into them says."""

import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from conformance.checks.inspection import CHECKS
from conformance.inspection import Inspection
from conformance.package import ImageSlice, Package, image
from conformance.package.archive import Archive
from conformance.package.certificate import Trust
from conformance.package.qcow2 import View
from conformance.profile import load
from conformance.verdict import Outcome
from harness.inspection.look import look_inside

Files = Mapping[str, bytes | str]
"""Path to content; a string is where a symbolic link leads."""


def rpm_database(*headers: bytes) -> bytes:
    """RPM's database of SQLite with these packages' headers."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(header,) for header in headers])
        connection.commit()
        return connection.serialize()


def rpm_package(folders: list[str], files: list[tuple[str, int, str]], algorithm: int | None = 8) -> bytes:
    """A package's header as RPM's database has it."""
    parts: list[tuple[int, int, int, bytes]] = [
        (1117, 8, len(files), b"".join(name.encode() + b"\0" for name, _, _ in files)),
        (1118, 8, len(folders), b"".join(one.encode() + b"\0" for one in folders)),
        (1116, 4, len(files), struct.pack(f">{len(files)}I", *(index for _, index, _ in files))),
        (1035, 8, len(files), b"".join(digest.encode() + b"\0" for _, _, digest in files)),
    ]
    if algorithm is not None:
        parts.append((5011, 4, 1, struct.pack(">I", algorithm)))
    index, store = b"", b""
    for tag, kind, count, data in parts:
        store += bytes(-len(store) % 4)
        index += struct.pack(">4I", tag, kind, len(store), count)
        store += data
    return struct.pack(">2I", len(parts), len(store)) + index + store


def rpm_header(path: str, sha256: str) -> bytes:
    """The header of a package of one file."""
    folder, _, name = path.rpartition("/")
    return rpm_package([f"{folder}/"], [(name, 0, sha256)])


RED_HAT: Files = {
    "etc/os-release": b'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nPRETTY_NAME="Rocky Linux 9.4"\n',
    "etc/redhat-release": b"Rocky Linux release 9.4\n",
    "etc/passwd": b"root:x:0:0:root:/root:/bin/bash\n",
    "etc/shadow": b"root:!!:19000:0:99999:7:::\n",
    "etc/machine-id": b"",
    "usr/lib/sysimage/rpm/rpmdb.sqlite": rpm_database(),
    "root/.bashrc": b"alias ll='ls -l'\n",
    "var/lib/cloud/.keep": b"",
    "home/app/.profile": b"umask 022\n",
}
DISK_MIB = 28
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_PARTITION = struct.Struct("<B3sB3sII")


def run(*words: str | Path, folder: Path | None = None, feed: bytes = b"") -> bytes:
    environment = {**os.environ, "PATH": PATH}
    return subprocess.run(
        [*map(str, words)], cwd=folder, env=environment, input=feed, check=True, capture_output=True
    ).stdout


def write_tree(files: Files, folder: Path) -> Path:
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            place.symlink_to(content)
        else:
            place.write_bytes(content)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a file system, its MBR type and its GPT type."""

    path: Path
    kind: int = 0x83
    guid: str = "0fc63daf-8483-4772-8e79-3d69d8477de4"

    @property
    def mib(self) -> int:
        return -(-self.path.stat().st_size >> 20)


class Workbench:
    """Makes parts and disks in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def _place(self) -> Path:
        self._count += 1
        return self.folder / f"part{self._count}"

    def raw(self, data: bytes = b"", mib: int = 4, kind: int = 0x83) -> Part:
        path = self._place()
        path.write_bytes(data)
        os.truncate(path, mib << 20)
        return Part(path, kind)

    def ext(self, files: Files, *options: str, kind: str = "ext4") -> Part:
        path = self._place()
        tree = write_tree(files, path.with_suffix(".tree"))
        run("mke2fs", "-q", "-F", "-t", kind, *options, "-d", tree, path, f"{DISK_MIB}M")
        return Part(path)

    def xfs(self, files: Files, *options: str) -> Part:
        path = self._place()
        tree = write_tree(files, path.with_suffix(".tree"))
        prototype = path.with_suffix(".prototype")
        prototype.write_text("\n".join(["/", "0 0", "d--755 0 0", *_prototype(tree), "$", "$", ""]))
        path.touch()
        os.truncate(path, 300 << 20)  # mkfs.xfs makes none that is smaller
        run("mkfs.xfs", "-q", "-p", prototype, *options, path)
        return Part(path)

    def fat(self, files: Files, *options: str, mib: int = DISK_MIB) -> Part:
        path = self._place()
        tree = write_tree(files, path.with_suffix(".tree"))
        path.touch()
        os.truncate(path, mib << 20)
        run("mformat", "-i", path, *options, "::")
        for name in sorted(os.listdir(tree)):
            run("mcopy", "-s", "-i", path, tree / name, f"::{name}")
        return Part(path, 0x0C)

    def cpio(self, files: Files) -> bytes:
        tree = write_tree(files, self._place().with_suffix(".tree"))
        names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
        return run("busybox", "cpio", "-o", "-H", "newc", folder=tree, feed="\n".join(names).encode())

    def mbr(self, parts: Sequence[Part], logical: Sequence[Part] = ()) -> Path:
        """A disk with primary partitions and, behind them, an extended one with the logical ones."""
        at, table, placed = 1, b"", []
        for part in parts:
            table += _entry(part.kind, at << 11, part.mib << 11)
            placed.append((part, at))
            at += part.mib
        records = {}
        if logical:
            base = at
            table += _entry(0x05, at << 11, sum(part.mib + 1 for part in logical) << 11)
            for index, part in enumerate(logical):
                record = _entry(part.kind, 1 << 11, part.mib << 11)
                if index + 1 < len(logical):
                    record += _entry(0x05, (at + part.mib + 1 - base) << 11, (logical[index + 1].mib + 1) << 11)
                records[at] = bytes(446) + record.ljust(64, b"\0") + b"\x55\xaa"
                placed.append((part, at + 1))
                at += part.mib + 1
        return self._disk({0: bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa", **records}, placed, at + 1)

    def gpt(self, parts: Sequence[Part]) -> Path:
        at, entries, placed = 1, b"", []
        for number, part in enumerate(parts, start=1):
            begin, end = at << 11, ((at + part.mib) << 11) - 1
            own = uuid.UUID(int=number).bytes_le
            entries += uuid.UUID(part.guid).bytes_le + own + struct.pack("<QQQ", begin, end, 0) + bytes(72)
            placed.append((part, at))
            at += part.mib
        header = b"EFI PART" + bytes(64) + struct.pack("<QII", 2, 128, 128)
        first = bytes(446) + _entry(0xEE, 1, 0xFFFFFFFF).ljust(64, b"\0") + b"\x55\xaa"
        return self._disk({0: first + header.ljust(512, b"\0") + entries}, placed, at + 1)

    def _disk(self, blocks: Mapping[int, bytes], placed: Sequence[tuple[Part, int]], mib: int) -> Path:
        raw = self.folder / "raw"
        raw.unlink(missing_ok=True)
        with raw.open("wb") as file:
            for at, data in blocks.items():
                file.seek(at << 20)
                file.write(data)
            file.truncate(mib << 20)
        for part, at in placed:
            run("dd", f"if={part.path}", f"of={raw}", "bs=1M", f"seek={at}", "conv=sparse,notrunc", "status=none")
        return raw

    def package(self, raw: Path, *options: str) -> Package:
        """A package of which only the image is there."""
        path = self.folder / "disk.qcow2"
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, path)
        return package_of(path)


def write_guest(path: Path, size: int) -> None:
    """A qcow2 image in which nothing is wrong but that it does not boot: the files of a guest in an initramfs on a FAT
    partition."""
    folder = path.with_suffix(".parts")
    folder.mkdir()
    bench = Workbench(folder)
    raw = bench.mbr([bench.fat({"initrd": bench.cpio({**RED_HAT, "init": b"#!/bin/sh\n"})}, mib=2)])
    os.truncate(raw, size)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path)
    shutil.rmtree(folder)


def _prototype(folder: Path) -> list[str]:
    lines = []
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            lines.append(f"{path.name} l--777 0 0 {path.readlink()}")
        elif path.is_dir():
            lines += [f"{path.name} d--755 0 0", *_prototype(path), "$"]
        else:
            lines.append(f"{path.name} ---644 0 0 {path}")
    return lines


def _entry(kind: int, begin: int, count: int) -> bytes:
    return _PARTITION.pack(0, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", begin, count)


def package_of(path: Path) -> Package:
    """A package that is nothing but this qcow2 file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        number = file.fileno()
        disk = image.read(View(path.name, size, lambda at, count: os.pread(number, max(0, min(count, size - at)), at)))
    slice_ = ImageSlice(path.name, 0, size)
    return Package(path, Archive((), "", 0, "", ()), None, None, None, None, slice_, disk)


def inspect(package: Package) -> Inspection:
    """What the look saw; a look that failed is an error of the test."""
    seen = look_inside(package, load()).inspection
    assert seen is not None and not seen.failure, seen
    return seen


def judge(package: Package, program: str = sys.executable) -> Mapping[str, Outcome]:
    """The outcomes of all IMG ids."""
    looked = look_inside(package, load(), program)
    trust = Trust("rd", (), datetime.now(UTC))
    return {identity: check(looked, load(), trust) for identity, check in CHECKS.items()}


TOOLS = ("mke2fs", "mkfs.xfs", "mformat", "mcopy", "busybox", "qemu-img", "dd")


def missing_tools() -> list[str]:
    return [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]
