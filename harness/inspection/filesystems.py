"""File systems of an image behind one small interface: ext and FAT by The Sleuth Kit, XFS by libfsxfs, an initramfs by
our own cpio reader. Only the process that looks into images imports this: what it reads is hostile."""

import io
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from conformance.inspection import BEYOND_A_BOUND, cpio
from conformance.inspection.folders import find_damage
from conformance.inspection.signatures import EXT, FAT, XFS, Read

Kind = Literal["file", "folder", "link", "other"]
_LINK_BYTES_MAX = 4096
ENTRIES_MAX = 200_000  # of a folder, and of an initramfs
_FOLDER_BYTES_MAX = 64 << 20
_HELD_BYTES_MAX = 128 << 20  # of an initramfs's files


class Unreadable(Exception):
    """A folder or file is damaged, or beyond a bound; the text says how."""


@dataclass(frozen=True, slots=True)
class Node:
    """A file or folder; handle is its file system's own."""

    kind: Kind
    size: int
    handle: Any = field(repr=False, compare=False)


class FileSystem(Protocol):
    """kind is "ext4", "xfs" ...; the rest raises Unreadable. Names that are no UTF-8 come with escapes."""

    kind: str

    def root(self) -> Node: ...
    def children(self, folder: Node) -> Mapping[str, Node]: ...
    def read(self, file: Node, offset: int, length: int) -> bytes: ...
    def target(self, link: Node) -> str: ...


def open_filesystem(kind: str, read: Read, size: int) -> FileSystem:
    """A file system that `signatures.identify` has named. Raises Unreadable."""
    if kind == XFS:
        return Xfs(read, size)
    return SleuthKit(kind, read, size)


READABLE = (EXT, FAT, XFS)


class SleuthKit:
    """ext2, ext3, ext4 and FAT, by pytsk3."""

    def __init__(self, kind: str, read: Read, size: int) -> None:
        import pytsk3

        class Source(pytsk3.Img_Info):  # type: ignore[misc]  # pytsk3 has no types
            def __init__(self) -> None:
                super().__init__(url="", type=pytsk3.TSK_IMG_TYPE_EXTERNAL)

            def close(self) -> None: ...

            def read(self, offset: int, length: int) -> bytes:
                return read(offset, length).ljust(length, b"\0")

            def get_size(self) -> int:
                return size

        self._library = pytsk3
        self._source = Source()  # the library keeps no reference of its own
        types = {EXT: pytsk3.TSK_FS_TYPE_EXT_DETECT, FAT: pytsk3.TSK_FS_TYPE_FAT_DETECT}
        try:
            self._files = pytsk3.FS_Info(self._source, offset=0, type=types[kind])
        except OSError as error:
            raise Unreadable(_reason(error)) from error
        self._is_ext = kind == EXT
        names = {pytsk3.TSK_FS_TYPE_EXT2: "ext2", pytsk3.TSK_FS_TYPE_EXT3: "ext3", pytsk3.TSK_FS_TYPE_EXT4: "ext4"}
        self.kind = names.get(self._files.info.ftype, kind)
        self._kinds: Mapping[Any, Kind] = {
            pytsk3.TSK_FS_META_TYPE_REG: "file",
            pytsk3.TSK_FS_META_TYPE_DIR: "folder",
            pytsk3.TSK_FS_META_TYPE_LNK: "link",
        }
        self._virtual = (pytsk3.TSK_FS_META_TYPE_VIRT, pytsk3.TSK_FS_META_TYPE_VIRT_DIR)

    def root(self) -> Node:
        return Node("folder", 0, self._files.info.root_inum)

    def children(self, folder: Node) -> Mapping[str, Node]:
        found = {}
        try:
            for entry in self._files.open_dir(inode=folder.handle):
                name, meta = entry.info.name, entry.info.meta
                if (
                    name is None
                    or name.name in (b".", b"..")
                    or int(name.flags) & self._library.TSK_FS_NAME_FLAG_UNALLOC
                ):
                    continue
                if meta is None:
                    raise Unreadable(f"the inode of {name.name!a} is damaged")
                if meta.type in self._virtual:  # what the library adds of its own: $MBR, $FAT1, $OrphanFiles
                    continue
                node = Node(self._kinds.get(meta.type, "other"), meta.size, meta.addr)
                found[name.name.decode("utf-8", "backslashreplace")] = node
                if len(found) > ENTRIES_MAX:
                    raise Unreadable(f"{BEYOND_A_BOUND} {ENTRIES_MAX} entries in one folder")
            trouble = self._damage(folder) if self._is_ext else ""
        except OSError as error:
            raise Unreadable(_reason(error)) from error
        if trouble:
            raise Unreadable(trouble)
        return found

    def _damage(self, folder: Node) -> str:
        """A folder smaller than a block lies in its inode, in another form."""
        file, block_bytes = self._files.open_meta(folder.handle), int(self._files.info.block_size)
        size = int(file.info.meta.size)
        if 0 < size < block_bytes:
            return ""
        return find_damage(bytes(file.read_random(0, min(size, _FOLDER_BYTES_MAX))) if size else b"", block_bytes)

    def read(self, file: Node, offset: int, length: int) -> bytes:
        length = min(length, file.size - offset)
        if length <= 0:
            return b""
        try:
            return bytes(self._files.open_meta(file.handle).read_random(offset, length))
        except OSError as error:
            raise Unreadable(_reason(error)) from error

    def target(self, link: Node) -> str:
        try:
            text = self._files.open_meta(link.handle).info.meta.link
        except OSError as error:
            raise Unreadable(_reason(error)) from error
        # a long one of ext4 lies in extents, which the library reads as a file's only
        data = self.read(link, 0, _LINK_BYTES_MAX) if text is None else bytes(text)
        return data.decode("utf-8", "backslashreplace")


class Xfs:
    """XFS versions 4 and 5, by libfsxfs."""

    kind = "xfs"

    def __init__(self, read: Read, size: int) -> None:
        import pyfsxfs

        self._volume = pyfsxfs.volume()
        self._source = Window(read, size)
        try:
            self._volume.open_file_object(self._source)
        except OSError as error:
            raise Unreadable(_reason(error)) from error

    def root(self) -> Node:
        try:
            folder = self._volume.get_root_directory()
        except OSError as error:
            raise Unreadable(_reason(error)) from error
        if folder is None:  # the library has no error for a superblock that names none
            raise Unreadable("its root folder is not where the superblock says")
        return Node("folder", 0, folder)

    def children(self, folder: Node) -> Mapping[str, Node]:
        found = {}
        try:
            count = folder.handle.number_of_sub_file_entries
            if count > ENTRIES_MAX:
                raise Unreadable(f"{BEYOND_A_BOUND} {ENTRIES_MAX} entries in one folder")
            for index in range(count):
                entry = folder.handle.get_sub_file_entry(index)
                found[_name(entry, index)] = Node(_kind(entry.file_mode), entry.size, entry)
        except OSError as error:
            raise Unreadable(_reason(error)) from error
        return found

    def read(self, file: Node, offset: int, length: int) -> bytes:
        if offset >= file.size:
            return b""
        try:
            return bytes(file.handle.read_buffer_at_offset(min(length, file.size - offset), offset))
        except OSError as error:
            raise Unreadable(_reason(error)) from error

    def target(self, link: Node) -> str:
        try:
            return str(link.handle.symbolic_link_target)
        except OSError as error:
            raise Unreadable(_reason(error)) from error


def _name(entry: Any, index: int) -> str:
    """The library reads names of UTF-8 only; another one's file is looked at all the same."""
    try:
        return str(entry.name)
    except OSError:
        return f"(name {index}, no UTF-8)"


class Initramfs:
    """The files of an initramfs; of a file as much as `keep` says is held in memory, up to a bound for all."""

    kind = "cpio"

    def __init__(self, more: Callable[[], bytes], keep: Callable[[str], int]) -> None:
        self._tree: dict[str, Node] = {}
        self._children: dict[str, dict[str, Node]] = {"": {}}
        held = 0

        def kept(path: str) -> int:
            return keep(path) if held < _HELD_BYTES_MAX else 0

        for count, entry in enumerate(cpio.read_archive(more, kept), start=1):
            held += len(entry.head)
            self._add(entry.path, Node(_kind(entry.mode), entry.size, (entry.path, entry.head)))
            if count > ENTRIES_MAX:
                raise Unreadable(f"{BEYOND_A_BOUND} {ENTRIES_MAX} files")

    def _add(self, path: str, node: Node) -> None:
        if path in ("", "."):
            return
        parent, _, name = path.rpartition("/")
        if parent not in self._children:
            self._add(parent, Node("folder", 0, (parent, b"")))
        if node.kind == "folder":
            self._children.setdefault(path, {})
        self._tree[path] = self._children.setdefault(parent, {})[name] = node

    def root(self) -> Node:
        return Node("folder", 0, ("", b""))

    def children(self, folder: Node) -> Mapping[str, Node]:
        return self._children.get(folder.handle[0], {})

    def read(self, file: Node, offset: int, length: int) -> bytes:
        return bytes(file.handle[1][offset : offset + length])

    def target(self, link: Node) -> str:
        return bytes(link.handle[1]).decode("utf-8", "backslashreplace")


def _kind(mode: int) -> Kind:
    kinds: Mapping[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(mode), "other")


def _reason(error: OSError) -> str:
    """The libraries' own words without their innards: the clause that says what is wrong."""
    text = " ".join(str(error).split()).rpartition("with error: ")[2]
    text = re.sub(r"\([^()]*\.c(?:pp)?:\d+\)|\b\w+_\w+\b:?", "", text)  # places in sources, names of functions
    clause = re.split(r"[.;(](?:\s|$)|\s\(", " ".join(text.split()).lstrip(": "))[0].strip(" :.")
    return clause[:1].lower() + clause[1:100] or "it is damaged"


class Window(io.RawIOBase):
    """Part of a disk as a file that can be read and sought, as the libraries of the libyal family want it."""

    def __init__(self, read: Read, size: int) -> None:
        super().__init__()
        self._read, self._size, self._at = read, size, 0

    def read(self, size: int = -1) -> bytes:
        data = self._read(self._at, max(0, self._size - self._at) if size < 0 else min(size, self._size - self._at))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def get_size(self) -> int:
        return self._size


def pieces(filesystem: FileSystem, file: Node, length: int = 64 << 10) -> Iterator[bytes]:
    """The content of a file, piece by piece."""
    for offset in range(0, file.size, length):
        yield filesystem.read(file, offset, length)
