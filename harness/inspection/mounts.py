"""Which volumes a guest mounts where: by its fstab (fstab(5)), systemd's units (systemd.mount(5)), the types of its
partitions, and by what a volume looks like."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.inspection.guest_tree import Found, Mount, Tree
from harness.inspection.volumes import FilesystemVolume

# Where systemd mounts by partition type (Discoverable Partitions Specification), x86-64's /usr among them.
_BY_TYPE = {
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915": "/home",
    "4d21b016-b534-45c2-a9fb-5c16e091fd2d": "/var",
    "8484680c-9521-48c6-9c11-b0720656f69e": "/usr",
}
# What is at the top of such a volume: the kernel's command line, or an initramfs, may mount what no fstab names.
_BY_CONTENT = {"/usr": ("bin", "lib", "share"), "/var": ("cache", "lib", "log", "spool")}
_UNITS = ("/usr/lib/systemd/system", "/etc/systemd/system")
_TABLE_BYTES_MAX = 64 << 10


@dataclass(frozen=True, slots=True)
class MountPlan:
    """What is mounted where, the root itself at "/"; covers are as a `Tree` takes them."""

    volumes: Mapping[str, FilesystemVolume]
    covers: Mapping[str, str]

    def tree(self) -> Tree:
        mounts = [Mount(point, one.stretch.name, one.files) for point, one in self.volumes.items()]
        return Tree(mounts, self.covers)


@dataclass(frozen=True, slots=True)
class _Entry:
    device: str
    point: str
    type: str
    options: tuple[str, ...]


def plan_mounts(root: FilesystemVolume, volumes: Sequence[FilesystemVolume]) -> MountPlan:
    """Which of the volumes are mounted where in the system that starts from root. Raises Unreadable."""
    tree = alone(root)
    planned, covers = {"/": root}, {}
    for entry in (*_fstab(tree), *_units(tree)):
        found = next((one for one in volumes if _same(entry.device, one.names)), None)
        if found is not None and found is not root:
            planned[entry.point] = found
        cover = _cover(entry)
        if cover:
            covers[entry.point] = cover
    for one in volumes:
        point = _BY_TYPE.get(one.stretch.type, "")
        if point and point not in planned and one not in planned.values():
            planned[point] = one
    for one in volumes:
        point = looks_like(one)
        if point and one not in planned.values() and point not in planned and tree.find(f"{point}/lib") is None:
            planned[point] = one
    return MountPlan(planned, covers)


def alone(volume: FilesystemVolume) -> Tree:
    """A volume without what is mounted on it."""
    return Tree([Mount("/", volume.stretch.name, volume.files)])


def looks_like(volume: FilesystemVolume) -> str:
    """ "/usr" or "/var" where a volume has what lies there and is no system of its own; else "". Raises Unreadable."""
    names = volume.files.children(volume.files.root())
    return next((point for point, wanted in _BY_CONTENT.items() if names.keys() >= {*wanted}), "")


def _fstab(tree: Tree) -> Iterator[_Entry]:
    text = tree.content("/etc/fstab", _TABLE_BYTES_MAX) or b""
    for line in text.decode("utf-8", "replace").splitlines():
        words = [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word) for word in line.split()]
        if len(words) >= 2 and not words[0].startswith("#"):
            yield from _entry(words[0].replace('"', ""), words[1], "".join(words[2:3]), "".join(words[3:4]))


def _units(tree: Tree) -> Iterator[_Entry]:
    for folder in _UNITS:
        for found in tree.walk(folder, depth=1):
            if isinstance(found, Found) and found.path.endswith(".mount") and found.node.kind == "file":
                text = found.content(_TABLE_BYTES_MAX).decode("utf-8", "replace")
                fields = dict(re.findall(r"^(What|Where|Type|Options)\s*=\s*(.*?)\s*$", text, re.M))
                yield from _entry(*(fields.get(key, "") for key in ("What", "Where", "Type", "Options")))


def _entry(device: str, point: str, kind: str, options: str) -> Iterator[_Entry]:
    if device and point.startswith("/"):
        yield _Entry(device, re.sub(r"(?<=.)/+$", "", point), kind, tuple(options.split(",")))


def _cover(entry: _Entry) -> str:
    """The folder whose files are seen at a mount point; "" where it is none of the guest's own."""
    if {"bind", "rbind"} & {*entry.options} and entry.device.startswith("/"):
        return entry.device.rstrip("/")
    upper = next((one.partition("=")[2] for one in entry.options if one.startswith("upperdir=")), "")
    return upper.rstrip("/") if entry.type == "overlay" and upper.startswith("/") else ""


def _same(device: str, names: Sequence[str]) -> bool:
    return device.lower() in [name.lower() for name in names]
