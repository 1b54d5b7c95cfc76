"""The files of an initramfs: cpio archives of form newc, one behind the other, each as it is or compressed (Linux's
Documentation/driver-api/early-userspace/buffer-format). Read in sequence; only what is asked for is kept."""

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from conformance.errors import SubjectError

_MAGICS = (b"070701", b"070702")
_HEADER_BYTES = 110
_NAME_BYTES_MAX = 4096  # Linux's PATH_MAX
_UNPACKED_BYTES_MAX = 2 << 30
_PIECE_BYTES = 64 << 10
_MEMORY_BYTES_MAX = 256 << 20
_LZ4_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the archive: its path without a leading slash, its mode with the type, its size, and as many of its
    first bytes as were asked for (of a symbolic link: where it leads)."""

    path: str
    mode: int
    size: int
    head: bytes


class Bytes:
    """A stream with a look ahead; more() gives the next bytes, b"" at the end."""

    def __init__(self, more: Callable[[], bytes]) -> None:
        self._more = more
        self._held = b""

    def peek(self, count: int) -> bytes:
        pieces, held = [self._held], len(self._held)
        while held < count and (data := self._more()):
            pieces.append(data)
            held += len(data)
        self._held = b"".join(pieces)
        return self._held[:count]

    def take(self, count: int) -> bytes:
        """As many bytes, fewer at the end."""
        data = self.peek(count)
        self._held = self._held[count:]
        return data

    def piece(self) -> bytes:
        """The next bytes, however many are at hand; b"" at the end."""
        data, self._held = self._held or self._more(), b""
        return data

    def give_back(self, data: bytes) -> None:
        self._held = data + self._held

    def skip(self, count: int) -> None:
        while count > 0 and (data := self.piece()):
            self.give_back(data[count:])
            count -= len(data)
        if count > 0:
            raise broken("an archive to its end", "one that is cut")

    def skip_zeros(self) -> bool:
        """Whether anything is left behind the zeros."""
        while data := self.piece():
            rest = data.lstrip(b"\0")
            if rest:
                self.give_back(rest)
                return True
        return False


def broken(expected: str, seen: str) -> SubjectError:
    return SubjectError(expected, seen, "", "build it again: update-initramfs -u, or dracut --force", "IMG-005")


def is_initramfs(more: Callable[[], bytes]) -> bool:
    """Whether a file is a cpio archive, compressed or not, by its beginning. more() gives its next bytes, b"" at the
    end."""
    stream = Bytes(more)
    unpacker = _unpacker(stream.peek(16))
    try:
        return (stream if unpacker is None else Bytes(_unpacked(stream, unpacker))).peek(6) in _MAGICS
    except SubjectError:
        return False


def read_archive(more: Callable[[], bytes], keep: Callable[[str], int]) -> Iterator[Entry]:
    """The files in the order in which they stand; keep(path) says how many of a file's first bytes are wanted.

    Raises SubjectError for what is no archive, is cut, damaged, or grows beyond 2 GiB.
    """
    yield from _archives(Bytes(more), keep, packed=False)


def _archives(stream: Bytes, keep: Callable[[str], int], packed: bool) -> Iterator[Entry]:
    """packed: this is a compressed stream's content, in which Linux takes no further one."""
    while stream.skip_zeros():
        if stream.peek(6) in _MAGICS:
            yield from _newc(stream, keep)
            continue
        unpacker = _unpacker(stream.peek(16))
        if unpacker is None or packed:
            raise broken("a cpio archive (newc), plain or by gzip, xz, zstd, lz4, bzip2", f"{stream.peek(6).hex(' ')}")
        yield from _archives(Bytes(_unpacked(stream, unpacker)), keep, packed=True)


def _newc(stream: Bytes, keep: Callable[[str], int]) -> Iterator[Entry]:
    """One archive up to its trailer: header, name and data, the latter two padded to four bytes. Of the names of one
    file all writers give the last its content: the others come with it again."""
    waiting: dict[bytes, list[str]] = {}
    while True:
        header = stream.take(_HEADER_BYTES)
        if header[:6] not in _MAGICS or len(header) < _HEADER_BYTES:
            raise broken("a cpio header", f"{header[:6].hex(' ')}" if header else "the end")
        try:
            _, mode, _, _, links, _, size, _, _, _, _, length, _ = struct.unpack(
                ">13I", bytes.fromhex(header[6:].decode())
            )
        except ValueError as error:
            raise broken("a cpio header of hex digits", "something else") from error
        if not 0 < length <= _NAME_BYTES_MAX:
            raise broken(f"a name of up to {_NAME_BYTES_MAX} bytes", f"{length}")
        name = stream.take(length + -(_HEADER_BYTES + length) % 4)[: length - 1]
        if name == b"TRAILER!!!":
            return
        path = name.decode("utf-8", "backslashreplace").removeprefix("./").strip("/")
        kind = mode & 0o170000
        names = [path]
        if links > 1 and kind == 0o100000:
            file = header[6:14] + header[62:78]  # inode, and its device's numbers
            names = waiting.setdefault(file, [])
            names.append(path)
            if size:
                del waiting[file]
        most = _NAME_BYTES_MAX if kind == 0o120000 else max(map(keep, names)) if size else 0
        wanted = min(size, most)
        head = stream.take(wanted)
        stream.skip(size - wanted + -size % 4)
        yield from (Entry(one, mode, size, head) for one in (names if size else [path]))


class _Unpacker(Protocol):
    """Takes compressed bytes, piece_bytes at most in a call and none while it is not hungry; rest is what stands behind
    the end of the compressed stream."""

    piece_bytes: int
    hungry: bool
    ended: bool
    rest: bytes

    def unpack(self, data: bytes) -> bytes: ...


def _unpacked(stream: Bytes, unpacker: _Unpacker) -> Callable[[], bytes]:
    """The unpacked bytes of the compressed stream that begins here, piece by piece."""
    total = 0

    def more() -> bytes:
        nonlocal total
        while not unpacker.ended:
            was_hungry = unpacker.hungry
            packed = stream.piece() if was_hungry else b""
            if len(packed) > unpacker.piece_bytes:
                stream.give_back(packed[unpacker.piece_bytes :])
            try:
                data = unpacker.unpack(packed[: unpacker.piece_bytes])
            except _ERRORS as error:
                raise broken("an initramfs that unpacks", f"{error}") from error
            if unpacker.ended:
                stream.give_back(unpacker.rest)
            elif was_hungry and not packed and not data:
                raise broken("a compressed initramfs to its end", "one that is cut")
            total += len(data)
            if total > _UNPACKED_BYTES_MAX:
                raise broken("an initramfs of at most 2 GiB, unpacked", "more")
            if data:
                return data
        return b""

    return more


class _Gzip:
    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(31)
        self.piece_bytes, self.hungry, self.ended, self.rest = _PIECE_BYTES, True, False, b""

    def unpack(self, data: bytes) -> bytes:
        found = self._decompressor.decompress(self._decompressor.unconsumed_tail + data, 16 * _PIECE_BYTES)
        self.hungry = not self._decompressor.unconsumed_tail
        self.ended, self.rest = self._decompressor.eof, self._decompressor.unused_data
        return found


class _Buffering:
    """xz, lzma and bzip2, whose objects hold back what they were fed too much."""

    def __init__(self, decompressor: lzma.LZMADecompressor | bz2.BZ2Decompressor) -> None:
        self._decompressor = decompressor
        self.piece_bytes, self.hungry, self.ended, self.rest = _PIECE_BYTES, True, False, b""

    def unpack(self, data: bytes) -> bytes:
        found = self._decompressor.decompress(data, 16 * _PIECE_BYTES)
        self.hungry, self.ended = self._decompressor.needs_input, self._decompressor.eof
        self.rest = self._decompressor.unused_data if self.ended else b""
        return found


class _Zstandard:
    """Fed in small pieces: each byte can become many, and the library has no bound for a call."""

    def __init__(self) -> None:
        import zstandard  # few images need it

        self._error = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_MEMORY_BYTES_MAX).decompressobj()
        self.piece_bytes, self.hungry, self.ended, self.rest = 4096, True, False, b""

    def unpack(self, data: bytes) -> bytes:
        try:
            found = self._decompressor.decompress(data)
        except self._error as error:
            raise ValueError(str(error)) from error
        self.ended, self.rest = self._decompressor.eof, self._decompressor.unused_data
        return found


class _Lz4:
    """lz4's legacy frame, the one that Linux reads: a size and a block, again and again, up to the end of the file or a
    size that is none."""

    def __init__(self) -> None:
        self._waiting = b""
        self._begun = False
        self.piece_bytes, self.hungry, self.ended, self.rest = _PIECE_BYTES, True, False, b""

    def unpack(self, data: bytes) -> bytes:
        from lz4.block import LZ4BlockError, decompress  # few images need it

        at_end = self.hungry and not data
        self._waiting += data
        if not self._begun and len(self._waiting) >= 4:
            self._waiting, self._begun = self._waiting[4:], True
        self.ended = self._begun and (self._ends_here() or (at_end and len(self._waiting) < 4))
        if self.ended:
            self.rest = self._waiting
            return b""
        found = b""
        if self._has_block():
            end = 4 + self._size()
            block, self._waiting = self._waiting[4:end], self._waiting[end:]
            try:
                found = bytes(decompress(block, uncompressed_size=_LZ4_BLOCK_BYTES))
            except LZ4BlockError as error:
                raise ValueError(str(error)) from error
        self.hungry = not (self._has_block() or self._ends_here())
        return found

    def _size(self) -> int:
        return int.from_bytes(self._waiting[:4], "little")

    def _ends_here(self) -> bool:
        return len(self._waiting) >= 4 and not 0 < self._size() <= 2 * _LZ4_BLOCK_BYTES

    def _has_block(self) -> bool:
        return len(self._waiting) >= 4 and not self._ends_here() and len(self._waiting) >= 4 + self._size()


_ERRORS = (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError)


def _xz() -> _Unpacker:
    return _Buffering(lzma.LZMADecompressor(lzma.FORMAT_AUTO, _MEMORY_BYTES_MAX))


def _unpacker(head: bytes) -> _Unpacker | None:
    """By the first bytes of a compressed stream, as Linux tells them (lib/decompress.c)."""
    marks: tuple[tuple[bytes, Callable[[], _Unpacker]], ...] = (
        (b"\x1f\x8b", _Gzip),
        (b"\xfd7zXZ\0", _xz),
        (b"\x5d\0\0", _xz),
        (b"BZh", lambda: _Buffering(bz2.BZ2Decompressor())),
        (b"\x28\xb5\x2f\xfd", _Zstandard),
        (b"\x02\x21\x4c\x18", _Lz4),
    )
    return next((make() for mark, make in marks if head.startswith(mark)), None)
