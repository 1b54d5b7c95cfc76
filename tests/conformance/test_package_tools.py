"""Packages that real tools made: tar, Python's tarfile, openssl and qemu-img."""

import os
import re
import shutil
import struct
import subprocess
import tarfile
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from package_parts import BOOT, LEAF, MIDDLE, NOW, ROOT, Entry, Kit, PrivateKey, issue, make_qcow2, pem, write_tar

from conformance.checks.package import CHECKS
from conformance.package import certificate, header, manifest, open_package
from conformance.package.certificate import Trust
from conformance.package.image import read as read_image
from conformance.package.qcow2 import View
from conformance.profile import load
from conformance.verdict import Verdict

PROFILE = load()
TRUST = Trust("rd", (issue(ROOT),), NOW)
needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed (qemu-utils)")


def failing(path: Path, trust: Trust = TRUST) -> set[str]:
    package = open_package(path, PROFILE)
    return {one for one, check in CHECKS.items() if check(package, PROFILE, trust).verdict is Verdict.FAIL}


def run(*command: str, folder: Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def unpack(folder: Path) -> list[str]:
    """The members of a good package as files, and their names in order."""
    (folder / "whole.tar").write_bytes(Kit().build())
    return run("tar", "-xvf", "whole.tar", folder=folder).split()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--format=ustar"], set()),
        (["--format=ustar", "--owner=someone:1234567", "--record-size=512"], set()),
        (["--format=gnu"], {"PKG-001"}),
        (["--format=v7"], {"PKG-001"}),
        (["--format=posix"], {"PKG-001"}),
    ],
)
def test_gnu_tar(options: Sequence[str], expected: set[str], tmp_path: Path) -> None:
    names = unpack(tmp_path)
    run("tar", *options, "-cf", "app.ova", *names, folder=tmp_path)
    assert failing(tmp_path / "app.ova") == expected


def test_gnu_tar_sparse(tmp_path: Path) -> None:
    names = unpack(tmp_path)
    run("truncate", "-s", "8M", "disk.qcow2", folder=tmp_path)
    run("tar", "--sparse", "-cf", "app.ova", *names, folder=tmp_path)
    assert failing(tmp_path / "app.ova") == {"PKG-001"}


@pytest.mark.parametrize(
    ("form", "expected"),
    [(tarfile.USTAR_FORMAT, set()), (tarfile.GNU_FORMAT, {"PKG-001"}), (tarfile.PAX_FORMAT, {"PKG-001"})],
)
def test_python_tarfile(form: int, expected: set[str], tmp_path: Path) -> None:
    names = unpack(tmp_path)
    os.utime(tmp_path / "app.ovf", (1700000000.25, 1700000000.25))  # what makes a pax record of its own accord
    with tarfile.open(tmp_path / "app.ova", "w", format=form) as archive:
        for name in names:
            archive.add(tmp_path / name, name)
    assert failing(tmp_path / "app.ova") == expected


def write_key(path: Path, key: PrivateKey) -> None:
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA-3072"])
def test_the_remedies_commands_make_a_good_package(kind: str, tmp_path: Path) -> None:
    leaf = replace(LEAF, kind=kind)
    unpack(tmp_path)
    write_key(tmp_path / "key.pem", leaf.key)
    (tmp_path / "leaf.pem").write_bytes(pem(issue(leaf, MIDDLE)))
    (tmp_path / "intermediate.pem").write_bytes(pem(issue(MIDDLE, ROOT)))
    run("sh", "-c", _command("manifest"), folder=tmp_path)
    run("sh", "-c", _command("certificate"), folder=tmp_path)
    run("sh", "-c", _command("header"), folder=tmp_path)
    assert failing(tmp_path / "app.ova") == set()


def _command(module: str) -> str:
    """The shell command in a remedy, with this package's names."""
    text = {"manifest": manifest.MEND, "certificate": certificate.MEND, "header": header.PACK}[module]
    command = re.sub(r" \([^()]*\)$", "", text.partition("or: ")[2])
    return command.replace("NAME", "app").replace("IMAGE", "disk")


def test_openssl_s_own_root_and_leaf(tmp_path: Path) -> None:
    subject = ("-nodes", "-subj", "/CN=dev", "-days", "3650", "-keyout")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", *subject, "root.key", "-out", "root.pem", folder=tmp_path)
    root = x509.load_pem_x509_certificate((tmp_path / "root.pem").read_bytes())
    names = unpack(tmp_path)
    run("openssl", "dgst", "-sha256", "-sign", "root.key", "-out", "signature", "app.mf", folder=tmp_path)
    line = f"SHA256(app.mf)= {(tmp_path / 'signature').read_bytes().hex()}\n".encode()
    (tmp_path / "app.cert").write_bytes(line + (tmp_path / "root.pem").read_bytes())
    entries = [Entry(name, (tmp_path / name).read_bytes()) for name in names]
    (tmp_path / "app.ova").write_bytes(write_tar(entries))
    # Its own root and leaf in one: what `openssl req -x509` leaves a developer with.
    assert failing(tmp_path / "app.ova", Trust("rd", (root,), root.not_valid_before_utc)) == set()
    assert failing(tmp_path / "app.ova", Trust("rd", (issue(ROOT),), root.not_valid_before_utc)) == {"PKG-007"}


def test_a_root_of_version_1(tmp_path: Path) -> None:
    """Without extensions: who gave it as a root vouches for it. As an issuer below a root it is none."""
    write_key(tmp_path / "root.key", ROOT.key)
    request = ("openssl", "req", "-new", "-key", "root.key", "-subj", "/CN=root", "-out", "root.csr")
    run(*request, folder=tmp_path)
    make = ("openssl", "x509", "-req", "-in", "root.csr", "-signkey", "root.key", "-days", "9999", "-out", "root.pem")
    run(*make, folder=tmp_path)
    root = x509.load_pem_x509_certificate((tmp_path / "root.pem").read_bytes())
    if root.version is not x509.Version.v1:
        pytest.skip("this OpenSSL makes version 3 of its own accord")
    (tmp_path / "app.ova").write_bytes(Kit().build())
    at = max(NOW, root.not_valid_before_utc)
    assert failing(tmp_path / "app.ova", Trust("rd", (root,), at)) == set()
    (tmp_path / "app.ova").write_bytes(Kit(chain=(issue(LEAF, ROOT), root)).build())
    assert failing(tmp_path / "app.ova", Trust("rd", (issue(MIDDLE, ROOT),), at)) == {"PKG-007"}


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
    (tmp_path / "app.ova").write_bytes(Kit(image=(tmp_path / "disk.qcow2").read_bytes()).build())
    assert failing(tmp_path / "app.ova") == set()


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


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 6 * 4096 - 1), st.binary(min_size=1, max_size=16))
def test_a_damaged_image_is_judged_not_raised(at: int, noise: bytes) -> None:
    data = make_qcow2()
    data = (data[:at] + noise + data[at + len(noise) :])[: len(data)]
    image = read_image(View("disk.qcow2", len(data), lambda begin, count: data[begin : begin + count]))
    assert {fault.requirement for fault in image.faults} <= {"PKG-011", "PKG-015"}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(blocks=st.lists(st.binary(min_size=0, max_size=600), max_size=6), seed=st.integers(0, 99))
def test_noise_is_judged_not_raised(blocks: list[bytes], seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("noise") / "app.ova"
    names = ["app.ovf", "app.mf", "app.cert", "disk.qcow2", "auth/acl.xml", f"x{seed}"]
    path.write_bytes(write_tar([Entry(name, data) for name, data in zip(names, blocks, strict=False)]))
    assert failing(path) or not blocks


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
