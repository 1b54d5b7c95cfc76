"""Whether a folder of ext is sound: libraries that look for entries in a damaged block find none, and say nothing
(Linux's Documentation/filesystems/ext4/directory.rst)."""

import struct

_HEADER_BYTES = 8  # inode, length of the entry, length and type of the name
_LARGE = 65536  # in blocks of this size the length of an entry that fills one is written as 0 or 65535


def find_damage(content: bytes, block_bytes: int) -> str:
    """What is wrong with a folder of whole blocks; "" where its entries lead from each block's begin to its end, "."
    and ".." first."""
    if not content:
        return "the folder has no content"
    for at in range(0, len(content), block_bytes):
        if not _is_chain(content[at : at + block_bytes], block_bytes):
            return f"block {at // block_bytes} of the folder holds no entries"
    if (content[6:7], content[8:9], content[18:19], content[20:22]) != (b"\1", b".", b"\2", b".."):
        return "the folder does not begin with . and .."
    return ""


def _is_chain(block: bytes, block_bytes: int) -> bool:
    at = 0
    while at + _HEADER_BYTES <= len(block):
        length = struct.unpack_from("<H", block, at + 4)[0]
        if block_bytes == _LARGE and length in (0, _LARGE - 1):
            length = _LARGE
        if length < _HEADER_BYTES or length % 4:
            return False
        at += length
    return at == block_bytes
