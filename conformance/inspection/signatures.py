"""What a partition or volume holds, by the marks at its beginning."""

from collections.abc import Callable
from dataclasses import dataclass

Read = Callable[[int, int], bytes]

EXT, XFS, FAT, LVM = "ext", "xfs", "FAT", "LVM"
SWAP, EMPTY, VERITY = "swap", "empty", "dm-verity's hashes"
_LOOK_BYTES = 68 << 10

# Offset, mark, name: what can be told by a mark alone. The first two are read, the others are named in a finding.
_MARKS = (
    (0, b"XFSB", XFS),
    (1080, b"\x53\xef", EXT),
    (0, b"LUKS\xba\xbe", "LUKS encryption"),
    (0, b"verity\0\0", VERITY),
    (65600, b"_BHRfS_M", "Btrfs"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (0, b"hsqs", "SquashFS"),
    (1024, b"\xe2\xe1\xf5\xe0", "EROFS"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (32769, b"CD001", "ISO 9660"),
    (0, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (65588, b"ReIsEr", "ReiserFS"),
    (32768, b"JFS1", "JFS"),
)
_SWAP_PAGES = (4096, 8192, 16384, 65536)


@dataclass(frozen=True, slots=True)
class Label:
    """By what an fstab may call a file system; "" where it has none."""

    uuid: str = ""
    label: str = ""


def identify(read: Read) -> str:
    """The name of what is there: EXT, XFS, FAT, LVM, SWAP, VERITY, EMPTY or that of something that is not read here; ""
    where no mark is known. Marks of several are named together, as nothing that is read: tools differ in which they
    believe."""
    data = read(0, _LOOK_BYTES)
    if not any(data):
        return EMPTY
    found = [name for at, mark, name in _MARKS if data[at : at + len(mark)] == mark]
    if any(data[sector : sector + 8] == b"LABELONE" for sector in range(0, 2048, 512)):
        found.append(LVM)
    if any(data[page - 10 : page] in (b"SWAPSPACE2", b"SWAP-SPACE") for page in _SWAP_PAGES):
        found.append(SWAP)
    if is_fat(data):
        found.append(FAT)
    return " and ".join(dict.fromkeys(found))


def is_fat(sector: bytes) -> bool:
    """Whether a disk's or partition's first sector is that of a FAT file system: jump, sector size, and its name."""
    named = sector[54:57] == b"FAT" or sector[82:87] == b"FAT32"
    return sector[510:512] == b"\x55\xaa" and sector[0] in (0xEB, 0xE9) and sector[11:13] == b"\0\x02" and named


def has_encryption(read: Read) -> bool:
    """Whether folders of ext may be encrypted: the superblock's feature ENCRYPT is set with the first of them."""
    return bool(int.from_bytes(read(1024 + 0x60, 4), "little") & 0x10000)


def label_of(kind: str, read: Read) -> Label:
    """UUID and label of a file system, as fstab writes them."""
    if kind == EXT:
        data = read(1024, 256)
        return Label(_uuid(data[0x68:0x78]), _text(data[0x78:0x88]))
    if kind == XFS:
        data = read(0, 128)
        return Label(_uuid(data[32:48]), _text(data[108:120]))
    if kind == FAT:
        data = read(0, 96)
        at = 67 if data[82:87] == b"FAT32" else 39
        serial = data[at : at + 4][::-1].hex().upper()
        return Label(f"{serial[:4]}-{serial[4:]}", _text(data[at + 4 : at + 15]))
    return Label()


def _uuid(data: bytes) -> str:
    text = data.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "backslashreplace").strip()
