"""The files of a guest as it will see them: file systems mounted into one tree, links followed inside it."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from conformance.inspection import BEYOND_A_BOUND
from harness.inspection.filesystems import FileSystem, Node, Unreadable

_LINKS_MAX = 40  # as Linux has it (path_resolution(7))
_DEPTH_MAX = 64


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system at an absolute path; volume is its name in findings."""

    point: str
    volume: str
    files: FileSystem


@dataclass(frozen=True, slots=True)
class Found:
    """A file or folder of the tree: its path without links, and where it is."""

    path: str
    mount: Mount
    node: Node

    def content(self, most: int) -> bytes:
        """Its first bytes. Raises Unreadable."""
        return self.mount.files.read(self.node, 0, most)


class Tree:
    """mounts are those of one guest, "/" among them; covers are folders whose files go before those at a path: bind
    mounts, and what lies over an overlay."""

    def __init__(self, mounts: Sequence[Mount], covers: Mapping[str, str] | None = None) -> None:
        self._mounts = {mount.point: mount for mount in mounts}
        self._covers = covers or {}
        self.root = self._mounts["/"]
        self._listed: dict[str, Mapping[str, Node]] = {}  # of the folders on the way to what was looked for

    def find(self, path: str) -> Found | None:
        """What is there, links followed; None where nothing is. Raises Unreadable."""
        for point, folder in self._covers.items():
            if f"{path}/".startswith(f"{point}/"):
                found = self._find(folder + path[len(point) :])
                if found is not None:
                    return found
        return self._find(path)

    def _find(self, path: str) -> Found | None:
        at, waiting, links = self._top(), [part for part in path.split("/") if part][::-1], 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                parent = self._find(posixpath.dirname(at.path)) if at.path != "/" else at
                if parent is None:
                    return None
                at = parent
                continue
            if part == ".":
                continue
            child = self._child(at, part)
            if child is None:
                return None
            if child.node.kind == "link":
                links += 1
                target = child.mount.files.target(child.node)
                if links > _LINKS_MAX:
                    return None
                at = self._top() if target.startswith("/") else at
                waiting += [one for one in target.split("/") if one][::-1]
            else:
                at = child
        return at

    def content(self, path: str, most: int) -> bytes | None:
        """The first bytes of a file; None where there is no such file. Raises Unreadable."""
        found = self.find(path)
        return found.content(most) if found is not None and found.node.kind == "file" else None

    def walk(self, path: str, depth: int | None = None) -> "Iterator[Found | Unread]":
        """All that is below a path, mounted file systems too, links and covers not followed; an `Unread` for a folder
        that cannot be read. depth is how many levels are wanted; without it all are, and an `Unread` says what is too
        deep."""
        found = self._find(path)
        if found is not None:
            yield from self._walk(found, _DEPTH_MAX if depth is None else depth, depth is None)

    def _walk(self, at: Found, depth: int, whole: bool) -> "Iterator[Found | Unread]":
        if at.node.kind != "folder":
            yield at
            return
        try:
            nodes = at.mount.files.children(at.node) if depth or whole else {}
        except Unreadable as error:
            yield Unread(at, str(error))
            return
        if nodes and not depth:
            yield Unread(at, f"{BEYOND_A_BOUND} {_DEPTH_MAX} folders inside each other")
            return
        found = {name: Found(posixpath.join(at.path, name), at.mount, node) for name, node in nodes.items()}
        for name in sorted({*found, *self._points_in(at.path)}):
            child = self._mounted(posixpath.join(at.path, name)) or found[name]
            yield from self._walk(child, depth - 1, whole)

    def _top(self) -> Found:
        return Found("/", self.root, self.root.files.root())

    def _mounted(self, path: str) -> Found | None:
        """The root of what is mounted there."""
        mount = self._mounts.get(path)
        return Found(path, mount, mount.files.root()) if mount is not None else None

    def _points_in(self, path: str) -> list[str]:
        """Names of mount points in a folder: systemd makes those that are missing."""
        return [posixpath.basename(one) for one in self._mounts if one != "/" and posixpath.dirname(one) == path]

    def _child(self, at: Found, name: str) -> Found | None:
        if at.node.kind != "folder":
            return None
        path = posixpath.join(at.path, name)
        mounted = self._mounted(path)
        if mounted is not None:
            return mounted
        if at.path not in self._listed:
            self._listed[at.path] = at.mount.files.children(at.node)
        node = self._listed[at.path].get(name)
        return Found(path, at.mount, node) if node is not None else None


@dataclass(frozen=True, slots=True)
class Unread:
    """A folder whose entries cannot be read, and why."""

    at: Found
    why: str
