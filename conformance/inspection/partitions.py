"""The partitions of a disk: GPT (UEFI 2.10, 5.3), MBR with logical partitions, or one file system and no table."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from conformance.inspection.signatures import EXT, XFS, Read, identify, is_fat

SECTOR = 512
_ENTRY = struct.Struct("<B3sB3sII")
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE = 0xEE
_LOGICAL_MAX = 128
_GPT_ENTRIES_MAX = 1024
# Partition types that hold no files by their nature; MBR's are of one byte.
NO_FILES = {
    "21686148-6449-6e6f-744e-656564454649": "boot code",
    "9e1a2d38-c612-4316-aa26-8b49521e5a8b": "boot code",
    "e3c9e316-0b5c-4db8-817d-f92df00215ae": "reserved",
    "41": "boot code",
}


@dataclass(frozen=True, slots=True)
class Partition:
    """Where a partition lies, in bytes. number is that of its device (vda2: 2), 0 for a disk without a table; type is a
    GUID or an MBR type in hex, both lower case; uuid and label are by what fstab may call it (PARTUUID, PARTLABEL)."""

    number: int
    offset: int
    size: int
    type: str = ""
    uuid: str = ""
    label: str = ""

    @property
    def name(self) -> str:
        return f"partition {self.number}" if self.number else "the whole disk"


def read_partitions(read: Read, size: int) -> tuple[Partition, ...]:
    """The partitions of a disk of `size` bytes, in the order of their numbers, as far as its tables lead. A partition
    that ends behind the disk is given as its table has it."""
    first = read(0, SECTOR)
    whole = Partition(0, 0, size)
    table = tuple(_gpt(read, size)) if _entry_types(first) & {_PROTECTIVE} else ()
    if not table and first[510:512] == b"\x55\xaa" and not (is_fat(first) and _is_boot_code(first)):
        table = tuple(_mbr(read, first))
    if table and not (is_fat(first) or identify(read) in (EXT, XFS)):
        return table
    return (whole, *table)  # beside a table, too: a guest may mount the disk as such


def _is_boot_code(sector: bytes) -> bool:
    """Of FAT's first sector: whether no partition table stands in it; its entries begin with 0 or 80h."""
    return any(sector[446 + 16 * index] not in (0, 0x80) for index in range(4))


def _entry_types(sector: bytes) -> set[int]:
    return {sector[450 + 16 * index] for index in range(4)} if len(sector) == SECTOR else set()


def _gpt(read: Read, size: int) -> Iterator[Partition]:
    """ "GPT Header", "GPT Partition Entry Array"; the header at the end counts where the first one is damaged."""
    for at in (SECTOR, size - SECTOR):
        header = read(at, 92).ljust(92, b"\0")
        lba, count, entry_size = struct.unpack("<QII", header[72:88])
        if header[:8] == b"EFI PART" and 0 < count <= _GPT_ENTRIES_MAX and entry_size in (128, 256, 512):
            break
    else:
        return
    data = read(lba * SECTOR, count * entry_size)
    for number in range(1, len(data) // entry_size + 1):
        entry = data[(number - 1) * entry_size :][:128]
        if not any(entry[:16]):
            continue
        begin, end = struct.unpack("<QQ", entry[32:48])
        label = entry[56:128].decode("utf-16-le", "replace").partition("\0")[0]
        yield Partition(
            number, begin * SECTOR, max(0, end + 1 - begin) * SECTOR, _guid(entry[:16]), _guid(entry[16:32]), label
        )


def _guid(data: bytes) -> str:
    first, second, third = struct.unpack("<IHH", data[:8])
    return f"{first:08x}-{second:04x}-{third:04x}-{data[8:10].hex()}-{data[10:].hex()}"


def _mbr(read: Read, sector: bytes) -> Iterator[Partition]:
    disk = sector[440:444][::-1].hex()
    logical: list[tuple[int, int, int]] = []
    for number in range(1, 5):
        kind, begin, count = _entry(sector, number - 1)
        if kind in _EXTENDED and count:
            logical += _extended(read, begin)
        elif kind and count:
            yield Partition(number, begin * SECTOR, count * SECTOR, f"{kind:02x}", f"{disk}-{number:02x}")
    for number, (kind, begin, count) in enumerate(logical, start=5):
        yield Partition(number, begin * SECTOR, count * SECTOR, f"{kind:02x}", f"{disk}-{number:02x}")


def _entry(sector: bytes, index: int) -> tuple[int, int, int]:
    """Type, first sector and number of sectors; type 0 where it is no entry."""
    status, _, kind, _, begin, count = _ENTRY.unpack_from(sector, 446 + 16 * index)
    return (kind, begin, count) if status in (0, 0x80) and begin else (0, 0, 0)


def _extended(read: Read, base: int) -> Iterator[tuple[int, int, int]]:
    """The chain of an extended partition: each record has a logical one, counted from itself, and the next record,
    counted from the first."""
    at, met = base, set[int]()
    while at not in met and len(met) < _LOGICAL_MAX:
        met.add(at)
        sector = read(at * SECTOR, SECTOR)
        if sector[510:512] != b"\x55\xaa":
            return
        kind, begin, count = _entry(sector, 0)
        if kind and count:
            yield kind, at + begin, count
        kind, begin, count = _entry(sector, 1)
        if kind not in _EXTENDED:
            return
        at = base + begin
