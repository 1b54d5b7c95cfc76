"""Images that qemu-img wrote, and tables so large that only their bounds keep them from being read."""

import os
import shutil
import struct
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from corpus import build
from judging import failing
from qcow2_parts import BOOT, make_qcow2
from test_packing_tools import run

from conformance.package.image import read as read_image
from conformance.package.qcow2 import View

needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed (qemu-utils)")

IMAGES = {
    "v3": ("-o", "compat=1.1"),
    "v2": ("-o", "compat=0.10"),
    "lazy": ("-o", "lazy_refcounts=on"),
    "512 bytes": ("-o", "cluster_size=512"),
    "2 MiB": ("-o", "cluster_size=2M"),
    "extended": ("-o", "extended_l2=on"),
    "extended, 1 MiB": ("-o", "extended_l2=on,cluster_size=1M"),
    "refcounts of 1 bit": ("-o", "refcount_bits=1"),
    "refcounts of 64 bits": ("-o", "refcount_bits=64"),
    "preallocated": ("-o", "preallocation=metadata"),
    "compressed": ("-c",),
    "compressed, small clusters": ("-c", "-o", "cluster_size=4k"),
    "compressed, extended": ("-c", "-o", "extended_l2=on"),
    "compressed, zstd": ("-c", "-o", "compression_type=zstd"),
}


def look(path: Path) -> set[str]:
    with path.open("rb") as file:
        size = path.stat().st_size
        view = View(path.name, size, lambda at, count: os.pread(file.fileno(), max(0, min(count, size - at)), at))
        image = read_image(view)
    return {f"{fault.finding.expected}: {fault.finding.seen}" for fault in image.faults}


@needs_qemu
@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("gpt", [False, True])
def test_images_of_qemu_img(name: str, gpt: bool, tmp_path: Path) -> None:
    noise = bytes(range(256)) * 1024
    start = bytes(512) + b"EFI PART" if gpt else BOOT
    (tmp_path / "raw").write_bytes(start.ljust(4096, b"\1") + bytes(1 << 20) + noise + bytes(3 << 20))
    run("qemu-img", "convert", "-O", "qcow2", *IMAGES[name], "raw", "disk.qcow2", folder=tmp_path)
    assert look(tmp_path / "disk.qcow2") == set()
    assert failing(tmp_path, build(image=(tmp_path / "disk.qcow2").read_bytes())) == set()


@needs_qemu
@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("snapshot", "-c", "one", "disk.qcow2"), "snapshots"),
        (("rebase", "-u", "-b", "/etc/hostname", "-F", "raw", "disk.qcow2"), "backing file"),
        (("bitmap", "--add", "disk.qcow2", "dirty"), ""),
    ],
)
def test_what_qemu_img_does_to_an_image(command: Sequence[str], complaint: str, tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(BOOT + bytes(1 << 20))
    run("qemu-img", "convert", "-O", "qcow2", "raw", "disk.qcow2", folder=tmp_path)
    run("qemu-img", *command, folder=tmp_path)
    faults = look(tmp_path / "disk.qcow2")
    assert bool(faults) is bool(complaint)
    assert all(complaint in fault for fault in faults)


@needs_qemu
@pytest.mark.parametrize("option", ["encrypt.format=aes,encrypt.key-secret=s", "data_file=data.raw"])
def test_images_that_lead_elsewhere(option: str, tmp_path: Path) -> None:
    secret = ("--object", "secret,id=s,data=x") if "aes" in option else ()
    run("qemu-img", "create", *secret, "-f", "qcow2", "-o", option, "disk.qcow2", "1M", folder=tmp_path)
    assert look(tmp_path / "disk.qcow2")


def test_hostile_tables_are_read_in_bounds(tmp_path: Path) -> None:
    """An L1 table of the largest size whose every entry is another L2 table of 2 MiB, in a sparse file of 8 GiB."""
    cluster, entries = 1 << 21, 4000
    path = tmp_path / "disk.qcow2"
    with path.open("wb") as file:
        file.write(make_qcow2(bits=21)[: 3 * cluster])
        file.seek(24)
        file.write(struct.pack(">Q", entries * (cluster // 8) * cluster))
        file.seek(36)
        file.write(struct.pack(">I", entries))
        file.seek(3 * cluster)
        file.write(struct.pack(f">{entries}Q", *((at + 5) * cluster for at in range(entries))))
        file.truncate((entries + 5) * cluster)
    tracemalloc.start()
    faults = look(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any("128 MiB" in fault for fault in faults)
    assert peak < 64 << 20
