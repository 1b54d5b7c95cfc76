"""The guest's disk in a qcow2 image: every byte as QEMU reads it, whatever the clusters are."""

import os
import random
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from conformance.errors import SubjectError
from conformance.package.clusters import GuestDisk
from conformance.package.qcow2 import View, parse

SIZE = 7 << 20
IMAGES = {
    "plain": (),
    "version 2": ("-o", "compat=0.10"),
    "512 bytes": ("-o", "cluster_size=512"),
    "2 MiB": ("-o", "cluster_size=2M"),
    "extended": ("-o", "extended_l2=on"),
    "extended, 1 MiB": ("-o", "extended_l2=on,cluster_size=1M"),
    "preallocated": ("-o", "preallocation=metadata"),
    "deflate": ("-c",),
    "deflate, small clusters": ("-c", "-o", "cluster_size=4k"),
    "deflate, version 2": ("-c", "-o", "compat=0.10"),
    "zstd": ("-c", "-o", "compression_type=zstd"),
    "zstd, 2 MiB": ("-c", "-o", "compression_type=zstd,cluster_size=2M"),
    "zstd, extended": ("-c", "-o", "compression_type=zstd,extended_l2=on"),
}


def disk_bytes() -> bytes:
    """Text, noise, holes and single sectors, so that clusters of every kind come about."""
    draw = random.Random(7)
    data = bytearray(SIZE - 1000)  # the last sector is cut
    for at in range(0, SIZE - 200_000, 300_000):
        part = draw.choice((draw.randbytes(90_000), b"racs " * 20_000, draw.randbytes(512)))
        data[at : at + len(part)] = part
    return bytes(data[: SIZE - 1000]).ljust(SIZE, b"\0")


@contextmanager
def opened(path: Path) -> Iterator[GuestDisk]:
    with path.open("rb") as file:
        size = path.stat().st_size
        view = View(path.name, size, lambda at, count: os.pread(file.fileno(), max(0, min(count, size - at)), at))
        yield GuestDisk(view, parse(view))


def run(*words: str, folder: Path) -> None:
    subprocess.run(words, cwd=folder, check=True, capture_output=True)


needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")


@needs_qemu
@pytest.mark.parametrize("name", IMAGES)
def test_every_byte_is_as_qemu_reads_it(name: str, tmp_path: Path) -> None:
    raw = disk_bytes()
    (tmp_path / "raw").write_bytes(raw)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *IMAGES[name], "raw", "disk", folder=tmp_path)
    draw = random.Random(1)
    with opened(tmp_path / "disk") as disk:
        assert disk.size == SIZE
        assert disk.read(0, SIZE + 1) == raw
        for _ in range(50):
            at, count = draw.randrange(SIZE), draw.choice((1, 511, 4096, 70_000, 3 << 20))
            assert disk.read(at, count) == raw[at : at + count]
        assert disk.read(SIZE, 1) == b""


@needs_qemu
@pytest.mark.parametrize("name", ["extended", "plain"])
def test_what_was_zeroed_and_written_again_is_as_qemu_reads_it(name: str, tmp_path: Path) -> None:
    run("qemu-img", "create", "-f", "qcow2", *IMAGES[name], "disk", "4M", folder=tmp_path)
    writes = ("write -P 7 0 1M", "write -z 64k 192k", "write -P 9 70k 3k", "discard 512k 128k", "write -P 3 2M 10")
    run("qemu-io", *(word for write in writes for word in ("-c", write)), "disk", folder=tmp_path)
    run("qemu-img", "convert", "-O", "raw", "disk", "raw", folder=tmp_path)
    with opened(tmp_path / "disk") as disk:
        assert disk.read(0, disk.size) == (tmp_path / "raw").read_bytes()


@needs_qemu
@pytest.mark.parametrize(
    ("kind", "damage", "seen"),
    [
        ("deflate", b"\xff" * 64, ""),
        ("zstd", b"\xff" * 64, ""),
        # QEMU gives the guest an I/O error for these, too
        ("deflate", zlib.compress(b"x" * 100, wbits=-zlib.MAX_WBITS), "its end after 100 bytes"),
        ("zstd", zstandard.compress(b"x" * 100), "its end after 100 bytes"),
    ],
)
def test_a_cluster_that_does_not_unpack_is_named(kind: str, damage: bytes, seen: str, tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"racs " * 200_000)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *IMAGES[kind], "raw", "disk", folder=tmp_path)
    data = bytearray((tmp_path / "disk").read_bytes())
    with opened(tmp_path / "disk") as disk:
        entry, _ = disk._entry(3)
    at = entry & (1 << 54) - 1
    data[at : at + len(damage)] = damage
    (tmp_path / "disk").write_bytes(data)
    with opened(tmp_path / "disk") as disk, pytest.raises(SubjectError) as caught:
        disk.read(3 << 16, 10)
    assert caught.value.requirement == "PKG-011"
    assert caught.value.where == f"disk, byte {at}"
    assert seen in caught.value.seen
