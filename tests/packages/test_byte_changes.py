"""Any one byte changed in a package fails, or is proven to say nothing.

As the file stands there is but one kind of byte that may change: one of a certificate that the chain does not need. In
a header whose checksum is made right again there are more: whose a member was, and when (contract 1 is silent on it).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from corpus import SOUND, Case, build, find
from judging import IDS, judge, with_verdict
from package_parts import checked
from qcow2_parts import make_qcow2

from conformance.application import Application
from conformance.verdict import Verdict

SMALL = make_qcow2(bits=9, virtual_size=32768)
# POSIX.1 pax, "ustar Interchange Format": mode, uid, gid; mtime; uname, gname, devmajor, devminor.
FREE = {*range(100, 124), *range(136, 148), *range(265, 345)}


@dataclass(frozen=True)
class _Meaning:
    """All that anybody takes from a package."""

    application: Application | None
    image: bytes
    failed: frozenset[str]
    open: frozenset[str]


def meaning(folder: Path, data: bytes) -> _Meaning:
    judged = judge(folder, data)
    image = judged.package.image
    content = data[image.offset : image.offset + image.size] if image else b""
    failed = frozenset(with_verdict(judged.outcomes, Verdict.FAIL))
    passed = with_verdict(judged.outcomes, Verdict.PASS, Verdict.NOT_APPLICABLE)
    return _Meaning(judged.package.application, content, failed, frozenset(IDS) - failed - passed)


def changed(data: bytes, at: int, chance: Random) -> Iterator[bytes]:
    """A bit turned over, and another byte altogether."""
    for value in (data[at] ^ 1 << chance.randrange(8), (data[at] + chance.randrange(1, 256)) % 256):
        yield data[:at] + bytes((value,)) + data[at + 1 :]


def unneeded(data: bytes) -> range:
    """Where the certificate stands that the chain does not need: the second of three."""
    begin = data.index(b"-----BEGIN", data.index(b"-----BEGIN") + 1)
    return range(begin, data.index(b"-----BEGIN", begin + 1))


def assert_each_says_something(folder: Path, case: Case, places: Iterator[int], free: range) -> int:
    """The number of changes that were passed over."""
    data = build(case, SMALL)
    sound, passed_over = meaning(folder, data), 0
    assert not sound.failed
    for at in places:
        for other in changed(data, at, Random(at)):
            found = meaning(folder, other)
            if not found.failed:
                assert at in free, f"byte {at}: {data[at]:#04x} became {other[at]:#04x} and nothing fails"
                assert found == sound, f"byte {at} is passed over, but not without a consequence"
                passed_over += 1
    return passed_over


def test_a_changed_byte_fails(tmp_path: Path) -> None:
    size, chance = len(build(SOUND, SMALL)), Random(0)
    places = (chance.randrange(size) for _ in range(150))
    assert assert_each_says_something(tmp_path, SOUND, places, range(0)) == 0


@pytest.mark.nightly
def test_each_changed_byte_fails(tmp_path: Path) -> None:
    size = len(build(SOUND, SMALL))
    assert assert_each_says_something(tmp_path, SOUND, iter(range(size)), range(0)) == 0


def test_a_changed_byte_of_what_is_not_needed_fails_or_says_nothing(tmp_path: Path) -> None:
    case = find("certificate, valid: one that nobody needs")
    free = unneeded(build(case, SMALL))
    places = iter(range(free.start, free.stop, 7))
    assert assert_each_says_something(tmp_path, case, places, free) > 0


@pytest.mark.parametrize(
    "value", [b"7", *(pytest.param(value, marks=pytest.mark.nightly) for value in (b"\0", b" ", b"x"))]
)
def test_a_changed_header_fails_or_says_nothing(value: bytes, tmp_path: Path) -> None:
    """Every byte of the image's header, its checksum right again."""
    data = build(SOUND, SMALL)
    sound = meaning(tmp_path, data)
    begin = data.index(b"disk.qcow2\0")
    passed_over = set()
    for at in range(512):
        header = data[begin : begin + at] + value + data[begin + at + 1 : begin + 512]
        other = data[:begin] + checked(header) + data[begin + 512 :]
        found = meaning(tmp_path, other) if other != data else sound
        if other != data and not found.failed:
            assert found == sound, f"byte {at} of a header"
            passed_over.add(at)
    also = {135, 156, 155}  # a number's end and a regular file's type have two forms each (POSIX)
    assert passed_over <= FREE | also, sorted(passed_over - FREE - also)
    assert value != b"7" or {100, 108, 116, 136, 265, 297, 329, 337} <= passed_over
