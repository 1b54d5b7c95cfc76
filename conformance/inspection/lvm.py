"""LVM2's volume groups: labels, metadata areas and their text, and where the extents of linear logical volumes lie
(lvm2's lib/format_text/layout.h, lib/label/label.h, and its text format). Everything is little-endian."""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from conformance.errors import SubjectError
from conformance.inspection.signatures import Read

SECTOR = 512
_METADATA_BYTES_MAX = 4 << 20
_DEPTH_MAX = 16
_MAGIC = b" LVM2 x[5A%r0N*>"
_IGNORED = 1  # RAW_LOCN_IGNORED
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([{}\[\]=,])|(#[^\n]*)|([A-Za-z0-9_.+-]+)')

Section = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PhysicalVolume:
    """One that was found: its id, how it is read, and the text of its group, "" where it has no metadata of its own."""

    id: str
    read: Read
    text: str


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes of a logical volume and where they lie; begin and size in bytes of the logical one, offset
    in the physical."""

    begin: int
    size: int
    read: Read
    offset: int


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """Its size in bytes and its segments in order; trouble says why it cannot be read."""

    group: str
    name: str
    size: int
    segments: tuple[Segment, ...]
    trouble: str = ""

    def read(self, offset: int, length: int) -> bytes:
        """The bytes at offset, fewer only at its end."""
        pieces = []
        for segment in self.segments:
            begin, end = max(offset, segment.begin), min(offset + length, segment.begin + segment.size)
            if begin < end:
                pieces.append(segment.read(segment.offset + begin - segment.begin, end - begin))
        return b"".join(pieces)


def read_physical_volume(read: Read) -> PhysicalVolume:
    """The physical volume that `signatures.identify` found there. Raises SubjectError."""
    head = read(0, 4 * SECTOR)
    sector = next((at for at in range(0, 4 * SECTOR, SECTOR) if head[at : at + 8] == b"LABELONE"), 0)
    label = head[sector : sector + SECTOR].ljust(SECTOR, b"\0")
    (at,) = struct.unpack_from("<I", label, 20)
    if label[24:32] != b"LVM2 001" or not 32 <= at <= SECTOR - 104:
        raise _broken("an LVM2 label", "another one")
    identity = label[at : at + 32].decode("ascii", "backslashreplace")
    # data areas, then metadata areas: pairs of offset and size, each list ended by zeros
    areas, lists = at + 40, [list[tuple[int, int]](), list[tuple[int, int]]()]
    for found in lists:
        while areas + 16 <= SECTOR:
            pair = struct.unpack_from("<QQ", label, areas)
            areas += 16
            if not pair[0]:
                break
            found.append(pair)
    text = next(filter(None, (_metadata(read, offset) for offset, _ in lists[1])), "")
    return PhysicalVolume(identity, read, text)


def _metadata(read: Read, area: int) -> str:
    """The text that the first slot of a metadata area's header points to; the area is a ring behind its header."""
    header = read(area, SECTOR).ljust(SECTOR, b"\0")
    magic, _, _, size = struct.unpack_from("<16sIQQ", header, 4)
    offset, length, _, flags = struct.unpack_from("<QQII", header, 40)
    if magic != _MAGIC or flags & _IGNORED or not SECTOR <= offset < size or not 0 < length <= _METADATA_BYTES_MAX:
        return ""
    first = min(length, size - offset)
    data = read(area + offset, first) + read(area + SECTOR, length - first)
    return data.rstrip(b"\0").decode("utf-8", "backslashreplace")


def read_logical_volumes(physical: Sequence[PhysicalVolume]) -> Iterator[LogicalVolume]:
    """Those of all groups on the physical volumes, but for the hidden parts of others. Raises SubjectError."""
    met = set()
    for text in (one.text for one in physical if one.text):
        for name, group in _parse(text).items():
            if isinstance(group, dict) and "extent_size" in group and group.get("id") not in met:
                met.add(group.get("id"))
                yield from _group(name, group, physical)


def _group(name: str, group: Section, physical: Sequence[PhysicalVolume]) -> Iterator[LogicalVolume]:
    extent = _number(group, "extent_size") * SECTOR
    by_id = {one.id: one for one in physical}
    places = {}
    for key, entry in _sections(group, "physical_volumes"):
        found = by_id.get(str(entry.get("id", "")).replace("-", ""))
        if found is not None:
            places[key] = (found.read, _number(entry, "pe_start") * SECTOR)
    for key, volume in _sections(group, "logical_volumes"):
        if "VISIBLE" in _list(volume, "status"):
            yield _volume(name, key, volume, extent, places)


def _volume(
    group: str, name: str, volume: Section, extent: int, places: Mapping[str, tuple[Read, int]]
) -> LogicalVolume:
    segments, trouble, size = [], "", 0
    for key, one in volume.items():
        if not (key.startswith("segment") and isinstance(one, dict)):
            continue
        begin, count = _number(one, "start_extent") * extent, _number(one, "extent_count") * extent
        size = max(size, begin + count)
        kind, stripes = one.get("type"), _list(one, "stripes")
        if kind != "striped" or len(stripes) != 2:
            trouble = f"it is not linear ({kind})"
        elif stripes[0] not in places:
            trouble = f"its physical volume {stripes[0]} is not on this disk"
        else:
            read, start = places[str(stripes[0])]
            segments.append(Segment(begin, count, read, start + _integer(stripes[1], "stripes") * extent))
    segments.sort(key=lambda segment: segment.begin)
    if not trouble and sum(segment.size for segment in segments) != size:
        trouble = "its segments do not make a whole"
    return LogicalVolume(group, name, size, tuple(segments), trouble)


def _parse(text: str) -> Section:
    """The text as nested sections: names with numbers, strings, lists or sections."""
    tokens = [found for found in _TOKEN.finditer(text) if found[3] is None]
    section, at = _section(tokens, 0, 0)
    if at != len(tokens):
        raise _broken("LVM metadata of sections", "something else")
    return section


def _section(tokens: Sequence[re.Match[str]], at: int, depth: int) -> tuple[dict[str, object], int]:
    found: dict[str, object] = {}
    if depth > _DEPTH_MAX:
        raise _broken(f"LVM metadata of at most {_DEPTH_MAX} levels", "more")
    while at + 2 < len(tokens) and tokens[at][4] is not None:
        name, kind = tokens[at][4], tokens[at + 1][2]
        if kind == "{":
            found[name], at = _section(tokens, at + 2, depth + 1)
            if at >= len(tokens) or tokens[at][2] != "}":
                raise _broken("LVM metadata of sections", "one without an end")
            at += 1
        elif kind == "=" and tokens[at + 2][2] == "[":
            end = next((end for end in range(at + 3, len(tokens)) if tokens[end][2] == "]"), len(tokens))
            found[name] = [_value(token) for token in tokens[at + 3 : end] if token[2] != ","]
            at = end + 1
        elif kind == "=":
            found[name], at = _value(tokens[at + 2]), at + 3
        else:
            raise _broken("LVM metadata of sections", "something else")
    return found, at


def _value(token: re.Match[str]) -> object:
    return token[1] if token[1] is not None else token[0]


def _sections(section: Section, name: str) -> Iterator[tuple[str, Section]]:
    inner = section.get(name)
    for key, one in inner.items() if isinstance(inner, dict) else ():
        if isinstance(one, dict):
            yield key, one


def _list(section: Section, name: str) -> list[object]:
    found = section.get(name)
    return found if isinstance(found, list) else []


def _number(section: Section, name: str) -> int:
    return _integer(section.get(name), name)


def _integer(found: object, name: str) -> int:
    if not isinstance(found, str) or not re.fullmatch(r"\d{1,15}", found, re.ASCII):
        raise _broken(f"a number for {name} in LVM's metadata", "none")
    return int(found)


def _broken(expected: str, seen: str) -> SubjectError:
    return SubjectError(expected, seen, "", "use a plain partition, or a linear logical volume", "IMG-005")
