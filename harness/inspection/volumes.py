"""Which volumes an image has: partitions, the logical volumes on them, and their file systems."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from conformance.errors import SubjectError
from conformance.inspection import BEYOND_THE_DISK, Volume, lvm
from conformance.inspection.journal import holds_changes
from conformance.inspection.partitions import NO_FILES, Partition, read_partitions
from conformance.inspection.signatures import (
    EMPTY,
    EXT,
    LVM,
    SWAP,
    VERITY,
    Label,
    Read,
    has_encryption,
    identify,
    label_of,
)
from conformance.package.clusters import GuestDisk
from harness.inspection.filesystems import READABLE, FileSystem, Unreadable, open_filesystem
from harness.inspection.guest_tree import Mount, Tree

_ROOT_FILES = ("/etc/passwd", "/etc/os-release", "/usr/lib/os-release", "/sbin/init", "/init")


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
            yield Volume(partition.name, "", "unread", BEYOND_THE_DISK, size=partition.size)
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
    names = (*devices, *_named("PARTUUID", partition.uuid), *_named("PARTLABEL", partition.label))
    return Stretch(partition.name, read, size, names, partition.type)


def _opened(stretch: Stretch, kind: str) -> Volume | FilesystemVolume:
    if kind in (SWAP, EMPTY, VERITY):
        return Volume(stretch.name, kind, "no files", size=stretch.size)
    if kind == EXT and has_encryption(stretch.read):
        return Volume(stretch.name, "ext with encrypted folders", "unread", size=stretch.size)
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
    names = (*_named("UUID", label.uuid), *_named("LABEL", label.label))
    state: Literal["read", "not unmounted"] = "not unmounted" if holds_changes(kind, stretch.read) else "read"
    return FilesystemVolume(stretch, files, (*stretch.names, *names), state)


def _named(kind: str, name: str) -> tuple[str, ...]:
    """What an fstab may call something by its name; none where it has none."""
    return (f"{kind}={name}", f"/dev/disk/by-{kind.lower()}/{name}") if name else ()


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
