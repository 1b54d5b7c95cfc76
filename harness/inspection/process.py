"""The process that looks into an image: C libraries read file systems that nobody vouches for, so it is one of its own,
with limits, and has nothing but the package's file and a pipe.

python -m harness.inspection.process FD: the request comes as JSON on standard input (`Request`), the `Inspection` goes
as JSON to standard output.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from conformance.errors import SubjectError
from conformance.inspection import Inspection, System, Volume
from conformance.inspection import Unread as UnreadFile
from conformance.inspection.cpio import is_initramfs
from conformance.package.clusters import GuestDisk
from conformance.package.qcow2 import View, parse
from harness.inspection.boot import find_boot_files
from harness.inspection.contents import (
    HEAD_BYTES,
    SECRET_PLACES,
    Search,
    accounts_of,
    archive_name,
    machine_ids,
    system_of,
)
from harness.inspection.filesystems import Initramfs, Unreadable, pieces
from harness.inspection.guest_tree import Found, Mount, Tree
from harness.inspection.logins import logins_of
from harness.inspection.look import CPU_S
from harness.inspection.volumes import FilesystemVolume, find_volumes, is_root, plan_mounts

_ADDRESS_BYTES = 3 << 30
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_BOOT_DEPTH = 4
# What is kept of an initramfs besides the places of secrets.
_SYSTEM_FILES = ("usr/lib/os-release", "var/lib/dbus/machine-id", "init", "sbin/init")


@dataclass(frozen=True, slots=True)
class Request:
    """Where the image lies in the file, in bytes, and the profile's well-known passwords."""

    name: str
    offset: int
    size: int
    passwords: tuple[str, ...]


def main() -> None:
    _limit()
    descriptor, asked = int(sys.argv[1]), json.load(sys.stdin)
    request = Request(asked["name"], asked["offset"], asked["size"], tuple(asked["passwords"]))

    def read(at: int, count: int) -> bytes:
        return os.pread(descriptor, max(0, min(count, request.size - at)), request.offset + at)

    view = View(request.name, request.size, read)
    json.dump(asdict(inspect(GuestDisk(view, parse(view)), request.passwords)), sys.stdout)


def _limit() -> None:
    """No core, no file written, no more time and memory than any sound image needs; and no longer than our parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, _ADDRESS_BYTES),
    ):
        resource.setrlimit(kind, (limit, limit))


@dataclass(frozen=True, slots=True)
class _Guest:
    """A tree of files that is looked at as one; whole says whether it is a system, not only what it starts from.
    places are where secrets are searched."""

    tree: Tree
    whole: bool
    places: tuple[str, ...] = SECRET_PLACES


def inspect(disk: GuestDisk, passwords: Sequence[str]) -> Inspection:
    """All that is to be seen in a disk."""
    found = list(find_volumes(disk))
    opened = [one for one in found if isinstance(one, FilesystemVolume)]
    volumes = [one for one in found if isinstance(one, Volume)]
    guests, boots = _guests(opened, volumes)
    initramfs = [one for boot in boots for one in _initramfs(boot, volumes)]
    whole = [guest for guest in guests if guest.whole] or [_Guest(guest.tree, True) for guest in initramfs]
    others = [guest for guest in (*guests, *initramfs) if guest.tree not in [one.tree for one in whole]]
    files = [file for boot in boots for file in find_boot_files(boot)]
    return replace(_look([*whole, *others], volumes, passwords), boot=tuple(files))


def _guests(opened: Sequence[FilesystemVolume], volumes: list[Volume]) -> tuple[list[_Guest], list[Tree]]:
    """The systems on the file systems, each with what it mounts, and the file systems that none of them mounts; and the
    trees in which an initramfs may lie."""
    roots: list[FilesystemVolume] = []
    rest: list[FilesystemVolume] = []
    for one in opened:
        try:
            system = is_root(one.files)
            one.files.children(one.files.root())
        except Unreadable as error:
            volumes.append(Volume(one.stretch.name, one.files.kind, "unread", str(error), size=one.stretch.size))
            continue
        (roots if system else rest).append(one)
        volumes.append(Volume(one.stretch.name, one.files.kind, one.state, system=system, size=one.stretch.size))
    guests: list[_Guest] = []
    mounted: list[FilesystemVolume] = []
    points: dict[str, str] = {}
    for root in roots:
        planned = plan_mounts(root, rest)
        mounted += planned.values()
        points |= {one.stretch.name: point for point, one in planned.items()}
        mounts = [Mount(point, one.stretch.name, one.files) for point, one in planned.items()]
        guests.append(_Guest(Tree(mounts), True))
    alone = [
        _Guest(Tree([Mount("/", one.stretch.name, one.files)]), False, ("/",)) for one in rest if one not in mounted
    ]
    guests += alone
    volumes[:] = [replace(one, mounted=points.get(one.name, "")) for one in volumes]
    boots = [Tree([Mount("/", one.stretch.name, one.files)]) for one in rest]
    return guests, [*boots, *(guest.tree for guest in guests if guest.whole)]


def _initramfs(boot: Tree, volumes: list[Volume]) -> Iterator[_Guest]:
    """Those that lie on a boot partition, or below /boot of a root."""
    place = "/boot" if boot.find("/boot") is not None else "/"
    for found in boot.walk(place, _BOOT_DEPTH):
        if not isinstance(found, Found) or found.node.kind != "file" or not found.node.size:
            continue
        name = archive_name(found)
        try:
            if not is_initramfs(found.content(HEAD_BYTES)):
                continue
            content = pieces(found.mount.files, found.node)
            files = Initramfs(partial(next, content, b""), _keep)
        except SubjectError as error:
            volumes.append(Volume(name, "cpio", "unread", f"expected {error.expected}, saw {error.seen}"))
        except Unreadable as error:
            volumes.append(Volume(name, "cpio", "unread", str(error)))
        else:
            system = is_root(files)
            volumes.append(Volume(name, "cpio", "read", system=system, size=found.node.size))
            if system:
                yield _Guest(Tree([Mount("/", name, files)]), False)


def _keep(path: str) -> int:
    """How much of an initramfs's file is looked at."""
    wanted = path in _SYSTEM_FILES or any(f"/{path}".startswith(f"{place}/") for place in SECRET_PLACES)
    return HEAD_BYTES if wanted else 0


def _look(guests: Sequence[_Guest], volumes: list[Volume], passwords: Sequence[str]) -> Inspection:
    systems: list[System] = []
    parts: dict[str, list[object]] = {
        name: [] for name in ("secrets", "accounts", "identities", "authorized", "logins", "unread")
    }
    accounts_seen = files_seen = files_cut = 0
    opened = {one.name for one in volumes if one.kind == "cpio" and one.system}
    for guest in guests:
        search = Search(guest.tree, guest.places, opened)
        search.look()
        files_seen += search.files
        files_cut += search.files_cut
        parts["secrets"] += search.secrets
        parts["unread"] += search.unread
        if not guest.whole:
            continue
        parts["identities"] += search.identities
        parts["authorized"] += search.authorized_keys
        try:
            systems.append(system_of(guest.tree))
            parts["identities"] += machine_ids(guest.tree)
            seen, accounts = accounts_of(guest.tree, passwords)
            accounts_seen += seen
            parts["accounts"] += accounts
            parts["logins"] += logins_of(guest.tree, accounts, search.authorized_keys)
        except Unreadable as error:
            parts["unread"].append(UnreadFile(guest.tree.root.volume, "/", str(error)))
    return Inspection(
        volumes=tuple(volumes),
        systems=tuple(systems),
        accounts_seen=accounts_seen,
        files_seen=files_seen,
        files_cut=files_cut,
        secrets=tuple(parts["secrets"]),  # type: ignore[arg-type]
        accounts=tuple(parts["accounts"]),  # type: ignore[arg-type]
        identities=tuple(parts["identities"]),  # type: ignore[arg-type]
        authorized_keys=tuple(parts["authorized"]),  # type: ignore[arg-type]
        logins=tuple(parts["logins"]),  # type: ignore[arg-type]
        unread=tuple(parts["unread"]),  # type: ignore[arg-type]
    )


if __name__ == "__main__":
    main()
