"""The disk image: its qcow2 header, the tables behind it with bounds and alignment of every entry, and the boot sector
(QEMU's docs/interop/qcow2, "Host cluster management", "Cluster mapping"). Reference counts are not recounted.

No tool is asked: those at hand open the files that a hostile image names, and call broken tables fine. What QEMU itself
runs without complaint is accepted.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from conformance.errors import SubjectError
from conformance.package.clusters import COMPRESSED, HOST_OFFSET, SECTOR, ZERO, GuestDisk, sectors_shift
from conformance.package.fault import Fault
from conformance.package.qcow2 import Header, View, extensions, parse, refusals
from conformance.verdict import Finding

_COPIED = 1 << 63
_L1_BYTES_MAX = 32 << 20  # QEMU's own limits
_REFCOUNTS_BYTES_MAX = 8 << 20
_L2_BYTES_MAX = 128 << 20  # maps the profile's largest disk even with the smallest clusters
_BOOT_SIGNATURE = b"\x55\xaa"
_GPT = b"EFI PART"


@dataclass(frozen=True, slots=True)
class Image:
    """header is None where none could be read. faults are of PKG-011 and PKG-015. sound says whether header and tables
    are, so that the disk can be read, be it one that boots or not."""

    header: Header | None
    faults: tuple[Fault, ...]
    sound: bool = False


def read(view: View) -> Image:
    """Judge an image by its header and tables; no file that it names is ever opened. OSError is that of reading."""
    header, sound = None, False
    faults: list[Fault] = []
    try:
        header = parse(view)
        faults += (Fault("PKG-011", finding) for finding in (*refusals(view, header), *extensions(view, header)))
        if not header.leads_elsewhere:
            faults += (Fault("PKG-011", finding) for finding in _refcounts(view, header))
            faults += (Fault("PKG-011", finding) for finding in _mapping(view, header))
            if not faults:
                faults += (Fault("PKG-011", finding) for finding in _boot_sector(view, header))
                sound = True
    except SubjectError as error:
        where = error.where.rpartition(" ")[2]
        finding = Finding(error.expected, error.seen, error.where, error.remedy, (f"package:{view.name}@{where}",))
        faults.append(Fault(error.requirement, finding))
    return Image(header, tuple(faults), sound)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table that the header's field at byte `field` points to."""

    name: str
    field: int
    offset: int
    size: int


def _entries(view: View, table: _Table, cluster_size: int) -> Iterator[int]:
    """The entries of a table of 64-bit numbers, which must be aligned and inside the image."""
    offset, end = table.offset, table.offset + table.size
    if offset % cluster_size or not offset:
        raise view.broken(f"the {table.name} at a cluster boundary behind the header", f"byte {offset}", table.field)
    if end > view.size:
        raise view.broken(f"the {table.name} inside the image", f"its end at {end} of {view.size}", table.field)
    return (entry for (entry,) in struct.iter_unpack(">Q", view.read(offset, table.size)))


def _refcounts(view: View, header: Header) -> Iterator[Finding]:
    size = header.refcounts_clusters * header.cluster_size
    if not 0 < size <= _REFCOUNTS_BYTES_MAX:
        yield view.finding("a refcount table of one cluster up to 8 MiB", f"{size} bytes", 56)
        return
    table = _Table("refcount table", 48, header.refcounts_offset, size)
    for index, entry in enumerate(_entries(view, table, header.cluster_size)):
        if entry % header.cluster_size or entry + (header.cluster_size if entry else 0) > view.size:
            seen = f"entry {index} at {entry:#x}"
            yield view.finding("refcount blocks inside the image", seen, header.refcounts_offset + 8 * index)
            return  # one finding a table: damage comes in heaps


def _l2_coverage(header: Header) -> int:
    """Guest bytes that one L2 table maps."""
    return header.cluster_size // (16 if header.extended_l2 else 8) * header.cluster_size


def _mapping(view: View, header: Header) -> Iterator[Finding]:
    needed = -(-header.virtual_size // _l2_coverage(header))
    if not needed:
        yield view.finding("a disk", "a virtual size of 0", 24)
        return
    if header.l1_entries < needed or header.l1_entries * 8 > _L1_BYTES_MAX:
        expected = f"an L1 table of {needed} entries, at most 32 MiB"
        yield view.finding(expected, f"{header.l1_entries} entries", 36)
        return
    aligned = HOST_OFFSET & -header.cluster_size
    tables: dict[int, None] = {}
    table = _Table("L1 table", 40, header.l1_offset, header.l1_entries * 8)
    for index, entry in enumerate(_entries(view, table, header.cluster_size)):
        offset = entry & aligned
        if entry & ~(_COPIED | aligned) or offset + (header.cluster_size if offset else 0) > view.size:
            seen = f"L1 entry {index}: {entry:#018x}"
            yield view.finding("L2 tables inside the image, at cluster boundaries", seen, header.l1_offset + 8 * index)
            return
        if offset:
            tables[offset] = None
        if len(tables) * header.cluster_size > _L2_BYTES_MAX:
            remedy = "use larger clusters: qemu-img convert -O qcow2 -o cluster_size=64k OLD.qcow2 IMAGE.qcow2"
            seen = f"more, {header.cluster_size} bytes each"
            where = f"{view.name}, byte {header.l1_offset}"
            raise SubjectError("L2 tables of 128 MiB at most", seen, where, remedy, "PKG-015")
    for offset in tables:
        finding = _l2_table(view, header, offset)
        if finding:
            yield finding
            return


def _l2_table(view: View, header: Header, offset: int) -> Finding | None:
    """The first wrong entry of one L2 table ("L2 table entry", "Extended L2 Entries")."""
    step = 2 if header.extended_l2 else 1
    zero = ZERO if header.version == 3 and not header.extended_l2 else 0
    aligned = HOST_OFFSET & -header.cluster_size
    odd = ~(_COPIED | aligned | zero)
    compressed_offset, size = (1 << sectors_shift(header)) - 1, view.size
    entries = struct.unpack(f">{header.cluster_size // 8}Q", view.read(offset, header.cluster_size))
    for index, entry in enumerate(entries[::step]):
        if not entry:
            continue
        # The last cluster may be cut: QEMU takes what is missing at the end of a file as zeros.
        host = entry & (compressed_offset if entry & COMPRESSED else aligned)
        if host >= size or (entry & odd and not entry & COMPRESSED):
            seen = f"L2 entry {index}: {entry:#018x}, the image has {size} bytes"
            return view.finding("clusters inside the image, at their boundaries", seen, offset + 8 * step * index)
    return None


def _boot_sector(view: View, header: Header) -> Iterator[Finding]:
    """A boot record or a GPT has to be in the guest's first two sectors. Raises SubjectError where they cannot be
    read."""
    data = GuestDisk(view, header).read(0, 2 * SECTOR)
    if data[510:512] == _BOOT_SIGNATURE or data[SECTOR:].startswith(_GPT):
        return
    seen = data[510:512].hex(" ")
    if not any(data[:SECTOR]):
        seen = "a first sector of zeros, and clusters in use" if _maps_any(view, header) else "an empty disk"
    remedy = "install a boot loader for BIOS on the disk: the machine has SeaBIOS, no UEFI"
    yield view.finding("a boot disk: 55 aa at byte 510 of the disk, or a GPT", seen, 0, remedy)


def _maps_any(view: View, header: Header) -> bool:
    """Whether any part of the disk has a place in the image."""
    table = _Table("L1 table", 40, header.l1_offset, header.l1_entries * 8)
    return any(_entries(view, table, header.cluster_size))
