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
    SECRET_PLACES,
    Search,
    accounts_of,
    archive_name,
    bytes_kept,
    leads_on,
    machine_ids,
    system_of,
)
from harness.inspection.filesystems import Initramfs, Unreadable, pieces
from harness.inspection.guest_tree import Found, Mount, Tree
from harness.inspection.logins import logins_of
from harness.inspection.look import CPU_S
from harness.inspection.mounts import alone, looks_like, plan_mounts
from harness.inspection.volumes import FilesystemVolume, find_volumes, is_root

_ADDRESS_BYTES = 1536 << 20
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_BOOT_DEPTH = 4


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


def _limit(cpu_s: int = CPU_S) -> None:
    """No core, no file written, no more time and memory than any sound image needs; and no longer than our parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for kind, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),  # the soft one's signal says what it was
        (resource.RLIMIT_AS, _ADDRESS_BYTES, _ADDRESS_BYTES),
    ):
        resource.setrlimit(kind, (soft, hard))


@dataclass(frozen=True, slots=True)
class _Guest:
    """A tree of files that is looked at as one; whole says whether it is a system, not only what it starts from.
    places are where secrets are searched, boots says whether an initramfs may lie in it."""

    tree: Tree
    whole: bool
    places: tuple[str, ...] = SECRET_PLACES
    boots: bool = False


def inspect(disk: GuestDisk, passwords: Sequence[str]) -> Inspection:
    """All that is to be seen in a disk."""
    found = list(find_volumes(disk))
    opened = [one for one in found if isinstance(one, FilesystemVolume)]
    volumes = [one for one in found if isinstance(one, Volume)]
    guests = _guests(opened, volumes)
    initramfs = [one for guest in guests if guest.boots for one in _initramfs(guest.tree, volumes)]
    if any(guest.whole for guest in guests):
        initramfs = [replace(one, whole=False) for one in initramfs]
    boot = [file for guest in guests if guest.boots for file in find_boot_files(guest.tree)]
    return replace(_look([*guests, *initramfs], volumes, passwords), boot=tuple(boot))


def _guests(opened: Sequence[FilesystemVolume], volumes: list[Volume]) -> list[_Guest]:
    """The systems on the file systems, each with what it mounts, what lies beneath that, and the file systems that none
    of them mounts."""
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
        try:
            plan = plan_mounts(root, rest)
        except Unreadable as error:
            volumes.append(Volume(root.stretch.name, root.files.kind, "unread", f"what it mounts: {error}", True))
            continue
        mounted += plan.volumes.values()
        points |= {one.stretch.name: point for point, one in plan.volumes.items()}
        guests.append(_Guest(plan.tree(), True, (*SECRET_PLACES, *plan.covers.values()), boots=True))
        hidden = tuple(place for point in plan.volumes for place in _hidden_by(point))
        if hidden:
            guests.append(_Guest(alone(root), False, hidden))
    volumes[:] = [replace(one, mounted=points.get(one.name, "")) for one in volumes]
    # A second /usr has none of the places; what else nobody mounts may be anything.
    unknown = [one for one in rest if one not in mounted and looks_like(one) != "/usr"]
    return [*guests, *(_Guest(alone(one), False, ("/",), boots=True) for one in unknown)]


def _hidden_by(point: str) -> Iterator[str]:
    """The places of a root that its guest does not see, but everybody else who has the image."""
    for place in SECRET_PLACES if point != "/" else ():
        if f"{place}/".startswith(f"{point}/"):
            yield place
        elif point.startswith(f"{place}/"):
            yield point


def _initramfs(boot: Tree, volumes: list[Volume]) -> Iterator[_Guest]:
    """Those that lie on a boot partition, or below /boot of a root; one that is a system is a guest of its own."""
    for found in _boot_files(boot, volumes):
        name, content = archive_name(found), partial(pieces, found.mount.files, found.node)
        try:
            if not is_initramfs(partial(next, content(), b"")):
                continue
            files = Initramfs(partial(next, content(), b""), bytes_kept)
        except SubjectError as error:
            volumes.append(Volume(name, "cpio", "unread", f"expected {error.expected}, saw {error.seen}"))
        except Unreadable as error:
            volumes.append(Volume(name, "cpio", "unread", str(error)))
        else:
            tree = Tree([Mount("/", name, files)])
            starts, system = leads_on(tree), is_root(files)
            trouble = "it only starts a system that lies elsewhere" if starts else ""
            size = found.node.size
            volumes.append(Volume(name, "cpio", "read", trouble, system and not starts, size))
            yield _Guest(tree, system and not starts)


def _boot_files(boot: Tree, volumes: list[Volume]) -> Iterator[Found]:
    try:
        place = "/boot" if boot.find("/boot") is not None else "/"
        for found in boot.walk(place, _BOOT_DEPTH):
            if isinstance(found, Found) and found.node.kind == "file" and found.node.size:
                yield found
    except Unreadable as error:
        volumes.append(Volume(f"/boot of {boot.root.volume}", "", "unread", str(error)))


def _look(guests: Sequence[_Guest], volumes: list[Volume], passwords: Sequence[str]) -> Inspection:
    systems: list[System] = []
    parts: dict[str, list[object]] = {
        name: [] for name in ("secrets", "accounts", "identities", "authorized", "logins", "unread")
    }
    accounts_seen = files_seen = files_cut = stores_closed = 0
    opened = {one.name for one in volumes if one.kind == "cpio" and one.state == "read"}
    for guest in guests:
        search = Search(guest.tree, guest.places, opened, guest.whole)
        search.look()
        files_seen += search.files
        files_cut += search.files_cut
        stores_closed += search.stores_closed
        parts["secrets"] += search.secrets
        parts["unread"] += search.unread
        parts["identities"] += search.identities
        parts["authorized"] += search.authorized_keys
        if not guest.whole:
            continue
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
        stores_closed=stores_closed,
        secrets=tuple(parts["secrets"]),  # type: ignore[arg-type]
        accounts=tuple(parts["accounts"]),  # type: ignore[arg-type]
        identities=tuple(parts["identities"]),  # type: ignore[arg-type]
        authorized_keys=tuple(parts["authorized"]),  # type: ignore[arg-type]
        logins=tuple(parts["logins"]),  # type: ignore[arg-type]
        unread=tuple(parts["unread"]),  # type: ignore[arg-type]
    )


if __name__ == "__main__":
    main()
