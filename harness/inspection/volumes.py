"""Which volumes an image has: partitions, the logical volumes on them, their file systems, and which of them are
mounted where in a guest."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from conformance.errors import SubjectError
from conformance.inspection import Volume, lvm
from conformance.inspection.journal import holds_changes
from conformance.inspection.partitions import NO_FILES, Partition, read_partitions
from conformance.inspection.signatures import EMPTY, LVM, SWAP, Label, Read, identify, label_of
from conformance.package.clusters import GuestDisk
from harness.inspection.filesystems import READABLE, FileSystem, Unreadable, open_filesystem
from harness.inspection.guest_tree import Mount, Tree

_ROOT_FILES = ("/etc/passwd", "/etc/os-release", "/usr/lib/os-release", "/sbin/init", "/init")
# Where systemd mounts by partition type (Discoverable Partitions Specification), x86-64's /usr among them.
_BY_TYPE = {
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915": "/home",
    "4d21b016-b534-45c2-a9fb-5c16e091fd2d": "/var",
    "8484680c-9521-48c6-9c11-b0720656f69e": "/usr",
}
_FSTAB_BYTES_MAX = 64 << 10


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes that may hold a file system; names are what an fstab may call it ("/dev/vda2", "UUID=...")."""

    name: str
    read: Read
    size: int
    names: tuple[str, ...]
    type: str = ""


@dataclass(frozen=True, slots=True)
class FilesystemVolume:
    """A file system that could be opened."""

    stretch: Stretch
    files: FileSystem
    names: tuple[str, ...]
    state: Literal["read", "not unmounted"]


def find_volumes(disk: GuestDisk) -> Iterator[Volume | FilesystemVolume]:
    """Every volume of a disk, opened where its file system is one that is read here."""
    pools = []
    for partition in read_partitions(disk.read, disk.size):
        if partition.size <= 0 or partition.offset + partition.size > disk.size:
            yield Volume(partition.name, "", "unread", "it ends behind the disk's end", size=partition.size)
            continue
        stretch = _stretch(disk, partition)
        kind = identify(stretch.read)
        if kind == LVM:
            pools.append(stretch)
        else:
            yield _opened(stretch, kind)
    yield from _logical_volumes(pools)


def _stretch(disk: GuestDisk, partition: Partition) -> Stretch:
    begin, size = partition.offset, partition.size

    def read(offset: int, length: int) -> bytes:
        return disk.read(begin + offset, max(0, min(length, size - offset)))

    devices = [f"/dev/{name}{partition.number or ''}" for name in ("vda", "sda", "xvda", "hda")]
    names = (*devices, f"PARTUUID={partition.uuid}", f"PARTLABEL={partition.label}")
    return Stretch(partition.name, read, size, names, partition.type)


def _opened(stretch: Stretch, kind: str) -> Volume | FilesystemVolume:
    if kind in (SWAP, EMPTY):
        return Volume(stretch.name, kind, "no files", size=stretch.size)
    if kind not in READABLE:
        if stretch.type in NO_FILES:
            return Volume(stretch.name, NO_FILES[stretch.type], "no files", size=stretch.size)
        trouble = "" if kind else "its content is of no known kind"
        return Volume(stretch.name, kind, "unread", trouble, size=stretch.size)
    try:
        files = open_filesystem(kind, stretch.read, stretch.size)
    except Unreadable as error:
        return Volume(stretch.name, kind, "unread", str(error), size=stretch.size)
    label: Label = label_of(kind, stretch.read)
    names = (f"UUID={label.uuid}", f"/dev/disk/by-uuid/{label.uuid}", f"LABEL={label.label}")
    state: Literal["read", "not unmounted"] = "not unmounted" if holds_changes(kind, stretch.read) else "read"
    return FilesystemVolume(stretch, files, (*stretch.names, *names), state)


def _logical_volumes(pools: Sequence[Stretch]) -> Iterator[Volume | FilesystemVolume]:
    """The logical volumes of all groups on these physical volumes."""
    physical = []
    for pool in pools:
        try:
            physical.append(lvm.read_physical_volume(pool.read))
        except SubjectError as error:
            yield Volume(pool.name, LVM, "unread", f"expected {error.expected}, saw {error.seen}")
    try:
        for volume in lvm.read_logical_volumes(physical):
            name = f"logical volume {volume.group}/{volume.name}"
            if volume.trouble:
                yield Volume(name, LVM, "unread", volume.trouble)
                continue
            mapped = "-".join(part.replace("-", "--") for part in (volume.group, volume.name))
            names = (f"/dev/mapper/{mapped}", f"/dev/{volume.group}/{volume.name}")
            stretch = Stretch(name, volume.read, volume.size, names)
            yield _opened(stretch, identify(stretch.read))
    except SubjectError as error:
        yield Volume("the volume group", LVM, "unread", f"expected {error.expected}, saw {error.seen}")


def is_root(files: FileSystem) -> bool:
    """Whether a system starts from it. Raises Unreadable."""
    tree = Tree([Mount("/", "", files)])
    return any(tree.find(path) is not None for path in _ROOT_FILES)


def plan_mounts(root: FilesystemVolume, volumes: Sequence[FilesystemVolume]) -> Mapping[str, FilesystemVolume]:
    """Which volume is mounted where in the system that starts from root: by its fstab, and by partition type."""
    tree = Tree([Mount("/", root.stretch.name, root.files)])
    fstab = tree.content("/etc/fstab", _FSTAB_BYTES_MAX) or b""
    planned = {"/": root}
    for line in fstab.decode("utf-8", "replace").splitlines():
        words = line.split("#")[0].split()
        point = re.sub(r"(?<=.)/+$", "", words[1]) if len(words) > 1 else ""
        device = words[0].replace('"', "") if words else ""
        found = next((one for one in volumes if _same(device, one.names)), None)
        if found is not None and point.startswith("/") and found is not root:
            planned[point] = found
    for one in volumes:
        point = _BY_TYPE.get(one.stretch.type, "")
        if point and point not in planned and one not in planned.values():
            planned[point] = one
    return planned


def _same(device: str, names: Sequence[str]) -> bool:
    folded = device.lower()
    return not device.endswith("=") and any(folded == name.lower() for name in names)
