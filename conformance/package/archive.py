"""The archive: one strict walk over USTAR headers, digests taken on the way (contract 1).

No library walks it: those at hand end their list silently at a bad header and hide what follows. Nothing is unpacked;
memory is two buffers and the few small members that are kept.
"""

import hashlib
from dataclasses import dataclass, field, replace
from io import SEEK_END, RawIOBase
from typing import Protocol

from conformance.errors import SubjectError
from conformance.package.commands import LIST, PACK, SIGN
from conformance.package.fault import Fault
from conformance.package.header import ACL_PATH, BLOCK, Defect, Header, parse, unreadable
from conformance.profile import Profile
from conformance.verdict import Finding, counted

_BUFFER = 1 << 20
_RECORDS_A_MEMBER = 4
_RECORD_MAX = 1 << 16  # bytes: longer ones name nothing that a writer meant
_READ_ANYWAY = (
    64 << 20
)  # what exceeds its bound by so little takes no time, and its package keeps a digest to be named by
_OTHERS_SHOWN = 4
_MEND_LONG = {
    ".ovf": f"take comments and what is not for this platform out of the descriptor, then {LIST}",
    ".mf": f"list each file once and nothing else: {LIST}",
    ".cert": f"keep the leaf and what leads to the root in signer.crt, as PEM and nothing else, then {SIGN}",
    ACL_PATH: f"allow topics by filters (racs/cell/+/load), not one by one, then {LIST}",
}
_COPY = f"the file is cut: copy it again, comparing sizes; where the original is cut, too, {PACK}"


class Digest(Protocol):
    """A SHA-256 in the making, as hashlib has it. It may go on reading a part until it is given the next one or asked
    for its value, so one may be handed in that works beside the walk: members have digests of their own meanwhile."""

    def update(self, part: memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the archive: offset is that of its first byte in the OVA, sha256 lower-case hex.

    proper is False where name or type are not the profile's: what such a member stands for cannot be told. content is
    kept for descriptor, manifest, certificate and ACL within their bounds; sha256 is "" for one so far beyond them that
    it was passed over.
    """

    name: str
    offset: int
    size: int
    sha256: str
    proper: bool
    content: bytes | None = field(default=None, repr=False)

    @property
    def base_name(self) -> str:
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Archive:
    """What the walk found. sha256 and size are the whole file's; sha256 is "" where some of it was passed over.
    stopped_by is "" when the walk reached the archive's end, else the id of what stopped it: then members are only
    those before it."""

    members: tuple[Member, ...]
    sha256: str
    size: int
    stopped_by: str
    faults: tuple[Fault, ...]

    def ending(self, suffix: str) -> tuple[Member, ...]:
        """The proper members whose names end so, in order."""
        return tuple(member for member in self.members if member.proper and member.name.endswith(suffix))

    def sole(self, suffix: str) -> Member | None:
        """The proper member whose name ends so; None when there is none or more than one."""
        found = self.ending(suffix)
        return found[0] if len(found) == 1 else None


def read(stream: RawIOBase, profile: Profile, whole: Digest | None = None) -> Archive:
    """Walk the archive from the stream's start to its end, once and in sequence. Defects are faults of PKG-001 and
    PKG-015, never raised; OSError is that of reading. whole takes the digest of the whole file. The stream has to seek
    past a part that is not worth reading."""
    walk = _Walk(_Source(stream, whole or hashlib.sha256()), profile)
    stopped_by = ""
    try:
        walk.run()
    except SubjectError as error:
        stopped_by = error.requirement
        walk.note(error.requirement, error.expected, error.seen, error.where, error.remedy)
    walk.source.drain()
    return Archive(tuple(walk.members), walk.source.hexdigest(), walk.source.position, stopped_by, tuple(walk.faults))


class _Source:
    """A stream read in sequence through two buffers in turn (see `Digest`), with the digest of all that was read."""

    def __init__(self, stream: RawIOBase, digest: Digest) -> None:
        self.position = 0
        self._digest = digest
        self._whole = True
        self._stream = stream
        self._buffer, self._other = (memoryview(bytearray(_BUFFER)) for _ in range(2))

    def next(self, at_most: int) -> memoryview:
        """The next bytes, valid until the next call: as many as fit the buffer, fewer only at the end of the file."""
        self._buffer, self._other = self._other, self._buffer
        wanted = min(at_most, _BUFFER)
        filled = 0
        while filled < wanted and (count := self._stream.readinto(self._buffer[filled:wanted])):
            filled += count
        part = self._buffer[:filled]
        self._digest.update(part)
        self.position += filled
        return part

    def skip(self, count: int) -> int:
        """Pass over so many bytes unread, fewer only at the end of the file; how many there were."""
        self._whole = False
        end = self._stream.seek(0, SEEK_END)
        there = max(min(count, end - self.position), 0)
        self.position = self._stream.seek(self.position + there)
        return there

    def hexdigest(self) -> str:
        return self._digest.hexdigest() if self._whole else ""

    def drain(self) -> bool:
        """Read to the end of the file; whether all of it was zeros."""
        zeros = True
        while part := self.next(_BUFFER):
            zeros = zeros and bytes(part) == bytes(len(part))  # a memoryview compares byte by byte
        return zeros


@dataclass(frozen=True, slots=True)
class _Told:
    """A defect of headers that was told: the place of its fault, what was seen first, where it was seen again."""

    at: int
    seen: str
    others: list[str] = field(default_factory=list)


class _Walk:
    """The walk's state; a SubjectError ends it where the next header cannot be found any more."""

    def __init__(self, source: _Source, profile: Profile) -> None:
        self.source = source
        self.members: list[Member] = []
        self.faults: list[Fault] = []
        self._members_max = int(profile["package.members_max"])
        self._kept_max = {
            ".ovf": int(profile["package.xml_bytes_max"]),
            ".mf": int(profile["package.manifest_bytes_max"]),
            ".cert": int(profile["package.certificate_bytes_max"]),
            ACL_PATH: int(profile["package.xml_bytes_max"]),
        }
        self._records = 0
        self._told: dict[str, _Told] = {}
        self._named_elsewhere = False

    def run(self) -> None:
        while True:
            at = self.source.position
            block = bytes(self.source.next(BLOCK))
            if len(block) < BLOCK:
                seen = f"the end of the file, {len(block)} bytes into a block" if block else "the end of the file"
                seen = "an empty file" if self.source.position == 0 else seen
                where = f"the archive, the header at byte {at}"
                raise unreadable("a USTAR archive that ends with two zero blocks", seen, where, _COPY)
            if not any(block):
                return self._end(at)
            header = parse(block, at)
            self._count(header, at)
            if header.is_record:
                self._record(header, at)
            else:
                self._member(header, at)

    def note(self, requirement: str, expected: str, seen: str, where: str, remedy: str = PACK) -> None:
        """Note a defect; where ends with its byte."""
        finding = Finding(expected, seen, where, remedy, (f"package:@{where.rpartition(' ')[2]}",))
        self.faults.append(Fault(requirement, finding))

    def _note_header(self, defect: Defect, where: str) -> None:
        """Note what one tar does to many headers as one finding, that of the first of them, which names the others."""
        told = self._told.get(defect.expected)
        if told is None:
            self._told[defect.expected] = _Told(len(self.faults), defect.seen)
            return self.note("PKG-001", defect.expected, defect.seen, where, defect.remedy)
        told.others.append(where)
        shown = "; ".join(told.others[:_OTHERS_SHOWN]) + ("; …" if len(told.others) > _OTHERS_SHOWN else "")
        text = f"{told.seen}; the same of {counted(len(told.others), 'more header')}: {shown}"
        fault = self.faults[told.at]
        self.faults[told.at] = replace(fault, finding=replace(fault.finding, seen=text))
        return None

    def _end(self, at: int) -> None:
        """Two zero blocks (POSIX.1), then zeros only, in whole blocks (the profile)."""
        second = bytes(self.source.next(BLOCK))
        if len(second) < BLOCK or any(second):
            seen = "one zero block and other data" if any(second) else "one"
            self.note("PKG-001", "two zero blocks at the end", seen, f"the archive, the block at byte {at + BLOCK}")
        begin = self.source.position
        if not self.source.drain():
            seen = "other bytes, which most readers do not show"
            self.note(
                "PKG-001", "nothing but zeros behind the end of the archive", seen, f"the archive, from byte {begin}"
            )
        if self.source.position % BLOCK:
            seen = f"{self.source.position} bytes"
            self.note("PKG-001", "a file of whole 512-byte blocks", seen, f"the archive, from byte {begin}")
        if not self.members:
            raise unreadable("an archive with members", "none, only zeros", f"the archive, the header at byte {at}")

    def _count(self, header: Header, at: int) -> None:
        """Stop at one member too many, and at more records than any writer makes for so many members."""
        self._records += header.is_record
        if header.is_record and self._records > _RECORDS_A_MEMBER * self._members_max:
            seen = f"{self._records} pax or GNU records"
        elif not header.is_record and len(self.members) == self._members_max:
            seen = "another one"
        else:
            return
        where = f"the archive, the header at byte {at}"
        raise SubjectError(f"at most {self._members_max} members", seen, where, PACK, "PKG-015")

    def _record(self, header: Header, at: int) -> None:
        where = f"{header.name!a}, header at byte {at}"
        for defect in header.defects:
            self._note_header(defect, where)
        content = bytearray() if header.size <= _RECORD_MAX else None
        self._digest(header, at, content, content is None)
        self._named_elsewhere = self._named_elsewhere or header.names_the_next(bytes(content or b""))

    def _member(self, header: Header, at: int) -> None:
        where = f"{header.name!a}, header at byte {at}"
        proper = self._judge(header, where)
        limit = next((limit for end, limit in self._kept_max.items() if header.name.endswith(end)), 0) if proper else 0
        if limit and header.size > limit:
            remedy = next(remedy for end, remedy in _MEND_LONG.items() if header.name.endswith(end))
            self.note("PKG-015", f"at most {limit} bytes", f"{header.size} bytes", where, remedy)
        offset = self.source.position
        content = bytearray() if limit and header.size <= limit else None
        digest = self._digest(header, at, content, header.size > limit > 0)
        kept = bytes(content) if content is not None else None
        self.members.append(Member(header.name, offset, header.size, digest, proper, kept))

    def _judge(self, header: Header, where: str) -> bool:
        """Note the header's defects; whether the member is what its name says."""
        for defect in header.defects:
            self._note_header(defect, where)
        if header.name_defect and not self._named_elsewhere:  # else it is the echo of the record
            self._note_header(header.name_defect, where)
        if header.foreign_magic:
            kind = "GNU tar's" if header.foreign_magic == b"ustar  \0" else "another"
            seen = f"{kind} magic {header.foreign_magic.decode('latin-1')!a}"
            self._note_header(Defect("the USTAR magic 'ustar', NUL, '00'", seen), where)
        double = any(member.name == header.name for member in self.members)
        if double and header.regular_file:
            self.note("PKG-001", "every name once", f"{header.name} again", where)
        proper = header.regular_name and header.regular_file and not double and not self._named_elsewhere
        self._named_elsewhere = False
        return proper

    def _digest(self, header: Header, at: int, content: bytearray | None, overlong: bool) -> str:
        """Read a member's data and padding; SHA-256 of the data, "" where it is too long to be worth it."""
        digest, left = hashlib.sha256(), header.size
        passed_over = overlong and left > _READ_ANYWAY
        if passed_over:
            left -= self.source.skip(left)
        while left:
            part = self.source.next(left)
            if not part:
                seen = f"the end of the file {left} bytes too early"
                where = f"{header.name!a}, header at byte {at}"
                raise unreadable(f"{header.size} bytes of data", seen, where, _COPY)
            digest.update(part)
            if content is not None:
                content += part
            left -= len(part)
        padding = self.source.next(-header.size % BLOCK)
        if any(padding):
            begin = self.source.position - len(padding)
            where = f"{header.name!a}, padding at byte {begin}"
            self.note("PKG-001", "zeros up to the next 512-byte block", "other bytes, which nothing signs", where)
        return "" if passed_over else digest.hexdigest()
