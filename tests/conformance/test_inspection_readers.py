"""What reads the parts of an image: partition tables, LVM's metadata, cpio archives, package databases."""

import gzip
import hashlib
import lzma
import random
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from guest_images import rpm_package as header
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.errors import SubjectError
from conformance.inspection import cpio, lvm
from conformance.inspection.accounts import candidates, cost_ms, read_fields, too_dear
from conformance.inspection.journal import holds_changes
from conformance.inspection.ownership import dpkg_digest, rpm_digest
from conformance.inspection.partitions import Partition, read_partitions
from conformance.inspection.signatures import identify, label_of

VECTORS = Path(__file__).parent / "vectors"
MIB = 1 << 20


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda at, count: data[at : at + count] if at >= 0 else b""


def entry(kind: int, begin: int, count: int, status: int = 0) -> bytes:
    return struct.pack("<B3xB3xII", status, kind, begin, count)


def record(*entries: bytes) -> bytes:
    return (bytes(440) + b"\x78\x56\x34\x12\0\0" + b"".join(entries)).ljust(510, b"\0") + b"\x55\xaa"


def on_disk(blocks: dict[int, bytes], sectors: int = 4096) -> bytes:
    data = bytearray(sectors * 512)
    for at, block in blocks.items():
        data[at * 512 : at * 512 + len(block)] = block
    return bytes(data)


def found(data: bytes) -> list[tuple[int, int, int]]:
    return [(one.number, one.offset // 512, one.size // 512) for one in read_partitions(reader(data), len(data))]


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ({0: record(entry(0x83, 100, 50), entry(0x82, 200, 10, 0x80))}, [(1, 100, 50), (2, 200, 10)]),
        ({0: record(bytes(16), entry(0x83, 100, 50))}, [(2, 100, 50)]),
        ({0: record(entry(0x83, 9, 1), entry(0x0F, 100, 900)), 100: record(entry(0x83, 2, 8), entry(5, 50, 9)),
          150: record(entry(0x8E, 3, 7))}, [(1, 9, 1), (5, 102, 8), (6, 153, 7)]),
        ({0: record(entry(0x05, 100, 900)), 100: record(entry(0x83, 2, 8), entry(5, 0, 9))}, [(5, 102, 8)]),
        ({0: record(entry(0x83, 100, 50, 7))}, [(0, 0, 4096)]),
        ({}, [(0, 0, 4096)]),
        ({0: record()}, [(0, 0, 4096)]),
        ({0: record(entry(0xEE, 1, 4095))}, [(1, 1, 4095)]),  # protective, and no GPT behind it
    ],
)  # fmt: skip
def test_mbr(blocks: dict[int, bytes], expected: list[tuple[int, int, int]]) -> None:
    assert found(on_disk(blocks)) == expected


def gpt(at: int, lba: int) -> dict[int, bytes]:
    guid = bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b")
    row = guid + bytes(range(16)) + struct.pack("<QQQ", 2048, 4000, 0) + "EFI".encode("utf-16-le").ljust(72, b"\0")
    header = b"EFI PART" + bytes(64) + struct.pack("<QII", lba, 4, 128)
    return {0: record(entry(0xEE, 1, 4095)), at: header, lba: bytes(128) + row}


@pytest.mark.parametrize("blocks", [gpt(1, 2), gpt(4095, 4060)])
def test_gpt_and_the_one_at_the_end(blocks: dict[int, bytes]) -> None:
    data = on_disk(blocks)
    assert read_partitions(reader(data), len(data)) == (
        Partition(2, 2048 * 512, 1953 * 512, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
                  "03020100-0504-0706-0809-0a0b0c0d0e0f", "EFI"),
    )  # fmt: skip


@settings(derandomize=True, max_examples=200)
@given(st.binary(max_size=1024), st.integers(0, 3))
def test_no_table_is_too_odd(noise: bytes, kind: int) -> None:
    start = {0: b"", 1: record(entry(5, 1, 9)), 2: gpt(1, 2)[0], 3: bytes(440)}[kind]
    data = (start + noise).ljust(2048, b"\0")
    for partition in read_partitions(reader(data), len(data)):
        assert partition.name and partition.size >= 0
    assert isinstance(identify(reader(data)), str)
    for name in ("ext", "xfs", "FAT", "none"):
        label_of(name, reader(data))


def marks(*written: tuple[int, bytes]) -> bytes:
    data = bytearray(1 << 17)
    for at, mark in written:
        data[at : at + len(mark)] = mark
    return bytes(data)


EXT_MARK, SWAP_MARK, XFS_MARK = (1080, b"\x53\xef"), (4086, b"SWAPSPACE2"), (0, b"XFSB")
FAT_MARK = ((0, b"\xeb\x3c\x90"), (11, b"\0\x02"), (54, b"FAT16   "))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ([SWAP_MARK], "swap"),
        ([EXT_MARK], "ext"),
        ([EXT_MARK, SWAP_MARK], "ext and swap"),  # blkid says ext4, and so do debugfs and the guest
        ([EXT_MARK, (512, b"LABELONE")], "ext and LVM"),
        ([XFS_MARK, EXT_MARK], "XFS and ext"),
    ],
)
def test_two_marks_are_nothing_that_is_read(written: list[tuple[int, bytes]], name: str) -> None:
    assert identify(reader(marks(*written))).lower() == name.lower()


@pytest.mark.parametrize(
    ("written", "numbers"),
    [
        ((), [1]),
        ((EXT_MARK,), [0, 1]),  # root=/dev/vda mounts what the table passes over
        (FAT_MARK, [0, 1]),
        ((*FAT_MARK, (446 + 16, b"\x33")), [0]),  # boot code where the second entry would be
    ],
)
def test_a_file_system_beside_a_table_is_seen(written: tuple[tuple[int, bytes], ...], numbers: list[int]) -> None:
    data = marks(*written, (446, entry(0x83, 128, 64)), (510, b"\x55\xaa"))
    assert [partition.number for partition in read_partitions(reader(data), len(data))] == numbers


LVM = gzip.decompress(
    (VECTORS / "lvm2.img.gz").read_bytes()
)  # written by lvm 2.03.16: lvextend left root in two pieces


def test_lvm_as_its_own_tools_write_it() -> None:
    physical = lvm.read_physical_volume(reader(LVM))
    root, home = lvm.read_logical_volumes([physical])
    assert identify(reader(LVM)) == "LVM" and physical.id == "D0IfbJfSY1Wdqb1QmDpi1CdakdFRNdaQ"
    assert (root.group, root.name, root.size, root.trouble) == ("vg-one", "root", 28 * MIB, "")
    assert [(one.begin, one.size, one.offset) for one in root.segments] == [
        (0, 20 * MIB, MIB), (20 * MIB, 8 * MIB, 61 * MIB)]  # fmt: skip
    assert (home.name, home.size, home.segments[0].offset) == ("home-dir", 40 * MIB, 21 * MIB)


def test_lvm_reads_across_segments() -> None:
    data = random.Random(3).randbytes(4096)
    pieces = (lvm.Segment(0, 100, reader(data), 1000), lvm.Segment(100, 50, reader(data), 10))
    volume = lvm.LogicalVolume("g", "v", 150, pieces)
    whole = data[1000:1100] + data[10:60]
    assert all(volume.read(at, 60) == whole[at : at + 60] for at in range(160))


@pytest.mark.parametrize(
    ("old", "new", "trouble"),
    [
        (b'type = "striped"', b'type = "thinned"', "not linear"),
        (b'"pv0", 0', b'"pv9", 0', "not on this disk"),
        (b"extent_count = 5", b"extent_count = 4", "do not make a whole"),
    ],
)
def test_lvm_that_is_not_read_says_why(old: bytes, new: bytes, trouble: str) -> None:
    broken = LVM.replace(old, new)
    assert broken != LVM
    volumes = lvm.read_logical_volumes([lvm.read_physical_volume(reader(broken))])
    assert trouble in next(one.trouble for one in volumes if one.trouble)


@pytest.mark.parametrize("place", [b'"pv0", x', b'"pv0", -1', b'"pv0", 1.5', b'"pv0", "0"'])
def test_lvm_places_that_are_no_numbers(place: bytes) -> None:
    broken = LVM.replace(b'"pv0", 0', place, 1)
    with suppress(SubjectError):
        assert [*lvm.read_logical_volumes([lvm.read_physical_volume(reader(broken))])]


@settings(derandomize=True, max_examples=300)
@given(st.integers(512, 9000), st.binary(min_size=1, max_size=9))
def test_lvm_that_is_damaged_raises_subject_errors_only(at: int, value: bytes) -> None:
    data = LVM[:at] + value + LVM[at + len(value) :]
    with suppress(SubjectError):
        for volume in lvm.read_logical_volumes([lvm.read_physical_volume(reader(data))]):
            volume.read(0, 10)


@pytest.mark.parametrize(("name", "waits"), [("xfs-killed", True), ("xfs-unmounted", False)])
def test_xfs_logs_as_linux_leaves_them(name: str, waits: bool) -> None:
    """Linux 6.1 wrote to both; the machine of the one was killed behind a sync, the other was unmounted. The log of
    xfs_logprint says the same."""
    data = lzma.decompress((VECTORS / f"{name}.img.xz").read_bytes())
    assert identify(reader(data)) == "xfs" and holds_changes("xfs", reader(data)) is waits


def newc(files: dict[str, bytes], mode: int = 0o100644) -> bytes:
    return b"".join(_newc_entry(name.encode(), data, mode) for name, data in {**files, "TRAILER!!!": b""}.items())


def _newc_entry(name: bytes, data: bytes, mode: int, inode: int = 0, links: int = 1) -> bytes:
    numbers = (inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + name + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def chunks(data: bytes, size: int) -> Callable[[], bytes]:
    pieces: Iterator[bytes] = iter([data[at : at + size] for at in range(0, len(data), size)])
    return lambda: next(pieces, b"")


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_cpio_archives_behind_each_other(size: int) -> None:
    data = (
        newc({"a": b"1"})
        + bytes(516)
        + gzip.compress(newc({"./etc/b": b"22"}) + newc({"c": b"333"}))
        + newc({"d": b""})
    )
    entries = list(cpio.read_archive(chunks(data, size), lambda path: 2))
    assert [(one.path, one.size, one.head) for one in entries] == [
        ("a", 1, b"1"), ("etc/b", 2, b"22"), ("c", 3, b"33"), ("d", 0, b"")]  # fmt: skip


def test_names_of_one_file_in_an_archive_all_have_its_content() -> None:
    """All writers put it behind the last name, so /etc/shadow may be one of those that look empty."""
    entries = [("etc/shadow", b"", 7, 3), ("a", b"1", 8, 1), ("b", b"", 7, 3), ("z", b"22", 7, 3), ("c", b"", 9, 1)]
    data = b"".join(_newc_entry(name.encode(), content, 0o100644, *ids) for name, content, *ids in entries) + newc({})
    found = {one.path: one.head for one in cpio.read_archive(chunks(data, 7), lambda path: 9 * (path == "etc/shadow"))}
    assert found == {"etc/shadow": b"22", "a": b"", "b": b"22", "z": b"22", "c": b""}


@pytest.mark.parametrize(
    "data",
    [
        b"noise", newc({"a": b"1"})[:-100], newc({"a": b"1"}) + b"x", gzip.compress(newc({"a": b"1"}))[:-20],
        b"070701" + b"z" * 104, b"070701" + b"f" * 104, b"\xfd7zXZ\0junk", b"\x28\xb5\x2f\xfdjunk", b"BZh9junk",
        b"\x02\x21\x4c\x18\5\0\0\0junk!", gzip.compress(gzip.compress(b"")),
    ],
)  # fmt: skip
def test_cpio_that_is_none_is_told(data: bytes) -> None:
    with pytest.raises(SubjectError):
        list(cpio.read_archive(chunks(data, 64), lambda path: 10))


@settings(derandomize=True, max_examples=300)
@given(st.integers(0, 400), st.binary(max_size=9), st.sampled_from([bytes, gzip.compress]))
def test_damaged_cpio_raises_subject_errors_only(at: int, value: bytes, pack: Callable[[bytes], bytes]) -> None:
    data = pack(newc({"etc/a": b"1" * 50, "etc/b": b"2" * 60}))
    with suppress(SubjectError):
        list(cpio.read_archive(chunks(data[:at] + value + data[at + len(value) :], 50), lambda path: 99))


def test_rpm_digests() -> None:
    content = b"-----BEGIN"
    sha, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()
    first = header(["/usr/bin/", "/etc/pki/"], [("key", 0, "0" * 64), ("key", 1, sha), ("dir", 1, "")])
    digest = rpm_digest("/etc/pki/key", [header([], []), first])
    assert digest is not None and digest.fits(content) and not digest.fits(content + b"!")
    assert rpm_digest("/etc/key", [first]) is None and rpm_digest("/etc/pki/dir", [first]) is None
    old = rpm_digest("/etc/x", [header(["/etc/"], [("x", 0, md5)], None)])
    assert old is not None and old.algorithm == "md5" and old.fits(content)


@settings(derandomize=True, max_examples=200)
@given(st.integers(0, 120), st.binary(max_size=6))
def test_damaged_rpm_headers_say_nothing(at: int, value: bytes) -> None:
    data = header(["/etc/"], [("key", 0, "0" * 64)])
    rpm_digest("/etc/key", [data[:at] + value + data[at + len(value) :], data[:at]])


def test_dpkg_digests() -> None:
    content = b"key"
    digest = hashlib.md5(content).hexdigest()
    lists = [b"0" * 32 + b"  etc/other\n", f"{digest}  etc/ssl/key\n".encode()]
    status = f"Package: a\nConffiles:\n /etc/a.conf {digest}\n /etc/b.conf {digest} obsolete\nDescription: x\n".encode()
    for path in ("/etc/ssl/key", "/etc/a.conf", "/etc/b.conf"):
        found = dpkg_digest(path, lists, status)
        assert found is not None and found.fits(content), path
    assert dpkg_digest("/etc/ssl/ke", lists, status) is None
    assert dpkg_digest("/etc/sslkey", lists, status) is None
    assert dpkg_digest("/etc/.*", lists, status) is None


def test_password_fields() -> None:
    passwd = (
        b"root:x:0:0::/:/bin/sh\nold:$1$a$b:1:1::/:/bin/sh\ngone:x:2:2::/:/bin/sh\n+::::::\nbroken\nempty::3:3::/:\n"
    )
    shadow = b"root:!!:::::::\nstranger::::::::\n"
    assert [(one.name, one.field, one.path, one.line) for one in read_fields(passwd, shadow)] == [
        ("root", "!!", "/etc/shadow", 1), ("old", "$1$a$b", "/etc/passwd", 2), ("empty", "", "/etc/passwd", 6),
    ]  # fmt: skip
    assert [one.name for one in read_fields(passwd, None)] == ["old", "empty"]
    assert candidates("app", ["root"])[:5] == ("", "app", "ppa", "app123", "root")


@pytest.mark.parametrize(
    ("field", "dear"),
    [
        ("$6$rounds=100000$a$b", False), ("$6$rounds=100001$a$b", True), ("$2b$12$a", False), ("$2y$13$a", True),
        ("$y$j9T$a$b", False), ("$y$jBT$a$b", False), ("$y$jCT$a$b", True), ("$y$j9T5$a$b", True),
        ("$gy$j9T$a$b", False), ("$1$a$b", False), ("!", False), ("", False),
        ("$y$j9$a$b", True), ("$y$j\u00b2T$a$b", True),
        ("$7$CU..../....a$b", True), ("$sha1$4000000$a$b", True), ("$md5,rounds=4000000$a$b", True),
    ],
)  # fmt: skip
def test_dear_hashes(field: str, dear: bool) -> None:
    assert bool(too_dear(field)) is dear


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [("$6$a$b", 1, 1), ("$6$rounds=100000$a$b", 10, 50), ("$2b$12$a", 100, 400), ("$2b$05$a", 0.5, 4),
     ("$y$j9T$a$b", 10, 30), ("$y$jBT$a$b", 50, 120), ("$1$a$b", 1, 1)],
)  # fmt: skip
def test_dear_hashes_weigh(field: str, least: float, most: float) -> None:
    assert least <= cost_ms(field) <= most


def test_odd_letters_break_no_lines_of_passwd() -> None:
    passwd = "a:x:1:1:Fran\u0085ois\x0b\u2028:/:/bin/sh\nb::2:2::/:/bin/sh\n".encode()
    assert [(one.name, one.line) for one in read_fields(passwd, b"")] == [("b", 2)]
