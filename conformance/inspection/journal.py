"""Whether a file system was unmounted: if not, its journal holds changes that the guest's next mount brings in and that
nobody has read who reads the files only.

ext: the superblock's flag needs_recovery (Linux's Documentation/filesystems/ext4/super.rst). XFS: the last record of an
internal log is the one of an unmount ("XFS Algorithms & Data Structures", "Journaling Log"). A log on another device is
not told, and a frozen XFS, whose log is left dirty, counts as not unmounted.
"""

import struct
from collections.abc import Iterator

from conformance.inspection.signatures import EXT, XFS, Read

_NEEDS_RECOVERY = 0x4
_RECORD = b"\xfe\xed\xba\xbe"
_UNMOUNT = 0x20  # of an operation's flags
_BASIC_BLOCK = 512
_HEADER_BYTES = 32 << 10  # of a record's data, for which one block of header is enough
_PIECE_BYTES = 1 << 20
_LOG_BYTES_MAX = 2 << 30  # XFS's own limit


def holds_changes(kind: str, read: Read) -> bool:
    """Whether the journal of a file system, of a kind that `signatures.identify` names, waits for its replay."""
    if kind == EXT:
        flags = read(1024 + 0x60, 4).ljust(4, b"\0")
        return bool(int.from_bytes(flags, "little") & _NEEDS_RECOVERY)
    return kind == XFS and _xfs_log_is_dirty(read)


def _xfs_log_is_dirty(read: Read) -> bool:
    """Only a record's header begins a block with its mark: in its data the cycle's number stands there."""
    superblock = read(0, 128).ljust(128, b"\0")
    (block_bytes,) = struct.unpack_from(">I", superblock, 4)
    (start,) = struct.unpack_from(">Q", superblock, 48)
    (group_blocks,) = struct.unpack_from(">I", superblock, 84)
    (log_blocks,) = struct.unpack_from(">I", superblock, 96)
    if not start:
        return False
    group, block = start >> superblock[124], start & ((1 << superblock[124]) - 1)
    begin, size = (group * group_blocks + block) * block_bytes, min(log_blocks * block_bytes, _LOG_BYTES_MAX)
    last = max(_records(read, begin, size), default=None)
    return last is not None and not _is_unmount(read, last[1])


def _records(read: Read, begin: int, size: int) -> Iterator[tuple[int, int]]:
    """Sequence number and place of each record."""
    for piece in range(begin, begin + size, _PIECE_BYTES):
        data = read(piece, min(_PIECE_BYTES, begin + size - piece))
        at = data.find(_RECORD)
        while at >= 0:
            if at % _BASIC_BLOCK == 0 and at + 24 <= len(data):
                yield int.from_bytes(data[at + 16 : at + 24], "big"), piece + at
            at = data.find(_RECORD, at + 1)


def _is_unmount(read: Read, at: int) -> bool:
    """A record of one operation, which is an unmount."""
    header = read(at, _BASIC_BLOCK).ljust(_BASIC_BLOCK, b"\0")
    version, operations, data_bytes = (struct.unpack_from(">I", header, place)[0] for place in (8, 40, 320))
    blocks = max(1, -(-data_bytes // _HEADER_BYTES)) if version & 2 else 1
    operation = read(at + blocks * _BASIC_BLOCK, 12).ljust(12, b"\0")
    return operations == 1 and bool(operation[9] & _UNMOUNT)
