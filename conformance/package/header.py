"""One USTAR header block (POSIX.1 pax, "ustar Interchange Format"), read strictly.

What keeps the next header from being found (checksum, size) is raised, all else is a list of defects: a developer whose
tar wrote GNU headers shall see what else is wrong, too.
"""

import re
from dataclasses import dataclass

from conformance.errors import SubjectError
from conformance.package.commands import BUILD, LIST, PACK

BLOCK = 512
ACL_PATH = "auth/acl.xml"
# Six digits NUL blank is what GNU, BSD, busybox, Go and Python write; the others are as legal. No form turns into
# another by one changed byte, so the field that its own sum cannot cover is covered too.
_CHECKSUM = re.compile(rb"([0-7]{6})(?:\x00 | \x00)|([0-7]{7})\x00")
_SIZE = re.compile(rb"([0-7]{11})[\x00 ]")
# Readers skip blanks before the digits; one inside is the end of the archive for some of them.
_NUMBER = re.compile(rb" *[0-7]*[ \x00]*")
_NUMBERS = ((100, 108), (108, 116), (116, 124), (136, 148), (329, 337), (337, 345))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TOO_LARGE = (
    "a file in USTAR has 8 GiB - 1 at most: make the image smaller "
    "(qemu-img convert -O qcow2 -c OLD.qcow2 IMAGE.qcow2), "
    f'write ovf:size="{{size}}" in the descriptor, and build it again: {BUILD}'
)
_ALLOWED_NAME = f"a name of letters, digits, '.', '_' and '-' that begins with a letter or digit, or {ACL_PATH}"
_MAGIC = b"ustar\x0000"  # with its version
_RECORDS = (b"x", b"g", b"L", b"K")
_TYPES = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a folder",
    b"6": "a FIFO",
    b"7": "a contiguous file",
    b"x": "a pax record",
    b"g": "a global pax record",
    b"L": "a GNU long name",
    b"K": "a GNU long link name",
    b"S": "a GNU sparse file",
}


@dataclass(frozen=True, slots=True)
class Defect:
    """Something about a header that PKG-001 refuses and that does not hide the next one."""

    expected: str
    seen: str
    remedy: str = PACK


@dataclass(frozen=True, slots=True)
class Header:
    """A header's content; foreign_magic is b"" for USTAR's. regular_name says whether the profile allows the name;
    where it does not, that is none of the defects: a record may name the member."""

    name: str
    type: bytes
    size: int
    foreign_magic: bytes
    regular_name: bool
    defects: tuple[Defect, ...]

    @property
    def regular_file(self) -> bool:
        return self.type in (b"0", b"\0")

    @property
    def is_record(self) -> bool:
        """Whether this is no member but says something about those that follow."""
        return self.type in _RECORDS

    @property
    def name_defect(self) -> Defect | None:
        """What is wrong with the name, where it counts: what writers call a record is nobody's fault, and a folder does
        not belong here by any name."""
        if self.regular_name or self.is_record or self.type == b"5":
            return None
        packed_by_path = _NAME.fullmatch(self.name.removeprefix("./")) or self.name == f"./{ACL_PATH}"
        remedy = PACK if packed_by_path else f"give the file another name, in References too, and {LIST}"
        return Defect(_ALLOWED_NAME, ascii(self.name) if self.name else "an empty name", remedy)

    def names_the_next(self, content: bytes) -> bool:
        """Whether a record with this content gives the next member another name than its header: GNU's long name, and
        pax's path, GNU.sparse.name for a sparse file."""
        return self.type == b"L" or b" path=" in content or b" GNU.sparse.name=" in content


def unreadable(expected: str, seen: str, where: str, remedy: str = PACK) -> SubjectError:
    """Nothing behind this place can be told."""
    return SubjectError(expected, seen, where, remedy, "PKG-001")


def parse(block: bytes, at: int) -> Header:
    """The header in a 512-byte block that stands at byte `at` of the file.

    Raises SubjectError of PKG-001 where the walk cannot go on behind it.
    """
    where = f"the archive, the header at byte {at}"
    field = _CHECKSUM.fullmatch(block[148:156])
    if field is None or int(field[1] or field[2], 8) != sum(block[:148]) + 8 * 0x20 + sum(block[156:]):
        raise unreadable("a USTAR header, its checksum right", _look(block), where)
    size = _SIZE.fullmatch(block[124:136])
    if size is None:
        shown = ascii(block[124:136].decode("latin-1"))
        seen = f"{shown} (GNU base-256, a negative or a broken size)"
        raise unreadable("a size of 11 octal digits", seen, where, _TOO_LARGE if block[124] & 0x80 else PACK)
    kind = block[156:157]
    if kind == b"S":
        raise unreadable("regular files only", _TYPES[kind], where)
    if kind in _TYPES and kind in b"123456" and int(size[1], 8):
        # Some readers skip the declared bytes and some take them for the next header: what follows is ambiguous.
        raise unreadable("no data behind what is no file", f"{_TYPES[kind]} of {int(size[1], 8)} bytes", where)
    magic = block[257:265] if block[257:265] != _MAGIC else b""
    name, regular_name, defects = _name(block, bool(magic))
    if kind in _RECORDS or kind == b"5":
        defects = []  # as with their names
    if kind not in (b"0", b"\0"):
        defects.append(Defect("regular files only", _TYPES.get(kind, f"type {kind.decode('latin-1')!a}")))
    if not all(_NUMBER.fullmatch(block[slice(*span)]) for span in _NUMBERS):
        defects.append(Defect("octal numbers for mode, owner, group, time and device", "other bytes"))
    if any(block[157:257]) and kind in (b"0", b"\0"):
        defects.append(Defect("no link name in a regular file's header", "a link name"))
    return Header(name, kind, int(size[1], 8), magic, regular_name, tuple(defects))


def _name(block: bytes, foreign: bool) -> tuple[str, bool, list[Defect]]:
    """Prefix, slash, name; whether the profile allows it; what is wrong. GNU's prefix is something else."""
    defects = []
    fields = [block[:100]] if foreign else [block[345:500], block[:100]]
    parts = [part.partition(b"\0") for part in fields]
    if any(any(hidden) for _, _, hidden in parts) or (not foreign and any(block[500:])):
        defects.append(Defect("zeros behind the name and at the header's end", "hidden bytes"))
    raw = b"/".join(part for index, (part, _, _) in enumerate(parts) if part or index == len(parts) - 1)
    name = raw.decode("ascii", "backslashreplace")
    return name, name == ACL_PATH or _NAME.fullmatch(name) is not None, defects


def _look(block: bytes) -> str:
    """What a block that is no header resembles."""
    if block[257:262] == b"ustar":
        return "a damaged one: its checksum is wrong"
    marks = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"QFI\xfb": "qcow2", b"<": "XML"}
    kind = next((kind for mark, kind in marks.items() if block.startswith(mark)), "")
    return f"{kind} data" if kind else "no header: noise, or the data of another file"
