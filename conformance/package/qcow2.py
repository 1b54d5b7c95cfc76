"""The header of a qcow2 image, its features and extensions, read where the image stands in the OVA (QEMU's
docs/interop/qcow2, whose section names stand beside the rules). What it leads to is read by `image`.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from conformance.errors import SubjectError
from conformance.verdict import Finding

CONVERT = "write it anew: qemu-img convert -O qcow2 OLD.qcow2 IMAGE.qcow2 (then pack and sign again)"
_MAGIC = b"QFI\xfb"
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_CLUSTER_BITS = range(9, 22)  # the format says 9 and up, QEMU runs up to 2 MiB
_ORDER_MAX = 6
# "Header": incompatible_features
_DIRTY, _CORRUPT, _EXTERNAL, _COMPRESSION, _EXTENDED_L2 = 1, 2, 4, 8, 16
_RAW_EXTERNAL = 2  # autoclear_features
# "Header extensions"
_BITMAPS, _ENCRYPTION, _DATA_FILE = 0x23852875, 0x0537BE77, 0x44415441


@dataclass(frozen=True, slots=True)
class View:
    """The image inside its file; read(offset, length) gives fewer bytes only at the image's end."""

    name: str
    size: int
    read: Callable[[int, int], bytes]

    def finding(self, expected: str, seen: str, at: int, remedy: str = CONVERT) -> Finding:
        """A finding at a byte of the image."""
        return Finding(expected, seen, f"{self.name}, byte {at}", remedy, (f"package:{self.name}@{at}",))

    def broken(self, expected: str, seen: str, at: int, remedy: str = CONVERT) -> SubjectError:
        """What keeps the image from being read any further."""
        return SubjectError(expected, seen, f"{self.name}, byte {at}", remedy, "PKG-011")


@dataclass(frozen=True, slots=True)
class Header:
    """A qcow2 header's figures; sizes and offsets in bytes. A header of version 2 has the values that it stands for."""

    version: int
    virtual_size: int
    cluster_bits: int
    length: int
    backing_offset: int
    encryption: int
    l1_offset: int
    l1_entries: int
    refcounts_offset: int
    refcounts_clusters: int
    snapshots: int
    incompatible: int
    autoclear: int
    refcount_order: int
    compression_type: int

    @property
    def cluster_size(self) -> int:
        return 1 << self.cluster_bits

    @property
    def extended_l2(self) -> bool:
        return bool(self.incompatible & _EXTENDED_L2)

    @property
    def leads_elsewhere(self) -> bool:
        """Whether tables mean something unknown or lead into another file, so that they cannot be judged."""
        return bool(self.incompatible & ~(_DIRTY | _CORRUPT | _COMPRESSION | _EXTENDED_L2))


def parse(view: View) -> Header:
    """The image's header. Raises SubjectError of PKG-011 where there is none whose tables could be found."""
    data = view.read(0, _V2.size + _V3.size + 8)
    if data[:4] != _MAGIC:
        seen = f"{data[:4].hex(' ')} at its beginning" if data else "an empty file"
        remedy = "convert it: qemu-img convert -O qcow2 DISK IMAGE.qcow2 (then pack and sign again)"
        raise view.broken("a qcow2 image, magic 51 46 49 fb", seen, 0, remedy)
    version = int.from_bytes(data[4:8], "big")
    if version not in (2, 3):
        raise view.broken("qcow2 version 2 or 3", f"version {version}", 4)
    if len(data) < (_V2.size if version == 2 else _V2.size + _V3.size):
        raise view.broken("a whole header", f"an image of {view.size} bytes", 0)
    _, _, backing, _, bits, size, crypt, l1_entries, l1, refcounts, refcount_clusters, snapshots, _ = _V2.unpack_from(
        data
    )
    if bits not in _CLUSTER_BITS:
        raise view.broken("clusters of 512 bytes to 2 MiB (cluster_bits 9 to 21)", f"cluster_bits {bits}", 20)
    incompatible, _, autoclear, order, length = _V3.unpack_from(data, _V2.size) if version == 3 else (0, 0, 0, 4, 72)
    if version == 3 and (length < 104 or length % 8 or length > 1 << bits):
        raise view.broken("a header length from 104 to one cluster, a multiple of 8", str(length), 100)
    kind = data[104] if length > 104 and len(data) > 104 else 0
    return Header(
        version, size, bits, length, backing, crypt, l1, l1_entries, refcounts, refcount_clusters, snapshots,
        incompatible, autoclear, order, kind,
    )  # fmt: skip


def refusals(view: View, header: Header) -> Iterator[Finding]:
    """What the header asks for and the profile refuses (contract 1, "Image")."""
    bits = header.incompatible
    unknown = bits & ~(_DIRTY | _CORRUPT | _EXTERNAL | _COMPRESSION | _EXTENDED_L2)
    repair = "repair it: qemu-img check -r all IMAGE.qcow2 (then pack and sign again)"
    merge = "snapshots go with: qemu-img snapshot -d NAME IMAGE.qcow2; or " + CONVERT
    kind, typed = header.compression_type, bool(bits & _COMPRESSION)
    table = (
        (header.backing_offset, "no backing file", "one", 8, CONVERT),
        (header.encryption, "no encryption", f"method {header.encryption}", 32, CONVERT),
        (header.snapshots, "no internal snapshots", f"{header.snapshots}", 60, merge),
        (bits & _DIRTY, "an image that was closed", "the dirty bit: its reference counts may be wrong", 79, repair),
        (bits & _CORRUPT, "a sound image", "the corrupt bit: QEMU found it damaged", 79, repair),
        (bits & _EXTERNAL, "no external data file", "the bit for one", 79, CONVERT),
        (header.autoclear & _RAW_EXTERNAL, "no external data file", "the bit for a raw one", 95, CONVERT),
        (unknown, "known incompatible features only", f"bits {unknown:#x}", 72, CONVERT),
        (header.refcount_order > _ORDER_MAX, "a refcount order up to 6", f"{header.refcount_order}", 96, CONVERT),
        (typed != (kind > 0) or kind > 1, "a compression type that fits its feature bit, deflate or zstd",
         f"type {kind}, the bit {'set' if typed else 'not set'}", 104, CONVERT),
        (header.extended_l2 and header.cluster_bits < 14, "clusters of 16 KiB or more with extended L2 entries",
         f"{header.cluster_size} bytes", 20, CONVERT),
        (header.length > 104 and any(view.read(105, 7)), "zeros in the header's padding", "other bytes", 105, CONVERT),
    )  # fmt: skip
    for hit, expected, seen, at, remedy in table:
        if hit:
            yield view.finding(expected, seen, at, remedy)


def extensions(view: View, header: Header) -> Iterator[Finding]:
    """What is wrong with the header extensions: well formed, none twice, none that leads elsewhere."""
    end = min(header.cluster_size, header.backing_offset or header.cluster_size, view.size)
    at, met = header.length, set()
    while at + 8 <= end:
        kind, length = struct.unpack(">II", view.read(at, 8))
        if kind == 0:
            return
        if length > end - at - 8:
            yield view.finding("a header extension inside the first cluster and the image", f"{length} bytes long", at)
            return
        if kind in met:
            yield view.finding("each header extension once", f"type {kind:#010x} again", at)
        met.add(kind)
        if kind == _DATA_FILE:
            yield view.finding("no external data file", "a header extension that names one", at)
        elif kind == _ENCRYPTION:
            yield view.finding("no encryption", "a header extension with its parameters", at)
        elif kind == _BITMAPS:
            yield from _bitmaps(view, at + 8, length)
        at += 8 + (length + 7) // 8 * 8


def _bitmaps(view: View, at: int, length: int) -> Iterator[Finding]:
    """ "Bitmaps extension": its directory has to be inside the file."""
    size, offset = struct.unpack(">8xQQ", view.read(at, 24)) if length == 24 else (0, view.size)
    if offset + size > view.size or length != 24:
        yield view.finding("a bitmap directory inside the image", f"{size} bytes at {offset} of {view.size}", at)
