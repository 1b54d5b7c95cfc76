"""The manifest (DSP0243 "Distribution": manifest file), narrowed to SHA-256 (contract 1): one line a file,
``SHA256(NAME)= HEX`` and a line feed. The first line of the certificate file has the same shape."""

import re
from dataclasses import dataclass

from conformance.package.commands import LIST
from conformance.package.fault import Fault
from conformance.verdict import Finding

_LINE = re.compile(rb"SHA256\(([^()\x00-\x1f\x7f-\xff]+)\)= ([0-9a-f]+|[0-9A-F]+)")
_DIGEST_DIGITS = 64
_FAULTS_MAX = 10  # more are the echo of the first


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: a member's name and its digest, lower-case hex; line is 1-based, offset that of its first byte."""

    name: str
    sha256: str
    line: int
    offset: int


@dataclass(frozen=True, slots=True)
class Manifest:
    entries: tuple[Entry, ...]
    faults: tuple[Fault, ...]


def read(data: bytes, name: str) -> Manifest:
    """The manifest in data; lines that are none become faults of PKG-004. name is what findings call it."""
    entries: list[Entry] = []
    faults: list[Fault] = []
    lines = data.split(b"\n")
    if lines.pop():
        lines.append(data.rpartition(b"\n")[2])
        faults.append(_fault("a line feed at the end of the last line", "none", name, len(lines), len(data)))
    if not lines:
        faults.append(_fault("a line for each file", "an empty manifest", name, 1, 0))
    odd: dict[str, list[_Line]] = {}
    offset = 0
    for number, line in enumerate(lines, 1):
        pair = split_line(line)
        if pair is None or len(pair.value) != _DIGEST_DIGITS:
            odd.setdefault(_kind(line), []).append(_Line(line, number, offset))
        elif pair.name not in (entry.name for entry in entries):
            entries.append(Entry(pair.name, pair.value.lower(), number, offset))
        elif len(faults) < _FAULTS_MAX:
            faults.append(_fault("each file listed once", f"{pair.name} again", name, number, offset))
        offset += len(line) + 1
    for first, *more in odd.values():
        seen = describe_line(first.text) + (
            f"; so are {len(more)} more, line {more[0].number} the next" if more else ""
        )
        faults.append(_fault("SHA256(NAME)= and 64 hex digits", seen, name, first.number, first.offset))
    return Manifest(tuple(entries), tuple(faults))


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that is none of a manifest; number is 1-based, offset that of its first byte."""

    text: bytes
    number: int
    offset: int


def _fault(expected: str, seen: str, name: str, line: int, offset: int) -> Fault:
    where = f"{name}, line {line} (byte {offset})"
    return Fault("PKG-004", Finding(expected, seen, where, LIST, (f"package:{name}@{offset}",)))


@dataclass(frozen=True, slots=True)
class Pair:
    """A line's file name and hex value as written: all lower or all upper case, so that no byte of it is free."""

    name: str
    value: str


def split_line(line: bytes) -> Pair | None:
    """The two parts of ``SHA256(NAME)= HEX`` (without line feed), None where it is not exactly that."""
    found = _LINE.fullmatch(line)
    return Pair(found[1].decode("ascii"), found[2].decode("ascii")) if found else None


# What other tools write, and how to tell it.
_STRANGERS = (
    (re.compile(rb"\s*"), "a blank line"),
    (re.compile(rb"\xef\xbb\xbf.*"), "a byte order mark"),
    (re.compile(rb".*\r"), "a line that ends with CR LF"),
    (re.compile(rb"(?:RSA-|EC-)SHA2-256\(.*"), "a line as OpenSSL 3 `dgst -sign -hex` prints it"),
    (re.compile(rb"SHA2-256\(.*"), "a line as OpenSSL 3 `dgst` prints it"),
    (re.compile(rb"SHA256 \(.*\) = .*"), "a line as `sha256sum --tag` prints it"),
    (re.compile(rb"[0-9a-fA-F]{64} [ *].*"), "a line as `sha256sum` prints it"),
    (re.compile(rb"SHA-?(?:1|224|384|512)\s*\(.*", re.IGNORECASE), "another digest than SHA-256"),
    (re.compile(rb"SHA256\(.*\)= [0-9a-fA-F]+"), "a value of another length, or upper and lower case mixed"),
)


def describe_line(line: bytes) -> str:
    """What a line that is not of the grammar is, with its beginning."""
    return f"{_kind(line)}: {line[:60].decode('latin-1')!a}" if line else _kind(line)


def _kind(line: bytes) -> str:
    return next((kind for pattern, kind in _STRANGERS if pattern.fullmatch(line)), "something else")
