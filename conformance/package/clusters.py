"""The disk inside a qcow2 image as the guest sees it (QEMU's docs/interop/qcow2, "Cluster mapping"). Only clusters that
are asked for are unpacked."""

import struct
import zlib
from functools import lru_cache

from conformance.errors import SubjectError
from conformance.package.qcow2 import Header, View

HOST_OFFSET = 0x00FF_FFFF_FFFF_FE00
COMPRESSED, ZERO = 1 << 62, 1
SECTOR = 512
_ZSTD = 1
_SUBCLUSTERS = 32
_CACHE_BYTES = 8 << 20  # of tables, and of unpacked clusters as much again


def sectors_shift(header: Header) -> int:
    """ "Compressed Clusters Descriptor": the bit of an L2 entry at which its sector count begins."""
    return 62 - (header.cluster_bits - 8)


class GuestDisk:
    """A disk of `size` bytes, by tables that were found sound (image.read). Reads raise SubjectError of PKG-011 for a
    compressed cluster that does not unpack; OSError is that of reading the file."""

    def __init__(self, view: View, header: Header) -> None:
        self.size = header.virtual_size
        self._view = view
        self._header = header
        self._entry_size = 16 if header.extended_l2 else 8
        entries = max(2, _CACHE_BYTES >> header.cluster_bits)
        self._table = lru_cache(entries)(self._read_table)
        self._unpacked = lru_cache(entries)(self._unpack)

    def read(self, offset: int, length: int) -> bytes:
        """The bytes at offset, fewer only at the disk's end."""
        end = min(offset + length, self.size)
        pieces = []
        while offset < end:
            index, inside = divmod(offset, self._header.cluster_size)
            count = min(end - offset, self._header.cluster_size - inside)
            pieces.append(self._piece(index, inside, count))
            offset += count
        return b"".join(pieces)

    def _piece(self, index: int, inside: int, count: int) -> bytes:
        """Bytes of one guest cluster."""
        entry, bitmap = self._entry(index)
        if entry & COMPRESSED:
            return self._unpacked(entry)[inside : inside + count]
        host = entry & HOST_OFFSET
        if self._header.extended_l2:
            return self._subclusters(host, bitmap, inside, count)
        if not host or (entry & ZERO and self._header.version == 3):
            return bytes(count)
        # What is missing of the last cluster at the end of a file is zeros to QEMU.
        return self._view.read(host + inside, count).ljust(count, b"\0")

    def _subclusters(self, host: int, bitmap: int, inside: int, count: int) -> bytes:
        """ "Extended L2 Entries": the lower half of the bitmap says which of the subclusters are allocated."""
        size = self._header.cluster_size // _SUBCLUSTERS
        pieces, end = [], inside + count
        while inside < end:
            index = inside // size
            part = min(end, (index + 1) * size) - inside
            data = self._view.read(host + inside, part) if host and bitmap >> index & 1 else b""
            pieces.append(data.ljust(part, b"\0"))
            inside += part
        return b"".join(pieces)

    def _entry(self, index: int) -> tuple[int, int]:
        """A guest cluster's L2 entry and, with extended L2, its bitmap."""
        per_table = self._header.cluster_size // self._entry_size
        (l1,) = struct.unpack(">Q", self._view.read(self._header.l1_offset + index // per_table * 8, 8))
        table = l1 & HOST_OFFSET
        if not table:
            return 0, 0
        at = index % per_table * self._entry_size
        found = self._table(table)[at : at + self._entry_size].ljust(16, b"\0")
        entry, bitmap = struct.unpack(">QQ", found)
        return entry, bitmap

    def _read_table(self, offset: int) -> bytes:
        return self._view.read(offset, self._header.cluster_size)

    def _unpack(self, entry: int) -> bytes:
        """ "Compressed clusters": deflate without a header, or zstd; bytes behind the stream belong to others."""
        shift = sectors_shift(self._header)
        offset = entry & (1 << shift) - 1
        sectors = (entry >> shift & (1 << self._header.cluster_bits - 8) - 1) + 1
        data = self._view.read(offset, sectors * SECTOR - offset % SECTOR)
        unpack = self._unpack_zstd if self._header.compression_type == _ZSTD else self._unpack_deflate
        unpacked = unpack(data, offset)
        if len(unpacked) < self._header.cluster_size:
            raise self._damaged(f"its end after {len(unpacked)} bytes", offset)
        return unpacked

    def _unpack_deflate(self, data: bytes, offset: int) -> bytes:
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self._header.cluster_size)
        except zlib.error as error:
            raise self._damaged(str(error), offset) from error

    def _unpack_zstd(self, data: bytes, offset: int) -> bytes:
        import zstandard  # few images need it

        try:
            with zstandard.ZstdDecompressor().stream_reader(data) as reader:
                return reader.read(self._header.cluster_size)
        except zstandard.ZstdError as error:
            raise self._damaged(str(error), offset) from error

    def _damaged(self, why: str, offset: int) -> SubjectError:
        return self._view.broken("a compressed cluster that unpacks", why, offset)
