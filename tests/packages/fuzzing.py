"""Mutated inputs for the readers of a package: `fuzzing.py TARGET SEED COUNT FOLDER` runs so many and ends with 0.

An input is a part of some package of the corpus, changed where its format has joints: headers with their checksum
made right, certificates inside their base64, numbers of a qcow2 header and its tables, tokens of XML, rules, manifest
and ACL. The same SEED gives the same inputs. A reader that raises what it must not ends the process with a traceback;
one that does not end is killed by SIGPROF after CPU_S of processor time, and one that takes more than MEMORY_BYTES gets
a MemoryError. The number of the input that is being read stands in FOLDER/number.
"""

import base64
import copy
import io
import os
import re
import resource
import signal
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random

from corpus import SOUND, build, descriptor_text, load
from judging import PROFILE, judge
from lxml import etree
from package_parts import Entry, checked, write_tar
from qcow2_parts import make_qcow2

from conformance.application import Application, Rule
from conformance.checks import selection
from conformance.errors import SubjectError
from conformance.package import archive, image
from conformance.package.qcow2 import View
from conformance.rules import language

CPU_S = 10  # a second is what a reader may take (issue 4); this is a hang on a machine that others use, too
MEMORY_BYTES = 256 << 20
_LENGTH_MAX = 1 << 18
_NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    255,
    256,
    511,
    512,
    513,
    4095,
    4096,
    65535,
    65536,
    1 << 21,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
)
_WIDE = (*_NUMBERS, 1 << 32, 1 << 57, 1 << 62, (1 << 62) - 1, (1 << 63) - 1, 1 << 63, 1 << 63 | 4096, (1 << 64) - 1)

_VALUES = (
    "", " ", "true", "false", "x", "-1", "1.5", "9" * 30, "x" * 5000, "ä\u2028", "image", "disk", "service", "tcp",
    "acl", "user-plane", "${x}", "byte * 2^99", "a.b", "a" * 63 + ".b", "#", "+/+", "racs/#", "app/probe/#",
)  # fmt: skip
_TOKENS = (
    b"ip_version proto src_ip dst_ip src_port dst_port dscp length == != < <= > >= in && || ! ( ) { } , .. TCP UDP "
    b"ICMP 4 6 80 65535 65536 255 0 10.45.0.0/16 10.0.0.1 0.0.0.0/0 255.255.255.255/32 2001:db8::/32 ::1 1..9"
).split()


@dataclass(frozen=True)
class Target:
    """seeds are inputs to begin with; joints where a token ends; change is a mutation of the format's own."""

    read: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    joints: bytes
    change: Callable[[bytes, Random], bytes] | None = None


def _packages(*layers: str) -> list[bytes]:
    """The packages of these layers of the corpus that are no larger than an input may be."""
    built = (build(case) for case in load() if case.layer in layers)
    return [data for data in built if len(data) <= _LENGTH_MAX]


def _members(layer: str, suffix: str) -> Sequence[bytes]:
    """The distinct contents that the member of this name has in a layer."""
    found: dict[bytes, None] = {}
    for package in _packages(layer):
        walked = archive.read(io.BytesIO(package), PROFILE)  # type: ignore[arg-type]  # it asks for readinto only
        found |= {package[one.offset : one.offset + one.size]: None for one in walked.ending(suffix)}
    return tuple(found)


def _descriptors() -> Sequence[bytes]:
    return tuple({**dict.fromkeys(_members("xml", ".ovf")), **dict.fromkeys(_members("descriptor", ".ovf"))})


def _rule_texts() -> Sequence[bytes]:
    """Those that can be read more often than those that cannot."""
    descriptors = (descriptor_text(case) for case in load() if case.layer == "rules")
    found = {rule for text in descriptors for rule in re.findall(r"<racs:Rule [^>]*>([^<]*)<", text)}
    plain = (rule.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">") for rule in found)
    texts = sorted(rule.encode() for rule in plain if len(rule) < 500)
    return (*texts, *[text for text in texts if _parse(text)] * 9)


def _read_package(data: bytes) -> None:
    judge(Path.cwd(), data)


def _read_member(name: str) -> Callable[[bytes], None]:
    """Judges the sound package with other bytes in a member, its digest or signature wrong or not."""
    sound = build(SOUND, make_qcow2(bits=9, virtual_size=32768))
    walked = archive.read(io.BytesIO(sound), PROFILE)  # type: ignore[arg-type]  # it asks for readinto only
    entries = [Entry(one.name, sound[one.offset : one.offset + one.size]) for one in walked.members]
    return lambda data: _read_package(write_tar([replace(e, data=data) if e.name == name else e for e in entries]))


def _read_image(data: bytes) -> None:
    image.read(View("disk.qcow2", len(data), lambda at, count: data[at : at + max(0, count)] if at >= 0 else b""))


def _parse(data: bytes) -> str:
    """The text of a rule; "" for what is none."""
    text = data.decode("utf-8", "replace")
    try:
        language.parse(text, PROFILE["package.rule_characters_max"], PROFILE["package.rule_depth_max"])
    except SubjectError:
        return ""
    return text


def _read_rule(data: bytes) -> None:
    text = _parse(data)
    if not text:
        return
    both = (Rule("fuzzed", "uplink", text), Rule("web", "downlink", "proto==TCP && src_port==80"))
    application = Application("x", "transparent", "v", "p", "1", 1.0, ("service", "user-plane"), rules=both)
    selection.judge_selection(application, PROFILE)
    selection.judge_symmetry(application, PROFILE)


def _change_header(data: bytes, chance: Random) -> bytes:
    """Other bytes in a header block, its checksum right; or blocks moved about."""
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    headers = [number for number, block in enumerate(blocks) if block[257:262] == b"ustar"]
    if not headers or chance.random() < 0.2:
        source, to = chance.randrange(len(blocks) or 1), chance.randrange(len(blocks) + 1)
        return b"".join(blocks[:to] + blocks[source : source + chance.randrange(1, 4)] + blocks[to:])
    chosen = chance.choice(headers)
    block = bytearray(blocks[chosen].ljust(512, b"\0"))
    at, width = chance.choice(((0, 100), (100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (156, 1), (157, 100),
                               (257, 8), (329, 8), (345, 155), (500, 12)))  # fmt: skip
    number = b"%0*o\0" % (width - 1, chance.choice(_NUMBERS))
    new = chance.choice((number, chance.randbytes(width), b"\x80" + b"\xff" * 11, b"../../etc/passwd\0", b"app.mf\0",
                         b"5", b"L", b"x", b"g", b"2", bytes(width)))  # fmt: skip
    block[at : at + width] = new[:width].ljust(width, b"\0")
    return b"".join([*blocks[:chosen], checked(bytes(block)), *blocks[chosen + 1 :]])


def _change_der(data: bytes, chance: Random) -> bytes:
    """Other bytes inside a certificate, the base64 around it right."""
    found = list(re.finditer(rb"(-----BEGIN CERTIFICATE-----\n)(.*?)(-----END)", data, re.DOTALL))
    if not found:
        return data
    block = chance.choice(found)
    try:
        der = bytearray(base64.b64decode(block[2]))
    except ValueError:
        return data
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(der) or 1)
        if chance.random() < 0.7 and der:
            der[at] ^= 1 << chance.randrange(8)
            continue
        der[at : at + chance.choice((0, 1, 1, 1, 3))] = chance.choice(
            (chance.randbytes(1), b"\0", b"\x30\x80", b"\xff", b"")
        )
    text = base64.encodebytes(bytes(der)).replace(b"\n", b"")
    lines = b"".join(text[at : at + 64] + b"\n" for at in range(0, len(text), 64))
    return data[: block.start(2)] + lines + data[block.end(2) :]


def _change_number(data: bytes, chance: Random) -> bytes:
    """Another number in a field of the image's header, or in an entry of a table."""
    wide = chance.random() < 0.7
    width, number = (8, chance.choice(_WIDE)) if wide else (4, chance.choice(_NUMBERS))
    tables = (0, 112, 4096, 3 * 4096, 4 * 4096, 512, 1536, 2048)
    at = (
        chance.choice(tables) + 4 * chance.randrange(0, 30)
        if chance.random() < 0.9
        else chance.randrange(len(data) or 1)
    )
    return data[:at] + struct.pack(">Q", number)[-width:] + data[at + width :]


def _change_tree(data: bytes, chance: Random) -> bytes:
    """Another element, attribute or text in a document that stays well formed."""
    try:
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True))
    except (etree.XMLSyntaxError, ValueError):
        return data
    elements = list(root.iter(etree.Element))
    element, other = chance.choice(elements), chance.choice(elements)
    parent = element.getparent()
    value = str(chance.choice(_WIDE)) if chance.random() < 0.3 else chance.choice(_VALUES)
    match chance.randrange(7):
        case 0 if parent is not None:
            parent.remove(element)
        case 1 if parent is not None:
            parent.extend(copy.deepcopy(element) for _ in range(chance.choice((1, 2, 9))))
        case 2:
            other.insert(chance.randrange(len(other) + 1), copy.deepcopy(element))
        case 3:
            element.tag = other.tag
        case 4 | 5 if element.attrib:
            element.set(chance.choice(element.keys()), value)
        case 6 if other.attrib:
            element.set(chance.choice(other.keys()), value)
        case _:
            element.text = value
    return etree.tostring(root)


def _change_token(data: bytes, chance: Random) -> bytes:
    """Another token of the rule language, or one more or less."""
    tokens = re.findall(rb"\s+|[\w./]+|[&|=!<>]{1,2}|.", data, re.DOTALL)
    at = chance.randrange(len(tokens) + 1)
    new = chance.choice(_TOKENS)
    return b"".join(tokens[:at] + [b" ", new, b" "][: chance.choice((0, 3))] + tokens[at + chance.choice((0, 1)) :])


@cache
def targets() -> Mapping[str, Target]:
    return {
        "package": Target(_read_package, lambda: _packages("archive", "manifest"), b"\n", _change_header),
        "descriptor": Target(_read_member("app.ovf"), _descriptors, b'<>"= ', _change_tree),
        "acl": Target(_read_member("auth/acl.xml"), lambda: _members("acl", ".xml"), b'<>"= /', _change_tree),
        "manifest": Target(_read_member("app.mf"), lambda: _members("manifest", ".mf"), b"\n()= "),
        "certificate": Target(_read_member("app.cert"), lambda: _members("certificate", ".cert"), b"\n-", _change_der),
        "image": Target(_read_image, lambda: _members("image", ".qcow2"), b"\xfb", _change_number),
        "rule": Target(_read_rule, _rule_texts, b" ()&|!=<>{},.", _change_token),
    }


def mutate(data: bytes, target: Target, seeds: Sequence[bytes], chance: Random) -> bytes:
    """One to three changes, most of them of the format's own: they get further than those of bytes."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        if target.change and chance.random() < 0.8:
            data = target.change(data, chance)
        else:
            data = _change_bytes(data, target.joints, chance.choice(seeds), chance)
    return data[:_LENGTH_MAX]


def _change_bytes(data: bytes, joints: bytes, other: bytes, chance: Random) -> bytes:
    """A stretch from one joint to another left out, doubled, taken from another input; or single bytes."""
    begin, end = _stretch(data, joints, chance)
    match chance.randrange(8):
        case 0:
            new = b""
        case 1:
            new = data[begin:end] * chance.choice((2, 2, 3, 50))
        case 2:
            from_, to = _stretch(other, joints, chance)
            new = other[from_:to]
        case 3 if begin < len(data):
            new = bytes((data[begin] ^ 1 << chance.randrange(8),)) + data[begin + 1 : end]
        case 4:
            new = chance.randbytes(chance.randrange(1, 9)) + data[begin:end]
        case 5:
            new = str(chance.choice(_WIDE)).encode()
        case 6:
            return data[:begin]
        case _:
            new = data[begin:end].swapcase()
    return data[:begin] + new + data[end:]


def _stretch(data: bytes, joints: bytes, chance: Random) -> tuple[int, int]:
    """From one joint to another that is not far."""
    begin = chance.randrange(len(data) + 1)
    if chance.random() < 0.3:
        return begin, min(len(data), begin + chance.randrange(1, 64))
    found = [match.start() for match in re.finditer(rb"[%b]" % re.escape(joints), data[begin : begin + 400])][:12]
    return (begin + found[0], begin + chance.choice(found)) if found else (begin, begin)


def main(name: str, seed: int, count: int, folder: str) -> None:
    os.chdir(folder)
    target = targets()[name]
    seeds = target.seeds()
    for one in seeds[:3]:
        target.read(one)  # what is imported late is loaded before memory is bounded
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
    with open("number", "wb", buffering=0) as file:
        for number in range(count):
            chance = Random(f"{name} {seed} {number}")
            data = mutate(chance.choice(seeds), target, seeds, chance)
            os.pwrite(file.fileno(), b"%d\n" % number, 0)
            signal.setitimer(signal.ITIMER_PROF, CPU_S)
            target.read(data)
            signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
