"""The files of a guest as it will see them: file systems mounted into one tree, links followed inside it."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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
    """mounts are those of one guest, "/" among them."""

    def __init__(self, mounts: Sequence[Mount]) -> None:
        self._mounts = {mount.point: mount for mount in mounts}
        self.root = self._mounts["/"]
        self._listed: dict[str, Mapping[str, Node]] = {}  # of the folders on the way to what was looked for

    def find(self, path: str) -> Found | None:
        """What is there, links followed; None where nothing is. Raises Unreadable."""
        at, waiting, links = self._top(), [part for part in path.split("/") if part][::-1], 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                parent = self.find(posixpath.dirname(at.path)) if at.path != "/" else at
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

    def walk(self, path: str, depth: int = _DEPTH_MAX) -> "Iterator[Found | Unread]":
        """All that is below a path, mounted file systems too, links not followed; an `Unread` for a folder that cannot
        be read."""
        found = self.find(path)
        if found is not None:
            yield from self._walk(found, depth)

    def _walk(self, at: Found, depth: int) -> "Iterator[Found | Unread]":
        if at.node.kind != "folder":
            yield at
            return
        try:
            nodes = at.mount.files.children(at.node) if depth else {}
        except Unreadable as error:
            yield Unread(at, str(error))
            return
        for name, node in sorted(nodes.items()):
            yield from self._walk(self._entered(Found(posixpath.join(at.path, name), at.mount, node)), depth - 1)

    def _top(self) -> Found:
        return Found("/", self.root, self.root.files.root())

    def _entered(self, at: Found) -> Found:
        """The root of what is mounted there, else the place itself."""
        mount = self._mounts.get(at.path)
        return Found(at.path, mount, mount.files.root()) if mount is not None else at

    def _child(self, at: Found, name: str) -> Found | None:
        if at.node.kind != "folder":
            return None
        if at.path not in self._listed:
            self._listed[at.path] = at.mount.files.children(at.node)
        node = self._listed[at.path].get(name)
        return self._entered(Found(posixpath.join(at.path, name), at.mount, node)) if node is not None else None


@dataclass(frozen=True, slots=True)
class Unread:
    """A folder whose entries cannot be read, and why."""

    at: Found
    why: str
