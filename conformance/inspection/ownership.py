"""What a guest's package databases say of a file: the digests that dpkg and RPM keep."""

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_RPM_ALGORITHMS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512"}
# rpmtag.h
_DIR_INDEXES, _BASE_NAMES, _DIR_NAMES, _FILE_DIGESTS, _DIGEST_ALGORITHM = 1116, 1117, 1118, 1035, 5011
_INT32, _STRING_ARRAY = 4, 8
_INDEX = struct.Struct(">4I")
_INDEX_ENTRIES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Digest:
    """A file's digest in lower-case hex, as its package has it."""

    algorithm: str
    value: str

    def fits(self, content: bytes) -> bool:
        return hashlib.new(self.algorithm, content, usedforsecurity=False).hexdigest() == self.value


def dpkg_digest(path: str, lists: Iterable[bytes], status: bytes) -> Digest | None:
    """From info/*.md5sums, which have what is no configuration, and the Conffiles of the status file."""
    name = re.escape(path.encode())
    line = re.compile(rb"^([0-9a-f]{32})  " + name[1:] + rb"$", re.M)
    found = next((match for data in lists if (match := line.search(data))), None)
    found = found or re.search(rb"^ " + name + rb" ([0-9a-f]{32})(?: |$)", status, re.M)
    return Digest("md5", found[1].decode()) if found else None


def rpm_digest(path: str, headers: Iterable[bytes]) -> Digest | None:
    """From the headers of RPM's table Packages; broken ones have nothing to say."""
    folder, _, base = path.rpartition("/")
    for header in headers:
        if base.encode() not in header:
            continue
        try:
            found = next(_rpm_digests(header, folder + "/", base), None)
        except (struct.error, UnicodeDecodeError, IndexError):
            continue
        if found is not None:
            return found
    return None


def _rpm_digests(header: bytes, folder: str, base: str) -> Iterator[Digest]:
    """A header without its magic: number of index entries, bytes of data, the entries (tag, type, offset, count), and
    the data."""
    count, _ = struct.unpack_from(">2I", header)
    tags = {}
    for number in range(min(count, _INDEX_ENTRIES_MAX)):
        tag, kind, offset, values = _INDEX.unpack_from(header, 8 + 16 * number)
        tags[tag] = (kind, 8 + 16 * count + offset, values)
    names, folders = _strings(header, tags.get(_BASE_NAMES)), _strings(header, tags.get(_DIR_NAMES))
    indexes, digests = _numbers(header, tags.get(_DIR_INDEXES)), _strings(header, tags.get(_FILE_DIGESTS))
    algorithms = _numbers(header, tags.get(_DIGEST_ALGORITHM)) or [1]
    algorithm = _RPM_ALGORITHMS.get(algorithms[0], "")
    for name, index, digest in zip(names, indexes, digests, strict=False):
        if name == base and folders[index] == folder and algorithm and digest:
            yield Digest(algorithm, digest.lower())


def _strings(header: bytes, tag: tuple[int, int, int] | None) -> list[str]:
    if tag is None or tag[0] != _STRING_ARRAY:
        return []
    _, at, count = tag
    return [part.decode() for part in header[at:].split(b"\0", count)[:count]]


def _numbers(header: bytes, tag: tuple[int, int, int] | None) -> list[int]:
    if tag is None or tag[0] != _INT32:
        return []
    return list(struct.unpack_from(f">{tag[2]}I", header, tag[1]))
